//! Products through ggml: as accurate as with its own kernels, and the same bits whatever is
//! beside a column.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::sync::{Mutex, MutexGuard, PoisonError};

use card_kernels::Kind;
use llama_cpp_sys_2 as cpp;

use super::product::card_matrix_bytes;
use super::register::card_kernels;
use super::through_ggml::{GgmlProduct, OWN, card_kernels_multiply};

mod models;

/// [`GgmlProduct::memory`] of weights as the file has them.
const PLAIN: u32 = 0;
/// The first of ggml's own layouts.
const OTHERS: u32 = 2;
/// What `card_kernels_multiply` returns if there is no such memory, or not for these weights.
const NO_SUCH_MEMORY: c_int = 1;
const NOT_SUPPORTED: c_int = 2;

/// The turn of a test: ggml's threads wait for each other by spinning, so two tests that have
/// several of them would hold each other up.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The turn of a test, if there are kernels here; says why not.
fn ready() -> Option<MutexGuard<'static, ()>> {
    match card_kernels() {
        Ok(_) => Some(turn()),
        Err(why) => {
            println!("no own kernels here: {why}");
            None
        }
    }
}

/// A small generator: the same numbers from the same seed.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    /// Like a normal one: a sum of twelve.
    fn normal(&mut self) -> f32 {
        let unit = |bits: u32| (bits & 0xff_ffff) as f32 / 16_777_216.0;
        (0..12).map(|_| unit(self.bits())).sum::<f32>() - 6.0
    }

    fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }

    /// Rows of weights as ggml makes them of normal ones.
    fn weights(&mut self, kind: Kind, width: usize, height: usize) -> Vec<u8> {
        let numbers = self.normals(width * height);
        let mut file = vec![0u8; file_row(kind, width) * height];
        // SAFETY: the numbers are so many, and the file has room for their blocks.
        let written = unsafe {
            cpp::ggml_quantize_chunk(
                kind as cpp::ggml_type,
                numbers.as_ptr(),
                file.as_mut_ptr().cast(),
                0,
                height as i64,
                width as i64,
                std::ptr::null(),
            )
        };
        assert_eq!(written, file.len(), "{kind:?}");
        file
    }
}

/// Bytes of a row in a file.
fn file_row(kind: Kind, width: usize) -> usize {
    width / kind.block() * kind.block_bytes()
}

/// A product with all that goes into it.
struct Case<'a> {
    kind: Kind,
    width: usize,
    height: usize,
    matrices: usize,
    file: &'a [u8],
    columns: [usize; 2],
    from: &'a [f32],
    /// Matrices of (slot, column by the second number), and how many slots there are.
    ids: Option<(&'a [i32], usize)>,
}

impl<'a> Case<'a> {
    /// Columns with one matrix.
    fn plain(kind: Kind, width: usize, file: &'a [u8], from: &'a [f32]) -> Self {
        Case {
            kind,
            width,
            height: file.len() / file_row(kind, width),
            matrices: 1,
            file,
            columns: [from.len() / width, 1],
            from,
            ids: None,
        }
    }

    /// The outputs, by ggml with the weights in this memory, or why there are none. `back` is
    /// filled with the weights from byte `back_at` on.
    fn through(
        &self,
        memory: u32,
        threads: usize,
        back_at: usize,
        back: &mut [u8],
    ) -> Result<Vec<f32>, c_int> {
        let rows = file_row(self.kind, self.width) * self.height;
        assert_eq!(self.file.len(), rows * self.matrices);
        assert!(back_at + back.len() <= self.file.len());
        let [first, second] = self.columns;
        assert_eq!(self.from.len(), self.width * first * second);
        let slots = self.ids.map_or(first, |(_, slots)| slots);
        if let Some((ids, _)) = self.ids {
            assert_eq!(ids.len(), slots * second);
            let known = 0..self.matrices as i32;
            assert!(ids.iter().all(|id| known.contains(id)));
        }
        let mut to = vec![0f32; self.height * slots * second];
        let mut product = GgmlProduct {
            kind: self.kind as u32,
            memory,
            width: self.width as i64,
            height: self.height as i64,
            matrices: self.matrices as i64,
            file: self.file.as_ptr().cast(),
            back: back.as_mut_ptr().cast(),
            back_at,
            back_bytes: back.len(),
            from: self.from.as_ptr(),
            columns: self.columns.map(|n| n as i64),
            ids: self.ids.map_or(std::ptr::null(), |(ids, _)| ids.as_ptr()),
            slots: slots as i64,
            to: to.as_mut_ptr(),
            threads: threads as c_int,
            asked: 0,
        };
        // SAFETY: the arrays have the sizes that the numbers say, as was looked at above.
        match unsafe { card_kernels_multiply(&mut product) } {
            0 => Ok(to),
            code => Err(code),
        }
    }

