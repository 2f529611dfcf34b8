//! What products cost by their columns, beside what the machine allows.
//!
//! cargo run --release -p card-kernels --example products -- [KIND] [ISA] [THREADS]
//!
//! Multiplies a gigabyte of made-up weights, as a forward of a model with as many would, with 1
//! to 64 columns. `ceiling` is the time for reading the weights from memory.

use std::hint::spin_loop;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use card_kernels::{Isa, Kind, Layout, Product, Strides};

const WIDTH: usize = 1536;
const HEIGHT: usize = 8960;
const COLUMNS: [usize; 10] = [1, 2, 3, 4, 6, 8, 12, 16, 32, 64];
const ROUNDS: usize = 7;

struct Shared(Vec<Product>, *mut u8);
// SAFETY: the kernels say which thread writes where.
unsafe impl Sync for Shared {}

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or("Q4K".into());
    let kind = Kind::ALL.into_iter().find(|k| format!("{k:?}") == name);
    let Some(kind) = kind else {
        return eprintln!("no kind {name}; there are {:?}", Kind::ALL);
    };
    let isa = match args.next() {
        None => Isa::best(),
        Some(name) => {
            let named = |i: &Isa| format!("{i:?}") == name;
            Isa::available()
                .into_iter()
                .find(named)
                .unwrap_or(Isa::best())
        }
    };
    let threads = args.next().and_then(|n| n.parse().ok()).unwrap_or(2);
    let Some(layout) = Layout::new(kind, isa.rows(), WIDTH, HEIGHT) else {
        return;
    };
    let matrices = (1 << 30) / layout.bytes();
    let mut weights = Vec::with_capacity(layout.bytes() / 8 * matrices + 8);
    on_large_pages(weights.spare_capacity_mut());
    weights.resize(layout.bytes() / 8 * matrices + 8, 0u64);
    for (i, w) in weights.iter_mut().enumerate() {
        *w = (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) & 0x3fff_3fff_3fff_3fff;
    }
    let start = weights.as_ptr().cast::<u8>();
    let start = start.wrapping_add(start.align_offset(64));
    let most = COLUMNS[COLUMNS.len() - 1];
    let x: Vec<f32> = (0..WIDTH * most).map(|i| (i as f32 * 0.7).sin()).collect();
    let mut y = vec![0f32; HEIGHT * most];
    let macs = (WIDTH * HEIGHT * matrices) as f64;
    let bytes = (layout.bytes() * matrices) as f64;
    println!("{kind:?}, {isa}, {threads} threads, {macs:.2e} weights, {bytes:.2e} bytes");
    println!("columns   ms  GB/s  multiply-adds/s  T(n)/T(1)");
    let mut one = 0.0;
    for n in COLUMNS {
        let products: Vec<Product> = (0..matrices)
            .map(|i| Product {
                layout,
                weights: start.wrapping_add(i * layout.bytes()),
                from: x.as_ptr().cast(),
                from_strides: Strides([4 * WIDTH, 0, 0]),
                to: y.as_mut_ptr().cast(),
                to_strides: Strides([4 * HEIGHT, 0, 0]),
                columns: [n, 1, 1],
                experts: None,
            })
            .collect();
        let mut work = vec![0u8; products[0].work_bytes()];
        let shared = Shared(products, work.as_mut_ptr());
        let mut times: Vec<f64> = (0..ROUNDS).map(|_| round(&shared, isa, threads)).collect();
        times.sort_by(f64::total_cmp);
        let ms = times[ROUNDS / 2];
        if n == 1 {
            one = ms;
        }
        println!(
            "{n:7} {ms:6.1} {:5.1} {:13.0} G {:8.2}",
            bytes / ms / 1e6,
            macs * n as f64 / ms / 1e6,
            ms / one
        );
    }
}

/// Asks the system for pages of 2 MiB, as the program that loads models does.
fn on_large_pages<T>(memory: &mut [T]) {
    #[cfg(target_os = "linux")]
    {
        const HUGE_PAGE: i32 = 14;
        unsafe extern "C" {
            fn madvise(start: *mut u8, length: usize, advice: i32) -> i32;
        }
        let range = memory.as_mut_ptr_range();
        let first = (range.start as usize).next_multiple_of(2 << 20);
        let length = (range.end as usize).saturating_sub(first) >> 21 << 21;
        // SAFETY: whole pages of our own memory; what they hold is not changed.
        unsafe { madvise(first as *mut u8, length, HUGE_PAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

/// Milliseconds of all products one after the other.
fn round(shared: &Shared, isa: Isa, threads: usize) -> f64 {
    let begin = Barrier::new(threads);
    let (arrived, phase) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let wait = || {
        let now = phase.load(Ordering::Acquire);
        if arrived.fetch_add(1, Ordering::AcqRel) + 1 == threads {
            arrived.store(0, Ordering::Relaxed);
            phase.fetch_add(1, Ordering::Release);
        } else {
            while phase.load(Ordering::Acquire) == now {
                spin_loop();
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                let (begin, wait) = (&begin, &wait);
                scope.spawn(move || {
                    let Shared(products, work) = shared;
                    begin.wait();
                    let start = Instant::now();
                    for product in products {
                        // SAFETY: weights, activations and outputs are as large as said.
                        unsafe { product.run(isa, thread, threads, wait, *work) };
                        wait();
                    }
                    start.elapsed().as_secs_f64() * 1e3
                })
            })
            .collect();
        let times = threads.into_iter().filter_map(|t| t.join().ok());
        times.fold(0.0, f64::max)
    })
}
