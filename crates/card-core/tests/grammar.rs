//! Candidates under a grammar: what it refuses is not verified, what it forces costs no drafter,
//! and the text is plain decoding's.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod common;

use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::sampler::{Sampling, SamplingParams};
use card_core::types::{Source, Token};
use common::{ScoutKind, Setup, Transcript, run};

/// Of 23 tokens, those that may be written at every other place.
const ONLY: [Token; 3] = [4, 11, 17];

fn setup() -> Setup {
    Setup {
        mode: Mode::Card,
        draft_noise: Some(0.4),
        allowed: Some(ONLY.to_vec()),
        scouts: Some(ScoutKind::Sound),
        max_tokens: 200,
        ..Setup::default()
    }
}

fn sampled(params: SamplingParams) -> Sampling {
    params.checked().unwrap()
}

/// Greedy, and at a temperature without filters and with some.
fn ways_to_sample() -> [Sampling; 3] {
    let warm = SamplingParams {
        temperature: 0.9,
        seed: 11,
        ..SamplingParams::default()
    };
    let filtered = SamplingParams {
        top_k: 3,
        top_p: 0.8,
        ..warm.clone()
    };
    [Sampling::default(), sampled(warm), sampled(filtered)]
}

/// Whether every candidate that was verified is allowed where it was.
fn verified_what_is_allowed(out: &Transcript) -> bool {
    let mut written = 0;
    let mut sound = true;
    for round in &out.rounds {
        let mut depths: Vec<usize> = Vec::new();
        for node in &round.nodes {
            let depth = node.parent.map_or(0, |parent| depths[parent] + 1);
            depths.push(depth);
            sound &= (written + depth) % 2 == 1 || ONLY.contains(&node.token);
        }
        written += round.tokens.len();
    }
    sound
}

fn refused(out: &Transcript) -> usize {
    out.rounds.iter().map(|r| r.refused).sum()
}

fn accepted_of(out: &Transcript, source: Source) -> usize {
    let accepted = out.rounds.iter().flat_map(|r| &r.accepted);
    accepted.filter(|sources| sources.contains(source)).count()
}

#[test]
fn the_text_is_plain_decodings_in_every_mode_and_however_it_is_sampled() {
    for params in ways_to_sample() {
        let base = Setup {
            params,
            lookup: true,
            ..setup()
        };
        let plain = run(&Setup {
            mode: Mode::Plain,
            scouts: None,
            ..base.clone()
        });
        for mode in [Mode::DraftThenVerify, Mode::Card, Mode::Auto] {
            for lanes in [Lanes::Shared, Lanes::Disjoint] {
                for far in [false, true] {
                    let out = run(&Setup {
                        mode,
                        lanes,
                        far,
                        ..base.clone()
                    });
                    assert_eq!(out.text, plain.text, "{mode:?}, {lanes:?}, {far}");
                    assert!(verified_what_is_allowed(&out));
                }
            }
        }
    }
}

/// Whoever drafts here is accepted more often because it looks ahead under the grammar, and proposes
/// nothing against it.
fn looks_ahead(base: &Setup) {
    let with = run(base);
    let without = run(&Setup {
        scouts: None,
        ..base.clone()
    });
    assert_eq!(with.text, without.text);
    let (with_it, without_it) = (with.mean_accepted(), without.mean_accepted());
    assert!(with_it > 1.2 * without_it, "{with_it}, {without_it}");
    assert_eq!(refused(&with), 0, "it proposes nothing of the kind");
}

#[test]
fn a_drafter_that_looks_ahead_under_the_grammar_is_accepted_more_often() {
    for params in ways_to_sample() {
        for lanes in [Lanes::Shared, Lanes::Disjoint] {
            let base = Setup {
                params: params.clone(),
                lanes,
                ..setup()
            };
            looks_ahead(&base);
        }
    }
}

#[test]
fn a_head_looks_ahead_under_the_grammar_as_a_drafter_does() {
    let base = Setup {
        draft_noise: None,
        head_noise: Some(0.4),
        ..setup()
    };
    looks_ahead(&base);
}

#[test]
fn what_a_drafter_elsewhere_proposes_against_the_grammar_is_not_verified() {
    let base = Setup {
        far: true,
        ..setup()
    };
    let sifted = run(&base);
    let taken = run(&Setup {
        scouts: None,
        ..base
    });
    assert_eq!(sifted.text, taken.text);
    assert!(verified_what_is_allowed(&sifted) && refused(&sifted) > 50);
    assert!(!verified_what_is_allowed(&taken) && refused(&taken) == 0);
    assert!(sifted.mean_accepted() > 0.95 * taken.mean_accepted());
}

#[test]
fn what_is_forced_needs_no_drafter() {
    let base = Setup {
        mode: Mode::Auto,
        draft_noise: None,
        lookup: true,
        allowed: Some(vec![ONLY[0]]),
        ..setup()
    };
    let forced = run(&base);
    let without = run(&Setup {
        scouts: None,
        ..base.clone()
    });
    assert_eq!(forced.text, without.text);
    // Every other token is certain before it is decided.
    assert!(accepted_of(&forced, Source::Grammar) > 70);
    assert!(forced.mean_accepted() > 1.6, "{}", forced.mean_accepted());
    assert!(forced.time < without.time);
    // A request that shall be plain gets none of it.
    let plain = run(&Setup {
        plain: true,
        ..base
    });
    assert_eq!(accepted_of(&plain, Source::Grammar), 0);
    assert_eq!(plain.text, forced.text);
}

#[test]
fn a_scout_that_is_wrong_or_lost_costs_speed_only() {
    let plain = run(&Setup {
        mode: Mode::Plain,
        ..setup()
    });
    for kind in [ScoutKind::Refuses, ScoutKind::Lies, ScoutKind::Fails] {
        for lookup in [false, true] {
            let out = run(&Setup {
                scouts: Some(kind),
                lookup,
                ..setup()
            });
            assert_eq!(out.text, plain.text, "{kind:?}");
        }
    }
}