    /// The outputs by the own kernels, as bits.
    fn own(&self, threads: usize) -> Vec<u32> {
        let y = self.through(OWN, threads, 0, &mut []);
        let y = y.unwrap_or_else(|code| panic!("{:?}: code {code}", self.kind));
        y.into_iter().map(f32::to_bits).collect()
    }

    /// The outputs in double precision, and beside each the sum of its terms' magnitudes.
    fn exact(&self) -> Vec<(f64, f64)> {
        let mut row = vec![0f32; self.width];
        let mut exact = Vec::new();
        for column in self.from.chunks_exact(self.width) {
            for bytes in self.file.chunks_exact(file_row(self.kind, self.width)) {
                self.kind.weights(bytes, &mut row);
                let terms = row.iter().zip(column);
                let terms = terms.map(|(w, x)| f64::from(*w) * f64::from(*x));
                exact.push(terms.fold((0.0, 0.0), |(sum, size), t| (sum + t, size + t.abs())));
            }
        }
        exact
    }
}

/// Sums of squares, of errors and of what is summed.
#[derive(Clone, Copy, Default)]
struct Errors {
    errors: f64,
    sizes: f64,
}

impl Errors {
    fn add(&mut self, outputs: &[f32], exact: &[(f64, f64)]) {
        assert_eq!(outputs.len(), exact.len());
        for (y, (right, size)) in outputs.iter().zip(exact) {
            self.errors += (f64::from(*y) - right).powi(2);
            self.sizes += size.powi(2);
        }
    }

    /// The error, as a part of the terms that are summed.
    fn relative(self) -> f64 {
        (self.errors / self.sizes).sqrt()
    }
}

/// The errors by memory: the own ones are not above ggml's.
fn compare(what: &str, errors: &BTreeMap<u32, Errors>) {
    /// Errors differ by luck, a little.
    const LUCK: f64 = 1.02;
    /// What summing in single precision costs in whatever order.
    const SUMMING: f64 = 3e-8;
    let own = errors[&OWN].relative();
    let others = errors.iter().filter(|(memory, _)| **memory != OWN);
    let least = others
        .map(|(_, e)| e.relative())
        .fold(f64::INFINITY, f64::min);
    println!("{what}: {own:.3e}, ggml's {least:.3e}");
    assert!(
        own <= (least * LUCK).max(SUMMING),
        "{what}: the own kernels are off by {own:.3e}, ggml's by {least:.3e}"
    );
}

#[test]
fn products_are_as_accurate_as_with_ggmls_kernels() {
    let Some(_turn) = ready() else {
        return;
    };
    let mut random = Random(1);
    let mut repacked = 0;
    for kind in Kind::ALL {
        let mut of_kind: BTreeMap<u32, Errors> = BTreeMap::new();
        // Of 64 rows AMX has its layout too.
        for (width, height) in [(256, 40), (512, 64), (1536, 40)] {
            let mut of_width: BTreeMap<u32, Errors> = BTreeMap::new();
            let file = random.weights(kind, width, height);
            for columns in [1, 4, 9] {
                let from = random.normals(width * columns);
                let case = Case::plain(kind, width, &file, &from);
                let exact = case.exact();
                for memory in PLAIN.. {
                    let outputs = match case.through(memory, 2, 0, &mut []) {
                        Ok(outputs) => outputs,
                        Err(NO_SUCH_MEMORY) if memory >= OTHERS => break,
                        Err(NOT_SUPPORTED) if memory >= OTHERS => continue,
                        Err(code) => panic!("{kind:?} {width}x{height}: code {code}"),
                    };
                    repacked += usize::from(memory >= OTHERS);
                    of_width.entry(memory).or_default().add(&outputs, &exact);
                    of_kind.entry(memory).or_default().add(&outputs, &exact);
                }
            }
            compare(&format!("{kind:?} {width}x{height}"), &of_width);
        }
        compare(&format!("{kind:?}"), &of_kind);
    }
    println!("{repacked} products with ggml's own layouts");
}

