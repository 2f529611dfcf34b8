//! A draft model that works for one target.

use std::time::Duration;

use card_core::cost::CostCurve;
use card_core::drafter::Drafter;
use card_core::forward::Model;
use card_core::policy::Mode;
use card_core::protocol::{DraftPlan, Drafted};
use card_core::types::Source;

use crate::forwards::{RunningForward, apply, decode, limits, ms};
use crate::language::{self, VOCAB};
use crate::recording::Replay;
use crate::scenario::{DrafterSpecs, Scenario};

/// A draft model with its drafter, for one target. A machine that drafts for several targets
/// has a seat for each.
pub(crate) struct Seat {
    pub(crate) drafter: Drafter,
    model: Box<dyn Model>,
}

impl Seat {
    /// A seat that knows of no sequence. `noise` is how far its model is off the target's.
    pub(crate) fn new(scenario: &Scenario, spec: &DrafterSpecs, noise: f32) -> Self {
        let limits = limits(&spec.forward_ms, scenario);
        let policy = &scenario.policy;
        let chain = policy.mode == Mode::DraftThenVerify;
        let plan = DraftPlan {
            chain: chain.then_some(policy.draft_len),
            branch: policy.branch,
            max_depth: policy.max_depth,
            cache_bytes: policy.cache_bytes,
            prefix_slots: scenario.load.parallel,
            lanes: policy.lanes,
        };
        let config = plan.config(Source::Draft, limits, VOCAB);
        let model: Box<dyn Model> = match &scenario.recording {
            Some(recording) => Box::new(Replay::new(
                language::target(scenario.seed, limits),
                recording.clone(),
                scenario.load.requests,
                scenario.load.prompt_tokens,
            )),
            None => Box::new(language::model(scenario.seed, noise, limits)),
        };
        Seat {
            drafter: Drafter::new(config, spec.cost()),
            model,
        }
    }

    /// Begins a forward, which takes `slow` times its cost; `None` if there is nothing to
    /// draft.
    pub(crate) fn begin(
        &mut self,
        now: Duration,
        cost: &CostCurve,
        slow: f64,
    ) -> Option<RunningForward> {
        let mut ops = Vec::new();
        self.drafter.take_ops(&mut ops);
        apply(&mut *self.model, ops);
        let forward = self.drafter.poll(now)?;
        decode(&mut *self.model, &forward);
        let rows = forward.rows.len().max(forward.pad_to);
        let end = now + ms(slow * cost.ms(rows as u32));
        Some(RunningForward {
            forward,
            start: now,
            end,
        })
    }

    /// The forward is over.
    pub(crate) fn finish(&mut self, running: &RunningForward, now: Duration) -> Drafted {
        self.drafter.complete(&running.forward, &*self.model, now)
    }
}
