//! What the sources said along a text that is known, and what that is worth.

use card_core::acceptance::Acceptance;
use card_core::protocol::ForcedProposals;
use card_core::sources::Chain;
use card_core::types::{Source, Token};

use super::record::{LookupToken, Record};
use crate::lookup::correct_length;

/// What the sources would have proposed along a text, its first token included.
#[derive(Clone, Debug)]
pub struct Witness<'a> {
    /// The length of the prompt in tokens.
    pub prompt: usize,
    /// The text.
    pub text: &'a [Token],
    /// For each place, the draft model's proposals there: how probable, and which tokens.
    pub drafted: Vec<(ForcedProposals, Vec<Token>)>,
    /// For each place, the chain that the model-free sources propose from there on, and its
    /// source.
    pub lookup: Vec<(Source, Chain)>,
}

/// What the bounds need to know of these texts. How often proposals are right is counted over
/// all of them.
pub fn records(witnesses: &[Witness]) -> Vec<Record> {
    let mut rates = HitRates::default();
    for witness in witnesses {
        rates.learn(witness);
    }
    witnesses.iter().map(|w| rates.record(w)).collect()
}

/// How often proposals were right.
#[derive(Default)]
struct HitRates {
    /// The rates of each source, whatever the others said.
    alone: Acceptance,
    /// The rates where a model-free source proposes something: index 0 where the draft model's
    /// first choice is another token, index 1 where it is the same.
    beside: [Acceptance; 2],
}

/// A token of a model-free source and what the draft model says of its place.
struct JudgedToken<'a> {
    source: Source,
    /// How sure the source is of the token.
    prob: f32,
    token: Token,
    place: &'a ForcedProposals,
    drafts: &'a [Token],
}

impl JudgedToken<'_> {
    fn agree(&self) -> usize {
        usize::from(self.drafts.first() == Some(&self.token))
    }

    /// How sure the draft model is of its first choice, from 0 to 3. It stands where a draft has
    /// its rank, which a token of a model-free source does not have.
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

/// The tokens of the model-free sources from place `i` on and what the draft model says of their
/// places, up to the first wrong one: past that the draft model was asked about another text.
fn judged<'a>(witness: &'a Witness, i: usize) -> impl Iterator<Item = JudgedToken<'a>> {
    let (source, chain) = &witness.lookup[i];
    let known = correct_length(chain, &witness.text[i..]) + 1;
    let places = witness.drafted[i..].iter().take(known);
    chain
        .iter()
        .zip(places)
        .map(|(&(token, prob), (place, drafts))| JudgedToken {
            source: *source,
            prob,
            token,
            place,
            drafts,
        })
}

impl HitRates {
    fn learn(&mut self, witness: &Witness) {
        for (place, _) in &witness.drafted {
            for (rank, &prob) in place.probabilities.iter().enumerate() {
                let written = place.rank == Some(rank);
                self.alone.observe(Source::Draft, prob, rank as u8, written);
            }
        }
        for i in 0..witness.text.len() {
            for (token, &written) in judged(witness, i).zip(&witness.text[i..]) {
                let (beside, hit) = (&mut self.beside[token.agree()], token.token == written);
                beside.observe(token.source, token.prob, token.sureness(), hit);
                self.alone.observe(token.source, token.prob, 0, hit);
                for (rank, prob) in token.others() {
                    let hit = token.place.rank == Some(rank);
                    beside.observe(Source::Draft, prob, rank as u8, hit);
                }
            }
        }
    }

    /// The first token comes with the prompt, so the record begins at the second.
    fn record(&self, witness: &Witness) -> Record {
        let places = || witness.drafted.iter().skip(1).map(|d| &d.0);
        let starts = || 1..witness.text.len();
        let chances = |place: &ForcedProposals| {
            let proposals = place.probabilities.iter().enumerate();
            let chance = |(rank, &prob)| self.alone.expect(Source::Draft, prob, rank as u8).into();
            proposals.map(chance).collect()
        };
        Record {
            drafted: places().map(|p| p.rank).collect(),
            lookup_right: starts()
                .map(|i| correct_length(&witness.lookup[i].1, &witness.text[i..]) as u32)
                .collect(),
            prompt: witness.prompt,
            chances: places().map(chances).collect(),
            lookup: starts().map(|i| self.lookup(witness, i)).collect(),
        }
    }

    fn lookup(&self, witness: &Witness, i: usize) -> Vec<LookupToken> {
        let mut tokens: Vec<LookupToken> =
            judged(witness, i).map(|token| self.judge(&token)).collect();
        let (source, chain) = &witness.lookup[i];
        let unjudged = chain[tokens.len()..].iter().map(|&(_, prob)| {
            let alone = self.alone.expect(*source, prob, 0).into();
            LookupToken {
                alone,
                chance: alone,
                ..LookupToken::default()
            }
        });
        tokens.extend(unjudged);
        tokens
    }

    fn judge(&self, token: &JudgedToken) -> LookupToken {
        let beside = &self.beside[token.agree()];
        let other = |(rank, prob)| beside.expect(Source::Draft, prob, rank as u8).into();
        LookupToken {
            alone: self.alone.expect(token.source, token.prob, 0).into(),
            chance: beside
                .expect(token.source, token.prob, token.sureness())
                .into(),
            beside: token.others().map(other).collect(),
            beside_right: token.others().position(|o| token.place.rank == Some(o.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(top: Token, written: Token) -> (ForcedProposals, Vec<Token>) {
        let place = ForcedProposals {
            rank: (top == written).then_some(0),
            probabilities: vec![0.9],
        };
        (place, vec![top])
    }

    /// A model-free source that proposes `said` from the first place on, and a draft model whose
    /// first choices are `drafts`.
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
            lookup: (0..text.len())
                .map(|i| (Source::PromptLookup, chain(i)))
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
        assert_eq!(record.lookup_right, [3, 2, 1, 0, 2, 1, 0]);
        let agreed = record.lookup[0][0].chance;
        let (refuted, drafted) = (record.lookup[3][0].chance, record.lookup[3][0].beside[0]);
        assert!(agreed > 0.95 && refuted < 0.2, "{agreed} {refuted}");
        assert!(drafted > 0.9, "{drafted}");
        assert!(record.lookup[0][0].beside.is_empty(), "the same token");
    }

    #[test]
    fn past_a_wrong_token_nothing_gives_away_that_it_is_wrong() {
        let text = [1, 2, 3, 4, 5];
        let said = [1, 2, 90, 91, 92];
        let record = &records(&[witness(&text, &text, &said)])[0];
        let chain = &record.lookup[0];
        assert_eq!(chain.len(), 4);
        // The third and fourth are judged by their source alone, as if nobody knew.
        assert!(chain[2].beside.is_empty() && chain[2].chance == chain[3].chance);
        assert!(!chain[1].beside.is_empty());
    }
}
