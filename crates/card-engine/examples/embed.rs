//! Embeds an engine in a program of your own.
//!
//! cargo run --release -p card-engine --example embed
//!
//! The models here are made up, so that nothing has to be downloaded; a real program puts a
//! `card_llama::LlamaContext`, or a `Model` of its own, in their place.

use card_core::forward::{Limits, Model, Rollback};
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_engine::{Engine, Event, Generate, Options};

/// A model of one made-up language. With noise it is a draft model, which is wrong now and
/// then.
fn model(noise: f32) -> Box<dyn Model + Send> {
    Box::new(Synthetic::new(SyntheticConfig {
        vocab: 100,
        seed: 1,
        spread: 2.0,
        noise,
        noise_seed: 2,
        limits: Limits {
            context: 512,
            cells: 2048,
            rows: 64,
            leaves: 8,
            rollback: Rollback::Free,
        },
    }))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // One lane each: the drafter drafts while the target verifies.
    let options = Options {
        mode: Mode::Card,
        lanes: Lanes::Disjoint,
        ..Options::default()
    };
    let engine = Engine::start(model(0.0), [model(0.5)], options)?;
    let stream = engine.generate(Generate {
        prompt: vec![1, 2, 3],
        max_tokens: 64,
        ..Generate::default()
    })?;
    while let Some(event) = stream.next() {
        match event {
            Event::Tokens(tokens) => println!("{tokens:?}"),
            Event::Round(round) => println!("  accepted {}", round.accepted.len()),
            Event::Finished(reason) => println!("{reason:?}"),
            Event::Failed(failure) => return Err(failure.into()),
        }
    }
    Ok(())
}
