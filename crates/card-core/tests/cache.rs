//! The candidate cache under random use, against a model that is slow and plain.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use card_core::cache::{BYTES_PER_NODE, CandidateCache, NodeId};
use card_core::types::{Source, Token};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Insert {
        at: prop::sample::Index,
        token: Token,
        cond: f32,
        source: usize,
    },
    Query {
        nodes: usize,
        leaves: usize,
    },
    CorrectTo {
        at: prop::sample::Index,
    },
    CorrectAway {
        at: prop::sample::Index,
        token: Token,
    },
    Expand {
        n: usize,
        depth: u32,
    },
    Pin {
        at: prop::sample::Index,
    },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let index = any::<prop::sample::Index>;
    let op = prop_oneof![
        20 => (index(), 0u32..9, 0.01f32..1.0, 0usize..5)
            .prop_map(|(at, token, cond, source)| Op::Insert { at, token, cond, source }),
        4 => (0usize..20, 1usize..5).prop_map(|(nodes, leaves)| Op::Query { nodes, leaves }),
        1 => index().prop_map(|at| Op::CorrectTo { at }),
        1 => (index(), 0u32..12).prop_map(|(at, token)| Op::CorrectAway { at, token }),
        4 => (1usize..6, 1u32..6).prop_map(|(n, depth)| Op::Expand { n, depth }),
        1 => index().prop_map(|at| Op::Pin { at }),
    ];
    prop::collection::vec(op, 1..200)
}

/// Every candidate by its path.
fn all(cache: &CandidateCache) -> HashMap<Vec<Token>, NodeId> {
    let mut found = HashMap::new();
    let mut stack = vec![cache.root()];
    while let Some(at) = stack.pop() {
        for child in cache.children(at) {
            found.insert(cache.path(child), child);
            stack.push(child);
        }
    }
    found
}

fn sorted(cache: &CandidateCache) -> Vec<NodeId> {
    let mut nodes: Vec<_> = all(cache).into_iter().collect();
    nodes.sort_by(|a, b| a.0.cmp(&b.0));
    let mut ids = vec![cache.root()];
    ids.extend(nodes.into_iter().map(|e| e.1));
    ids
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn holds_under_random_use(ops in ops(), capacity in 1usize..60) {
        let mut cache = CandidateCache::new(10, capacity * BYTES_PER_NODE);
        let mut out = Vec::new();
        let mut pinned: Vec<NodeId> = Vec::new();
        for op in ops {
            match op {
                Op::Insert { at, token, cond, source } => {
                    let ids = sorted(&cache);
                    let parent = ids[at.index(ids.len())];
                    let before = cache.len();
                    let id = cache.insert(parent, token, cond, cond, 0, Source::ALL[source]);
                    match id {
                        Some(id) => {
                            let c = cache.get(id).unwrap();
                            prop_assert_eq!(c.token, token);
                            prop_assert!(c.sources.contains(Source::ALL[source]));
                            prop_assert_eq!(cache.child(parent, token), Some(id));
                        }
                        None => prop_assert_eq!(before, cache.capacity()),
                    }
                    for pin in &pinned {
                        prop_assert!(cache.get(*pin).is_some(), "what is pinned stays");
                    }
                }
                Op::Query { nodes, leaves } => {
                    cache.query(nodes, leaves, &mut out);
                    check_query(&cache, &out, nodes, leaves)?;
                }
                Op::CorrectTo { at } => {
                    let ids = sorted(&cache);
                    let path = cache.path(ids[at.index(ids.len())]);
                    correct(&mut cache, &path)?;
                    pinned.clear();
                }
                Op::CorrectAway { at, token } => {
                    let ids = sorted(&cache);
                    let mut path = cache.path(ids[at.index(ids.len())]);
                    path.push(token);
                    correct(&mut cache, &path)?;
                    pinned.clear();
                }
                Op::Expand { n, depth } => {
                    cache.frontier(n, depth, 1e-3, &mut out);
                    prop_assert!(out.len() <= n);
                    let root = cache.get(cache.root()).unwrap().position;
                    let open: Vec<_> = all(&cache)
                        .into_values()
                        .filter_map(|id| cache.get(id))
                        .filter(|c| !c.expanded && c.position - root <= depth && c.reach > 1.001e-3)
                        .collect();
                    prop_assert!(out.len() >= open.len().min(n));
                    let least = out.iter().map(|&id| cache.get(id).unwrap().reach).fold(1.0, f32::min);
                    let better = open.iter().filter(|c| c.reach > least * 1.001).count();
                    prop_assert!(better <= out.len(), "the best are chosen");
                    for &id in &out {
                        prop_assert!(!cache.get(id).unwrap().expanded);
                        cache.mark_expanded(id);
                    }
                }
                Op::Pin { at } => {
                    let ids = sorted(&cache);
                    let id = ids[at.index(ids.len())];
                    if id != cache.root() {
                        cache.pin(id);
                        pinned.push(id);
                    }
                }
            }
            cache.check_invariants();
        }
    }
}

