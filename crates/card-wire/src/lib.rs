//! The messages between a target and a drafter on another machine (`proto/link.proto`), and
//! how they become the core's. What comes in is checked.

#![forbid(unsafe_code)]

use std::time::Duration;

use card_core::drafter::{DraftInput, DraftPlan, Drafted, Expansion, Share};
use card_core::policy::Lanes;
use card_core::sampler::SamplingParams;
use card_core::types::{SequenceId, Source, Token};

use proto::{from_drafter, to_drafter};

/// Generated from `proto/link.proto`.
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/card.link.v1.rs"));
}

/// Sides that differ in this do not understand each other.
pub const PROTOCOL: u32 = 1;

/// Children of one expansion that are believed to be meant.
const MOST_CHILDREN: usize = 256;

/// What this side says of itself.
pub fn hello(vocabulary: u64, scope: &str) -> proto::Hello {
    proto::Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").into(),
        vocabulary,
        scope: scope.into(),
    }
}

/// Whether the other side can be worked with.
///
/// # Errors
/// Says why not.
pub fn check(theirs: &proto::Hello, vocabulary: u64) -> Result<(), String> {
    if theirs.protocol != PROTOCOL {
        return Err(format!(
            "card {} speaks protocol {}, card {} speaks {PROTOCOL}: use the same version on both machines",
            theirs.version,
            theirs.protocol,
            env!("CARGO_PKG_VERSION"),
        ));
    }
    if theirs.vocabulary != vocabulary {
        return Err(format!(
            "the vocabularies differ ({:016x} and {vocabulary:016x}): draft with a model of the target's family",
            theirs.vocabulary
        ));
    }
    Ok(())
}

/// What a target answers: how it wants to be drafted for.
pub fn welcome(
    vocabulary: u64,
    plan: &DraftPlan,
    context: u32,
    sequences: u32,
) -> proto::ToDrafter {
    let welcome = proto::Welcome {
        hello: Some(hello(vocabulary, "")),
        chain: plan.chain.unwrap_or(0),
        branch: plan.branch as u32,
        max_depth: plan.max_depth,
        cache_bytes: plan.cache_bytes as u64,
        context,
        sequences,
    };
    proto::ToDrafter {
        what: Some(to_drafter::What::Welcome(welcome)),
    }
}

/// How a target wants to be drafted for, within reason.
pub fn plan(welcome: &proto::Welcome) -> DraftPlan {
    DraftPlan {
        chain: (welcome.chain > 0).then_some(welcome.chain.min(64)),
        branch: welcome.branch.clamp(1, 32) as usize,
        max_depth: welcome.max_depth.clamp(1, 256),
        cache_bytes: welcome.cache_bytes.clamp(1 << 10, 64 << 20) as usize,
        parked: welcome.sequences.clamp(1, 64) as usize,
        lanes: Lanes::Disjoint,
    }
}

/// What a drafter is told.
pub fn input_out(input: DraftInput) -> proto::ToDrafter {
    use to_drafter::What;
    let what = match input {
        DraftInput::Open {
            sequence,
            tokens,
            params,
            end,
        } => What::Open(proto::Open {
            sequence: sequence.0,
            tokens,
            // Settings are numbers; JSON has no words for infinity, which they are never.
            sampling: serde_json::to_string(&params).unwrap_or_default(),
            end,
        }),
        DraftInput::Commit {
            sequence,
            from,
            tokens,
        } => What::Commit(proto::Commit {
            sequence: sequence.0,
            from,
            tokens,
        }),
        DraftInput::Close { sequence } => What::Close(proto::Close {
            sequence: sequence.0,
        }),
        DraftInput::Share(share) => What::Share(proto::Share {
            index: share.index,
            of: share.of,
        }),
    };
    proto::ToDrafter { what: Some(what) }
}

/// What the target says.
///
/// # Errors
/// Says why it makes no sense.
pub fn input_in(message: proto::ToDrafter) -> Result<DraftInput, String> {
    use to_drafter::What;
    Ok(match message.what {
        Some(What::Open(open)) => {
            let params: SamplingParams = serde_json::from_str(&open.sampling)
                .map_err(|e| format!("sampling settings: {e}"))?;
            params.validate().map_err(|e| e.to_string())?;
            DraftInput::Open {
                sequence: SequenceId(open.sequence),
                tokens: open.tokens,
                params,
                end: open.end,
            }
        }
        Some(What::Commit(commit)) => DraftInput::Commit {
            sequence: SequenceId(commit.sequence),
            from: commit.from,
            tokens: commit.tokens,
        },
        Some(What::Close(close)) => DraftInput::Close {
            sequence: SequenceId(close.sequence),
        },
        Some(What::Share(share)) => DraftInput::Share(Share {
            index: share.index,
            of: share.of.max(1),
        }),
        Some(What::Welcome(_)) => return Err("a second welcome".into()),
        None => return Err("an unknown message".into()),
    })
}

