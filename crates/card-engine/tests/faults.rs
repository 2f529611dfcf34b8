//! Drafters that panic, fail or hang, and many sequences at once: every text is plain
//! decoding's, and the drafter comes back. On made-up models, so that it takes no time.

#![allow(clippy::unwrap_used)]

mod made_up;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use card_core::cost::CostCurve;
use card_core::forward::Model;
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_engine::{Draft, Engine, Options};
use crossbeam_channel::{Receiver, bounded};
use made_up::{Call, alone, before, failure, model, options, read, request, slow};

#[derive(Clone)]
enum Fault {
    Panic,
    Error,
    /// Until the other end of the channel goes.
    Hang(Receiver<()>),
}

/// A draft model that breaks at its fifth forward.
fn faulty(fault: Fault) -> Box<dyn Model + Send> {
    let mut forwards = 0;
    before(0.4, move |call| {
        let Call::Forward(_) = call else {
            return Ok(());
        };
        forwards += 1;
        match &fault {
            _ if forwards < 5 => Ok(()),
            Fault::Panic => panic!("a drafter that panics, on purpose"),
            Fault::Error => Err(failure("a drafter that fails")),
            Fault::Hang(until) => {
                let _ = until.recv();
                Ok(())
            }
        }
    })
}

fn survives(fault: Fault, lanes: Lanes) {
    let expected = alone(8);
    let made = Arc::new(AtomicU32::new(0));
    let counted = made.clone();
    let first = faulty(fault.clone());
    // The second one breaks as well, the third is sound.
    let again = move || -> Result<Box<dyn Model + Send>, String> {
        match counted.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(faulty(fault.clone())),
            1 => Err("not yet".into()),
            _ => Ok(Box::new(model(0.4))),
        }
    };
    let draft = Draft::new(first, Box::new(again));
    let engine = Engine::start(slow(), [draft], options(Mode::Card, lanes)).unwrap();
    // Until it is back for good: the pauses between are milliseconds.
    for _ in 0..200 {
        let streams: Vec<_> = (0..8)
            .map(|i| engine.generate(request(i)).unwrap())
            .collect();
        for (i, stream) in streams.iter().enumerate() {
            assert_eq!(read(stream), expected[i], "text {i}");
        }
        if made.load(Ordering::SeqCst) == 3 && engine.lane_times().drafters == 1 {
            break;
        }
    }
    let times = engine.lane_times();
    assert_eq!(times.drafters, 1, "the drafter is back");
    assert_eq!(times.drafter_failures, 3);
}

#[test]
fn a_drafter_that_panics() {
    survives(Fault::Panic, Lanes::Shared);
    survives(Fault::Panic, Lanes::Disjoint);
}

#[test]
fn a_drafter_that_fails() {
    survives(Fault::Error, Lanes::Shared);
    survives(Fault::Error, Lanes::Disjoint);
}

#[test]
fn a_drafter_that_hangs() {
    let (_until, wait) = bounded(0);
    survives(Fault::Hang(wait), Lanes::Disjoint);
}

#[test]
fn a_drafter_that_costs_too_much_rests_and_is_tried_again() {
    let expected = alone(8);
    let draft: Box<dyn Model + Send> = Box::new(model(0.4));
    let options = Options {
        // Without it the target is said to take no time.
        target_cost_alone: Some(CostCurve::from_points([(1, 1e-6)])),
        ..options(Mode::Auto, Lanes::Disjoint)
    };
    let engine = Engine::start(slow(), [draft], options).unwrap();
    let mut steps = Vec::new();
    for (i, text) in expected.iter().enumerate() {
        assert_eq!(&read(&engine.generate(request(i as u32)).unwrap()), text);
        steps.push(engine.lane_times().draft_forwards);
    }
    assert!(steps[0] > 0);
    // The step it was at when it was told is its last for two hundred tokens.
    assert!(steps[2] <= steps[0] + 1, "{steps:?}");
    assert!(steps[7] > steps[2], "{steps:?}");
}

#[test]
fn many_at_once_write_what_each_writes_alone() {
    let expected = alone(24);
    for lanes in [Lanes::Shared, Lanes::Disjoint] {
        let draft: Box<dyn Model + Send> = Box::new(model(0.4));
        let engine = Engine::start(slow(), [draft], options(Mode::Auto, lanes)).unwrap();
        let streams: Vec<_> = (0..24)
            .map(|i| engine.generate(request(i)).unwrap())
            .collect();
        // Some go away; the others do not notice.
        let mut rest = Vec::new();
        for (i, stream) in streams.into_iter().enumerate() {
            if i % 5 != 4 {
                rest.push((i, stream));
            }
        }
        for (i, stream) in rest {
            assert_eq!(read(&stream), expected[i], "text {i}");
        }
    }
}
