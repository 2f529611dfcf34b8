//! Weights, widths and addresses at the edge of what is allowed.

#![allow(clippy::unwrap_used)] // A test may panic.

mod common;

use card_kernels::{Isa, Kind, Product, Strides};
use common::{Aligned, Matrix, Random, bits, columns, exact_and_size, run, sets, weights};

/// Says by what the others are tested: `CARD_EXPECT_ISA` is what must be the best here.
#[test]
fn the_best_instruction_set_is_the_one_that_is_expected() {
    if let Ok(expected) = std::env::var("CARD_EXPECT_ISA") {
        assert_eq!(Isa::best().to_string(), expected);
    }
}

/// Compares all instruction sets with plain Rust, and that with double precision up to `most`
/// of the terms' magnitudes.
fn check(kind: Kind, width: usize, height: usize, file: &[u8], x: &[Vec<f32>], most: f64) {
    let portable = Matrix::new(kind, 8, width, height, file).times(Isa::Portable, 1, x);
    for (x, y) in x.iter().zip(&portable) {
        for ((right, size), y) in exact_and_size(kind, file, x).into_iter().zip(y) {
            let error = (f64::from(*y) - right).abs();
            // A denormal is a multiple of 2^-149, so each of the sums may be wrong by half of it.
            let least = width as f64 * 2f64.powi(-149);
            assert!(
                error <= most * size + least,
                "{kind:?} {width}x{height}: {y} {right}, {size}"
            );
        }
    }
    let right = bits(&portable);
    for rows in [8, 16] {
        let matrix = Matrix::new(kind, rows, width, height, file);
        for isa in sets(rows) {
            let y = bits(&matrix.times(isa, 1, x));
            assert!(y == right, "{kind:?} {width}x{height} {isa}, {rows} rows");
        }
    }
}

#[test]
fn scales_that_are_denormal_or_zero_count_for_what_they_are() {
    let mut random = Random(21);
    let (width, height) = (512, 18);
    for kind in Kind::ALL {
        let mut file = weights(kind, width, height, &mut random);
        let size = kind.block_bytes();
        let mut small = || {
            let magnitude = [0x0001, 0x0000, 0x03ff, 0x0400, 0x0155][random.below(5)];
            magnitude | [0u16, 0x8000][random.below(2)]
        };
        for block in file.chunks_mut(size) {
            let scale = small().to_le_bytes();
            match kind {
                // The exponent of a denormal is zero; the sign and the fraction stay.
                Kind::F32 => block.copy_from_slice(&[block[0], block[1], scale[0], scale[1]]),
                Kind::Q6K => block[208..].copy_from_slice(&scale),
                _ => block[..2].copy_from_slice(&scale),
            }
            if matches!(kind, Kind::Q4_1 | Kind::Q5_1 | Kind::Q4K | Kind::Q5K) {
                block[2..4].copy_from_slice(&small().to_le_bytes());
            }
        }
        let mut x = columns(width, 21, &mut random);
        let most = match kind.block() {
            1 => 1e-6,
            _ => 0.003,
        };
        check(kind, width, height, &file, &x, most);
        // So small that scales and outputs are denormal.
        for x in x.iter_mut().flatten() {
            *x *= 1e-33;
        }
        let matrix = Matrix::new(kind, 8, width, height, &file);
        let right = bits(&matrix.times(Isa::Portable, 1, &x));
        // Denormals of the range of f32 times so little are zeros, with a sign.
        let zero = right.iter().flatten().all(|y| y & 0x7fff_ffff == 0);
        assert_eq!(zero, matches!(kind, Kind::F32 | Kind::Bf16), "{kind:?}");
        for rows in [8, 16] {
            let matrix = Matrix::new(kind, rows, width, height, &file);
            for isa in sets(rows) {
                assert!(bits(&matrix.times(isa, 1, &x)) == right, "{kind:?} {isa}");
            }
        }
    }
}

#[test]
fn rows_of_plain_numbers_have_any_width() {
    let mut random = Random(22);
    for kind in [Kind::F32, Kind::F16, Kind::Bf16] {
        for width in [1, 2, 31, 33, 63, 64, 100, 257] {
            for (height, n) in [(1, 1), (9, 5), (33, 11)] {
                let file = weights(kind, width, height, &mut random);
                let x = columns(width, n, &mut random);
                check(kind, width, height, &file, &x, 1e-6);
            }
        }
    }
}

