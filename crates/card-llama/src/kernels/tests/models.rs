//! Whole models: a token has the same logits, bit for bit, whatever is beside it.

use std::path::{Path, PathBuf};

use card_core::forward::{Forward, KvCell, KvOp, Logits, Model, Row};
use card_core::types::{SequenceId, Token};

use super::super::choice::Kernels;
use super::super::register::card_kernels;
use super::{Random, ready, turn};
use crate::backend::context::LlamaContext;
use crate::backend::context_options::ContextOptions;
use crate::backend::cores::{Cores, on_own_thread};
use crate::backend::model::{LlamaModel, LoadOptions};
use crate::sys::quantize::quantize;
use crate::tiny::Tiny;

/// Tokens behind a prompt, and most rows of a forward that are looked at.
const TAIL: usize = 64;
/// Rows that a forward may have.
const ROWS: usize = 160;
/// Tokens of the tiny models, without the one that ends a text.
const VOCAB: usize = 96;
const A: SequenceId = SequenceId(1);
const B: SequenceId = SequenceId(2);

/// A file with a model of three layers, of this weight type (F32 if `None`).
fn file(name: &str, experts: u64, quant: Option<&str>) -> PathBuf {
    let whole = Tiny::deep(name, experts).write();
    let Some(quant) = quant else {
        return whole;
    };
    let made = whole.with_extension(format!("{quant}.gguf"));
    quantize(&whole, &made, quant, true, 2, |_, _| {}).unwrap();
    std::fs::remove_file(whole).unwrap();
    made
}

fn load(file: &Path, kernels: Kernels) -> LlamaModel {
    let options = LoadOptions {
        kernels,
        ..LoadOptions::default()
    };
    LlamaModel::load(file, &options, &mut |_| {}).unwrap()
}

fn model(name: &str, experts: u64, quant: Option<&str>) -> LlamaModel {
    let file = file(name, experts, quant);
    let model = load(&file, Kernels::Card);
    std::fs::remove_file(file).unwrap();
    assert!(model.has_card_kernels());
    model
}

fn text(length: usize, seed: u64) -> Vec<Token> {
    let mut random = Random(seed);
    (0..length).map(|_| random.bits() % VOCAB as u32).collect()
}

/// A context that sequences are read into.
struct Reader {
    context: LlamaContext,
    /// The last name that was given.
    cell: KvCell,
}

impl Reader {
    fn new(model: &LlamaModel, length: usize, sequences: u32, threads: usize) -> Reader {
        let options = ContextOptions {
            role: "target",
            context: length as u32,
            sequences,
            spare_cells: 1024,
            rows: ROWS as u32,
            in_order: sequences > 1,
            cores: Cores::one_lane(threads),
        };
        Reader {
            context: LlamaContext::new(model, &options).unwrap(),
            cell: 0,
        }
    }

    /// Rows of a chain behind a stem of `at` tokens.
    fn chain(&mut self, sequence: SequenceId, at: usize, tokens: &[Token]) -> Vec<Row> {
        let mut parent = None;
        let row = |(i, &token): (usize, &Token)| {
            self.cell += 1;
            Row {
                sequence,
                token,
                position: (at + i) as u32,
                cell: self.cell,
                parent: parent.replace(self.cell),
                logits: true,
            }
        };
        tokens.iter().enumerate().map(row).collect()
    }

    /// Decodes rows; returns the logits of each as bits.
    fn forward(&mut self, rows: &[Row]) -> Vec<Vec<u32>> {
        let rows = rows.to_vec();
        let n = rows.len();
        self.context.forward(&Forward { rows, pad_to: 0 }).unwrap();
        let bits = |i: usize| -> Vec<u32> {
            let row = self.context.row(i);
            assert_eq!(row.len(), VOCAB + 1);
            row.iter().map(|x| x.to_bits()).collect()
        };
        (0..n).map(bits).collect()
    }

    /// The path to the last row of this sequence joins its stem.
    fn commit(&mut self, sequence: SequenceId, rows: &[Row]) {
        let tip = rows.iter().rev().find(|row| row.sequence == sequence);
        let commit = KvOp::Commit {
            sequence,
            tip: tip.unwrap().cell,
            keep_descendants: false,
        };
        self.context.apply(commit).unwrap();
    }

