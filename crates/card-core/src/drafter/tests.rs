//! What only a drafter by itself can bring about.

use super::*;
use crate::cache::BYTES_PER_NODE;
use crate::forward::{Limits, Rollback};
use crate::protocol::Lanes;
use crate::types::TextMark;

const SEQUENCE: SequenceId = SequenceId(1);

/// A model that says the same behind every token.
struct Same(Vec<f32>);

impl Same {
    fn of(probs: &[f32]) -> Self {
        Same(probs.iter().map(|p| p.ln()).collect())
    }
}

impl Logits for Same {
    fn row(&self, _: usize) -> &[f32] {
        &self.0
    }
}

/// A drafter on a lane of its own that was told of a text of one token. Its forwards take what these
/// points say.
fn drafter(change: impl FnOnce(&mut DrafterConfig), points: &[(u32, f64)]) -> Drafter {
    let mut config = DrafterConfig {
        source: Source::Draft,
        branch: 4,
        max_depth: 6,
        min_reach: 0.01,
        cache_bytes: 100 * BYTES_PER_NODE,
        limits: Limits {
            context: 100,
            cells: 400,
            rows: 8,
            leaves: 8,
            rollback: Rollback::Free,
        },
        vocab: 6,
        prefix_slots: 1,
        lanes: Lanes::Disjoint,
    };
    change(&mut config);
    let cost = CostCurve::from_points(points.iter().copied());
    let mut drafter = Drafter::new(config, cost);
    open(&mut drafter, SEQUENCE, vec![5]);
    drafter
}

fn open(drafter: &mut Drafter, sequence: SequenceId, tokens: Vec<Token>) {
    drafter.handle(DraftInput::Open {
        sequence,
        tenant: Tenant::SHARED,
        tokens,
        params: Sampling::default(),
        end: 50,
        grammar: None,
    });
}

/// One step, which takes a millisecond: the tokens of its rows, and what it drafts.
fn step(drafter: &mut Drafter, model: &Same) -> (Vec<Token>, Drafted) {
    let forward = drafter.poll(Duration::ZERO).expect("there is a step");
    let drafted = drafter.complete(&forward, model, Duration::from_millis(1));
    (forward.rows.iter().map(|r| r.token).collect(), drafted)
}

#[test]
fn a_node_that_lost_its_place_while_it_was_decoded_is_not_spoken_of() {
    let flat = [(1, 1.0), (8, 1.0)];
    let small = |config: &mut DrafterConfig| config.cache_bytes = 4 * BYTES_PER_NODE;
    let mut drafter = drafter(small, &flat);
    let model = Same::of(&[0.7, 0.1, 0.1, 0.1, 1e-9, 1e-9]);
    step(&mut drafter, &model);
    let (tokens, drafted) = step(&mut drafter, &model);
    assert_eq!(tokens, [0, 1, 2, 3]);
    // The best child of the first one took the place of the second one. What the model said behind
    // that one is not said of the last token of the text.
    let paths: Vec<&[Token]> = drafted.expansions.iter().map(|e| &e.path[..]).collect();
    assert_eq!(paths, [&[0][..], &[2], &[3]]);
}

#[test]
fn where_no_leaf_may_be_added_drafting_goes_on_along_the_leaves_there_are() {
    // One row at a time pays.
    let steep = [(1, 1.0), (2, 10.0)];
    let one_leaf = |config: &mut DrafterConfig| config.limits.leaves = 1;
    let mut drafter = drafter(one_leaf, &steep);
    let model = Same::of(&[0.6, 0.3, 0.1, 1e-9, 1e-9, 1e-9]);
    for depth in 0..3 {
        let (_, drafted) = step(&mut drafter, &model);
        assert_eq!(drafted.expansions[0].path, vec![0; depth]);
    }
    // Behind the last token 1 is likelier than a third 0, but has no place in the KV cache.
    let outlook = drafter.outlook().expect("there is a step");
    assert_eq!(outlook.path, [0, 0, 0]);
    let (_, drafted) = step(&mut drafter, &model);
    assert_eq!(drafted.expansions[0].path, [0, 0, 0]);
}

#[test]
fn a_long_prompt_does_not_keep_others_from_drafting() {
    let mut drafter = drafter(|_| (), &[(1, 1.0), (8, 1.0)]);
    let model = Same::of(&[0.7, 0.3, 1e-9, 1e-9, 1e-9, 1e-9]);
    // Of the two, the sequence with the lower number has a prompt of five steps.
    open(&mut drafter, SequenceId(0), vec![4; 40]);
    let (tokens, drafted) = step(&mut drafter, &model);
    assert_eq!(tokens, [5, 4, 4, 4, 4, 4, 4, 4]);
    assert_eq!(drafted.expansions.len(), 1);
}

