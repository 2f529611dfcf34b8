//! What a drafter knows of one sequence.

use super::config::DrafterConfig;
use crate::acceptance::{Acceptance, Counts};
use crate::cache::{CandidateCache, NodeId};
use crate::forward::{KvCell, KvOp};
use crate::protocol::Lanes;
use crate::sampler::Sampling;
use crate::scouted_text::ScoutedText;
use crate::sources::TextIndex;
use crate::types::{SequenceId, Tenant, Token};

/// A sequence that is drafted for: its text, and a replica of its candidate cache.
///
/// Invariants:
/// - `decoded <= tokens.len()`; the first `decoded` tokens are the stem in the KV cache.
/// - The root of `replica` is the last token. The tag of a node is the KV cell it was decoded
///   into, 0 for a node that was not decoded. A decoded node has a decoded parent.
/// - `rooted` holds only if all tokens are decoded and the root was looked past; without it no
///   node is decoded.
/// - `grown` and `leaves` count the decoded nodes, and those of them that have no decoded child.
pub(super) struct DraftSequence {
    pub(super) tenant: Tenant,
    pub(super) params: Sampling,
    pub(super) tokens: Vec<Token>,
    /// Most tokens it can come to have.
    pub(super) end: usize,
    /// Leading tokens that are in the stem.
    pub(super) decoded: usize,
    pub(super) replica: CandidateCache,
    /// What this drafter's words are worth in this sequence.
    pub(super) counts: Counts,
    /// The text, if a grammar says what it has to be and the drafter was told.
    pub(super) scouted: Option<ScoutedText>,
    /// The same text by its token pairs, of a drafter that reads ahead.
    pub(super) index: Option<TextIndex>,
    /// The target has written something since the sequence was opened here.
    pub(super) begun: bool,
    /// The root was decoded and looked past.
    pub(super) rooted: bool,
    /// Steps since it last had rows in one that caught up, in which others had them.
    pub(super) passed_over: u32,
    /// Leaves of the decoded part of the replica.
    pub(super) leaves: usize,
    /// Nodes of the decoded part of the replica.
    pub(super) grown: usize,
}

impl DraftSequence {
    /// A sequence that begins with `tokens` (at least one), the first `decoded` of which are in
    /// the KV cache.
    pub(super) fn new(
        tenant: Tenant,
        params: Sampling,
        tokens: Vec<Token>,
        end: usize,
        decoded: usize,
        config: &DrafterConfig,
    ) -> Self {
        let last = tokens.len().saturating_sub(1);
        DraftSequence {
            tenant,
            params,
            end,
            decoded,
            replica: CandidateCache::new(last as u32, config.cache_bytes),
            counts: Counts::default(),
            scouted: None,
            index: config.reads_ahead().then(|| TextIndex::new(&tokens)),
            begun: false,
            rooted: false,
            passed_over: 0,
            leaves: 0,
            grown: 0,
            tokens,
        }
    }

    /// Places for leaves that its tree has: one of each decoded node, of a model that drafts chains,
    /// since each has a state of its own.
    pub(super) fn places(&self, config: &DrafterConfig) -> usize {
        if config.limits.rollback.is_free() {
            self.leaves
        } else {
            self.grown
        }
    }

    /// Whether drafts for it are of use now. A target that shares the lane takes none while it
    /// reads a prompt, or has others to decode first; until it has written something, drafting
    /// would hold up what it decodes meanwhile.
    pub(super) fn is_wanted(&self, config: &DrafterConfig) -> bool {
        self.begun || config.lanes == Lanes::Disjoint
    }

    /// Whether the model can decode what is committed and not decoded yet.
    pub(super) fn fits(&self, config: &DrafterConfig) -> bool {
        is_possible(config, self.tokens.len(), &self.tokens[self.decoded..])
    }

    /// How far past the last token nodes may be looked past: as far as the plan says, and no
    /// further than the context.
    pub(super) fn depth_limit(&self, config: &DrafterConfig) -> u32 {
        let room = config.limits.context as usize;
        let room = room.saturating_sub(self.tokens.len() + 1) as u32;
        config.max_depth.saturating_sub(1).min(room)
    }

    /// Committed tokens that are not in the stem yet.
    pub(super) fn pending(&self) -> usize {
        self.tokens.len() - self.decoded
    }