#[test]
fn rows_have_any_number_of_blocks() {
    let mut random = Random(26);
    for kind in Kind::ALL.into_iter().filter(|k| k.block() > 1) {
        for blocks in [1, 2, 3, 9, 15, 17] {
            let width = blocks * kind.block();
            for (height, n) in [(7, 16), (35, 50)] {
                let file = weights(kind, width, height, &mut random);
                let x = columns(width, n, &mut random);
                check(kind, width, height, &file, &x, 0.02);
            }
        }
    }
}

#[test]
fn what_is_not_finite_beyond_a_row_of_plain_numbers_is_not_read() {
    let mut random = Random(23);
    let (width, height, n) = (33, 9, 3);
    for kind in [Kind::F32, Kind::F16, Kind::Bf16] {
        let file = weights(kind, width, height, &mut random);
        let x = columns(width, n, &mut random);
        let step = width + 31;
        let mut from = vec![f32::NAN; step * n];
        for (x, from) in x.iter().zip(from.chunks_mut(step)) {
            from[..width].copy_from_slice(x);
        }
        for rows in [8, 16] {
            let matrix = Matrix::new(kind, rows, width, height, &file);
            for isa in sets(rows) {
                let right = bits(&matrix.times(isa, 1, &x));
                let mut y = vec![f32::NAN; height * n];
                let product = Product {
                    layout: matrix.layout,
                    weights: matrix.memory.bytes().as_ptr(),
                    from: from.as_ptr().cast(),
                    from_strides: Strides([4 * step, 0, 0]),
                    to: y.as_mut_ptr().cast(),
                    to_strides: Strides([4 * height, 0, 0]),
                    columns: [n, 1, 1],
                    experts: None,
                };
                run(&product, isa, 2);
                let y: Vec<_> = y.chunks(height).map(<[f32]>::to_vec).collect();
                assert!(bits(&y) == right, "{kind:?} {isa}");
            }
        }
    }
}

#[test]
fn activations_and_outputs_may_begin_at_any_multiple_of_4() {
    let mut random = Random(24);
    let (width, height, n) = (256, 11, 21);
    for kind in Kind::ALL {
        let file = weights(kind, width, height, &mut random);
        let x = columns(width, n, &mut random);
        // Columns are apart by a number of bytes that 8 does not divide.
        let (from_step, to_step) = (4 * (width + 1), 4 * (height + 2));
        let portable = Matrix::new(kind, 8, width, height, &file);
        let right = portable.times(Isa::Portable, 1, &x);
        for rows in [8, 16] {
            let matrix = Matrix::new(kind, rows, width, height, &file);
            for isa in sets(rows) {
                for offset in [4, 8, 12, 20, 60] {
                    let mut from = Aligned::new(offset + from_step * n);
                    let mut to = Aligned::new(offset + to_step * n);
                    for (c, x) in x.iter().enumerate() {
                        let column = from.bytes_mut()[offset + c * from_step..].chunks_mut(4);
                        for (place, x) in column.zip(x) {
                            place.copy_from_slice(&x.to_ne_bytes());
                        }
                    }
                    let product = Product {
                        layout: matrix.layout,
                        weights: matrix.memory.bytes().as_ptr(),
                        from: from.bytes()[offset..].as_ptr(),
                        from_strides: Strides([from_step, 0, 0]),
                        to: to.bytes_mut()[offset..].as_mut_ptr(),
                        to_strides: Strides([to_step, 0, 0]),
                        columns: [n, 1, 1],
                        experts: None,
                    };
                    run(&product, isa, 2);
                    let mut expected = vec![0; offset + to_step * n];
                    for (c, y) in right.iter().enumerate() {
                        let column = expected[offset + c * to_step..].chunks_mut(4);
                        for (place, y) in column.zip(y) {
                            place.copy_from_slice(&y.to_ne_bytes());
                        }
                    }
                    assert!(to.bytes() == expected, "{kind:?} {isa} at {offset}");
                }
            }
        }
    }
}

#[test]
fn no_columns_are_no_work() {
    let mut random = Random(25);
    let file = weights(Kind::Q4K, 256, 8, &mut random);
    for rows in [8, 16] {
        let matrix = Matrix::new(Kind::Q4K, rows, 256, 8, &file);
        for isa in sets(rows) {
            assert!(matrix.times(isa, 3, &[]).is_empty());
        }
    }
}