    fn prune(&mut self, sequence: SequenceId) {
        self.context.apply(KvOp::Prune { sequence }).unwrap();
    }

    /// Reads a text in pieces of `rows` tokens; returns the logits of each token.
    fn read(&mut self, sequence: SequenceId, tokens: &[Token], rows: usize) -> Vec<Vec<u32>> {
        let mut all = Vec::new();
        for piece in tokens.chunks(rows) {
            let rows = self.chain(sequence, all.len(), piece);
            all.extend(self.forward(&rows));
            self.commit(sequence, &rows);
        }
        all
    }
}

/// A model, a text, and the logits of each token of it when it is read one by one.
struct Truth {
    name: String,
    model: LlamaModel,
    text: Vec<Token>,
    logits: Vec<Vec<u32>>,
}

impl Truth {
    fn new(name: &str, model: LlamaModel, length: usize) -> Truth {
        let text = text(length, 7);
        let logits = on_own_thread(|| Reader::new(&model, length, 1, 1).read(A, &text, 1));
        // Else the same bits would prove nothing.
        assert!(logits.windows(2).all(|two| two[0] != two[1]));
        assert!(
            logits
                .iter()
                .flatten()
                .all(|x| f32::from_bits(*x).is_finite())
        );
        Truth {
            name: name.into(),
            model,
            text,
            logits,
        }
    }

    /// Reads the first `length` tokens in pieces, then decodes each of `counts` rows at a time
    /// behind them.
    fn check_alone(&self, length: usize, threads: usize, piece: usize, counts: &[usize]) {
        on_own_thread(|| {
            let mut reader = Reader::new(&self.model, length + TAIL, 1, threads);
            let prompt = reader.read(A, &self.text[..length], piece);
            assert!(
                prompt == self.logits[..length],
                "{}: a prompt of {length} tokens in pieces of {piece}, {threads} threads",
                self.name
            );
            for &n in counts {
                let rows = reader.chain(A, length, &self.text[length..length + n]);
                let found = reader.forward(&rows);
                assert!(
                    found == self.logits[length..length + n],
                    "{}: {n} rows behind {length} tokens, {threads} threads",
                    self.name
                );
                reader.prune(A);
            }
        });
    }

    /// The rows of sequence A, which continue the text, have its logits.
    fn check_rows(&self, what: &str, rows: &[Row], found: &[Vec<u32>]) {
        for (row, found) in rows.iter().zip(found).filter(|(row, _)| row.sequence == A) {
            let at = row.position as usize;
            assert_eq!(row.token, self.text[at]);
            let same = *found == self.logits[at];
            assert!(same, "{}: token {at}, {what}", self.name);
        }
    }

    /// Reads the first `length` tokens while another sequence has rows in the same forwards,
    /// so that its cells lie between, then more of them beside others and a branch.
    fn check_among_others(&self, length: usize, counts: &[usize]) {
        on_own_thread(|| {
            let mut reader = Reader::new(&self.model, length + 2 * TAIL, 3, 2);
            let other = text(length + TAIL, 8);
            let (mut at, mut other_at) = (0, 0);
            for piece in [7, 1, 20, 3, 33].into_iter().cycle() {
                let n = piece.min(length - at);
                let m = (1 + piece % 6).min(length - other_at);
                if n == 0 {
                    break;
                }
                let ours = reader.chain(A, at, &self.text[at..at + n]);
                let theirs = reader.chain(B, other_at, &other[other_at..other_at + m]);
                let rows = in_turn(&theirs, &ours);
                let found = reader.forward(&rows);
                self.check_rows("while another is read", &rows, &found);
                reader.commit(A, &rows);
                if m > 0 {
                    reader.commit(B, &rows);
                }
                (at, other_at) = (at + n, other_at + m);
            }
            for &n in counts {
                // A third one comes and goes; its cells stay for a while.
                let third = SequenceId(100 + n as u64);
                reader.read(third, &other[..1 + n % 11], 4);
                let release = KvOp::Release { sequence: third };
                reader.context.apply(release).unwrap();

                let wrong = (self.text[length] + 1) % VOCAB as u32;
                let branch = reader.chain(A, length, &[wrong, 5, 6]);
                let ours = reader.chain(A, length, &self.text[length..length + n]);
                let theirs = reader.chain(B, other_at, &other[other_at..][..1 + n % 5]);
                let both = in_turn(&ours, &theirs);
                let found = reader.forward(&[&branch[..], &both].concat());
                let found = &found[branch.len()..];
                self.check_rows("beside a branch and another", &both, found);
                reader.prune(A);
                reader.prune(B);
            }
        });
    }
}

