//! Calls as Python writes them: `[f(a=1, b="x"), g()]`, or one alone.

use super::json_text::text_of;
use super::literal::{LiteralReader, LiteralStep, LiteralStyle};
use super::progress::{BodyProgress, BodyState, CallEvent, is_name};

/// Longest name, in bytes.
const LONGEST_NAME: usize = 256;
/// What some models write behind the name of a tool.
const CALL: &str = ".call";

/// Reads calls as Python writes them.
#[derive(Debug)]
pub(super) struct PythonCall {
    at: PythonPlace,
    /// Whether calls stand in a list.
    list: bool,
    /// A name as far as it came.
    name: String,
    /// Arguments of the call so far.
    arguments: usize,
    value: LiteralReader,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum PythonPlace {
    Before,
    /// Between the calls of a list.
    Between,
    /// In the name of a function.
    Function,
    /// Before an argument, or the end of the call.
    Gap,
    /// In the name of an argument.
    Argument,
    Value,
    /// Behind a value.
    Behind,
    Over,
}

impl PythonCall {
    /// Nothing was read yet.
    pub(super) fn new() -> Self {
        PythonCall {
            at: PythonPlace::Before,
            list: false,
            name: String::new(),
            arguments: 0,
            value: LiteralReader::new(LiteralStyle::Python),
        }
    }

    /// Reads on.
    pub(super) fn step(&mut self, text: &str, told: &mut Vec<CallEvent>) -> BodyProgress {
        if self.at == PythonPlace::Over {
            return BodyProgress::new(0, BodyState::Over);
        }
        let mut json = String::new();
        for (at, c) in text.char_indices() {
            let behind = at + c.len_utf8();
            let state = self.character(c, &mut json, told);
            match state {
                None => {}
                // What is wrong is looked at again, as text.
                Some(BodyState::Wrong) => {
                    flush(&mut json, told);
                    return BodyProgress::new(at, BodyState::Wrong);
                }
                Some(state) => return BodyProgress::new(behind, state),
            }
        }
        flush(&mut json, told);
        BodyProgress::new(text.len(), BodyState::Wants)
    }

    fn character(
        &mut self,
        c: char,
        json: &mut String,
        told: &mut Vec<CallEvent>,
    ) -> Option<BodyState> {
        let blank = c.is_whitespace();
        match self.at {
            PythonPlace::Before | PythonPlace::Between if blank => {}
            PythonPlace::Before if c == '[' => {
                self.list = true;
                self.at = PythonPlace::Between;
            }
            PythonPlace::Between if c == ',' => {}
            PythonPlace::Between if c == ']' => {
                self.at = PythonPlace::Over;
                return Some(BodyState::Over);
            }
            PythonPlace::Before | PythonPlace::Between => {
                self.name.clear();
                self.name.push(c);
                self.at = PythonPlace::Function;
                return (!is_name(&self.name)).then_some(BodyState::Wrong);
            }
            PythonPlace::Function if c == '(' => {
                let name = self.name.trim_end();
                let name = name.strip_suffix(CALL).unwrap_or(name);
                told.push(CallEvent::Begin(name.to_owned()));
                json.push('{');
                self.arguments = 0;
                self.at = PythonPlace::Gap;
            }
            PythonPlace::Gap if blank => {}
            PythonPlace::Gap | PythonPlace::Behind if c == ')' => return self.end(json, told),
            PythonPlace::Gap if c.is_alphabetic() || c == '_' => {
                self.name.clear();
                self.name.push(c);
                self.at = PythonPlace::Argument;
            }
            PythonPlace::Argument if c == '=' => {
                if self.arguments > 0 {
                    json.push(',');
                }
                self.arguments += 1;
                let key = text_of(self.name.trim_end());
                json.push_str(&format!("{key}:"));
                self.value = LiteralReader::new(LiteralStyle::Python);
                self.at = PythonPlace::Value;
            }
            PythonPlace::Function | PythonPlace::Argument => {
                self.name.push(c);
                let named = is_name(self.name.trim_end()) && self.name.len() <= LONGEST_NAME;
                return (!named).then_some(BodyState::Wrong);
            }
            PythonPlace::Value => match self.value.step(c, json) {
                LiteralStep::Goes => {}
                LiteralStep::With => self.at = PythonPlace::Behind,
                LiteralStep::Before => {
                    self.at = PythonPlace::Behind;
                    return self.character(c, json, told);
                }
                LiteralStep::Wrong => return Some(BodyState::Wrong),
            },
            PythonPlace::Behind if blank => {}
            PythonPlace::Behind if c == ',' => self.at = PythonPlace::Gap,
            PythonPlace::Gap | PythonPlace::Behind | PythonPlace::Over => {
                return Some(BodyState::Wrong);
            }
        }
        None
    }

    /// The call ends.
    fn end(&mut self, json: &mut String, told: &mut Vec<CallEvent>) -> Option<BodyState> {
        json.push('}');
        flush(json, told);
        told.push(CallEvent::End);
        self.at = if self.list {
            PythonPlace::Between
        } else {
            PythonPlace::Over
        };
        Some(BodyState::Called)
    }
}

/// Tells of the arguments so far.
fn flush(json: &mut String, told: &mut Vec<CallEvent>) {
    if !json.is_empty() {
        told.push(CallEvent::More(std::mem::take(json)));
    }
}
