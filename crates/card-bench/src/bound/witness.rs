//! What the sources said along a text that is known, and what that is worth.

use card_core::acceptance::Acceptance;
use card_core::drafter::Place;
use card_core::sources::Chain;
use card_core::types::{Source, Token};

use super::{Hand, Record};
use crate::contest::right;

/// What the sources would have proposed along a text, its first token included.
#[derive(Clone, Debug)]
pub struct Witness<'a> {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// The text.
    pub text: &'a [Token],
    /// For each place, what the draft model proposes there: how well, and which tokens.
    pub drafted: Vec<(Place, Vec<Token>)>,
    /// For each place, what text at hand proposes from there on.
    pub hand: Vec<(Source, Chain)>,
}

/// What the bound needs to know of these texts. What proposals are worth is counted over all
/// of them.
pub fn records(witnesses: &[Witness]) -> Vec<Record> {
    let mut worth = Worth::default();
    for witness in witnesses {
        worth.learn(witness);
    }
    witnesses.iter().map(|w| worth.record(w)).collect()
}

/// How often proposals were right.
#[derive(Default)]
struct Worth {
    /// Each source's, whatever the others said.
    alone: Acceptance,
    /// Where text at hand proposes something: the draft model's first choice is another
    /// token, or the same.
    beside: [Acceptance; 2],
}

/// A token of text at hand and what the draft model says of its place.
struct Met<'a> {
    source: Source,
    /// How sure the source is of the token.
    prob: f32,
    token: Token,
    place: &'a Place,
    drafts: &'a [Token],
}

impl Met<'_> {
    fn agree(&self) -> usize {
        usize::from(self.drafts.first() == Some(&self.token))
    }

    /// How sure the draft model is of its first choice, in place of a rank, which text at
    /// hand does not have.
    fn sureness(&self) -> u8 {
        let top = self.place.probabilities.first().copied().unwrap_or(0.0);
        [0.5, 0.8, 0.95].iter().filter(|&&p| top >= p).count() as u8
    }

    /// The draft model's proposals of other tokens: rank and probability.
    fn others(&self) -> impl Iterator<Item = (usize, f32)> {
        let probabilities = self.place.probabilities.iter().copied().enumerate();
        probabilities.filter(|(rank, _)| self.drafts.get(*rank) != Some(&self.token))
    }
}

/// Tokens of text at hand from place `i` on and what the draft model says of their places, up
/// to the first wrong one: past that it was asked about another text.
fn met<'a>(witness: &'a Witness, i: usize) -> impl Iterator<Item = Met<'a>> {
    let (source, chain) = &witness.hand[i];
    let known = right(chain, &witness.text[i..]) + 1;
    let places = witness.drafted[i..].iter().take(known);
    chain
        .iter()
        .zip(places)
        .map(|(&(token, prob), (place, drafts))| Met {
            source: *source,
            prob,
            token,
            place,
            drafts,
        })
}

impl Worth {
    fn learn(&mut self, witness: &Witness) {
        for (place, _) in &witness.drafted {
            for (rank, &prob) in place.probabilities.iter().enumerate() {
                let written = place.rank == Some(rank);
                self.alone.observe(Source::Draft, prob, rank as u8, written);
            }
        }
        for i in 0..witness.text.len() {
            for (met, &written) in met(witness, i).zip(&witness.text[i..]) {
                let (beside, hit) = (&mut self.beside[met.agree()], met.token == written);
                beside.observe(met.source, met.prob, met.sureness(), hit);
                self.alone.observe(met.source, met.prob, 0, hit);
                for (rank, prob) in met.others() {
                    let hit = met.place.rank == Some(rank);
                    beside.observe(Source::Draft, prob, rank as u8, hit);
                }
            }
        }
    }

