//! The translated model by itself: what it refuses, what it takes back, what it holds.

use card_core::forward::{Forward, KvCell, KvOp, Limits, Logits, Model, ModelError, Row};
use card_core::translation::{TokenMap, Translated, TranslationError};
use card_core::types::{SequenceId, Token};
use proptest::prelude::*;

use crate::letters::{DRAFT, LIMITS, Letters, TARGET, map, say, spell, synthetic};
use crate::texts::Texts;

#[test]
fn a_map_of_another_model_is_refused() {
    let few = synthetic(DRAFT.len() - 1, LIMITS);
    let refused = Translated::new(Box::new(few), map()).map(|_| ());
    let expected = TranslationError::OtherVocabulary {
        model: 9,
        vocabulary: 10,
    };
    assert_eq!(refused, Err(expected));
    // A model may be padded, and may be one of any kind.
    let padded: Box<dyn Model + Send> = Box::new(synthetic(DRAFT.len() + 6, LIMITS));
    let translated = Translated::new(padded, map()).unwrap();
    let mut model: Box<dyn Model + Send> = Box::new(translated);
    assert_eq!(model.vocab(), TARGET.len());
    model
        .forward(&Forward::chain(SequenceId(1), 0, &[6, 4], 0))
        .unwrap();
    assert_eq!(model.row(1).len(), TARGET.len());
}

/// A translated model whose draft model fails after so many forwards of two rows each.
fn failing(after: usize, error: ModelError) -> Translated<Letters> {
    let limits = Limits { rows: 2, ..LIMITS };
    let mut inner = Letters::new(DRAFT, limits);
    inner.failure = Some((after, error));
    Translated::new(Box::new(inner), map()).unwrap()
}

#[test]
fn a_forward_that_finds_no_room_leaves_the_cache_as_it_was() {
    let forward = Forward::chain(SequenceId(1), 0, &[0, 1, 2], 0);
    let mut expected = Translated::new(Box::new(Letters::new(DRAFT, LIMITS)), map()).unwrap();
    expected.forward(&forward).unwrap();

    let full = || ModelError::Full {
        model: "draft".into(),
    };
    let mut model = failing(0, full());
    let error = model.forward(&forward).unwrap_err();
    assert!(matches!(error, ModelError::Full { .. }), "{error}");
    assert_eq!(model.tokens(), 0);
    model.forward(&forward).unwrap();
    assert_eq!(model.row(2), expected.row(2));

    // A part was decoded: that the cache is as before cannot be said.
    let mut model = failing(1, full());
    let error = model.forward(&forward).unwrap_err();
    assert!(matches!(error, ModelError::Failed(_)), "{error}");
    model.reset().unwrap();
    model.forward(&forward).unwrap();
    assert_eq!(model.row(2), expected.row(2));
    assert_eq!(model.tokens(), 3);
}

#[test]
fn a_missing_id_is_told_as_such_only_while_nothing_was_decoded() {
    let forward = Forward::chain(SequenceId(1), 0, &[0, 1, 2], 0);
    let ids = || ModelError::Ids {
        model: "draft".into(),
        sequence: SequenceId(1),
    };
    let error = failing(0, ids()).forward(&forward).unwrap_err();
    assert!(matches!(error, ModelError::Ids { .. }), "{error}");
    let error = failing(1, ids()).forward(&forward).unwrap_err();
    assert!(matches!(error, ModelError::Failed(_)), "{error}");
}

#[test]
fn rows_that_cannot_be_are_errors() {
    let mut model = Translated::new(Box::new(Letters::new(DRAFT, LIMITS)), map()).unwrap();
    for (at, token) in [(0, 15), (0, u32::MAX), (3, 1)] {
        let forward = Forward::chain(SequenceId(1), at, &[token], 0);
        assert!(model.forward(&forward).is_err(), "{token} at {at}");
    }
    let mut twice = Forward::chain(SequenceId(1), 0, &[1, 2], 0);
    twice.rows[1].cell = 1;
    assert!(model.forward(&twice).is_err());
    assert_eq!(model.tokens(), 0);
    model
        .forward(&Forward::chain(SequenceId(1), 0, &[1], 0))
        .unwrap();
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        let step = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = step.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len())).copied()
    }
}

