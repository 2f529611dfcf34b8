//! Turns the events of the engine into text and log probabilities.

use card_api::LlamaOptions;
use card_core::sampler::Logprob;
use card_core::scheduler::{Finish, Round};
use card_core::types::{Source, Token};
use card_engine::text::TextStream;
use card_engine::{Event, Stream};
use tokio::sync::watch;

use super::end::{EndCause, GenerationEnd, SpeculationFigures};
use super::failure::refusal;
use super::news::{News, Piece, PieceLogprob};
use super::scored::ScoredPrompt;
use super::sink::EventSink;
use super::timings::{GenerationClock, GenerationTimings};
use super::watched::Watched;
use crate::app::ModelText;
use crate::rollout::{Recheck, Timing};

/// What a writer takes over from its task.
pub(super) struct WriterParts {
    /// Who watches the generation.
    pub(super) watched: Watched,
    /// Most tokens of the answer that are shown.
    pub(super) shown: usize,
    /// Whether marks of thoughts and calls are shown that are control tokens.
    pub(super) marks: bool,
    /// The prompt, where its own tokens get log probabilities.
    pub(super) scored: Option<ScoredPrompt>,
    /// Where in the request it stands what the text has to be.
    pub(super) shape_field: &'static str,
    /// Told when the first token came, which says that the prompt was read.
    pub(super) prompt_read: Option<watch::Sender<bool>>,
    /// How long the generation takes, for the rollout.
    pub(super) timing: Timing,
    /// What is kept to decode the answer again, if it may be.
    pub(super) recheck: Option<Recheck>,
    /// Takes the generation's time.
    pub(super) clock: GenerationClock,
    /// What is told beside the text.
    pub(super) report: LlamaOptions,
}

/// Writes the text of one generation.
pub(super) struct Writer<'a> {
    model: &'a ModelText,
    text: TextStream,
    /// Log probabilities of tokens that are still to come.
    logprobs: Vec<Logprob>,
    prompt: PromptNews,
    /// Tokens of the answer that may still be shown.
    shown: usize,
    /// Whether marks of thoughts and calls are shown that are control tokens.
    marks: bool,
    /// Where in the request it stands what the text has to be.
    shape_field: &'static str,
    /// Tokens whose text was held back so far.
    untold: usize,
    pub(super) watched: Watched,
    pub(super) timing: Timing,
    pub(super) recheck: Option<Recheck>,
    clock: GenerationClock,
    report: LlamaOptions,
    /// The texts that end the answer.
    stops: &'a [String],
    /// How the generation ends, as far as it is known.
    pub(super) end: GenerationEnd,
}

/// What is still to be told about the prompt. Its own tokens, where they get log probabilities,
/// come as if they were written.
struct PromptNews {
    /// Told when the first token came, which says that the prompt was read.
    read: Option<watch::Sender<bool>>,
    /// The first token, until it was told.
    first: Option<Token>,
    /// Tokens of the prompt that are still to come.
    left: usize,
    /// Whether the tokens get log probabilities at all.
    scores: bool,
}

impl<'a> Writer<'a> {
    /// Nothing is written yet. The text ends before the first of `stops`.
    pub(super) fn new(model: &'a ModelText, stops: &'a [String], parts: WriterParts) -> Self {
        Writer {
            model,
            text: TextStream::new(stops.to_vec()),
            logprobs: Vec::new(),
            prompt: PromptNews {
                read: parts.prompt_read,
                first: parts.scored.as_ref().map(|s| s.first),
                left: parts.scored.as_ref().map_or(0, |s| s.rest.len()),
                scores: parts.scored.is_some(),
            },
            shown: parts.shown,
            marks: parts.marks,
            shape_field: parts.shape_field,
            untold: 0,
            watched: parts.watched,
            timing: parts.timing,
            recheck: parts.recheck,
            clock: parts.clock,
            report: parts.report,
            stops,
            end: GenerationEnd {
                finish: "stop",
                tokens: 0,
                reused: 0,
                predicted: 0,
                mispredicted: 0,
                speculation: SpeculationFigures::default(),
                cause: EndCause::EndToken,
                timings: GenerationTimings::default(),
            },
        }
    }

    /// Takes an event; returns the last news if it was the last one.
    pub(super) fn take(&mut self, event: Event, stream: &Stream, sink: &EventSink) -> Option<News> {
        match event {
            Event::Round(round) => {
                if !self.prompt.scores {
                    self.count_prediction(&round);
                }
                self.end.speculation += SpeculationFigures::of(&round);
                self.end.reused = round.reused;
                self.watched.round(&round);
                self.tell_progress(&round, sink);
                self.logprobs.extend(round.logprobs);
                None
            }
            Event::Tokens(tokens) => {
                self.take_tokens(&tokens, sink);
                if self.text.stopped() {
                    stream.cancel();
                }
                None
            }
            Event::Finished(reason) => Some(self.finish(reason, sink)),
            Event::Failed(failure) => Some(News::Failed(refusal(&failure, self.shape_field))),
        }
    }

