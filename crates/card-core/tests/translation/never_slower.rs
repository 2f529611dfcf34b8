//! A drafter of another vocabulary in virtual time, on the target's lane: what its steps really take,
//! translation and every piece of a token included, decides whether it is used. So decoding with it
//! takes no longer than without.

use card_core::cost::CostCurve;
use card_core::driver::Driver;
use card_core::forward::Model;
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::translation::Translated;
use card_core::types::{SequenceId, Token};

use crate::letters::{DRAFT, LIMITS, Letters, TARGET, map, synthetic};
use crate::paced::{Clock, Lane, Paced, Written, run};
use crate::play::Play;

/// A text, how long it took, and the drafter's steps.
struct Timed {
    text: Vec<Token>,
    ms: f64,
    steps: usize,
}

/// Writes with a drafter whose forwards take `draft_ms` a row; the scheduler believes in a
/// millisecond at first.
fn write<M: Model>(mode: Mode, draft: M, draft_ms: f64) -> Timed {
    let clock = Clock::default();
    let play = Play {
        max_tokens: 380,
        ..Play::new(mode, Lanes::Shared)
    };
    let target = Paced {
        inner: Letters::new(TARGET, LIMITS),
        cost: CostCurve::from_points([(1, 10.0), (8, 10.5), (24, 12.0)]),
        clock: clock.clone(),
    };
    let paced = Paced {
        inner: draft,
        cost: CostCurve::from_points([(1, draft_ms), (24, 24.0 * draft_ms)]),
        clock: clock.clone(),
    };
    let model = Translated::new(Box::new(paced), map()).unwrap();
    let mut lane = Lane {
        drafter: play.drafter(&model),
        model,
        clock: clock.clone(),
        steps: 0,
    };
    let mut driver = Driver::new(play.scheduler(), Box::new(target));
    let sequence = SequenceId(1);
    let request = play.request(sequence, vec![0, 1, 6, 9]);
    driver.scheduler.open(request, clock.now()).unwrap();
    lane.drafter
        .handle(driver.scheduler.introduction(sequence).unwrap());
    let mut written = Written::default();
    run(&mut driver, &mut lane, &mut written);
    Timed {
        text: written.text,
        ms: 1e3 * clock.now().as_secs_f64(),
        steps: lane.steps,
    }
}

/// How many times as fast as plain decoding, and the drafter's steps.
fn against_plain<M: Model>(draft: impl Fn() -> M, draft_ms: f64) -> (f64, usize) {
    let plain = write(Mode::Plain, draft(), draft_ms);
    assert_eq!(plain.steps, 0);
    let auto = write(Mode::Auto, draft(), draft_ms);
    assert_eq!(plain.text, auto.text);
    (plain.ms / auto.ms, auto.steps)
}

#[test]
fn one_that_is_hardly_ever_right_costs_next_to_nothing() {
    for draft_ms in [0.2, 2.0, 8.0] {
        let (ratio, _) = against_plain(|| synthetic(DRAFT.len(), LIMITS), draft_ms);
        assert!(ratio > 0.92, "{ratio:.3} at {draft_ms} ms a piece");
    }
}

#[test]
fn one_that_is_right_is_used_as_far_as_its_pieces_are_cheap() {
    let letters = || Letters::new(DRAFT, LIMITS);
    let (cheap, many) = against_plain(letters, 0.2);
    assert!(cheap > 1.05, "{cheap:.3} times plain decoding");
    // It was said to take a millisecond, and takes as long as the target.
    let (dear, few) = against_plain(letters, 10.0);
    assert!(dear > 0.92, "{dear:.3} of plain decoding");
    assert!(
        few * 4 < many,
        "{few} steps, and {many} where they are cheap"
    );
}
