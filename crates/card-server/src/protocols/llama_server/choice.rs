//! One of the answers to a native request as it is written.

use std::sync::Arc;
use std::time::Instant;

use card_core::sampler::SamplingParams;
use card_core::types::{Tenant, Token};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::fields::WantedFields;
use super::lines::AnswerLines;
use super::native_job::{NamedSlot, NativeJob, PROMPT, SETTINGS};
use super::probabilities::{Probabilities, ShownProbabilities};
use crate::app::SlotTexts;
use crate::generation::{EndCause, GenerationEnd, GenerationTimings, Piece, PieceLogprob};
use crate::protocols::timings::{progress, timings};

/// What all answers to a request have in common.
pub(super) struct CommonParts {
    /// Name of the model.
    pub(super) model: String,
    /// What the answers need beside the job.
    pub(super) job: NativeJob,
    /// How they are sampled.
    pub(super) params: SamplingParams,
    /// Texts that end them.
    pub(super) stop: Arc<[String]>,
    /// Whether they are streams.
    pub(super) streams: bool,
    /// Whether times and counts come with every chunk.
    pub(super) timings_per_token: bool,
    /// Answers to each prompt.
    pub(super) answers_per_prompt: usize,
    /// Whether the client may hear what an earlier request had read.
    pub(super) tell_cached: bool,
    /// The slot that holds the text when the first answer was written.
    pub(super) slot: Option<HeldSlot>,
}

/// A slot that holds the text of an answer when it was written.
pub(super) struct HeldSlot {
    /// What slots hold.
    pub(super) texts: Arc<SlotTexts>,
    /// Whose request it is.
    pub(super) tenant: Tenant,
    /// The slot, and the prompt.
    pub(super) slot: NamedSlot,
}

impl HeldSlot {
    /// The slot holds the prompt and these tokens behind it, without the last one: nobody has read
    /// that.
    fn keep(&self, written: &[Token]) {
        let read = written.split_last().map_or(&[][..], |(_, read)| read);
        let text = [&self.slot.prompt[..], read].concat();
        self.texts.keep(self.tenant, self.slot.number, text);
    }
}

impl CommonParts {
    /// How probabilities are told.
    fn shown(&self) -> ShownProbabilities<'_> {
        let options = &self.job.options;
        ShownProbabilities {
            most: options.n_probs,
            after: options.post_sampling_probs.then_some(&self.params),
        }
    }

    /// Whether only the prompt was to be read.
    fn reads_only(&self) -> bool {
        self.job.options.n_predict == Some(0)
    }

    fn id_slot(&self) -> i64 {
        self.job.options.id_slot.map_or(-1, i64::from)
    }

    /// llama-server's words for what ended an answer.
    fn stop_type(&self, end: Option<&GenerationEnd>) -> (&'static str, &str) {
        match end.map(|end| end.cause) {
            Some(EndCause::EndToken) if !self.reads_only() => ("eos", ""),
            Some(EndCause::StopText(number)) => {
                let word = self.stop.get(number);
                ("word", word.map_or("", String::as_str))
            }
            _ => ("limit", ""),
        }
    }
}

/// One of the answers, as it is written.
pub(super) struct NativeChoice {
    /// The number of the answer, from 0.
    index: usize,
    common: Arc<CommonParts>,
    /// The text so far; in a stream what no chunk has yet.
    text: String,
    /// The tokens so far, of an answer that is sent as a whole, or that a slot holds.
    tokens: Vec<Token>,
    /// The probabilities so far, of an answer that is sent as a whole.
    logprobs: Vec<PieceLogprob>,
    lines: AnswerLines,
    /// Times and counts so far.
    taken: GenerationTimings,
    /// Whether it ended with one of its lines; what comes after is nobody's.
    over: bool,
}

impl NativeChoice {
    /// Answer number `index`.
    pub(super) fn new(index: usize, common: Arc<CommonParts>) -> Self {
        let options = &common.job.options;
        NativeChoice {
            index,
            text: String::new(),
            tokens: Vec::new(),
            logprobs: Vec::new(),
            lines: AnswerLines::new(options.indent, options.time_limit),
            taken: GenerationTimings::default(),
            over: false,
            common,
        }
    }

    /// Whether it ended with one of its lines.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Takes a piece; returns the chunks it makes, if it is a stream.
    pub(super) fn take(&mut self, mut piece: Piece) -> Vec<Value> {
        if self.over {
            return Vec::new();
        }
        self.taken = piece.timings;
        if let Some(read) = &piece.progress {
            let told = progress(read, &self.taken, self.common.tell_cached);
            let mut chunk = self.chunk("", &[], &[]);
            chunk["prompt_progress"] = json!(told);
            return vec![chunk];
        }
        if self.common.reads_only() {
            return Vec::new();
        }
        if let Some(end) = self.lines.push(&piece.text, Instant::now()) {
            piece.text.truncate(end);
            self.over = true;
        }
        if !self.common.streams || self.holds() {
            let tokens = piece.tokens.iter().map(|(token, _)| token);
            self.tokens.extend(tokens);
        }
        if !self.common.streams || piece.tokens.is_empty() {
            self.text.push_str(&piece.text);
            if !self.common.streams {
                self.logprobs.append(&mut piece.logprobs);
            }
            return Vec::new();
        }
        self.chunks(&piece)
    }