    /// The target wrote `tokens` (at least one): learns from them, and corrects the replica the
    /// same way the target corrects its cache. Returns the change of the KV cache, if any.
    pub(super) fn commit(
        &mut self,
        sequence: SequenceId,
        tokens: &[Token],
        acceptance: &mut Acceptance,
    ) -> Option<KvOp> {
        self.begun = true;
        acceptance.learn(&mut self.counts, &self.replica, tokens);
        let (depth, tip) = self.decoded_along(tokens);
        let whole = depth == tokens.len();
        // A root that is not decoded has nothing decoded below it either.
        let change = self.rooted.then_some(match tip {
            // The deepest cell on the committed path joins the stem.
            Some(tip) => KvOp::Commit {
                sequence,
                tip,
                keep_descendants: whole,
            },
            None => KvOp::Prune { sequence },
        });
        if self.rooted {
            self.decoded = self.tokens.len() + depth;
        }
        self.wrote(tokens);
        self.replica.correct(tokens);
        self.rooted = self.rooted && whole;
        (self.grown, self.leaves) = decoded_size(&self.replica);
        change
    }

    /// The text goes on with these tokens, and so does whatever follows it.
    pub(super) fn wrote(&mut self, tokens: &[Token]) {
        self.tokens.extend_from_slice(tokens);
        if let Some(index) = &mut self.index {
            index.extend(tokens);
        }
        if let Some(scouted) = &mut self.scouted {
            scouted.wrote(tokens);
        }
    }

    /// How many of `tokens` are decoded as a path from the root, and the cell of the last one.
    fn decoded_along(&self, tokens: &[Token]) -> (usize, Option<KvCell>) {
        let mut at = self.replica.root();
        let (mut depth, mut tip) = (0, None);
        for &token in tokens {
            let Some(child) = self.replica.child(at, token) else {
                break;
            };
            let cell = self.replica.tag(child);
            if cell == 0 {
                break;
            }
            depth += 1;
            tip = Some(cell);
            at = child;
        }
        (depth, tip)
    }

    /// The node that prolongs the chain of decoded nodes, of a model that drafts chains: the most
    /// probable one behind its end that nobody is to look past but this drafter. `None` if there is
    /// none within the plan's bounds, or the chain has `most` nodes already, each of which holds a
    /// state.
    pub(super) fn next_of_chain(&self, config: &DrafterConfig, most: usize) -> Option<NodeId> {
        let replica = &self.replica;
        if self.grown >= most {
            return None;
        }
        let mut end = replica.root();
        while let Some(next) = replica.children(end).find(|&c| replica.tag(c) != 0) {
            end = next;
        }
        let open = |&c: &NodeId| replica.get(c).is_some_and(|c| !c.expanded);
        let next = replica.children(end).find(open)?;
        let found = replica.get(next)?;
        let depth = found.position as usize + 1 - self.tokens.len();
        let within = depth <= self.depth_limit(config) as usize && found.reach >= config.min_reach;
        within.then_some(next)
    }

    /// Leaves out the nodes that would add a leaf, if there are `most` already: there is no place in the
    /// KV cache for them, and they shall not stand before others that there is one for.
    pub(super) fn leave_out_leaves(&self, most: usize, nodes: &mut Vec<NodeId>) {
        if self.leaves >= most {
            nodes.retain(|&node| !self.adds_leaf(self.first_undecoded(node)));
        }
    }

    /// The first node on the path to `node`, which is not decoded, that is not decoded either: a guess
    /// hangs behind such nodes.
    fn first_undecoded(&self, node: NodeId) -> NodeId {
        let replica = &self.replica;
        let before = |&at: &NodeId| {
            let parent = replica.parent(at)?;
            (parent != replica.root() && replica.tag(parent) == 0).then_some(parent)
        };
        std::iter::successors(Some(node), before)
            .last()
            .unwrap_or(node)
    }

    /// Whether decoding `node` adds a leaf: it hangs off the root, or a sibling was decoded
    /// before.
    pub(super) fn adds_leaf(&self, node: NodeId) -> bool {
        let replica = &self.replica;
        let parent = replica.parent(node).unwrap_or(replica.root());
        parent == replica.root() || replica.children(parent).any(|c| replica.tag(c) != 0)
    }
}

/// Whether a text of so many tokens, these among them, can be one of the model's.
pub(super) fn is_possible(config: &DrafterConfig, length: usize, tokens: &[Token]) -> bool {
    length < config.limits.context as usize && tokens.iter().all(|&t| (t as usize) < config.vocab)
}

/// Nodes of the decoded part of a replica, and its leaves.
fn decoded_size(replica: &CandidateCache) -> (usize, usize) {
    let (mut nodes, mut leaves) = (0, 0);
    let mut stack = vec![replica.root()];
    while let Some(at) = stack.pop() {
        let before = stack.len();
        stack.extend(replica.children(at).filter(|&c| replica.tag(c) != 0));
        let below = at != replica.root();
        nodes += usize::from(below);
        leaves += usize::from(stack.len() == before && below);
    }
    (nodes, leaves)
}
