//! A few forwards, where there is no time for a whole self-test: what they cost, and whether a wide
//! one gives the logits of single ones.

use std::time::Duration;

use card_core::forward::{Forward, KvCell, KvOp, Model, ModelError};
use card_core::types::Token;

use super::compare::fingerprint;
use super::measure::{BODY, Times, commit};
use super::report::{SelfTestReport, SizeReport};

/// Rows of the wide forwards.
const WIDE: usize = 8;
/// Wide forwards at most.
const REPEATS: usize = 3;

/// Times forwards of one row and of eight on the first tokens of `passage`, for about `within` on
/// the clock `now`, and compares their logits bit for bit. At least one forward is done; what there
/// is no time for is left out. `any_shape` says that the model is computed so that every shape of
/// forward gives the same logits: the report says so too, unless what was compared contradicts it.
/// The model's KV cache must be free, and is free again afterwards.
///
/// # Errors
/// If there is no passage, or the model fails.
pub fn coarse(
    model: &mut dyn Model,
    passage: &[Token],
    any_shape: bool,
    within: Duration,
    now: &mut dyn FnMut() -> Duration,
) -> Result<SelfTestReport, ModelError> {
    let until = now() + within;
    let limits = model.limits();
    let most = WIDE.min(limits.rows).min(limits.context as usize);
    let text = &passage[..most.min(passage.len())];
    if text.is_empty() {
        return Err(ModelError::Failed("there is nothing to measure on".into()));
    }
    // Half of the time is for the wide ones.
    let single = singles(model, text, now() + within / 2, now)?;
    let one = Times::of(single.times);
    let mut sizes = vec![size(1, 1, one.median)];
    let wide = wides(model, text, &single.logits, until, one.median, now)?;
    if !wide.times.is_empty() {
        let class = if wide.same { 1 } else { text.len() };
        sizes.push(size(text.len(), class, early_median(wide.times)));
    }
    let holds = any_shape && wide.same;
    Ok(SelfTestReport {
        sizes,
        positions: single.logits.len(),
        trees: holds,
        prompts: holds,
        others: holds,
        single: false,
        prefill: None,
        spread: one.spread,
        coarse: true,
    })
}

fn size(rows: usize, class: usize, ms: f64) -> SizeReport {
    SizeReport {
        class,
        ms,
        ..SizeReport::new(rows)
    }
}

/// Forwards of one row.
struct Singles {
    /// Milliseconds of each.
    times: Vec<f64>,
    /// A fingerprint of the logits of each.
    logits: Vec<u64>,
}

/// Decodes the text token by token, as far as there is time.
fn singles(
    model: &mut dyn Model,
    text: &[Token],
    until: Duration,
    now: &mut dyn FnMut() -> Duration,
) -> Result<Singles, ModelError> {
    let mut single = Singles {
        times: Vec::new(),
        logits: Vec::new(),
    };
    for (at, &token) in text.iter().enumerate() {
        if at > 0 && now() >= until {
            break;
        }
        let took = timed(model, &Forward::chain(BODY, at, &[token], 0), now)?;
        single.times.push(took);
        single.logits.push(fingerprint(model.row(0)));
        model.apply(commit(BODY, (at + 1) as KvCell))?;
    }
    model.apply(KvOp::Release { sequence: BODY })?;
    Ok(single)
}

/// Forwards of the whole text.
struct Wides {
    /// Milliseconds of each.
    times: Vec<f64>,
    /// Whether they gave the logits of single rows, as far as there were some.
    same: bool,
}

/// Decodes the text in one forward, a few times, as far as there is time.
fn wides(
    model: &mut dyn Model,
    text: &[Token],
    logits: &[u64],
    until: Duration,
    one: f64,
    now: &mut dyn FnMut() -> Duration,
) -> Result<Wides, ModelError> {
    let mut wide = Wides {
        times: Vec::new(),
        same: true,
    };
    while text.len() > 1 && wide.times.len() < REPEATS {
        // A row beside others costs less than one alone, where weights are read once for all.
        let guess = one * text.len() as f64 / 2.0;
        let next = wide.times.last().copied().unwrap_or(guess);
        if now() + Duration::from_secs_f64(next / 1e3) > until {
            break;
        }
        let took = timed(model, &Forward::chain(BODY, 0, text, 0), now)?;
        wide.times.push(took);
        let mut rows = logits.iter().enumerate();
        wide.same &= rows.all(|(i, &alone)| fingerprint(model.row(i)) == alone);
        model.apply(KvOp::Release { sequence: BODY })?;
    }
    Ok(wide)
}

