//! A round as the audit log and the live page have it.

use std::time::Duration;

use card_core::policy::DecisionTrace;
use card_core::scheduler::Round;
use card_core::types::{SourceSet, Token};
use serde_json::{Value, json};

use crate::app::ModelText;

/// Round number `number` of a generation. Tokens are told as text of `text`, or not at all.
pub(super) fn round_record(round: &Round, number: usize, text: Option<&ModelText>) -> Value {
    let shown = |token: Token| match text {
        Some(text) => Value::from(text.shown(&[token])),
        None => Value::Null,
    };
    json!({
        "kind": "round",
        "round": number,
        "nodes": round.nodes.iter().map(|n| json!({
            "token": shown(n.token),
            "parent": n.parent,
            "sources": sources(n.sources),
            "prob": share(n.prob),
            "reach": share(n.reach),
            "accepted": n.accepted,
        })).collect::<Vec<_>>(),
        "tokens": round.tokens.iter().map(|&t| shown(t)).collect::<Vec<_>>(),
        "accepted": round.accepted.iter().map(|&s| sources(s)).collect::<Vec<_>>(),
        "hit": round.hit,
        "survivors": round.survivors,
        "near_ties": round.near_ties.len(),
        "rows": round.rows,
        "start_ms": ms(round.launched),
        "forward_ms": ms(round.forward),
        "elapsed_ms": ms(round.elapsed),
        "plain_ms": plain_ms(round),
        "drafts": round.drafts.iter().map(|d| json!({
            "source": d.source.name(),
            "start_ms": ms(d.start),
            "ms": ms(d.elapsed),
            "rows": d.rows,
        })).collect::<Vec<_>>(),
    })
}

/// The round as the page shows it: with the numbers behind the policy's decision.
pub(super) fn shown_record(round: &Round, number: usize, text: &ModelText) -> Value {
    let mut record = round_record(round, number, Some(text));
    record["policy"] = policy_record(&round.why);
    record
}

/// What the policy went by. Rates are tokens per millisecond.
fn policy_record(why: &DecisionTrace) -> Value {
    let foresight = why.foresight.map(|next| {
        json!({
            "steps": next.steps,
            "tokens": next.tokens,
            "ms": next.ms,
        })
    });
    json!({
        "gated": why.gated,
        "rate": why.rate,
        "plain": why.plain,
        "sequences": why.sequences,
        "ready": why.ready,
        "taken": why.taken,
        "expected": why.expected,
        "forward_ms": why.forward_ms,
        "drafted": why.drafted,
        "foresight": foresight,
    })
}

/// What a token would have taken by plain decoding, in milliseconds; null where it is unknown.
fn plain_ms(round: &Round) -> Value {
    if round.why.plain > 0.0 {
        Value::from(f64::from(round.why.sequences.max(1)) / round.why.plain)
    } else {
        Value::Null
    }
}

/// Milliseconds, to a hundredth.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 1e2
}

/// A probability, to four digits.
fn share(p: f32) -> f64 {
    (f64::from(p) * 1e4).round() / 1e4
}

/// The names of sources.
fn sources(set: SourceSet) -> Vec<&'static str> {
    set.iter().map(|s| s.name()).collect()
}
