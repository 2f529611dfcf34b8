//! Grammars that are costly to look into.

#![allow(clippy::unwrap_used)]

mod made_up;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::{Arc, Mutex};

use card_core::constraint::{Constraint, Grammar, Scout};
use card_core::forward::Model;
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::types::{Prob, Token};
use card_engine::{Engine, Generate};
use made_up::{alone, model, options, read, request, slow, until};

/// Names of threads.
type Names = Arc<Mutex<BTreeSet<String>>>;

/// Allows everything. Its scouts need a stack of some MiB once, as those of nested patterns may.
#[derive(Clone, Default)]
struct Nested {
    /// The threads on which scouts were asked.
    asked: Names,
}

impl Constraint for Nested {
    fn allowed(&mut self) -> Result<&[u32], String> {
        Ok(&[u32::MAX; 2])
    }

    fn wrote(&mut self, _: Token) -> Result<(), String> {
        Ok(())
    }

    fn grammar(&self) -> Option<Arc<dyn Grammar>> {
        Some(Arc::new(self.clone()))
    }
}

impl Grammar for Nested {
    fn scout(&self) -> Box<dyn Scout> {
        Box::new(NestedScout {
            asked: self.asked.clone(),
            first: true,
        })
    }
}

struct NestedScout {
    asked: Names,
    first: bool,
}

impl Scout for NestedScout {
    fn wrote(&mut self, _: Token) -> Result<(), String> {
        Ok(())
    }

    fn allows(&mut self, _: &[Token], _: Token) -> bool {
        if std::mem::take(&mut self.first) {
            assert_eq!(depth(256), 256);
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default().to_owned();
            self.asked.lock().unwrap().insert(name);
        }
        true
    }

    fn forced(&mut self) -> Vec<(Token, Prob)> {
        Vec::new()
    }
}

/// Goes so many calls deep, of 16 KiB each.
fn depth(calls: usize) -> usize {
    let frame = black_box([1_u8; 16 << 10]);
    if calls == 0 {
        return 0;
    }
    depth(calls - 1) + usize::from(black_box(&frame)[calls])
}

#[test]
fn every_lane_has_the_stack_that_a_nested_grammar_takes() {
    let expected = alone(1);
    // The target's lane looks ahead itself, and the drafter's where it is another one.
    for (lanes, threads) in [(Lanes::Shared, 1), (Lanes::Disjoint, 2)] {
        let drafter: Box<dyn Model + Send> = Box::new(model(0.0));
        let engine = Engine::start(slow(), [drafter], options(Mode::Card, lanes)).unwrap();
        let grammar = Nested::default();
        until(|| {
            let stream = engine.generate(Generate {
                constraint: Some(Box::new(grammar.clone())),
                ..request(0)
            });
            assert_eq!(read(&stream.unwrap()), expected[0], "{lanes:?}");
            grammar.asked.lock().unwrap().len() == threads
        });
    }
}
