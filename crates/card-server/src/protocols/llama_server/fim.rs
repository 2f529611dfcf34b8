//! Fill in the middle: the prompt that the tokens of a vocabulary for it make.

use card_api::ApiError;
use card_core::types::Token;

use crate::app::App;
use crate::text::fill::FillMarks;

/// The tokens by which the model fills in the middle.
///
/// # Errors
/// If its vocabulary has none.
pub(super) fn fill_marks(app: &App) -> Result<FillMarks, ApiError> {
    app.text.fill.ok_or_else(|| {
        let why = "infill is not supported by this model: its vocabulary has no prefix token, suffix \
                   token and middle token that belong together";
        ApiError::not_supported(why)
    })
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
    pub(super) fn prompt(self, marks: FillMarks, mut parts: FimParts) -> Vec<Token> {
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
        all.push(marks.prefix.token);
        all.append(&mut parts.prefix);
        all.append(&mut parts.prompt);
        all.push(marks.suffix.token);
        all.append(&mut parts.suffix);
        all.push(marks.middle.token);
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
    use crate::text::fill::FillMark;

    const fn mark(name: &'static str, token: Token) -> FillMark {
        FillMark { name, token }
    }

    const MARKS: FillMarks = FillMarks {
        prefix: mark("<PRE>", 1001),
        suffix: mark("<SUF>", 1002),
        middle: mark("<MID>", 1003),
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
            window.prompt(MARKS, parts),
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
            let prompt = window.prompt(MARKS, parts);
            assert!(prompt.len() + 64 <= context, "{context}: {}", prompt.len());
            let gap = prompt
                .iter()
                .position(|&t| t == MARKS.suffix.token)
                .unwrap_or(0);
            assert_eq!(prompt[gap - 2..gap], [39_999, 7]);
            assert_eq!(prompt[gap + 1], 50_000);
        }
    }
}
