//! Calls as a name in marks and an object of arguments: Kimi K2, DeepSeek V3 and R1, Mistral.

use super::json_span::JsonSpan;
use super::progress::{BodyProgress, BodyState, CallEvent, cut, floor, is_name};
use crate::answer_format::markup::NameForm;

/// Most bytes before the arguments.
const LONGEST_NAME: usize = 512;

/// Reads a call whose name stands before its arguments.
#[derive(Debug)]
pub(super) struct NamedCall {
    form: NameForm,
    /// The end of the arguments, once they began.
    span: Option<JsonSpan>,
    over: bool,
}

impl NamedCall {
    /// Nothing was read yet.
    pub(super) fn new(form: NameForm) -> Self {
        NamedCall {
            form,
            span: None,
            over: false,
        }
    }

    /// Reads on.
    pub(super) fn step(&mut self, text: &str, told: &mut Vec<CallEvent>) -> BodyProgress {
        if self.over {
            return BodyProgress::new(0, BodyState::Over);
        }
        let mut at = 0;
        if self.span.is_none() {
            let window = &text[..floor(text, LONGEST_NAME)];
            let Some(end) = window.find('{') else {
                return BodyProgress::new(0, cut(text, LONGEST_NAME));
            };
            let Some(name) = name_in(self.form, &text[..end]) else {
                return BodyProgress::new(0, BodyState::Wrong);
            };
            told.push(CallEvent::Begin(name.to_owned()));
            self.span = Some(JsonSpan::default());
            at = end;
        }
        let span = self.span.get_or_insert_default();
        let end = span.end(&text[at..]);
        let stop = at + end.unwrap_or(text.len() - at);
        if stop > at {
            told.push(CallEvent::More(text[at..stop].to_owned()));
        }
        if end.is_none() {
            return BodyProgress::new(stop, BodyState::Wants);
        }
        told.push(CallEvent::End);
        self.over = true;
        BodyProgress::new(stop, BodyState::Called)
    }
}

/// The name in the words before the arguments.
fn name_in(form: NameForm, words: &str) -> Option<&str> {
    let name = match form {
        NameForm::Kimi => {
            let name = words.split("<|tool_call_argument_begin|>").next()?.trim();
            let name = name.strip_prefix("functions.").unwrap_or(name);
            match name.rsplit_once(':') {
                Some((name, number)) if number.bytes().all(|b| b.is_ascii_digit()) => name,
                _ => name,
            }
        }
        NameForm::DeepSeek => {
            let (first, second) = words.split_once("<｜tool▁sep｜>")?;
            let second = second.trim();
            let second = second.strip_suffix("```json").unwrap_or(second);
            let second = second.strip_suffix("```").unwrap_or(second).trim();
            if second.is_empty() {
                first.trim()
            } else {
                second
            }
        }
        NameForm::Mistral => {
            let name = words.split("[ARGS]").next()?;
            name.split("[CALL_ID]").next()?.trim()
        }
    };
    is_name(name).then_some(name)
}
