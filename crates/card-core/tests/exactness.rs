//! Whatever the drafter does, whenever it does it: the output is plain decoding's.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod common;

use std::time::Duration;

use card_core::forward::Rollback;
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::sampler::{Sampling, SamplingParams};
use card_core::scheduler::{Finish, Round, Shapes};
use card_core::types::SequenceId;
use common::{ScoutKind, Setup, run};
use proptest::prelude::*;

fn params() -> impl Strategy<Value = Sampling> {
    let filters = (0u32..8, 0.3f32..1.0, 0.0f32..0.2, 0.8f32..1.5, any::<u64>());
    let counted = (prop_oneof![Just(0.0f32), -0.5f32..1.0], 0u32..60);
    (prop_oneof![Just(0.0f32), 0.2f32..1.5], filters, counted).prop_map(
        |(
            temperature,
            (top_k, top_p, min_p, repeat_penalty, seed),
            (frequency_penalty, generated_from),
        )| {
            let params = SamplingParams {
                temperature,
                top_k,
                top_p,
                min_p,
                repeat_penalty,
                frequency_penalty,
                generated_from,
                seed,
                ..Default::default()
            };
            params.checked().unwrap()
        },
    )
}

fn scout_kinds() -> impl Strategy<Value = ScoutKind> {
    prop_oneof![
        4 => Just(ScoutKind::Sound),
        1 => Just(ScoutKind::Refuses),
        1 => Just(ScoutKind::Lies),
        1 => Just(ScoutKind::Fails),
    ]
}

/// In which mode, on which lanes and in which shapes of forward.
fn schedules() -> impl Strategy<Value = Setup> {
    let modes = prop_oneof![
        Just(Mode::DraftThenVerify),
        Just(Mode::Card),
        Just(Mode::Auto)
    ];
    let lanes = prop_oneof![Just(Lanes::Shared), Just(Lanes::Disjoint)];
    let shapes = prop_oneof![
        Just(Shapes::FREE),
        Just(Shapes {
            pad_to: 2,
            max_rows: 6,
            chain_only: true,
            alone: true,
            ..Shapes::FREE
        }),
        Just(Shapes {
            redecide_below: Some(0.4),
            redecide_rows: 2,
            prefill_alone: true,
            ..Shapes::FREE
        })
    ];
    (modes, lanes, shapes, params()).prop_map(|(mode, lanes, shapes, params)| Setup {
        mode,
        lanes,
        shapes,
        params,
        ..Setup::default()
    })
}

fn rollbacks() -> impl Strategy<Value = Rollback> {
    prop_oneof![
        Just(Rollback::Free),
        Just(Rollback::Checkpoint),
        (1u32..6).prop_map(|rows| Rollback::Bounded { rows }),
    ]
}

/// Who drafts, how much, and how the models take tokens back.
fn drafting() -> impl Strategy<Value = Setup> {
    let drafter = (
        proptest::option::weighted(0.9, 0.0f32..3.0),
        0.1f64..30.0,
        any::<bool>(),
    );
    let head = (proptest::option::weighted(0.5, 0.0f32..3.0), 0.1f64..10.0);
    let bounds = (1u32..8, 1usize..6, 1usize..200);
    (drafter, head, bounds, [rollbacks(), rollbacks()]).prop_map(
        |((draft_noise, draft_ms, far), (head_noise, head_ms), bounds, rollback)| {
            let (draft_len, branch, cache_nodes) = bounds;
            Setup {
                draft_noise,
                draft_ms,
                far,
                head_noise,
                head_ms,
                draft_len,
                branch,
                cache_nodes,
                rollback,
                ..Setup::default()
            }
        },
    )
}

/// What is written, and what else proposes it.
fn texts() -> impl Strategy<Value = Setup> {
    let prompts = prop::collection::vec(prop::collection::vec(0u32..23, 1..30), 1..4);
    let stop_tokens = prop_oneof![Just(vec![]), Just(vec![0])];
    let others = (any::<bool>(), prop::collection::vec(0u32..23, 0..40));
    let grammar = (
        proptest::option::weighted(0.4, prop::collection::vec(0u32..23, 1..4)),
        proptest::option::weighted(0.7, scout_kinds()),
    );
    (prompts, stop_tokens, others, grammar).prop_map(
        |(prompts, stop_tokens, (lookup, prediction), (allowed, scouts))| Setup {
            prompts,
            max_tokens: 40,
            stop_tokens,
            lookup,
            prediction,
            allowed,
            scouts,
            ..Setup::default()
        },
    )
}

