//! A head of the target: a source on the target's lane that reads the target's hidden states.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod common;

use card_core::cost::CostCurve;
use card_core::drafter::Drafter;
use card_core::forward::{Forward, KvOp, Model};
use card_core::policy::Mode;
use card_core::protocol::{DraftInput, DraftPlan, Lanes};
use card_core::sampler::Sampling;
use card_core::scheduler::Shapes;
use card_core::types::{SequenceId, Source, SourceSet, Tenant, Token};
use common::{LIMITS, Setup, Transcript, VOCAB, model, run};

/// A target with a head and without a draft model.
fn with_head(noise: f32) -> Setup {
    Setup {
        mode: Mode::Auto,
        lanes: Lanes::Shared,
        draft_noise: None,
        head_noise: Some(noise),
        max_tokens: 200,
        ..Setup::default()
    }
}

fn plain(setup: &Setup) -> Transcript {
    run(&Setup {
        mode: Mode::Plain,
        head_noise: None,
        ..setup.clone()
    })
}

/// How many times faster than plain decoding, which writes the same.
fn gain(setup: &Setup) -> (f64, Transcript) {
    let (plain, with) = (plain(setup), run(setup));
    assert_eq!(plain.text, with.text);
    assert_eq!(plain.finish, with.finish);
    let times = plain.time.as_secs_f64() / with.time.as_secs_f64();
    (times, with)
}

/// How many accepted candidates were proposed by all of these sources.
fn accepted_of(outcome: &Transcript, sources: &[Source]) -> usize {
    let all = |set: &&SourceSet| sources.iter().all(|&s| set.contains(s));
    let accepted = outcome.rounds.iter().flat_map(|r| &r.accepted);
    accepted.filter(all).count()
}

#[test]
fn a_head_that_is_often_right_is_worth_accepted_tokens() {
    let mut before = f64::INFINITY;
    // Of more noise, less often right.
    for (noise, least) in [(0.0, 3.0), (0.5, 1.4)] {
        let (times, out) = gain(&with_head(noise));
        assert!(times > least, "{times} at noise {noise}");
        assert!(out.mean_accepted() > least, "{}", out.mean_accepted());
        assert!(out.mean_accepted() < before);
        before = out.mean_accepted();
    }
}

#[test]
fn a_head_works_whatever_lanes_and_modes_are_asked_for() {
    for lanes in [Lanes::Shared, Lanes::Disjoint] {
        for mode in [Mode::DraftThenVerify, Mode::Card, Mode::Auto] {
            let (_, out) = gain(&Setup {
                mode,
                lanes,
                ..with_head(0.0)
            });
            assert!(out.mean_accepted() > 2.0, "{mode:?} on {lanes:?}");
        }
    }
}

#[test]
fn a_head_that_does_not_pay_is_left_alone() {
    let (times, out) = gain(&Setup {
        head_ms: 9.0,
        target_ms: vec![(1, 10.0), (2, 20.0), (8, 80.0), (24, 240.0)],
        max_tokens: 300,
        ..with_head(2.0)
    });
    assert!(times > 0.97, "{times}");
    assert!(out.mean_accepted() < 1.2, "{}", out.mean_accepted());
}

#[test]
fn a_head_and_a_draft_model_on_another_lane_meet_in_one_tree() {
    let alone = with_head(0.7);
    let both = Setup {
        lanes: Lanes::Disjoint,
        draft_noise: Some(0.7),
        draft_ms: 3.0,
        ..alone.clone()
    };
    let (times, out) = gain(&both);
    assert!(accepted_of(&out, &[Source::Head]) > 0);
    assert!(accepted_of(&out, &[Source::Draft]) > 0);
    let agreed = accepted_of(&out, &[Source::Head, Source::Draft]);
    assert!(agreed > 0, "no candidate was proposed by both");
    let (without, _) = gain(&Setup {
        head_noise: None,
        ..both
    });
    assert!(times > 0.9 * without, "{times}, and {without} without");
}

