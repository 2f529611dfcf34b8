//! Drafters elsewhere that do what they should not: every text is plain decoding's, nothing
//! grows, and nobody waits for them.

#![allow(clippy::unwrap_used)]

mod made_up;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use card_core::forward::Model;
use card_core::policy::Mode;
use card_core::protocol::{DraftInput, Drafted, Expansion, Lanes};
use card_core::types::{Prob, Rows, Source, Token};
use card_engine::{Dial, Draft, DraftEnd, Engine, Failure, Generate, Options, ends};
use crossbeam_channel::bounded;
use made_up::{
    Call, alone, before, counting_releases, model, options, plain, read,
    releases_what_is_forgotten, request, slow, until,
};

fn on_lanes_of_their_own() -> Options {
    options(Mode::Card, Lanes::Disjoint)
}

/// A request that takes some time.
fn long() -> Generate {
    Generate {
        max_tokens: 300,
        ..request(0)
    }
}

#[test]
fn one_that_takes_and_says_nothing_is_dialled_again() {
    let engine = plain(Box::new(model(0.0)), on_lanes_of_their_own());
    let expected = read(&engine.generate(long()).unwrap());
    // What was dialled is kept: the connection stays, and nobody is behind it.
    let kept: Arc<Mutex<Vec<DraftEnd>>> = Arc::default();
    let dialled = kept.clone();
    let dial: Dial = Box::new(move |far| {
        dialled.lock().unwrap().push(far);
        Ok(())
    });
    let options = Options {
        drafter_hang: Duration::from_millis(10),
        ..on_lanes_of_their_own()
    };
    let engine = Engine::start(slow(), [Draft::remote(dial)], options).unwrap();
    until(|| {
        assert_eq!(read(&engine.generate(long()).unwrap()), expected);
        kept.lock().unwrap().len() >= 3
    });
    let mut kept = kept.lock().unwrap();
    let mut told = std::iter::from_fn(|| kept[1].inbox.try_recv().ok());
    let opened = told.any(|input| matches!(input, DraftInput::Open { .. }));
    assert!(opened, "it was not introduced");
}

#[test]
fn one_that_attached_and_says_nothing_is_dropped() {
    let engine = plain(
        slow(),
        Options {
            drafter_hang: Duration::from_millis(10),
            ..on_lanes_of_their_own()
        },
    );
    let (near, _far) = ends(Duration::ZERO);
    engine.attach(near, None).unwrap();
    until(|| {
        read(&engine.generate(long()).unwrap());
        let times = engine.lane_times();
        times.drafter_failures == 1 && times.drafters == 0
    });
}

#[test]
fn a_flood_of_expansions_does_not_hold_up_the_target() {
    let expected = alone(4);
    let engine = plain(slow(), on_lanes_of_their_own());
    let (near, far) = ends(Duration::ZERO);
    engine.attach(near, None).unwrap();
    let flood = std::thread::spawn(move || {
        let DraftEnd { mut inbox, outbox } = far;
        let mut sequence = None;
        loop {
            while let Ok(input) = inbox.try_recv() {
                if let DraftInput::Open { sequence: new, .. } = input {
                    sequence = Some(new);
                }
            }
            let expansion = |i: u32| {
                Some(Expansion {
                    sequence: sequence?,
                    root: i % 60,
                    path: (0..i % 30).map(|j| (i + j) % 40).collect(),
                    children: (0..100).map(|t: Token| (t, Prob::clamped(0.5))).collect(),
                })
            };
            let drafted = Drafted {
                source: Source::PromptLookup,
                expansions: (0..3000).filter_map(expansion).collect(),
                rows: Rows::new(1).unwrap(),
                started: Duration::ZERO,
                elapsed: Duration::MAX,
            };
            if !outbox.send(drafted) {
                return;
            }
        }
    });
    for (i, text) in expected.iter().enumerate() {
        let stream = engine.generate(request(i as u32)).unwrap();
        assert_eq!(&read(&stream), text);
    }
    drop(engine);
    flood.join().unwrap();
}

#[test]
fn more_than_there_are_permits_for_are_refused_until_some_leave() {
    let expected = alone(1);
    let engine = plain(slow(), on_lanes_of_their_own());
    let mut far = Vec::new();
    let refused = loop {
        let (near, end) = ends(Duration::ZERO);
        match engine.attach(near, None) {
            Ok(()) => far.push(end),
            Err(refused) => break refused,
        }
        assert!(far.len() < 1000, "no bound");
    };
    assert!(matches!(refused, Failure::Refused(_)), "{refused:?}");
    drop(far);
    until(|| engine.attach(ends(Duration::ZERO).0, None).is_ok());
    assert_eq!(read(&engine.generate(request(0)).unwrap()), expected[0]);
}

#[test]
fn an_engine_whose_drafter_hangs_can_be_dropped() {
    let (go_on, wait) = bounded::<()>(0);
    let drafter: Box<dyn Model + Send> = before(0.4, move |call| {
        if let Call::Forward(_) = call {
            let _ = wait.recv();
        }
        Ok(())
    });
    let engine = Engine::start(
        slow(),
        [drafter],
        Options {
            drafter_hang: Duration::from_millis(200),
            ..on_lanes_of_their_own()
        },
    )
    .unwrap();
    read(&engine.generate(request(0)).unwrap());
    let start = Instant::now();
    drop(engine);
    assert!(start.elapsed() < Duration::from_secs(20));
    drop(go_on);
}

#[test]
fn one_on_the_targets_lane_forgets_what_is_erased() {
    let (drafter, released) = counting_releases(0.4);
    let taking_turns = options(Mode::Card, Lanes::Shared);
    let engine = Engine::start(Box::new(model(0.0)), [drafter], taking_turns).unwrap();
    releases_what_is_forgotten(&engine, &released);
}