/// One row of each, as long as there are, in the order of each.
fn in_turn(a: &[Row], b: &[Row]) -> Vec<Row> {
    let most = a.len().max(b.len());
    (0..most)
        .flat_map(|i| a.get(i).into_iter().chain(b.get(i)).copied())
        .collect()
}

/// Numbers of rows for where all of them would take too long: threads that are more than the
/// cores wait for each other.
const SOME: [usize; 5] = [1, 2, 9, 33, TAIL];

fn check_in_full(name: &str, experts: u64, quant: Option<&str>) {
    let Some(_turn) = ready() else {
        return;
    };
    const LONG: usize = 600;
    let truth = Truth::new(name, model(name, experts, quant), LONG + TAIL);
    let all: Vec<usize> = (1..=TAIL).collect();
    for length in [10, LONG] {
        truth.check_alone(length, 1, 64, &all);
        truth.check_alone(length, 2, 33, &all);
        truth.check_alone(length, 3, ROWS, &SOME);
        truth.check_alone(length, 4, ROWS - 7, &SOME);
        truth.check_among_others(length, &all);
    }
}

#[test]
fn logits_of_f16_are_the_same_bits_in_every_shape_of_forward() {
    check_in_full("exact-f16", 0, Some("F16"));
}

#[test]
fn logits_of_q8_0_are_the_same_bits_in_every_shape_of_forward() {
    check_in_full("exact-q8_0", 0, Some("Q8_0"));
}

#[test]
fn logits_of_q4_k_are_the_same_bits_in_every_shape_of_forward() {
    check_in_full("exact-q4_k", 0, Some("Q4_K_M"));
}

#[test]
fn logits_of_experts_are_the_same_bits_in_every_shape_of_forward() {
    check_in_full("exact-experts", 6, Some("Q4_K_M"));
}

#[test]
fn logits_of_other_types_are_the_same_bits_for_some_shapes() {
    let Some(_turn) = ready() else {
        return;
    };
    const LENGTH: usize = 40;
    for quant in [
        None,
        Some("BF16"),
        Some("Q6_K"),
        Some("Q5_K_M"),
        Some("Q4_1"),
        Some("Q4_0"),
    ] {
        // Q2_K is left to ggml, whose sums depend on the rows; so it is not here.
        let name = format!("exact-{}", quant.unwrap_or("F32"));
        let truth = Truth::new(&name, model(&name, 0, quant), LENGTH + TAIL);
        truth.check_alone(LENGTH, 2, 7, &SOME);
        truth.check_among_others(LENGTH, &SOME);
    }
    let truth = Truth::new(
        "exact-experts-f16",
        model("exact-experts-f16", 6, Some("F16")),
        LENGTH + TAIL,
    );
    truth.check_alone(LENGTH, 2, 7, &SOME);
    truth.check_among_others(LENGTH, &SOME);
}

#[test]
fn logits_behind_three_thousand_tokens_are_the_same_bits() {
    let Some(_turn) = ready() else {
        return;
    };
    const LENGTH: usize = 3000;
    let quant = Some("Q4_K_M");
    let truth = Truth::new("exact-3000", model("exact-3000", 0, quant), LENGTH + TAIL);
    truth.check_alone(LENGTH, 2, ROWS, &SOME);
    truth.check_among_others(LENGTH, &SOME);
}

#[test]
fn a_context_keeps_the_kernels_of_its_model() {
    let Some(_turn) = ready() else {
        return;
    };
    let truth = Truth::new("exact-kept", model("exact-kept", 0, Some("Q8_0")), 50);
    let mut reader = Reader::new(&truth.model, 50, 1, 2);
    drop(truth.model);
    let found = on_own_thread(|| reader.read(A, &truth.text, 13));
    assert!(found == truth.logits);
}

/// The logits of a text that is read in pieces of 9.
fn logits(model: &LlamaModel, text: &[Token], threads: usize) -> Vec<Vec<u32>> {
    on_own_thread(|| Reader::new(model, text.len(), 1, threads).read(A, text, 9))
}

