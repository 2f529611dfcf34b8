//! A drafter far away that has nothing to say at a place: the target hears of it, and does not wait.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use card_core::cost::CostCurve;
use card_core::forward::{Limits, Model, Rollback};
use card_core::policy::{Mode, Policy, PolicyConfig};
use card_core::protocol::{Drafted, Expansion, Lanes};
use card_core::sampler::Sampling;
use card_core::scheduler::{Action, Learned, Request, Scheduler, SchedulerConfig, Shapes};
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_core::types::{Prob, Rows, SequenceId, Source, Tenant, Token};
use card_wire::{SharedVocabulary, drafted_in, drafted_out, proto};
use prost::Message;

const LIMITS: Limits = Limits {
    context: 100,
    cells: 200,
    rows: 16,
    leaves: 4,
    rollback: Rollback::Free,
};
const TOKENS: usize = 20;
const SEQUENCE: SequenceId = SequenceId(1);
const PROMPT: [Token; 3] = [3, 1, 4];

/// A scheduler that verifies chains of four from a lane of its own, and has written one token.
fn scheduler(now: Duration) -> Scheduler {
    let mut target = Synthetic::new(SyntheticConfig {
        vocab: TOKENS,
        seed: 5,
        spread: 2.0,
        noise: 0.0,
        noise_seed: 1,
        limits: LIMITS,
    });
    let mode = PolicyConfig {
        mode: Mode::DraftThenVerify,
        lanes: Lanes::Disjoint,
        draft_len: 4,
    };
    let drafts = [CostCurve::from_points([(1, 1.0)]), CostCurve::default()];
    let policy = Policy::new(mode, CostCurve::from_points([(1, 10.0), (8, 11.0)]), drafts);
    let config = SchedulerConfig {
        limits: LIMITS,
        vocab: TOKENS,
        shapes: Shapes::FREE,
        prefill_rows: 8,
        cache_bytes: 1 << 14,
        prefix_slots: 0,
        lookup: false,
        trace: false,
        near_tie: 0.0,
    };
    let mut scheduler = Scheduler::new(config, policy, Learned::default());
    let request = Request {
        sequence: SEQUENCE,
        prompt: PROMPT.to_vec(),
        tenant: Tenant::SHARED,
        params: Sampling::default(),
        max_tokens: 50,
        stop_tokens: Vec::new(),
        prediction: Vec::new(),
        logprobs: None,
        constraint: None,
        most_candidates: None,
        plain: false,
    };
    scheduler.open(request, now).unwrap();
    let Action::Forward(forward) = scheduler.poll(now, &[]) else {
        panic!("the prompt is to be read");
    };
    target.forward(&forward).unwrap();
    scheduler.complete(&forward, &target, now);
    scheduler
}

/// What a drafter proposes behind the first token that was written and `path`, over the wire.
fn heard(path: &[Token], children: &[Token]) -> Drafted {
    let drafted = Drafted {
        source: Source::Draft,
        expansions: vec![Expansion {
            sequence: SEQUENCE,
            root: PROMPT.len() as u32,
            path: path.to_vec(),
            children: children.iter().map(|&t| (t, Prob::clamped(0.9))).collect(),
        }],
        rows: Rows::clamped(1),
        started: Duration::ZERO,
        elapsed: Duration::from_millis(1),
    };
    let bytes = drafted_out(&drafted).encode_to_vec();
    let vocabulary = SharedVocabulary {
        fingerprint: 7,
        tokens: TOKENS as u32,
    };
    drafted_in(proto::FromDrafter::decode(&*bytes).unwrap(), vocabulary).unwrap()
}

#[test]
fn the_target_goes_on_where_a_drafter_far_away_found_nothing() {
    let now = Duration::from_millis(20);
    let mut scheduler = scheduler(now);
    scheduler.drafted(&heard(&[], &[7]), now);
    // One of four: the next one may come.
    let action = scheduler.poll(now, &[]);
    assert!(matches!(action, Action::Wait(_)), "{action:?}");
    scheduler.drafted(&heard(&[7], &[]), now);
    let Action::Forward(forward) = scheduler.poll(now, &[]) else {
        panic!("it waits in vain");
    };
    // The last token, and the one candidate.
    assert_eq!(forward.rows.len(), 2);
}
