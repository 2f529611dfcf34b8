//! Who watches a generation: metrics, the audit log, the live page.

use std::sync::Arc;
use std::time::Instant;

use card_audit::now_ms;
use card_core::engine::Round;
use card_core::types::{SourceSet, Token};
use serde_json::{Value, json};

use crate::app::App;
use crate::generation::Outcome;

/// A generation that is watched.
pub struct Watched {
    /// Name of the request.
    request: String,
    /// Which of its choices.
    choice: usize,
    /// When the request came.
    came: Instant,
    /// When the client was last sent tokens.
    last: Option<Instant>,
    rounds: usize,
}

impl Watched {
    /// Choice `choice` of a request that came at `came`.
    pub fn new(request: &str, choice: usize, came: Instant) -> Self {
        Watched {
            request: request.to_owned(),
            choice,
            came,
            last: None,
            rounds: 0,
        }
    }

    /// Name of the request.
    pub fn request(&self) -> &str {
        &self.request
    }

    /// When the request came.
    pub fn came(&self) -> Instant {
        self.came
    }

    /// Rounds so far.
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// It begins: the prompt, and how it is sampled.
    pub fn began(&self, app: &App, prompt: &[Token], settings: Value) {
        self.log(app, || {
            json!({
                "kind": "begin",
                "prompt_tokens": prompt.len(),
                "settings": settings,
                "model": app.name,
                "fingerprint": app.fingerprint,
                "prompt": app.audited_text(prompt),
            })
        });
        self.show(
            app,
            || json!({ "kind": "begin", "prompt_tokens": prompt.len() }),
        );
    }

    /// A round of the engine.
    pub fn round(&mut self, app: &App, round: &Round) {
        app.metrics.round(round);
        if round.prefill && round.tokens.is_empty() {
            return;
        }
        self.rounds += 1;
        let number = self.rounds;
        self.log(app, || record(app, round, number, app.audits_text()));
        self.show(app, || record(app, round, number, true));
    }

    /// The client gets tokens.
    pub fn wrote(&mut self, app: &App, tokens: usize) {
        let now = Instant::now();
        let metrics = &app.metrics;
        metrics.tokens.inc_by(tokens as u64);
        match self.last {
            None => metrics
                .first_token
                .observe(self.came.elapsed().as_secs_f64()),
            Some(last) => {
                let each = (now - last).as_secs_f64() / tokens.max(1) as f64;
                for _ in 0..tokens {
                    metrics.token_gap.observe(each);
                }
            }
        }
        self.last = Some(now);
    }

    /// It is over.
    pub fn ended(&self, app: &App, finish: &str, outcome: &Outcome) {
        let record = || {
            json!({
                "kind": "end",
                "finish": finish,
                "tokens": outcome.tokens,
                "rounds": self.rounds,
                "ms": self.came.elapsed().as_secs_f64() * 1e3,
            })
        };
        self.log(app, record);
        self.show(app, record);
    }

    fn log(&self, app: &App, record: impl FnOnce() -> Value) {
        if let Some(audit) = &app.audit
            && !audit.add(self.named(record()))
        {
            app.metrics.audit_lost.inc();
        }
    }

    fn show(&self, app: &App, record: impl FnOnce() -> Value) {
        if app.live.receiver_count() > 0 {
            let _ = app.live.send(Arc::new(self.named(record()).to_string()));
        }
    }

    fn named(&self, mut record: Value) -> Value {
        record["request"] = self.request.as_str().into();
        record["choice"] = self.choice.into();
        record["time"] = now_ms().into();
        record
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
