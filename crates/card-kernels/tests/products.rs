//! Every product against float64, and the same bits whatever the batch.

#![allow(clippy::unwrap_used)] // A test may panic.

mod common;

use card_kernels::{Isa, Kind};
use common::{Matrix, Random, bits, columns, exact, exact_and_size, sets, weights};

/// Widths, heights and numbers of columns, odd ones among them.
const SHAPES: [(usize, usize, usize); 4] = [(256, 8, 1), (512, 21, 3), (768, 40, 9), (1024, 3, 17)];

#[test]
fn products_are_those_of_float64_but_for_the_rounding_of_activations() {
    let mut random = Random(1);
    for kind in Kind::ALL {
        let most = match kind.block() {
            1 => 1e-6,
            _ => 0.003,
        };
        for (width, height, n) in SHAPES {
            let file = weights(kind, width, height, &mut random);
            let x = columns(width, n, &mut random);
            for rows in [8, 16] {
                let matrix = Matrix::new(kind, rows, width, height, &file);
                let y = matrix.times(Isa::Portable, 1, &x);
                for (x, y) in x.iter().zip(&y) {
                    let right = exact_and_size(kind, &file, x);
                    for ((right, size), y) in right.into_iter().zip(y) {
                        let error = (f64::from(*y) - right).abs() / size;
                        assert!(error < most, "{kind:?} {width}x{height}: {error}");
                    }
                }
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let mut random = Random(2);
    for kind in Kind::ALL {
        for (width, height, n) in SHAPES {
            let file = weights(kind, width, height, &mut random);
            let x = columns(width, n, &mut random);
            let portable = Matrix::new(kind, 8, width, height, &file);
            let right = bits(&portable.times(Isa::Portable, 1, &x));
            for rows in [8, 16] {
                let matrix = Matrix::new(kind, rows, width, height, &file);
                for isa in sets(rows) {
                    let y = bits(&matrix.times(isa, 1, &x));
                    assert!(y == right, "{kind:?} {width}x{height} {isa}, {rows} rows");
                }
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits_for_every_number_of_columns() {
    let mut random = Random(5);
    for kind in Kind::ALL {
        let (width, height) = (512, 19);
        let file = weights(kind, width, height, &mut random);
        let x = columns(width, 67, &mut random);
        let portable = Matrix::new(kind, 8, width, height, &file);
        let right = bits(&portable.times(Isa::Portable, 1, &x));
        for rows in [8, 16] {
            let matrix = Matrix::new(kind, rows, width, height, &file);
            for isa in sets(rows) {
                for n in (1..=17).chain([31, 32, 33, 48, 67]) {
                    let y = bits(&matrix.times(isa, 1, &x[..n]));
                    assert!(y == right[..n], "{kind:?} {isa}, {rows} rows, {n} columns");
                }
            }
        }
    }
}

#[test]
fn a_column_alone_and_at_every_place_of_every_batch_has_the_same_bits() {
    let mut random = Random(3);
    let isa = Isa::best();
    for kind in Kind::ALL {
        let (width, height) = (512, 37);
        let file = weights(kind, width, height, &mut random);
        let matrix = Matrix::new(kind, isa.rows(), width, height, &file);
        let x = columns(width, 67, &mut random);
        let alone: Vec<_> = x
            .iter()
            .map(|x| matrix.times(isa, 1, std::slice::from_ref(x)).remove(0))
            .collect();
        for n in 1..=67 {
            let first = random.below(68 - n);
            let threads = 1 + n % 4;
            let y = matrix.times(isa, threads, &x[first..first + n]);
            let right = bits(&alone[first..first + n]);
            assert!(
                bits(&y) == right,
                "{kind:?}: {n} columns, {threads} threads"
            );
        }
    }
}

#[test]
fn the_largest_codes_and_activations_do_not_overflow() {
    for kind in Kind::ALL.into_iter().filter(|k| k.block() > 1) {
        for fill in [0x00, 0xff, 0x7f, 0x80] {
            let (width, height) = (512, 16);
            let mut file = vec![fill; width / kind.block() * kind.block_bytes() * height];
            // Scales that are numbers.
            for block in file.chunks_mut(kind.block_bytes()) {
                let at = match kind {
                    Kind::Q6K => 208,
                    _ => 0,
                };
                block[at..at + 2].copy_from_slice(&[0x00, 0x3c]);
                if matches!(kind, Kind::Q4_1 | Kind::Q5_1 | Kind::Q4K | Kind::Q5K) {
                    block[2..4].copy_from_slice(&[0x00, 0x3c]);
                }
            }
            for x in [3.0, -3.0] {
                let x = vec![vec![x; width]; 21];
                let right = exact(kind, &file, &x[0]);
                for rows in [8, 16] {
                    let matrix = Matrix::new(kind, rows, width, height, &file);
                    for isa in sets(rows) {
                        for y in matrix.times(isa, 1, &x) {
                            for (y, r) in y.iter().zip(&right) {
                                let error = (f64::from(*y) - r).abs();
                                assert!(error <= 1e-5 * r.abs(), "{kind:?} {isa}: {y} {r}");
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_spoils_its_own_column_only() {
    let mut random = Random(4);
    for kind in Kind::ALL {
        let (width, height) = (512, 24);
        let file = weights(kind, width, height, &mut random);
        let n = 25;
        let mut x = columns(width, n, &mut random);
        let strange = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        for rows in [8, 16] {
            let matrix = Matrix::new(kind, rows, width, height, &file);
            for isa in sets(rows) {
                let before = matrix.times(isa, 2, &x);
                for (i, strange) in strange.into_iter().enumerate() {
                    let kept = std::mem::replace(&mut x[4][100 * i], strange);
                    let after = matrix.times(isa, 2, &x);
                    x[4][100 * i] = kept;
                    assert!(after[4].iter().all(|y| !y.is_finite()), "{kind:?} {isa}");
                    for c in (0..n).filter(|c| *c != 4) {
                        assert!(
                            bits(&after[c..=c]) == bits(&before[c..=c]),
                            "{kind:?} {isa}"
                        );
                    }
                }
                // Too small to matter, and no division by zero.
                let tiny = vec![vec![1e-42f32; width]];
                let y = matrix.times(isa, 1, &tiny);
                assert!(y[0].iter().all(|y| y.abs() < 1e-36), "{kind:?} {isa}");
            }
        }
    }
}
