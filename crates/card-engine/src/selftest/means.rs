//! How close the output is to plain decoding's, and by what means.

use std::fmt;

use card_core::scheduler::Shapes;
use serde::{Deserialize, Serialize};

use super::report::{ENOUGH, SelfTestReport};

/// llama.cpp's attention goes through so many KV cells at a time, masked ones included.
const CELL_BLOCK: usize = 256;

/// How close the output is to plain decoding's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exactness {
    /// The text is plain decoding's, kept so by the [`Means`] that the self-test finds.
    #[default]
    Exact,
    /// Forwards take whatever shape is fastest: a near-tie may come out otherwise, and is reported.
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
    /// Nothing speculates, and sequences run one at a time, until a self-test has said which
    /// shapes give the same logits.
    PlainOnly,
}

impl Means {
    /// The name of the means in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Means::AnyShape => "any-shape",
            Means::OneClass => "one-class",
            Means::NearTies => "near-ties",
            Means::PlainOnly => "plain-only",
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
            Means::PlainOnly => "plain decoding only, until the self-test has run",
        })
    }
}

impl SelfTestReport {
    /// By what means [`Exactness::Exact`] is kept.
    pub fn means(&self) -> Means {
        let mut classes = self.sizes.iter().map(|s| s.class);
        let first = classes.next();
        let one = classes.all(|c| Some(c) == first);
        if one && self.trees && self.prompts && (self.others || self.single) {
            return Means::AnyShape;
        }
        if self.coarse {
            return Means::PlainOnly;
        }
        let (_, most) = self.bitwise_range();
        // Keeping to one class is of no use where its padding costs more than speculation brings.
        let pays = || self.promise(&self.one_class()) >= 1.0 / self.cost().ms(1);
        if most >= ENOUGH && pays() {
            Means::OneClass
        } else {
            Means::NearTies
        }
    }

    /// The forwards that keep what `level` promises.
    pub fn shapes(&self, level: Exactness) -> Shapes {
        match (level, self.means()) {
            (Exactness::Fast, _) | (Exactness::Exact, Means::AnyShape) => Shapes::FREE,
            (Exactness::Exact, Means::OneClass) => self.one_class(),
            (Exactness::Exact, Means::PlainOnly) => Shapes {
                alone: true,
                ..Shapes::FREE
            },
            (Exactness::Exact, Means::NearTies) => Shapes {
                redecide_below: Some(self.margin_bound()),
                // A single row's attention is split over threads where the cache is long,
                // with whoever's tokens.
                redecide_rows: 2,
                prefill_alone: true,
                whole_pieces: !self.prompts,
                chain_only: !self.trees,
                ..Shapes::FREE
            },
        }
    }