/// What forwards of the target cost, and what goes wrong.
fn machines() -> impl Strategy<Value = Setup> {
    let steps = prop::collection::vec(0.0f64..8.0, 6);
    let garbage = proptest::option::weighted(0.3, any::<u64>());
    let dies = proptest::option::weighted(0.3, 0u64..400);
    let shape_change_ms = prop_oneof![Just([0.0; 2]), Just([6.0, 1.5])];
    (steps, garbage, dies, shape_change_ms).prop_map(|(steps, garbage, dies, shape_change_ms)| {
        let mut ms = 5.0;
        let target_ms = [1, 2, 4, 8, 16, 24].into_iter().zip(steps);
        let target_ms = target_ms.map(|(rows, step)| {
            ms += step;
            (rows, ms)
        });
        Setup {
            target_ms: target_ms.collect(),
            garbage,
            dies: dies.map(Duration::from_millis),
            shape_change_ms,
            ..Setup::default()
        }
    })
}

fn setups() -> impl Strategy<Value = Setup> {
    (schedules(), drafting(), texts(), machines()).prop_map(
        |(schedule, drafting, text, machine)| Setup {
            mode: schedule.mode,
            lanes: schedule.lanes,
            shapes: schedule.shapes,
            params: schedule.params,
            draft_noise: drafting.draft_noise,
            draft_ms: drafting.draft_ms,
            far: drafting.far,
            head_noise: drafting.head_noise,
            head_ms: drafting.head_ms,
            draft_len: drafting.draft_len,
            branch: drafting.branch,
            cache_nodes: drafting.cache_nodes,
            rollback: drafting.rollback,
            target_ms: machine.target_ms,
            garbage: machine.garbage,
            dies: machine.dies,
            shape_change_ms: machine.shape_change_ms,
            ..text
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..Default::default() })]

    #[test]
    fn output_is_plain_decoding(setup in setups()) {
        let plain = run(&Setup { mode: Mode::Plain, shapes: Shapes::FREE, garbage: None, ..setup.clone() });
        let free = [Rollback::Free; 2];
        let of_free = run(&Setup { mode: Mode::Plain, shapes: Shapes::FREE, garbage: None, rollback: free, ..setup.clone() });
        let fast = run(&setup);
        prop_assert_eq!(&plain.text, &of_free.text);
        prop_assert_eq!(&plain.text, &fast.text);
        prop_assert_eq!(&plain.finish, &fast.finish);
    }
}

#[test]
fn same_seed_same_run() {
    let setup = Setup {
        mode: Mode::Card,
        ..Default::default()
    };
    let (a, b) = (run(&setup), run(&setup));
    assert_eq!(a.time, b.time);
    assert_eq!(a.rounds.len(), b.rounds.len());
}

#[test]
fn a_good_drafter_on_its_own_lane_saves_time() {
    for (noise, least) in [(0.0, 3.0), (0.5, 1.5)] {
        let base = Setup {
            draft_noise: Some(noise),
            max_tokens: 200,
            ..Default::default()
        };
        let plain = run(&base);
        let card = run(&Setup {
            mode: Mode::Card,
            ..base.clone()
        });
        let ratio = plain.time.as_secs_f64() / card.time.as_secs_f64();
        assert!(ratio > least, "{ratio} at noise {noise}");
        assert!(card.hit_rate() > 0.8, "hit rate {}", card.hit_rate());
        assert!(card.mean_accepted() > least);
    }
}

#[test]
fn a_good_drafter_saves_time_where_forwards_are_filled_up() {
    for lanes in [Lanes::Shared, Lanes::Disjoint] {
        let base = Setup {
            lanes,
            shapes: Shapes {
                pad_to: 2,
                ..Shapes::FREE
            },
            draft_noise: Some(0.0),
            draft_ms: 1.0,
            max_tokens: 200,
            ..Default::default()
        };
        let plain = run(&base);
        let auto = run(&Setup {
            mode: Mode::Auto,
            ..base
        });
        assert_eq!(plain.text, auto.text);
        let ratio = plain.time.as_secs_f64() / auto.time.as_secs_f64();
        assert!(ratio > 1.5, "{ratio} with {lanes:?}");
    }
}

#[test]
fn auto_leaves_a_lane_to_plain_decoding_when_drafts_cost_too_much() {
    let base = Setup {
        lanes: Lanes::Shared,
        draft_ms: 9.0,
        target_ms: vec![(1, 10.0), (2, 20.0), (8, 80.0), (24, 240.0)],
        max_tokens: 300,
        ..Default::default()
    };
    let plain = run(&base);
    let auto = run(&Setup {
        mode: Mode::Auto,
        ..base
    });
    let ratio = plain.time.as_secs_f64() / auto.time.as_secs_f64();
    assert!(ratio > 0.98, "{ratio}");
}

