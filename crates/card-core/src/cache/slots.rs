//! Slots and links: how a node comes into the tree, and how it leaves it.

use super::node::{NONE, Node, NodeId};
use super::tree::CandidateCache;
use crate::types::Token;

impl CandidateCache {
    /// The name of the node in this slot.
    pub(super) fn id(&self, index: u32) -> NodeId {
        NodeId {
            index,
            generation: self.nodes[index as usize].generation,
        }
    }

    /// The slot of a node; `None` if the node is gone.
    pub(super) fn index(&self, id: NodeId) -> Option<u32> {
        self.node(id).map(|_| id.index)
    }

    /// The node of this name; `None` if it is gone.
    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes
            .get(id.index as usize)
            .filter(|n| n.live && n.generation == id.generation)
    }

    /// Probability that the target walks from the root through this node.
    pub(super) fn reach_of(&self, node: &Node) -> f32 {
        (node.log_reach - self.nodes[self.root as usize].log_reach).exp() as f32
    }

    /// Makes a root without children, and returns its index.
    pub(super) fn fresh_root(&mut self, token: Token, position: u32) -> u32 {
        self.allocate(Node::root(token, position))
    }

    /// Puts a node into a free slot or a new one, and returns its index.
    pub(super) fn allocate(&mut self, mut node: Node) -> u32 {
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

    /// Frees the slot of a node; the names of the node become invalid.
    pub(super) fn release(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.live = false;
        node.generation = node.generation.wrapping_add(1);
        self.free.push(index);
    }

    /// Puts `index` among the children of `parent`, which stay sorted by `cond`.
    pub(super) fn link(&mut self, parent: u32, index: u32) {
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

    /// Takes `index` from among the children of its parent.
    pub(super) fn unlink(&mut self, index: u32) {
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
}
