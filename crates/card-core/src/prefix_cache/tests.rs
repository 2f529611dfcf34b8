//! Which stems are found, kept and given up.

use super::*;

const US: Tenant = Tenant::SHARED;

fn new(sequence: SequenceId, tenant: Tenant, tokens: &[Token]) -> NewSequence<'_> {
    NewSequence {
        sequence,
        tenant,
        tokens,
        end: tokens.len(),
    }
}

fn run(sequence: SequenceId, tenant: Tenant, stem: &[Token]) -> RunningSequence<'_> {
    RunningSequence {
        sequence,
        tenant,
        stem,
        rolled_back: false,
        end: stem.len(),
    }
}

fn stem(sequence: SequenceId, tenant: Tenant, tokens: &[Token]) -> Stem {
    Stem {
        sequence,
        tenant,
        tokens: tokens.to_vec(),
        rolled_back: false,
    }
}

fn none() -> std::iter::Empty<RunningSequence<'static>> {
    std::iter::empty()
}

#[test]
fn a_text_is_released_and_those_of_others_stay() {
    let (them, id) = (Tenant(7), SequenceId);
    let mut cache = PrefixCache::new(8, Rollback::Free);
    let mut ops = Vec::new();
    for (n, tenant, tokens) in [
        (1, US, &[1, 2, 3, 4][..]),
        (2, US, &[1, 2, 3, 4, 5, 6][..]),
        (3, US, &[1, 2, 9, 9][..]),
        (4, them, &[1, 2, 3, 4][..]),
    ] {
        cache.keep(stem(id(n), tenant, tokens), &mut ops);
    }
    cache.release_text(US, TextMark::of(&[1, 2, 3, 4]), &mut ops);
    let released = |n| KvOp::Release { sequence: id(n) };
    assert_eq!(ops, [released(1), released(2)]);
    assert_eq!(cache.cells(), 8);
}

#[test]
fn states_of_a_text_that_was_released_are_given_up_unless_a_running_one_has_it() {
    let a = SequenceId(1);
    let mut cache = PrefixCache::new(8, Rollback::Checkpoint);
    cache.set_state_bytes(Some(100));
    let mut ops = Vec::new();
    cache.keep(stem(a, US, &[1, 2, 3, 4]), &mut ops);
    cache.saved.save(a, US, &[1, 2], &mut ops);
    cache.saved.save(a, US, &[1, 2, 3], &mut ops);
    ops.clear();
    cache.release_text(US, TextMark::of(&[1, 2, 3, 4]), &mut ops);
    let running = [run(SequenceId(2), US, &[1, 2, 9])].into_iter();
    let nothing: &[Token] = &[];
    cache.give_up_states((US, nothing), running, &mut ops);
    assert_eq!(
        ops,
        [KvOp::Release { sequence: a }, KvOp::Forget { state: 2 }]
    );
}

#[test]
fn takes_over_a_conversation_and_shares_a_common_beginning() {
    let mut cache = PrefixCache::new(2, Rollback::Free);
    let mut ops = Vec::new();
    let (a, b, c) = (SequenceId(1), SequenceId(2), SequenceId(3));
    cache.keep(stem(a, US, &[1, 2, 3, 4, 5, 6]), &mut ops);
    assert_eq!(
        cache
            .adopt(new(b, US, &[1, 2, 9, 9]), none(), &mut ops)
            .tokens,
        2
    );
    let longer = [1, 2, 3, 4, 5, 6, 7];
    assert_eq!(cache.adopt(new(c, US, &longer), none(), &mut ops).tokens, 6);
    let share = KvOp::Share {
        sequence: b,
        from: a,
        keep: 2,
    };
    let adopt = KvOp::Adopt {
        sequence: c,
        from: a,
        keep: 6,
    };
    assert_eq!(ops, [share, adopt]);
    assert_eq!(
        cache.adopt(new(b, US, &[1, 2, 3]), none(), &mut ops).tokens,
        0
    );
    // What still runs is shared, never taken.
    let running = [run(c, US, &[7, 8, 9])].into_iter();
    assert_eq!(
        cache
            .adopt(new(b, US, &[7, 8, 9]), running, &mut ops)
            .tokens,
        2
    );
    let share = KvOp::Share {
        sequence: b,
        from: c,
        keep: 2,
    };
    assert_eq!(ops.last(), Some(&share));
}

