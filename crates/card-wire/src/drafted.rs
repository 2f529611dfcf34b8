//! What a drafter says: sent, and taken in.

use std::time::Duration;

use card_core::protocol::{Drafted, Expansion};
use card_core::types::{Prob, Rows, SequenceId, Source, Token};

use crate::proto::{self, from_drafter};
use crate::refusal::Refusal;
use crate::vocabulary::SharedVocabulary;

/// Most expansions of one forward.
pub const MOST_EXPANSIONS: usize = 1024;
/// Most children of one expansion.
pub const MOST_CHILDREN: usize = 256;
/// Most tokens from the last committed one to an expanded one.
pub const MOST_PATH: usize = 256;
/// Longest time of a forward that is believed.
pub const LONGEST: Duration = Duration::from_secs(60);

/// A sign of life of a drafter that has nothing to draft, for example since it has no room for
/// a sequence. Its elapsed time is zero, so no cost is learned from it.
pub fn nothing_drafted() -> proto::FromDrafter {
    let nothing = proto::Drafted {
        rows: 1,
        ..proto::Drafted::default()
    };
    proto::FromDrafter {
        what: Some(from_drafter::What::Drafted(nothing)),
    }
}

/// What was drafted. What the other side would not take is left out. An expansion without children
/// is news as well: the drafter has looked past that place, or will not, and the target need not
/// wait for more.
pub fn drafted_out(drafted: &Drafted) -> proto::FromDrafter {
    let fits = |e: &&Expansion| e.path.len() <= MOST_PATH;
    let expansion = |e: &Expansion| {
        let children = &e.children[..e.children.len().min(MOST_CHILDREN)];
        proto::Expansion {
            sequence: e.sequence.0,
            root: e.root,
            path: e.path.clone(),
            tokens: children.iter().map(|c| c.0).collect(),
            probs: children.iter().map(|c| c.1.get()).collect(),
        }
    };
    let expansions = drafted.expansions.iter().filter(fits);
    let drafted = proto::Drafted {
        expansions: expansions.take(MOST_EXPANSIONS).map(expansion).collect(),
        rows: drafted.rows.get(),
        started_us: micros(drafted.started),
        elapsed_us: micros(drafted.elapsed.min(LONGEST)),
    };
    proto::FromDrafter {
        what: Some(from_drafter::What::Drafted(drafted)),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What a drafter says.
///
/// # Errors
/// Says why it makes no sense.
pub fn drafted_in(
    message: proto::FromDrafter,
    vocabulary: SharedVocabulary,
) -> Result<Drafted, Refusal> {
    match message.what {
        Some(from_drafter::What::Drafted(drafted)) => {
            checked(drafted, vocabulary).map_err(Refusal::Message)
        }
        Some(from_drafter::What::Hello(_)) => Err(Refusal::Link("a second hello".into())),
        None => Err(Refusal::Link("an unknown message".into())),
    }
}

fn checked(drafted: proto::Drafted, vocabulary: SharedVocabulary) -> Result<Drafted, String> {
    let count = drafted.expansions.len();
    if count > MOST_EXPANSIONS {
        return Err(format!("{count} expansions of one forward"));
    }
    let rows = Rows::new(drafted.rows);
    let rows = rows.ok_or_else(|| format!("a forward of {} rows", drafted.rows))?;
    let elapsed = Duration::from_micros(drafted.elapsed_us);
    if elapsed > LONGEST {
        return Err(format!("a forward of {} s", elapsed.as_secs()));
    }
    let expansions = drafted.expansions.into_iter();
    let expansions = expansions.map(|e| expansion(e, vocabulary));
    Ok(Drafted {
        // The other side does not choose the source under which its drafts are counted.
        source: Source::Draft,
        expansions: expansions.collect::<Result<_, String>>()?,
        rows,
        started: Duration::from_micros(drafted.started_us),
        elapsed,
    })
}

fn expansion(e: proto::Expansion, vocabulary: SharedVocabulary) -> Result<Expansion, String> {
    let (children, path) = (e.tokens.len(), e.path.len());
    if children != e.probs.len() || children > MOST_CHILDREN {
        return Err(format!(
            "an expansion with {children} tokens and {} probabilities",
            e.probs.len()
        ));
    }
    if path > MOST_PATH {
        return Err(format!("a path of {path} tokens"));
    }
    let foreign = vocabulary.foreign(&e.path);
    if let Some(token) = foreign.or_else(|| vocabulary.foreign(&e.tokens)) {
        return Err(format!("the unknown token {token}"));
    }
    let child = |(token, prob): (Token, f32)| {
        let prob = Prob::new(prob).ok_or_else(|| format!("a probability of {prob}"))?;
        Ok((token, prob))
    };
    let children = e.tokens.into_iter().zip(e.probs).map(child);
    Ok(Expansion {
        sequence: SequenceId(e.sequence),
        root: e.root,
        path: e.path,
        children: children.collect::<Result<_, String>>()?,
    })
}
