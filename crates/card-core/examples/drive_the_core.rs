//! Drives the core by hand: a scheduler and a drafter take turns on two made-up models.
//! Run it with `cargo run -p card-core --example drive_the_core`.

mod made_up;

use std::{error::Error, time::Duration};

use card_core::forward::{Forward, KvOp, Model, ModelError};
use card_core::scheduler::{Action, Output};
use card_core::{policy::Mode, protocol::DraftInput, protocol::Lanes};

fn main() -> Result<(), Box<dyn Error>> {
    let (mut target, mut draft) = (made_up::model(0.0), made_up::model(0.5));
    let mut scheduler = made_up::scheduler(Mode::Card, Lanes::Shared);
    let mut drafter = made_up::drafter(Lanes::Shared);
    let (mut now, mut ops, mut drafts) = (Duration::ZERO, Vec::new(), true);
    scheduler.open(made_up::request(made_up::SEQUENCE, 100), now)?;
    scheduler.introductions().for_each(|o| drafter.handle(o));
    loop {
        let outlook = drafter.outlook().filter(|_| drafts);
        match scheduler.poll(now, outlook.as_slice()) {
            Action::Draft(_) => {
                let forward = drafter.poll(now);
                // If nothing can be drafted after all, the scheduler decides without a drafter.
                drafts = forward.is_some();
                if let Some(forward) = forward {
                    drafter.take_ops(&mut ops);
                    decode(&mut draft, &mut ops, &forward)?;
                    now += Duration::from_millis(1);
                    scheduler.drafted(&drafter.complete(&forward, &draft, now), now);
                }
            }
            Action::Forward(forward) => {
                scheduler.take_ops(&mut ops);
                decode(&mut target, &mut ops, &forward)?;
                now += Duration::from_millis(10);
                scheduler.complete(&forward, &target, now);
                drafts = true;
            }
            Action::Wait(until) => now = until,
            Action::Idle => return Ok(()),
        }
        for output in scheduler.take_outputs() {
            if let Output::Tokens(sequence, from, tokens) = output {
                println!("{now:?}: {tokens:?}");
                drafter.handle(DraftInput::Commit {
                    sequence,
                    from,
                    tokens,
                });
            }
        }
    }
}

fn decode(model: &mut dyn Model, ops: &mut Vec<KvOp>, forward: &Forward) -> Result<(), ModelError> {
    ops.drain(..).try_for_each(|op| model.apply(op))?;
    model.forward(forward)
}
