//! How a generation ended.

/// How a generation ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GenerationEnd {
    /// `stop` or `length`.
    pub(crate) finish: &'static str,
    /// Which of the request's stop texts ended it, if one did.
    pub(crate) stop: Option<usize>,
    /// Tokens that were written.
    pub(crate) tokens: usize,
    /// Tokens of the prompt that an earlier generation had read.
    pub(crate) reused: usize,
    /// Tokens of the expected answer that the target wrote too.
    pub(crate) predicted: usize,
    /// Tokens of the expected answer that were verified and wrong.
    pub(crate) mispredicted: usize,
}
