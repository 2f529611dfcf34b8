//! What a trimmed copy leaves out, found in the file that the copy was made from.

use std::path::Path;

use card_core::types::Token;

use super::format::{EMBEDDINGS, OUTPUT, TOKENS};
use super::table::{Table, check_table};
use crate::error::LlamaError;
use crate::sys::gguf::Gguf;
use crate::sys::model::ModelSizes;
use crate::sys::vocab::Vocab;

/// What a trimmed model needs beside itself.
///
/// Invariants: there are as many tokens as the model has logits, ascending, each in `vocab`; both
/// tables have a row for each token of `vocab`, as long as the model's embeddings and hidden
/// states are.
pub(crate) struct Trimmed {
    /// The token of each logit, ascending.
    pub(super) tokens: Vec<Token>,
    /// The vocabulary of the whole model.
    pub(crate) vocab: Vocab,
    /// What llama.cpp multiplies the embedding of a token with, but not one it is given.
    pub(super) scale: f32,
    /// Rows of weights by token: what goes in.
    pub(super) input: Table,
    /// Rows of weights by token: what comes out.
    pub(super) output: Table,
}

impl Trimmed {
    /// What the trimmed model in `path` needs, which has these sizes and was made from the file
    /// `from` with the vocabulary `vocab`. That file may be another one by now, and the trimmed
    /// one may come from anywhere: what does not fit is refused, since llama.cpp reads and writes
    /// as many numbers as its own model has.
    ///
    /// # Errors
    /// Says what does not fit.
    pub(crate) fn open(
        path: &Path,
        from: &Path,
        vocab: Vocab,
        sizes: ModelSizes,
    ) -> Result<Self, LlamaError> {
        let broken = |path: &Path, why: &str| LlamaError::NotGguf {
            path: path.display().to_string(),
            why: why.into(),
        };
        let tokens = Gguf::open(path, false)?.numbers(TOKENS);
        let tokens = tokens.ok_or_else(|| broken(path, "its list of tokens is damaged"))?;
        check_tokens(&tokens, vocab.len(), sizes.logits).map_err(|why| broken(path, &why))?;
        let whole = Gguf::open(from, false)?;
        let family = whole.text(c"general.architecture");
        let tensors = whole.tensors();
        let find = |name| tensors.iter().find(|t| t.name.as_c_str() == name);
        let input = find(EMBEDDINGS).ok_or_else(|| broken(from, "it has no embeddings"))?;
        // Small models use one table for both.
        let output = find(OUTPUT).unwrap_or(input);
        for (table, width) in [(input, sizes.input), (output, sizes.hidden)] {
            check_table(table, width, vocab.len()).map_err(|why| {
                let path = path.display();
                broken(
                    from,
                    &format!(
                        "{why}: {path} was not made from it as it is now. Delete that copy, \
                         and make it anew if it is needed"
                    ),
                )
            })?;
        }
        Ok(Trimmed {
            tokens,
            vocab,
            scale: match family.as_deref() {
                Some("gemma3") => (input.shape[0] as f32).sqrt(),
                _ => 1.0,
            },
            input: Table::open(from, input)?,
            output: Table::open(from, output)?,
        })
    }
}

/// Checks the tokens of a model with so many logits against a vocabulary.
fn check_tokens(tokens: &[Token], vocab: usize, logits: usize) -> Result<(), String> {
    if tokens.is_empty() || tokens.len() != logits {
        return Err(format!(
            "its list has {} tokens, but its output layer {logits}",
            tokens.len()
        ));
    }
    if !tokens.is_sorted_by(|a, b| a < b) {
        return Err("its list of tokens is not in order".into());
    }
    match tokens.iter().find(|&&t| t as usize >= vocab) {
        Some(token) => Err(format!(
            "its list has the token {token}, but the vocabulary {vocab} tokens"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_do_not_fit_the_model_are_refused() {
        assert_eq!(check_tokens(&[1, 5, 9], 10, 3), Ok(()));
        let wrong: [(&[Token], usize, usize, &str); 6] = [
            (&[], 10, 0, "0 tokens"),
            (&[1, 5, 9], 10, 4, "output layer 4"),
            (&[1, 5, 9], 10, 2, "output layer 2"),
            (&[5, 1, 9], 10, 3, "not in order"),
            (&[1, 1, 9], 10, 3, "not in order"),
            (&[1, 5, 10], 10, 3, "token 10"),
        ];
        for (tokens, vocab, logits, why) in wrong {
            let error = check_tokens(tokens, vocab, logits).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
