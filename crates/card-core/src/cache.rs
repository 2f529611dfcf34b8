//! The candidate cache: a token tree rooted at the last committed token.
//!
//! Drafters insert continuations, the target queries the best subtree, and a
//! correction re-roots the tree and keeps what survived (CARD, arXiv 2508.04462, §3
//! "query-and-correct"). One cache belongs to one sequence; it is plain data with
//! no lock, because the drafter works on a replica of its own.
//!
//! `reach` of a node is the calibrated probability that the target will walk through
//! it: the product of the conditional probabilities on its path. It is stored as a sum
//! of logarithms *since the cache was made*, so re-rooting changes no node: the reach
//! now is the node's sum less the root's.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::types::{Evidence, Prob, Source, SourceSet, Token};

const NONE: u32 = u32::MAX;

/// Probability of what is as good as impossible: logarithms must be finite.
const LEAST: f32 = 1e-6;

/// Most candidates: more have no number.
const MOST_NODES: usize = 1 << 28;

/// Bytes one candidate takes: its node and its entry in each of the two heaps.
pub const BYTES_PER_NODE: usize = size_of::<Node>() + 2 * size_of::<HeapEntry>();

/// Names a node. Stays invalid for ever once its node was dropped, even when the slot
/// is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId {
    index: u32,
    generation: u32,
}

/// What the cache tells about one candidate.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Its token.
    pub token: Token,
    /// Index of this token in the sequence (prompt included).
    pub position: u32,
    /// The probability its first source gave it.
    pub prob: f32,
    /// Calibrated probability that the target walks through it, from the root as it is now.
    pub reach: f32,
    /// Its place among its siblings when it was proposed, 0 is the best.
    pub rank: u8,
    /// Who proposed it first.
    pub source: Source,
    /// Everyone who proposed it.
    pub sources: SourceSet,
    /// What each of them said.
    pub evidence: Evidence,
    /// Calibrated probability given that the target wrote its parent.
    pub cond: f32,
    /// Whether a drafter already looked past it.
    pub expanded: bool,
}

#[derive(Clone, Debug)]
struct Node {
    token: Token,
    position: u32,
    parent: u32,
    first_child: u32,
    next_sibling: u32,
    generation: u32,
    /// Calibrated probability given that the parent is on the path.
    cond: f32,
    /// Sum of ln(cond) from the node that was the root when the cache was made.
    log_reach: f64,
    /// Free for the owner: a drafter keeps the KV cell of the node here, 0 is none.
    tag: u64,
    source: Source,
    evidence: Evidence,
    pins: u8,
    expanded: bool,
    live: bool,
    /// The last query that chose a child of this node.
    queried: u32,
}

/// A node keyed by its reach. Entries are never removed from the middle of a heap; one
/// whose node changed or went is skipped when it comes up.
#[derive(Clone, Copy, Debug)]
struct HeapEntry {
    key: f64,
    index: u32,
    generation: u32,
}

impl PartialEq for HeapEntry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for HeapEntry {}
impl PartialOrd for HeapEntry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for HeapEntry {
    fn cmp(&self, other: &Self) -> Ordering {
        // Ties go to the older slot, so that equal inputs give equal trees.
        self.key
            .total_cmp(&other.key)
            .then_with(|| other.index.cmp(&self.index))
    }
}

/// What [`CandidateCache::correct`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    /// How many of the committed tokens were in the cache, from the first on.
    pub matched: usize,
    /// Whether all of them were: the work past them survived.
    pub hit: bool,
    /// Candidates still cached.
    pub survivors: usize,
}

/// A tree of candidates for one sequence. See the [module](self) documentation.
#[derive(Clone, Debug)]
pub struct CandidateCache {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
    live: usize,
    capacity: usize,
    epoch: u64,
    evictions: u64,
    query_stamp: u32,
    /// Unexpanded nodes, best first.
    frontier: BinaryHeap<HeapEntry>,
    /// Leaves, worst first (keys negated).
    leaves: BinaryHeap<HeapEntry>,
    scratch: BinaryHeap<HeapEntry>,
    stack: Vec<u32>,
}

impl CandidateCache {
    /// Most children of one node, whoever proposes them: some steps take time with their
    /// number, and nobody needs so many.
    pub const MOST_CHILDREN: usize = 64;

