//! The candidates of one sequence in one forward: which row decodes which node.

use crate::cache::NodeId;
use crate::types::Token;

/// The rows that one sequence has decided in a forward: one after its last committed token, and
/// one after each candidate (tree verification as in SpecInfer, arXiv 2305.09781, §4).
///
/// Invariants: parents come before their children; siblings have distinct tokens; the best
/// path comes first, so that its rows lie side by side behind the root's row.
#[derive(Debug)]
pub(super) struct VerifyTree {
    /// Row of the last committed token.
    pub(super) root_row: usize,
    /// When the forward began, a drafter had said what may follow that token.
    pub(super) root_expanded: bool,
    /// The candidates.
    pub(super) nodes: Vec<VerifyNode>,
}

/// A candidate that a forward verifies.
#[derive(Clone, Copy, Debug)]
pub(super) struct VerifyNode {
    /// The node in the sequence's cache.
    pub(super) node: NodeId,
    /// Its token.
    pub(super) token: Token,
    /// Index of its parent among the nodes; `None` for the last committed token.
    pub(super) parent: Option<usize>,
    /// The row that decodes it.
    pub(super) row: usize,
    /// When the forward began, a drafter had said what may follow it.
    pub(super) expanded: bool,
}

impl VerifyTree {
    /// Index of the node with this token that follows the node `at` (`None` for the last
    /// committed token).
    pub(super) fn child(&self, at: Option<usize>, token: Token) -> Option<usize> {
        let follows = |n: &VerifyNode| n.parent == at && n.token == token;
        self.nodes.iter().position(follows)
    }
}
