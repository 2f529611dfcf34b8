//! Which shapes of forward give the same logits, and what each costs.
//!
//! Decodes one passage token by token and in chunks of other sizes. Sizes whose logits
//! are the same bit for bit form a *kernel class*. Trees, prompts that are read in pieces and
//! forwards that several sequences share are tried too. How [`Exactness::Exact`] is kept is
//! decided by what this finds (docs/exactness.md). The same forwards give the cost curve.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use card_core::cost::CostCurve;
use card_core::engine::Shapes;
use card_core::forward::{Cell, Forward, KvOp, Model, ModelError};
use card_core::types::{SequenceId, Token};
use serde::{Deserialize, Serialize};

/// Sizes at which trees are tried too: half the rows are the passage, half a branch beside it.
const TREES: [usize; 3] = [4, 8, 16];
/// Rows of the prompt that is read in one forward.
const PROMPT: usize = 128;
/// Rows of the pieces that it is read in, too.
const PIECES: [usize; 3] = [32, 7, 1];
/// Rows of the passage, and of another sequence in the same forward.
const OTHERS: [(usize, usize); 2] = [(1, 1), (6, 5)];
/// Rows up to which forwards of one class let speculation verify something.
const ENOUGH: usize = 3;
/// Sizes that are tried.
pub const SIZES: [usize; 14] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32];
/// Tokens decoded before the comparison starts: few, as in a short chat, and more than
/// the 512 from which on llama.cpp splits the attention of a single row.
pub const HEADS: [usize; 2] = [8, 560];
/// Above every name the engine gives. The passage is decoded in the second one, which
/// takes the head over from the first and gives it back.
const STEM: SequenceId = SequenceId(u64::MAX);
const BODY: SequenceId = SequenceId(u64::MAX - 1);
/// Decoded beside the passage, in the same forwards.
const OTHER: SequenceId = SequenceId(u64::MAX - 4);
/// Its cells have names from here on, which those of the passage never reach.
const AWAY: Cell = 1 << 32;

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
    /// Largest difference of a logit at such a position.
    pub flip_diff: f32,
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
    /// Whether a prompt leaves the same logits behind it, bit for bit, however it is read: in
    /// one forward of 128 rows, in pieces of 32 and of 7, or token by token.
    pub prompts: bool,
    /// Whether the passage gets the logits it gets alone, bit for bit, while another sequence
    /// has rows in the same forwards and cells between its own.
    pub others: bool,
    /// Whether the KV cache holds one sequence only, so that there can be no others.
    pub single: bool,
    /// Rows and milliseconds of a forward that reads a prompt; only its last row has logits.
    pub prefill: Option<(usize, f64)>,
}

/// How close the output is to plain decoding's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exactness {
    /// The text is plain decoding's, kept so by the [`Means`] that the self-test finds.
    #[default]
    Exact,
    /// As fast as it comes: a near-tie may come out otherwise, and is reported.
    Fast,
}

impl fmt::Display for Exactness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Exactness::Exact => "exact",
            Exactness::Fast => "fast",
        })
    }
}

/// By what means [`Exactness::Exact`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// Every shape of forward gives the same logits, bit for bit: nothing has to be done.
    AnyShape,
    /// Forwards keep to row counts of one class (limited or padded), one sequence at a time.
    OneClass,
    /// Decisions closer than a bound are made again by a forward of their own.
    NearTies,
}

