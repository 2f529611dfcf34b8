//! What the two sides say first, and whether they can work together.

use card_core::protocol::{DraftPlan, Lanes};

use crate::limits::{MOST_SEQUENCES, PROTOCOL};
use crate::proto::{self, to_drafter};
use crate::vocabulary::SharedVocabulary;

/// Longest name of a drafter.
pub const MOST_SCOPE: usize = 128;

/// What this side says of itself.
pub fn hello(vocabulary: SharedVocabulary, scope: &str) -> proto::Hello {
    proto::Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").into(),
        vocabulary: vocabulary.fingerprint,
        scope: scope.into(),
    }
}

/// Whether the other side can be worked with.
///
/// # Errors
/// Says why not.
pub fn check(theirs: &proto::Hello, vocabulary: SharedVocabulary) -> Result<(), String> {
    if theirs.protocol != PROTOCOL {
        return Err(format!(
            "card {} speaks protocol {}, card {} speaks {PROTOCOL}: use the same version on both machines",
            version(theirs),
            theirs.protocol,
            env!("CARGO_PKG_VERSION"),
        ));
    }
    if theirs.vocabulary != vocabulary.fingerprint {
        return Err(format!(
            "the vocabularies differ ({:016x} and {:016x}): draft with a model of the target's family",
            theirs.vocabulary, vocabulary.fingerprint
        ));
    }
    Ok(())
}

/// The other side's version, fit to be shown and logged.
fn version(theirs: &proto::Hello) -> String {
    let plain = |c: &char| c.is_ascii_graphic();
    theirs.version.chars().filter(plain).take(32).collect()
}

/// The name by which requests ask for a drafter; `None` if it is for all of them.
///
/// # Errors
/// Says what a name may be.
pub fn scope(text: &str) -> Result<Option<String>, String> {
    let plain = text.bytes().all(|b| b.is_ascii_graphic());
    match text {
        "" => Ok(None),
        "*" => Err("a scope is not called *, which stands for everybody's text".into()),
        _ if text.len() > MOST_SCOPE || !plain || text.starts_with('#') => Err(format!(
            "a scope has up to {MOST_SCOPE} printable ASCII characters, no blanks, and does not begin with #"
        )),
        _ => Ok(Some(text.to_owned())),
    }
}

/// What a target answers: how it wants to be drafted for.
pub fn welcome(
    vocabulary: SharedVocabulary,
    plan: &DraftPlan,
    context: u32,
    sequences: u32,
) -> proto::ToDrafter {
    let welcome = proto::Welcome {
        hello: Some(hello(vocabulary, "")),
        chain: plan.chain.unwrap_or(0),
        branch: u32::try_from(plan.branch).unwrap_or(u32::MAX),
        max_depth: plan.max_depth,
        cache_bytes: plan.cache_bytes as u64,
        context,
        sequences,
    };
    proto::ToDrafter {
        what: Some(to_drafter::What::Welcome(welcome)),
    }
}

/// How a target wants to be drafted for, within reason. `sequences` is what it is granted.
pub fn plan(welcome: &proto::Welcome, sequences: u32) -> DraftPlan {
    DraftPlan {
        chain: (welcome.chain > 0).then_some(welcome.chain.min(64)),
        branch: welcome.branch.clamp(1, 32) as usize,
        max_depth: welcome.max_depth.clamp(1, 256),
        cache_bytes: welcome.cache_bytes.clamp(1 << 10, 64 << 20) as usize,
        prefix_slots: sequences.clamp(1, MOST_SEQUENCES) as usize,
        lanes: Lanes::Disjoint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCABULARY: SharedVocabulary = SharedVocabulary {
        fingerprint: 1,
        tokens: 50,
    };

    #[test]
    fn sides_that_cannot_work_together_hear_why() {
        let ours = hello(VOCABULARY, "");
        assert_eq!(check(&ours, VOCABULARY), Ok(()));
        let newer = proto::Hello {
            protocol: PROTOCOL + 1,
            version: "9.9\u{1b}[2J\n".into(),
            ..ours.clone()
        };
        let why = check(&newer, VOCABULARY).unwrap_err();
        assert!(why.contains("protocol"), "{why}");
        assert!(!why.contains(['\u{1b}', '\n']), "{why}");
        let other = SharedVocabulary {
            fingerprint: 2,
            ..VOCABULARY
        };
        assert!(check(&ours, other).unwrap_err().contains("family"));
    }

    #[test]
    fn a_scope_is_a_word_that_a_header_and_a_line_can_carry() {
        assert_eq!(scope(""), Ok(None));
        for good in ["laptop", "edge-00ff", "team/a:1", &"x".repeat(MOST_SCOPE)] {
            assert_eq!(scope(good), Ok(Some(good.to_owned())));
        }
        for bad in [
            "*",
            " ",
            "two words",
            "a\nb",
            "#comment",
            "é",
            "\u{1b}[2J",
            &"x".repeat(MOST_SCOPE + 1),
        ] {
            assert!(scope(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_a_target_asks_for_is_kept_within_reason() {
        let most = proto::Welcome {
            hello: None,
            chain: u32::MAX,
            branch: u32::MAX,
            max_depth: u32::MAX,
            cache_bytes: u64::MAX,
            context: u32::MAX,
            sequences: u32::MAX,
        };
        for welcome in [proto::Welcome::default(), most] {
            let plan = plan(&welcome, welcome.sequences);
            assert!((1..=32).contains(&plan.branch));
            assert!((1..=256).contains(&plan.max_depth));
            assert!((1 << 10..=64 << 20).contains(&plan.cache_bytes));
            assert!((1..=64).contains(&plan.prefix_slots));
            assert!(plan.chain.is_none_or(|c| c <= 64));
        }
    }
}
