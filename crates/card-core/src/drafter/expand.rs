//! Expanding: which nodes the draft model looks past next, the best first.
//!
//! The tree grows where the target is most likely to go, as EAGLE-2's dynamic draft trees do
//! (arXiv 2406.16858, §4): the nodes of highest reach come first, and their number is what the
//! model's cost curve says pays.

use std::collections::BTreeMap;

use super::config::DrafterConfig;
use super::leaf_room::LeafRoom;
use super::sequence::DraftSequence;
use super::step::DraftStep;
use crate::cache::NodeId;
use crate::cost::CostCurve;
use crate::forward::{CellNames, Row};
use crate::protocol::{Lanes, Outlook};
use crate::types::SequenceId;

/// KV cells that stay free: those of nodes that were evicted from the replica are in use until
/// the next commit, and are not counted.
const MARGIN: usize = 64;
/// Nodes that one forward looks past at most. A device whose forwards take the same time for some
/// tens of rows looks past side branches beside the best path for nothing, so that a draft goes on
/// where the target leaves that path (docs/policy.md). Where rows cost time, fewer pay.
const MOST_NODES: usize = 64;
/// Nodes that one forward looks past at most for each sequence, where that is more.
const MOST_EACH: usize = 4;

/// A node that could be looked past.
struct FrontierNode {
    reach: f32,
    sequence: SequenceId,
    node: NodeId,
}

/// What the drafter could do next for this sequence, if anything. The number of rows is not
/// bounded by what a forward can take. `share` is how many leaves the sequence may have.
pub(super) fn outlook(
    sequence: SequenceId,
    draft: &mut DraftSequence,
    config: &DrafterConfig,
    share: usize,
    nodes: &mut Vec<NodeId>,
) -> Option<Outlook> {
    if !draft.is_wanted(config) {
        return None;
    }
    if !draft.rooted {
        return draft.fits(config).then(|| Outlook {
            source: config.source,
            reach: 1.0,
            rows: draft.pending() as u32,
            sequence,
            path: Vec::new(),
        });
    }
    let node = if config.limits.rollback.is_free() {
        let depth = draft.depth_limit(config);
        let most = if draft.leaves < share { 1 } else { MOST_NODES };
        draft.replica.frontier(most, depth, config.min_reach, nodes);
        draft.leave_out_leaves(share, nodes);
        nodes.first().copied()?
    } else {
        draft.next_of_chain(config, share)?
    };
    Some(Outlook {
        source: config.source,
        reach: draft.replica.get(node).map_or(0.0, |c| c.reach),
        rows: 1,
        sequence,
        path: draft.replica.path(node),
    })
}

/// Adds rows for the frontier nodes of highest reach, as many as pay by the `cost` curve. `kept`
/// are KV cells of finished sequences. Returns the milliseconds that the step loses because it keeps
/// to the shape of the one before.
pub(super) fn expand(
    sequences: &mut BTreeMap<SequenceId, DraftSequence>,
    config: &DrafterConfig,
    cost: &CostCurve,
    kept: usize,
    names: &mut CellNames,
    step: &mut DraftStep,
) -> f64 {
    let mut leaf_room = LeafRoom::of(config, sequences);
    let found = frontier(sequences, config, leaf_room);
    let reaches: Vec<f64> = found.iter().map(|f| f64::from(f.reach)).collect();
    let (pays, forgone_ms) = rows_that_pay(config.lanes, cost, config.most_padded(), &reaches);
    let used: usize = sequences.values().map(|d| d.decoded + d.grown).sum();
    let room = config.limits.cells.saturating_sub(used + kept + MARGIN);
    for found in &found[..pays.min(room)] {
        let Some(draft) = sequences.get_mut(&found.sequence) else {
            continue;
        };
        decode_node(draft, found, config, &mut leaf_room, names, step);
    }
    forgone_ms
}

/// The nodes of highest reach that were not looked past, of all sequences, best first; of a model
/// that drafts chains, one of each sequence.
fn frontier(
    sequences: &mut BTreeMap<SequenceId, DraftSequence>,
    config: &DrafterConfig,
    leaf_room: LeafRoom,
) -> Vec<FrontierNode> {
    let most = MOST_NODES.max(MOST_EACH.saturating_mul(sequences.len()));
    let most = config.limits.rows.min(most);
    let mut found: Vec<FrontierNode> = Vec::new();
    let mut nodes = Vec::new();
    for (&sequence, draft) in sequences {
        if !draft.rooted || !draft.is_wanted(config) {
            continue;
        }
        let most_leaves = leaf_room.most(draft.places(config));
        if config.limits.rollback.is_free() {
            let depth = draft.depth_limit(config);
            let replica = &mut draft.replica;
            replica.frontier(most, depth, config.min_reach, &mut nodes);
            draft.leave_out_leaves(most_leaves, &mut nodes);
        } else {
            nodes.clear();
            nodes.extend(draft.next_of_chain(config, most_leaves));
        }
        let replica = &draft.replica;
        found.extend(nodes.iter().filter_map(|&node| {
            let reach = replica.get(node)?.reach;
            Some(FrontierNode {
                reach,
                sequence,
                node,
            })
        }));
    }
    found.sort_by(|a, b| {
        let by_reach = b.reach.total_cmp(&a.reach);
        by_reach.then_with(|| a.sequence.cmp(&b.sequence))
    });
    found.truncate(most);
    found
}