#[test]
fn a_head_and_text_at_hand_meet_in_one_tree() {
    let base = Setup {
        lookup: true,
        ..with_head(0.5)
    };
    let expected = plain(&base).text[&0].clone();
    // What is expected is right until its middle.
    let mut prediction = expected.clone();
    for token in &mut prediction[100..] {
        *token = (*token + 1) % VOCAB as Token;
    }
    let (_, out) = gain(&Setup { prediction, ..base });
    assert!(accepted_of(&out, &[Source::Prediction]) > 0);
    assert!(accepted_of(&out, &[Source::Head]) > 0);
}

#[test]
fn the_state_behind_every_committed_token_is_kept() {
    let shapes = [
        Shapes::FREE,
        Shapes {
            redecide_below: Some(0.4),
            redecide_rows: 2,
            ..Shapes::FREE
        },
    ];
    for shapes in shapes {
        // Side branches are taken and decoded again, and the prompt is read in several forwards.
        let setup = Setup {
            mode: Mode::Card,
            shapes,
            prompts: vec![(0..30).map(|i| 1 + i % 22).collect()],
            ..with_head(1.0)
        };
        let (_, out) = gain(&setup);
        let length = 30 + out.text[&0].len() as u32;
        let kept: Vec<u32> = out.kept[&0].iter().copied().collect();
        let behind_all: Vec<u32> = (0..length - 1).collect();
        assert_eq!(kept, behind_all);
    }
}

#[test]
fn nothing_is_kept_for_a_plain_request_or_without_a_head() {
    let out = run(&Setup {
        plain: true,
        ..with_head(0.0)
    });
    assert!(out.kept.is_empty());
    assert!(out.rounds.iter().all(|r| r.offered == 0));
    let out = run(&Setup {
        head_noise: None,
        draft_noise: Some(0.0),
        ..with_head(0.0)
    });
    assert!(out.kept.is_empty());
}

/// One step of a drafter: the changes of the KV cache before it, its forward, and how many
/// expansions came of it.
fn step(drafter: &mut Drafter, head: &mut dyn Model) -> (Vec<KvOp>, Forward, usize) {
    let mut ops = Vec::new();
    drafter.take_ops(&mut ops);
    for &op in &ops {
        head.apply(op).unwrap();
    }
    let now = std::time::Duration::ZERO;
    let forward = drafter.poll(now).expect("there is something to do");
    head.forward(&forward).unwrap();
    let expansions = {
        let head: &dyn Model = head;
        drafter.complete(&forward, head, now).expansions
    };
    (ops, forward, expansions.len())
}

#[test]
fn a_head_reads_a_draft_again_once_it_is_committed() {
    let sequence = SequenceId(1);
    let plan = DraftPlan {
        chain: None,
        branch: 2,
        max_depth: 6,
        cache_bytes: 1 << 14,
        prefix_slots: 1,
        lanes: Lanes::Shared,
    };
    for (source, again) in [(Source::Head, true), (Source::Draft, false)] {
        let config = plan.config(source, LIMITS, VOCAB);
        let mut drafter = Drafter::new(config, CostCurve::default());
        let mut head = model(0.0);
        drafter.handle(DraftInput::Open {
            sequence,
            tenant: Tenant::SHARED,
            tokens: vec![3, 1, 4],
            params: Sampling::default(),
            end: 100,
            grammar: None,
        });
        let commit = |from, token| DraftInput::Commit {
            sequence,
            from,
            tokens: vec![token],
        };
        drafter.handle(commit(3, 1));
        let (_, read, _) = step(&mut drafter, &mut head);
        assert_eq!(read.rows.len(), 4);
        let (_, drafted, expansions) = step(&mut drafter, &mut head);
        assert_eq!(expansions, drafted.rows.len());
        // The target writes what was drafted.
        let draft = drafted.rows[0];
        assert_eq!(draft.position, 4);
        drafter.handle(commit(4, draft.token));
        let (ops, next, _) = step(&mut drafter, &mut head);
        let pruned = ops.contains(&KvOp::Prune { sequence });
        let read_again = next.rows[0].position == 4;
        assert_eq!((pruned, read_again), (again, again), "{source:?}");
        if again {
            let row = next.rows[0];
            assert_eq!((row.token, row.parent), (draft.token, None));
            assert_eq!(next.rows.len(), 1);
        }
    }
}