/// ggml's AMX kernels cut the tiles of a thread once and rely on it.
#[test]
fn ggmls_own_kernels_go_on_after_ours_on_the_same_thread() {
    let Some(_turn) = ready() else {
        return;
    };
    let mut random = Random(6);
    let (width, height) = (512, 64);
    let file = random.weights(Kind::Q8_0, width, height);
    let from = random.normals(width * 16);
    let few = Case::plain(Kind::Q8_0, width, &file, &from[..width * 4]);
    let many = Case::plain(Kind::Q8_0, width, &file, &from);
    let own = many.own(1);
    for memory in OTHERS.. {
        let first = match few.through(memory, 1, 0, &mut []) {
            Err(NO_SUCH_MEMORY) => break,
            Err(_) => continue,
            Ok(first) => first,
        };
        for _ in 0..3 {
            assert!(many.own(1) == own);
            let again = few.through(memory, 1, 0, &mut []);
            assert!(again.is_ok_and(|again| again == first), "memory {memory}");
        }
    }
}

#[test]
fn a_column_has_the_same_bits_alone_and_among_others_with_any_number_of_threads() {
    let Some(_turn) = ready() else {
        return;
    };
    let mut random = Random(2);
    let (width, height, most) = (512, 43, 17);
    for kind in Kind::ALL {
        let file = random.weights(kind, width, height);
        let from = random.normals(width * most);
        let alone: Vec<u32> = from
            .chunks_exact(width)
            .flat_map(|column| Case::plain(kind, width, &file, column).own(1))
            .collect();
        for n in 1..=most {
            let threads = 1 + n % 4;
            let from = &from[..width * n];
            let together = Case::plain(kind, width, &file, from).own(threads);
            assert!(
                together == alone[..height * n],
                "{kind:?}: {n} columns, {threads} threads"
            );
        }
    }
}

/// Matrices alike, and columns.
struct Many {
    kind: Kind,
    width: usize,
    height: usize,
    matrices: usize,
    file: Vec<u8>,
}

impl Many {
    fn new(kind: Kind, matrices: usize, random: &mut Random) -> Many {
        let (width, height) = (256, 40);
        Many {
            kind,
            width,
            height,
            matrices,
            file: random.weights(kind, width, height * matrices),
        }
    }

    /// What a column has alone with a matrix.
    fn alone(&self, matrix: usize, column: &[f32]) -> Vec<u32> {
        let bytes = self.file.len() / self.matrices;
        let file = &self.file[matrix * bytes..][..bytes];
        Case::plain(self.kind, self.width, file, column).own(1)
    }

    fn case<'a>(
        &'a self,
        columns: [usize; 2],
        from: &'a [f32],
        ids: Option<(&'a [i32], usize)>,
    ) -> Case<'a> {
        Case {
            kind: self.kind,
            width: self.width,
            height: self.height,
            matrices: self.matrices,
            file: &self.file,
            columns,
            from,
            ids,
        }
    }
}

#[test]
fn experts_give_each_column_what_it_has_alone() {
    let Some(_turn) = ready() else {
        return;
    };
    let mut random = Random(3);
    const SLOTS: usize = 3;
    const TOKENS: usize = 7;
    for kind in Kind::ALL {
        let many = Many::new(kind, 5, &mut random);
        // The matrix in the middle is not asked for.
        let ids: Vec<i32> = (0..SLOTS * TOKENS)
            .map(|_| [0, 1, 3, 4][random.bits() as usize % 4])
            .collect();
        // All slots of a token have the same activations, as before the first product of a
        // layer of experts, or each its own, as before the second.
        for of_token in [1, SLOTS] {
            let from = random.normals(many.width * of_token * TOKENS);
            let column = |slot: usize, token: usize| {
                let at = slot % of_token + token * of_token;
                &from[at * many.width..][..many.width]
            };
            let mut right = Vec::new();
            for token in 0..TOKENS {
                for slot in 0..SLOTS {
                    let matrix = ids[slot + token * SLOTS] as usize;
                    right.extend(many.alone(matrix, column(slot, token)));
                }
            }
            let case = many.case([of_token, TOKENS], &from, Some((ids.as_slice(), SLOTS)));
            for threads in 1..=3 {
                let found = case.own(threads);
                assert!(
                    found == right,
                    "{kind:?}: {of_token} of a token, {threads} threads"
                );
            }
        }
    }
}