    /// An empty cache below the token at `root_position`, holding at most
    /// `budget_bytes / BYTES_PER_NODE` candidates (at least one).
    pub fn new(root_position: u32, budget_bytes: usize) -> Self {
        let mut cache = CandidateCache {
            nodes: Vec::new(),
            free: Vec::new(),
            root: 0,
            live: 0,
            capacity: (budget_bytes / BYTES_PER_NODE).clamp(1, MOST_NODES),
            epoch: 0,
            evictions: 0,
            query_stamp: 0,
            frontier: BinaryHeap::new(),
            leaves: BinaryHeap::new(),
            scratch: BinaryHeap::new(),
            stack: Vec::new(),
        };
        cache.root = cache.fresh_root(0, root_position);
        cache
    }

    /// Number of candidates, the root not counted.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there is no candidate.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Number of corrections so far.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Candidates thrown out for want of room so far.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Most candidates it may hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes in use by candidates.
    pub fn bytes(&self) -> usize {
        self.live * BYTES_PER_NODE
    }

    /// The root: the last committed token.
    pub fn root(&self) -> NodeId {
        self.id(self.root)
    }

    /// The candidate, unless it is gone. The root answers too, with reach 1.
    pub fn get(&self, id: NodeId) -> Option<Candidate> {
        let node = self.node(id)?;
        let (prob, rank) = node.evidence.by(node.source);
        Some(Candidate {
            token: node.token,
            position: node.position,
            prob,
            reach: self.reach_of(node),
            rank,
            source: node.source,
            sources: node.evidence.sources(),
            evidence: node.evidence,
            cond: node.cond,
            expanded: node.expanded,
        })
    }

    /// The owner's number for this node (see [`CandidateCache::set_tag`]), 0 if none was set.
    pub fn tag(&self, id: NodeId) -> u64 {
        self.node(id).map_or(0, |n| n.tag)
    }

    /// Keeps a number of the owner's with the node.
    pub fn set_tag(&mut self, id: NodeId, tag: u64) {
        if let Some(index) = self.index(id) {
            self.nodes[index as usize].tag = tag;
        }
    }

    /// Parent of a candidate; `None` for the root and for what is gone.
    pub fn parent(&self, id: NodeId) -> Option<NodeId> {
        let node = self.node(id)?;
        (id.index != self.root && node.parent != NONE).then(|| self.id(node.parent))
    }

    /// The child of `parent` with this token.
    pub fn child(&self, parent: NodeId, token: Token) -> Option<NodeId> {
        self.children(parent)
            .find(|c| self.nodes[c.index as usize].token == token)
    }

    /// Children, most probable first.
    pub fn children(&self, parent: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let mut next = self.node(parent).map_or(NONE, |n| n.first_child);
        std::iter::from_fn(move || {
            if next == NONE {
                return None;
            }
            let id = self.id(next);
            next = self.nodes[next as usize].next_sibling;
            Some(id)
        })
    }

    /// The most probable child of `from`, that one's, and so on.
    pub fn best_path(&self, from: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let first = self.children(from).next();
        std::iter::successors(first, |at| self.children(*at).next())
    }

    /// Follows `tokens` down from the root as far as they are cached; returns the last
    /// node and how many were followed.
    pub fn walk(&self, tokens: &[Token]) -> (NodeId, usize) {
        let mut at = self.root();
        for (i, &token) in tokens.iter().enumerate() {
            match self.child(at, token) {
                Some(child) => at = child,
                None => return (at, i),
            }
        }
        (at, tokens.len())
    }

    /// Tokens from the root (excluded) to `id` (included).
    pub fn path(&self, id: NodeId) -> Vec<Token> {
        let mut tokens = Vec::new();
        let mut at = id.index;
        if self.index(id).is_none() {
            return tokens;
        }
        while at != self.root {
            tokens.push(self.nodes[at as usize].token);
            at = self.nodes[at as usize].parent;
        }
        tokens.reverse();
        tokens
    }

