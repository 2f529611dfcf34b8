//! What sources that need no model propose along a text that is known: prompt lookup (PLD, an
//! n-gram drafter) and the prediction that a request brings.

use card_core::sources::{Chain, Prediction, TextIndex};
use card_core::types::{Source, Token};

use crate::sample::BenchTask;

/// What the model-free sources (prompt lookup and the prediction) propose for the places of
/// `text`, from each index on. Where both propose something, the chain that is right for longer
/// counts.
pub fn lookup_chains(task: &BenchTask, text: &[Token]) -> Vec<(Source, Chain)> {
    let mut own = TextIndex::new(&task.prompt);
    let mut predicted = Prediction::new(&task.prediction);
    let mut so_far = task.prompt.clone();
    let mut proposed = Vec::with_capacity(text.len());
    for (i, &token) in text.iter().enumerate() {
        let (mut repeated, mut expected) = (Chain::new(), Chain::new());
        own.continue_itself(&mut repeated);
        predicted.propose(&so_far, usize::from(i > 0), &mut expected);
        let rest = &text[i..];
        let longer = correct_length(&expected, rest) >= correct_length(&repeated, rest);
        proposed.push(if longer && !expected.is_empty() {
            (Source::Prediction, expected)
        } else {
            (Source::PromptLookup, repeated)
        });
        own.extend(&[token]);
        so_far.push(token);
    }
    proposed
}

/// How many tokens at the start of a chain are those of `text`.
pub fn correct_length(chain: &Chain, text: &[Token]) -> usize {
    let pairs = chain.iter().zip(text);
    pairs.take_while(|(c, t)| c.0 == **t).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_free_sources_repeat_the_prompt_and_follow_the_prediction() {
        let task = BenchTask {
            category: String::new(),
            text: String::new(),
            prompt: vec![1, 2, 3, 4, 5],
            prediction: vec![7, 8, 9],
        };
        let lengths = |text: &[Token]| -> Vec<usize> {
            let proposed = lookup_chains(&task, text);
            let each = proposed.iter().enumerate();
            each.map(|(i, (_, chain))| correct_length(chain, &text[i..]))
                .collect()
        };
        assert_eq!(lengths(&[2, 3, 4, 5]), [0, 0, 2, 1]);
        assert_eq!(lengths(&[7, 8, 9]), [3, 2, 1]);
        assert_eq!(lookup_chains(&task, &[7, 8])[1].0, Source::Prediction);
    }
}
