//! Items of earlier answers, which requests may refer to by their ids (`item_reference`): the
//! AI SDK does so by default instead of sending what was said.
//!
//! They are remembered in memory only, for an hour, as far as there is room, for the key that
//! was answered, and not where the request says `store: false`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long an item is remembered.
const AGE: Duration = Duration::from_secs(3600);
/// Bytes of all items together, as JSON.
const MOST_BYTES: usize = 16 << 20;
/// Items.
const MOST_ITEMS: usize = 8192;

/// Remembers items.
pub(super) struct ItemMemory {
    kept: Mutex<KeptItems>,
}

#[derive(Default)]
struct KeptItems {
    /// By their ids, which are different whoever was answered.
    items: BTreeMap<String, KeptItem>,
    /// Ids, the oldest first.
    order: VecDeque<String>,
    bytes: usize,
}

struct KeptItem {
    owner: Arc<str>,
    since: Instant,
    /// The item as JSON text.
    text: String,
}

impl ItemMemory {
    /// Nothing is remembered yet.
    pub(super) fn new() -> Self {
        ItemMemory {
            kept: Mutex::default(),
        }
    }

    /// Remembers the items of an answer to `owner`.
    pub(super) fn remember(&self, owner: &Arc<str>, items: &[Value]) {
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for item in items {
            if let Some(id) = item["id"].as_str() {
                kept.add(
                    id,
                    KeptItem {
                        owner: owner.clone(),
                        since: now,
                        text: item.to_string(),
                    },
                );
            }
        }
        kept.forget(now);
    }

    /// The item of this id in an answer to `owner`.
    pub(super) fn recall(&self, owner: &Arc<str>, id: &str) -> Option<Value> {
        let text = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.forget(Instant::now());
            let item = kept.items.get(id).filter(|item| item.owner == *owner)?;
            item.text.clone()
        };
        serde_json::from_str(&text).ok()
    }
}

impl KeptItems {
    fn add(&mut self, id: &str, item: KeptItem) {
        self.bytes += item.text.len();
        match self.items.insert(id.to_owned(), item) {
            Some(before) => self.bytes -= before.text.len(),
            None => self.order.push_back(id.to_owned()),
        }
    }

    /// Forgets what is too old, and the oldest where there is no room.
    fn forget(&mut self, now: Instant) {
        while let Some(id) = self.order.front() {
            let full = self.bytes > MOST_BYTES || self.order.len() > MOST_ITEMS;
            let old = self
                .items
                .get(id)
                .is_none_or(|item| now.saturating_duration_since(item.since) > AGE);
            if !full && !old {
                return;
            }
            if let Some(item) = self.items.remove(id) {
                self.bytes -= item.text.len();
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_is_remembered_for_whom_it_was_written() {
        let memory = ItemMemory::new();
        let (anna, bert): (Arc<str>, Arc<str>) = ("anna".into(), "bert".into());
        let item = json!({ "id": "msg_1", "type": "message" });
        memory.remember(&anna, std::slice::from_ref(&item));
        assert_eq!(memory.recall(&anna, "msg_1"), Some(item));
        assert_eq!(memory.recall(&bert, "msg_1"), None);
        assert_eq!(memory.recall(&anna, "msg_2"), None);
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let memory = ItemMemory::new();
        let anna: Arc<str> = "anna".into();
        let large = "x".repeat(MOST_BYTES / 4);
        let ids: Vec<String> = (0..6).map(|i| format!("msg_{i}")).collect();
        for id in &ids {
            memory.remember(&anna, &[json!({ "id": id, "text": large })]);
        }
        let known: Vec<bool> = ids
            .iter()
            .map(|id| memory.recall(&anna, id).is_some())
            .collect();
        assert_eq!(known, [false, false, false, true, true, true]);
        // What is larger than everything is not remembered, and nothing else is either.
        let huge = "x".repeat(MOST_BYTES + 1);
        memory.remember(&anna, &[json!({ "id": "huge", "text": huge })]);
        assert_eq!(memory.recall(&anna, "huge"), None);
        let mut kept = memory.kept.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!((kept.bytes, kept.items.len(), kept.order.len()), (0, 0, 0));
        let small = |owner: &Arc<str>, since| KeptItem {
            owner: owner.clone(),
            since,
            text: "{}".into(),
        };
        let now = Instant::now();
        kept.add("old", small(&anna, now));
        kept.forget(now + AGE + Duration::from_secs(1));
        assert!(kept.items.is_empty());
    }
}
