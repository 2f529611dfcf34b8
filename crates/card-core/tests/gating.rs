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

#[test]
fn texts_are_the_same() {
    for noise in [0.2, 1.0, 60.0] {
        let plain = run(&setup(Mode::Plain, noise));
        let auto = run(&setup(Mode::Auto, noise));
        assert_eq!(plain.text, auto.text);
    }
}
