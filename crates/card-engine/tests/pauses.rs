//! What is found out in an engine's pauses: it comes into force between texts, and changes none.

#![allow(clippy::unwrap_used)]

mod made_up;

use std::time::Duration;

use card_core::forward::Model;
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::scheduler::Shapes;
use card_core::types::Token;
use card_engine::{DecodingRules, Engine, EngineUpdate, Event, Options, Stream};
use made_up::{Call, alone, before, model, options, request, until};

/// A text, and the candidates that were verified for it.
fn text_and_candidates(stream: &Stream) -> (Vec<Token>, usize) {
    let (mut text, mut candidates) = (Vec::new(), 0);
    while let Some(event) = stream.next() {
        match event {
            Event::Tokens(tokens) => text.extend(tokens),
            Event::Round(round) => candidates += round.offered,
            Event::Finished(_) => break,
            Event::Failed(failure) => panic!("{failure}"),
        }
    }
    (text, candidates)
}

/// An engine with a drafter that is always right.
fn engine(options: Options) -> Engine {
    let drafter: Box<dyn Model + Send> = Box::new(model(0.0));
    Engine::start(Box::new(model(0.0)), [drafter], options).unwrap()
}

const RULES: DecodingRules = DecodingRules {
    shapes: Shapes::FREE,
    near_tie: 0.0,
    plain: false,
    reuses: true,
};

#[test]
fn it_decodes_plainly_until_it_is_told_which_shapes_are_the_same() {
    let expected = alone(6);
    let engine = engine(Options {
        plain_at_first: true,
        shapes: Shapes {
            alone: true,
            ..Shapes::FREE
        },
        ..options(Mode::Card, Lanes::Shared)
    });
    let ask = |i: usize| {
        let stream = engine.generate(request(i as u32)).unwrap();
        let (text, candidates) = text_and_candidates(&stream);
        assert_eq!(text, expected[i], "text {i}");
        candidates
    };
    assert_eq!(ask(0) + ask(1), 0);
    engine.pauses().update(EngineUpdate {
        rules: Some(RULES),
        ..EngineUpdate::default()
    });
    assert!(ask(2) > 0 && ask(3) > 0);
    // And back, should a self-test find that the shapes are not the same after all.
    engine.pauses().update(EngineUpdate {
        rules: Some(DecodingRules {
            plain: true,
            reuses: false,
            ..RULES
        }),
        ..EngineUpdate::default()
    });
    assert_eq!(ask(4) + ask(5), 0);
    assert_eq!(ask(0), 0);
}

#[test]
fn rules_do_not_change_within_a_text() {
    let expected = alone(4);
    let engine = engine(Options {
        plain_at_first: true,
        ..options(Mode::Card, Lanes::Shared)
    });
    let first = engine.generate(request(0)).unwrap();
    let pauses = engine.pauses();
    pauses.update(EngineUpdate {
        rules: Some(RULES),
        ..EngineUpdate::default()
    });
    let streams: Vec<_> = (1..4)
        .map(|i| engine.generate(request(i)).unwrap())
        .collect();
    assert_eq!(text_and_candidates(&first).0, expected[0]);
    for (i, stream) in streams.iter().enumerate() {
        assert_eq!(text_and_candidates(stream).0, expected[i + 1]);
    }
}

#[test]
fn a_pause_is_seen_from_outside_and_ends_with_the_engine() {
    let engine = engine(options(Mode::Auto, Lanes::Shared));
    let pauses = engine.pauses();
    until(|| pauses.lasts().is_some());
    assert!(pauses.wait(Duration::ZERO));
    text_and_candidates(&engine.generate(request(0)).unwrap());
    until(|| pauses.lasts().is_some());
    drop(engine);
    assert_eq!(pauses.lasts(), None);
    assert!(!pauses.wait(Duration::ZERO));
}

#[test]
fn forwards_that_take_longer_than_was_measured_are_noticed_and_a_new_measurement_is_believed() {
    let target = before(0.0, |call| {
        if let Call::Forward(_) = call {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    });
    let measured = [(1, 0.1)];
    let options = Options {
        target_cost: card_core::cost::CostCurve::from_points(measured),
        ..options(Mode::Plain, Lanes::Shared)
    };
    let engine = made_up::plain(target, options);
    let pauses = engine.pauses();
    assert!(pauses.deviation().is_none());
    text_and_candidates(&engine.generate(request(0)).unwrap());
    let off = pauses.deviation().unwrap();
    assert_eq!((off.rows, off.measured), (1, 0.1));
    assert!(off.taken >= 1.0, "{off}");
    let [target, draft] = pauses.forward_times();
    assert!(target.medians(16).iter().any(|p| p.0 == 1 && p.1 >= 1.0));
    assert!(draft.medians(1).is_empty());
    // Of one row nothing is said any more, so nothing can be wrong.
    pauses.update(EngineUpdate {
        target: vec![(2, 1.0)],
        ..EngineUpdate::default()
    });
    text_and_candidates(&engine.generate(request(1)).unwrap());
    assert!(pauses.deviation().is_none());
}