impl Means {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Means::AnyShape => "any-shape",
            Means::OneClass => "one-class",
            Means::NearTies => "near-ties",
        }
    }
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Means::AnyShape => "every shape of forward gives the same logits",
            Means::OneClass => {
                "forwards keep to row counts that give the same logits, one sequence at a time"
            }
            Means::NearTies => "near-ties are decided again by a forward of their own",
        })
    }
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

    /// By what means [`Exactness::Exact`] is kept.
    pub fn means(&self) -> Means {
        let mut classes = self.sizes.iter().map(|s| s.class);
        let first = classes.next();
        let one = classes.all(|c| Some(c) == first);
        if one && self.trees && self.prompts && (self.others || self.single) {
            return Means::AnyShape;
        }
        let (least, most) = self.bitwise_range();
        // Padding that costs more than speculation brings is no means.
        let pays = || self.promise(&self.one_class()) >= 1.0 / self.cost().ms(1);
        match most + 1 >= least + ENOUGH && pays() {
            true => Means::OneClass,
            false => Means::NearTies,
        }
    }

    /// The forwards that keep what `level` promises.
    pub fn shapes(&self, level: Exactness) -> Shapes {
        match (level, self.means()) {
            (Exactness::Fast, _) | (Exactness::Exact, Means::AnyShape) => Shapes::FREE,
            (Exactness::Exact, Means::OneClass) => self.one_class(),
            (Exactness::Exact, Means::NearTies) => Shapes {
                redecide_below: Some(self.margin_bound()),
                // A single row's attention is split over threads where the cache is long,
                // with whoever's tokens.
                redecide_rows: 2,
                prefill_alone: true,
                chain_only: !self.trees,
                ..Shapes::FREE
            },
        }
    }

    /// Forwards of one class only: that of one row if it is wide enough to verify something,
    /// else all are padded to the start of the class that allows most rows per millisecond.
    fn one_class(&self) -> Shapes {
        let (pad_to, max_rows) = self.bitwise_range();
        Shapes {
            pad_to: if pad_to == 1 { 0 } else { pad_to },
            max_rows,
            chain_only: !self.trees,
            alone: true,
            ..Shapes::FREE
        }
    }

    /// Fewest and most rows of forwards that keep to one class.
    pub fn bitwise_range(&self) -> (usize, usize) {
        if self.exact_rows() >= ENOUGH {
            return (1, self.exact_rows());
        }
        let ranges = (0..self.sizes.len()).map(|i| (self.sizes[i], self.contiguous(i)));
        ranges
            .filter(|(s, most)| most - s.rows >= ENOUGH)
            .min_by(|a, b| a.0.ms.total_cmp(&b.0.ms))
            .map_or((1, self.exact_rows()), |(s, most)| (s.rows, most))
    }

    /// Decisions closer than this may come out otherwise in a forward of another size: four
    /// times the largest shift of a margin that was seen, and at least twice the largest
    /// difference of a logit where the best token became another one, since a margin may
    /// change by twice what each logit does. It is 0 if every size gives the same logits.
    pub fn margin_bound(&self) -> f32 {
        let largest = |of: fn(&SizeReport) -> f32| self.sizes.iter().map(of).fold(0.0, f32::max);
        f32::max(
            4.0 * largest(|s| s.margin_shift),
            2.0 * largest(|s| s.flip_diff),
        )
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
                    flip_diff: a.flip_diff.max(b.flip_diff),
                    ms: a.ms,
                }
            })
            .collect();
        Report {
            sizes,
            positions: self.positions + other.positions,
            trees: self.trees && other.trees,
            prompts: self.prompts && other.prompts,
            others: self.others && other.others,
            // Behind a shorter head there may be room.
            single: self.single && other.single,
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
    examine(model, passage, heads, true, progress)
}

