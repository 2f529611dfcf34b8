//! A tree of candidates with the probability of each path (SpecInfer's token tree,
//! 2305.09781), grown where it is most probable, as EAGLE-2's dynamic trees are (2406.16858).

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::record::{LookupToken, Record};

/// Nodes of less reach are neither looked past nor verified: what they would add is next to
/// nothing.
pub(super) const LEAST: f64 = 0.01;

/// A node of the tree, by the path from the root to it.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Branch {
    /// The probability that the text goes along this path.
    pub reach: f64,
    /// The length of the path in tokens.
    pub depth: usize,
    /// Whether the text does go along this path. No choice depends on it.
    pub right: bool,
}

/// A node by what looking past it would bring at the most.
#[derive(Clone, Copy, PartialEq)]
struct Promise {
    reach: f64,
    node: Branch,
}

impl Eq for Promise {}

impl Ord for Promise {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_reach = self.reach.total_cmp(&other.reach);
        by_reach.then(other.node.depth.cmp(&self.node.depth))
    }
}

impl PartialOrd for Promise {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The tree of candidates that may be verified at a place of the text.
pub(super) struct BranchTree<'a> {
    record: &'a Record,
    place: usize,
    /// The most tokens that a path may have.
    left: usize,
    /// The nodes by `reach`, largest first.
    pub nodes: Vec<Branch>,
    /// The nodes that the draft model may look past.
    promises: BinaryHeap<Promise>,
}

impl<'a> BranchTree<'a> {
    /// A tree with what the model-free sources propose, of which the draft model read the first
    /// `asked` tokens.
    pub fn new(record: &'a Record, place: usize, left: usize, asked: usize) -> Self {
        let mut tree = BranchTree {
            record,
            place,
            left,
            nodes: Vec::new(),
            promises: BinaryHeap::new(),
        };
        let mut node = Branch {
            reach: 1.0,
            depth: 0,
            right: true,
        };
        let right = record.lookup_right.get(place).map_or(0, |&n| n as usize);
        for token in tree.lookup().iter().take(left) {
            let known = node.depth < asked;
            if known {
                tree.branch(node, &token.beside, token.beside_right);
            }
            node.right = node.depth < right;
            node.reach *= if known { token.chance } else { token.alone };
            node.depth += 1;
            tree.add(node);
        }
        // Past its end the draft model goes on by itself.
        match asked.cmp(&node.depth) {
            Ordering::Less => {}
            Ordering::Equal => tree.promise(node),
            Ordering::Greater => tree.draft_past(node),
        }
        tree
    }

    fn lookup(&self) -> &'a [LookupToken] {
        self.record
            .lookup
            .get(self.place)
            .map_or(&[], Vec::as_slice)
    }

    /// Chances of what the draft model proposes past `node`.
    fn drafts(&self, node: Branch) -> &'a [f64] {
        let drafts = self.record.chances.get(self.place + node.depth);
        drafts.map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, node: Branch) {
        let at = self.nodes.partition_point(|n| n.reach >= node.reach);
        self.nodes.insert(at, node);
    }

    /// Candidates of these chances past `parent`; which of them the text goes on with.
    fn branch(&mut self, parent: Branch, chances: &[f64], right: Option<usize>) {
        for (i, chance) in chances.iter().enumerate() {
            let child = Branch {
                reach: parent.reach * chance,
                depth: parent.depth + 1,
                right: parent.right && right == Some(i),
            };
            self.add(child);
            self.promise(child);
        }
    }

    fn promise(&mut self, node: Branch) {
        let best = self.drafts(node).iter().copied().fold(0.0, f64::max);
        let reach = node.reach * best;
        if node.depth < self.left && reach >= LEAST {
            self.promises.push(Promise { reach, node });
        }
    }

    /// Has the draft model look past one node more: how deep that is, `None` if there is
    /// nothing to be had.
    pub fn draft(&mut self) -> Option<usize> {
        let parent = self.promises.pop()?.node;
        self.draft_past(parent);
        Some(parent.depth)
    }

    fn draft_past(&mut self, parent: Branch) {
        let place = self.place + parent.depth;
        let right = self.record.drafted.get(place).copied().flatten();
        self.branch(parent, self.drafts(parent), right);
    }
}
