//! Acceptance as it was recorded on real models (by teacher forcing), in place of a made-up
//! share.
//!
//! For each place of a recorded answer the recording says what the draft model proposed, with
//! which probabilities, and which of the proposals was the target's token. In the simulation
//! the target speaks its made-up language; the drafter puts the target's token at the recorded
//! rank, and gives the recorded probabilities. So easy and hard places follow each other as
//! they did. Beside the target's path, of which nothing was recorded, drafts look as they do
//! on it.

use std::sync::Arc;

use card_core::forward::{Forward, KvOp, Limits, Logits, Model, ModelError};
pub use card_core::protocol::ForcedProposals;
use card_core::synthetic::Synthetic;
use serde::{Deserialize, Serialize};

use crate::error::ScenarioError;

/// What was drafted for one answer.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Recorded {
    /// Kind of prompt.
    pub category: String,
    /// What the draft model proposed, for each place of the answer.
    pub places: Vec<ForcedProposals>,
}

/// Answers that were recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording(Vec<Recorded>);

impl Recording {
    /// A recording of these answers.
    ///
    /// # Errors
    /// If there is none, or what was recorded cannot be.
    pub fn new(answers: Vec<Recorded>) -> Result<Self, ScenarioError> {
        let sound = |p: &ForcedProposals| {
            let sum: f32 = p.probabilities.iter().sum();
            p.probabilities.iter().all(|p| (0.0..=1.0).contains(p))
                && sum < 1.001
                && p.rank.is_none_or(|r| r < p.probabilities.len())
        };
        let all = |a: &Recorded| !a.places.is_empty() && a.places.iter().all(sound);
        if answers.is_empty() || !answers.iter().all(all) {
            return Err(ScenarioError(
                "no recording of acceptance: each line is an answer with its places, the ranks below \
                 the number of their probabilities"
                    .into(),
            ));
        }
        Ok(Recording(answers))
    }

    /// Reads a recording from JSON lines, as `card bench` writes them.
    ///
    /// # Errors
    /// Says which line is wrong.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let lines = text.lines().enumerate().filter(|l| !l.1.trim().is_empty());
        let read = |(i, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|e| ScenarioError(format!("line {}: {e}", i + 1)))
        };
        Self::new(lines.map(read).collect::<Result<_, _>>()?)
    }

    /// Share of places where the first proposal was the target's token.
    pub fn agreement(&self) -> f64 {
        let places: Vec<&ForcedProposals> = self.0.iter().flat_map(|a| &a.places).collect();
        let right = places.iter().filter(|p| p.rank == Some(0)).count();
        right as f64 / places.len().max(1) as f64
    }

    /// What was proposed for this place of the answer to this request; both begin anew behind the
    /// last one that was recorded.
    pub(crate) fn place(&self, request: usize, index: usize) -> &ForcedProposals {
        let answer = &self.0[request % self.0.len()];
        &answer.places[index % answer.places.len()]
    }
}

/// A drafter that proposes as recorded, for a target of the made-up language.
pub(crate) struct Replay {
    /// The target's own model.
    language: Synthetic,
    recording: Arc<Recording>,
    /// Requests in all: a sequence's name is its request's number modulo this.
    requests: usize,
    prompt_tokens: usize,
    logits: Vec<Vec<f32>>,
}

impl Replay {
    pub(crate) fn new(
        language: Synthetic,
        recording: Arc<Recording>,
        requests: usize,
        prompt_tokens: usize,
    ) -> Self {
        Replay {
            language,
            recording,
            requests,
            prompt_tokens,
            logits: Vec::new(),
        }
    }
}

impl Logits for Replay {
    fn row(&self, i: usize) -> &[f32] {
        &self.logits[i]
    }
}

impl Model for Replay {
    fn limits(&self) -> Limits {
        self.language.limits()
    }

    fn vocab(&self) -> usize {
        self.language.vocab()
    }

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        self.language.apply(op)
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        self.language.forward(forward)?;
        self.logits.clear();
        for (i, row) in forward.rows.iter().enumerate() {
            let logits = if row.logits {
                let request = row.sequence.0 as usize % self.requests;
                // What follows the prompt's last token is the answer's first.
                let index = (row.position as usize + 1).saturating_sub(self.prompt_tokens);
                proposing(self.language.row(i), self.recording.place(request, index))
            } else {
                Vec::new()
            };
            self.logits.push(logits);
        }
        Ok(())
    }
}

/// Logits with the recorded probabilities: the target's favourite has the recorded rank, its
/// next ones have the others, and what is left is for the rest.
fn proposing(target: &[f32], place: &ForcedProposals) -> Vec<f32> {
    let mut order: Vec<usize> = (0..target.len()).collect();
    order.sort_by(|&a, &b| target[b].total_cmp(&target[a]));
    let favourite = order.remove(0);
    let proposed = place.probabilities.len().min(order.len());
    // A target's token that was not proposed is one of the rest.
    order.insert(
        place.rank.unwrap_or(order.len()).min(order.len()),
        favourite,
    );
    let known: f32 = place.probabilities[..proposed].iter().sum();
    let rest = (1.0 - known).max(1e-6) / (order.len() - proposed).max(1) as f32;
    // No token of the rest is above a proposed one.
    let least = place.probabilities[..proposed].last().copied();
    let rest = least.map_or(rest, |p| rest.min(0.9 * p)).max(1e-9);
    let mut logits = vec![0.0; target.len()];
    for (i, token) in order.into_iter().enumerate() {
        let p = place.probabilities[..proposed].get(i).copied();
        logits[token] = p.unwrap_or(rest).max(1e-9).ln();
    }
    logits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(logits: &[f32]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        order
    }

    #[test]
    fn the_targets_token_has_the_recorded_rank() {
        let target = [0.1, 0.9, 0.5, 0.3, 0.2, 0.0];
        for rank in [Some(0), Some(1), Some(2), None] {
            let place = ForcedProposals {
                rank,
                probabilities: vec![0.6, 0.2, 0.1],
            };
            let logits = proposing(&target, &place);
            let found = ranked(&logits).iter().position(|&t| t == 1);
            match rank {
                Some(_) => assert_eq!(found, rank),
                None => assert!(found >= Some(3), "{found:?}"),
            }
        }
    }

    #[test]
    fn a_recording_is_read_and_checked() {
        let line = r#"{"category":"code","places":[{"rank":0,"probabilities":[0.9,0.05]},{"rank":null,"probabilities":[0.4,0.3]}]}"#;
        let recording = Recording::parse(&format!("{line}\n\n{line}\n")).unwrap();
        assert_eq!(recording.agreement(), 0.5);
        assert!(Recording::parse("").is_err());
        let bad = line.replace("\"rank\":0", "\"rank\":7");
        assert!(Recording::parse(&bad).is_err());
        let said = Recording::parse("{").unwrap_err().to_string();
        assert!(said.starts_with("line 1"), "{said}");
    }
}