    /// Forwards of one class only: that of one row, or all are padded to the start of another one,
    /// whichever promises more. None goes over a block of KV cells that plain decoding does not go
    /// over, since kernels of some devices sum over whole blocks (docs/exactness.md, *GPUs*), which
    /// the self-test does not see: it looks behind short texts only.
    fn one_class(&self) -> Shapes {
        let (pad_to, max_rows) = self.bitwise_range();
        Shapes {
            pad_to: if pad_to == 1 { 0 } else { pad_to },
            max_rows,
            chain_only: !self.trees,
            alone: true,
            cell_block: CELL_BLOCK,
            ..Shapes::FREE
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::report::SizeReport;
    use super::*;

    /// A report with these (rows, class, milliseconds), in which all else holds.
    fn report(sizes: &[(usize, usize, f64)]) -> SelfTestReport {
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
        SelfTestReport {
            sizes: sizes.iter().map(size).collect(),
            positions: 40,
            trees: true,
            prompts: true,
            others: true,
            single: false,
            prefill: None,
            spread: None,
            coarse: false,
        }
    }

    const ONE: [(usize, usize, f64); 4] = [(1, 1, 10.0), (2, 1, 11.0), (4, 1, 13.0), (8, 1, 20.0)];

    #[test]
    fn any_shape_takes_all_that_was_tried() {
        assert_eq!(report(&ONE).means(), Means::AnyShape);
        assert_eq!(report(&ONE).shapes(Exactness::Exact), Shapes::FREE);
        let without: [fn(&mut SelfTestReport); 3] = [
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
            assert_eq!(shapes.cell_block, CELL_BLOCK);
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
    fn the_class_that_promises_most_is_taken_and_not_the_cheapest_start() {
        // Whole layers of a 4096 wide model with Q4_K on a GPU: {1} {2} {3, 4} {5–8} {9–…}
        // (docs/findings/cuda-classes.md).
        let layers: [(usize, usize, f64); 12] = [
            (1, 1, 1.00),
            (2, 2, 1.00),
            (3, 3, 1.13),
            (4, 3, 1.31),
            (5, 5, 1.46),
            (6, 5, 1.61),
            (7, 5, 1.77),
            (8, 5, 1.92),
            (10, 10, 1.80),
            (16, 10, 1.85),
            (24, 10, 2.02),
            (32, 10, 2.22),
        ];
        let wide = report(&layers);
        assert_eq!(wide.bitwise_range(), (10, 32));
        assert_eq!(wide.means(), Means::OneClass);
        // With nine rows and more at a higher price {5–8} gives most.
        let dear =
            layers.map(|(rows, class, ms)| (rows, class, if rows > 8 { 1.5 * ms } else { ms }));
        assert_eq!(report(&dear).bitwise_range(), (5, 8));
        // A class without padding is left for a good reason only.
        let mut own = vec![(1, 1, 10.0), (2, 1, 11.0), (4, 1, 13.0), (7, 1, 17.0)];
        own.extend([(8, 8, 17.5), (16, 8, 22.0)]);
        assert_eq!(report(&own).bitwise_range(), (1, 7));
        // Sizes that agree with no other are no class.
        let single = report(&[(1, 1, 10.0), (2, 2, 10.1), (3, 3, 10.2), (4, 4, 10.3)]);
        assert_eq!(single.means(), Means::NearTies);
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
        // Pieces of a prompt may have any size where that changes no bit.
        assert!(!shapes.whole_pieces);
        report.prompts = false;
        assert!(report.shapes(Exactness::Exact).whole_pieces);
    }

    #[test]
    fn a_few_forwards_allow_any_shape_or_none_but_plain_decodings() {
        let mut coarse = report(&[(1, 1, 10.0), (8, 1, 20.0)]);
        coarse.coarse = true;
        assert_eq!(coarse.means(), Means::AnyShape);
        coarse.others = false;
        assert_eq!(coarse.means(), Means::PlainOnly);
        let shapes = coarse.shapes(Exactness::Exact);
        assert!(shapes.alone && shapes.pad_to == 0 && shapes.redecide_below.is_none());
        assert_eq!(coarse.shapes(Exactness::Fast), Shapes::FREE);
        // However wide its class looks.
        let mut wide = report(&ONE);
        (wide.coarse, wide.prompts) = (true, false);
        assert_eq!(wide.means(), Means::PlainOnly);
    }

    #[test]
    fn names_stay_what_they_are() {
        let json = |level: Exactness| serde_json::to_string(&level).unwrap();
        assert_eq!(json(Exactness::default()), "\"exact\"");
        assert_eq!(json(Exactness::Fast), "\"fast\"");
        let all = [
            Means::AnyShape,
            Means::OneClass,
            Means::NearTies,
            Means::PlainOnly,
        ];
        for means in all {
            let name = serde_json::to_value(means).unwrap();
            assert_eq!(name, means.name());
        }
        let report = report(&ONE);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(
            serde_json::from_str::<SelfTestReport>(&text).unwrap(),
            report
        );
        // What an earlier version found says nothing of prompts and others.
        let old = text.replace("\"prompts\":true,", "");
        assert!(serde_json::from_str::<SelfTestReport>(&old).is_err());
    }
}
