//! Maps of any two vocabularies, and what they make of logits.

use card_core::translation::{Roles, TokenKind, TokenMap, Vocabulary};
use card_core::types::Token;
use proptest::prelude::*;

use crate::letters::{self, DRAFT_BEGIN, TARGET_END, TARGET_OTHER};

#[test]
fn a_token_that_alone_goes_on_as_the_draft_model_says_is_proposed() {
    let map = letters::map();
    let mut row = [f32::NEG_INFINITY; 15];
    let mut logits = [0.0; 10];
    logits[8] = 5.0;
    map.scatter(&logits, &mut row);
    assert_eq!(row[2], 5.0, "\"cd\" begins with \"c\"");
    assert_eq!(row[6], 5.0, "\"cda\" alone goes on as \"cd\"");
    assert_eq!(
        row[5],
        f32::NEG_INFINITY,
        "\"bc\" goes on as \"b\", which both have"
    );
    assert_eq!(row[TARGET_END as usize], 0.0, "the end is one by its role");
    assert_eq!(map.pieces(TARGET_OTHER), Some(&[map.filler()][..]));
    assert_eq!(map.begin(), Some(DRAFT_BEGIN));
}

fn kinds() -> impl Strategy<Value = TokenKind> {
    prop_oneof![
        6 => Just(TokenKind::Text),
        1 => Just(TokenKind::Byte),
        1 => Just(TokenKind::Control),
    ]
}

fn vocabularies(longest: usize) -> impl Strategy<Value = Vec<(Vec<u8>, TokenKind)>> {
    let letters = prop_oneof![4 => Just(b'a'), 3 => Just(b'b'), 1 => Just(b'c')];
    let text = prop::collection::vec(letters, 0..=longest);
    prop::collection::vec((text, kinds()), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn pieces_spell_their_token_and_what_both_have_is_a_bijection(
        target in vocabularies(5),
        draft in vocabularies(3),
        ends in proptest::option::of((0usize..30, 0usize..30)),
    ) {
        let role = |of: usize, tokens: usize| Roles {
            eot: Some((of % tokens) as Token),
            ..Roles::default()
        };
        let theirs = ends.map_or(Roles::default(), |e| role(e.0, target.len()));
        let own = ends.map_or(Roles::default(), |e| role(e.1, draft.len()));
        let target = Vocabulary::new(target, theirs).unwrap();
        let draft = Vocabulary::new(draft, own).unwrap();
        let Ok(map) = TokenMap::new(&target, &draft) else {
            return Ok(());
        };
        let is_text = |vocabulary: &Vocabulary, token| {
            let control = vocabulary.kind(token) == Some(TokenKind::Control);
            !control && !vocabulary.bytes(token).is_empty()
        };
        let mut exact = 0;
        for token in 0..target.len() as Token {
            let pieces = map.pieces(token).unwrap();
            prop_assert!(!pieces.is_empty());
            prop_assert!(pieces.iter().all(|&p| (p as usize) < draft.len()));
            if let Some(same) = map.draft_of(token) {
                exact += 1;
                prop_assert_eq!(pieces, &[same][..]);
                prop_assert_eq!(map.target_of(same), Some(token));
                prop_assert_eq!(is_text(&target, token), is_text(&draft, same));
            }
            if is_text(&target, token) && pieces != [map.filler()] {
                let spelt: Vec<u8> = pieces.iter().flat_map(|&p| draft.bytes(p)).copied().collect();
                prop_assert_eq!(&spelt[..], target.bytes(token));
                prop_assert!(pieces.iter().all(|&p| is_text(&draft, p)));
            }
        }
        let mut back = 0;
        for token in 0..draft.len() as Token {
            if let Some(same) = map.target_of(token) {
                back += 1;
                prop_assert_eq!(map.draft_of(same), Some(token));
                prop_assert!(!is_text(&draft, token) || draft.bytes(token) == target.bytes(same));
            }
        }
        prop_assert_eq!(exact, back);
        let coverage = map.coverage();
        prop_assert!(coverage.exact + coverage.spelled <= coverage.tokens);
        prop_assert!((0.0..=1.0).contains(&coverage.typical_exact));
        prop_assert!(coverage.pieces_per_token >= 1.0);
        prop_assert!(map.proposable() >= exact);
    }
}
