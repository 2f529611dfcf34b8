//! Moves messages between the engine's channels and a gRPC stream, until either side ends.
//!
//! Whatever a link took is given back when it ends: its threads end, the lane ends, and the
//! lane's memory counts as free only then.

use std::time::Duration;

use card_engine::{DraftEnd, TargetEnd};
use card_wire::proto::{FromDrafter, ToDrafter};
use card_wire::{MOST_BYTES_FROM_DRAFTER, MOST_BYTES_TO_DRAFTER, Refusal, SharedVocabulary};
use prost::Message;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{Status, Streaming};

use crate::lane::GrantedLane;
use crate::limits::IN_FLIGHT;

/// A side that answers keep-alives but takes no message for so long is of no use.
const STALLED: Duration = Duration::from_secs(30);

/// On the drafter's machine: a lane here, a target behind the streams.
pub(crate) async fn drafter_side<O: Send + 'static>(
    lane: GrantedLane,
    mut incoming: Streaming<ToDrafter>,
    outgoing: mpsc::Sender<O>,
    wrap: impl Fn(FromDrafter) -> O + Clone + Send + 'static,
) -> Result<(), Status> {
    let GrantedLane {
        end: TargetEnd { to, mut from },
        mut intake,
        grant,
    } = lane;
    let (alive, mut gone) = watch::channel(());
    let (tell, ended) = oneshot::channel();
    let (out, runtime) = (outgoing.clone(), Handle::current());
    let answer = wrap.clone();
    thread("card-link-out", move || {
        let mut left_out = LeftOut::default();
        let next = || {
            loop {
                let message = card_wire::drafted_out(&from.recv()?);
                if message.encoded_len() <= MOST_BYTES_FROM_DRAFTER {
                    return Some(wrap(message));
                }
                left_out.note("drafts that are too large");
            }
        };
        let _ = tell.send(pass_on(&runtime, next, &out, &mut gone, STALLED));
        drop(out);
        // The lane may be in the middle of a step. What it holds is free when it has ended.
        while from.recv().is_some() {}
        drop(grant);
    })?;
    let (sender, mut receiver) = mpsc::channel(IN_FLIGHT);
    thread("card-link-in", move || {
        while let Some(input) = receiver.blocking_recv() {
            if !to.send(input) {
                return;
            }
        }
    })?;
    let take = async {
        let mut left_out = LeftOut::default();
        while let Some(message) = incoming.message().await? {
            let input = match intake.take(message) {
                Ok(Some(input)) => input,
                Ok(None) => {
                    let _ = outgoing.try_send(answer(card_wire::nothing_drafted()));
                    continue;
                }
                Err(Refusal::Message(why)) => {
                    left_out.note(&why);
                    // It is alive, and has nothing to say of what there is no room for here.
                    let _ = outgoing.try_send(answer(card_wire::nothing_drafted()));
                    continue;
                }
                Err(Refusal::Link(why)) => return Err(Status::invalid_argument(why)),
            };
            // A lane that is busy holds this up; the other side may be gone by then.
            let sent = tokio::select! {
                sent = sender.send(input) => sent.is_ok(),
                () = outgoing.closed() => false,
            };
            if !sent {
                break;
            }
        }
        Ok::<(), Status>(())
    };
    let result = until(take, ended).await;
    drop(alive);
    result
}

/// On the target's machine: its engine behind `end`, a drafter behind the streams.
pub(crate) async fn target_side<O: Send + 'static>(
    end: DraftEnd,
    vocabulary: SharedVocabulary,
    mut incoming: Streaming<FromDrafter>,
    outgoing: mpsc::Sender<O>,
    wrap: impl Fn(ToDrafter) -> O + Send + 'static,
) -> Result<(), Status> {
    let DraftEnd { mut inbox, outbox } = end;
    let (alive, mut gone) = watch::channel(());
    let (tell, ended) = oneshot::channel();
    let runtime = Handle::current();
    thread("card-link-out", move || {
        let mut left_out = LeftOut::default();
        let next = || {
            loop {
                let message = card_wire::input_out(inbox.recv()?);
                if message.encoded_len() <= MOST_BYTES_TO_DRAFTER {
                    return Some(wrap(message));
                }
                // The drafter does without it, and with what follows of that sequence.
                left_out.note("a sequence that is too long to be sent");
            }
        };
        let _ = tell.send(pass_on(&runtime, next, &outgoing, &mut gone, STALLED));
    })?;
    let take = async {
        let mut left_out = LeftOut::default();
        while let Some(message) = incoming.message().await? {
            match card_wire::drafted_in(message, vocabulary) {
                // Drafts the engine has no room for are of no use later either.
                Ok(drafted) => {
                    if !outbox.offer(drafted) {
                        break;
                    }
                }
                Err(Refusal::Message(why)) => left_out.note(&why),
                Err(Refusal::Link(why)) => return Err(Status::invalid_argument(why)),
            }
        }
        Ok::<(), Status>(())
    };
    let result = until(take, ended).await;
    drop(alive);
    result
}