    /// Adds the candidate `token` after `parent`.
    ///
    /// `prob` is what the source gave it, `cond` the calibrated probability that the
    /// target writes it there. A token that is already there is merged: the sources add
    /// up and the larger `cond` holds. When the cache is full the leaf of lowest reach
    /// goes, never one that is pinned or an ancestor of something kept.
    ///
    /// Returns `None` if the parent is gone or has [as many children as there may
    /// be](CandidateCache::MOST_CHILDREN), or if the cache is full of better ones.
    /// O(log n) plus the number of siblings; raising a node that already has
    /// descendants also visits those.
    pub fn insert(
        &mut self,
        parent: NodeId,
        token: Token,
        prob: f32,
        cond: f32,
        rank: u8,
        source: Source,
    ) -> Option<NodeId> {
        let parent_index = self.index(parent)?;
        let cond = possible(cond);
        if let Some(existing) = self.child(parent, token) {
            let node = &mut self.nodes[existing.index as usize];
            node.evidence.add(source, prob, rank);
            if cond > node.cond {
                self.recondition(existing.index, cond);
            }
            return Some(existing);
        }
        if self.children(parent).count() >= CandidateCache::MOST_CHILDREN {
            return None;
        }
        let (position, log_reach) = {
            let p = &self.nodes[parent_index as usize];
            (p.position + 1, p.log_reach + f64::from(cond).ln())
        };
        if self.live >= self.capacity && !self.evict_below(log_reach, parent_index) {
            return None;
        }
        let index = self.allocate(Node {
            token,
            position,
            parent: parent_index,
            first_child: NONE,
            next_sibling: NONE,
            generation: 0,
            cond,
            log_reach,
            tag: 0,
            source,
            evidence: Evidence::of(source, prob, rank),
            pins: 0,
            expanded: false,
            live: true,
            queried: 0,
        });
        self.live += 1;
        self.link(parent_index, index);
        self.push_heaps(index);
        Some(self.id(index))
    }

    /// Sets the calibrated probability of a candidate, given its parent; its place among its
    /// siblings and the reach of all below it follow.
    pub fn set_cond(&mut self, id: NodeId, cond: f32) {
        let cond = possible(cond);
        if let Some(index) = self.index(id)
            && index != self.root
            && self.nodes[index as usize].cond != cond
        {
            self.recondition(index, cond);
        }
    }

    /// The best subtree: up to `max_nodes` candidates of highest reach with at most
    /// `max_leaves` leaves, most probable first and every parent before its children.
    /// Any prefix of the answer is a subtree too. O(m log m) for m answers.
    pub fn query(&mut self, max_nodes: usize, max_leaves: usize, out: &mut Vec<NodeId>) {
        out.clear();
        self.scratch.clear();
        self.query_stamp = self.query_stamp.wrapping_add(1).max(1);
        let mut leaves = 0;
        let first = self.nodes[self.root as usize].first_child;
        self.push_scratch(first);
        while out.len() < max_nodes {
            let Some(entry) = self.scratch.pop() else {
                break;
            };
            let (next_sibling, first_child, parent) = {
                let n = &self.nodes[entry.index as usize];
                (n.next_sibling, n.first_child, n.parent)
            };
            self.push_scratch(next_sibling);
            // The first chosen child prolongs its parent's path, every other one adds a leaf.
            let adds_leaf =
                parent == self.root || self.nodes[parent as usize].queried == self.query_stamp;
            if adds_leaf && leaves >= max_leaves {
                continue;
            }
            leaves += usize::from(adds_leaf);
            self.nodes[parent as usize].queried = self.query_stamp;
            out.push(self.id(entry.index));
            self.push_scratch(first_child);
        }
    }

    /// Commits `tokens`: the node at their end becomes the root and its subtree
    /// survives; everything else is dropped. If they leave the cache, it is empty
    /// afterwards. O(dropped).
    pub fn correct(&mut self, tokens: &[Token]) -> Correction {
        self.epoch += 1;
        let (node, matched) = self.walk(tokens);
        let hit = matched == tokens.len();
        let old_root = self.root;
        if hit {
            let new_root = node.index;
            self.drop_subtree_except(old_root, new_root);
            if new_root != old_root {
                // The new root is no candidate any more.
                self.live -= 1;
                let n = &mut self.nodes[new_root as usize];
                n.parent = NONE;
                n.next_sibling = NONE;
                n.pins = 0;
                self.root = new_root;
            }
        } else {
            let position = self.nodes[old_root as usize].position + tokens.len() as u32;
            let token = tokens.last().copied().unwrap_or_default();
            self.drop_subtree_except(old_root, NONE);
            self.root = self.fresh_root(token, position);
        }
        self.compact_heaps();
        Correction {
            matched,
            hit,
            survivors: self.live,
        }
    }