    /// The chunks of a piece: one, or one for each token where probabilities are told.
    fn chunks(&self, piece: &Piece) -> Vec<Value> {
        if piece.logprobs.is_empty() {
            let tokens: Vec<Token> = piece.tokens.iter().map(|(token, _)| *token).collect();
            return vec![self.chunk(&piece.text, &tokens, &[])];
        }
        let (mut chunks, mut begin) = (Vec::new(), 0);
        for ((token, end), logprob) in piece.tokens.iter().zip(&piece.logprobs) {
            // The answer may have ended within the piece.
            let end = (*end).min(piece.text.len());
            let text = piece.text.get(begin..end).unwrap_or_default();
            begin = end;
            chunks.push(self.chunk(text, &[*token], std::slice::from_ref(logprob)));
        }
        chunks
    }

    fn chunk(&self, text: &str, tokens: &[Token], logprobs: &[PieceLogprob]) -> Value {
        let common = &self.common;
        let mut chunk = json!({
            "index": self.index,
            "content": text,
            "tokens": tokens,
            "stop": false,
            "id_slot": common.id_slot(),
            "tokens_predicted": self.taken.tokens,
            "tokens_evaluated": self.prompt_tokens(),
        });
        if common.timings_per_token {
            chunk["timings"] = json!(timings(&self.taken, common.tell_cached));
        }
        if !logprobs.is_empty() {
            let shown = common.shown();
            let entries = logprobs.iter().map(|token| shown.entry(token));
            chunk["completion_probabilities"] = entries.collect();
        }
        chunk
    }

    /// Whether a slot holds its text when it was written.
    fn holds(&self) -> bool {
        self.index == 0 && self.common.slot.is_some()
    }

    /// The number of its prompt.
    fn prompt(&self) -> usize {
        self.index / self.common.answers_per_prompt.max(1)
    }

    fn prompt_tokens(&self) -> usize {
        let prompt = self.common.job.prompts.get(self.prompt());
        prompt.map_or(0, |prompt| prompt.tokens)
    }

    /// The whole answer, or the last event of a stream; `end` is how its generation ended, and
    /// `None` if it ended with one of its lines.
    pub(super) fn finish(&mut self, end: Option<&GenerationEnd>) -> FinalAnswer {
        if let Some(end) = end {
            self.taken = end.timings;
        }
        let common = self.common.clone();
        let options = &common.job.options;
        if common.reads_only() {
            self.taken.tokens = 0;
        }
        let (stop_type, word) = common.stop_type(end);
        let tokens = std::mem::take(&mut self.tokens);
        if let Some(slot) = common.slot.as_ref().filter(|_| self.index == 0) {
            slot.keep(&tokens);
        }
        let told = if options.return_tokens && !common.streams {
            tokens
        } else {
            Vec::new()
        };
        let evaluated = self.prompt_tokens();
        let written = self.taken.tokens;
        let fields = json!({
            "index": self.index,
            "content": std::mem::take(&mut self.text),
            "tokens": told,
            "id_slot": common.id_slot(),
            "stop": true,
            "model": common.model,
            "tokens_predicted": written,
            "tokens_evaluated": evaluated,
            "has_new_line": self.lines.ended_one(),
            "truncated": end.is_some_and(|end| end.cause == EndCause::ContextFull),
            "stop_type": stop_type,
            "stopping_word": word,
            "tokens_cached": evaluated + written,
            "timings": timings(&self.taken, common.tell_cached),
        });
        let fields = match fields {
            Value::Object(fields) => fields,
            // It is one.
            _ => Map::new(),
        };
        let logprobs = std::mem::take(&mut self.logprobs);
        FinalAnswer {
            fields,
            prompt: self.prompt(),
            logprobs,
            common,
        }
    }
}

/// The field with the probabilities.
const PROBABILITIES: &str = "completion_probabilities";

/// A whole answer, or the last event of a stream. What all answers to a request repeat, its
/// settings and its prompts, is not copied, but written where it is wanted.
pub(super) struct FinalAnswer {
    /// The fields that are its own, but for the probabilities.
    fields: Map<String, Value>,
    /// The number of its prompt.
    prompt: usize,
    logprobs: Vec<PieceLogprob>,
    common: Arc<CommonParts>,
}

impl FinalAnswer {
    fn prompt_text(&self) -> &str {
        let prompt = self.common.job.prompts.get(self.prompt);
        prompt.map_or("", |prompt| prompt.text.as_str())
    }

    /// The probabilities, if there are some.
    fn probabilities(&self) -> Option<Probabilities<'_>> {
        let shown = self.common.shown();
        (!self.logprobs.is_empty()).then_some(Probabilities {
            tokens: &self.logprobs,
            shown,
        })
    }
}

impl Serialize for FinalAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let settings = &self.common.job.settings;
        match &self.common.job.wanted {
            WantedFields::All => {
                for (name, value) in &self.fields {
                    map.serialize_entry(name, value)?;
                }
                map.serialize_entry(SETTINGS, settings)?;
                map.serialize_entry(PROMPT, self.prompt_text())?;
            }
            WantedFields::These(paths) => {
                for path in paths {
                    if path.name() == PROMPT {
                        map.serialize_entry(PROMPT, self.prompt_text())?;
                        continue;
                    }
                    let first = if path.first() == SETTINGS {
                        Some(settings)
                    } else {
                        self.fields.get(path.first())
                    };
                    if let Some(value) = first.and_then(|value| path.within(value)) {
                        map.serialize_entry(path.name(), value)?;
                    }
                }
            }
        }
        let wanted = self.common.job.wanted.has(PROBABILITIES);
        if let Some(all) = self.probabilities().filter(|_| wanted) {
            map.serialize_entry(PROBABILITIES, &all)?;
        }
        map.end()
    }
}