    /// The first token comes with the prompt, so the record begins at the second.
    fn record(&self, witness: &Witness) -> Record {
        let places = || witness.drafted.iter().skip(1).map(|d| &d.0);
        let starts = || 1..witness.text.len();
        let chances = |place: &Place| {
            let proposals = place.probabilities.iter().enumerate();
            let chance = |(rank, &prob)| self.alone.expect(Source::Draft, prob, rank as u8).into();
            proposals.map(chance).collect()
        };
        Record {
            drafted: places().map(|p| p.rank).collect(),
            free: starts()
                .map(|i| right(&witness.hand[i].1, &witness.text[i..]) as u32)
                .collect(),
            prompt: witness.prompt,
            chances: places().map(chances).collect(),
            hand: starts().map(|i| self.hand(witness, i)).collect(),
        }
    }

    fn hand(&self, witness: &Witness, i: usize) -> Vec<Hand> {
        let mut hands: Vec<Hand> = met(witness, i).map(|met| self.judge(&met)).collect();
        let (source, chain) = &witness.hand[i];
        let unmet = chain[hands.len()..].iter().map(|&(_, prob)| {
            let alone = self.alone.expect(*source, prob, 0).into();
            Hand {
                alone,
                chance: alone,
                ..Hand::default()
            }
        });
        hands.extend(unmet);
        hands
    }

    fn judge(&self, met: &Met) -> Hand {
        let beside = &self.beside[met.agree()];
        let other = |(rank, prob)| beside.expect(Source::Draft, prob, rank as u8).into();
        Hand {
            alone: self.alone.expect(met.source, met.prob, 0).into(),
            chance: beside.expect(met.source, met.prob, met.sureness()).into(),
            beside: met.others().map(other).collect(),
            beside_right: met.others().position(|o| met.place.rank == Some(o.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(top: Token, written: Token) -> (Place, Vec<Token>) {
        let place = Place {
            rank: (top == written).then_some(0),
            probabilities: vec![0.9],
        };
        (place, vec![top])
    }

    /// Text at hand that says `said` from the first place on, and a draft model whose first
    /// choices are `drafts`.
    fn witness<'a>(text: &'a [Token], drafts: &[Token], said: &[Token]) -> Witness<'a> {
        let chain = |i: usize| said[i..].iter().map(|&t| (t, 0.7)).collect();
        Witness {
            prompt: 3,
            text,
            drafted: drafts
                .iter()
                .zip(text)
                .map(|(&d, &t)| place(d, t))
                .collect(),
            hand: (0..text.len())
                .map(|i| (Source::Suffix, chain(i)))
                .collect(),
        }
    }

    #[test]
    fn agreement_raises_and_contradiction_lowers_a_chance() {
        let text = [1, 2, 3, 4, 5, 6, 7, 8];
        // Whenever the two agree they are right; else the draft model is.
        let said = [1, 2, 3, 4, 50, 6, 7, 80];
        let all = vec![witness(&text, &text, &said); 5];
        let record = &records(&all)[0];
        assert_eq!(record.drafted.len(), 7);
        assert_eq!(record.free, [3, 2, 1, 0, 2, 1, 0]);
        let agreed = record.hand[0][0].chance;
        let (refuted, drafted) = (record.hand[3][0].chance, record.hand[3][0].beside[0]);
        assert!(agreed > 0.95 && refuted < 0.2, "{agreed} {refuted}");
        assert!(drafted > 0.9, "{drafted}");
        assert!(record.hand[0][0].beside.is_empty(), "the same token");
    }

    #[test]
    fn past_a_wrong_token_nothing_gives_away_that_it_is_wrong() {
        let text = [1, 2, 3, 4, 5];
        let said = [1, 2, 90, 91, 92];
        let record = &records(&[witness(&text, &text, &said)])[0];
        let chain = &record.hand[0];
        assert_eq!(chain.len(), 4);
        // The third and fourth are judged by their source alone, as if nobody knew.
        assert!(chain[2].beside.is_empty() && chain[2].chance == chain[3].chance);
        assert!(!chain[1].beside.is_empty());
    }
}
