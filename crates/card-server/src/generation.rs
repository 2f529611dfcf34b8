//! One generation: the engine's events become text, and everybody who watches hears of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use card_api::ApiError;
use card_core::engine::{Finish, RequestError, Round};
use card_core::sampler::Logprob;
use card_core::types::{Source, Token};
use card_engine::text::TextStream;
use card_engine::{Event, Failure, Generate, Stream};
use crossbeam_channel::RecvTimeoutError;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::watch;

use tracing::field::Empty;

use crate::admission::Deadline;
use crate::app::App;
use crate::grammar::Compiled;
use crate::rollout::{Again, Timing};
use crate::watch::Watched;

/// What happens in a generation.
#[derive(Debug)]
pub enum News {
    /// More text, with the tokens it came from.
    Piece(Piece),
    /// It is over.
    Done(Box<Outcome>),
    /// It failed.
    Failed(ApiError),
}

/// Some text.
#[derive(Debug, Default)]
pub struct Piece {
    /// The text; whole characters, nothing of a stop string.
    pub text: String,
    /// Log probabilities of the tokens, if they were asked for.
    pub logprobs: Vec<TokenLogprob>,
}

/// A token with what the model thought of it.
#[derive(Debug)]
pub struct TokenLogprob {
    /// The bytes of the token.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The most probable tokens, best first.
    pub top: Vec<(Vec<u8>, f32)>,
    /// Characters before it in the text.
    pub offset: usize,
}

/// How a generation ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `stop` or `length`.
    pub finish: &'static str,
    /// Tokens that were written.
    pub tokens: usize,
    /// Tokens of the prompt that an earlier generation had read.
    pub reused: usize,
    /// Tokens of the expected answer that the target wrote too.
    pub predicted: usize,
    /// Tokens of the expected answer that were verified and wrong.
    pub mispredicted: usize,
}

/// What one generation runs on.
pub struct Task {
    /// Its name: that of the request, and the number of the choice.
    pub watched: Watched,
    /// For the engine.
    pub generate: Generate,
    /// What the text has to be. A copy is made when there is a slot to use it in.
    pub grammar: Option<Arc<Mutex<Compiled>>>,
    /// Texts that end it.
    pub stop: Arc<[String]>,
    /// How it is sampled, for the audit log.
    pub settings: Value,
    /// When it has to be over.
    pub deadline: Deadline,
    /// Told, or dropped, once the prompt was read: other answers to it can share that.
    pub prompt_read: Option<watch::Sender<bool>>,
    /// Waited for before it begins, see there.
    pub after: Option<watch::Receiver<bool>>,
}

/// Who hears of a generation.
pub struct Listener {
    index: usize,
    sender: Sender<(usize, News)>,
    deadline: Deadline,
    /// What it may keep its generation waiting, in milliseconds.
    patience_ms: AtomicU64,
}

impl Listener {
    /// Of choice `index` of a request that has to be answered by then.
    pub fn new(
        index: usize,
        sender: Sender<(usize, News)>,
        deadline: Deadline,
        patience: Duration,
    ) -> Self {
        Listener {
            index,
            sender,
            deadline,
            patience_ms: AtomicU64::new(patience.as_millis() as u64),
        }
    }

    /// Tells, on a thread that may wait: a reader that is behind holds its own generation
    /// back, and with it a slot; so not for long in all, and not past the deadline. Whether
    /// anybody is there is asked with [`Listener::is_gone`].
    pub fn send(&self, news: News) {
        let Err(TrySendError::Full(news)) = self.sender.try_send((self.index, news)) else {
            return;
        };
        let began = Instant::now();
        let patience = Duration::from_millis(self.patience_ms.load(Ordering::Relaxed));
        let until = self.deadline.at.min(began + patience);
        let send = tokio::time::timeout_at(until.into(), self.sender.send(news));
        let waited = match Handle::current().block_on(send) {
            Ok(_) => began.elapsed().min(patience),
            Err(_) => patience,
        };
        let waited = waited.as_millis() as u64;
        self.patience_ms.fetch_sub(waited, Ordering::Relaxed);
    }

    /// The same where waiting is not blocking.
    pub async fn tell(&self, news: News) {
        let _ = self.sender.send((self.index, news)).await;
    }

    /// Nobody is there any more.
    pub fn is_gone(&self) -> bool {
        self.sender.is_closed() || self.patience_ms.load(Ordering::Relaxed) == 0
    }

