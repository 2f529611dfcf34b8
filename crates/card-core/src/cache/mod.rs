//! The candidate cache: a token tree rooted at the last committed token.
//!
//! Drafters insert continuations, the target queries the best subtree, and a correction makes
//! the node at the end of what the target wrote the new root, and keeps what is below it (CARD,
//! arXiv 2508.04462, §3 "query-and-correct"). One cache belongs to one sequence. It is plain
//! data with no lock, because a drafter works on a replica of its own.
//!
//! The *reach* of a node is the calibrated probability that the target will walk through it: the
//! product of the conditional probabilities on its path. It is stored as a sum of logarithms
//! from the node that was the root when the cache was made, so a new root changes no node: the
//! reach now is the node's sum less the root's.
//!
//! Nodes lie in slots of one vector and link to each other by index. Two heaps, over the
//! unexpanded nodes and over the leaves, find what a drafter looks at next and what is evicted
//! first.

mod correct;
mod evict;
mod frontier;
mod heap_entry;
mod heaps;
mod insert;
mod invariants;
mod node;
mod query;
mod slots;
mod tree;

pub use correct::Correction;
pub use node::{CachedCandidate, NodeId};
pub use tree::{BYTES_PER_NODE, CandidateCache};
