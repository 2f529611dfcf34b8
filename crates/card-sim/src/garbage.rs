//! What a drafter says that has gone mad.

use std::time::Duration;

use card_core::protocol::{Drafted, Expansion};
use card_core::types::{Prob, Rows, SequenceId, Source};

use crate::language::VOCAB;

/// Drafts that make no sense: foreign tokens, wrong places, impossible probabilities. Some
/// are of sequences that run, others of sequences that never were.
pub(crate) fn garbage(rng: &mut fastrand::Rng, running: &[SequenceId]) -> Drafted {
    let expansions = (0..rng.usize(..6))
        .map(|_| Expansion {
            sequence: match rng.usize(..=running.len()) {
                i if i < running.len() => running[i],
                _ => SequenceId(rng.u64(..)),
            },
            root: rng.u32(..400),
            path: (0..rng.usize(..5))
                .map(|_| rng.u32(..2 * VOCAB as u32))
                .collect(),
            children: (0..rng.usize(..5))
                .map(|_| {
                    let token = rng.u32(..2 * VOCAB as u32);
                    (token, Prob::clamped(rng.f32() * 2.0 - 0.5))
                })
                .collect(),
        })
        .collect();
    Drafted {
        source: Source::Draft,
        expansions,
        rows: Rows::clamped(rng.usize(..3)),
        started: Duration::ZERO,
        elapsed: Duration::from_millis(rng.u64(..50)),
    }
}
