//! What only the scheduler itself can bring about.

use super::*;
use crate::cost::CostCurve;
use crate::forward::{KvOp, Limits, Model, Rollback};
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

fn scheduler(limits: Limits) -> Scheduler {
    let config = PolicyConfig {
        mode: Mode::Auto,
        lanes: Lanes::Shared,
        draft_len: 4,
    };
    let curves = || [CostCurve::default(), CostCurve::default()];
    Scheduler::new(
        SchedulerConfig {
            limits,
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
    )
}

fn model(limits: Limits) -> Synthetic {
    Synthetic::new(SyntheticConfig {
        vocab: VOCAB,
        seed: 5,
        spread: 2.0,
        noise: 0.0,
        noise_seed: 1,
        limits,
    })
}

fn request() -> Request {
    Request {
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
    }
}

/// The forward that comes next.
fn next(scheduler: &mut Scheduler) -> Forward {
    match scheduler.poll(Duration::ZERO, &[]) {
        Action::Forward(forward) => forward,
        other => panic!("there is nothing to wait for: {other:?}"),
    }
}

#[test]
fn what_does_not_fit_one_forward_is_decoded_in_several() {
    let (mut scheduler, mut model) = (scheduler(LIMITS), model(LIMITS));
    scheduler.open(request(), Duration::ZERO).unwrap();
    let mut round = |scheduler: &mut Scheduler| {
        let forward = next(scheduler);
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

#[test]
fn changes_before_a_forward_that_was_not_done_are_no_part_of_the_next_ones_time() {
    let limits = Limits {
        rollback: Rollback::Checkpoint,
        ..LIMITS
    };
    let (mut scheduler, mut model) = (scheduler(limits), model(limits));
    scheduler.open(request(), Duration::ZERO).unwrap();
    next(&mut scheduler);
    let change = KvOp::Prune { sequence: SEQUENCE };
    scheduler.applied(change, Duration::from_millis(500));
    scheduler.abandon(Duration::ZERO);
    let forward = next(&mut scheduler);
    model.forward(&forward).unwrap();
    scheduler.complete(&forward, &model, Duration::from_millis(10));
    let rows = forward.rows.len() as u32;
    let found = scheduler.policy().target_cost().ms(rows);
    assert!((found - 10.0).abs() < 0.01, "{found}");
}

#[test]
fn a_forward_that_was_not_done_is_no_part_of_the_next_rounds_time() {
    let ms = Duration::from_millis;
    let (mut scheduler, mut model) = (scheduler(LIMITS), model(LIMITS));
    scheduler.open(request(), ms(0)).unwrap();
    let forward = next(&mut scheduler);
    model.forward(&forward).unwrap();
    scheduler.complete(&forward, &model, ms(10));
    // The next one is launched after 5 ms, and found to be impossible after half a second.
    assert!(matches!(scheduler.poll(ms(15), &[]), Action::Forward(_)));
    let mut ops = Vec::new();
    scheduler.take_ops(&mut ops);
    for op in ops {
        model.apply(op).unwrap();
    }
    scheduler.abandon(ms(515));
    let Action::Forward(forward) = scheduler.poll(ms(515), &[]) else {
        panic!("there is nothing to wait for");
    };
    model.forward(&forward).unwrap();
    scheduler.take_outputs();
    scheduler.complete(&forward, &model, ms(525));
    let outputs = scheduler.take_outputs();
    let rounds = outputs.iter().filter_map(|output| match output {
        Output::Round(round) => Some((round.elapsed, round.forward)),
        _ => None,
    });
    assert_eq!(rounds.collect::<Vec<_>>(), [(ms(15), ms(10))]);
}