    fn take_tokens(&mut self, tokens: &[Token], sink: &EventSink) {
        if let Some(others) = self.prompt.read.take() {
            let _ = others.send(true);
        }
        self.timing.wrote(tokens.len());
        if let Some(recheck) = &mut self.recheck {
            recheck.wrote(tokens);
        }
        let of_answer = tokens.len() - tokens.len().min(self.prompt.left);
        let mut piece = self.write(tokens);
        if of_answer > 0 {
            self.watched.wrote(of_answer);
            self.clock.wrote(self.end.tokens);
        }
        piece.timings = self.clock.timings;
        self.untold += piece.count;
        if !piece.text.is_empty() || !piece.logprobs.is_empty() || !piece.tokens.is_empty() {
            piece.count = std::mem::take(&mut self.untold);
            sink.send(News::Piece(piece));
        }
    }

    /// Tells how much of the prompt is read, if the client wants to hear of it.
    fn tell_progress(&mut self, round: &Round, sink: &EventSink) {
        let before = self.clock.timings;
        let [begin, read] = self.clock.round(round);
        if !self.report.progress {
            return;
        }
        let known = GenerationTimings {
            reused: round.reused,
            ..before
        };
        for (progress, timings) in [(begin, known), (read, self.clock.timings)] {
            if progress.is_some() {
                sink.send(News::Piece(Piece {
                    progress,
                    timings,
                    ..Piece::default()
                }));
            }
        }
    }

    /// The text of tokens. What comes after a stop text is left out. The tokens of a prompt
    /// have log probabilities only: its text is told elsewhere.
    fn write(&mut self, tokens: &[Token]) -> Piece {
        let mut piece = Piece::default();
        let tokenizer = &self.model.tokenizer;
        let bytes = |token| tokenizer.piece(token, true);
        piece
            .logprobs
            .extend(self.prompt.first.take().map(|first| PieceLogprob {
                token: first,
                bytes: bytes(first),
                logprob: None,
                top: Vec::new(),
                top_tokens: Vec::new(),
                offset: 0,
            }));
        let mut logprobs = self.logprobs.drain(..);
        for &token in tokens {
            let known = logprobs.next();
            if self.prompt.left > 0 {
                self.prompt.left -= 1;
            } else if self.text.stopped() || self.shown == 0 {
                continue;
            } else {
                self.shown -= 1;
                self.end.tokens += 1;
                piece.count += 1;
                let shown = if self.marks {
                    self.model.answer_piece(token)
                } else {
                    tokenizer.piece(token, false)
                };
                let text = self.text.push(&shown);
                piece.text.push_str(&text);
                if self.report.tokens {
                    piece.tokens.push((token, piece.text.len()));
                }
            }
            piece.logprobs.extend(known.map(|known| PieceLogprob {
                token,
                bytes: bytes(token),
                logprob: Some(known.logprob),
                top: known.top.iter().map(|&(t, p)| (bytes(t), p)).collect(),
                top_tokens: known.top.iter().map(|&(t, _)| t).collect(),
                offset: 0,
            }));
        }
        piece
    }

    fn finish(&mut self, reason: Finish, sink: &EventSink) -> News {
        let rest = self.text.finish();
        if !rest.is_empty() {
            sink.send(News::Piece(Piece {
                text: rest,
                count: std::mem::take(&mut self.untold),
                timings: self.clock.timings,
                ..Piece::default()
            }));
        }
        self.end.timings = self.clock.timings;
        self.end.cause = self.cause(reason);
        self.end.finish = match reason {
            _ if self.text.stopped() => "stop",
            Finish::Stop => "stop",
            Finish::Length | Finish::ContextFull | Finish::Cancelled => "length",
        };
        News::Done(Box::new(self.end))
    }

    fn cause(&self, reason: Finish) -> EndCause {
        if let Some(stop) = self.text.stop_text() {
            let number = self.stops.iter().position(|s| s == stop);
            return EndCause::StopText(number.unwrap_or(0));
        }
        match reason {
            Finish::Stop => EndCause::EndToken,
            Finish::Length | Finish::Cancelled => EndCause::Limit,
            Finish::ContextFull => EndCause::ContextFull,
        }
    }

    fn count_prediction(&mut self, round: &Round) {
        let predicted = round.nodes.iter();
        for node in predicted.filter(|n| n.sources.contains(Source::Prediction)) {
            if node.accepted {
                self.end.predicted += 1;
            } else {
                self.end.mispredicted += 1;
            }
        }
    }
}
