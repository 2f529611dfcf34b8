//! Messages of a link, into bytes and back with all checks: `cargo bench -p card-wire`.

use std::hint::black_box;
use std::time::Duration;

use card_core::protocol::{DraftInput, Drafted, Expansion};
use card_core::sampler::Sampling;
use card_core::types::{Prob, Rows, SequenceId, Source, Tenant};
use card_wire::proto::{FromDrafter, ToDrafter};
use card_wire::{Intake, SharedVocabulary, drafted_in, drafted_out, input_out};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use prost::Message;

const VOCABULARY: SharedVocabulary = SharedVocabulary {
    fingerprint: 1,
    tokens: 150_000,
};
const CONTEXT: u32 = 1 << 16;

/// A forward of so many rows, each some tokens deep and with eight proposals.
fn drafted(rows: u32) -> Drafted {
    let expansion = |row: u32| Expansion {
        sequence: SequenceId(u64::from(row % 8)),
        root: 1000,
        path: (0..row % 6).map(|depth| 40_000 + depth).collect(),
        children: (0..8)
            .map(|rank| {
                let prob = Prob::new(0.5 / (1.0 + rank as f32)).expect("a probability");
                (100_000 + rank, prob)
            })
            .collect(),
    };
    Drafted {
        source: Source::Draft,
        expansions: (0..rows).map(expansion).collect(),
        rows: Rows::new(rows).expect("a number of rows"),
        started: Duration::from_millis(10),
        elapsed: Duration::from_millis(4),
    }
}

fn open(tokens: u32) -> DraftInput {
    DraftInput::Open {
        sequence: SequenceId(1),
        tenant: Tenant::SHARED,
        tokens: (0..tokens).collect(),
        params: Sampling::default(),
        end: CONTEXT,
        grammar: None,
    }
}

fn commit() -> DraftInput {
    DraftInput::Commit {
        sequence: SequenceId(1),
        from: 500,
        tokens: vec![11, 12, 13, 14],
    }
}

/// An intake that knows sequence 1, with 512 tokens.
fn intake() -> Intake {
    let mut intake = Intake::new(VOCABULARY, CONTEXT, 8);
    let taken = intake.take(input_out(open(512)));
    taken
        .expect("what we sent")
        .expect("a sequence to draft for");
    intake
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("from a drafter");
    for rows in [1, 8, 64] {
        let drafted = drafted(rows);
        group.bench_function(BenchmarkId::new("encode", rows), |b| {
            b.iter(|| drafted_out(black_box(&drafted)).encode_to_vec());
        });
        let bytes = drafted_out(&drafted).encode_to_vec();
        group.bench_function(BenchmarkId::new("decode and check", rows), |b| {
            b.iter(|| {
                let message = FromDrafter::decode(black_box(&bytes[..])).expect("what we sent");
                drafted_in(message, VOCABULARY).expect("what we sent")
            });
        });
    }
    group.finish();
    let mut group = c.benchmark_group("to a drafter");
    group.bench_function("commit, encode", |b| {
        b.iter(|| input_out(black_box(commit())).encode_to_vec());
    });
    let bytes = input_out(commit()).encode_to_vec();
    group.bench_function("commit, decode and check", |b| {
        let mut intake = intake();
        b.iter(|| {
            let message = ToDrafter::decode(black_box(&bytes[..])).expect("what we sent");
            intake.take(message).expect("what we sent")
        });
    });
    for tokens in [512, 32_768] {
        let bytes = input_out(open(tokens)).encode_to_vec();
        group.bench_function(BenchmarkId::new("open, decode and check", tokens), |b| {
            b.iter(|| {
                let message = ToDrafter::decode(black_box(&bytes[..])).expect("what we sent");
                let mut intake = Intake::new(VOCABULARY, CONTEXT, 8);
                intake.take(message).expect("what we sent")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
