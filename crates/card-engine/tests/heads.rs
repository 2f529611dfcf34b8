//! A head of the target in an engine: every text is plain decoding's, whatever becomes of the head.

#![allow(clippy::unwrap_used)]

mod made_up;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use card_core::forward::{Forward, HiddenRow, KvOp, Limits, Logits, Model, ModelError};
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::scheduler::Shapes;
use card_core::synthetic::Synthetic;
use card_core::types::{Source, SourceSet, Token};
use card_engine::{DecodingRules, Draft, Engine, EngineUpdate, Event, MakeModel, Stream};
use made_up::{Call, alone, before, failure, model, options, request};

/// A target that counts the hidden states it shall keep.
struct Keeps {
    inner: Synthetic,
    rows: usize,
    kept: Arc<AtomicUsize>,
}

impl Logits for Keeps {
    fn row(&self, i: usize) -> &[f32] {
        self.inner.row(i)
    }
}

impl Model for Keeps {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }
    fn vocab(&self) -> usize {
        self.inner.vocab()
    }
    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        self.inner.apply(op)
    }
    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        self.rows = forward.rows.len();
        self.inner.forward(forward)
    }
    fn keeps_hidden(&self) -> bool {
        true
    }
    fn keep_hidden(&mut self, rows: &[HiddenRow]) {
        assert!(rows.iter().all(|r| r.row < self.rows));
        self.kept.fetch_add(rows.len(), Ordering::Relaxed);
    }
    fn reset(&mut self) -> Result<(), ModelError> {
        self.inner.reset()
    }
}

fn keeps(kept: &Arc<AtomicUsize>) -> Box<dyn Model + Send> {
    Box::new(Keeps {
        inner: model(0.0),
        rows: 0,
        kept: kept.clone(),
    })
}

fn never() -> MakeModel {
    Box::new(|| -> Result<Box<dyn Model + Send>, String> { Err("there is no other".into()) })
}

/// The text, and who proposed what was accepted of it.
fn read_all(stream: &Stream) -> (Vec<Token>, SourceSet) {
    let (mut text, mut sources) = (Vec::new(), SourceSet::default());
    while let Some(event) = stream.next() {
        match event {
            Event::Tokens(tokens) => text.extend(tokens),
            Event::Round(round) => {
                for accepted in &round.accepted {
                    sources = sources.union(*accepted);
                }
            }
            Event::Finished(_) => return (text, sources),
            Event::Failed(failure) => panic!("{failure}"),
        }
    }
    panic!("a generation without a last event");
}

#[test]
fn a_head_proposes_whatever_lanes_there_are() {
    let expected = alone(4);
    for lanes in [Lanes::Shared, Lanes::Disjoint] {
        let kept = Arc::new(AtomicUsize::new(0));
        let head = Draft::head(Box::new(model(0.0)), never());
        let engine = Engine::start(keeps(&kept), [head], options(Mode::Card, lanes)).unwrap();
        let mut all = SourceSet::default();
        for (i, text) in (0..).zip(&expected) {
            let (found, sources) = read_all(&engine.generate(request(i)).unwrap());
            assert_eq!(&found, text, "{lanes:?}");
            all = all.union(sources);
        }
        assert!(all.contains(Source::Head), "{lanes:?}");
        assert!(!all.contains(Source::Draft));
        assert!(kept.load(Ordering::Relaxed) > 0);
        let times = engine.lane_times();
        assert_eq!((times.drafters, times.drafter_failures), (0, 0));
    }
}

#[test]
fn a_head_reads_states_under_new_rules_too() {
    let expected = alone(2);
    let kept = Arc::new(AtomicUsize::new(0));
    let head = Draft::head(Box::new(model(0.0)), never());
    let options = options(Mode::Card, Lanes::Shared);
    let engine = Engine::start(keeps(&kept), [head], options).unwrap();
    assert_eq!(
        read_all(&engine.generate(request(0)).unwrap()).0,
        expected[0]
    );
    let before = kept.load(Ordering::Relaxed);
    assert!(before > 0);
    engine.pauses().update(EngineUpdate {
        rules: Some(DecodingRules {
            shapes: Shapes::FREE,
            near_tie: 0.0,
            plain: false,
            reuses: true,
        }),
        ..EngineUpdate::default()
    });
    assert_eq!(
        read_all(&engine.generate(request(1)).unwrap()).0,
        expected[1]
    );
    assert!(kept.load(Ordering::Relaxed) > before);
}

#[test]
fn a_head_works_beside_a_draft_model() {
    let expected = alone(4);
    for lanes in [Lanes::Shared, Lanes::Disjoint] {
        let kept = Arc::new(AtomicUsize::new(0));
        let draft: Box<dyn Model + Send> = Box::new(model(0.5));
        let drafts = [
            Draft::from(draft),
            Draft::head(Box::new(model(0.0)), never()),
        ];
        let engine = Engine::start(keeps(&kept), drafts, options(Mode::Auto, lanes)).unwrap();
        for (i, text) in (0..).zip(&expected) {
            let (found, _) = read_all(&engine.generate(request(i)).unwrap());
            assert_eq!(&found, text, "{lanes:?}");
        }
        assert_eq!(engine.lane_times().drafters, 1, "a head is no drafter");
    }
}

#[test]
fn a_head_that_fails_costs_speed_only() {
    let expected = alone(3);
    let kept = Arc::new(AtomicUsize::new(0));
    let mut forwards = 0;
    let failing = before(0.0, move |call| {
        if let Call::Forward(_) = call {
            forwards += 1;
        }
        if forwards > 3 {
            Err(failure("the head broke"))
        } else {
            Ok(())
        }
    });
    let again: MakeModel = Box::new(|| Ok(Box::new(model(0.0)) as Box<dyn Model + Send>));
    let head = Draft::head(failing, again);
    let options = options(Mode::Card, Lanes::Shared);
    let engine = Engine::start(keeps(&kept), [head], options).unwrap();
    for (i, text) in (0..).zip(&expected) {
        let (found, _) = read_all(&engine.generate(request(i)).unwrap());
        assert_eq!(&found, text);
    }
    assert_eq!(engine.lane_times().drafter_failures, 1);
}
