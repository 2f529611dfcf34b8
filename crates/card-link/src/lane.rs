//! A lane of the draft model for each target, within the machine's budget.

use std::sync::Arc;

use card_core::protocol::DraftPlan;
use card_engine::TargetEnd;
use card_wire::proto::{self, FromDrafter, from_drafter};
use card_wire::{Intake, SharedVocabulary};
use tonic::Status;

use crate::budget::{Budget, Grant};

/// Starts a lane for a target: its plan, its context, and the sequences it runs at a time.
pub type MakeLane = Arc<dyn Fn(&DraftPlan, u32, u32) -> Result<TargetEnd, String> + Send + Sync>;

/// What a machine drafts with, for all its targets.
#[derive(Clone)]
pub struct Drafting {
    /// The vocabulary of the draft model.
    pub vocabulary: SharedVocabulary,
    /// Starts a lane for each target.
    pub make: MakeLane,
    /// The context and the links that all targets get together.
    pub budget: Arc<Budget>,
}

/// A lane for one target, with what that target was granted.
pub(crate) struct GrantedLane {
    /// The end by which the target's messages reach the lane.
    pub(crate) end: TargetEnd,
    /// The check of those messages against what was granted.
    pub(crate) intake: Intake,
    /// The share of the machine's budget, given back when the lane has ended.
    pub(crate) grant: Grant,
}

impl Drafting {
    /// Takes a share of the budget and starts a lane for a target.
    #[allow(clippy::result_large_err)]
    pub(crate) async fn lane(&self, welcome: proto::Welcome) -> Result<GrantedLane, Status> {
        let grant = self.budget.take(welcome.context, welcome.sequences);
        let grant = grant.map_err(Status::resource_exhausted)?;
        let (make, vocabulary) = (self.make.clone(), self.vocabulary);
        let made = tokio::task::spawn_blocking(move || {
            let plan = card_wire::plan(&welcome, grant.sequences);
            let end = make(&plan, grant.context, grant.sequences)?;
            let intake = Intake::new(vocabulary, grant.context, grant.sequences);
            Ok::<GrantedLane, String>(GrantedLane { end, intake, grant })
        });
        // What a panic says is nothing for the other side.
        let made = made
            .await
            .map_err(|_| Status::internal("the draft model failed"))?;
        made.map_err(Status::resource_exhausted)
    }

    /// The first message of this side.
    pub(crate) fn hello(&self, scope: &str) -> FromDrafter {
        let hello = card_wire::hello(self.vocabulary, scope);
        FromDrafter {
            what: Some(from_drafter::What::Hello(hello)),
        }
    }
}
