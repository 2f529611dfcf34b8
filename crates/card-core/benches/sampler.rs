//! The sampler at a vocabulary of 150,000 tokens: `cargo bench -p card-core --bench sampler`.

use std::hint::black_box;

use card_core::sampler::{Logprob, Sampler, Sampling, SamplingParams, gumbel};
use card_core::types::Token;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const VOCAB: Token = 150_000;

fn checked(params: SamplingParams) -> Sampling {
    params.checked().expect("the settings are possible")
}

/// Settings as requests have them, by name.
fn settings() -> [(&'static str, Sampling); 4] {
    let warm = SamplingParams {
        temperature: 0.8,
        seed: 7,
        ..SamplingParams::default()
    };
    let filtered = SamplingParams {
        top_k: 40,
        top_p: 0.95,
        ..warm.clone()
    };
    let penalized = SamplingParams {
        repeat_penalty: 1.1,
        ..filtered.clone()
    };
    [
        ("greedy", Sampling::default()),
        ("temperature", checked(warm)),
        ("top-k and top-p", checked(filtered)),
        ("penalties too", checked(penalized)),
    ]
}

fn bench(c: &mut Criterion) {
    // About as far spread as those of a model.
    let logits: Vec<f32> = (0..VOCAB).map(|t| 2.5 * gumbel(1, 0, t)).collect();
    let history: Vec<Token> = (0..64).map(|i| i * 7 % 50).collect();
    let mut group = c.benchmark_group("sampler");
    for (name, settings) in settings() {
        group.bench_function(BenchmarkId::new("choose", name), |b| {
            // As the scheduler does where near-ties are reported.
            let mut sampler = Sampler::looking_up_to(0.5);
            let mut position = 0;
            b.iter(|| {
                position += 1;
                sampler.choose(&settings, black_box(&logits), None, &history, position)
            });
        });
        group.bench_function(BenchmarkId::new("propose 4", name), |b| {
            let mut sampler = Sampler::default();
            let (mut position, mut out) = (0, Vec::new());
            b.iter(|| {
                position += 1;
                let logits = black_box(&logits);
                sampler.propose(&settings, logits, &history, position, 4, &mut out);
                out.len()
            });
        });
    }
    group.bench_function("log probabilities of 5", |b| {
        b.iter(|| Logprob::of(black_box(&logits), 17, 5));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
