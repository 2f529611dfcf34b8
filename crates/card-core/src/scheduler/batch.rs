//! Building the next forward: rows for what is committed, and rows for candidates.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::config::SchedulerConfig;
use super::members::Members;
use super::sequence::Sequence;
use super::tree::{VerifyNode, VerifyTree};
use crate::cache::{CandidateCache, NodeId};
use crate::forward::{CellNames, Forward, KvCell, Row, push_text};
use crate::policy::{Base, DecisionTrace};
use crate::types::SequenceId;

/// A forward that runs.
pub(super) struct InFlight {
    /// Its parts, in the order of the rows.
    pub(super) parts: Vec<BatchPart>,
    /// When it was launched.
    pub(super) launched: Duration,
    /// Its rows, padding not counted.
    pub(super) rows: usize,
    /// What it decodes beside candidates.
    pub(super) base: Base,
    /// The numbers behind it.
    pub(super) trace: DecisionTrace,
    /// It makes one decision again, by itself.
    pub(super) solo: bool,
}

/// The part of a forward that belongs to one sequence.
///
/// Its rows are a chain of committed tokens, then the candidates. There are candidates only if
/// the part decides.
pub(super) struct BatchPart {
    pub(super) sequence: SequenceId,
    /// Index of its first row in the forward.
    pub(super) first: usize,
    /// Committed tokens among its rows, at least one.
    pub(super) chain: usize,
    /// Whether the last committed token is among them, so that there is a decision.
    pub(super) decides: bool,
    /// Whether some of the prompt is among its rows.
    pub(super) prefill: bool,
    /// The rows that are decided on.
    pub(super) tree: VerifyTree,
}

impl InFlight {
    /// Candidates among its rows.
    pub(super) fn candidates(&self) -> usize {
        self.parts.iter().map(|p| p.tree.nodes.len()).sum()
    }
}

impl BatchPart {
    /// Its rows.
    pub(super) fn rows(&self) -> usize {
        self.chain + self.tree.nodes.len()
    }

    /// The forward is done: its candidates may be evicted again.
    pub(super) fn land(&self, cache: &mut CandidateCache) {
        for node in &self.tree.nodes {
            cache.unpin(node.node);
        }
    }
}

/// Puts a forward together, sequence by sequence.
pub(super) struct BatchBuilder<'a> {
    config: &'a SchedulerConfig,
    names: &'a mut CellNames,
    /// It makes one decision again, by itself.
    solo: bool,
    /// Prompt tokens that a sequence may decode.
    prompt_rows: usize,
    /// Rows that the forward is best filled up to; 0 to leave it as it is.
    shape: usize,
    /// Rows that it may be filled up to at the most.
    most_rows: usize,
    forward: Forward,
    parts: Vec<BatchPart>,
}

impl<'a> BatchBuilder<'a> {
    /// An empty forward for these members, which reads at most `piece` tokens of a prompt.
    pub(super) fn new(
        config: &'a SchedulerConfig,
        members: &Members,
        piece: usize,
        names: &'a mut CellNames,
    ) -> Self {
        BatchBuilder {
            config,
            names,
            solo: members.solo,
            prompt_rows: piece.max(1),
            shape: 0,
            most_rows: config.limits.rows.min(config.shapes.max_rows),
            forward: Forward::default(),
            parts: Vec::new(),
        }
    }

    /// The same, filled up to `shape` rows if it only decodes.
    pub(super) fn filled_up_to(mut self, shape: u32) -> Self {
        self.shape = shape as usize;
        self
    }

    /// Rows that are free.
    pub(super) fn room(&self) -> usize {
        let rows = self.config.limits.rows;
        rows.saturating_sub(self.forward.rows.len())
    }

