//! The candidate cache at 100, 1,000 and 10,000 nodes:
//! `cargo bench -p card-core --bench cache`.

use std::hint::black_box;

use card_core::cache::{BYTES_PER_NODE, CandidateCache, NodeId};
use card_core::types::Source;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};

/// A cache that was grown as a drafter grows it: best-first, four children a node.
fn grown(nodes: usize) -> CandidateCache {
    let mut cache = CandidateCache::new(0, nodes * BYTES_PER_NODE);
    let mut frontier = Vec::new();
    let mut at = cache.root();
    let mut token = 0;
    while cache.len() < nodes {
        token = expand(&mut cache, at, token);
        cache.frontier(1, u32::MAX, 0.0, &mut frontier);
        at = frontier[0];
        cache.mark_expanded(at);
    }
    cache
}

fn expand(cache: &mut CandidateCache, at: NodeId, mut token: u32) -> u32 {
    for (rank, cond) in [0.7, 0.15, 0.08, 0.04].into_iter().enumerate() {
        token = token.wrapping_add(1);
        cache.insert(at, token, cond, cond, rank as u8, Source::Draft);
    }
    token
}

fn bench(c: &mut Criterion) {
    for nodes in [100, 1_000, 10_000] {
        let cache = grown(nodes);
        let mut out = Vec::new();
        let mut group = c.benchmark_group("cache");
        group.bench_function(BenchmarkId::new("query 16", nodes), |b| {
            let mut cache = cache.clone();
            b.iter(|| cache.query(black_box(16), 8, &mut out));
        });
        group.bench_function(BenchmarkId::new("expand one node", nodes), |b| {
            // The cache is full, so each insertion also evicts.
            let mut cache = cache.clone();
            let mut token = u32::MAX / 2;
            b.iter(|| {
                cache.frontier(1, u32::MAX, 0.0, &mut out);
                let at = out.first().copied().unwrap_or(cache.root());
                token = expand(&mut cache, at, token);
                cache.mark_expanded(at);
            });
        });
        group.bench_function(BenchmarkId::new("correct, hit", nodes), |b| {
            let first = cache.children(cache.root()).next();
            let path = cache.path(first.unwrap_or(cache.root()));
            b.iter_batched_ref(
                || cache.clone(),
                |cache| cache.correct(&path),
                BatchSize::LargeInput,
            );
        });
        group.bench_function(BenchmarkId::new("correct, miss", nodes), |b| {
            b.iter_batched_ref(
                || cache.clone(),
                |cache| cache.correct(&[u32::MAX]),
                BatchSize::LargeInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