#[test]
fn what_another_tenant_sent_is_of_no_use() {
    let text = [1, 2, 3, 4, 5, 6];
    let (a, b) = (SequenceId(1), SequenceId(2));
    let (us, them) = (Tenant(7), Tenant(8));
    // Whether theirs is over or still runs, and whoever we are.
    for (us, them) in [(us, them), (US, them), (us, US)] {
        let mut ops = Vec::new();
        let mut cache = PrefixCache::new(2, Rollback::Free);
        cache.keep(stem(a, them, &text), &mut ops);
        assert_eq!(
            cache.admit(new(b, us, &text), none(), 99, &mut ops).tokens,
            0
        );
        let running = [run(a, them, &text)].into_iter();
        assert_eq!(
            cache.admit(new(b, us, &text), running, 99, &mut ops).tokens,
            0
        );
        assert!(ops.is_empty(), "{ops:?}");
        assert_eq!(
            cache
                .admit(new(b, them, &text), none(), 99, &mut ops)
                .tokens,
            5
        );
    }
}

#[test]
fn a_name_that_is_used_again_stands_for_nothing_old() {
    let a = SequenceId(1);
    let mut ops = Vec::new();
    let mut cache = PrefixCache::new(2, Rollback::Free);
    cache.keep(stem(a, US, &[1, 2, 3]), &mut ops);
    let release = KvOp::Release { sequence: a };
    assert_eq!(
        cache
            .admit(new(a, US, &[1, 2, 3]), none(), 99, &mut ops)
            .tokens,
        0
    );
    assert_eq!((ops, cache.cells()), (vec![release], 0));
}

#[test]
fn the_oldest_makes_room() {
    let mut cache = PrefixCache::new(9, Rollback::Free);
    let mut ops = Vec::new();
    for id in 0..3 {
        cache.keep(stem(SequenceId(id), US, &[0; 10]), &mut ops);
    }
    cache.shrink(20, &mut ops);
    let release = KvOp::Release {
        sequence: SequenceId(0),
    };
    assert_eq!(ops, [release]);
}

#[test]
fn a_sequence_of_which_nothing_was_decoded_takes_no_place() {
    let mut cache = PrefixCache::new(1, Rollback::Free);
    let mut ops = Vec::new();
    let (a, b) = (SequenceId(1), SequenceId(2));
    cache.keep(stem(a, US, &[1, 2, 3]), &mut ops);
    cache.keep(stem(b, US, &[]), &mut ops);
    assert_eq!(ops, [KvOp::Release { sequence: b }]);
    assert_eq!(cache.cells(), 3);
}

#[test]
fn a_model_with_one_state_per_sequence_goes_on_from_whole_stems_only() {
    let (a, b, c) = (SequenceId(1), SequenceId(2), SequenceId(3));
    let mut cache = PrefixCache::new(2, Rollback::Checkpoint);
    let mut ops = Vec::new();
    cache.keep(stem(a, US, &[1, 2, 3, 4]), &mut ops);
    let kept = Stem {
        rolled_back: true,
        ..stem(b, US, &[1, 2])
    };
    cache.keep(kept, &mut ops);
    // The longer one has a token that is not asked for, or asked for as the last one, whose
    // logits are needed.
    assert_eq!(
        cache.adopt(new(c, US, &[1, 9, 9]), none(), &mut ops).tokens,
        0
    );
    let reused = cache.adopt(new(c, US, &[1, 2, 3, 4]), none(), &mut ops);
    let expected = Reused {
        tokens: 2,
        rolled_back: true,
        branch: None,
    };
    assert_eq!(reused, expected);
    let reused = cache.adopt(new(c, US, &[1, 2, 3, 4, 5]), none(), &mut ops);
    assert_eq!((reused.tokens, reused.rolled_back), (4, false));
    let adopt = |from, keep| KvOp::Adopt {
        sequence: c,
        from,
        keep,
    };
    assert_eq!(ops, [adopt(b, 2), adopt(a, 4)]);
    // One that runs keeps its stem.
    let running = [run(a, US, &[7, 8])].into_iter();
    assert_eq!(
        cache
            .adopt(new(c, US, &[7, 8, 9]), running, &mut ops)
            .tokens,
        2
    );
    assert!(matches!(ops.last(), Some(KvOp::Share { keep: 2, .. })));
}