#[test]
fn a_dead_drafter_costs_speed_only() {
    for mode in [Mode::DraftThenVerify, Mode::Card, Mode::Auto] {
        let base = Setup {
            mode,
            ..Default::default()
        };
        let whole = run(&base);
        let dead = run(&Setup {
            dies: Some(Duration::from_millis(40)),
            ..base
        });
        assert_eq!(whole.text, dead.text);
        assert!(dead.time >= whole.time);
    }
}

#[test]
fn a_full_context_ends_the_sequence() {
    let setup = Setup {
        mode: Mode::Card,
        max_tokens: 10_000,
        prompts: vec![(0..390).map(|i| 1 + i % 22).collect()],
        ..Default::default()
    };
    let out = run(&setup);
    assert_eq!(out.finish[&0], Finish::ContextFull);
    assert_eq!(out.text[&0].len(), 10);
}

#[test]
fn predicted_text_is_verified_many_tokens_at_a_time() {
    let base = Setup {
        draft_noise: None,
        lookup: true,
        max_tokens: 200,
        target_ms: vec![(1, 10.0), (24, 12.0)],
        ..Default::default()
    };
    let plain = run(&base);
    let card = Setup {
        mode: Mode::Auto,
        prediction: plain.text[&0].clone(),
        ..base
    };
    let predicted = run(&card);
    assert_eq!(plain.text, predicted.text);
    assert!(
        predicted.mean_accepted() > 8.0,
        "{}",
        predicted.mean_accepted()
    );
    // Predicted text that is all wrong costs next to nothing.
    let wrong = run(&Setup {
        prediction: (0..200).map(|i| (i * i) % 23).collect(),
        ..card
    });
    assert_eq!(plain.text, wrong.text);
    let ratio = plain.time.as_secs_f64() / wrong.time.as_secs_f64();
    assert!(ratio > 0.97, "{ratio}");
}

#[test]
fn predicted_text_is_verified_at_once_to_the_last_token_that_is_wanted() {
    // A processor: each row costs, but less than a forward of its own.
    let base = Setup {
        lanes: Lanes::Shared,
        lookup: true,
        draft_ms: 7.0,
        target_ms: vec![
            (1, 70.0),
            (2, 100.0),
            (4, 110.0),
            (8, 160.0),
            (16, 205.0),
            (32, 350.0),
        ],
        ..Default::default()
    };
    for max_tokens in 40..72 {
        let base = Setup {
            max_tokens,
            ..base.clone()
        };
        let prediction = run(&Setup {
            max_tokens: 120,
            ..base.clone()
        });
        let out = run(&Setup {
            mode: Mode::Auto,
            prediction: prediction.text[&0].clone(),
            ..base
        });
        // The prompt gives one token, the last one may be alone, and one is to measure.
        let alone = out.rounds.iter().filter(|r| r.tokens.len() == 1).count();
        assert!(alone <= 4, "{max_tokens}: {alone} rounds for one token");
    }
}

#[test]
fn a_request_that_shall_be_plain_is() {
    for lanes in [Lanes::Shared, Lanes::Disjoint] {
        let out = run(&Setup {
            mode: Mode::Card,
            lanes,
            plain: true,
            lookup: true,
            draft_noise: Some(0.0),
            ..Setup::default()
        });
        assert!(out.rounds.iter().all(|r| r.offered == 0));
        assert_eq!(out.text, run(&Setup::default()).text);
    }
}

#[test]
fn who_waits_for_its_turn_takes_no_speculation_from_the_one_that_runs() {
    let alone = Shapes {
        max_rows: 6,
        chain_only: true,
        alone: true,
        ..Shapes::FREE
    };
    let apart = Shapes {
        prefill_alone: true,
        ..Shapes::FREE
    };
    // The second prompt has more tokens than a forward may have rows, and while it is read the
    // first one goes on.
    let prompts = vec![vec![1, 2, 3, 4, 5], (0..300).map(|i| 1 + i % 22).collect()];
    for lanes in [Lanes::Shared, Lanes::Disjoint] {
        for shapes in [alone, apart] {
            let out = run(&Setup {
                mode: Mode::Card,
                lanes,
                shapes,
                draft_noise: Some(0.0),
                prompts: prompts.clone(),
                ..Default::default()
            });
            let decoding = |r: &&Round| r.sequence == SequenceId(0) && !r.prefill;
            let first: Vec<&Round> = out.rounds.iter().filter(decoding).collect();
            let tokens: usize = first.iter().map(|r| r.tokens.len()).sum();
            let mean = tokens as f64 / first.len().max(1) as f64;
            assert!(mean > 1.5, "{mean} with {lanes:?} and {shapes:?}");
        }
    }
}
