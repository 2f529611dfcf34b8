//! Whatever a target says, a drafter stays in one piece, within its bounds.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use card_core::cost::CostCurve;
use card_core::drafter::Drafter;
use card_core::forward::{Limits, Model, Rollback};
use card_core::protocol::{DraftInput, DraftPlan, DraftShare, Lanes};
use card_core::sampler::{Sampling, SamplingParams};
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_core::types::{SequenceId, Source, Tenant, TextMark, Token};
use proptest::prelude::*;

const VOCAB: usize = 23;
const LIMITS: Limits = Limits {
    context: 40,
    cells: 4000,
    rows: 12,
    leaves: 8,
    rollback: Rollback::Free,
};
/// Sequences at a time, whatever is asked for.
const MOST: usize = 64;

fn drafter(lanes: Lanes, rollback: Rollback) -> (Drafter, Synthetic) {
    let limits = Limits { rollback, ..LIMITS };
    let plan = DraftPlan {
        chain: None,
        branch: 3,
        max_depth: 6,
        cache_bytes: 1 << 13,
        prefix_slots: 2,
        lanes,
    };
    let drafter = Drafter::new(
        plan.config(Source::Draft, limits, VOCAB),
        CostCurve::from_points([(1, 2.0), (8, 4.0)]),
    );
    let model = Synthetic::new(SyntheticConfig {
        vocab: VOCAB,
        seed: 5,
        spread: 2.0,
        noise: 0.5,
        noise_seed: 9,
        limits,
    });
    (drafter, model)
}

/// A message, or a step of the model.
#[derive(Clone, Debug)]
enum DrafterEvent {
    Hears(DraftInput),
    Steps(u8),
}

fn tokens(most: usize) -> impl Strategy<Value = Vec<Token>> {
    let token = prop_oneof![60 => 0u32..VOCAB as u32, 1 => any::<u32>()];
    prop::collection::vec(token, 0..most)
}

fn events() -> impl Strategy<Value = Vec<DrafterEvent>> {
    // Mostly a few names, so that messages meet.
    let name = || prop_oneof![20 => 0u64..5, 1 => any::<u64>()].prop_map(SequenceId);
    let index = || prop_oneof![20 => 0u32..50, 1 => any::<u32>()];
    let open = (name(), tokens(50), index(), 0.0f32..2.0).prop_map(|(sequence, tokens, end, t)| {
        let params = SamplingParams {
            temperature: t,
            ..SamplingParams::default()
        };
        DraftInput::Open {
            sequence,
            tenant: Tenant::SHARED,
            tokens,
            params: params.checked().unwrap(),
            end,
            grammar: None,
        }
    });
    let commit =
        (name(), index(), tokens(50)).prop_map(|(sequence, from, tokens)| DraftInput::Commit {
            sequence,
            from,
            tokens,
        });
    let close = name().prop_map(|sequence| DraftInput::Close { sequence });
    let share = (any::<u32>(), prop_oneof![0u32..4, any::<u32>()])
        .prop_map(|(index, of)| DraftInput::Share(DraftShare { index, of }));
    let forget = tokens(50).prop_map(|text| DraftInput::Forget {
        tenant: Tenant::SHARED,
        text: TextMark::of(&text),
    });
    let event = prop_oneof![
        4 => open.prop_map(DrafterEvent::Hears),
        8 => commit.prop_map(DrafterEvent::Hears),
        2 => close.prop_map(DrafterEvent::Hears),
        1 => share.prop_map(DrafterEvent::Hears),
        1 => forget.prop_map(DrafterEvent::Hears),
        6 => (1u8..5).prop_map(DrafterEvent::Steps),
    ];
    prop::collection::vec(event, 1..80)
}

