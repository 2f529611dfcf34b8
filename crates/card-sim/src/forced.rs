//! What a scenario's drafter would propose along the texts that are written (teacher forcing).
//! Bounds are computed from this: what the best schedule could have reached on these very texts.

use card_core::forward::{Forward, Limits, Logits, Model, Rollback};
use card_core::protocol::ForcedProposals;
use card_core::sampler::{Sampler, Sampling};
use card_core::types::{SequenceId, Token};

use crate::error::ScenarioError;
use crate::language;
use crate::requests::Requests;
use crate::scenario::Scenario;

/// An answer, and what the first kind of drafter would propose for each of its places.
#[derive(Clone, Debug)]
pub struct ForcedAnswer {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// The answer.
    pub text: Vec<Token>,
    /// For each place of the answer the proposals, and their tokens, best first. Acceptance that was
    /// recorded has no tokens.
    pub places: Vec<(ForcedProposals, Vec<Token>)>,
}

/// The answers of a scenario's requests, in their order; none if it has no drafter.
///
/// # Errors
/// If the scenario makes no sense.
pub fn forced_answers(scenario: &Scenario) -> Result<Vec<ForcedAnswer>, ScenarioError> {
    scenario.check()?;
    let Some(drafter) = scenario.drafters.first() else {
        return Ok(Vec::new());
    };
    let mut rng = fastrand::Rng::with_seed(scenario.seed);
    let requests = Requests::draw(&scenario.load, &mut rng);
    let noise = match scenario.recording {
        Some(_) => 0.0,
        None => language::noise_for(scenario.seed, drafter.agreement),
    };
    let answers = requests.asked().enumerate().map(|(i, (prompt, params))| {
        let tokens = scenario.load.output_tokens;
        let text = language::plain(scenario.seed, prompt, tokens, params);
        let places = match &scenario.recording {
            Some(recording) => (0..text.len())
                .map(|at| (recording.place(i, at).clone(), Vec::new()))
                .collect(),
            None => proposals(scenario, noise, prompt, &text, params),
        };
        ForcedAnswer {
            prompt: prompt.len(),
            text,
            places,
        }
    });
    Ok(answers.collect())
}

/// What the made-up draft model proposes for each place of `text`.
fn proposals(
    scenario: &Scenario,
    noise: f32,
    prompt: &[Token],
    text: &[Token],
    params: &Sampling,
) -> Vec<(ForcedProposals, Vec<Token>)> {
    let whole: Vec<Token> = prompt.iter().chain(text).copied().collect();
    let limits = Limits {
        context: whole.len() as u32 + 1,
        cells: whole.len() + 1,
        rows: whole.len(),
        leaves: 1,
        rollback: Rollback::Free,
    };
    let mut model = language::model(scenario.seed, noise, limits);
    if model
        .forward(&Forward::chain(SequenceId(0), 0, &whole, 0))
        .is_err()
    {
        return Vec::new();
    }
    let mut sampler = Sampler::default();
    let mut proposed = Vec::new();
    let place = |(i, &token): (usize, &Token)| {
        let at = prompt.len() + i;
        let (logits, history) = (model.row(at - 1), &whole[..at]);
        let branch = scenario.policy.branch;
        sampler.propose(params, logits, history, at as u32, branch, &mut proposed);
        let forced = ForcedProposals {
            rank: proposed.iter().position(|p| p.0 == token),
            probabilities: proposed.iter().map(|p| p.1.get()).collect(),
        };
        (forced, proposed.iter().map(|p| p.0).collect())
    };
    text.iter().enumerate().map(place).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_proposal_is_right_as_often_as_the_scenario_says() {
        let text = crate::builtin::scenario("published-70b-1b").unwrap();
        let scenario = Scenario::parse(text).unwrap();
        let answers = forced_answers(&scenario).unwrap();
        assert_eq!(answers.len(), scenario.load.requests);
        let places = answers.iter().flat_map(|a| &a.places);
        let right = places.clone().filter(|p| p.0.rank == Some(0)).count();
        let share = right as f64 / places.count() as f64;
        assert!((share - 0.88).abs() < 0.03, "{share}");
        for answer in answers {
            assert_eq!(answer.places.len(), answer.text.len());
        }
    }

    #[test]
    fn without_a_drafter_nothing_is_proposed() {
        let text = crate::builtin::scenario("published-70b-1b").unwrap();
        let mut scenario = Scenario::parse(text).unwrap();
        scenario.drafters.clear();
        assert!(forced_answers(&scenario).unwrap().is_empty());
    }
}
