//! Made-up models for tests, which may do something else than they should.

#![allow(dead_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use card_core::forward::{Forward, KvOp, Limits, Logits, Model, ModelError, Rollback};
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::sampler::SamplingParams;
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_core::types::{Tenant, Token};
use card_engine::{Draft, Engine, Event, Generate, Options, Stream};

pub const LIMITS: Limits = Limits {
    context: 400,
    cells: 4000,
    rows: 24,
    leaves: 8,
    rollback: Rollback::Free,
};

pub fn model(noise: f32) -> Synthetic {
    Synthetic::new(SyntheticConfig {
        vocab: 40,
        seed: 5,
        spread: 2.0,
        noise,
        noise_seed: 99,
        limits: LIMITS,
    })
}

/// What a model is asked to do.
pub enum Call<'a> {
    Apply(KvOp),
    Forward(&'a Forward),
    Reset,
}

/// A model with something done before each call. If that fails so does the call, and it
/// leaves behind what a device may leave: a KV operation is not done, and of a forward the
/// first half is.
pub struct Before<F> {
    pub inner: Synthetic,
    pub first: F,
}

impl<F> Logits for Before<F> {
    fn row(&self, i: usize) -> &[f32] {
        self.inner.row(i)
    }
}

impl<F: FnMut(Call<'_>) -> Result<(), ModelError>> Model for Before<F> {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }
    fn vocab(&self) -> usize {
        self.inner.vocab()
    }
    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        (self.first)(Call::Apply(op))?;
        self.inner.apply(op)
    }
    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        let first = (self.first)(Call::Forward(forward));
        if let Err(ModelError::Failed(_)) = &first {
            let half = Forward {
                rows: forward.rows[..forward.rows.len() / 2].to_vec(),
                ..Forward::default()
            };
            let _ = self.inner.forward(&half);
        }
        first?;
        self.inner.forward(forward)
    }
    fn reset(&mut self) -> Result<(), ModelError> {
        (self.first)(Call::Reset)?;
        self.inner.reset()
    }
}

/// A model with something done before each call.
pub fn before<F>(noise: f32, first: F) -> Box<dyn Model + Send>
where
    F: FnMut(Call<'_>) -> Result<(), ModelError> + Send + 'static,
{
    let inner = model(noise);
    Box::new(Before { inner, first })
}

/// A model that counts the stems that are released, and its count.
pub fn counting_releases(noise: f32) -> (Box<dyn Model + Send>, Arc<AtomicU32>) {
    let released: Arc<AtomicU32> = Arc::default();
    let count = released.clone();
    let model = before(noise, move |call| {
        if let Call::Apply(KvOp::Release { .. }) = call {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    });
    (model, released)
}

/// Has a text written and then forgotten: the model that counts keeps it until then, and releases it
/// though nothing is asked any more.
pub fn releases_what_is_forgotten(engine: &Engine, released: &AtomicU32) {
    let asked = request(0);
    let prompt = asked.prompt.clone();
    let answer = read(&engine.generate(asked).unwrap());
    assert_eq!(released.load(Ordering::Relaxed), 0, "it is kept");
    engine
        .forget(Tenant::SHARED, [prompt, answer].concat())
        .unwrap();
    until(|| released.load(Ordering::Relaxed) == 1);
}

/// A target that takes a little, so that a drafter on another lane has time to draft.
pub fn slow() -> Box<dyn Model + Send> {
    before(0.0, |call| {
        if let Call::Forward(_) = call {
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    })
}

pub fn failure(what: &str) -> ModelError {
    ModelError::Failed(what.into())
}

pub fn options(mode: Mode, lanes: Lanes) -> Options {
    Options {
        mode,
        lanes,
        drafter_hang: Duration::from_millis(30),
        drafter_pause: Duration::from_millis(1),
        prefix_slots: 3,
        ..Options::default()
    }
}

/// An engine without a drafter.
pub fn plain(target: Box<dyn Model + Send>, options: Options) -> Engine {
    let none: [Draft; 0] = [];
    Engine::start(target, none, options).unwrap()
}

pub fn request(i: u32) -> Generate {
    Generate {
        prompt: (0..5 + i % 7).map(|j| (i * 3 + j) % 40).collect(),
        params: SamplingParams {
            temperature: if i.is_multiple_of(2) { 0.0 } else { 0.8 },
            seed: i.into(),
            ..SamplingParams::default()
        },
        max_tokens: 60 + i % 5,
        ..Generate::default()
    }
}

/// The whole text, or why there is none.
pub fn try_read(stream: &Stream) -> Result<Vec<Token>, card_engine::Failure> {
    let mut text = Vec::new();
    while let Some(event) = stream.next() {
        match event {
            Event::Tokens(tokens) => text.extend(tokens),
            Event::Round(_) => {}
            Event::Finished(_) => return Ok(text),
            Event::Failed(failure) => return Err(failure),
        }
    }
    panic!("a generation without a last event");
}

pub fn read(stream: &Stream) -> Vec<Token> {
    match try_read(stream) {
        Ok(text) => text,
        Err(failure) => panic!("{failure}"),
    }
}

/// What plain decoding writes for the first requests, one after the other.
pub fn alone(count: u32) -> Vec<Vec<Token>> {
    let engine = plain(Box::new(model(0.0)), options(Mode::Plain, Lanes::Shared));
    let text = |i| read(&engine.generate(request(i)).unwrap());
    (0..count).map(text).collect()
}

/// Asks again and again until it is so.
pub fn until(mut so: impl FnMut() -> bool) {
    const MOST: Duration = Duration::from_secs(60);
    let start = std::time::Instant::now();
    while !so() {
        assert!(start.elapsed() < MOST, "it never came to be");
        std::thread::sleep(Duration::from_millis(1));
    }
}
