//! Moves messages between the engine's channels and a gRPC stream, until either side ends.

use card_engine::{DraftEnd, TargetEnd};
use card_wire::proto::{FromDrafter, ToDrafter};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::IN_FLIGHT;

/// On the drafter's machine: a lane behind `end`, a target behind the streams.
pub(crate) async fn drafter_side<O: Send + 'static>(
    end: TargetEnd,
    mut incoming: Streaming<ToDrafter>,
    outgoing: mpsc::Sender<O>,
    wrap: impl Fn(FromDrafter) -> O + Send + 'static,
) -> Result<(), Status> {
    let TargetEnd { to, mut from } = end;
    thread("card-link-out", move || {
        while let Some(drafted) = from.recv() {
            if outgoing
                .blocking_send(wrap(card_wire::drafted_out(&drafted)))
                .is_err()
            {
                return;
            }
        }
    })?;
    let (sender, mut receiver) = mpsc::channel(IN_FLIGHT);
    thread("card-link-in", move || {
        while let Some(input) = receiver.blocking_recv() {
            if !to.send(input) {
                return;
            }
        }
    })?;
    while let Some(message) = incoming.message().await? {
        let input = card_wire::input_in(message).map_err(Status::invalid_argument)?;
        if sender.send(input).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// On the target's machine: its engine behind `end`, a drafter behind the streams.
pub(crate) async fn target_side<O: Send + 'static>(
    end: DraftEnd,
    mut incoming: Streaming<FromDrafter>,
    outgoing: mpsc::Sender<O>,
    wrap: impl Fn(ToDrafter) -> O + Send + 'static,
) -> Result<(), Status> {
    let DraftEnd { mut inbox, outbox } = end;
    thread("card-link-out", move || {
        while let Some(input) = inbox.recv() {
            if outgoing
                .blocking_send(wrap(card_wire::input_out(input)))
                .is_err()
            {
                return;
            }
        }
    })?;
    while let Some(message) = incoming.message().await? {
        let drafted = card_wire::drafted_in(message).map_err(Status::invalid_argument)?;
        // Drafts the engine has no room for are of no use later either.
        if !outbox.offer(drafted) {
            break;
        }
    }
    Ok(())
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Status> {
    let started = std::thread::Builder::new().name(name.into()).spawn(work);
    started
        .map(|_| ())
        .map_err(|e| Status::resource_exhausted(format!("no thread: {e}")))
}