/// The largest difference.
fn furthest(a: &[Vec<u32>], b: &[Vec<u32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    let apart = pairs.map(|(a, b)| (f32::from_bits(*a) - f32::from_bits(*b)).abs());
    // `max` passes over what is no number.
    let apart = apart.map(|x| if x.is_finite() { x } else { f32::INFINITY });
    apart.fold(0.0, f32::max)
}

#[test]
fn with_ggmls_kernels_no_weights_are_laid_out_for_the_own_ones() {
    let _turn = turn();
    let there = card_kernels().is_ok();
    let file = file("ggmls", 0, Some("F16"));
    let text = text(50, 9);
    let found = [Kernels::Ggml, Kernels::GgmlPlain].map(|kernels| {
        let model = load(&file, kernels);
        assert!(!model.has_card_kernels(), "{kernels:?}");
        logits(&model, &text, 2)
    });
    assert!(furthest(&found[0], &found[1]) < 0.1);
    let model = load(&file, Kernels::Card);
    assert_eq!(model.has_card_kernels(), there);
    let own = logits(&model, &text, 2);
    for ggmls in &found {
        assert!(furthest(ggmls, &own) < 0.1, "{}", furthest(ggmls, &own));
        if there {
            // ggml rounds what goes into a product with halves, so it was not the own ones.
            assert!(*ggmls != own);
        }
    }
    std::fs::remove_file(file).unwrap();
}

/// Numbers that scale what a matrix gives are asked for as if they were a matrix, and used otherwise:
/// with own kernels such a model ended the process.
#[test]
fn scales_of_matrices_are_left_to_ggml() {
    let _turn = turn();
    let there = card_kernels().is_ok();
    let text = text(40, 11);
    for (experts, matrices) in [
        (0, ["attn_q", "attn_output", "ffn_down"]),
        (6, ["attn_k", "ffn_up_exps", "ffn_down_exps"]),
    ] {
        let name = format!("scales-{experts}");
        let plain = Tiny::deep(&format!("{name}-without"), experts).write();
        let mut tiny = Tiny::deep(&name, experts);
        for layer in 0..3 {
            for matrix in matrices {
                // One number for a matrix, or one for each expert's.
                let count = if matrix.ends_with("_exps") {
                    experts
                } else {
                    1
                };
                let scale = format!("blk.{layer}.{matrix}.scale");
                tiny = tiny.weights(&scale, &[count], vec![0.75; count as usize]);
            }
        }
        let scaled = tiny.write();
        let model = load(&scaled, Kernels::Card);
        assert_eq!(model.has_card_kernels(), there);
        let own = logits(&model, &text, 2);
        let ggmls = logits(&load(&scaled, Kernels::Ggml), &text, 2);
        let without = logits(&load(&plain, Kernels::Card), &text, 2);
        let (apart, moved) = (furthest(&own, &ggmls), furthest(&own, &without));
        assert!(moved.is_finite() && moved > 0.0, "{name}: {moved}");
        // Of experts that are nearly as good as each other, rounding may choose.
        if experts == 0 {
            assert!(apart < 0.1 && moved > 2.0 * apart, "{moved}, {apart}");
        }
        for file in [plain, scaled] {
            std::fs::remove_file(file).unwrap();
        }
    }
}

/// Attention changes hands when the first model with own kernels is loaded and the last is
/// freed, whatever is decoded meanwhile.
#[test]
fn models_that_come_and_go_do_not_disturb_those_that_decode() {
    let _turn = turn();
    let file = file("come-and-go", 0, Some("Q8_0"));
    let text = text(40, 10);
    let ggmls = load(&file, Kernels::Ggml);
    let first = logits(&ggmls, &text, 2);
    let own = logits(&load(&file, Kernels::Card), &text, 1);
    let bound = 2.0 * furthest(&first, &own).max(0.1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..10 {
                let again = logits(&ggmls, &text, 2);
                let far = furthest(&first, &again);
                // With one attention or the other.
                assert!(far <= bound, "{far} {bound}");
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let model = load(&file, Kernels::Card);
                    let again = logits(&model, &text, 1);
                    if model.has_card_kernels() {
                        assert!(own == again);
                    } else {
                        assert!(furthest(&own, &again) <= bound);
                    }
                }
            });
        }
    });
    std::fs::remove_file(file).unwrap();
}