    /// The `n` unexpanded nodes of highest reach, best first, at most `max_depth`
    /// below the root and with a reach of at least `min_reach`. The root is never one.
    pub fn frontier(&mut self, n: usize, max_depth: u32, min_reach: f32, out: &mut Vec<NodeId>) {
        out.clear();
        self.scratch.clear();
        let root_position = self.nodes[self.root as usize].position;
        let floor = self.nodes[self.root as usize].log_reach + f64::from(min_reach).ln();
        let mut last = None;
        while out.len() < n {
            let Some(&top) = self.frontier.peek() else {
                break;
            };
            if !self.frontier_entry_holds(&top) {
                self.frontier.pop();
                continue;
            }
            if top.key < floor {
                break;
            }
            self.frontier.pop();
            // A probability that was changed there and back leaves the same entry twice, and
            // equal entries come up one behind the other.
            if last.replace(top.index) == Some(top.index) {
                continue;
            }
            self.scratch.push(top);
            let node = &self.nodes[top.index as usize];
            if node.position - root_position <= max_depth {
                out.push(self.id(top.index));
            }
        }
        self.frontier.append(&mut self.scratch);
    }

    /// Says that a drafter has looked past this node: it leaves the frontier.
    pub fn mark_expanded(&mut self, id: NodeId) {
        if let Some(index) = self.index(id) {
            self.nodes[index as usize].expanded = true;
        }
    }

    /// Keeps a node from eviction while a forward uses it. Pins add up.
    pub fn pin(&mut self, id: NodeId) {
        if let Some(index) = self.index(id) {
            let pins = &mut self.nodes[index as usize].pins;
            *pins = pins.saturating_add(1);
        }
    }

    /// Takes back one [`CandidateCache::pin`].
    pub fn unpin(&mut self, id: NodeId) {
        if let Some(index) = self.index(id) {
            let node = &mut self.nodes[index as usize];
            node.pins = node.pins.saturating_sub(1);
            if node.pins == 0 && node.first_child == NONE && index != self.root {
                self.push_leaf(index);
            }
        }
    }

    /// Checks everything that must hold, for tests and debug builds.
    ///
    /// # Panics
    /// If something does not hold.
    pub fn check_invariants(&self) {
        let mut seen = 0;
        let mut stack = vec![self.root];
        while let Some(index) = stack.pop() {
            let node = &self.nodes[index as usize];
            assert!(node.live, "a dropped node is linked");
            let mut previous = f32::INFINITY;
            let mut tokens = std::collections::HashSet::new();
            let mut child = node.first_child;
            while child != NONE {
                let c = &self.nodes[child as usize];
                assert_eq!(c.parent, index, "parent link");
                assert_eq!(c.position, node.position + 1, "position");
                assert!(c.cond <= previous, "siblings are sorted");
                assert!(c.log_reach <= node.log_reach + 1e-9, "reach falls");
                assert!(tokens.insert(c.token), "siblings are distinct");
                let sum = node.log_reach + f64::from(c.cond).ln();
                assert!((sum - c.log_reach).abs() < 1e-6, "reach is the product");
                previous = c.cond;
                seen += 1;
                stack.push(child);
                child = c.next_sibling;
            }
        }
        assert_eq!(seen, self.live, "live count");
        assert!(self.live <= self.capacity, "budget");
        let total = self.nodes.iter().filter(|n| n.live).count();
        assert_eq!(total, self.live + 1, "no orphan");
        assert_eq!(self.free.len() + total, self.nodes.len(), "free list");
    }

    fn id(&self, index: u32) -> NodeId {
        NodeId {
            index,
            generation: self.nodes[index as usize].generation,
        }
    }

    fn index(&self, id: NodeId) -> Option<u32> {
        self.node(id).map(|_| id.index)
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes
            .get(id.index as usize)
            .filter(|n| n.live && n.generation == id.generation)
    }

