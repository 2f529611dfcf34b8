//! Targets that fail, panic or hang, and readers that go away: nobody waits for ever, and
//! what a failure leaves in the KV cache is never read.

#![allow(clippy::unwrap_used)]

mod made_up;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use card_core::forward::{KvOp, Model, ModelError};
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::sampler::SamplingParams;
use card_core::scheduler::{Finish, RequestError};
use card_engine::{Engine, Event, Failure, Generate, Health, Options, Stream};
use crossbeam_channel::{Sender, bounded};
use made_up::{
    Call, alone, before, counting_releases, failure, model, options, plain, read,
    releases_what_is_forgotten, request, try_read, until,
};

/// A target whose `nth` call of a kind fails, once.
fn breaks_once(nth: u32, kind: fn(&Call<'_>) -> bool, error: ModelError) -> Box<dyn Model + Send> {
    let mut calls = 0;
    before(0.0, move |call| {
        if kind(&call) {
            calls += 1;
            if calls == nth {
                return Err(error.clone());
            }
        }
        Ok(())
    })
}

/// Whenever a call of this kind fails, every text that comes is plain decoding's, and soon
/// all of them come again.
fn leaves_nothing_behind(kind: fn(&Call<'_>) -> bool, error: &ModelError) {
    const ROUNDS: usize = 4;
    let expected = alone(8);
    for nth in (1..40).step_by(3) {
        let mut failed = 0;
        let target = breaks_once(nth, kind, error.clone());
        let engine = plain(target, options(Mode::Auto, Lanes::Shared));
        for round in 0..ROUNDS {
            // The same prompts each time, so that prefixes that were kept are used.
            let streams: Vec<_> = (0..8)
                .map(|i| engine.generate(request(i)).unwrap())
                .collect();
            for (i, stream) in streams.iter().enumerate() {
                match try_read(stream) {
                    Ok(text) => assert_eq!(text, expected[i], "call {nth}, text {i}"),
                    Err(Failure::Target(why)) => {
                        assert_eq!(why, error.to_string(), "call {nth}");
                        assert!(round + 1 < ROUNDS, "call {nth}: it fails on");
                        failed += 1;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
        assert!(failed > 0, "call {nth} was never made");
        assert_eq!(engine.health(), Health::Alive);
    }
}

#[test]
fn what_a_failed_kv_operation_leaves_is_never_read() {
    let applied: fn(&Call<'_>) -> bool = |call| matches!(call, Call::Apply(_));
    leaves_nothing_behind(applied, &failure("a device that fails once"));
    // No room is no better here: the books say that it was done.
    leaves_nothing_behind(applied, &no_room());
}

#[test]
fn what_a_failed_forward_leaves_is_never_read() {
    let decoded: fn(&Call<'_>) -> bool = |call| matches!(call, Call::Forward(_));
    leaves_nothing_behind(decoded, &failure("a device that fails once"));
}

#[test]
fn a_forward_without_room_spoils_nothing() {
    leaves_nothing_behind(|call| matches!(call, Call::Forward(_)), &no_room());
}

fn no_room() -> ModelError {
    ModelError::Full {
        model: "target".into(),
    }
}

#[test]
fn a_cache_that_cannot_be_emptied_ends_the_engine_with_a_reason() {
    let mut forwards = 0;
    let target = before(0.0, move |call| match call {
        Call::Forward(_) => {
            forwards += 1;
            match forwards {
                3 => Err(failure("a device that fails")),
                _ => Ok(()),
            }
        }
        Call::Reset => Err(failure("and does not come back")),
        Call::Apply(_) => Ok(()),
    });
    let engine = plain(target, options(Mode::Auto, Lanes::Shared));
    let stream = engine.generate(request(0)).unwrap();
    assert!(matches!(try_read(&stream), Err(Failure::Target(_))));
    until(|| engine.health() != Health::Alive);
    let Health::Ended(why) = engine.health() else {
        panic!("{:?}", engine.health());
    };
    assert!(why.contains("does not come back"), "{why}");
    is_refused(&engine, "does not come back");
    // What was learned until then is not lost.
    assert!(engine.stop().is_some());
}

fn is_refused(engine: &Engine, reason: &str) {
    match engine.generate(request(0)) {
        Err(Failure::Stopped(why)) => assert!(why.contains(reason), "{why}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it takes requests"),
    }
    assert!(engine.learned().is_err());
}

#[test]
fn a_target_that_panics_is_told_to_everybody_who_waits() {
    let mut forwards = 0;
    let target = before(0.0, move |call| {
        if let Call::Forward(_) = call {
            forwards += 1;
            assert!(forwards < 3, "a target that panics, on purpose");
        }
        Ok(())
    });
    let engine = plain(target, options(Mode::Auto, Lanes::Shared));
    let asked: Vec<Result<Stream, Failure>> = (0..8).map(|i| engine.generate(request(i))).collect();
    for stream in asked {
        let failure = match stream {
            Ok(stream) => try_read(&stream).unwrap_err(),
            Err(failure) => failure,
        };
        assert!(matches!(failure, Failure::Stopped(_)), "{failure:?}");
        assert!(failure.to_string().contains("on purpose"), "{failure}");
    }
    assert!(matches!(engine.health(), Health::Ended(_)));
    is_refused(&engine, "on purpose");
    assert!(engine.stop().is_none());
}

/// A target that hangs at its third forward, until what is returned goes.
fn hangs() -> (Box<dyn Model + Send>, Sender<()>) {
    let (go_on, wait) = bounded::<()>(0);
    let mut forwards = 0;
    let target = before(0.0, move |call| {
        if let Call::Forward(_) = call {
            forwards += 1;
            if forwards == 3 {
                let _ = wait.recv();
            }
        }
        Ok(())
    });
    (target, go_on)
}

fn impatient() -> Options {
    Options {
        target_hang: Duration::from_millis(200),
        ..options(Mode::Auto, Lanes::Shared)
    }
}

#[test]
fn a_target_that_hangs_is_told_to_everybody_who_waits_and_may_come_back() {
    let expected = alone(1);
    let (target, go_on) = hangs();
    let engine = plain(target, impatient());
    let stream = engine.generate(request(0)).unwrap();
    let failure = try_read(&stream).unwrap_err();
    assert!(matches!(failure, Failure::Stopped(_)), "{failure:?}");
    assert!(matches!(engine.health(), Health::Stalled(_)));
    is_refused(&engine, "at one step");
    drop(go_on);
    // A machine that is busy may look like one that hangs, for a while.
    until(|| {
        let Ok(stream) = engine.generate(request(0)) else {
            return false;
        };
        try_read(&stream).is_ok_and(|text| {
            assert_eq!(text, expected[0]);
            true
        })
    });
    assert!(stream.next().is_none(), "something follows the last event");
}

#[test]
fn an_engine_whose_target_hangs_can_be_dropped() {
    let (target, go_on) = hangs();
    let engine = plain(target, impatient());
    let stream = engine.generate(request(0)).unwrap();
    let start = Instant::now();
    drop(engine);
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(matches!(try_read(&stream), Err(Failure::Stopped(_))));
    drop(go_on);
}

#[test]
fn an_engine_can_be_dropped_before_its_streams() {
    let engine = plain(Box::new(model(0.0)), options(Mode::Auto, Lanes::Shared));
    let stream = engine.generate(request(0)).unwrap();
    drop(engine);
    // It was done, or it hears why not.
    match try_read(&stream) {
        Ok(_) | Err(Failure::Stopped(_)) => {}
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_thousand_cancelled_generations_leave_nothing_running() {
    let expected = alone(1);
    let live = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = live.clone();
    let target = before(0.0, move |call| {
        let mut live = seen.lock().unwrap();
        match call {
            Call::Forward(forward) => live.extend(forward.rows.iter().map(|r| r.sequence)),
            Call::Apply(KvOp::Release { sequence }) => {
                live.remove(&sequence);
            }
            _ => {}
        }
        Ok(())
    });
    let engine = plain(
        target,
        Options {
            prefix_slots: 0,
            ..options(Mode::Auto, Lanes::Shared)
        },
    );
    for i in 0..1000 {
        let stream = engine
            .generate(Generate {
                max_tokens: 300,
                ..request(i)
            })
            .unwrap();
        match i % 4 {
            // Dropped at once.
            0 => {}
            // Dropped in the middle.
            1 => assert!(stream.next().is_some()),
            // Cancelled, and read to the end.
            2 => {
                stream.cancel();
                let last = stream.events().iter().last();
                let Some(Event::Finished(reason)) = last else {
                    panic!("{last:?}");
                };
                assert!(matches!(reason, Finish::Cancelled | Finish::Length));
            }
            // Cancelled more often than any channel holds.
            _ => (0..100).for_each(|_| stream.cancel()),
        }
    }
    assert_eq!(read(&engine.generate(request(0)).unwrap()), expected[0]);
    // The last one's cells are freed with the next forward.
    assert!(live.lock().unwrap().len() <= 1, "{live:?}");
}

#[test]
fn impossible_sampling_is_refused_before_anything_begins() {
    let engine = plain(Box::new(model(0.0)), options(Mode::Auto, Lanes::Shared));
    let impossible = Generate {
        params: SamplingParams {
            temperature: f32::NAN,
            ..SamplingParams::default()
        },
        ..request(0)
    };
    let refused = engine.generate(impossible).err();
    assert!(matches!(
        refused,
        Some(Failure::Request(RequestError::Sampling(_)))
    ));
}

#[test]
fn what_is_forgotten_is_released_though_nothing_is_asked_any_more() {
    let (target, released) = counting_releases(0.0);
    let engine = plain(target, options(Mode::Auto, Lanes::Shared));
    releases_what_is_forgotten(&engine, &released);
}
