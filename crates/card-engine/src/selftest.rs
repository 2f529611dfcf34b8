//! Which shapes of forward give the same logits, and what each costs.
//!
//! Decodes one passage token by token and in chunks of other sizes. Sizes whose logits
//! are the same bit for bit form a *kernel class*; the exactness levels are built on what
//! this finds (DESIGN §6, docs/exactness.md). The same forwards give the cost curve.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use card_core::cost::CostCurve;
use card_core::engine::Shapes;
use card_core::forward::{Forward, KvOp, Model, ModelError};
use card_core::types::{SequenceId, Token};
use serde::{Deserialize, Serialize};

/// Sizes at which trees are tried too: half the rows are the passage, half a branch beside it.
const TREES: [usize; 3] = [4, 8, 16];
/// Sizes that are tried.
pub const SIZES: [usize; 14] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32];
/// Tokens decoded before the comparison starts: few, as in a short chat, and more than
/// the 512 from which on llama.cpp splits the attention of a single row.
pub const HEADS: [usize; 2] = [8, 560];
/// Above every name the engine gives. The passage is decoded in the second one, which
/// takes the head over from the first and gives it back.
const STEM: SequenceId = SequenceId(u64::MAX);
const BODY: SequenceId = SequenceId(u64::MAX - 1);

/// What decoding in chunks of one size did, compared with one token at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizeReport {
    /// Rows per forward.
    pub rows: usize,
    /// Sizes of the same class have the same number.
    pub class: usize,
    /// Largest difference of a logit.
    pub max_diff: f32,
    /// Largest change of the distance between the two best tokens.
    pub margin_shift: f32,
    /// Positions at which the best token became another one.
    pub flips: usize,
    /// Largest margin at such a position.
    pub flip_margin: f32,
    /// Median milliseconds of a forward.
    pub ms: f64,
}

/// The findings for one model, build and number of threads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// One entry per size, smallest first.
    pub sizes: Vec<SizeReport>,
    /// Positions compared.
    pub positions: usize,
    /// Whether a row of a tree's best path gets the logits it gets in a chain, bit for bit.
    pub trees: bool,
    /// Rows and milliseconds of a forward that reads a prompt; only its last row has logits.
    pub prefill: Option<(usize, f64)>,
}

/// How close the output is to plain decoding's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exactness {
    /// As fast as it comes; near-ties are reported.
    Default,
    /// Near-ties are decided by a forward of one row.
    Strict,
    /// Logits are plain decoding's, bit for bit.
    Bitwise,
}

impl Report {
    /// Largest number of rows up to which every size gives the logits of one row.
    pub fn exact_rows(&self) -> usize {
        self.contiguous(0)
    }

    /// From the size at `from` on, the largest that is of the same class, with all between.
    fn contiguous(&self, from: usize) -> usize {
        let class = self.sizes[from].class;
        let same = self.sizes[from..].iter().take_while(|s| s.class == class);
        same.last().map_or(1, |s| s.rows)
    }

    /// The forwards that keep what `level` promises.
    ///
    /// Bitwise takes the class of one row if it is wide enough to verify something, else
    /// pads to the start of the class that allows most rows per millisecond.
    pub fn shapes(&self, level: Exactness) -> Shapes {
        match level {
            Exactness::Default => Shapes::FREE,
            Exactness::Strict => Shapes {
                redecide_below: Some(self.margin_bound()),
                // A single row's attention is split over threads where the cache is long,
                // with whoever's tokens.
                redecide_rows: 2,
                prefill_alone: true,
                chain_only: !self.trees,
                ..Shapes::FREE
            },
            Exactness::Bitwise => {
                let (pad_to, max_rows) = self.bitwise_range();
                Shapes {
                    pad_to: if pad_to == 1 { 0 } else { pad_to },
                    max_rows,
                    chain_only: !self.trees,
                    alone: true,
                    ..Shapes::FREE
                }
            }
        }
    }

    /// Fewest and most rows of a forward for bitwise exactness.
    pub fn bitwise_range(&self) -> (usize, usize) {
        /// Rows that make speculation worth its while.
        const ENOUGH: usize = 3;
        if self.exact_rows() >= ENOUGH {
            return (1, self.exact_rows());
        }
        let ranges = (0..self.sizes.len()).map(|i| (self.sizes[i], self.contiguous(i)));
        ranges
            .filter(|(s, most)| most - s.rows >= ENOUGH)
            .min_by(|a, b| a.0.ms.total_cmp(&b.0.ms))
            .map_or((1, self.exact_rows()), |(s, most)| (s.rows, most))
    }