fn correct(cache: &mut CandidateCache, path: &[Token]) -> Result<(), TestCaseError> {
    let before = all(cache);
    let position = cache.get(cache.root()).unwrap().position;
    let hit = path.is_empty() || before.contains_key(path);
    let expected: Vec<Vec<Token>> = before
        .keys()
        .filter(|p| hit && p.len() > path.len() && p.starts_with(path))
        .map(|p| p[path.len()..].to_vec())
        .collect();
    let reach: HashMap<_, _> = before
        .iter()
        .map(|(p, id)| (p.clone(), cache.get(*id).unwrap().reach))
        .collect();
    let found = cache.correct(path);
    prop_assert_eq!(found.hit, hit);
    prop_assert_eq!(found.survivors, expected.len());
    let after = all(cache);
    prop_assert_eq!(after.len(), expected.len());
    for p in expected {
        let id = after.get(&p).copied();
        prop_assert!(id.is_some(), "what is below the new root survives");
        let old = reach[&[path, &p].concat()] / reach.get(path).copied().unwrap_or(1.0);
        let new = cache.get(id.unwrap()).unwrap().reach;
        prop_assert!(
            (old - new).abs() <= 1e-3 * old,
            "reach is from the new root"
        );
    }
    let root = cache.get(cache.root()).unwrap();
    prop_assert_eq!(root.position, position + path.len() as u32);
    // What was dropped has no name any more.
    for (p, id) in before {
        let survives = hit && p.len() >= path.len() && p.starts_with(path);
        prop_assert_eq!(cache.get(id).is_some(), survives);
    }
    Ok(())
}

fn check_query(
    cache: &CandidateCache,
    out: &[NodeId],
    nodes: usize,
    leaves: usize,
) -> Result<(), TestCaseError> {
    prop_assert!(out.len() <= nodes);
    let mut seen = vec![cache.root()];
    let mut last = f32::INFINITY;
    for &id in out {
        let reach = cache.get(id).unwrap().reach;
        prop_assert!(reach <= last * 1.0001, "best first");
        last = reach;
        prop_assert!(seen.contains(&cache.parent(id).unwrap_or(cache.root())));
        seen.push(id);
    }
    let is_leaf = |id: &&NodeId| !out.iter().any(|o| cache.parent(*o) == Some(**id));
    prop_assert!(out.iter().filter(is_leaf).count() <= leaves);
    if leaves >= nodes {
        // Without a limit on leaves, no candidate left out is better than one taken.
        prop_assert_eq!(out.len(), nodes.min(cache.len()));
        let better = all(cache)
            .into_values()
            .filter(|id| cache.get(*id).unwrap().reach > last * 1.001)
            .count();
        prop_assert!(better <= out.len());
    }
    Ok(())
}

#[test]
fn merges_sources_and_keeps_the_larger_probability() {
    let mut cache = CandidateCache::new(0, 1 << 16);
    let a = cache
        .insert(cache.root(), 7, 0.4, 0.4, 0, Source::Draft)
        .unwrap();
    let b = cache.insert(a, 8, 0.5, 0.5, 0, Source::Draft).unwrap();
    let again = cache
        .insert(cache.root(), 7, 0.8, 0.8, 0, Source::PromptLookup)
        .unwrap();
    assert_eq!(a, again);
    let sources: Vec<_> = cache.get(a).unwrap().sources.iter().collect();
    assert_eq!(sources, [Source::Draft, Source::PromptLookup]);
    assert!((cache.get(b).unwrap().reach - 0.4).abs() < 1e-6);
    cache.check_invariants();
}

#[test]
fn evicts_the_worst_leaf_and_never_an_ancestor() {
    let mut cache = CandidateCache::new(0, 3 * BYTES_PER_NODE);
    let a = cache
        .insert(cache.root(), 1, 0.1, 0.1, 0, Source::Draft)
        .unwrap();
    let b = cache.insert(a, 2, 0.9, 0.9, 0, Source::Draft).unwrap();
    let c = cache
        .insert(cache.root(), 3, 0.3, 0.3, 0, Source::Draft)
        .unwrap();
    // b (0.09) is the worst leaf; a is its ancestor and stays.
    let d = cache.insert(c, 4, 0.9, 0.9, 0, Source::Draft).unwrap();
    assert!(cache.get(b).is_none());
    assert!(cache.get(a).is_some() && cache.get(d).is_some());
    // Nothing makes room for a worse one.
    assert!(cache.insert(d, 5, 0.01, 0.01, 0, Source::Draft).is_none());
    assert_eq!(cache.evictions(), 1);
}