#[test]
fn all_trees_together_have_no_more_leaves_than_there_are_places_for() {
    let roomy = |config: &mut DrafterConfig| {
        config.max_depth = 20;
        config.cache_bytes = 1000 * BYTES_PER_NODE;
    };
    let mut drafter = drafter(roomy, &[(1, 1.0), (8, 1.0)]);
    let model = Same::of(&[0.7, 0.1, 0.1, 0.1, 1e-9, 1e-9]);
    for _ in 0..5 {
        step(&mut drafter, &model);
    }
    let leaves = |drafter: &Drafter, of: SequenceId| drafter.sequences[&of].leaves;
    assert_eq!(leaves(&drafter, SEQUENCE), 8, "one alone has all of them");
    // Others begin at once. Each has a share, but none is free.
    let others = [2, 3, 4].map(SequenceId);
    for other in others {
        open(&mut drafter, other, vec![5]);
    }
    let all = |drafter: &Drafter| drafter.sequences.values().map(|d| d.leaves).sum::<usize>();
    for _ in 0..4 {
        step(&mut drafter, &model);
        assert!(leaves(&drafter, SEQUENCE) <= 8);
        // A chain takes no place.
        assert!(others.iter().all(|&o| leaves(&drafter, o) <= 1));
    }
    assert!(
        others.iter().all(|&o| leaves(&drafter, o) == 1),
        "each has a chain"
    );
    // A commit frees some.
    drafter.handle(DraftInput::Commit {
        sequence: SEQUENCE,
        from: 1,
        tokens: vec![0],
    });
    assert!(all(&drafter) < 8);
    step(&mut drafter, &model);
    assert!(others.iter().any(|&o| leaves(&drafter, o) > 1));
    assert!(all(&drafter) <= 8);
}

#[test]
fn a_text_that_is_forgotten_leaves_nothing() {
    let mut drafter = drafter(|_| (), &[(1, 1.0), (8, 1.0)]);
    let model = Same::of(&[0.7, 0.3, 1e-9, 1e-9, 1e-9, 1e-9]);
    step(&mut drafter, &model);
    let forget = |tenant| DraftInput::Forget {
        tenant,
        text: TextMark::of(&[5]),
    };
    drafter.handle(forget(Tenant::SHARED));
    assert_eq!(drafter.running(), 1, "what is open goes on");
    drafter.handle(DraftInput::Close { sequence: SEQUENCE });
    drafter.handle(forget(Tenant(7)));
    assert_eq!(drafter.held(), 1, "nobody else's goes");
    let mut ops = Vec::new();
    drafter.take_ops(&mut ops);
    ops.clear();
    drafter.handle(forget(Tenant::SHARED));
    drafter.take_ops(&mut ops);
    assert_eq!(ops, [KvOp::Release { sequence: SEQUENCE }]);
    assert_eq!(drafter.held(), 0);
}

#[test]
fn long_prompts_that_wait_for_their_turn_do_not_keep_one_that_drafts_from_drafting() {
    let mut drafter = drafter(|_| (), &[(1, 1.0), (8, 1.0)]);
    let model = Same::of(&[0.7, 0.3, 1e-9, 1e-9, 1e-9, 1e-9]);
    for i in 0..12 {
        drafter.handle(DraftInput::Open {
            sequence: SequenceId(10 + i),
            tenant: Tenant(10 + i),
            tokens: vec![3; 90],
            params: Sampling::default(),
            end: 99,
            grammar: None,
        });
    }
    let mut served = 0;
    for from in 1..=36 {
        let news = DraftInput::Commit {
            sequence: SEQUENCE,
            from,
            tokens: vec![0],
        };
        drafter.handle(news);
        step(&mut drafter, &model);
        served += u32::from(drafter.sequences[&SEQUENCE].rooted);
    }
    assert!(served >= 30, "{served} of 36");
}

#[test]
fn short_prompts_that_keep_coming_do_not_keep_a_long_one_from_being_read() {
    const LONG: SequenceId = SequenceId(0);
    let mut drafter = drafter(|_| (), &[(1, 1.0), (8, 1.0)]);
    let model = Same::of(&[0.7, 0.3, 1e-9, 1e-9, 1e-9, 1e-9]);
    open(&mut drafter, LONG, vec![4; 40]);
    for i in 0..45 {
        // Each is as long as a step, and has nothing in common with another one.
        drafter.handle(DraftInput::Open {
            sequence: SequenceId(10 + i),
            tenant: Tenant(10 + i),
            tokens: vec![3; 8],
            params: Sampling::default(),
            end: 50,
            grammar: None,
        });
        let (tokens, _) = step(&mut drafter, &model);
        assert_eq!(tokens.len(), 8);
    }
    let decoded = drafter.sequences[&LONG].decoded;
    assert!(decoded >= 32, "{decoded}");
    let read = drafter.sequences.values().filter(|d| d.rooted).count();
    assert!(read >= 35, "the others go on: {read}");
}