/// Adds the row of one node, unless it needs a place for a leaf, and its sequence has as many of them
/// as it may.
fn decode_node(
    draft: &mut DraftSequence,
    found: &FrontierNode,
    config: &DrafterConfig,
    leaf_room: &mut LeafRoom,
    names: &mut CellNames,
    step: &mut DraftStep,
) {
    let &FrontierNode { sequence, node, .. } = found;
    let Some(candidate) = draft.replica.get(node) else {
        return;
    };
    let root = draft.replica.root();
    let parent = draft.replica.parent(node).filter(|p| *p != root);
    let parent = parent.map(|p| draft.replica.tag(p));
    if parent == Some(0) {
        // The node is a guess, and the row of its parent found no room.
        return;
    }
    let adds_leaf = draft.adds_leaf(node);
    if adds_leaf || !config.limits.rollback.is_free() {
        let own = draft.places(config);
        if own >= leaf_room.most(own) {
            return;
        }
        leaf_room.take();
    }
    draft.leaves += usize::from(adds_leaf);
    let cell = names.take();
    draft.replica.set_tag(node, cell);
    draft.grown += 1;
    step.rows.push(Row {
        sequence,
        token: candidate.token,
        position: candidate.position,
        cell,
        parent,
        logits: true,
    });
    step.expand_last(sequence, node);
}

/// How many nodes of these reaches, the highest first, to look past at a time, in a step that may
/// be filled up to `most_padded` rows; and the milliseconds that this loses against the best number
/// if a change of shape were free.
fn rows_that_pay(
    lanes: Lanes,
    cost: &CostCurve,
    most_padded: u32,
    reaches: &[f64],
) -> (usize, f64) {
    let next = |rows: u32| cost.next_ms(rows, most_padded);
    let (rows, _) = best_rows(lanes, reaches, next);
    if rows == 0 || cost.shape_change_ms() <= 0.0 {
        return (rows, 0.0);
    }
    let (_, best) = best_rows(lanes, reaches, |rows| cost.ms(rows));
    let shape_ms = cost.ms(cost.shape_for(rows as u32, most_padded));
    let here = value(lanes, reaches[..rows].iter().sum(), shape_ms, cost.ms(1));
    let forgone_ms = match lanes {
        Lanes::Disjoint => (1.0 - here / best.max(f64::MIN_POSITIVE)) * shape_ms,
        Lanes::Shared => best - here,
    };
    (rows, forgone_ms)
}

/// The number of nodes that is worth most if a step of so many rows takes `ms`, and that worth.
fn best_rows(lanes: Lanes, reaches: &[f64], ms: impl Fn(u32) -> f64) -> (usize, f64) {
    let one = ms(1);
    let mut sum = 0.0;
    let mut best = (0, f64::NEG_INFINITY);
    for (reach, rows) in reaches.iter().zip(1..) {
        sum += reach;
        let worth = value(lanes, sum, ms(rows), one);
        if worth > best.1 {
            best = (rows as usize, worth);
        }
    }
    best
}

/// What a step of `ms` milliseconds is worth that looks past nodes whose reaches sum up to `sum`,
/// where one of a single node takes `one`.
fn value(lanes: Lanes, sum: f64, ms: f64, one: f64) -> f64 {
    match lanes {
        // The drafter works all the time: the most reach per millisecond.
        Lanes::Disjoint => sum / ms,
        // The target waits for the drafter: a node may save a step of its own later, if the target
        // gets there, but makes this one longer.
        Lanes::Shared => sum * one - ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(lanes: Lanes, cost: &[(u32, f64)], reaches: &[f64]) -> usize {
        let cost = CostCurve::from_points(cost.iter().copied());
        rows_that_pay(lanes, &cost, 16, reaches).0
    }

    #[test]
    fn as_many_nodes_are_looked_past_as_keep_the_shape() {
        let mut cost = CostCurve::from_points([(1, 1.1), (2, 1.2), (4, 1.4), (8, 1.8)]);
        let doubtful = [0.9, 0.04, 0.03, 0.02];
        for lanes in [Lanes::Shared, Lanes::Disjoint] {
            assert_eq!(rows_that_pay(lanes, &cost, 16, &doubtful).0, 1);
        }
        // The first of three steps of each shape takes 1.5 ms longer.
        for _ in 0..12 {
            for (rows, ms) in [(1, 2.6), (1, 1.1), (1, 1.1), (4, 2.9), (4, 1.4), (4, 1.4)] {
                cost.observe(rows, std::time::Duration::from_secs_f64(ms / 1e3));
            }
        }
        for lanes in [Lanes::Shared, Lanes::Disjoint] {
            let (rows, forgone_ms) = rows_that_pay(lanes, &cost, 16, &doubtful);
            assert_eq!(rows, 4, "the rows are computed anyway");
            assert!(forgone_ms > 0.1 && forgone_ms < 0.5, "{forgone_ms}");
            // Where nothing can be filled up, four nodes keep the shape too.
            assert_eq!(rows_that_pay(lanes, &cost, 0, &doubtful).0, 4);
        }
    }

    #[test]
    fn what_the_target_waits_for_is_one_node_where_rows_cost_time() {
        let processor = [(1, 7.0), (2, 12.0), (4, 12.5), (8, 21.0)];
        let flat = [(1, 7.0), (16, 7.0)];
        let doubtful = [0.3, 0.3, 0.2, 0.1];
        assert_eq!(rows(Lanes::Shared, &processor, &doubtful), 1);
        assert_eq!(rows(Lanes::Disjoint, &processor, &doubtful), 4);
        for lanes in [Lanes::Shared, Lanes::Disjoint] {
            assert_eq!(rows(lanes, &flat, &doubtful), 4);
            // Two sequences that are both sure to go on.
            assert_eq!(rows(lanes, &processor, &[0.95, 0.9]), 2);
        }
    }
}
