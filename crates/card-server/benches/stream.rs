//! Text as it streams: what a server does with each token's bytes. `cargo bench -p card-server`.

use std::hint::black_box;

use card_engine::text::TextStream;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Tokens of a text: mostly whole words, some in the middle of a character.
fn pieces() -> Vec<Vec<u8>> {
    let text =
        "The cache holds candidates; 候補はキャッシュに残る。 fn main() { println!(\"{}\", 1); }\n";
    let bytes = text.repeat(8).into_bytes();
    bytes.chunks(4).map(<[u8]>::to_vec).collect()
}

/// Stop strings of which none comes, though beginnings of them do.
fn stops(count: usize) -> Vec<String> {
    let all = ["main() {}", "\n\nUser:", "候補者", "println!!"];
    all.iter().take(count).map(|s| (*s).to_owned()).collect()
}

fn bench(c: &mut Criterion) {
    let pieces = pieces();
    let mut group = c.benchmark_group("text stream");
    group.throughput(Throughput::Elements(pieces.len() as u64));
    for count in [0, 1, 4] {
        let stops = stops(count);
        group.bench_function(BenchmarkId::new("tokens, stop strings", count), |b| {
            b.iter(|| {
                let mut stream = TextStream::new(stops.iter().cloned());
                let shown: usize = pieces
                    .iter()
                    .map(|piece| stream.push(black_box(piece)).len())
                    .sum();
                shown + stream.finish().len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
