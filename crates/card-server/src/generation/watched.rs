//! Who watches a generation: metrics, the audit log, the live page.

use std::sync::Arc;
use std::time::Instant;

use card_audit::now_ms;
use card_core::scheduler::Round;
use card_core::types::Token;
use serde_json::{Value, json};

use super::record::{round_record, shown_record};
use crate::app::App;
use crate::caller::Caller;

/// A generation that is watched. Whatever becomes of it, its end is told.
pub(crate) struct Watched {
    app: Arc<App>,
    /// Name of the request.
    request: String,
    /// The number of the choice among those of the request.
    choice: usize,
    /// The name of its sender. Nothing is kept of the connection: a generation may outlast its answer,
    /// and a request that was answered keeps no connection busy.
    owner: Arc<str>,
    /// The sender's address.
    address: Option<String>,
    /// When the request came.
    came: Instant,
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
    /// The generation waits for a slot.
    Waiting,
    /// The generation has a slot, and its begin was told.
    Running,
    /// The generation ended, and that was told.
    Over,
}

impl Watched {
    /// The generation of choice `choice` of a request, which waits for a slot.
    pub(crate) fn new(app: &Arc<App>, request: &str, choice: usize, caller: &Caller) -> Self {
        Watched {
            app: app.clone(),
            request: request.to_owned(),
            choice,
            owner: caller.name.clone(),
            address: caller.address(),
            came: caller.came,
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
        self.came
    }

    /// Rounds so far.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds
    }

    /// The generation has a slot and begins. `settings` says how it is sampled.
    pub(crate) fn began(&mut self, prompt: &[Token], settings: &Value) {
        self.stage = WatchStage::Running;
        let app = &self.app;
        self.log(|| {
            json!({
                "kind": "begin",
                "who": &*self.owner,
                "peer": self.address,
                "prompt_tokens": prompt.len(),
                "settings": settings,
                "model": app.model.name,
                "fingerprint": app.model.fingerprint,
                "prompt": app.audited_text(prompt),
            })
        });
        self.show(|| json!({ "kind": "begin", "prompt_tokens": prompt.len() }));
    }

    /// A round of the engine ended in which the generation took part.
    pub(crate) fn round(&mut self, round: &Round) {
        self.app.metrics.round(round);
        if round.prefill && round.tokens.is_empty() {
            return;
        }
        self.rounds += 1;
        let (app, number) = (&self.app, self.rounds);
        let text = app.audit.has_text().then_some(&app.text);
        self.log(|| round_record(round, number, text));
        self.show(|| shown_record(round, number, &app.text));
    }

    /// The client is sent so many tokens.
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

    /// The generation ended, with this reason. Only the first call tells it.
    pub(crate) fn ended(&mut self, finish: &str) {
        let before = std::mem::replace(&mut self.stage, WatchStage::Over);
        match before {
            WatchStage::Over => return,
            WatchStage::Waiting => {
                self.log(|| {
                    json!({
                        "kind": "refused",
                        "who": &*self.owner,
                        "peer": self.address,
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

    /// Writes a record in the audit log.
    fn log(&self, record: impl FnOnce() -> Value) {
        self.app.audit.add(|| self.named(record()));
    }

    /// Shows a record to the owner of the request.
    fn show(&self, record: impl FnOnce() -> Value) {
        self.app.live.show(&self.owner, || self.named(record()));
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
    /// The end is told here if it was not told before: the client left, or the thread of the
    /// generation broke down.
    fn drop(&mut self) {
        self.ended("cancelled");
    }
}
