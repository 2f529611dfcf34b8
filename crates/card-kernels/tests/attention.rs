//! Attention: right against 64-bit floats, and the same bits whatever runs beside a row.

#![allow(clippy::unwrap_used)]

#[path = "attention/case.rs"]
mod case;

use card_kernels::{Isa, KvType};

use case::{Case, HIDDEN, Random, Shape, bits, half, row_bytes};

#[test]
fn it_is_right_for_every_size_of_head() {
    let mut random = Random(1);
    let sizes = [
        (64, 64),
        (80, 80),
        (96, 96),
        (128, 128),
        (192, 128),
        (256, 256),
        (576, 512),
        (20, 20),
        (7, 33),
    ];
    let groups = [(2, 2), (4, 2), (6, 1), (7, 1), (14, 2), (9, 1)];
    for (i, (dk, dv)) in sizes.into_iter().enumerate() {
        for (j, (heads, kv_heads)) in groups.into_iter().enumerate() {
            // Long heads are slow in plain Rust: one group will do.
            if dk > 128 && j != i % groups.len() {
                continue;
            }
            let mut shape = Shape::new(dk, dv, heads, kv_heads);
            shape.n_q = [1, 3, 9][(i + j) % 3];
            shape.n_kv = 20 + random.below(30);
            shape.sinks = j % 2 == 1;
            let mut case = Case::random(shape, &mut random);
            case.random_mask(&mut random);
            case.check(1 + i % 3, &format!("{dk}/{dv}, {heads} of {kv_heads}"));
        }
    }
}

#[test]
fn it_is_right_for_every_type_and_parameter() {
    let types = [
        KvType::F32,
        KvType::F16,
        KvType::Bf16,
        KvType::Q8_0,
        KvType::Q4_0,
    ];
    let mut random = Random(2);
    for (i, k_type) in types.into_iter().enumerate() {
        for (j, v_type) in types.into_iter().enumerate() {
            let mut shape = Shape::new(64, 32, 6, 3);
            shape.n_q = 1 + random.below(6);
            shape.n_kv = 1 + random.below(60);
            shape.k_type = k_type;
            shape.v_type = v_type;
            shape.sinks = (i + j) % 2 == 0;
            shape.max_bias = if (i + 2 * j) % 3 == 0 { 8.0 } else { 0.0 };
            shape.softcap = if (2 * i + j) % 3 == 0 { 5.0 } else { 0.0 };
            let mut case = Case::random(shape, &mut random);
            case.random_mask(&mut random);
            case.check(2, &format!("{k_type:?} and {v_type:?}"));
        }
    }
}

#[test]
fn it_is_right_for_streams_and_masks_of_all_sorts() {
    let mut random = Random(3);
    for (streams, kv_streams) in [(1, 1), (2, 2), (4, 2), (3, 1)] {
        for (mask_heads, mask_streams) in [(0, 1), (1, 1), (1, streams), (4, 1), (2, streams)] {
            let mut shape = Shape::new(32, 48, 4, 2);
            shape.n_q = 1 + random.below(10);
            shape.n_kv = 1 + random.below(50);
            shape.streams = streams;
            shape.kv_streams = kv_streams;
            shape.mask_heads = mask_heads;
            shape.mask_streams = mask_streams;
            let mut case = Case::random(shape, &mut random);
            case.random_mask(&mut random);
            let what = format!("{streams} streams, {mask_heads} and {mask_streams} masks");
            case.check(3, &what);
        }
    }
}

#[test]
fn a_causal_prompt_is_right() {
    let mut random = Random(4);
    for heads in [1, 2, 3, 7, 8] {
        let mut shape = Shape::new(32, 32, heads, 1);
        shape.n_q = 50;
        shape.n_kv = 64;
        let mut case = Case::random(shape, &mut random);
        for (i, value) in case.mask.iter_mut().enumerate() {
            // Rows stand at places 10 and on, and see the last 40 places.
            let (place, cell) = (10 + i / 64, i % 64);
            if cell > place || cell + 40 <= place {
                *value = HIDDEN;
            }
        }
        case.check(3, &format!("{heads} heads"));
    }
}

#[test]
fn scores_far_apart_and_lone_sinks_are_right() {
    let mut random = Random(5);
    let mut shape = Shape::new(64, 64, 2, 1);
    shape.n_kv = 40;
    shape.scale = 20.0;
    let mut case = Case::random(shape, &mut random);
    // Products of small whole numbers are exact, so that the scores are.
    for q in &mut case.q {
        *q = (*q * 2.0).round();
    }
    for (i, byte) in case.k.chunks_mut(2).enumerate() {
        byte.copy_from_slice(&half((i % 7) as i32 - 3).to_le_bytes());
    }
    case.check(1, "scores far apart");
    case.shape.sinks = true;
    case.sinks = vec![1e9, -1e9];
    case.check(1, "a sink far above and one far below");
}

