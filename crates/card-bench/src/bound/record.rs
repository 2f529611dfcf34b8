//! What is known of a text whose every proposal was recorded.

/// What is known of a text, position by position.
///
/// Invariant: `drafted`, `lookup_right`, `chances` and `lookup` have one entry for each position,
/// or are shorter where nothing is proposed from there on; the length of the text is that of
/// `drafted`.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The rank of the draft model's proposal, given the text so far and best first, that is the
    /// token that comes; `None` for none of them.
    pub drafted: Vec<Option<usize>>,
    /// The number of tokens from here on that the model-free sources propose rightly.
    pub lookup_right: Vec<u32>,
    /// The length of the prompt in tokens.
    pub prompt: usize,
    /// The probabilities that the draft model's proposals are right, best first, by how often
    /// such proposals are.
    pub chances: Vec<Vec<f64>>,
    /// The chain of tokens that the model-free sources propose from here on.
    pub lookup: Vec<Vec<LookupToken>>,
}

/// A token that a model-free source (prompt lookup, the prediction) proposes.
#[derive(Clone, Debug, Default)]
pub struct LookupToken {
    /// The probability that the token is right if those before it are, by how often such tokens
    /// are.
    pub alone: f64,
    /// The same probability for a schedule that asked the draft model too.
    pub chance: f64,
    /// The probabilities of the draft model's other proposals for the same place, best first.
    pub beside: Vec<f64>,
    /// The index in `beside` of the proposal that is right, if one is.
    pub beside_right: Option<usize>,
}
