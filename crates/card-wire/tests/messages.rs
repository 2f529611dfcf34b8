//! What can be built arrives as it was; what cannot be is refused, and one bad message does
//! not end the link for all.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use card_core::protocol::{DraftInput, DraftShare, Drafted, Expansion};
use card_core::sampler::{Bias, LogitBias, Sampling, SamplingParams};
use card_core::types::{Prob, Rows, SequenceId, Source, Tenant, TextMark};
use card_wire::proto::{self, from_drafter, to_drafter, token_bias};
use card_wire::{
    Intake, LONGEST, MOST_BYTES_FROM_DRAFTER, MOST_BYTES_TO_DRAFTER, MOST_CHILDREN, MOST_CONTEXT,
    MOST_EXPANSIONS, MOST_PATH, Refusal, SharedVocabulary, drafted_in, drafted_out, input_out,
    nothing_drafted,
};
use proptest::prelude::*;
use prost::Message;

const VOCABULARY: SharedVocabulary = SharedVocabulary {
    fingerprint: 7,
    tokens: 1000,
};

fn intake() -> Intake {
    Intake::new(VOCABULARY, 64, 2)
}

/// Over the wire, as bytes.
fn sent(message: &proto::ToDrafter) -> proto::ToDrafter {
    proto::ToDrafter::decode(&*message.encode_to_vec()).unwrap()
}

fn sent_back(message: &proto::FromDrafter) -> proto::FromDrafter {
    proto::FromDrafter::decode(&*message.encode_to_vec()).unwrap()
}

fn open_of(params: Sampling) -> DraftInput {
    DraftInput::Open {
        sequence: SequenceId(7),
        tenant: Tenant::SHARED,
        tokens: vec![1, 2, 3],
        params,
        end: 40,
        grammar: None,
    }
}

/// `None` bans the token.
fn biases(of: impl IntoIterator<Item = (u32, Option<f32>)>) -> LogitBias {
    let bias = |(token, shift): (u32, Option<f32>)| {
        let bias = match shift {
            Some(shift) => Bias::add(shift).unwrap(),
            None => Bias::Ban,
        };
        (token, bias)
    };
    LogitBias::new(of.into_iter().map(bias)).unwrap()
}

/// Tokens and what is added to their logits, in the order of tokens.
fn shifts(bias: &LogitBias) -> Vec<(u32, f32)> {
    let mut all: Vec<_> = bias.iter().map(|(t, b)| (t, b.shift())).collect();
    all.sort_by_key(|(token, _)| *token);
    all
}

fn same(a: &SamplingParams, b: &SamplingParams) {
    let SamplingParams {
        temperature,
        top_k,
        top_p,
        min_p,
        repeat_penalty,
        frequency_penalty,
        presence_penalty,
        penalty_window,
        generated_from,
        logit_bias,
        seed,
    } = a;
    assert_eq!(*temperature, b.temperature);
    assert_eq!(*top_k, b.top_k);
    assert_eq!(*top_p, b.top_p);
    assert_eq!(*min_p, b.min_p);
    assert_eq!(*repeat_penalty, b.repeat_penalty);
    assert_eq!(*frequency_penalty, b.frequency_penalty);
    assert_eq!(*presence_penalty, b.presence_penalty);
    assert_eq!(*penalty_window, b.penalty_window);
    assert_eq!(*generated_from, b.generated_from);
    assert_eq!(shifts(logit_bias), shifts(&b.logit_bias));
    assert_eq!(*seed, b.seed);
}

fn settings() -> impl Strategy<Value = Sampling> {
    let shift = prop_oneof![
        Just(None),
        Just(Some(-100.0f32)),
        (-1e4f32..=1e4).prop_map(Some)
    ];
    let bias = prop::collection::vec((any::<u32>(), shift), 0..40);
    let filters = (0.0f32..=100.0, any::<u32>(), 0.0f32..=1.0, 0.0f32..=1.0);
    let penalties = (
        0.0f32..=100.0,
        -100.0f32..=100.0,
        -100.0f32..=100.0,
        any::<u32>(),
        any::<u32>(),
    );
    (filters, penalties, bias, any::<u64>()).prop_filter_map(
        "cannot be built",
        |(filters, penalties, bias, seed)| {
            let (temperature, top_k, top_p, min_p) = filters;
            let (
                repeat_penalty,
                frequency_penalty,
                presence_penalty,
                penalty_window,
                generated_from,
            ) = penalties;
            let params = SamplingParams {
                temperature,
                top_k,
                top_p,
                min_p,
                repeat_penalty,
                frequency_penalty,
                presence_penalty,
                penalty_window,
                generated_from,
                logit_bias: biases(bias),
                seed,
            };
            params.checked().ok()
        },
    )
}