    /// Decisions closer than this may come out otherwise in a forward of another size:
    /// twice the largest shift seen, 0 if every size gives the same logits.
    pub fn margin_bound(&self) -> f32 {
        let shift = self.sizes.iter().map(|s| s.margin_shift);
        2.0 * shift.fold(0.0, f32::max)
    }

    /// What holds by both reports: sizes are of one class if they are in both.
    fn and(self, other: &Report) -> Report {
        let mut classes: Vec<(usize, usize)> = Vec::new();
        let pairs = self.sizes.iter().zip(&other.sizes);
        let sizes = pairs
            .map(|(a, b)| {
                let class = (a.class, b.class);
                let known = classes.iter().position(|c| *c == class);
                let index = known.unwrap_or(classes.len());
                classes.push(class);
                SizeReport {
                    rows: a.rows,
                    class: self.sizes[index].rows,
                    max_diff: a.max_diff.max(b.max_diff),
                    margin_shift: a.margin_shift.max(b.margin_shift),
                    flips: a.flips + b.flips,
                    flip_margin: a.flip_margin.max(b.flip_margin),
                    ms: a.ms,
                }
            })
            .collect();
        Report {
            sizes,
            positions: self.positions + other.positions,
            trees: self.trees && other.trees,
            prefill: self.prefill,
        }
    }

    /// Tokens per millisecond that forwards of these shapes can reach if four of five
    /// candidates are right: what the choice between two ways to load a model goes by.
    pub fn promise(&self, shapes: &Shapes) -> f64 {
        const RIGHT: f64 = 0.8;
        let cost = self.cost();
        let sizes = self.sizes.iter().map(|s| s.rows);
        let allowed = sizes.filter(|&n| n == 1 || n <= shapes.max_rows);
        let rate = |n: usize| {
            let tokens = (1.0 - RIGHT.powi(n as i32)) / (1.0 - RIGHT);
            tokens / cost.ms(n.max(shapes.pad_to) as u32)
        };
        allowed.map(rate).fold(0.0, f64::max)
    }

    /// Milliseconds by rows.
    pub fn cost(&self) -> CostCurve {
        let sizes = self.sizes.iter().map(|s| (s.rows, s.ms));
        let points = sizes.chain(self.prefill);
        CostCurve::from_points(points.map(|(rows, ms)| (rows as u32, ms)))
    }
}

