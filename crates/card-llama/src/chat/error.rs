//! Why a conversation has no prompt.

use minijinja::ErrorKind;

/// Why a conversation cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// The model's file has no template.
    #[error("this model has no chat template, so it takes plain prompts only")]
    None,
    /// The template cannot be used for any conversation.
    #[error(
        "the chat template ({from}) cannot be used: {}{why}; give the model another one with \
         --chat-template-file, or variables that it needs with --chat-template-kwargs",
        at(.line)
    )]
    Broken {
        /// Where the template came from.
        from: String,
        /// The line of the template, from 1.
        line: Option<usize>,
        /// What is wrong there.
        why: String,
    },
    /// The template says by `raise_exception` what it has against the conversation.
    #[error("the model's chat template refuses this conversation: {0}")]
    Refused(String),
    /// The template fails over the conversation.
    #[error("the model's chat template fails over this conversation: {}{why}", at(.line))]
    Failed {
        /// The line of the template, from 1.
        line: Option<usize>,
        /// What went wrong there.
        why: String,
    },
    /// A variable of `chat_template_kwargs` that is the conversation's own.
    #[error("chat_template_kwargs cannot set {0:?}, which the conversation sets itself")]
    Reserved(String),
}

/// The words for a place in a template.
fn at(line: &Option<usize>) -> String {
    line.map_or(String::new(), |line| format!("line {line}: "))
}

/// What an error of `raise_exception` has as its source.
#[derive(Debug, thiserror::Error)]
#[error("raise_exception")]
struct Raised;

/// The error that `raise_exception` gives: the template's own words.
pub(super) fn raised(words: String) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, words).with_source(Raised)
}

/// An error of minijinja, as a conversation meets it.
pub(super) fn over_conversation(error: &minijinja::Error) -> ChatError {
    let why = why(error);
    if is_raised(error) {
        ChatError::Refused(why)
    } else {
        let line = error.line();
        ChatError::Failed { line, why }
    }
}

/// What is wrong, in words.
pub(super) fn why(error: &minijinja::Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it takes too many steps over it".into(),
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    }
}

/// Whether `raise_exception` is at the bottom of an error.
fn is_raised(error: &minijinja::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<Raised>() {
            return true;
        }
        source = error.source();
    }
    false
}
