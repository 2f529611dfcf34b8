//! Calls as Gemma 4 writes them: `call:f{a:1,b:<|"|>text<|"|>}`.

use super::literal::{LiteralReader, LiteralStep, LiteralStyle};
use super::progress::{BodyProgress, BodyState, CallEvent, cut, floor, is_name};

/// What stands before the name.
const CALL: &str = "call:";
/// Most bytes before the arguments.
const LONGEST_NAME: usize = 256;

/// Reads a call as Gemma 4 writes it.
#[derive(Debug, Default)]
pub(super) struct GemmaCall {
    /// The arguments, once they began.
    arguments: Option<LiteralReader>,
    over: bool,
}

impl GemmaCall {
    /// Reads on.
    pub(super) fn step(&mut self, text: &str, told: &mut Vec<CallEvent>) -> BodyProgress {
        if self.over {
            return BodyProgress::new(0, BodyState::Over);
        }
        let mut at = 0;
        let mut json = String::new();
        if self.arguments.is_none() {
            let window = &text[..floor(text, LONGEST_NAME)];
            let Some(end) = window.find('{') else {
                return BodyProgress::new(0, cut(text, LONGEST_NAME));
            };
            let name = text[..end].trim().strip_prefix(CALL).map(str::trim);
            let Some(name) = name.filter(|name| is_name(name)) else {
                return BodyProgress::new(0, BodyState::Wrong);
            };
            told.push(CallEvent::Begin(name.to_owned()));
            json.push('{');
            at = end + 1;
        }
        let arguments = self
            .arguments
            .get_or_insert_with(|| LiteralReader::in_object(LiteralStyle::Gemma));
        let mut state = BodyState::Wants;
        let mut used = text.len();
        for (place, c) in text[at..].char_indices() {
            match arguments.step(c, &mut json) {
                LiteralStep::Goes => continue,
                LiteralStep::With => {
                    state = BodyState::Called;
                    used = at + place + c.len_utf8();
                }
                LiteralStep::Before | LiteralStep::Wrong => {
                    state = BodyState::Wrong;
                    used = at + place;
                }
            }
            break;
        }
        if !json.is_empty() {
            told.push(CallEvent::More(json));
        }
        if state == BodyState::Called {
            told.push(CallEvent::End);
            self.over = true;
        }
        BodyProgress::new(used, state)
    }
}