/// Some of it more than the other side takes.
fn drafts() -> impl Strategy<Value = Drafted> {
    let child = (0u32..1000, 0.0f32..=1.0);
    let expansion = (
        any::<u64>(),
        any::<u32>(),
        prop::collection::vec(0u32..1000, 0..300),
        prop::collection::vec(child, 0..300),
    );
    let expansion = expansion.prop_map(|(sequence, root, path, children)| Expansion {
        sequence: SequenceId(sequence),
        root,
        path,
        children: children
            .into_iter()
            .map(|(t, p)| (t, Prob::new(p).unwrap()))
            .collect(),
    });
    let expansions = prop::collection::vec(expansion, 0..6);
    (expansions, 1u32..=Rows::MOST, any::<u64>(), any::<u64>()).prop_map(
        |(expansions, rows, started, elapsed)| Drafted {
            source: Source::Draft,
            expansions,
            rows: Rows::new(rows).unwrap(),
            started: Duration::from_micros(started),
            elapsed: Duration::from_micros(elapsed),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn settings_that_can_be_built_arrive_as_they_were(params in settings()) {
        let message = sent(&input_out(open_of(params.clone())));
        let Ok(Some(DraftInput::Open { params: arrived, .. })) = intake().take(message) else {
            panic!("{params:?} did not arrive");
        };
        same(&params, &arrived);
    }

    #[test]
    fn what_a_drafter_sends_is_taken(drafted in drafts()) {
        let message = sent_back(&drafted_out(&drafted));
        let arrived = drafted_in(message, VOCABULARY).unwrap();
        prop_assert_eq!(arrived.rows.get(), drafted.rows.get());
        prop_assert!(arrived.elapsed <= LONGEST);
        let fits = |e: &&Expansion| e.path.len() <= MOST_PATH;
        let kept: Vec<_> = drafted.expansions.iter().filter(fits).collect();
        prop_assert_eq!(kept.len(), arrived.expansions.len());
        for (before, after) in kept.into_iter().zip(&arrived.expansions) {
            prop_assert_eq!(&before.path, &after.path);
            let count = before.children.len().min(MOST_CHILDREN);
            prop_assert_eq!(&before.children[..count], &after.children[..]);
        }
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = proto::ToDrafter::decode(&*bytes) {
            let broken = matches!(message.what, None | Some(to_drafter::What::Welcome(_)));
            let taken = intake().take(message);
            prop_assert_eq!(matches!(taken, Err(Refusal::Link(_))), broken);
        }
        if let Ok(message) = proto::FromDrafter::decode(&*bytes) {
            let broken = matches!(message.what, None | Some(from_drafter::What::Hello(_)));
            let taken = drafted_in(message, VOCABULARY);
            prop_assert_eq!(matches!(taken, Err(Refusal::Link(_))), broken);
        }
    }
}

#[test]
fn a_ban_is_not_a_number_and_arrives() {
    let params = SamplingParams {
        logit_bias: biases([(5, None), (6, Some(-100.0)), (7, Some(1e4))]),
        ..SamplingParams::default()
    };
    let params = params.checked().unwrap();
    let message = sent(&input_out(open_of(params.clone())));
    let Ok(Some(DraftInput::Open {
        params: arrived, ..
    })) = intake().take(message)
    else {
        panic!("it did not arrive");
    };
    same(&params, &arrived);
}

#[test]
fn messages_arrive_as_they_were() {
    let mut intake = intake();
    let inputs = [
        open_of(Sampling::default()),
        DraftInput::Commit {
            sequence: SequenceId(7),
            from: 3,
            tokens: vec![9],
        },
        DraftInput::Share(DraftShare { index: 1, of: 2 }),
        DraftInput::Forget {
            tenant: Tenant::SHARED,
            text: TextMark::of(&[1, 2, 3]),
        },
        DraftInput::Close {
            sequence: SequenceId(7),
        },
    ];
    for input in inputs {
        let shown = format!("{input:?}");
        let arrived = intake.take(sent(&input_out(input))).unwrap().unwrap();
        assert_eq!(format!("{arrived:?}"), shown);
    }
}

fn to_drafter(what: to_drafter::What) -> proto::ToDrafter {
    proto::ToDrafter { what: Some(what) }
}

/// An open of sequence 1 that is taken, but for what `change` does.
fn odd_open(change: impl FnOnce(&mut proto::Open)) -> proto::ToDrafter {
    let message = input_out(DraftInput::Open {
        sequence: SequenceId(1),
        tenant: Tenant::SHARED,
        tokens: vec![1],
        params: Sampling::default(),
        end: 4,
        grammar: None,
    });
    let Some(to_drafter::What::Open(mut open)) = message.what else {
        panic!("not an open");
    };
    change(&mut open);
    to_drafter(to_drafter::What::Open(open))
}

fn odd_settings(change: impl FnOnce(&mut proto::Sampling)) -> proto::ToDrafter {
    odd_open(|open| change(open.sampling.as_mut().unwrap()))
}

fn odd_bias(bias: Option<token_bias::Bias>) -> proto::ToDrafter {
    odd_settings(|s| s.logit_bias.push(proto::TokenBias { token: 5, bias }))
}

#[test]
fn a_message_that_makes_no_sense_is_left_out_and_the_link_goes_on() {
    use token_bias::Bias::{Add, Ban};
    let share = |index, of| to_drafter(to_drafter::What::Share(proto::Share { index, of }));
    let odd = [
        odd_open(|o| o.sampling = None),
        odd_open(|o| o.tokens.clear()),
        odd_open(|o| o.tokens = vec![1; 65]),
        odd_open(|o| o.tokens = vec![1000]),
        odd_settings(|s| s.temperature = f32::NAN),
        odd_settings(|s| s.temperature = f32::INFINITY),
        odd_settings(|s| s.temperature = -1.0),
        odd_settings(|s| s.top_p = 0.0),
        odd_settings(|s| s.min_p = 2.0),
        odd_settings(|s| s.repeat_penalty = 0.0),
        odd_settings(|s| s.frequency_penalty = f32::NAN),
        odd_settings(|s| s.presence_penalty = 1e9),
        odd_bias(None),
        odd_bias(Some(Ban(false))),
        odd_bias(Some(Add(f32::NEG_INFINITY))),
        odd_bias(Some(Add(f32::NAN))),
        odd_bias(Some(Add(1e9))),
        odd_settings(|s| {
            let bias = |token| proto::TokenBias {
                token,
                bias: Some(Ban(true)),
            };
            s.logit_bias = (0..=LogitBias::MOST as u32).map(bias).collect();
        }),
        share(0, 0),
        share(2, 2),
        share(0, u32::MAX),
    ];
    let mut intake = intake();
    for message in odd {
        let shown = format!("{message:?}");
        let refused = intake.take(message);
        assert!(
            matches!(refused, Err(Refusal::Message(_))),
            "{refused:?} for {}",
            &shown[..shown.len().min(300)]
        );
    }
    // Others go on.
    let good = intake.take(odd_open(|_| {}));
    assert!(matches!(good, Ok(Some(_))), "{good:?}");
}

#[test]
fn only_a_broken_protocol_ends_the_link() {
    let welcome = to_drafter(to_drafter::What::Welcome(proto::Welcome::default()));
    for message in [welcome, proto::ToDrafter { what: None }] {
        let refused = intake().take(message);
        assert!(matches!(refused, Err(Refusal::Link(_))), "{refused:?}");
    }
    let hello = proto::FromDrafter {
        what: Some(from_drafter::What::Hello(proto::Hello::default())),
    };
    for message in [hello, proto::FromDrafter { what: None }] {
        let refused = drafted_in(message, VOCABULARY);
        assert!(matches!(refused, Err(Refusal::Link(_))), "{refused:?}");
    }
}

#[test]
fn a_target_gets_the_sequences_it_was_granted() {
    let mut intake = intake();
    let mut taken = 0;
    for id in 0..100 {
        taken += u32::from(intake.take(odd_open(|o| o.sequence = id)).is_ok());
    }
    // Twice as many as run, for those that close late.
    assert_eq!(taken, 4);
    let again = intake.take(odd_open(|o| o.sequence = 0));
    assert!(matches!(again, Err(Refusal::Message(_))), "{again:?}");
    // What is about one that was not taken is left out without a word.
    let commit = |sequence, from, tokens| {
        to_drafter(to_drafter::What::Commit(proto::Commit {
            sequence,
            from,
            tokens,
        }))
    };
    assert!(matches!(intake.take(commit(50, 1, vec![2])), Ok(None)));
    let close = |sequence| to_drafter(to_drafter::What::Close(proto::Close { sequence }));
    assert!(matches!(intake.take(close(50)), Ok(None)));
    // A place that is given back is free.
    assert!(matches!(
        intake.take(close(0)),
        Ok(Some(DraftInput::Close { .. }))
    ));
    assert!(intake.take(odd_open(|o| o.sequence = 50)).is_ok());
}

#[test]
fn a_sequence_does_not_grow_past_what_was_granted() {
    let mut intake = intake();
    intake.take(odd_open(|_| {})).unwrap();
    let commit = |from, tokens| {
        to_drafter(to_drafter::What::Commit(proto::Commit {
            sequence: 1,
            from,
            tokens,
        }))
    };
    assert!(matches!(intake.take(commit(1, vec![2; 60])), Ok(Some(_))));
    // With a gap, or a token that is none: left out.
    for odd in [commit(70, vec![2]), commit(61, vec![1000])] {
        assert!(matches!(intake.take(odd), Err(Refusal::Message(_))));
    }
    // Too long to be followed: it is closed here, and what comes later is left out.
    let closed = intake.take(commit(61, vec![2; 10]));
    assert!(
        matches!(closed, Ok(Some(DraftInput::Close { .. }))),
        "{closed:?}"
    );
    assert!(matches!(intake.take(commit(71, vec![2])), Ok(None)));
    // Its length is never added up beyond what numbers hold.
    intake.take(odd_open(|_| {})).unwrap();
    let far = intake.take(commit(u32::MAX, vec![2]));
    assert!(matches!(far, Err(Refusal::Message(_))), "{far:?}");
}

#[test]
fn the_largest_legal_messages_are_below_the_limits_of_both_sides() {
    let many = (0..LogitBias::MOST as u32).map(|i| (u32::MAX - i, Some(-0.1)));
    let params = SamplingParams {
        logit_bias: biases(many),
        seed: u64::MAX,
        temperature: 0.7,
        ..SamplingParams::default()
    };
    let open = input_out(DraftInput::Open {
        sequence: SequenceId(u64::MAX),
        tenant: Tenant::SHARED,
        tokens: vec![u32::MAX; MOST_CONTEXT as usize],
        params: params.checked().unwrap(),
        end: u32::MAX,
        grammar: None,
    });
    assert!(open.encoded_len() <= MOST_BYTES_TO_DRAFTER);
    let deep = Expansion {
        sequence: SequenceId(u64::MAX),
        root: u32::MAX,
        path: vec![u32::MAX; MOST_PATH],
        children: vec![(u32::MAX, Prob::ONE); 32],
    };
    let drafted = Drafted {
        source: Source::Draft,
        expansions: vec![deep; 64],
        rows: Rows::new(64).unwrap(),
        started: Duration::from_secs(u32::MAX.into()),
        elapsed: LONGEST,
    };
    assert!(drafted_out(&drafted).encoded_len() <= MOST_BYTES_FROM_DRAFTER / 4);
}

fn odd_drafts(change: impl FnOnce(&mut proto::Drafted)) -> proto::FromDrafter {
    let mut drafted = proto::Drafted {
        expansions: vec![proto::Expansion {
            sequence: 1,
            root: 2,
            path: vec![3],
            tokens: vec![4, 5],
            probs: vec![0.5, 0.25],
        }],
        rows: 1,
        started_us: 5,
        elapsed_us: 9,
    };
    change(&mut drafted);
    proto::FromDrafter {
        what: Some(from_drafter::What::Drafted(drafted)),
    }
}

#[test]
fn a_drafters_word_is_believed_inside_its_range_only() {
    assert!(drafted_in(odd_drafts(|_| {}), VOCABULARY).is_ok());
    let silent = odd_drafts(|d| {
        d.expansions[0].tokens.clear();
        d.expansions[0].probs.clear();
    });
    let silent = drafted_in(silent, VOCABULARY).unwrap();
    assert!(silent.expansions[0].children.is_empty());
    assert_eq!(silent.expansions[0].path, [3]);
    let nothing = drafted_in(nothing_drafted(), VOCABULARY).unwrap();
    assert!(nothing.expansions.is_empty() && nothing.elapsed.is_zero());
    let odd = [
        odd_drafts(|d| d.rows = 0),
        odd_drafts(|d| d.rows = u32::MAX),
        odd_drafts(|d| d.elapsed_us = u64::MAX),
        odd_drafts(|d| d.elapsed_us = 60_000_001),
        odd_drafts(|d| d.expansions[0].probs = vec![0.5]),
        odd_drafts(|d| d.expansions[0].probs[0] = f32::NAN),
        odd_drafts(|d| d.expansions[0].probs[1] = f32::INFINITY),
        odd_drafts(|d| d.expansions[0].probs[1] = -0.5),
        odd_drafts(|d| d.expansions[0].probs[1] = 1.5),
        odd_drafts(|d| d.expansions[0].tokens[1] = 1000),
        odd_drafts(|d| d.expansions[0].path[0] = u32::MAX),
        odd_drafts(|d| d.expansions[0].path = vec![1; MOST_PATH + 1]),
        odd_drafts(|d| d.expansions[0].tokens.clear()),
        odd_drafts(|d| {
            d.expansions[0].tokens = vec![1; MOST_CHILDREN + 1];
            d.expansions[0].probs = vec![0.1; MOST_CHILDREN + 1];
        }),
        odd_drafts(|d| d.expansions = vec![d.expansions[0].clone(); MOST_EXPANSIONS + 1]),
    ];
    for message in odd {
        let shown = format!("{message:?}");
        let refused = drafted_in(message, VOCABULARY);
        assert!(
            matches!(refused, Err(Refusal::Message(_))),
            "{refused:?} for {}",
            &shown[..shown.len().min(300)]
        );
    }
}
