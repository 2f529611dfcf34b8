//! `n_indent` and `t_max_predict_ms`: an answer that ends with one of its lines.

use std::time::{Duration, Instant};

/// Watches the lines of an answer.
pub(super) struct AnswerLines {
    /// Lines after the first are indented by at least this.
    indent: usize,
    /// How long after the first token the answer ends with its line.
    limit: Option<Duration>,
    /// When the first token came.
    first: Option<Instant>,
    /// Blanks at the beginning of the line so far; `None` behind them, and in the first line.
    blanks: Option<usize>,
    /// Whether a line has ended.
    ended_one: bool,
}

impl AnswerLines {
    /// Nothing is written yet.
    pub(super) fn new(indent: usize, limit: Option<Duration>) -> Self {
        AnswerLines {
            indent,
            limit,
            first: None,
            blanks: None,
            ended_one: false,
        }
    }

    /// Whether there is a line break in the text.
    pub(super) fn ended_one(&self) -> bool {
        self.ended_one
    }

    /// Takes more text, which came at `now`. Returns where in it the answer ends, if it does.
    pub(super) fn push(&mut self, text: &str, now: Instant) -> Option<usize> {
        let first = *self.first.get_or_insert(now);
        let late = self.limit.is_some_and(|limit| now - first > limit);
        for (at, c) in text.char_indices() {
            if let Some(blanks) = self.blanks {
                if matches!(c, ' ' | '\t') {
                    self.blanks = Some(blanks + 1);
                    continue;
                }
                self.blanks = None;
                if blanks < self.indent {
                    return Some(at);
                }
            }
            if c == '\n' {
                self.ended_one = true;
                if late {
                    return Some(at + 1);
                }
                self.blanks = (self.indent > 0).then_some(0);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_indented_less_ends_the_answer_before_its_text() {
        let now = Instant::now();
        let mut lines = AnswerLines::new(4, None);
        assert_eq!(lines.push("a\n    b\n  ", now), None);
        assert_eq!(lines.push("  c\n  d", now), Some(6));
        let mut lines = AnswerLines::new(4, None);
        assert_eq!(lines.push("    a\n\n", now), Some(6));
        let mut lines = AnswerLines::new(0, None);
        assert_eq!(lines.push("a\n\nb\nc", now), None);
        assert!(lines.ended_one());
    }

    #[test]
    fn after_its_time_an_answer_ends_with_its_line() {
        let now = Instant::now();
        let later = now + Duration::from_secs(2);
        let mut lines = AnswerLines::new(0, Some(Duration::from_secs(1)));
        assert_eq!(lines.push("a\nb", now), None);
        assert_eq!(lines.push("c", later), None);
        assert_eq!(lines.push("d\ne", later), Some(2));
    }
}
