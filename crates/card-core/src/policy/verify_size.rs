//! How many candidates the next forward verifies.
//!
//! A candidate joins if the sum of values up to it exceeds λ times what the rows cost: the
//! forward maximises Σ value − λ·T(rows). That is the marginal form of maximising tokens per
//! time (Dinkelbach 1967). Unlike the plain ratio it treats the time that already went into
//! drafting as spent. Where a rejection costs a forward, that is taken off (`rejection`).

use super::config::Mode;
use super::rejection::Rejections;
use super::situation::{Base, Candidate, expected_tokens};
use super::state::Policy;
use super::trace::VerifySize;

/// A lookup chain leads the round if the marginal value of its first token is below this.
const LEADS: f32 = 0.9;

impl Policy {
    /// How many of the candidates (in falling order of their reach) join a forward that decodes
    /// `base` anyway. Whether a lookup chain leads is remembered for the observation of the
    /// round.
    pub fn verify_size(&mut self, base: Base, candidates: &[Candidate]) -> VerifySize {
        let mut shape = 0;
        let size = match self.config.mode {
            Mode::Plain => 0,
            Mode::DraftThenVerify => candidates.len(),
            // A plain round that measures is not padded: its time is to be that of its own rows.
            _ if self.remeasures(base) => 0,
            Mode::Card | Mode::Auto => {
                let least = usize::from(self.config.mode == Mode::Card).min(candidates.len());
                let size = self.best_size(base, candidates, least).0;
                shape = self.launch_shape(base.rows + size as u32);
                self.note_forgone(base, candidates, size);
                size
            }
        };
        let best = candidates.first();
        let led = best.is_some_and(|c| c.marginal_value < LEADS);
        self.rates.note_lead(led);
        VerifySize {
            size,
            rate: self.rate(base),
            ready: candidates.len(),
            expected: f64::from(base.sequences) + expected_tokens(&candidates[..size]),
            forward_ms: self.forward_ms(shape.max(base.rows + size as u32)),
            shape,
        }
    }

    /// The number of candidates, at least `least`, with the highest net value, and that value:
    /// expected tokens less the next forward's time priced at λ, and less what rejections lose.
    pub(super) fn best_size(
        &self,
        base: Base,
        candidates: &[Candidate],
        least: usize,
    ) -> (usize, f64) {
        self.best_size_by(base, candidates, least, |rows| self.launch_ms(rows))
    }

    /// The same where a forward that decodes so many rows takes `ms`.
    pub(super) fn best_size_by(
        &self,
        base: Base,
        candidates: &[Candidate],
        least: usize,
        ms: impl Fn(u32) -> f64,
    ) -> (usize, f64) {
        let mut rejections = Rejections::new(self, base);
        let rate = rejections.rate;
        let net = |value: f64, n: usize| value - rate * ms(base.rows + n as u32);
        let mut value: f64 = candidates[..least].iter().map(Candidate::value).sum();
        let least_ones = candidates[..least].iter();
        let lost = least_ones.fold(0.0, |_, candidate| rejections.count(candidate));
        let mut best = (least, net(value, least) - lost);
        for (i, candidate) in candidates.iter().enumerate().skip(least) {
            value += candidate.value();
            let here = net(value, i + 1) - rejections.count(candidate);
            if here > best.1 {
                best = (i + 1, here);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{ONE, candidates, policy, round};
    use super::*;
    use crate::types::SequenceId;

    #[test]
    fn verifies_only_rows_that_pay() {
        // A free row is worth taking, one that costs a whole forward is not.
        let size = |p: &mut Policy| p.verify_size(ONE, &candidates(&[0.9, 0.5, 0.2])).size;
        let mut flat = policy(Mode::Auto, &[(1, 10.0), (8, 10.1)], &[(1, 1.0)]);
        assert_eq!(size(&mut flat), 3);
        let mut steep = policy(Mode::Auto, &[(1, 10.0), (2, 20.0), (4, 40.0)], &[(1, 1.0)]);
        assert_eq!(size(&mut steep), 0);
        let mut plain = policy(Mode::Plain, &[(1, 10.0), (8, 10.1)], &[(1, 1.0)]);
        assert_eq!(size(&mut plain), 0);
    }

    #[test]
    fn rows_that_only_take_the_place_of_padding_are_free() {
        let steep = [(1, 10.0), (2, 20.0), (4, 40.0)];
        let three = candidates(&[0.9, 0.4, 0.2]);
        let mut p = policy(Mode::Auto, &steep, &[(1, 1.0)]).padded_to(2);
        assert_eq!(p.plain_rate(1), 1.0 / 20.0);
        let found = p.verify_size(ONE, &three);
        assert_eq!((found.size, found.forward_ms), (1, 20.0));
    }

    #[test]
    fn time_in_which_a_lookup_chain_leads_does_not_make_the_rest_precious() {
        let mut p = policy(Mode::Auto, &[(1, 10.0), (33, 42.0)], &[(1, 1.0)]);
        let ms = Duration::from_millis;
        let values = p.marginal_values(ONE, &[0.97; 32], 64);
        assert!(values[0] < LEADS, "{values:?}");
        let led: Vec<Candidate> = values
            .iter()
            .map(|&marginal_value| Candidate {
                sequence: SequenceId(1),
                reach: 0.9,
                marginal_value,
            })
            .collect();
        for _ in 0..20 {
            p.verify_size(ONE, &led);
            p.observe(round(20, ms(30), ms(30), 15));
        }
        assert_eq!(p.rate(ONE), p.plain_rate(1));
        // Where it ends, a row of 1 ms is worth a candidate of 0.2 again.
        assert_eq!(p.verify_size(ONE, &candidates(&[0.2])).size, 1);
        p.observe(round(5, ms(14), ms(20), 4));
        assert!(p.rate(ONE) > 0.19);
    }
}