    /// Waits until nobody is there any more.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

/// Runs a generation to its end. Whoever listens may go away, which ends it.
pub fn run(app: &Arc<App>, mut task: Task, listener: &Listener) {
    let span = tracing::info_span!(
        "generate",
        request = task.watched.request(),
        prompt_tokens = task.generate.prompt.len(),
        tokens = Empty,
        rounds = Empty,
        finish = Empty,
    );
    let span = span.entered();
    task.watched.began(&task.generate.prompt, &task.settings);
    if let Some(grammar) = task.grammar.take() {
        let grammar = grammar.lock().unwrap_or_else(PoisonError::into_inner);
        task.generate.constraint = Some(grammar.constraint());
    }
    let rollout = &app.metrics.rollout;
    let timing = Timing::new(task.generate.plain, task.watched.came());
    let again = rollout.remember(&task.generate);
    let stream = match app.engine.generate(task.generate) {
        Ok(stream) => stream,
        Err(failure) => {
            task.watched.ended("failed");
            listener.send(News::Failed(refusal(&failure)));
            return;
        }
    };
    let mut writer = Writer {
        app,
        watched: task.watched,
        text: TextStream::new(task.stop.to_vec()),
        logprobs: Vec::new(),
        prompt_read: task.prompt_read,
        timing,
        again,
        outcome: Outcome {
            finish: "stop",
            tokens: 0,
            reused: 0,
            predicted: 0,
            mispredicted: 0,
        },
    };
    let last = loop {
        match stream.events().recv_deadline(task.deadline.at) {
            Ok(event) => match writer.take(event, &stream, listener) {
                Some(last) => break last,
                None if listener.is_gone() => {
                    stream.cancel();
                    app.metrics.cancelled.inc();
                    writer.watched.ended("cancelled");
                    return;
                }
                None => {}
            },
            Err(RecvTimeoutError::Timeout) => {
                stream.cancel();
                break News::Failed(task.deadline.passed());
            }
            Err(RecvTimeoutError::Disconnected) => {
                break News::Failed(ApiError::engine_gone("it has stopped"));
            }
        }
    };
    let finish = match &last {
        News::Done(outcome) => outcome.finish,
        _ => "failed",
    };
    app.metrics
        .reused_tokens
        .inc_by(writer.outcome.reused as u64);
    span.record("tokens", writer.outcome.tokens);
    span.record("rounds", writer.watched.rounds());
    span.record("finish", finish);
    writer.watched.ended(finish);
    let done = matches!(last, News::Done(_));
    listener.send(last);
    if done {
        rollout.ended(&writer.timing);
        if let Some(again) = writer.again {
            rollout.check(again, &app.engine, &app.admission);
        }
    }
}

/// How a failure of the engine looks to a client.
fn refusal(failure: &Failure) -> ApiError {
    match failure {
        Failure::Request(error @ RequestError::TooLong { .. }) => {
            ApiError::too_long("prompt", error.to_string())
        }
        Failure::Request(error) => ApiError::invalid(error.to_string()),
        Failure::Constraint(why) => ApiError::schema("response_format", why),
        Failure::Stopped(why) => ApiError::engine_gone(why.as_str()),
        Failure::Target(_) | Failure::Unread(_) | Failure::Refused(_) => {
            ApiError::internal(failure.to_string())
        }
    }
}

struct Writer<'a> {
    app: &'a Arc<App>,
    watched: Watched,
    text: TextStream,
    /// Of tokens that are still to come.
    logprobs: Vec<Logprob>,
    prompt_read: Option<watch::Sender<bool>>,
    timing: Timing,
    again: Option<Again>,
    outcome: Outcome,
}

impl Writer<'_> {
    /// Takes an event; the last news if it was the last one.
    fn take(&mut self, event: Event, stream: &Stream, listener: &Listener) -> Option<News> {
        match event {
            Event::Round(round) => {
                self.count_prediction(&round);
                self.outcome.reused = round.reused;
                self.watched.round(&round);
                self.logprobs.extend(round.logprobs);
                None
            }
            Event::Tokens(tokens) => {
                if let Some(others) = self.prompt_read.take() {
                    let _ = others.send(true);
                }
                self.timing.wrote(tokens.len());
                if let Some(again) = &mut self.again {
                    again.wrote(&tokens);
                }
                let piece = self.write(&tokens);
                self.watched.wrote(tokens.len());
                if !piece.text.is_empty() || !piece.logprobs.is_empty() {
                    listener.send(News::Piece(piece));
                }
                if self.text.stopped() {
                    stream.cancel();
                }
                None
            }
            Event::Finished(reason) => {
                let rest = self.text.finish();
                if !rest.is_empty() {
                    let piece = Piece {
                        text: rest,
                        ..Piece::default()
                    };
                    listener.send(News::Piece(piece));
                }
                self.outcome.finish = match reason {
                    _ if self.text.stopped() => "stop",
                    Finish::Stop => "stop",
                    Finish::Length | Finish::ContextFull | Finish::Cancelled => "length",
                };
                Some(News::Done(Box::new(self.outcome.clone())))
            }
            Event::Failed(failure) => Some(News::Failed(refusal(&failure))),
        }
    }

    fn write(&mut self, tokens: &[Token]) -> Piece {
        let mut piece = Piece::default();
        let mut logprobs = self.logprobs.drain(..);
        for &token in tokens {
            let known = logprobs.next();
            if self.text.stopped() {
                continue;
            }
            self.outcome.tokens += 1;
            let bytes = |token| self.app.tokenizer.piece(token, true);
            piece
                .text
                .push_str(&self.text.push(&self.app.tokenizer.piece(token, false)));
            piece.logprobs.extend(known.map(|known| TokenLogprob {
                bytes: bytes(token),
                logprob: known.logprob,
                top: known.top.iter().map(|&(t, p)| (bytes(t), p)).collect(),
                offset: 0,
            }));
        }
        piece
    }

    fn count_prediction(&mut self, round: &Round) {
        let predicted = round
            .nodes
            .iter()
            .filter(|n| n.sources.contains(Source::Prediction));
        for node in predicted {
            match node.accepted {
                true => self.outcome.predicted += 1,
                false => self.outcome.mispredicted += 1,
            }
        }
    }
}
