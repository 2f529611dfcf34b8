//! A drafter that comes and goes a thousand times leaves nothing behind. Alone in its
//! program, whose threads it counts.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod made_up;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_engine::{Dial, Draft, Engine, Options};
use made_up::{alone, options, read, request, slow, until};

/// Threads of this process; `None` where the system does not say.
fn threads() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("Threads:"))?;
    line.trim().parse().ok()
}

#[test]
fn a_thousand_reconnections_leave_no_thread_behind() {
    if threads().is_none() {
        return;
    }
    let expected = alone(4);
    let dials = Arc::new(AtomicU32::new(0));
    let counted = dials.clone();
    // It connects, and the other side hangs up at once.
    let dial: Dial = Box::new(move |far| {
        drop(far);
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let options = Options {
        drafter_pause: Duration::ZERO,
        ..options(Mode::Card, Lanes::Disjoint)
    };
    let engine = Engine::start(slow(), [Draft::remote(dial)], options).unwrap();
    let mut at = 0;
    let mut generate = |least: u32| {
        until(|| {
            let i = at % expected.len();
            at += 1;
            let stream = engine.generate(request(i as u32)).unwrap();
            assert_eq!(read(&stream), expected[i]);
            dials.load(Ordering::Relaxed) >= least
        });
    };
    generate(10);
    let before = threads();
    generate(1010);
    // One that dials may be at work at any time.
    until(|| threads() <= before.map(|n| n + 1));
}
