//! Models that cannot take back any token, as targets and as drafters: every mode writes plain
//! decoding's text, and the made-up models check that nothing is asked of them that they cannot
//! do.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod common;

use card_core::forward::Rollback;
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::scheduler::{Round, Shapes};
use card_core::types::Token;
use common::{Setup, converse, run};

const KINDS: [Rollback; 5] = [
    Rollback::Free,
    Rollback::Bounded { rows: 1 },
    Rollback::Bounded { rows: 2 },
    Rollback::Bounded { rows: 5 },
    Rollback::Checkpoint,
];
const MODES: [Mode; 4] = [Mode::Plain, Mode::DraftThenVerify, Mode::Card, Mode::Auto];

/// Forwards of any shape, of one class, and those in which close decisions are made again.
fn shapes() -> [Shapes; 3] {
    [
        Shapes::FREE,
        Shapes {
            pad_to: 2,
            max_rows: 6,
            alone: true,
            ..Shapes::FREE
        },
        Shapes {
            redecide_below: Some(0.4),
            redecide_rows: 2,
            prefill_alone: true,
            ..Shapes::FREE
        },
    ]
}

fn prompts(count: usize) -> Vec<Vec<Token>> {
    (0..count as Token)
        .map(|i| (0..5 + i).map(|j| (7 * i + 3 * j) % 23).collect())
        .collect()
}

/// Every mode, kind of model, lane and shape of forward, with this change.
fn all(change: impl Fn(&mut Setup), check: impl Fn(&Setup)) {
    for target in KINDS {
        for draft in [KINDS[0], KINDS[3], KINDS[4]] {
            for mode in MODES {
                for lanes in [Lanes::Shared, Lanes::Disjoint] {
                    for shapes in shapes() {
                        let mut setup = Setup {
                            mode,
                            lanes,
                            shapes,
                            rollback: [target, draft],
                            ..Setup::default()
                        };
                        change(&mut setup);
                        check(&setup);
                    }
                }
            }
        }
    }
}

#[test]
fn every_mode_writes_plain_decodings_text_alone_and_batched() {
    for count in [1, 3] {
        let expected = run(&Setup {
            prompts: prompts(count),
            ..Setup::default()
        });
        let change = |setup: &mut Setup| setup.prompts = prompts(count);
        all(change, |setup| {
            let out = run(setup);
            assert_eq!(out.text, expected.text, "{setup:?}");
            assert_eq!(out.finish, expected.finish, "{setup:?}");
        });
    }
}

#[test]
fn so_it_is_with_the_model_free_sources_alone() {
    let expected = run(&Setup::default());
    let mut prediction = expected.text[&0].clone();
    // Now and then it is wrong.
    for token in prediction.iter_mut().skip(5).step_by(7) {
        *token = (*token + 1) % 23;
    }
    let change = |setup: &mut Setup| {
        setup.draft_noise = None;
        setup.lookup = true;
        setup.prediction = prediction.clone();
    };
    all(change, |setup| {
        assert_eq!(run(setup).text, expected.text, "{setup:?}");
    });
}

#[test]
fn a_conversation_goes_on_from_its_last_turn() {
    let turns = || prompts(4);
    let expected = converse(&Setup {
        prompts: turns(),
        max_tokens: 20,
        ..Setup::default()
    });
    let change = |setup: &mut Setup| {
        setup.prompts = turns();
        setup.max_tokens = 20;
    };
    all(change, |setup| {
        let out = converse(setup);
        assert_eq!(out.text, expected.text, "{setup:?}");
        let later = |r: &&Round| r.sequence.0 > 0;
        // What the last forward of a turn did not keep is read again, nothing else.
        let reused = out.rounds.iter().filter(later).all(|r| r.reused > 0);
        assert!(reused, "{setup:?}");
    });
}

#[test]
fn what_a_model_cannot_take_back_it_is_not_offered() {
    for (target, most) in [
        (Rollback::Bounded { rows: 3 }, 3),
        (Rollback::Checkpoint, 60),
    ] {
        let out = run(&Setup {
            mode: Mode::Card,
            draft_noise: Some(2.0),
            rollback: [target, Rollback::Free],
            ..Setup::default()
        });
        assert!(out.rounds.iter().all(|r| r.offered <= most));
        // One chain: of two candidates one follows the other.
        let chain = |r: &Round| {
            let parents = r.nodes.iter().map(|n| n.parent);
            (0usize..).zip(parents).all(|(i, p)| p == i.checked_sub(1))
        };
        assert!(out.rounds.iter().all(chain));
        if target == Rollback::Checkpoint {
            // A forward with a rejection is followed by one that offers nothing.
            for pair in out.rounds.windows(2) {
                let rejected = pair[0].accepted.len() < pair[0].offered;
                assert!(!rejected || pair[1].offered == 0, "{pair:?}");
            }
        }
    }
}

#[test]
fn a_drafter_whose_states_are_used_up_is_not_waited_for() {
    let plain = run(&Setup::default());
    for draft in [Rollback::Bounded { rows: 5 }, Rollback::Checkpoint] {
        for mode in [Mode::DraftThenVerify, Mode::Card] {
            // It has eight states, and the plan asks for twelve tokens.
            let out = run(&Setup {
                mode,
                draft_noise: Some(0.0),
                draft_len: 12,
                rollback: [Rollback::Free, draft],
                ..Setup::default()
            });
            assert_eq!(plain.text, out.text);
            // In vain the target would wait for a second.
            let time = out.time;
            assert!(time < plain.time && time.as_secs() < 1, "{time:?} {mode:?}");
        }
    }
}

#[test]
fn a_good_drafter_pays_and_a_bad_one_costs_next_to_nothing() {
    for rollback in [Rollback::Bounded { rows: 5 }, Rollback::Checkpoint] {
        for lanes in [Lanes::Shared, Lanes::Disjoint] {
            let base = Setup {
                lanes,
                rollback: [rollback, Rollback::Checkpoint],
                max_tokens: 300,
                ..Setup::default()
            };
            let ratio = |change: Setup| {
                let plain = run(&Setup {
                    mode: Mode::Plain,
                    ..change.clone()
                });
                let auto = run(&Setup {
                    mode: Mode::Auto,
                    ..change
                });
                assert_eq!(plain.text, auto.text);
                plain.time.as_secs_f64() / auto.time.as_secs_f64()
            };
            let good = ratio(Setup {
                draft_noise: Some(0.0),
                draft_ms: 1.0,
                ..base.clone()
            });
            assert!(good > 1.5, "{good} with {rollback:?} and {lanes:?}");
            // A row costs nearly a forward, and the drafter is often wrong.
            let bad = ratio(Setup {
                draft_noise: Some(3.0),
                draft_ms: 5.0,
                target_ms: vec![(1, 10.0), (2, 18.0), (8, 70.0), (24, 220.0)],
                ..base.clone()
            });
            assert!(bad > 0.9, "{bad} with {rollback:?} and {lanes:?}");
        }
    }
}
