//! What a request has to pass before it costs anything: a place in a bounded line, taken by
//! its head; room for its body; a turn to be read and prepared; a slot to be generated in.
//!
//! Each is bounded in number, and each wait by the request's deadline, so that whatever
//! requests say, what they hold and what they keep busy is known beforehand:
//!
//! | what | bound | what each costs |
//! |---|---|---|
//! | places | generations + line | a connection and its head |
//! | bodies | 64 MiB in all, beside the first 64 KiB of each | themselves, tokens of texts for vectors |
//! | vectors | 256 MiB in all, beside answers of up to 256 KiB; of that 64 MiB for answers of up to 4 MiB | their numbers and their text |
//! | workshops | 2 | parsing, rendering, tokenizing, compiling grammars |
//! | texts | 1 becomes vectors at a time, in a slot | a forward |
//! | slots | generations at a time | KV cells, a thread |

mod held_body;
mod line;
mod waiting;

pub(crate) use held_body::AnswerHold;
#[cfg(test)]
pub(crate) use line::BODY_BUDGET;
pub(crate) use line::{Admission, AdmissionPlace, BodyRoom, Received};