#[test]
fn several_matrices_in_turn_give_each_column_what_it_has_alone() {
    let Some(_turn) = ready() else {
        return;
    };
    let mut random = Random(4);
    const MATRICES: usize = 3;
    const FIRST: usize = 5;
    for kind in Kind::ALL {
        let many = Many::new(kind, MATRICES, &mut random);
        for repeat in [1, 2] {
            let second = MATRICES * repeat;
            let from = random.normals(many.width * FIRST * second);
            let columns = from.chunks_exact(many.width).enumerate();
            let right: Vec<u32> = columns
                .flat_map(|(i, column)| many.alone(i / FIRST / repeat, column))
                .collect();
            let case = many.case([FIRST, second], &from, None);
            for threads in 1..=3 {
                let found = case.own(threads);
                assert!(
                    found == right,
                    "{kind:?}: repeated {repeat}, {threads} threads"
                );
            }
        }
        // One matrix for columns that are counted by two numbers.
        let one = Many::new(kind, 1, &mut random);
        let from = random.normals(one.width * FIRST * 2);
        let columns = from.chunks_exact(one.width);
        let right: Vec<u32> = columns.flat_map(|column| one.alone(0, column)).collect();
        let found = one.case([FIRST, 2], &from, None).own(2);
        assert!(found == right, "{kind:?}: one matrix");
    }
}

#[test]
fn weights_can_be_read_back_in_whole_and_in_part() {
    let Some(_turn) = ready() else {
        return;
    };
    let mut random = Random(5);
    for kind in Kind::ALL {
        let many = Many::new(kind, 3, &mut random);
        let from = random.normals(many.width);
        let row = file_row(kind, many.width);
        let (matrix, whole) = (row * many.height, many.file.len());
        let parts = [
            0..whole,
            0..matrix,
            matrix..whole,
            row..3 * row,
            // Over the end of one matrix, and of two.
            matrix - 5..matrix + 3,
            matrix - 1..2 * matrix + 1,
            whole - 1..whole,
        ];
        // ggml wants a column for each matrix.
        let from = from.repeat(many.matrices);
        let case = many.case([1, many.matrices], &from, None);
        for part in parts {
            let mut back = vec![0u8; part.len()];
            let done = case.through(OWN, 1, part.start, &mut back);
            assert!(done.is_ok(), "{kind:?}");
            assert!(back == many.file[part.clone()], "{kind:?}: {part:?}");
        }
    }
}

#[test]
fn what_cannot_be_laid_out_has_no_bytes() {
    for kind in Kind::ALL {
        let kind = kind as u32;
        assert!(card_matrix_bytes(kind, 512, 3) > 0);
        for (width, height) in [
            (0, 8),
            (256, 0),
            (-256, 8),
            (256, -1),
            (i64::MIN, i64::MIN),
            (i64::MAX, i64::MAX),
            (256, i64::MAX),
            (1 << 62, 8),
            (1 << 40, 1 << 40),
            (1 << 32, 1 << 30),
        ] {
            let bytes = card_matrix_bytes(kind, width, height);
            assert_eq!(bytes, 0, "{kind}: {width}x{height}");
        }
    }
    // Rows that are not whole blocks, and types that are not ours.
    assert_eq!(card_matrix_bytes(Kind::Q4K as u32, 128, 8), 0);
    assert_eq!(card_matrix_bytes(Kind::Q8_0 as u32, 48, 8), 0);
    for kind in [9, 10, 15, 24, 39, u32::MAX] {
        assert_eq!(card_matrix_bytes(kind, 256, 8), 0, "{kind}");
    }
}
