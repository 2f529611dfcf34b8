//! Drafters on lanes of their own that slow the target down.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod common;

use card_core::policy::Mode;
use card_core::protocol::Lanes;
use common::{Setup, run};

/// A drafter that is the less often right the more noise it has; beside it the target takes
/// longer.
fn setup(mode: Mode, noise: f32) -> Setup {
    Setup {
        mode,
        lanes: Lanes::Disjoint,
        draft_noise: (mode != Mode::Plain).then_some(noise),
        alone: 0.9,
        // Rows cost enough for useless drafts not to be verified.
        target_ms: vec![(1, 10.0), (24, 100.0)],
        max_tokens: 380,
        ..Setup::default()
    }
}

fn against_plain(noise: f32) -> f64 {
    let time = |mode| run(&setup(mode, noise)).time.as_secs_f64();
    time(Mode::Plain) / time(Mode::Auto)
}

#[test]
fn one_that_brings_nothing_is_gated() {
    let ratio = against_plain(60.0);
    assert!(ratio > 0.96, "{ratio:.3} of plain decoding");
    let rounds = run(&setup(Mode::Auto, 60.0)).rounds;
    assert!(rounds.iter().any(|r| r.why.gated));
    // It is tried again.
    let gated = rounds.iter().rposition(|r| r.why.gated).unwrap();
    assert!(rounds[..gated].iter().skip(100).any(|r| !r.why.gated));
}

#[test]
fn one_that_pays_is_not() {
    let ratio = against_plain(0.2);
    assert!(ratio > 1.2, "{ratio:.3} of plain decoding");
    let rounds = run(&setup(Mode::Auto, 0.2)).rounds;
    assert!(rounds.iter().all(|r| !r.why.gated));
}

/// A head of the target, and beside it a drafter on another lane that slows the target down.
fn beside_a_head(head_noise: f32, draft_noise: f32) -> Setup {
    Setup {
        mode: Mode::Auto,
        lanes: Lanes::Disjoint,
        head_noise: Some(head_noise),
        draft_noise: Some(draft_noise),
        alone: 0.8,
        max_tokens: 380,
        ..Setup::default()
    }
}

#[test]
fn one_that_brings_nothing_is_gated_however_good_the_head_beside_it_is() {
    let both = run(&beside_a_head(0.0, 60.0));
    let gated = both.rounds.iter().filter(|r| r.why.gated).count();
    let all = both.rounds.len();
    assert!(2 * gated > all, "{gated} of {all} rounds");
    assert!(both.mean_accepted() > 2.0, "{}", both.mean_accepted());
    let alone = run(&Setup {
        draft_noise: None,
        ..beside_a_head(0.0, 0.0)
    });
    assert_eq!(both.text, alone.text);
    // Its trials cost a part of the time in which they are made.
    let ratio = alone.time.as_secs_f64() / both.time.as_secs_f64();
    assert!(ratio > 0.85, "{ratio:.3} of the head's speed");
}

#[test]
fn one_that_pays_is_not_gated_beside_a_head_that_brings_nothing() {
    let rounds = run(&beside_a_head(60.0, 0.0)).rounds;
    assert!(rounds.iter().all(|r| !r.why.gated));
}

#[test]
fn texts_are_the_same() {
    for noise in [0.2, 1.0, 60.0] {
        let plain = run(&setup(Mode::Plain, noise));
        let auto = run(&setup(Mode::Auto, noise));
        assert_eq!(plain.text, auto.text);
    }
}

#[test]
fn a_target_that_has_half_the_processors_beside_one_takes_them_back() {
    // What the target's forwards take depends on the number of its threads.
    let half = |mode, noise| Setup {
        alone: 0.55,
        ..setup(mode, noise)
    };
    let against_plain = |noise| {
        let time = |mode| run(&half(mode, noise)).time.as_secs_f64();
        time(Mode::Plain) / time(Mode::Auto)
    };
    for noise in [60.0, 2.0, 1.0, 0.5, 0.2, 0.0] {
        let ratio = against_plain(noise);
        assert!(ratio > 0.92, "{ratio:.3} of plain decoding, noise {noise}");
    }
}
