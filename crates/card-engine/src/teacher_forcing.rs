//! Teacher forcing: what a draft model proposes at each place of a text that is known. The
//! bench's bound and the training data come from this.

use card_core::forward::{Forward, KvOp, Model, ModelError};
use card_core::protocol::ForcedProposals;
use card_core::sampler::{Sampler, Sampling};
use card_core::types::{SequenceId, Token};

const SEQUENCE: SequenceId = SequenceId(u64::MAX - 3);
/// Most rows of a forward. Each row has logits, which take memory.
const ROWS: usize = 64;

/// For each token of `text`: the `branch` first proposals of the draft model (greedy), given
/// `prompt` and the text before the token, and the tokens proposed.
///
/// # Errors
/// If the model fails, or the text does not fit its context.
pub fn proposed(
    model: &mut dyn Model,
    prompt: &[Token],
    text: &[Token],
    branch: usize,
) -> Result<Vec<(ForcedProposals, Vec<Token>)>, ModelError> {
    let mut found = Vec::with_capacity(text.len());
    along(model, prompt, text, branch, &mut |token, proposals| {
        let forced = ForcedProposals {
            rank: proposals.iter().position(|p| p.0 == token),
            probabilities: proposals.iter().map(|p| p.1).collect(),
        };
        found.push((forced, proposals.iter().map(|p| p.0).collect()));
    })?;
    Ok(found)
}

/// The model's own first choice (greedy) at every place of `text` but the first.
///
/// # Errors
/// As [`proposed`].
pub fn favourites(model: &mut dyn Model, text: &[Token]) -> Result<Vec<Token>, ModelError> {
    let Some((first, rest)) = text.split_first() else {
        return Ok(Vec::new());
    };
    let mut found = Vec::with_capacity(rest.len());
    along(model, &[*first], rest, 1, &mut |_, proposals| {
        found.extend(proposals.first().map(|p| p.0));
    })?;
    Ok(found)
}

/// Takes one token of the text, and the proposals (token, probability) for its place.
pub type ForcingSink<'a> = dyn FnMut(Token, &[(Token, f32)]) + 'a;

/// Calls `each` with every token of `text` and the draft model's `branch` first proposals for
/// its place.
///
/// # Errors
/// As [`proposed`].
pub fn along(
    model: &mut dyn Model,
    prompt: &[Token],
    text: &[Token],
    branch: usize,
    each: &mut ForcingSink,
) -> Result<(), ModelError> {
    let whole: Vec<Token> = prompt.iter().chain(text).copied().collect();
    let mut sampler = Sampler::default();
    let params = Sampling::default();
    let mut proposals = Vec::new();
    let mut plain: Vec<(Token, f32)> = Vec::new();
    let mut at = 0;
    // The last token has no successor to be proposed.
    let needed = whole.len().saturating_sub(1);
    for chunk in whole[..needed].chunks(ROWS.min(model.limits().rows)) {
        let forward = Forward::chain(SEQUENCE, at, chunk, 0);
        model.forward(&forward)?;
        for i in 0..chunk.len() {
            let next = at + i + 1;
            if next < prompt.len() {
                continue;
            }
            let history = &whole[..next];
            let logits = model.row(i);
            sampler.propose(
                &params,
                logits,
                history,
                next as u32,
                branch,
                &mut proposals,
            );
            plain.clear();
            plain.extend(proposals.iter().map(|&(token, prob)| (token, prob.get())));
            each(whole[next], &plain);
        }
        at += chunk.len();
        model.apply(KvOp::Commit {
            sequence: SEQUENCE,
            tip: at as u64,
            keep_descendants: false,
        })?;
    }
    model.apply(KvOp::Release { sequence: SEQUENCE })
}

#[cfg(test)]
mod tests {
    use card_core::forward::{Limits, Rollback};
    use card_core::synthetic::{Synthetic, SyntheticConfig};

    use super::*;

    fn model(noise: f32) -> Synthetic {
        Synthetic::new(SyntheticConfig {
            vocab: 20,
            seed: 1,
            spread: 2.0,
            noise,
            noise_seed: 2,
            limits: Limits {
                context: 300,
                cells: 300,
                rows: 16,
                leaves: 4,
                rollback: Rollback::Free,
            },
        })
    }

    /// What the model without noise writes after `prompt`.
    fn written(prompt: &[Token], length: usize) -> Vec<Token> {
        let mut text: Vec<Token> = Vec::new();
        for _ in 0..length {
            let mut last = 0;
            let whole: Vec<Token> = prompt.iter().chain(&text).copied().chain([0]).collect();
            along(
                &mut model(0.0),
                &whole[..whole.len() - 1],
                &[0],
                1,
                &mut |_, p| {
                    last = p[0].0;
                },
            )
            .unwrap();
            text.push(last);
        }
        text
    }

    #[test]
    fn a_model_proposes_its_own_text_and_a_noisy_one_not_always() {
        let prompt = [1, 2, 3];
        let text = written(&prompt, 40);
        let own = proposed(&mut model(0.0), &prompt, &text, 1).unwrap();
        assert!(own.iter().all(|(p, _)| p.rank == Some(0)) && own.len() == 40);
        let noisy = proposed(&mut model(2.0), &prompt, &text, 1).unwrap();
        let right = noisy.iter().filter(|(p, _)| p.rank.is_some()).count();
        assert!(right > 3 && right < 40, "{right}");
    }
}
