//! Rounds as they happen, for whoever looks at the page.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::broadcast::{self, Receiver};

/// Pages of one user that may look at rounds at a time. Each user has so many: however many pages
/// one has open, another one finds a seat.
const SEATS: usize = 32;
/// Pages of all users that may look on at a time: their connections never end by themselves.
const ALL_SEATS: usize = 256;
/// Records that wait for a page; one that is further behind misses some.
const BACKLOG: usize = 256;

/// Hands records of generations to the pages of their owner that look on.
pub(crate) struct LiveRounds {
    /// The users whose pages look on, by their names.
    owners: Mutex<HashMap<Arc<str>, LiveOwner>>,
}

/// A user whose pages look on.
struct LiveOwner {
    /// Records as JSON text.
    sender: broadcast::Sender<Arc<str>>,
    /// Seats that are taken; at least one.
    seats: usize,
}

/// A page's seat among those of its user, given back when this is dropped.
pub(crate) struct LiveSeat {
    /// What is shown to the user from now on.
    pub(crate) records: Receiver<Arc<str>>,
    owner: Arc<str>,
    rounds: Arc<LiveRounds>,
}

impl LiveRounds {
    /// Nobody looks on yet.
    pub(crate) fn new() -> Self {
        LiveRounds {
            owners: Mutex::default(),
        }
    }

    /// A seat for a page of this user, if one of the user's seats is free, and one of all.
    pub(crate) fn seat(self: &Arc<Self>, owner: &Arc<str>) -> Option<LiveSeat> {
        let mut owners = self.lock();
        if owners.values().map(|entry| entry.seats).sum::<usize>() >= ALL_SEATS {
            return None;
        }
        let entry = owners.entry(owner.clone()).or_insert_with(|| LiveOwner {
            sender: broadcast::Sender::new(BACKLOG),
            seats: 0,
        });
        if entry.seats >= SEATS {
            return None;
        }
        entry.seats += 1;
        Some(LiveSeat {
            records: entry.sender.subscribe(),
            owner: owner.clone(),
            rounds: self.clone(),
        })
    }

    /// Shows a record to its owner. The record is only made if a page of the owner looks on.
    pub(crate) fn show(&self, owner: &Arc<str>, record: impl FnOnce() -> Value) {
        let sender = self.lock().get(owner).map(|entry| entry.sender.clone());
        if let Some(sender) = sender {
            let _ = sender.send(record().to_string().into());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, LiveOwner>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LiveSeat {
    fn drop(&mut self) {
        let mut owners = self.rounds.lock();
        if let Some(entry) = owners.get_mut(&self.owner) {
            entry.seats -= 1;
            if entry.seats == 0 {
                owners.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_user_takes_no_seat_of_another() {
        let rounds = Arc::new(LiveRounds::new());
        let (anna, bert): (Arc<str>, Arc<str>) = ("anna".into(), "bert".into());
        let mut taken: Vec<LiveSeat> = (0..SEATS).map(|_| rounds.seat(&anna).unwrap()).collect();
        assert!(rounds.seat(&anna).is_none());
        let mut of_bert = rounds.seat(&bert).unwrap();
        rounds.show(&anna, || json!("of anna"));
        assert!(of_bert.records.try_recv().is_err());
        for seat in &mut taken {
            assert_eq!(&*seat.records.try_recv().unwrap(), "\"of anna\"");
        }
        taken.pop();
        assert!(rounds.seat(&anna).is_some(), "one was given back");
        // All users together have no more than there are.
        let others = ALL_SEATS - taken.len() - 1;
        let of_others: Vec<LiveSeat> = (0..others)
            .map(|n| rounds.seat(&format!("user {}", n % 16).into()).unwrap())
            .collect();
        assert!(rounds.seat(&"one more".into()).is_none());
        drop(of_others);
        // Of a user whose pages are closed nothing is kept, and nothing is made.
        drop(taken);
        assert_eq!(rounds.lock().len(), 1);
        rounds.show(&anna, || unreachable!("nobody looks on"));
    }
}