/// What forwards cost, in a short context, and their classes there: for those who make no
/// promise about bits. Prompts in pieces and other sequences are not tried, and count as
/// giving other logits.
///
/// # Errors
/// As [`run`].
pub fn costs(
    model: &mut dyn Model,
    passage: &[Token],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, ModelError> {
    examine(model, passage, &HEADS[..1], false, progress)
}

fn examine(
    model: &mut dyn Model,
    passage: &[Token],
    heads: &[usize],
    everything: bool,
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
    let mut all = chains.chain(trees).sum::<usize>() * heads.len();
    if everything {
        let others = OTHERS.iter().map(|&(own, _)| passage.len() / own);
        all += others.sum::<usize>() * heads.len();
        all += 1 + PIECES.iter().map(|n| PROMPT.div_ceil(*n)).sum::<usize>();
    }
    let mut done = 0;
    let mut step = || {
        done += 1;
        progress(done, all as u64);
    };
    let longest = heads.iter().copied().max();
    let mut whole: Option<Report> = None;
    for head in heads {
        let tried = Tried {
            others: everything,
            // One head is enough: the single rows of this take the longest.
            prompts: everything && Some(head) == longest,
        };
        let head: Vec<Token> = passage.iter().copied().cycle().take(head).collect();
        let report = behind(model, &head, passage, &sizes, tried, &mut step)?;
        whole = Some(match whole {
            None => report,
            Some(earlier) => earlier.and(&report),
        });
    }
    let too_small = || ModelError::Failed("the context is too small for the self-test".into());
    let mut whole = whole.ok_or_else(too_small)?;
    whole.prompts &= everything;
    // Nothing is known of others where none were tried.
    whole.others &= everything && !whole.single;
    whole.single &= everything;
    whole.prefill = prefill(model, passage, largest)?;
    Ok(whole)
}

/// What is tried behind a head, beside sizes and trees.
#[derive(Clone, Copy)]
struct Tried {
    others: bool,
    prompts: bool,
}

/// Reads the passage over and over as a prompt: (rows, milliseconds) of the faster of two
/// forwards. `None` if a forward cannot be larger than `tested` rows.
fn prefill(
    model: &mut dyn Model,
    passage: &[Token],
    tested: usize,
) -> Result<Option<(usize, f64)>, ModelError> {
    let limits = model.limits();
    let rows = PROMPT.min(limits.rows).min(limits.context as usize);
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
    tried: Tried,
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
            flip_diff: 0.0,
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
        prompts: true,
        others: true,
        single: true,
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
    if tried.others {
        report.single = model.limits().cells < head.len() + 2 * passage.len();
        if let (Some(alone), false) = (passes.get(&1), report.single) {
            report.others = among_others(model, head, passage, alone, step)?;
        }
    }
    if tried.prompts {
        report.prompts = in_pieces(model, head, passage, step)?;
    }
    let report = check_padding(model, head, passage, report, &passes)?;
    model.apply(KvOp::Release { sequence: STEM })?;
    Ok(report)
}

/// Whether the passage gets the logits it gets `alone` (by their fingerprints) while another
/// sequence has rows in the same forwards, and so cells between its own. Ends with the first
/// that differ.
fn among_others(
    model: &mut dyn Model,
    head: &[Token],
    passage: &[Token],
    alone: &[u64],
    step: &mut dyn FnMut(),
) -> Result<bool, ModelError> {
    let most = model.limits().rows;
    let theirs: Vec<Token> = passage.iter().rev().copied().collect();
    let mut same = true;
    for (own, other) in OTHERS {
        if !same || own + other > most {
            continue;
        }
        model.apply(hand_over(BODY, STEM, head.len()))?;
        let (mut at, mut there) = (head.len(), 0);
        let mut expected = alone.iter();
        for chunk in passage.chunks_exact(own) {
            let beside = &theirs[there..(there + other).min(theirs.len())];
            let mut forward = Forward::chain(OTHER, there, beside, 0);
            for row in &mut forward.rows {
                row.cell += AWAY;
                row.parent = row.parent.map(|p| p + AWAY);
            }
            forward.rows.extend(Forward::chain(BODY, at, chunk, 0).rows);
            model.forward(&forward)?;
            at += chunk.len();
            there += beside.len();
            let ends = [
                (BODY, at as Cell, chunk.len()),
                (OTHER, AWAY + there as Cell, beside.len()),
            ];
            for (sequence, tip, _) in ends.into_iter().filter(|e| e.2 > 0) {
                model.apply(KvOp::Commit {
                    sequence,
                    tip,
                    keep_descendants: false,
                })?;
            }
            step();
            for i in 0..chunk.len() {
                let found = fingerprint(model.row(beside.len() + i));
                same &= expected.next().is_none_or(|&e| e == found);
            }
            if !same {
                break;
            }
        }
        model.apply(hand_over(STEM, BODY, head.len()))?;
        model.apply(KvOp::Release { sequence: OTHER })?;
    }
    Ok(same)
}

/// Whether a prompt behind the head leaves the same logits behind it, in whatever pieces it
/// is read. Ends with the first that differ.
fn in_pieces(
    model: &mut dyn Model,
    head: &[Token],
    passage: &[Token],
    step: &mut dyn FnMut(),
) -> Result<bool, ModelError> {
    let limits = model.limits();
    let room = (limits.context as usize).saturating_sub(head.len());
    let rows = PROMPT.min(limits.rows).min(room);
    let prompt: Vec<Token> = passage.iter().copied().cycle().take(rows).collect();
    let mut whole = None;
    for piece in [rows].into_iter().chain(PIECES) {
        if piece > rows {
            continue;
        }
        model.apply(hand_over(BODY, STEM, head.len()))?;
        let (mut at, mut last) = (head.len(), 0);
        for chunk in prompt.chunks(piece.max(1)) {
            let mut forward = Forward::chain(BODY, at, chunk, 0);
            at += chunk.len();
            // Of a prompt only the last token's logits are wanted.
            for (i, row) in forward.rows.iter_mut().enumerate() {
                row.logits = at == head.len() + rows && i + 1 == chunk.len();
            }
            model.forward(&forward)?;
            last = chunk.len() - 1;
            model.apply(KvOp::Commit {
                sequence: BODY,
                tip: at as Cell,
                keep_descendants: false,
            })?;
            step();
        }
        let found = fingerprint(model.row(last));
        model.apply(hand_over(STEM, BODY, head.len()))?;
        if *whole.get_or_insert(found) != found {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A sequence goes on from the first `keep` tokens of another one, which is over.
fn hand_over(sequence: SequenceId, from: SequenceId, keep: usize) -> KvOp {
    KvOp::Adopt {
        sequence,
        from,
        keep: keep as u32,
    }
}

/// If keeping to one class needs padding, makes sure that padded forwards are what they are
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
    let keep = head.len();
    model.apply(hand_over(BODY, STEM, keep))?;
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
        model.apply(hand_over(STEM, BODY, keep))?;
        model.apply(hand_over(BODY, STEM, keep))?;
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
    model.apply(hand_over(STEM, BODY, keep))?;
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
    let mut diff: f32 = 0.0;
    for (i, (a, b)) in reference.iter().zip(logits).enumerate() {
        diff = diff.max((a - b).abs());
        if *b > logits[best] {
            best = i;
        }
    }
    report.max_diff = report.max_diff.max(diff);
    if best != first {
        report.flips += 1;
        report.flip_margin = report.flip_margin.max(margin);
        report.flip_diff = report.flip_diff.max(diff);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use card_core::forward::{Limits, Logits};
    use card_core::synthetic::{Synthetic, SyntheticConfig};

    use super::*;

    /// A report with these (rows, class, milliseconds), in which all else holds.
    fn report(sizes: &[(usize, usize, f64)]) -> Report {
        let size = |&(rows, class, ms): &(usize, usize, f64)| SizeReport {
            rows,
            class,
            max_diff: 0.0,
            margin_shift: 0.0,
            flips: 0,
            flip_margin: 0.0,
            flip_diff: 0.0,
            ms,
        };
        Report {
            sizes: sizes.iter().map(size).collect(),
            positions: 40,
            trees: true,
            prompts: true,
            others: true,
            single: false,
            prefill: None,
        }
    }

    const ONE: [(usize, usize, f64); 4] = [(1, 1, 10.0), (2, 1, 11.0), (4, 1, 13.0), (8, 1, 20.0)];

    #[test]
    fn any_shape_takes_all_that_was_tried() {
        assert_eq!(report(&ONE).means(), Means::AnyShape);
        assert_eq!(report(&ONE).shapes(Exactness::Exact), Shapes::FREE);
        let without: [fn(&mut Report); 3] = [
            |r| r.trees = false,
            |r| r.prompts = false,
            |r| r.others = false,
        ];
        for change in without {
            let mut report = report(&ONE);
            change(&mut report);
            assert_eq!(report.means(), Means::OneClass, "{report:?}");
            let shapes = report.shapes(Exactness::Exact);
            assert!(shapes.alone && shapes.redecide_below.is_none());
            assert_eq!((shapes.pad_to, shapes.max_rows), (0, 8));
            assert_eq!(shapes.chain_only, !report.trees);
        }
        // Where there can be no others, they are not missed.
        let mut single = report(&ONE);
        (single.others, single.single) = (false, true);
        assert_eq!(single.means(), Means::AnyShape);
    }

    #[test]
    fn one_class_has_to_be_wide_and_to_pay() {
        // The class of one row has three rows.
        let wide = report(&[(1, 1, 10.0), (2, 1, 11.0), (3, 1, 12.0), (4, 4, 13.0)]);
        assert_eq!(wide.means(), Means::OneClass);
        let shapes = wide.shapes(Exactness::Exact);
        assert_eq!((shapes.pad_to, shapes.max_rows), (0, 3));
        // It has two, and nothing to pad to.
        let narrow = report(&[(1, 1, 10.0), (2, 1, 11.0), (3, 3, 12.0), (4, 4, 13.0)]);
        assert_eq!(narrow.means(), Means::NearTies);
        // Padding to two rows costs little; at seven times the price it is not worth it.
        let padded = |ms: f64| {
            let sizes = [(2, 2, ms), (4, 2, ms), (8, 2, ms)];
            let mut all = vec![(1, 1, 10.0)];
            all.extend(sizes);
            report(&all)
        };
        assert_eq!(padded(12.0).means(), Means::OneClass);
        assert_eq!(padded(12.0).shapes(Exactness::Exact).pad_to, 2);
        assert_eq!(padded(70.0).means(), Means::NearTies);
        assert_eq!(padded(70.0).shapes(Exactness::Fast), Shapes::FREE);
    }

    #[test]
    fn near_ties_are_decided_again_below_a_bound_above_all_that_was_seen() {
        let mut report = report(&[(1, 1, 10.0), (2, 2, 11.0), (3, 3, 12.0), (4, 4, 13.0)]);
        assert_eq!(report.margin_bound(), 0.0);
        report.sizes[1].margin_shift = 0.25;
        report.sizes[2].margin_shift = 0.5;
        report.sizes[2].max_diff = 3.0;
        assert_eq!(report.margin_bound(), 2.0);
        // Where a token became another one, logits moved further than margins say.
        report.sizes[3].flip_diff = 1.5;
        assert_eq!(report.margin_bound(), 3.0);
        let shapes = report.shapes(Exactness::Exact);
        assert_eq!(shapes.redecide_below, Some(3.0));
        assert_eq!(shapes.redecide_rows, 2);
        assert!(shapes.prefill_alone && !shapes.alone && !shapes.chain_only);
    }

    #[test]
    fn names_stay_what_they_are() {
        let json = |level: Exactness| serde_json::to_string(&level).unwrap();
        assert_eq!(json(Exactness::default()), "\"exact\"");
        assert_eq!(json(Exactness::Fast), "\"fast\"");
        for means in [Means::AnyShape, Means::OneClass, Means::NearTies] {
            let name = serde_json::to_value(means).unwrap();
            assert_eq!(name, means.name());
        }
        let report = report(&ONE);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
        // What an earlier version found says nothing of prompts and others.
        let old = text.replace("\"prompts\":true,", "");
        assert!(serde_json::from_str::<Report>(&old).is_err());
    }

    /// A model whose logits depend on what they should not.
    struct Touchy {
        inner: Synthetic,
        /// Forwards of so many rows and more give other logits.
        from_rows: usize,
        /// So do forwards of several sequences.
        others: bool,
        moved: Vec<Option<Vec<f32>>>,
    }

    impl Logits for Touchy {
        fn row(&self, i: usize) -> &[f32] {
            match &self.moved[i] {
                Some(row) => row,
                None => self.inner.row(i),
            }
        }
    }

    impl Model for Touchy {
        fn limits(&self) -> Limits {
            self.inner.limits()
        }

        fn vocab(&self) -> usize {
            self.inner.vocab()
        }

        fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
            self.inner.apply(op)
        }

        fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
            self.inner.forward(forward)?;
            let first = forward.rows[0].sequence;
            let several = forward.rows.iter().any(|r| r.sequence != first);
            let rows = forward.rows.len().max(forward.pad_to);
            let moves = rows >= self.from_rows || (several && self.others);
            let moved = |i: usize| -> Vec<f32> {
                let row = self.inner.row(i).iter().enumerate();
                // The first token gains on the others.
                row.map(|(t, l)| if t == 0 { l + 0.5 } else { *l })
                    .collect()
            };
            self.moved = (0..forward.rows.len())
                .map(|i| (moves && forward.rows[i].logits).then(|| moved(i)))
                .collect();
            Ok(())
        }
    }

    fn touchy(from_rows: usize, others: bool, cells: usize) -> Touchy {
        let config = SyntheticConfig {
            vocab: 23,
            seed: 5,
            spread: 2.0,
            noise: 0.0,
            noise_seed: 0,
            limits: Limits {
                context: 256,
                cells,
                rows: 128,
                leaves: 16,
            },
        };
        Touchy {
            inner: Synthetic::new(config),
            from_rows,
            others,
            moved: Vec::new(),
        }
    }

    fn passage() -> Vec<Token> {
        (0..40).map(|i| (i * 7 + i / 3) % 23).collect()
    }

    fn test(model: &mut dyn Model) -> Report {
        run(model, &passage(), &HEADS, &mut |done, all| {
            assert!(done <= all, "{done} of {all}");
        })
        .unwrap()
    }

    const NEVER: usize = usize::MAX;

    #[test]
    fn a_model_that_gives_the_same_logits_always_is_found_to() {
        let report = test(&mut touchy(NEVER, false, 512));
        assert!(report.trees && report.prompts && report.others && !report.single);
        assert_eq!(report.exact_rows(), 32);
        assert_eq!(report.means(), Means::AnyShape);
        assert_eq!(report.margin_bound(), 0.0);
        // The cache is free again.
        let mut model = touchy(NEVER, false, 512);
        assert_eq!(test(&mut model).means(), test(&mut model).means());
    }

    #[test]
    fn other_logits_in_large_forwards_show_in_sizes_and_prompts() {
        let report = test(&mut touchy(8, false, 512));
        assert_eq!(report.exact_rows(), 7);
        // One forward is large, single rows are not.
        assert!(!report.prompts);
        let large = report.sizes.iter().find(|s| s.rows == 8).unwrap();
        assert!((large.max_diff - 0.5).abs() < 1e-5 && large.margin_shift <= 0.5 + 1e-5);
        assert!(report.margin_bound() >= 4.0 * large.margin_shift);
        // Only prompts are larger than what is tried otherwise.
        let report = test(&mut touchy(33, false, 512));
        assert_eq!(report.exact_rows(), 32);
        assert!(!report.prompts && report.others);
        assert_ne!(report.means(), Means::AnyShape);
    }

    #[test]
    fn other_logits_among_others_show_and_are_not_looked_for_where_there_is_no_room() {
        let report = test(&mut touchy(NEVER, true, 512));
        assert!(report.prompts && !report.others && !report.single);
        assert_ne!(report.means(), Means::AnyShape);
        // The head of 8 tokens and twice the passage need 88 cells.
        let report = test(&mut touchy(NEVER, true, 87));
        assert!(report.single && !report.others);
        assert_eq!(report.means(), Means::AnyShape);
    }

    #[test]
    fn costs_promise_nothing() {
        let report = costs(&mut touchy(NEVER, false, 512), &passage(), &mut |_, _| {}).unwrap();
        assert!(report.trees && !report.prompts && !report.others && !report.single);
        assert_eq!(report.exact_rows(), 32);
        assert_ne!(report.means(), Means::AnyShape);
        assert_eq!(report.sizes.len(), SIZES.len());
    }
}
