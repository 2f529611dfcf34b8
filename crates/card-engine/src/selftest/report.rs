//! What the self-test found: sizes, classes, differences and costs.

use card_core::cost::CostCurve;
use card_core::scheduler::Shapes;
use serde::{Deserialize, Serialize};

/// Rows up to which forwards of one class let speculation verify something.
pub(super) const ENOUGH: usize = 3;

/// What decoding in chunks of one size did, compared with one token at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizeReport {
    /// Rows per forward.
    pub rows: usize,
    /// The kernel class: sizes of the same class have the same number.
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

impl SizeReport {
    /// Nothing was compared yet; a class of its own.
    pub(super) fn new(rows: usize) -> Self {
        SizeReport {
            rows,
            class: rows,
            max_diff: 0.0,
            margin_shift: 0.0,
            flips: 0,
            flip_margin: 0.0,
            flip_diff: 0.0,
            ms: 0.0,
        }
    }
}

/// The findings for one model, build and number of threads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelfTestReport {
    /// One entry per size, smallest first.
    pub sizes: Vec<SizeReport>,
    /// Positions compared.
    pub positions: usize,
    /// Whether a row of a tree's best path gets the logits it gets in a chain, bit for bit; so it
    /// is where there are only chains.
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
    /// How far the times of forwards of one row lie apart: the middle half of them, as a share of
    /// the median. `None` if there were too few.
    #[serde(default)]
    pub spread: Option<f64>,
    /// Whether only a few forwards were timed ([`coarse`](super::coarse)).
    #[serde(default)]
    pub coarse: bool,
}

impl SelfTestReport {
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

    /// Fewest and most rows of forwards that keep to one class: of those classes in which
    /// speculation can verify something, the one that promises most tokens a second, the padding of
    /// small forwards included. A class without padding is left only for a promise that is 5 %
    /// higher, since padding makes plain decoding slower too.
    pub fn bitwise_range(&self) -> (usize, usize) {
        const BETTER: f64 = 1.05;
        let without = (1, self.exact_rows());
        let mut best = (without, BETTER * self.promise_within(without));
        if without.1 < ENOUGH {
            best.1 = 0.0;
        }
        for (i, size) in self.sizes.iter().enumerate().skip(1) {
            let range = (size.rows, self.contiguous(i));
            let promise = self.promise_within(range);
            // A size that agrees with no other says nothing of how forwards are computed.
            if range.1 > range.0 && range.1 >= ENOUGH && promise > best.1 {
                best = (range, promise);
            }
        }
        best.0
    }

    /// What forwards promise that are padded to the first and have at most the second number of
    /// rows.
    fn promise_within(&self, (pad_to, max_rows): (usize, usize)) -> f64 {
        self.promise(&Shapes {
            pad_to,
            max_rows,
            ..Shapes::FREE
        })
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

    /// The report of what both reports agree on: sizes are of one class if they are so in both.
    pub(super) fn and(self, other: &SelfTestReport) -> SelfTestReport {
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
        SelfTestReport {
            sizes,
            positions: self.positions + other.positions,
            trees: self.trees && other.trees,
            prompts: self.prompts && other.prompts,
            others: self.others && other.others,
            // Behind a shorter head there may be room.
            single: self.single && other.single,
            prefill: self.prefill,
            spread: self.spread,
            coarse: self.coarse || other.coarse,
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
