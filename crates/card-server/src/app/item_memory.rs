//! Items of earlier answers, which requests may refer to by their ids (`item_reference`): the
//! AI SDK does so by default instead of sending what was said.
//!
//! They are remembered in memory only, for an hour, as far as there is room, for the key that
//! was answered, and not where the request says `store: false`. Whoever has an eighth of the room
//! loses the oldest of the own items for a new one, so that nobody can take the room of all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use card_api::limits::RECALLED_BYTES;
use serde_json::Value;

/// How long an item is remembered.
const AGE: Duration = Duration::from_secs(3600);
/// Bytes of all items together, as JSON.
const MOST_BYTES: usize = 16 << 20;
/// Items.
const MOST_ITEMS: usize = 8192;
/// Bytes of all items of one owner.
const OWNER_BYTES: usize = MOST_BYTES / 8;
/// Items of one owner.
const OWNER_ITEMS: usize = MOST_ITEMS / 8;

/// Remembers items.
pub(crate) struct ItemMemory {
    kept: Mutex<KeptItems>,
}

/// Items by numbers. Every item is in `items`, `numbers` and the numbers of its owner, or in none
/// of them, and its bytes are counted twice: with all and with those of its owner.
#[derive(Default)]
struct KeptItems {
    /// By their numbers, the oldest first.
    items: BTreeMap<u64, KeptItem>,
    /// Numbers by ids, which are different whoever was answered.
    numbers: BTreeMap<String, u64>,
    /// What each owner has; nobody is in it who has nothing.
    owners: BTreeMap<Arc<str>, OwnedItems>,
    /// The number of the next item.
    next: u64,
    bytes: usize,
}

struct KeptItem {
    id: String,
    owner: Arc<str>,
    since: Instant,
    /// The item as JSON text.
    text: String,
}

/// The items of one owner.
#[derive(Default)]
struct OwnedItems {
    numbers: BTreeSet<u64>,
    bytes: usize,
}

impl ItemMemory {
    /// Nothing is remembered yet.
    pub(crate) fn new() -> Self {
        ItemMemory {
            kept: Mutex::default(),
        }
    }

    /// Remembers the items of an answer to `owner`, without the log probabilities of their text.
    pub(crate) fn remember(&self, owner: &Arc<str>, items: &[Value]) {
        let now = Instant::now();
        let items = items.iter().filter_map(|item| {
            Some(KeptItem {
                id: item["id"].as_str()?.to_owned(),
                owner: owner.clone(),
                since: now,
                text: without_logprobs(item).to_string(),
            })
        });
        let items: Vec<KeptItem> = items.collect();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for item in items {
            kept.add(item);
        }
        kept.forget(now);
    }

    /// The item of this id in an answer to `owner`.
    pub(crate) fn recall(&self, owner: &Arc<str>, id: &str) -> Option<Value> {
        let text = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.forget(Instant::now());
            let item = kept.items.get(kept.numbers.get(id)?)?;
            // A request may not refer to more, so it is not parsed either.
            if item.owner != *owner || item.text.len() > RECALLED_BYTES {
                return None;
            }
            item.text.clone()
        };
        serde_json::from_str(&text).ok()
    }
}

/// An item whose parts have no log probabilities, which no request sends back.
fn without_logprobs(item: &Value) -> Value {
    let Value::Object(fields) = item else {
        return item.clone();
    };
    let fields = fields.iter().map(|(name, value)| {
        let value = match value {
            Value::Array(parts) if name == "content" => {
                parts.iter().map(part_without_logprobs).collect()
            }
            other => other.clone(),
        };
        (name.clone(), value)
    });
    Value::Object(fields.collect())
}

fn part_without_logprobs(part: &Value) -> Value {
    let Value::Object(fields) = part else {
        return part.clone();
    };
    let fields = fields.iter().filter(|(name, _)| *name != "logprobs");
    let fields = fields.map(|(name, value)| (name.clone(), value.clone()));
    Value::Object(fields.collect())
}

impl KeptItems {
    /// Adds an item. Its owner loses the oldest of the own items where these have no room; an
    /// item that has no room by itself is not kept.
    fn add(&mut self, item: KeptItem) {
        let bytes = item.text.len();
        if bytes > OWNER_BYTES {
            return;
        }
        if let Some(&before) = self.numbers.get(&item.id) {
            self.remove(before);
        }
        let number = self.next;
        self.next += 1;
        let owner = item.owner.clone();
        self.numbers.insert(item.id.clone(), number);
        self.items.insert(number, item);
        self.bytes += bytes;
        let owned = self.owners.entry(owner.clone()).or_default();
        owned.numbers.insert(number);
        owned.bytes += bytes;
        while let Some(oldest) = self.too_much_of(&owner) {
            self.remove(oldest);
        }
    }