/// Runs the self-test on `passage` (at least 32 tokens) behind each of the `heads`, which
/// are the passage over and over. A head that does not fit the context is left out. The
/// model's KV cache must be free for it, and is free again afterwards. `progress` hears
/// (done, all) in forwards.
///
/// # Errors
/// If the passage is too short or the model fails.
pub fn run(
    model: &mut dyn Model,
    passage: &[Token],
    heads: &[usize],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, ModelError> {
    let limits = model.limits();
    let sizes: Vec<usize> = SIZES.into_iter().filter(|&n| n <= limits.rows).collect();
    let largest = sizes.last().copied().unwrap_or(1);
    if passage.len() < largest {
        return Err(ModelError::Failed(format!(
            "the self-test needs {largest} tokens"
        )));
    }
    let room = (limits.context as usize).saturating_sub(passage.len());
    let fitting = heads.iter().copied().filter(|&h| h > 0 && h <= room);
    let heads: Vec<usize> = fitting.collect();
    let chains = sizes.iter().map(|&n| passage.len() / n);
    let trees = TREES.iter().map(|&n| passage.len() / (n / 2));
    let all = (chains.chain(trees).sum::<usize>() * heads.len()) as u64;
    let mut done = 0;
    let mut step = || {
        done += 1;
        progress(done, all);
    };
    let mut whole: Option<Report> = None;
    for head in heads {
        let head: Vec<Token> = passage.iter().copied().cycle().take(head).collect();
        let report = behind(model, &head, passage, &sizes, &mut step)?;
        whole = Some(match whole {
            None => report,
            Some(earlier) => earlier.and(&report),
        });
    }
    let too_small = || ModelError::Failed("the context is too small for the self-test".into());
    let mut whole = whole.ok_or_else(too_small)?;
    whole.prefill = prefill(model, passage, largest)?;
    Ok(whole)
}

/// Reads the passage over and over as a prompt: (rows, milliseconds) of the faster of two
/// forwards. `None` if a forward cannot be larger than `tested` rows.
fn prefill(
    model: &mut dyn Model,
    passage: &[Token],
    tested: usize,
) -> Result<Option<(usize, f64)>, ModelError> {
    const ROWS: usize = 128;
    let limits = model.limits();
    let rows = ROWS.min(limits.rows).min(limits.context as usize);
    if rows <= tested {
        return Ok(None);
    }
    let prompt: Vec<Token> = passage.iter().copied().cycle().take(rows).collect();
    let mut forward = Forward::chain(BODY, 0, &prompt, 0);
    for row in &mut forward.rows[..rows - 1] {
        row.logits = false;
    }
    let mut best = f64::INFINITY;
    for _ in 0..2 {
        let start = Instant::now();
        model.forward(&forward)?;
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
        model.apply(KvOp::Release { sequence: BODY })?;
    }
    Ok(Some((rows, best)))
}

/// The self-test behind one head.
fn behind(
    model: &mut dyn Model,
    head: &[Token],
    passage: &[Token],
    sizes: &[usize],
    step: &mut dyn FnMut(),
) -> Result<Report, ModelError> {
    let mut at = 0;
    for chunk in head.chunks(model.limits().rows) {
        extend(model, STEM, at, chunk, &[], 0)?;
        at += chunk.len();
    }
    let mut reference: Vec<Vec<f32>> = Vec::new();
    let mut reports: Vec<SizeReport> = Vec::new();
    // Fingerprints of each position's logits, by size.
    let mut passes: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for &rows in sizes {
        let mut report = SizeReport {
            rows,
            class: rows,
            max_diff: 0.0,
            margin_shift: 0.0,
            flips: 0,
            flip_margin: 0.0,
            ms: 0.0,
        };
        let mut hashes = Vec::new();
        let ms = decode(
            model,
            head,
            passage,
            Shape::chain(rows),
            step,
            &mut |logits| {
                hashes.push(fingerprint(logits));
                match rows {
                    1 => reference.push(logits.to_vec()),
                    _ => compare(&mut report, &reference[hashes.len() - 1], logits),
                }
            },
        )?;
        report.ms = ms;
        let same = passes.iter().find(|(_, earlier)| agree(earlier, &hashes));
        if let Some((&class, _)) = same {
            report.class = class;
        }
        reports.push(report);
        passes.insert(rows, hashes);
    }
    let mut report = Report {
        sizes: reports,
        positions: passage.len(),
        trees: true,
        prefill: None,
    };
    for size in &mut report.sizes {
        if !TREES.contains(&size.rows) {
            continue;
        }
        let chain = &passes[&size.rows];
        let mut at = 0;
        decode(
            model,
            head,
            passage,
            Shape::tree(size.rows),
            step,
            &mut |logits| {
                report.trees &= chain.get(at).is_none_or(|&h| h == fingerprint(logits));
                compare(size, &reference[at], logits);
                at += 1;
            },
        )?;
    }
    let report = check_padding(model, head, passage, report, &passes)?;
    model.apply(KvOp::Release { sequence: STEM })?;
    Ok(report)
}

/// If bitwise exactness needs padding, makes sure that padded forwards are what they are
/// taken for; a class that does not pass is split up.
fn check_padding(
    model: &mut dyn Model,
    head: &[Token],
    passage: &[Token],
    mut report: Report,
    passes: &BTreeMap<usize, Vec<u64>>,
) -> Result<Report, ModelError> {
    loop {
        let (pad_to, _) = report.bitwise_range();
        if pad_to == 1 {
            return Ok(report);
        }
        let mut hashes = Vec::new();
        let padded = Shape {
            pad_to,
            ..Shape::chain(1)
        };
        decode(model, head, passage, padded, &mut || {}, &mut |logits| {
            hashes.push(fingerprint(logits));
        })?;
        if agree(&hashes, &passes[&pad_to]) {
            return Ok(report);
        }
        for size in &mut report.sizes {
            if size.rows == pad_to {
                size.class = usize::MAX - pad_to;
            }
        }
    }
}

/// What a forward of the self-test looks like.
#[derive(Clone, Copy)]
struct Shape {
    /// Tokens of the passage.
    rows: usize,
    /// Tokens of a branch beside them.
    branch: usize,
    /// As in [`Forward`].
    pad_to: usize,
}

impl Shape {
    fn chain(rows: usize) -> Self {
        Shape {
            rows,
            branch: 0,
            pad_to: 0,
        }
    }

    fn tree(rows: usize) -> Self {
        Shape {
            rows: rows / 2,
            branch: rows - rows / 2,
            pad_to: 0,
        }
    }
}

/// Decodes `tokens` behind the `at` tokens the sequence has, as one chain that joins the
/// stem; `branch` is decoded beside it and dropped.
fn extend(
    model: &mut dyn Model,
    sequence: SequenceId,
    at: usize,
    tokens: &[Token],
    branch: &[Token],
    pad_to: usize,
) -> Result<Duration, ModelError> {
    let mut forward = Forward::chain(sequence, at, tokens, pad_to);
    let tip = (at + tokens.len()) as u64;
    let beside = Forward::chain(sequence, at, branch, pad_to)
        .rows
        .into_iter();
    forward.rows.extend(beside.map(|mut row| {
        row.cell += tokens.len() as u64;
        row.parent = row.parent.map(|p| p + tokens.len() as u64);
        row
    }));
    let start = Instant::now();
    model.forward(&forward)?;
    let elapsed = start.elapsed();
    model.apply(KvOp::Commit {
        sequence,
        tip,
        keep_descendants: false,
    })?;
    Ok(elapsed)
}

/// Decodes `body` behind the head in forwards of one shape; `each` gets the logits of every
/// position. Returns the median milliseconds of a forward.
fn decode(
    model: &mut dyn Model,
    head: &[Token],
    body: &[Token],
    shape: Shape,
    step: &mut dyn FnMut(),
    each: &mut dyn FnMut(&[f32]),
) -> Result<f64, ModelError> {
    /// The median of fewer forwards is no better than the first, which may be a slow one.
    const FEW: usize = 3;
    let keep = head.len() as u32;
    let hand_over = |sequence, from| KvOp::Adopt {
        sequence,
        from,
        keep,
    };
    model.apply(hand_over(BODY, STEM))?;
    let mut times = Vec::new();
    let mut at = head.len();
    // Any other text will do for the branch.
    let branch: Vec<Token> = body.iter().rev().copied().take(shape.branch).collect();
    let timed = shape.branch == 0;
    if timed
        && body.len() / shape.rows < FEW
        && let Some(chunk) = body.chunks_exact(shape.rows).next()
    {
        // A GPU loads or chooses the kernels for a shape when it comes first.
        extend(model, BODY, at, chunk, &branch, shape.pad_to)?;
        model.apply(hand_over(STEM, BODY))?;
        model.apply(hand_over(BODY, STEM))?;
    }
    for chunk in body.chunks_exact(shape.rows) {
        let elapsed = extend(model, BODY, at, chunk, &branch, shape.pad_to)?;
        times.push(elapsed.as_secs_f64() * 1e3);
        for i in 0..chunk.len() {
            each(model.row(i));
        }
        step();
        at += chunk.len();
    }
    model.apply(hand_over(STEM, BODY))?;
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied().unwrap_or(0.0))
}

fn compare(report: &mut SizeReport, reference: &[f32], logits: &[f32]) {
    let (mut first, mut second) = (0, usize::from(reference.len() > 1));
    for (i, &l) in reference.iter().enumerate() {
        if l > reference[first] {
            second = first;
            first = i;
        } else if i != first && l > reference[second] {
            second = i;
        }
    }
    let margin = reference[first] - reference[second];
    let now = logits[first] - logits[second];
    report.margin_shift = report.margin_shift.max((margin - now).abs());
    let mut best = 0;
    for (i, (a, b)) in reference.iter().zip(logits).enumerate() {
        report.max_diff = report.max_diff.max((a - b).abs());
        if *b > logits[best] {
            best = i;
        }
    }
    if best != first {
        report.flips += 1;
        report.flip_margin = report.flip_margin.max(margin);
    }
}

fn agree(a: &[u64], b: &[u64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a == b)
}

/// FNV-1a over the bits of a row of logits: equal logits, equal number.
pub fn fingerprint(logits: &[f32]) -> u64 {
    logits.iter().fold(0xcbf2_9ce4_8422_2325, |h, l| {
        (h ^ u64::from(l.to_bits())).wrapping_mul(0x0100_0000_01b3)
    })
}