/// Milliseconds of a forward.
fn timed(
    model: &mut dyn Model,
    forward: &Forward,
    now: &mut dyn FnMut() -> Duration,
) -> Result<f64, ModelError> {
    let began = now();
    model.forward(forward)?;
    Ok(now().saturating_sub(began).as_secs_f64() * 1e3)
}

/// The median; of two the faster one, since the first forward of a size may pay for its buffers.
fn early_median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let middle = times.len().saturating_sub(1) / 2;
    times.get(middle).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use card_core::forward::{Limits, Logits, Rollback};
    use card_core::synthetic::{Synthetic, SyntheticConfig};

    use super::super::means::Means;
    use super::*;

    /// A model whose forwards take virtual time, and give other logits from some rows on.
    struct Slow {
        inner: Synthetic,
        clock: Rc<Cell<f64>>,
        /// Milliseconds of a forward, and of each of its rows.
        ms: (f64, f64),
        other_from: usize,
        row: Vec<Vec<f32>>,
        forwards: usize,
    }

    impl Logits for Slow {
        fn row(&self, i: usize) -> &[f32] {
            &self.row[i]
        }
    }

    impl Model for Slow {
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
            let rows = forward.rows.len();
            self.forwards += 1;
            let ms = self.ms.0 + self.ms.1 * rows as f64;
            self.clock.set(self.clock.get() + ms);
            let off = if rows >= self.other_from { 0.5 } else { 0.0 };
            let row = |i| self.inner.row(i).iter().map(|l| l + off).collect();
            self.row = (0..rows).map(row).collect();
            Ok(())
        }
    }

    fn slow(ms: (f64, f64), other_from: usize) -> Slow {
        let config = SyntheticConfig {
            vocab: 23,
            seed: 5,
            spread: 2.0,
            noise: 0.0,
            noise_seed: 0,
            limits: Limits {
                context: 256,
                cells: 512,
                rows: 128,
                leaves: 16,
                rollback: Rollback::Free,
            },
        };
        Slow {
            inner: Synthetic::new(config),
            clock: Rc::default(),
            ms,
            other_from,
            row: Vec::new(),
            forwards: 0,
        }
    }

    /// The report of a second, and the virtual milliseconds that it took.
    fn of_a_second(model: &mut Slow, any_shape: bool) -> (SelfTestReport, f64) {
        let clock = model.clock.clone();
        let mut now = || Duration::from_secs_f64(clock.get() / 1e3);
        let second = Duration::from_secs(1);
        let passage: Vec<Token> = (0..40).map(|i| i % 23).collect();
        let report = coarse(model, &passage, any_shape, second, &mut now).unwrap();
        (report, model.clock.get())
    }

    #[test]
    fn what_forwards_cost_is_found_within_the_time() {
        // 20 ms for one row, 34 for eight.
        let mut model = slow((18.0, 2.0), usize::MAX);
        let (report, took) = of_a_second(&mut model, true);
        let found: Vec<_> = report
            .sizes
            .iter()
            .map(|s| (s.rows, s.ms.round()))
            .collect();
        assert_eq!(found, [(1, 20.0), (8, 34.0)]);
        assert_eq!(model.forwards, 8 + REPEATS);
        assert!(took <= 1000.0);
        assert!(report.coarse);
        assert_eq!(report.means(), Means::AnyShape);
        assert!((report.cost().ms(4) - 26.0).abs() < 0.1);
        // The cache is free again.
        assert_eq!(of_a_second(&mut model, true).0.sizes.len(), 2);
    }

    #[test]
    fn a_slow_model_gets_as_few_forwards_as_there_is_time_for() {
        let mut model = slow((100.0, 50.0), usize::MAX);
        let (report, took) = of_a_second(&mut model, true);
        assert_eq!(report.sizes[0].ms.round(), 150.0);
        assert!(took < 1300.0, "{took}");
        let mut huge = slow((3000.0, 100.0), usize::MAX);
        let (report, took) = of_a_second(&mut huge, true);
        assert_eq!((report.sizes.len(), report.positions), (1, 1));
        assert_eq!(took, 3100.0);
        // Nothing was compared, and nothing spoke against it.
        assert_eq!(report.means(), Means::AnyShape);
    }

    #[test]
    fn logits_that_depend_on_the_shape_allow_plain_decoding_only() {
        let (report, _) = of_a_second(&mut slow((18.0, 2.0), 8), true);
        assert_eq!(report.means(), Means::PlainOnly);
        // So does a model of which nothing is known, whatever eight rows gave.
        let (report, _) = of_a_second(&mut slow((18.0, 2.0), usize::MAX), false);
        assert_eq!(report.means(), Means::PlainOnly);
    }
}