    /// The oldest item of an owner who has too many.
    fn too_much_of(&self, owner: &Arc<str>) -> Option<u64> {
        let owned = self.owners.get(owner)?;
        let full = owned.bytes > OWNER_BYTES || owned.numbers.len() > OWNER_ITEMS;
        owned.numbers.first().copied().filter(|_| full)
    }

    fn remove(&mut self, number: u64) {
        let Some(item) = self.items.remove(&number) else {
            return;
        };
        let bytes = item.text.len();
        self.numbers.remove(&item.id);
        self.bytes -= bytes;
        if let Some(owned) = self.owners.get_mut(&item.owner) {
            owned.numbers.remove(&number);
            owned.bytes -= bytes;
            if owned.numbers.is_empty() {
                self.owners.remove(&item.owner);
            }
        }
    }

    /// Forgets what is too old, and the oldest where there is no room.
    fn forget(&mut self, now: Instant) {
        while let Some((&number, item)) = self.items.first_key_value() {
            let full = self.bytes > MOST_BYTES || self.items.len() > MOST_ITEMS;
            let old = now.saturating_duration_since(item.since) > AGE;
            if !full && !old {
                return;
            }
            self.remove(number);
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
    fn log_probabilities_are_not_remembered() {
        let memory = ItemMemory::new();
        let anna: Arc<str> = "anna".into();
        let part = json!({ "type": "output_text", "text": "a", "logprobs": [{ "token": "a" }] });
        memory.remember(&anna, &[json!({ "id": "msg_1", "content": [part, 5] })]);
        let part = json!({ "type": "output_text", "text": "a" });
        assert_eq!(
            memory.recall(&anna, "msg_1"),
            Some(json!({ "id": "msg_1", "content": [part, 5] }))
        );
    }

    #[test]
    fn an_owner_loses_the_own_oldest_items_and_nobody_else_s() {
        let memory = ItemMemory::new();
        let (anna, bert): (Arc<str>, Arc<str>) = ("anna".into(), "bert".into());
        memory.remember(&bert, &[json!({ "id": "of_bert" })]);
        let large = "x".repeat(OWNER_BYTES / 4);
        let ids: Vec<String> = (0..6).map(|i| format!("msg_{i}")).collect();
        for id in &ids {
            memory.remember(&anna, &[json!({ "id": id, "text": large })]);
        }
        let known: Vec<bool> = ids
            .iter()
            .map(|id| memory.recall(&anna, id).is_some())
            .collect();
        assert_eq!(known, [false, false, false, true, true, true]);
        for i in 0..2 * OWNER_ITEMS {
            memory.remember(&anna, &[json!({ "id": format!("small_{i}") })]);
        }
        assert!(memory.recall(&anna, "msg_5").is_none());
        assert!(memory.recall(&bert, "of_bert").is_some());
        let kept = memory.kept.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(kept.items.len(), OWNER_ITEMS + 1);
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let memory = ItemMemory::new();
        let owners: Vec<Arc<str>> = (0..12).map(|i| format!("owner_{i}").into()).collect();
        let large = "x".repeat(OWNER_BYTES / 4);
        for owner in &owners {
            for i in 0..3 {
                let id = format!("{owner}_{i}");
                memory.remember(owner, &[json!({ "id": id, "text": large })]);
            }
        }
        assert_eq!(memory.recall(&owners[0], "owner_0_0"), None);
        assert!(memory.recall(&owners[11], "owner_11_2").is_some());
        // What has no room by itself is not remembered, and nothing is lost for it.
        let huge = "x".repeat(OWNER_BYTES);
        memory.remember(&owners[11], &[json!({ "id": "huge", "text": huge })]);
        assert_eq!(memory.recall(&owners[11], "huge"), None);
        assert!(memory.recall(&owners[11], "owner_11_0").is_some());
        let mut kept = memory.kept.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(kept.bytes <= MOST_BYTES);
        kept.forget(Instant::now() + AGE + Duration::from_secs(1));
        assert_eq!((kept.bytes, kept.items.len()), (0, 0));
        assert!(kept.numbers.is_empty() && kept.owners.is_empty());
    }
}