/// One step of the model, which checks what it is asked. `false` if there is nothing to do.
fn step(drafter: &mut Drafter, model: &mut Synthetic) -> bool {
    let now = Duration::ZERO;
    let mut ops = Vec::new();
    drafter.take_ops(&mut ops);
    for op in ops {
        model.apply(op).unwrap();
    }
    let _ = drafter.outlook();
    let Some(forward) = drafter.poll(now) else {
        return false;
    };
    assert!(forward.rows.len() <= LIMITS.rows);
    model.forward(&forward).unwrap();
    let drafted = drafter.complete(&forward, &*model, now);
    let computed = forward.rows.len().max(forward.pad_to);
    assert_eq!(drafted.rows.get() as usize, computed);
    assert!(computed <= LIMITS.rows);
    for e in &drafted.expansions {
        assert!(e.children.iter().all(|c| (c.0 as usize) < VOCAB));
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_sequence_of_messages_breaks_a_drafter_or_its_bounds(
        events in events(),
        shared in any::<bool>(),
        recurrent in any::<bool>(),
    ) {
        let lanes = if shared { Lanes::Shared } else { Lanes::Disjoint };
        let rollback = if recurrent { Rollback::Checkpoint } else { Rollback::Free };
        let (mut drafter, mut model) = drafter(lanes, rollback);
        for event in events {
            match event {
                DrafterEvent::Hears(input) => drafter.handle(input),
                DrafterEvent::Steps(steps) => {
                    for _ in 0..steps {
                        if !step(&mut drafter, &mut model) {
                            break;
                        }
                    }
                }
            }
            prop_assert!(drafter.running() <= MOST);
            let most = (drafter.running() + 2) * LIMITS.context as usize;
            prop_assert!(drafter.held() <= most);
        }
        // It still drafts for who makes sense.
        for input in [
            DraftInput::Share(DraftShare::WHOLE),
            DraftInput::Close { sequence: SequenceId(1) },
            open(1, &[1, 2, 3]),
            DraftInput::Commit { sequence: SequenceId(1), from: 3, tokens: vec![4] },
        ] {
            drafter.handle(input);
        }
        let mut steps = 0;
        while steps < 200 && step(&mut drafter, &mut model) {
            steps += 1;
        }
        prop_assert!(steps > 0);
    }
}

fn open(sequence: u64, tokens: &[Token]) -> DraftInput {
    DraftInput::Open {
        sequence: SequenceId(sequence),
        tenant: Tenant::SHARED,
        tokens: tokens.to_vec(),
        params: Sampling::default(),
        end: 40,
        grammar: None,
    }
}

fn commit(sequence: u64, from: u32, tokens: &[Token]) -> DraftInput {
    DraftInput::Commit {
        sequence: SequenceId(sequence),
        from,
        tokens: tokens.to_vec(),
    }
}

#[test]
fn sequences_are_bounded_in_number_and_those_open_stay() {
    let (mut drafter, _) = drafter(Lanes::Disjoint, Rollback::Free);
    for sequence in 0..1000 {
        drafter.handle(open(sequence, &[1, 2, 3]));
    }
    assert_eq!(drafter.running(), MOST);
    drafter.handle(commit(0, 3, &[4, 5]));
    assert_eq!(drafter.held(), 3 * MOST + 2);
    // Names that come and go leave nothing behind.
    for sequence in 0..1000 {
        drafter.handle(DraftInput::Close {
            sequence: SequenceId(sequence),
        });
    }
    assert_eq!(drafter.running(), 0);
}

#[test]
fn a_sequence_that_does_not_fit_the_model_is_not_opened() {
    let (mut drafter, _) = drafter(Lanes::Disjoint, Rollback::Free);
    drafter.handle(open(1, &[]));
    drafter.handle(open(2, &[1; LIMITS.context as usize]));
    drafter.handle(open(3, &[1, VOCAB as Token]));
    assert_eq!((drafter.running(), drafter.held()), (0, 0));
    drafter.handle(commit(1, 0, &[1, 2, 3]));
    assert_eq!(drafter.held(), 0);
}

#[test]
fn what_was_written_goes_on_from_what_is_known_or_counts_for_nothing() {
    let (mut drafter, _) = drafter(Lanes::Disjoint, Rollback::Free);
    drafter.handle(open(1, &[1, 2, 3]));
    for from in [4, 5, u32::MAX] {
        drafter.handle(commit(1, from, &[7]));
    }
    // Nothing new, twice.
    drafter.handle(commit(1, 0, &[1, 2, 3]));
    drafter.handle(commit(1, 3, &[]));
    assert_eq!(drafter.held(), 3);
    drafter.handle(commit(1, 2, &[3, 4]));
    assert_eq!(drafter.held(), 4);
    // It outgrows the model.
    drafter.handle(commit(1, 4, &[1; 40]));
    assert_eq!(drafter.running(), 0);
}

#[test]
fn a_plan_beyond_reason_is_cut_to_it() {
    let plan = DraftPlan {
        chain: None,
        branch: usize::MAX,
        max_depth: u32::MAX,
        cache_bytes: usize::MAX,
        prefix_slots: usize::MAX,
        lanes: Lanes::Disjoint,
    };
    let config = plan.config(Source::Draft, LIMITS, VOCAB);
    assert!(config.branch <= 64 && config.prefix_slots <= 256);
    assert!(config.cache_bytes <= 64 << 20);
}