#[test]
fn a_saved_state_is_gone_on_from_where_no_whole_stem_spares_as_much() {
    let (a, b, c) = (SequenceId(1), SequenceId(2), SequenceId(3));
    let mut cache = PrefixCache::new(2, Rollback::Checkpoint);
    cache.set_state_bytes(Some(100));
    let mut ops = Vec::new();
    cache.saved.save(a, US, &[1, 2, 3], &mut ops);
    cache.keep(stem(a, US, &[1, 2, 3, 4, 5]), &mut ops);
    ops.clear();
    // Another answer to the same question, and its text parts from the first where no state is.
    let text = [1, 2, 3, 4, 8, 9];
    let reused = cache.admit(new(b, US, &text), none(), 99, &mut ops);
    assert_eq!((reused.tokens, reused.branch), (3, Some(4)));
    let resume = KvOp::Resume {
        sequence: b,
        from: a,
        keep: 3,
        state: 1,
    };
    assert_eq!(ops, [resume]);
    // All of the first text spares more, and costs nothing.
    ops.clear();
    let reused = cache.admit(new(c, US, &[1, 2, 3, 4, 5, 6]), none(), 99, &mut ops);
    assert_eq!((reused.tokens, reused.branch), (5, None));
    assert!(matches!(ops[..], [KvOp::Adopt { keep: 5, .. }]), "{ops:?}");
    // The new sequence has its tokens, and when that is gone nobody does.
    ops.clear();
    cache.admit(new(b, US, &[7, 7]), none(), 99, &mut ops);
    assert_eq!(ops, [KvOp::Forget { state: 1 }]);
}

#[test]
fn of_a_stem_that_was_rolled_back_the_cells_are_of_use_with_a_saved_state() {
    let (a, b) = (SequenceId(1), SequenceId(2));
    let mut cache = PrefixCache::new(2, Rollback::Bounded { rows: 2 });
    cache.set_state_bytes(Some(100));
    let mut ops = Vec::new();
    let rolled_back = RunningSequence {
        rolled_back: true,
        ..run(a, US, &[1, 2, 3])
    };
    let text = [1, 2, 3, 4];
    let admit = |cache: &mut PrefixCache, ops: &mut Vec<KvOp>| {
        let running = [rolled_back].into_iter();
        cache.admit(new(b, US, &text), running, 99, ops).tokens
    };
    assert_eq!(admit(&mut cache, &mut ops), 0);
    cache.saved.save(a, US, &[1, 2], &mut ops);
    assert_eq!(admit(&mut cache, &mut ops), 2);
    assert!(matches!(ops.last(), Some(KvOp::Resume { keep: 2, .. })));
}

#[test]
fn nothing_is_saved_of_a_model_whose_cells_can_be_taken_one_by_one() {
    let mut ops = Vec::new();
    for (slots, rollback) in [(2, Rollback::Free), (0, Rollback::Checkpoint)] {
        let mut cache = PrefixCache::new(slots, rollback);
        cache.set_state_bytes(Some(100));
        cache.saved.save(SequenceId(1), US, &[1], &mut ops);
    }
    assert!(ops.is_empty(), "{ops:?}");
}
