//! What only the scheduler itself can bring about.

use super::*;
use crate::cost::CostCurve;
use crate::forward::{Limits, Model, Rollback};
use crate::policy::{Policy, PolicyConfig};
use crate::protocol::Lanes;
use crate::sampler::Sampling;
use crate::synthetic::{Synthetic, SyntheticConfig};
use crate::types::Tenant;

const LIMITS: Limits = Limits {
    context: 100,
    cells: 200,
    rows: 3,
    leaves: 4,
    rollback: Rollback::Free,
};
const VOCAB: usize = 20;
const SEQUENCE: SequenceId = SequenceId(1);

#[test]
fn what_does_not_fit_one_forward_is_decoded_in_several() {
    let config = PolicyConfig {
        mode: Mode::Auto,
        lanes: Lanes::Shared,
        draft_len: 4,
    };
    let curves = || [CostCurve::default(), CostCurve::default()];
    let mut scheduler = Scheduler::new(
        SchedulerConfig {
            limits: LIMITS,
            vocab: VOCAB,
            shapes: Shapes::FREE,
            prefill_rows: 7,
            cache_bytes: 1 << 14,
            prefix_slots: 1,
            lookup: false,
            trace: false,
            near_tie: 0.0,
        },
        Policy::new(config, CostCurve::default(), curves()),
        Learned::default(),
    );
    let mut model = Synthetic::new(SyntheticConfig {
        vocab: VOCAB,
        seed: 5,
        spread: 2.0,
        noise: 0.0,
        noise_seed: 1,
        limits: LIMITS,
    });
    let request = Request {
        sequence: SEQUENCE,
        prompt: vec![3],
        tenant: Tenant::SHARED,
        params: Sampling::default(),
        max_tokens: 50,
        stop_tokens: Vec::new(),
        prediction: Vec::new(),
        logprobs: None,
        constraint: None,
        plain: false,
        most_candidates: None,
    };
    scheduler.open(request, Duration::ZERO).unwrap();
    let mut round = |scheduler: &mut Scheduler| {
        let Action::Forward(forward) = scheduler.poll(Duration::ZERO, &[]) else {
            panic!("there is nothing to wait for");
        };
        let mut ops = Vec::new();
        scheduler.take_ops(&mut ops);
        for op in ops {
            model.apply(op).unwrap();
        }
        model.forward(&forward).unwrap();
        scheduler.complete(&forward, &model, Duration::from_millis(1));
        forward.rows.len()
    };
    assert_eq!(round(&mut scheduler), 1);
    // A long side branch was taken, say: its tokens are to be decoded again.
    let seq = scheduler.sequences.get_mut(&SEQUENCE).unwrap();
    let branch = [1, 2, 3, 4, 5, 6];
    seq.text.tokens.extend(branch);
    seq.candidates.cache.correct(&branch);
    // With the one that was written, seven tokens in forwards of three rows.
    let written = seq.text.tokens.len();
    let rows: Vec<usize> = (0..4).map(|_| round(&mut scheduler)).collect();
    assert_eq!(rows, [3, 3, 1, 1]);
    assert_eq!(
        scheduler.tokens(SEQUENCE).map(<[_]>::len),
        Some(written + 2)
    );
}
