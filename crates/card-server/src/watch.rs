//! Who watches a generation: metrics, the audit log, the live page.

use std::sync::Arc;
use std::time::Instant;

use card_audit::now_ms;
use card_core::engine::Round;
use card_core::types::{SourceSet, Token};
use serde_json::{Value, json};

use crate::app::{App, Shown};
use crate::caller::Caller;

/// A generation that is watched. Whatever becomes of it, its end is told.
pub(crate) struct Watched {
    app: Arc<App>,
    /// Name of the request.
    request: String,
    /// Which of its choices.
    choice: usize,
    /// Whose it is.
    caller: Caller,
    stage: Stage,
    /// When the client was last sent tokens.
    last: Option<Instant>,
    rounds: usize,
    tokens: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// It waits for a slot.
    Waiting,
    /// Its begin was told.
    Running,
    /// Its end was told.
    Over,
}

impl Watched {
    /// Choice `choice` of a request.
    pub(crate) fn new(app: &Arc<App>, request: &str, choice: usize, caller: &Caller) -> Self {
        Watched {
            app: app.clone(),
            request: request.to_owned(),
            choice,
            caller: caller.clone(),
            stage: Stage::Waiting,
            last: None,
            rounds: 0,
            tokens: 0,
        }
    }

    /// Name of the request.
    pub(crate) fn request(&self) -> &str {
        &self.request
    }

    /// When the request came.
    pub(crate) fn came(&self) -> Instant {
        self.caller.came
    }

    /// Rounds so far.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds
    }

    /// It has a slot and begins: the prompt, and how it is sampled.
    pub(crate) fn began(&mut self, prompt: &[Token], settings: &Value) {
        self.stage = Stage::Running;
        let app = &self.app;
        self.log(|| {
            json!({
                "kind": "begin",
                "who": &*self.caller.name,
                "peer": self.caller.address(),
                "prompt_tokens": prompt.len(),
                "settings": settings,
                "model": app.name,
                "fingerprint": app.fingerprint,
                "prompt": app.audited_text(prompt),
            })
        });
        self.show(|| json!({ "kind": "begin", "prompt_tokens": prompt.len() }));
    }

    /// A round of the engine.
    pub(crate) fn round(&mut self, round: &Round) {
        self.app.metrics.round(round);
        if round.prefill && round.tokens.is_empty() {
            return;
        }
        self.rounds += 1;
        let (app, number) = (&self.app, self.rounds);
        self.log(|| record(app, round, number, app.audits_text()));
        self.show(|| record(app, round, number, true));
    }

    /// The client gets tokens.
    pub(crate) fn wrote(&mut self, tokens: usize) {
        let now = Instant::now();
        let metrics = &self.app.metrics;
        metrics.tokens.inc_by(tokens as u64);
        match self.last {
            None => metrics
                .first_token
                .observe(self.came().elapsed().as_secs_f64()),
            Some(last) => {
                let each = (now - last).as_secs_f64() / tokens.max(1) as f64;
                for _ in 0..tokens {
                    metrics.token_gap.observe(each);
                }
            }
        }
        self.last = Some(now);
        self.tokens += tokens;
    }

    /// It is over.
    pub(crate) fn ended(&mut self, finish: &str) {
        let before = std::mem::replace(&mut self.stage, Stage::Over);
        match before {
            Stage::Over => return,
            Stage::Waiting => {
                self.log(|| {
                    json!({
                        "kind": "refused",
                        "who": &*self.caller.name,
                        "peer": self.caller.address(),
                        "reason": finish,
                    })
                });
                return;
            }
            Stage::Running => {}
        }
        let record = || {
            json!({
                "kind": "end",
                "finish": finish,
                "tokens": self.tokens,
                "rounds": self.rounds,
                "ms": self.came().elapsed().as_secs_f64() * 1e3,
            })
        };
        self.log(record);
        self.show(record);
    }

    fn log(&self, record: impl FnOnce() -> Value) {
        self.app.log(|| self.named(record()));
    }

    /// Shows it to its owner.
    fn show(&self, record: impl FnOnce() -> Value) {
        if self.app.live.receiver_count() > 0 {
            let _ = self.app.live.send(Shown {
                owner: self.caller.name.clone(),
                text: self.named(record()).to_string().into(),
            });
        }
    }

    fn named(&self, mut record: Value) -> Value {
        record["request"] = self.request.as_str().into();
        record["choice"] = self.choice.into();
        record["time"] = now_ms().into();
        record
    }
}

impl Drop for Watched {
    /// Nobody told its end: the client left, or what ran it broke down.
    fn drop(&mut self) {
        self.ended("cancelled");
    }
}

fn record(app: &App, round: &Round, number: usize, text: bool) -> Value {
    let ms = |d: std::time::Duration| (d.as_secs_f64() * 1e5).round() / 1e2;
    let shown = |token: Token| match text {
        true => Value::from(app.shown(token)),
        false => Value::Null,
    };
    let sources = |set: SourceSet| -> Vec<&str> { set.iter().map(|s| s.name()).collect() };
    let share = |p: f32| (f64::from(p) * 1e4).round() / 1e4;
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
        "plain_ms": match round.why.plain > 0.0 {
            true => Value::from(f64::from(round.why.sequences.max(1)) / round.why.plain),
            false => Value::Null,
        },
        "drafts": round.drafts.iter().map(|d| json!({
            "source": d.source.name(),
            "start_ms": ms(d.start),
            "ms": ms(d.elapsed),
            "rows": d.rows,
        })).collect::<Vec<_>>(),
    })
}