/// Takes what comes until that ends, or nothing goes out any more.
async fn until(
    take: impl Future<Output = Result<(), Status>>,
    ended: oneshot::Receiver<SendingEnd>,
) -> Result<(), Status> {
    tokio::select! {
        taken = take => taken,
        over = ended => match over {
            Ok(SendingEnd::Stalled) => Err(Status::deadline_exceeded(format!(
                "the other side has taken nothing for {} s",
                STALLED.as_secs()
            ))),
            Ok(SendingEnd::Ended) | Err(_) => Ok(()),
        },
    }
}

/// Why nothing goes out any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendingEnd {
    /// There is nothing more, or nobody to take it.
    Ended,
    /// Nothing was taken for too long.
    Stalled,
}

/// Passes on what `next` waits for, on a thread of its own, until there is no more of it,
/// nobody listens, the link is gone, or nothing was taken for `most`.
fn pass_on<O>(
    runtime: &Handle,
    mut next: impl FnMut() -> Option<O>,
    outgoing: &mpsc::Sender<O>,
    gone: &mut watch::Receiver<()>,
    most: Duration,
) -> SendingEnd {
    while let Some(message) = next() {
        let message = match outgoing.try_send(message) {
            Ok(()) => continue,
            Err(TrySendError::Closed(_)) => return SendingEnd::Ended,
            Err(TrySendError::Full(message)) => message,
        };
        let over = runtime.block_on(async {
            tokio::select! {
                biased;
                // Nothing is ever sent there: it ends with the link.
                _ = gone.changed() => Some(SendingEnd::Ended),
                sent = outgoing.send(message) => sent.err().map(|_| SendingEnd::Ended),
                () = tokio::time::sleep(most) => Some(SendingEnd::Stalled),
            }
        });
        if let Some(over) = over {
            return over;
        }
    }
    SendingEnd::Ended
}

/// Says what was left out, ever more seldom.
#[derive(Default)]
struct LeftOut(u64);

impl LeftOut {
    fn note(&mut self, why: &str) {
        self.0 += 1;
        if self.0.is_power_of_two() {
            let count = self.0;
            tracing::warn!(count, "a message is left out: {why}");
        }
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Status> {
    let started = std::thread::Builder::new().name(name.into()).spawn(work);
    started
        .map(|_| ())
        .map_err(|e| Status::resource_exhausted(format!("no thread: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_takes_ends_the_link() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (_alive, mut gone) = watch::channel(());
        let (out, mut taken) = mpsc::channel(2);
        let short = Duration::from_millis(20);
        let mut count = 0;
        let next = || {
            count += 1;
            Some(count)
        };
        let over = pass_on(runtime.handle(), next, &out, &mut gone, short);
        assert_eq!(over, SendingEnd::Stalled);
        // What fitted was sent, in order.
        assert_eq!(taken.try_recv(), Ok(1));
        assert_eq!(taken.try_recv(), Ok(2));
    }

    #[test]
    fn whoever_waits_to_send_is_freed_when_the_link_or_the_listener_is_gone() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let long = Duration::from_secs(3600);
        let (alive, mut gone) = watch::channel(());
        let (out, taken) = mpsc::channel(1);
        let handle = runtime.handle().clone();
        let waiting = std::thread::spawn(move || {
            let over = pass_on(&handle, || Some(1), &out, &mut gone, long);
            (over, out)
        });
        drop(alive);
        let (over, out) = waiting.join().unwrap();
        assert_eq!(over, SendingEnd::Ended);
        let (_alive, mut gone) = watch::channel(());
        drop(taken);
        let over = pass_on(runtime.handle(), || Some(1), &out, &mut gone, long);
        assert_eq!(over, SendingEnd::Ended);
        let (out, _taken) = mpsc::channel(1);
        let over = pass_on(runtime.handle(), || None::<u8>, &out, &mut gone, long);
        assert_eq!(over, SendingEnd::Ended);
    }
}