    /// Adds the rows of a sequence, while there is [room](BatchBuilder::room), with the `chosen`
    /// candidates: of the highest reach first, parents before their children.
    pub(super) fn add(&mut self, sequence: SequenceId, seq: &mut Sequence, chosen: &[NodeId]) {
        let room = self.room();
        let first = self.forward.rows.len();
        let pending = seq.text.pending();
        let prefill = seq.text.prefilling();
        let block = self.config.shapes.room_behind(seq.text.decoded);
        self.most_rows = self.most_rows.min(first.saturating_add(block.rows));
        let chain = if prefill {
            let most = self.prompt_rows.min(seq.text.before_mark());
            pending.min(room).min(most)
        } else if self.solo && pending > 1 {
            // The decision comes from a forward of its own.
            (pending - 1).min(room)
        } else {
            // What does not fit is decoded first, and decided on in the next forward.
            pending.min(room).min(block.tokens)
        };
        let text = &seq.text;
        let range = text.decoded..text.decoded + chain;
        let rows = &mut self.forward.rows;
        let tip = push_text(rows, self.names, sequence, &text.tokens, range);
        let decides = chain == pending;
        let fitting = if decides {
            chosen.len().min(room.saturating_sub(chain))
        } else {
            0
        };
        let cache = &mut seq.candidates.cache;
        let root_expanded = cache.get(cache.root()).is_some_and(|c| c.expanded);
        let nodes = self.add_tree(sequence, cache, &chosen[..fitting], tip);
        self.parts.push(BatchPart {
            sequence,
            first,
            chain,
            decides,
            prefill,
            tree: VerifyTree {
                root_row: first + chain - 1,
                root_expanded,
                nodes,
            },
        });
    }

    /// Adds rows for these candidates behind the cell `tip`, and pins them: what is drafted
    /// while the forward runs does not take their place (see [`BatchPart::land`]).
    fn add_tree(
        &mut self,
        sequence: SequenceId,
        cache: &mut CandidateCache,
        chosen: &[NodeId],
        tip: Option<KvCell>,
    ) -> Vec<VerifyNode> {
        let mut nodes: Vec<VerifyNode> = Vec::with_capacity(chosen.len());
        let mut index: HashMap<NodeId, usize> = HashMap::with_capacity(chosen.len());
        for node in in_preorder(cache, chosen) {
            let Some(candidate) = cache.get(node) else {
                continue;
            };
            let parent = cache.parent(node).and_then(|p| index.get(&p).copied());
            let parent_cell = match parent {
                Some(p) => Some(self.forward.rows[nodes[p].row].cell),
                None => tip,
            };
            let row = self.forward.rows.len();
            let cell = self.names.take();
            self.forward.rows.push(Row {
                sequence,
                token: candidate.token,
                position: candidate.position,
                cell,
                parent: parent_cell,
                logits: true,
            });
            cache.pin(node);
            index.insert(node, nodes.len());
            nodes.push(VerifyNode {
                node,
                token: candidate.token,
                parent,
                row,
                expanded: candidate.expanded,
            });
        }
        nodes
    }

    /// The forward, and its parts.
    pub(super) fn finish(mut self) -> (Forward, Vec<BatchPart>) {
        let shapes = self.config.shapes;
        let prefills = self.parts.iter().any(|p| p.prefill);
        self.forward.pad_to = match (self.solo, prefills) {
            (true, _) => shapes.redecide_rows.max(shapes.pad_to),
            (false, false) => shapes.pad_to.max(self.shape.min(self.most_rows)),
            (false, true) => 0,
        };
        (self.forward, self.parts)
    }
}

/// Every node followed by the subtree of its best child, then of its next one: the rows of
/// the best path lie side by side, so that its KV cells do.
fn in_preorder(cache: &CandidateCache, nodes: &[NodeId]) -> Vec<NodeId> {
    let wanted: HashSet<NodeId> = nodes.iter().copied().collect();
    let mut order = Vec::with_capacity(nodes.len());
    let mut stack = vec![cache.root()];
    while let Some(at) = stack.pop() {
        if at != cache.root() {
            order.push(at);
        }
        let before = stack.len();
        stack.extend(cache.children(at).filter(|c| wanted.contains(c)));
        stack[before..].reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Source;

    #[test]
    fn the_best_path_comes_first_and_what_was_not_chosen_is_left_out() {
        let mut cache = CandidateCache::new(0, 1 << 14);
        let root = cache.root();
        let mut add = |parent, token, cond| {
            let added = cache.insert(parent, token, cond, cond, 0, Source::Draft);
            added.unwrap()
        };
        let second = add(root, 2, 0.3);
        let best = add(root, 1, 0.6);
        let after_second = add(second, 3, 0.9);
        let after_best = add(best, 4, 0.5);
        add(best, 5, 0.1);
        // Of the highest reach first.
        let chosen = [best, after_best, second, after_second];
        let order = in_preorder(&cache, &chosen);
        assert_eq!(order, [best, after_best, second, after_second]);
        let chosen = [best, second, after_second, after_best];
        assert_eq!(in_preorder(&cache, &chosen), order);
    }
}
