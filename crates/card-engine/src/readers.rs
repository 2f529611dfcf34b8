//! The readers of the generations' events.
//!
//! The target's thread sends events, and so does whoever finds that thread dead or stuck. All
//! of them send through here, so that nothing follows the last event of a generation, and no
//! reader is left without a last event.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use card_core::types::SequenceId;
use crossbeam_channel::Sender;

use crate::event::{Event, Failure};

/// Events of one generation that may wait to be read.
///
/// The target never waits for a reader, so events pile up in front of one that does not read.
/// A round makes two of them, and each commits a token at least, so a context bounds them;
/// but a context may be long, and a round that is reported with its candidates takes
/// kilobytes. So many rounds are more than a slow reader leaves, and without candidates and
/// log probabilities cost about 20 MB.
pub(crate) const MOST_UNREAD: usize = 1 << 13;

/// The open generations. See the [module](self) documentation.
#[derive(Default)]
pub(crate) struct Readers {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    open: HashMap<SequenceId, Sender<Event>>,
    /// Why there will be no more events.
    closed: Option<Failure>,
}

impl Readers {
    /// A generation begins, and its events go to `events`.
    ///
    /// # Errors
    /// If there will be none, for this reason.
    pub(crate) fn add(&self, sequence: SequenceId, events: Sender<Event>) -> Result<(), Failure> {
        let mut inner = self.lock();
        match &inner.closed {
            Some(why) => Err(why.clone()),
            None => {
                inner.open.insert(sequence, events);
                Ok(())
            }
        }
    }

    /// Tells an event after which others follow; `false` if nobody reads them.
    pub(crate) fn tell(&self, sequence: SequenceId, event: Event) -> bool {
        let mut inner = self.lock();
        let Some(events) = inner.open.get(&sequence) else {
            return false;
        };
        let waiting = events.len();
        let told = if waiting < MOST_UNREAD {
            events.send(event).is_ok()
        } else {
            let _ = events.send(Event::Failed(Failure::Unread(waiting)));
            false
        };
        if !told {
            inner.open.remove(&sequence);
        }
        told
    }

    /// Tells the last event of a generation.
    pub(crate) fn end(&self, sequence: SequenceId, last: Event) {
        if let Some(events) = self.lock().open.remove(&sequence) {
            let _ = events.send(last);
        }
    }

    /// Removes a generation that did not begin after all, whose reader knows of that.
    pub(crate) fn forget(&self, sequence: SequenceId) {
        self.lock().open.remove(&sequence);
    }

    /// Ends all generations; others may begin.
    pub(crate) fn fail_all(&self, why: &Failure) {
        for (_, events) in self.lock().open.drain() {
            let _ = events.send(Event::Failed(why.clone()));
        }
    }

    /// Ends all generations, and no other begins. The first reason counts.
    pub(crate) fn close(&self, why: Failure) {
        let mut inner = self.lock();
        let why = inner.closed.get_or_insert(why).clone();
        for (_, events) in inner.open.drain() {
            let _ = events.send(Event::Failed(why.clone()));
        }
    }

    /// A panic while the lock was held leaves nothing half done here.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use card_core::scheduler::Finish;
    use crossbeam_channel::{Receiver, unbounded};

    use super::*;

    fn reader(readers: &Readers, sequence: u64) -> Receiver<Event> {
        let (sender, events) = unbounded();
        readers.add(SequenceId(sequence), sender).unwrap();
        events
    }

    fn stopped() -> Failure {
        Failure::Stopped("a test".into())
    }

    #[test]
    fn nothing_follows_the_last_event() {
        let lasts: [fn(&Readers); 3] = [
            |r| r.end(SequenceId(1), Event::Finished(Finish::Length)),
            |r| r.fail_all(&stopped()),
            |r| r.close(stopped()),
        ];
        for last in lasts {
            let readers = Readers::default();
            let events = reader(&readers, 1);
            assert!(readers.tell(SequenceId(1), Event::Tokens(vec![1])));
            last(&readers);
            assert!(!readers.tell(SequenceId(1), Event::Tokens(vec![2])));
            readers.end(SequenceId(1), Event::Finished(Finish::Stop));
            readers.close(stopped());
            let heard: Vec<Event> = events.iter().collect();
            assert_eq!(heard.len(), 2, "{heard:?}");
        }
    }

    #[test]
    fn after_the_end_nothing_begins_and_the_reason_is_told() {
        let readers = Readers::default();
        readers.close(stopped());
        readers.close(Failure::Stopped("another".into()));
        let (sender, events) = unbounded();
        let why = readers.add(SequenceId(1), sender).unwrap_err();
        assert!(why.to_string().contains("a test"), "{why}");
        assert!(events.recv().is_err());
    }

    #[test]
    fn a_reader_that_does_not_read_is_given_up() {
        let readers = Readers::default();
        let events = reader(&readers, 1);
        let other = reader(&readers, 2);
        for _ in 0..MOST_UNREAD {
            assert!(readers.tell(SequenceId(1), Event::Tokens(Vec::new())));
        }
        assert!(!readers.tell(SequenceId(1), Event::Tokens(Vec::new())));
        let last = events.iter().last();
        assert!(matches!(last, Some(Event::Failed(Failure::Unread(_)))));
        assert!(readers.tell(SequenceId(2), Event::Tokens(Vec::new())));
        assert_eq!(other.len(), 1);
    }

    #[test]
    fn a_reader_that_went_away_is_noticed() {
        let readers = Readers::default();
        drop(reader(&readers, 1));
        assert!(!readers.tell(SequenceId(1), Event::Tokens(vec![1])));
    }
}