    fn reach_of(&self, node: &Node) -> f32 {
        (node.log_reach - self.nodes[self.root as usize].log_reach).exp() as f32
    }

    fn fresh_root(&mut self, token: Token, position: u32) -> u32 {
        self.allocate(Node {
            token,
            position,
            parent: NONE,
            first_child: NONE,
            next_sibling: NONE,
            generation: 0,
            cond: 1.0,
            log_reach: 0.0,
            tag: 0,
            source: Source::Draft,
            evidence: Evidence::default(),
            pins: 0,
            expanded: false,
            live: true,
            queried: 0,
        })
    }

    fn allocate(&mut self, mut node: Node) -> u32 {
        match self.free.pop() {
            Some(index) => {
                node.generation = self.nodes[index as usize].generation;
                self.nodes[index as usize] = node;
                index
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        }
    }

    fn release(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.live = false;
        node.generation = node.generation.wrapping_add(1);
        self.free.push(index);
    }

    /// Links `index` among the children of `parent`, which stay sorted by `cond`.
    fn link(&mut self, parent: u32, index: u32) {
        let cond = self.nodes[index as usize].cond;
        let mut previous = NONE;
        let mut next = self.nodes[parent as usize].first_child;
        while next != NONE && self.nodes[next as usize].cond >= cond {
            previous = next;
            next = self.nodes[next as usize].next_sibling;
        }
        self.nodes[index as usize].next_sibling = next;
        if previous == NONE {
            self.nodes[parent as usize].first_child = index;
        } else {
            self.nodes[previous as usize].next_sibling = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let (parent, next) = {
            let n = &self.nodes[index as usize];
            (n.parent, n.next_sibling)
        };
        let mut at = self.nodes[parent as usize].first_child;
        if at == index {
            self.nodes[parent as usize].first_child = next;
            return;
        }
        while self.nodes[at as usize].next_sibling != index {
            at = self.nodes[at as usize].next_sibling;
        }
        self.nodes[at as usize].next_sibling = next;
    }

    /// Changes the probability of a node, and with it the reach of all below it.
    fn recondition(&mut self, index: u32, cond: f32) {
        let node = &mut self.nodes[index as usize];
        let gain = f64::from(cond).ln() - f64::from(node.cond).ln();
        node.cond = cond;
        let parent = node.parent;
        self.unlink(index);
        self.link(parent, index);
        self.stack.clear();
        self.stack.push(index);
        while let Some(i) = self.stack.pop() {
            self.nodes[i as usize].log_reach += gain;
            self.push_heaps(i);
            let mut child = self.nodes[i as usize].first_child;
            while child != NONE {
                self.stack.push(child);
                child = self.nodes[child as usize].next_sibling;
            }
        }
    }

    /// Evicts the leaf of lowest reach if that is below `log_reach`, sparing `keep`.
    fn evict_below(&mut self, log_reach: f64, keep: u32) -> bool {
        let mut spared = None;
        let mut done = false;
        while let Some(&worst) = self.leaves.peek() {
            let holds = self.leaf_entry_holds(&worst);
            if holds && -worst.key >= log_reach {
                break;
            }
            self.leaves.pop();
            if !holds {
                continue;
            }
            if worst.index == keep {
                spared = Some(worst);
                continue;
            }
            let parent = self.nodes[worst.index as usize].parent;
            self.unlink(worst.index);
            self.release(worst.index);
            self.live -= 1;
            self.evictions += 1;
            if parent != self.root && self.nodes[parent as usize].first_child == NONE {
                self.push_leaf(parent);
            }
            done = true;
            break;
        }
        self.leaves.extend(spared);
        done
    }

    fn drop_subtree_except(&mut self, from: u32, keep: u32) {
        if from == keep {
            return;
        }
        self.stack.clear();
        self.stack.push(from);
        while let Some(index) = self.stack.pop() {
            let mut child = self.nodes[index as usize].first_child;
            while child != NONE {
                if child != keep {
                    self.stack.push(child);
                }
                child = self.nodes[child as usize].next_sibling;
            }
            self.release(index);
            if index != from {
                self.live -= 1;
            }
        }
    }

    fn push_scratch(&mut self, index: u32) {
        if index != NONE {
            let entry = self.entry(index);
            self.scratch.push(entry);
        }
    }

    fn entry(&self, index: u32) -> HeapEntry {
        let node = &self.nodes[index as usize];
        HeapEntry {
            key: node.log_reach,
            index,
            generation: node.generation,
        }
    }

    fn push_leaf(&mut self, index: u32) {
        let mut entry = self.entry(index);
        entry.key = -entry.key;
        self.leaves.push(entry);
    }

    fn push_heaps(&mut self, index: u32) {
        let (leaf, open) = {
            let n = &self.nodes[index as usize];
            (n.first_child == NONE, !n.expanded)
        };
        if open {
            let entry = self.entry(index);
            self.frontier.push(entry);
        }
        if leaf {
            self.push_leaf(index);
        }
        if self.frontier.len().max(self.leaves.len()) > 4 * self.live + 64 {
            self.compact_heaps();
        }
    }

    fn frontier_entry_holds(&self, e: &HeapEntry) -> bool {
        let n = &self.nodes[e.index as usize];
        n.live
            && n.generation == e.generation
            && n.log_reach == e.key
            && !n.expanded
            && e.index != self.root
    }

    fn leaf_entry_holds(&self, e: &HeapEntry) -> bool {
        let n = &self.nodes[e.index as usize];
        n.live
            && n.generation == e.generation
            && n.log_reach == -e.key
            && n.first_child == NONE
            && n.pins == 0
            && e.index != self.root
    }

    /// Rebuilds a heap that is mostly stale, in place. Amortised O(1) per insertion.
    fn compact_heaps(&mut self) {
        if self.frontier.len() > 2 * self.live + 64 {
            let mut heap = std::mem::take(&mut self.frontier);
            heap.retain(|e| self.frontier_entry_holds(e));
            self.frontier = heap;
        }
        if self.leaves.len() > 2 * self.live + 64 {
            let mut heap = std::mem::take(&mut self.leaves);
            heap.retain(|e| self.leaf_entry_holds(e));
            self.leaves = heap;
        }
    }
}

/// The probability nearest to `cond` that has a logarithm.
fn possible(cond: f32) -> f32 {
    Prob::clamped(cond).get().max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> CandidateCache {
        CandidateCache::new(0, 1000 * BYTES_PER_NODE)
    }

    #[test]
    fn a_probability_changed_there_and_back_names_no_node_twice() {
        let mut cache = cache();
        for token in 0..4 {
            let added = cache.insert(cache.root(), token, 0.2, 0.2, 0, Source::Draft);
            let id = added.unwrap();
            for _ in 0..5 {
                cache.set_cond(id, 0.1);
                cache.set_cond(id, 0.2);
            }
        }
        let mut out = Vec::new();
        for _ in 0..3 {
            cache.frontier(9, 9, 0.0, &mut out);
            let distinct: std::collections::HashSet<_> = out.iter().collect();
            assert_eq!((out.len(), distinct.len()), (4, 4));
        }
        cache.check_invariants();
    }

    #[test]
    fn what_is_no_probability_leaves_the_tree_in_order() {
        let mut cache = cache();
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.5, 7.0, 0.0];
        for (token, odd) in (0..).zip(odd) {
            let added = cache.insert(cache.root(), token, odd, odd, 0, Source::Suffix);
            cache.set_cond(added.unwrap(), 0.3);
            cache.set_cond(added.unwrap(), odd);
            let c = cache.get(added.unwrap()).unwrap();
            assert!((0.0..=1.0).contains(&c.reach) && (0.0..=1.0).contains(&c.prob));
            cache.check_invariants();
        }
    }

    #[test]
    fn children_of_a_node_are_bounded_in_number() {
        let mut cache = cache();
        for token in 0..500 {
            cache.insert(cache.root(), token, 0.5, 0.5, 0, Source::Draft);
        }
        assert_eq!(cache.len(), CandidateCache::MOST_CHILDREN);
        // One that is there is still heard of by others.
        let again = cache.insert(cache.root(), 3, 0.9, 0.9, 0, Source::Suffix);
        assert!(again.is_some());
        cache.check_invariants();
    }
}