/// What was drafted.
pub fn drafted_out(drafted: &Drafted) -> proto::FromDrafter {
    let expansion = |e: &Expansion| proto::Expansion {
        sequence: e.sequence.0,
        root: e.root,
        path: e.path.clone(),
        tokens: e.children.iter().map(|c| c.0).collect(),
        probs: e.children.iter().map(|c| c.1).collect(),
    };
    let drafted = proto::Drafted {
        expansions: drafted.expansions.iter().map(expansion).collect(),
        rows: drafted.rows,
        started_us: drafted.started.as_micros() as u64,
        elapsed_us: drafted.elapsed.as_micros() as u64,
    };
    proto::FromDrafter {
        what: Some(from_drafter::What::Drafted(drafted)),
    }
}

/// What a drafter says.
///
/// # Errors
/// Says why it makes no sense.
pub fn drafted_in(message: proto::FromDrafter) -> Result<Drafted, String> {
    let drafted = match message.what {
        Some(from_drafter::What::Drafted(drafted)) => drafted,
        Some(from_drafter::What::Hello(_)) => return Err("a second hello".into()),
        None => return Err("an unknown message".into()),
    };
    let expansion = |e: proto::Expansion| {
        if e.tokens.len() != e.probs.len() || e.tokens.len() > MOST_CHILDREN {
            return Err(format!(
                "an expansion with {} tokens and {} probabilities",
                e.tokens.len(),
                e.probs.len()
            ));
        }
        let children: Vec<(Token, f32)> = e.tokens.into_iter().zip(e.probs).collect();
        Ok(Expansion {
            sequence: SequenceId(e.sequence),
            root: e.root,
            path: e.path,
            children,
        })
    };
    Ok(Drafted {
        source: Source::Draft,
        expansions: drafted
            .expansions
            .into_iter()
            .map(expansion)
            .collect::<Result<_, _>>()?,
        rows: drafted.rows,
        started: Duration::from_micros(drafted.started_us),
        elapsed: Duration::from_micros(drafted.elapsed_us),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were() {
        let inputs = [
            DraftInput::Open {
                sequence: SequenceId(7),
                tokens: vec![1, 2, 3],
                params: SamplingParams {
                    temperature: 0.7,
                    seed: u64::MAX - 1,
                    logit_bias: vec![(5, -100.0)],
                    ..SamplingParams::default()
                },
                end: 40,
            },
            DraftInput::Commit {
                sequence: SequenceId(7),
                from: 3,
                tokens: vec![9],
            },
            DraftInput::Share(Share { index: 1, of: 2 }),
            DraftInput::Close {
                sequence: SequenceId(7),
            },
        ];
        for input in inputs {
            let shown = format!("{input:?}");
            assert_eq!(format!("{:?}", input_in(input_out(input)).unwrap()), shown);
        }
        let drafted = Drafted {
            source: Source::Draft,
            expansions: vec![Expansion {
                sequence: SequenceId(7),
                root: 2,
                path: vec![4],
                children: vec![(5, 0.5), (6, 0.25)],
            }],
            rows: 2,
            started: Duration::from_micros(5),
            elapsed: Duration::from_micros(9),
        };
        let back = drafted_in(drafted_out(&drafted)).unwrap();
        assert_eq!(format!("{back:?}"), format!("{drafted:?}"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(input_in(proto::ToDrafter { what: None }).is_err());
        let mut open = input_out(DraftInput::Open {
            sequence: SequenceId(1),
            tokens: vec![1],
            params: SamplingParams::default(),
            end: 4,
        });
        if let Some(to_drafter::What::Open(o)) = &mut open.what {
            o.sampling = "{".into();
        }
        assert!(input_in(open).is_err());
        let odd = proto::Drafted {
            expansions: vec![proto::Expansion {
                tokens: vec![1, 2],
                probs: vec![0.5],
                ..proto::Expansion::default()
            }],
            ..proto::Drafted::default()
        };
        let odd = proto::FromDrafter {
            what: Some(from_drafter::What::Drafted(odd)),
        };
        assert!(drafted_in(odd).is_err());
        let other = proto::Hello {
            protocol: PROTOCOL + 1,
            ..hello(1, "")
        };
        assert!(check(&other, 1).unwrap_err().contains("protocol"));
        assert!(check(&hello(1, ""), 2).unwrap_err().contains("family"));
    }
}