#[test]
fn a_row_that_sees_nothing_gives_zeros() {
    let mut random = Random(6);
    for sinks in [false, true] {
        for n_kv in [0, 5, 33] {
            let mut shape = Shape::new(64, 20, 3, 1);
            shape.n_q = 5;
            shape.n_kv = n_kv;
            shape.sinks = sinks;
            let mut case = Case::random(shape, &mut random);
            // First row 2 sees nothing, then none does, and no cell is a number.
            case.mask[2 * n_kv..3 * n_kv].fill(HIDDEN);
            for isa in Isa::available() {
                let out = case.run(isa, 2);
                let row = &out[2 * 3 * 20..3 * 3 * 20];
                assert!(row.iter().all(|x| x.to_bits() == 0), "{isa:?}");
            }
            case.mask.fill(HIDDEN);
            case.k.fill(0xff);
            case.v.fill(0xff);
            for isa in Isa::available() {
                let out = case.run(isa, 2);
                assert!(out.iter().all(|x| x.to_bits() == 0), "{isa:?}");
            }
        }
    }
}

/// Puts the only row of `alone` at place `place` of `rows` rows, and its cells in their order at
/// random places among `others` more cells, which hold NaN. The other rows see, each at random:
/// the same cells, some of them, or the others.
fn crowd(alone: &Case, rows: usize, place: usize, others: usize, random: &mut Random) -> Case {
    let own = alone.shape.n_kv;
    let mut shape = alone.shape.clone();
    shape.n_q = rows;
    shape.n_kv = own + others;
    let mut case = Case::random(shape, random);
    let s = &case.shape;
    case.sinks.clone_from(&alone.sinks);
    let query = s.heads * s.dk;
    case.q[place * query..][..query].copy_from_slice(&alone.q);
    case.k.fill(0xff);
    case.v.fill(0xff);
    let k_bytes = s.kv_heads * row_bytes(s.k_type, s.dk);
    let v_bytes = s.kv_heads * row_bytes(s.v_type, s.dv);

    // The cells of `alone` that the cells here are, if any.
    let mut sources = Vec::new();
    let mut source = 0;
    for cell in 0..s.n_kv {
        let left = s.n_kv - cell;
        if random.below(left) < own - source {
            case.k[cell * k_bytes..][..k_bytes]
                .copy_from_slice(&alone.k[source * k_bytes..][..k_bytes]);
            case.v[cell * v_bytes..][..v_bytes]
                .copy_from_slice(&alone.v[source * v_bytes..][..v_bytes]);
            sources.push(Some(source));
            source += 1;
        } else {
            sources.push(None);
        }
    }
    assert_eq!(source, own);

    for row in 0..rows {
        let habit = if row == place { 0 } else { random.below(4) };
        for (cell, source) in sources.iter().enumerate() {
            let seen = match habit {
                0 => source.is_some(),
                1 => source.is_some() && random.below(8) > 0,
                2 => source.is_none() && random.below(2) > 0,
                _ => source.is_some_and(|source| source < row),
            };
            case.mask[row * s.n_kv + cell] = match source {
                Some(source) if seen => alone.mask[*source],
                None if seen => 0,
                _ => HIDDEN,
            };
        }
    }
    case
}

/// A row alone and in every crowd: the same bits.
fn check_crowds(mut shape: Shape, random: &mut Random) {
    shape.n_q = 1;
    shape.n_kv = 75;
    let biased = shape.max_bias > 0.0;
    let mut alone = Case::random(shape, random);
    if biased {
        for (i, value) in alone.mask.iter_mut().enumerate() {
            *value = half(i as i32 - 74);
        }
    }
    let expected = bits(&alone.run(Isa::Portable, 1));
    assert!(expected.iter().all(|&x| f32::from_bits(x).is_finite()));
    let isas = Isa::available();
    let mut turn = 0;
    for rows in [1, 2, 3, 5, 8, 9, 17, 67] {
        for place in 0..rows {
            // Not every place of the large crowds: it takes long in plain Rust.
            if rows > 9 && place % 13 != 3 {
                continue;
            }
            let others = random.below(3) * random.below(60);
            let case = crowd(&alone, rows, place, others, random);
            let isa = isas[turn % isas.len()];
            let threads = 1 + turn % 5;
            let out = case.run(isa, threads);
            let len = expected.len();
            assert_eq!(
                bits(&out[place * len..][..len]),
                expected,
                "row {place} of {rows}, {others} other cells, {isa:?}, {threads} threads",
            );
            turn += 1;
        }
    }
}

#[test]
fn a_row_of_one_head_gives_the_same_bits_in_every_crowd() {
    check_crowds(Shape::new(64, 64, 2, 2), &mut Random(7));
}

#[test]
fn a_row_of_two_heads_gives_the_same_bits_in_every_crowd() {
    let mut shape = Shape::new(32, 80, 4, 2);
    shape.k_type = KvType::F32;
    shape.v_type = KvType::Bf16;
    shape.softcap = 10.0;
    check_crowds(shape, &mut Random(8));
}

#[test]
fn a_row_of_six_heads_gives_the_same_bits_in_every_crowd() {
    let mut shape = Shape::new(64, 32, 6, 1);
    shape.k_type = KvType::Q8_0;
    shape.v_type = KvType::Q4_0;
    shape.sinks = true;
    check_crowds(shape, &mut Random(9));
}

#[test]
fn a_row_of_seven_heads_gives_the_same_bits_in_every_crowd() {
    let mut shape = Shape::new(20, 20, 7, 1);
    shape.max_bias = 8.0;
    check_crowds(shape, &mut Random(10));
}
