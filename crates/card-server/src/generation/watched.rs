//! Who watches a generation: metrics, the audit log, the live page.

use std::sync::Arc;
use std::time::Instant;

use card_audit::now_ms;
use card_core::scheduler::Round;
use card_core::types::Token;
use serde_json::{Value, json};

use super::record::round_record;
use crate::app::App;
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
    stage: WatchStage,
    /// When the client was last sent tokens.
    last: Option<Instant>,
    /// Rounds so far that wrote something.
    rounds: usize,
    /// Tokens so far.
    tokens: usize,
}

/// How far a generation is. It only goes on, and each stage is told once.
#[derive(Clone, Copy, PartialEq)]
enum WatchStage {
    /// It waits for a slot.
    Waiting,
    /// Its begin was told.
    Running,
    /// Its end was told.
    Over,
}

impl Watched {
    /// The generation of choice `choice` of a request, which waits for a slot.
    pub(crate) fn new(app: &Arc<App>, request: &str, choice: usize, caller: &Caller) -> Self {
        Watched {
            app: app.clone(),
            request: request.to_owned(),
            choice,
            caller: caller.clone(),
            stage: WatchStage::Waiting,
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
        self.stage = WatchStage::Running;
        let app = &self.app;
        self.log(|| {
            json!({
                "kind": "begin",
                "who": &*self.caller.name,
                "peer": self.caller.address(),
                "prompt_tokens": prompt.len(),
                "settings": settings,
                "model": app.model.name,
                "fingerprint": app.model.fingerprint,
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
        let text = app.audit.has_text().then_some(&app.text);
        self.log(|| round_record(round, number, text));
        self.show(|| round_record(round, number, Some(&app.text)));
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
        let before = std::mem::replace(&mut self.stage, WatchStage::Over);
        match before {
            WatchStage::Over => return,
            WatchStage::Waiting => {
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
            WatchStage::Running => {}
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

    /// Writes it down in the audit log.
    fn log(&self, record: impl FnOnce() -> Value) {
        self.app.audit.add(|| self.named(record()));
    }

    /// Shows it to its owner.
    fn show(&self, record: impl FnOnce() -> Value) {
        let owner = &self.caller.name;
        self.app.live.show(owner, || self.named(record()));
    }

    /// The record with the names that all records of a generation have.
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
