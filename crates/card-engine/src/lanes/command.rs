//! What the engine asks of the target's thread.

use card_core::scheduler::{Learned, Request};
use card_core::types::{Tenant, Token};
use crossbeam_channel::Sender;

use super::link::TargetEnd;
use super::permits::AttachPermit;
use crate::stream::Cancelled;

/// A command to the target's thread.
pub(crate) enum Command {
    /// Begin a generation.
    Open(Box<Opening>),
    /// Use a drafter that came by itself.
    Attach(Attachment),
    /// Notice which drafters have left.
    Look,
    /// Send back what was learned so far.
    Learned(Sender<Learned>),
    /// Forget a text of a tenant.
    Forget(Tenant, Vec<Token>),
}

/// A generation that begins.
pub(crate) struct Opening {
    /// What to generate.
    pub(crate) request: Request,
    /// The scope of a drafter that drafts for this request, beside those that draft for all.
    pub(crate) scope: Option<String>,
    /// Raised once nobody wants the generation any more.
    pub(crate) cancelled: Cancelled,
}

/// A drafter on another machine that came by itself.
pub(crate) struct Attachment {
    /// The channels to it.
    pub(crate) end: TargetEnd,
    /// If there is a scope, it drafts only for the requests that name the scope.
    pub(crate) scope: Option<String>,
    /// Counts the drafter among those that came by themselves.
    pub(crate) permit: AttachPermit,
}
