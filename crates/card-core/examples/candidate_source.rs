//! A candidate source of one's own: it remembers an answer, and proposes that again.
//! Run it with `cargo run -p card-core --example candidate_source`.

#[allow(dead_code)] // There is no drafter here.
mod made_up;

use std::{error::Error, time::Duration};

use card_core::scheduler::{Action, Output, Scheduler};
use card_core::types::{Prob, Source, Token};
use card_core::{forward::Model, policy::Mode, protocol::Lanes};
use made_up::SEQUENCE;

/// The answer that was given to the same prompt before.
struct Remembered(Vec<Token>);

impl Remembered {
    /// Proposes what the answer says after `written` tokens. A source says how sure it is of each
    /// token; what its word is worth, the scheduler learns.
    fn propose(&self, scheduler: &mut Scheduler, written: usize) {
        let root = scheduler.tokens(SEQUENCE).map_or(0, |t| t.len() - 1) as u32;
        let next = self.0.get(written..).unwrap_or_default();
        for (depth, &token) in next.iter().take(8).enumerate() {
            let child = [(token, Prob::clamped(0.9))];
            scheduler.propose(SEQUENCE, root, &next[..depth], &child, Source::Correction);
        }
    }
}

/// The text that the target writes, and the time that takes.
fn generate(source: &Remembered) -> Result<(Vec<Token>, Duration), Box<dyn Error>> {
    let mut target = made_up::model(0.0);
    let mut scheduler = made_up::scheduler(Mode::Card, Lanes::Shared);
    scheduler.drafter_lost();
    let (mut now, mut ops, mut text) = (Duration::ZERO, Vec::new(), Vec::new());
    scheduler.open(made_up::request(SEQUENCE, 100), now)?;
    while let Action::Forward(forward) = scheduler.poll(now, &[]) {
        scheduler.take_ops(&mut ops);
        ops.drain(..).try_for_each(|op| target.apply(op))?;
        target.forward(&forward)?;
        now += Duration::from_millis(10);
        scheduler.complete(&forward, &target, now);
        for output in scheduler.take_outputs() {
            if let Output::Tokens(_, _, tokens) = output {
                text.extend(tokens);
            }
        }
        source.propose(&mut scheduler, text.len());
    }
    Ok((text, now))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (text, without) = generate(&Remembered(Vec::new()))?;
    let (again, with) = generate(&Remembered(text.clone()))?;
    assert_eq!(text, again, "candidates change the time, not the text");
    println!("{without:?} without candidates, {with:?} with them");
    Ok(())
}
