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
