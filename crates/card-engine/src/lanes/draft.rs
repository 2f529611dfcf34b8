//! A draft model as an engine is given it, and the thread that brings it back after a failure.

use std::time::Duration;

use card_core::forward::Model;
use crossbeam_channel::{Receiver, bounded};

use super::link::{DraftEnd, TargetEnd, ends};

/// Makes a draft model anew after it failed; says why it cannot.
pub type MakeModel = Box<dyn FnMut() -> Result<Box<dyn Model + Send>, String> + Send>;

/// Connects to a drafter on another machine, and moves messages until either side drops its
/// end; says why it cannot.
pub type Dial = Box<dyn FnMut(DraftEnd) -> Result<(), String> + Send>;

/// A draft model, and how it comes back after a failure.
pub struct Draft {
    /// A model on this machine, ready; `None` for one on another machine, which is dialled.
    pub(super) model: Option<Box<dyn Model + Send>>,
    /// How it comes back; `None` if it stays away once it failed.
    pub(super) revival: Option<Revival>,
    /// It is a head of the target, not a model of its own.
    pub(super) head: bool,
}

/// How a drafter comes back.
pub(super) enum Revival {
    /// A model on this machine is made anew.
    Make(MakeModel),
    /// A drafter on another machine is dialled again.
    Dial(Dial),
}

/// A drafter that is back.
pub(super) enum Revived {
    /// A model on this machine, to be put on a lane.
    Model(Box<dyn Model + Send>),
    /// The channels to a drafter on another machine.
    Linked(TargetEnd),
}

/// What a starting thread gives back: the means to try again, and the drafter, or why there is
/// none.
pub(super) type RevivalResult = (Revival, Result<Revived, String>);

impl Draft {
    /// A model that `again` makes anew after a failure.
    pub fn new(model: Box<dyn Model + Send>, again: MakeModel) -> Self {
        Draft {
            model: Some(model),
            revival: Some(Revival::Make(again)),
            head: false,
        }
    }

    /// A head of the target, which `again` makes anew after a failure. It is always on the target's
    /// lane, since it reads hidden states of the target, which has to keep them
    /// ([`Model::keeps_hidden`]).
    pub fn head(model: Box<dyn Model + Send>, again: MakeModel) -> Self {
        Draft {
            head: true,
            ..Draft::new(model, again)
        }
    }

    /// A drafter on another machine; it is dialled again whenever the connection is lost.
    pub fn remote(dial: Dial) -> Self {
        Draft {
            model: None,
            revival: Some(Revival::Dial(dial)),
            head: false,
        }
    }

    /// Whether it is on another machine.
    pub(super) fn is_remote(&self) -> bool {
        self.model.is_none()
    }
}

impl From<Box<dyn Model + Send>> for Draft {
    /// A model that stays away once it failed.
    fn from(model: Box<dyn Model + Send>) -> Self {
        Draft {
            model: Some(model),
            revival: None,
            head: false,
        }
    }
}

/// Brings a drafter back on a thread of its own, for which the target does not wait. `None` if
/// the system gives no thread. The channel closes without a result if the thread panics.
pub(super) fn revive(mut revival: Revival, latency: Duration) -> Option<Receiver<RevivalResult>> {
    let (sender, revived) = bounded(1);
    let thread = std::thread::Builder::new().name("card-revive".into());
    let started = thread.spawn(move || {
        let result = match &mut revival {
            Revival::Make(make) => make().map(Revived::Model),
            Revival::Dial(dial) => {
                let (near, far) = ends(latency);
                dial(far).map(|()| Revived::Linked(near))
            }
        };
        let _ = sender.send((revival, result));
    });
    started.ok().map(|_| revived)
}
