//! A commit to a drafter and a draft back, over gRPC on loopback: `cargo bench -p card-link`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use card_core::protocol::{DraftInput, DraftPlan, Drafted, Expansion, Lanes};
use card_core::sampler::Sampling;
use card_core::types::{Prob, Rows, SequenceId, Source, Tenant};
use card_engine::{TargetEnd, ends};
use card_link::{
    Budget, ClientSecurity, Drafting, MakeLane, ServerSecurity, SharedVocabulary, Terms,
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;

const VOCABULARY: SharedVocabulary = SharedVocabulary {
    fingerprint: 1,
    tokens: 150_000,
};
const CONTEXT: u32 = 4096;

/// A forward of so many rows with eight proposals each.
fn drafted(rows: u32) -> Drafted {
    let expansion = |row: u32| Expansion {
        sequence: SequenceId(1),
        root: 100,
        path: vec![row; 3],
        children: (0..8)
            .map(|rank| (1000 + rank, Prob::new(0.1).expect("a probability")))
            .collect(),
    };
    Drafted {
        source: Source::Draft,
        expansions: (0..rows).map(expansion).collect(),
        rows: Rows::new(rows).expect("a number of rows"),
        started: Duration::ZERO,
        elapsed: Duration::from_millis(1),
    }
}

/// Lanes that answer whatever they hear with a forward of so many rows, at once.
fn answering(rows: u32) -> MakeLane {
    Arc::new(move |_, _, _| {
        let (near, mut far) = ends(Duration::ZERO);
        std::thread::spawn(move || {
            while far.inbox.recv().is_some() {
                if !far.outbox.offer(drafted(rows)) {
                    return;
                }
            }
        });
        Ok(near)
    })
}

/// Serves such lanes on loopback; returns the address.
fn served(runtime: &Runtime, rows: u32) -> SocketAddr {
    let drafting = Drafting {
        vocabulary: VOCABULARY,
        make: answering(rows),
        budget: Budget::new(1, u64::from(CONTEXT), CONTEXT),
    };
    let (ready, address) = channel();
    runtime.spawn(async move {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let ready = move |address| {
            let _ = ready.send(address);
        };
        let never = std::future::pending();
        card_link::serve_drafter(any, drafting, ServerSecurity::open(), never, ready).await
    });
    address.recv().expect("an address")
}

/// The target's end of a link to a drafter at `address`.
fn dialled(runtime: &Runtime, address: SocketAddr) -> TargetEnd {
    let terms = Terms {
        vocabulary: VOCABULARY,
        plan: DraftPlan {
            chain: None,
            branch: 8,
            max_depth: 16,
            cache_bytes: 1 << 20,
            prefix_slots: 1,
            lanes: Lanes::Disjoint,
        },
        context: CONTEXT,
        sequences: 1,
    };
    let (url, security) = (format!("http://{address}"), ClientSecurity::default());
    let mut dial = card_link::dial(url, terms, security, runtime.handle().clone());
    let (near, far) = ends(Duration::ZERO);
    dial(far).expect("a link");
    near
}

fn bench(c: &mut Criterion) {
    let runtime = Runtime::new().expect("threads");
    let mut group = c.benchmark_group("link");
    for rows in [1, 8, 64] {
        let mut link = dialled(&runtime, served(&runtime, rows));
        let opened = link.to.send(DraftInput::Open {
            sequence: SequenceId(1),
            tenant: Tenant::SHARED,
            tokens: (0..512).collect(),
            params: Sampling::default(),
            end: CONTEXT,
            grammar: None,
        });
        assert!(opened && link.from.recv().is_some());
        group.bench_function(BenchmarkId::new("commit and draft back, rows", rows), |b| {
            b.iter(|| {
                let sent = link.to.send(DraftInput::Commit {
                    sequence: SequenceId(1),
                    from: 512,
                    tokens: vec![1, 2, 3, 4],
                });
                assert!(sent);
                link.from.recv().expect("a draft")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