/// Rows that follow what is there, or each other.
fn some_rows(dice: &mut Dice, texts: &Texts, next: &mut KvCell) -> Forward {
    let mut texts = texts.clone();
    let mut forward = Forward::default();
    for _ in 0..=dice.below(5) {
        let sequence = SequenceId(dice.below(6) as u64);
        let text = texts.sequences.entry(sequence).or_default();
        let mut parents: Vec<_> = text.cells.keys().copied().map(Some).collect();
        parents.push(None);
        let parent = dice.pick(&parents).unwrap_or_default();
        let row = Row {
            sequence,
            token: dice.below(TARGET.len()) as Token,
            position: text.up_to(parent).len() as u32,
            cell: *next,
            parent,
            logits: dice.below(4) > 0,
        };
        *next += 1;
        texts.decode(&row);
        forward.rows.push(row);
    }
    forward
}

/// An operation that can be, if the dice find one.
fn some_op(dice: &mut Dice, texts: &Texts) -> Option<KvOp> {
    let known: Vec<SequenceId> = texts.sequences.keys().copied().collect();
    let sequence = dice.pick(&known)?;
    let text = &texts.sequences[&sequence];
    let cells: Vec<KvCell> = text.cells.keys().copied().collect();
    let keep = dice.below(text.stem.len() + 1) as u32;
    let mut names = (0..6).map(SequenceId);
    let new = names.find(|name| !texts.sequences.contains_key(name));
    Some(match dice.below(9) {
        0 => KvOp::Prune { sequence },
        1 => KvOp::Release { sequence },
        2 => KvOp::Share {
            sequence: new?,
            from: sequence,
            keep,
        },
        3 => KvOp::Adopt {
            sequence: new?,
            from: sequence,
            keep,
        },
        _ => KvOp::Commit {
            sequence,
            tip: dice.pick(&cells)?,
            keep_descendants: dice.below(2) == 0,
        },
    })
}

/// The draft tokens of a text of the target's.
fn read(map: &TokenMap, text: &[Token]) -> Vec<Token> {
    let pieces = text.iter().flat_map(|&t| map.pieces(t).unwrap());
    let pieces: Vec<Token> = pieces.copied().collect();
    let begins = pieces.first() == map.begin().as_ref();
    let begin = map.begin().filter(|_| !begins);
    begin.into_iter().chain(pieces).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_draft_model_holds_the_text_whatever_is_done(
        seed in any::<u64>(),
        context in 3u32..60,
        rows in 1usize..6,
    ) {
        let limits = Limits { context, rows, ..LIMITS };
        let map = map();
        let inner = Box::new(Letters::new(DRAFT, limits));
        let mut model = Translated::new(inner, map.clone()).unwrap();
        let (mut texts, mut dice, mut next) = (Texts::default(), Dice(seed), 1);
        for _ in 0..60 {
            if dice.below(2) == 0 {
                let forward = some_rows(&mut dice, &texts, &mut next);
                model.forward(&forward).unwrap();
                for (i, row) in forward.rows.iter().enumerate() {
                    let read = read(&map, &texts.decode(row));
                    let mut expected = vec![f32::NEG_INFINITY; TARGET.len()];
                    if read.len() <= context as usize {
                        map.scatter(&say(DRAFT, &spell(DRAFT, &read)), &mut expected);
                    }
                    let expected = if row.logits { &expected[..] } else { &[] };
                    prop_assert_eq!(model.row(i), expected);
                }
            } else if let Some(op) = some_op(&mut dice, &texts) {
                model.apply(op).unwrap();
                texts.apply(op);
            }
            prop_assert_eq!(model.tokens(), texts.tokens());
        }
        for sequence in (0..6).map(SequenceId) {
            model.apply(KvOp::Release { sequence }).unwrap();
        }
        prop_assert_eq!(model.tokens(), 0);
        prop_assert_eq!(model.inner().texts.tokens(), 0);
    }
}
