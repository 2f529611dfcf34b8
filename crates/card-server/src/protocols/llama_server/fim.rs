//! Fill in the middle: the tokens of a vocabulary for it, and the prompt they make.

use card_api::ApiError;
use card_core::types::Token;

use crate::app::App;
use crate::request::text_tokens;

/// Names of the tokens in the vocabularies of models that know them, as llama.cpp looks for them.
const PREFIX: [&str; 8] = [
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "<|code_prefix|>",
    "<|prefix|>",
];
const SUFFIX: [&str; 8] = [
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<｜fim▁hole｜>",
    "<SUF>",
    "▁<SUF>",
    "<|code_suffix|>",
    "<|suffix|>",
];
const MIDDLE: [&str; 8] = [
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<｜fim▁end｜>",
    "<MID>",
    "▁<MID>",
    "<|code_middle|>",
    "<|middle|>",
];
const REPOSITORY: [&str; 6] = [
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|repository|>",
];
const FILE: [&str; 2] = ["<|file_sep|>", "<file_sep>"];

/// The tokens of a vocabulary for filling in the middle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FimTokens {
    pub(super) prefix: Token,
    pub(super) suffix: Token,
    pub(super) middle: Token,
    /// Before the name of a repository.
    pub(super) repository: Option<Token>,
    /// Before the name of a file.
    pub(super) file: Option<Token>,
}

impl FimTokens {
    /// Those of the model.
    ///
    /// # Errors
    /// If it lacks one that is needed.
    pub(super) fn of(app: &App) -> Result<Self, ApiError> {
        let needed = |names: &[&str], what: &str| {
            find(app, names)?.ok_or_else(|| {
                let why = format!(
                    "infill is not supported by this model: its vocabulary has no {what} token"
                );
                ApiError::not_supported(why)
            })
        };
        Ok(FimTokens {
            prefix: needed(&PREFIX, "prefix")?,
            suffix: needed(&SUFFIX, "suffix")?,
            middle: needed(&MIDDLE, "middle")?,
            repository: find(app, &REPOSITORY)?,
            file: find(app, &FILE)?,
        })
    }
}

/// The first of these names that is a token of its own, and not only text.
fn find(app: &App, names: &[&str]) -> Result<Option<Token>, ApiError> {
    for name in names {
        let special = text_tokens(app, "input_prefix", name, true)?;
        let plain = text_tokens(app, "input_prefix", name, false)?;
        if let [token] = special[..]
            && plain != special
        {
            return Ok(Some(token));
        }
    }
    Ok(None)
}

/// What an infill is made of, in tokens.
#[derive(Debug, Default)]
pub(super) struct FimParts {
    /// The tokens that begin every text.
    pub(super) begin: Vec<Token>,
    /// Other files with their names, and the name of this one.
    pub(super) extra: Vec<Token>,
    pub(super) prefix: Vec<Token>,
    pub(super) suffix: Vec<Token>,
    /// The beginning of what is to be filled in.
    pub(super) prompt: Vec<Token>,
}

/// How much of an infill's surroundings is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct FimWindow {
    /// Tokens that the context holds.
    pub(super) context: usize,
    /// Tokens that are to be written.
    pub(super) n_predict: usize,
}

/// Tokens of the prefix and the suffix together, as in llama-server (its batch).
const NEAR: usize = 2048;

impl FimWindow {
    /// The prompt: other files, the end of the prefix, the beginning of the suffix. Of the room
    /// for prefix and suffix the prefix has three quarters; other files have what is left
    /// beside twice the tokens that are to be written, and lose their beginning. There is room
    /// for the tokens that are to be written, unless they want more than half of the context.
    pub(super) fn prompt(self, fim: FimTokens, mut parts: FimParts) -> Vec<Token> {
        let written = self.n_predict.min(self.context / 2);
        let near = NEAR.min(self.context.saturating_sub(written + 8));
        let suffix = (near / 4).saturating_sub(2 + parts.prompt.len());
        keep_end(&mut parts.prefix, 3 * (near / 4));
        parts.suffix.truncate(suffix);
        let taken = parts.prefix.len() + parts.suffix.len() + parts.prompt.len();
        let far = self.context.saturating_sub(taken + 2 * self.n_predict + 8);
        keep_end(&mut parts.extra, far);
        let mut all = parts.begin;
        all.append(&mut parts.extra);
        all.push(fim.prefix);
        all.append(&mut parts.prefix);
        all.append(&mut parts.prompt);
        all.push(fim.suffix);
        all.append(&mut parts.suffix);
        all.push(fim.middle);
        all
    }
}

/// Drops tokens from the beginning, so that at most so many are left.
fn keep_end(tokens: &mut Vec<Token>, most: usize) {
    let drop = tokens.len().saturating_sub(most);
    tokens.drain(..drop);
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIM: FimTokens = FimTokens {
        prefix: 1001,
        suffix: 1002,
        middle: 1003,
        repository: None,
        file: None,
    };

    #[test]
    fn the_gap_is_where_the_prefix_ends() {
        let parts = FimParts {
            begin: vec![1],
            extra: vec![2, 3],
            prefix: vec![10, 11],
            suffix: vec![20, 21],
            prompt: vec![12],
        };
        let window = FimWindow {
            context: 256,
            n_predict: 16,
        };
        assert_eq!(
            window.prompt(FIM, parts),
            [1, 2, 3, 1001, 10, 11, 12, 1002, 20, 21, 1003]
        );
    }

    #[test]
    fn what_is_next_to_the_gap_is_kept_where_not_all_fits() {
        let long = |first: Token| (first..first + 10_000).collect::<Vec<Token>>();
        for context in [256, 1024, 4096, 32_768] {
            let parts = FimParts {
                begin: vec![1],
                extra: long(10_000),
                prefix: long(30_000),
                suffix: long(50_000),
                prompt: vec![7],
            };
            let window = FimWindow {
                context,
                n_predict: 64,
            };
            let prompt = window.prompt(FIM, parts);
            assert!(prompt.len() + 64 <= context, "{context}: {}", prompt.len());
            let gap = prompt.iter().position(|&t| t == FIM.suffix).unwrap_or(0);
            assert_eq!(prompt[gap - 2..gap], [39_999, 7]);
            assert_eq!(prompt[gap + 1], 50_000);
        }
    }
}
