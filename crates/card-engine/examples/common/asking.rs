//! What is asked of an engine, and what it writes.

use std::collections::BTreeMap;

use card_core::sampler::SamplingParams;
use card_core::types::Token;
use card_engine::{Engine, Event, Generate, Stream};

use super::AnyError;

/// What is asked of an engine.
#[derive(Clone)]
pub struct Ask {
    /// The prompt.
    pub prompt: Vec<Token>,
    /// How to sample.
    pub params: SamplingParams,
    /// Tokens to write.
    pub tokens: u32,
}

impl Ask {
    /// Asks.
    pub fn start(&self, engine: &Engine) -> Result<Stream, AnyError> {
        Ok(engine.generate(Generate {
            prompt: self.prompt.clone(),
            params: self.params.clone(),
            max_tokens: self.tokens,
            ..Generate::default()
        })?)
    }

    /// Asks, and waits for the text.
    pub fn text(&self, engine: &Engine) -> Result<Text, AnyError> {
        let stream = self.start(engine)?;
        let mut text = Text::default();
        while let Some(event) = stream.next() {
            if text.take(event)? {
                return Ok(text);
            }
        }
        Err("the engine ended before the text did".into())
    }
}

/// What an engine wrote, and how.
#[derive(Default)]
pub struct Text {
    /// What it wrote.
    pub tokens: Vec<Token>,
    /// Distance of each decision from another one, in logits, by index in the sequence.
    pub margins: BTreeMap<u32, f32>,
    /// Candidates that were verified.
    pub offered: usize,
    /// Candidates that were right.
    pub accepted: usize,
    /// Forwards that had rows of its.
    pub rounds: usize,
    /// Rounds whose forward had rows of others too.
    pub mixed: usize,
    /// Tokens of the prompt that were not decoded again.
    pub reused: usize,
}

impl Text {
    /// Takes what is told of it; `true` if that was the last.
    pub fn take(&mut self, event: Event) -> Result<bool, AnyError> {
        match event {
            Event::Tokens(tokens) => self.tokens.extend(tokens),
            Event::Round(round) => {
                self.margins.extend(round.near_ties.iter().copied());
                self.offered += round.offered;
                self.accepted += round.accepted.len();
                self.rounds += 1;
                self.mixed += usize::from(round.why.sequences > 1);
                self.reused = round.reused;
            }
            Event::Finished(_) => return Ok(true),
            Event::Failed(why) => return Err(why.into()),
        }
        Ok(false)
    }
}

/// Reads what a request beside ours has told so far.
pub fn is_over(stream: &Stream) -> Result<bool, AnyError> {
    while let Ok(event) = stream.events().try_recv() {
        match event {
            Event::Finished(_) => return Ok(true),
            Event::Failed(why) => return Err(why.into()),
            Event::Tokens(_) | Event::Round(_) => {}
        }
    }
    Ok(false)
}
