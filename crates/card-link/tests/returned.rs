//! What a link takes is given back: threads and sockets are as many after hundreds of
//! connections as before. Alone in its file, since it counts those of the whole process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use card_core::forward::{Limits, Rollback};
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_engine::{Options, TargetEnd, ends, start_lane};
use card_link::{
    Budget, ClientSecurity, Drafting, MakeLane, ServerSecurity, SharedVocabulary, Terms,
};
use tokio::runtime::Runtime;

const VOCABULARY: SharedVocabulary = SharedVocabulary {
    fingerprint: 7,
    tokens: 40,
};
const LIMITS: Limits = Limits {
    context: 400,
    cells: 4000,
    rows: 24,
    leaves: 8,
    rollback: Rollback::Free,
};
const TIMES: usize = 200;

fn drafting() -> Drafting {
    let turns = Arc::new(Mutex::new(()));
    let make: MakeLane = Arc::new(move |plan, _, _| {
        let model = Synthetic::new(SyntheticConfig {
            vocab: 40,
            seed: 5,
            spread: 2.0,
            noise: 0.3,
            noise_seed: 99,
            limits: LIMITS,
        });
        start_lane(Box::new(model), plan, turns.clone()).map_err(|e| e.to_string())
    });
    Drafting {
        vocabulary: VOCABULARY,
        make,
        // For four at a time: what is not given back is soon missing.
        budget: Budget::new(4, 4 * 400, 400),
    }
}

fn terms() -> Terms {
    Terms {
        vocabulary: VOCABULARY,
        plan: Options::default().draft_plan(),
        context: LIMITS.context,
        sequences: 1,
    }
}

/// Threads and open files of this process.
fn held() -> (usize, usize) {
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}

/// Waits until no more is held than before, but for what the runtime may keep.
fn given_back(before: (usize, usize), what: &str) {
    const SPARE: usize = 8;
    let start = Instant::now();
    loop {
        let now = held();
        if now.0 <= before.0 + SPARE && now.1 <= before.1 + SPARE {
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what}: {before:?} became {now:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Does it a few times, and then often; nothing may be left of the latter.
fn often(what: &str, mut once: impl FnMut()) {
    (0..10).for_each(|_| once());
    let before = held();
    (0..TIMES).for_each(|_| once());
    given_back(before, what);
}

/// Tries again while what the last one held is still being given back.
fn patiently<T>(mut work: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match work() {
            Ok(done) => return done,
            Err(why) => assert!(start.elapsed() < Duration::from_secs(60), "{why}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn threads_and_sockets_are_given_back_however_often_a_link_is_made() {
    let runtime = Runtime::new().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (ready, address) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        let never = std::future::pending();
        let ready = move |a| ready.send(a).unwrap();
        card_link::serve_drafter(any, drafting(), ServerSecurity::open(), never, ready).await
    });
    let url = format!("http://{}", address.recv().unwrap());
    let security = ClientSecurity::default();
    let mut dial = card_link::dial(url, terms(), security, runtime.handle().clone());
    often("targets that dial", || {
        let near = patiently(|| {
            let (near, far) = ends(Duration::ZERO);
            dial(far).map(|()| near)
        });
        drop(near);
    });

    let (ready, address) = std::sync::mpsc::channel();
    // The engine's end of the drafter that came last.
    let last: Arc<Mutex<Option<TargetEnd>>> = Arc::default();
    runtime.spawn(async move {
        let came = move |end, _| {
            *last.lock().unwrap() = Some(end);
            Ok(())
        };
        let ready = move |a| ready.send(a).unwrap();
        card_link::serve_targets(any, terms(), ServerSecurity::open(), came, ready).await
    });
    let url = format!("http://{}", address.recv().unwrap());
    let drafting = drafting();
    often("drafters that dial", || {
        let (tell, mut connected) = tokio::sync::watch::channel(false);
        let told = move |state: Result<(), &card_link::LinkError>| {
            if state.is_ok() {
                tell.send_replace(true);
            }
        };
        let shutdown = async {
            let _ = connected.wait_for(|c| *c).await;
        };
        let security = ClientSecurity::default();
        let attached = card_link::attach(&url, drafting.clone(), "mine", security, shutdown, told);
        runtime.block_on(attached).unwrap();
        // The next one finds room: what this one held is free.
        runtime.block_on(drafting.budget.ended(Duration::from_secs(60)));
    });
}
