//! A drafter of another vocabulary: the text is plain decoding's, drafts are accepted, and the
//! draft model's KV cache holds what it should, whatever is asked.

#![allow(clippy::unwrap_used)]

mod letters;
mod map;
mod model;
mod never_slower;
#[path = "../common/paced.rs"]
mod paced;
mod play;
mod texts;

use card_core::forward::Limits;
use card_core::policy::Mode;
use card_core::types::Token;
use letters::{DRAFT, LIMITS, Letters, synthetic};
use play::{DraftSide, Play, plainly, plays, write};

#[test]
fn the_text_is_plain_decodings_and_drafts_are_accepted() {
    for play in plays() {
        let plain = plainly(&play);
        assert!(plain.texts.values().all(|t| t.len() == 60));
        let mut side = DraftSide::new(&play, Letters::new(DRAFT, LIMITS));
        let drafted = write(&play, Some(&mut side));
        assert_eq!(
            plain.texts, drafted.texts,
            "{:?} {:?}",
            play.mode, play.lanes
        );
        assert!(drafted.accepted > 0, "{:?} {:?}", play.mode, play.lanes);
        // Nothing is kept of what is over.
        side.apply();
        assert_eq!(side.model.tokens(), 0);
        assert_eq!(side.model.inner().texts.tokens(), 0);
    }
}

#[test]
fn a_draft_model_that_knows_nothing_of_the_language_changes_no_text() {
    for play in plays() {
        let mut side = DraftSide::new(&play, synthetic(DRAFT.len(), LIMITS));
        assert_eq!(plainly(&play).texts, write(&play, Some(&mut side)).texts);
    }
}

#[test]
fn a_draft_model_of_few_rows_reads_in_several_forwards() {
    let limits = Limits { rows: 2, ..LIMITS };
    for play in plays() {
        let mut side = DraftSide::new(&play, Letters::new(DRAFT, limits));
        let drafted = write(&play, Some(&mut side));
        assert_eq!(plainly(&play).texts, drafted.texts);
        assert!(drafted.accepted > 0);
    }
}

#[test]
fn texts_that_outgrow_the_draft_model_go_on_without_it() {
    let limits = Limits {
        context: 24,
        ..LIMITS
    };
    for play in plays() {
        let mut side = DraftSide::new(&play, Letters::new(DRAFT, limits));
        let drafted = write(&play, Some(&mut side));
        assert_eq!(plainly(&play).texts, drafted.texts);
        side.apply();
        assert_eq!(side.model.tokens(), 0);
    }
}

#[test]
fn beginnings_that_are_known_are_taken_over_and_shared() {
    let prompt: Vec<Token> = vec![6, 9, 0, 1, 8, 7, 10, 5, 3, 6, 2, 4, 9, 8, 1, 0];
    let longer = |token| [&prompt[..], &[token]].concat();
    for play in plays() {
        let play = Play {
            prefix_slots: 1,
            max_tokens: 10,
            waves: vec![vec![prompt.clone()], vec![longer(2), longer(3)]],
            ..play
        };
        let mut side = DraftSide::new(&play, Letters::new(DRAFT, LIMITS));
        let drafted = write(&play, Some(&mut side));
        assert_eq!(plainly(&play).texts, drafted.texts);
        side.apply();
        // Where the drafter may never have been asked, it may not know the prompt.
        let known = side.adopted + side.shared;
        assert!(known >= 2 || play.mode == Mode::Auto, "{:?}", play.lanes);
        assert!(side.model.tokens() <= longer(2).len() + 10, "one is kept");
    }
}
