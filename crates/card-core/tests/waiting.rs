//! When the target waits for a drafter on a lane of its own.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod common;

use std::time::Duration;

use card_core::cost::CostCurve;
use card_core::forward::{KvOp, Model};
use card_core::policy::{Mode, Policy, PolicyConfig};
use card_core::protocol::{Drafted, Expansion, Lanes};
use card_core::sampler::Sampling;
use card_core::scheduler::{Action, Learned, Request, Scheduler, SchedulerConfig, Shapes};
use card_core::synthetic::Synthetic;
use card_core::types::{Prob, Rows, SequenceId, Source, Tenant, Token};
use common::{LIMITS, VOCAB, model};

const SEQUENCE: SequenceId = SequenceId(1);

/// A generation of many tokens.
fn request(sequence: SequenceId) -> Request {
    Request {
        sequence,
        prompt: vec![3, 1, 4, 1, 5],
        tenant: Tenant::SHARED,
        params: Sampling::default(),
        max_tokens: 200,
        stop_tokens: Vec::new(),
        prediction: Vec::new(),
        logprobs: None,
        plain: false,
        most_candidates: None,
        constraint: None,
    }
}

/// Two models in virtual time; draft steps take 2 ms.
struct Scene {
    scheduler: Scheduler,
    target: Synthetic,
    costs: CostCurve,
    now: Duration,
}

impl Scene {
    /// Forwards of the target's take 70 ms, however many rows they have.
    fn new() -> Self {
        Scene::with(&[(1, 70.0), (64, 70.0)])
    }

    /// They take so many milliseconds for so many rows.
    fn with(target: &[(u32, f64)]) -> Self {
        let config = PolicyConfig {
            mode: Mode::Card,
            lanes: Lanes::Disjoint,
            draft_len: 4,
        };
        let costs = CostCurve::from_points(target.iter().copied());
        let draft = CostCurve::from_points([(1, 2.0)]);
        let config = Policy::new(config, costs.clone(), [draft, CostCurve::default()]);
        let mut scheduler = Scheduler::new(
            SchedulerConfig {
                limits: LIMITS,
                vocab: VOCAB,
                shapes: Shapes::FREE,
                prefill_rows: 7,
                cache_bytes: 1 << 14,
                prefix_slots: 1,
                lookup: false,
                trace: false,
                near_tie: 0.0,
            },
            config,
            Learned::default(),
        );
        scheduler.open(request(SEQUENCE), Duration::ZERO).unwrap();
        Scene {
            scheduler,
            target: model(0.0),
            costs,
            now: Duration::ZERO,
        }
    }

    /// Does a forward if one is launched; else says until when the target waits.
    fn poll(&mut self) -> Option<Duration> {
        self.poll_and(|_| ())
    }

    /// The same; `meanwhile` happens while the forward runs.
    fn poll_and(&mut self, meanwhile: impl FnOnce(&mut Self)) -> Option<Duration> {
        match self.scheduler.poll(self.now, &[]) {
            Action::Forward(forward) => {
                let mut ops: Vec<KvOp> = Vec::new();
                self.scheduler.take_ops(&mut ops);
                for op in ops {
                    self.target.apply(op).unwrap();
                }
                self.target.forward(&forward).unwrap();
                let ms = self.costs.ms(forward.rows.len() as u32);
                let end = self.now + Duration::from_secs_f64(ms / 1e3);
                meanwhile(self);
                self.now = end;
                self.scheduler.complete(&forward, &self.target, self.now);
                None
            }
            Action::Wait(until) => Some(until),
            other => panic!("{other:?}"),
        }
    }

    fn tokens(&self) -> &[Token] {
        self.scheduler.tokens(SEQUENCE).unwrap()
    }

    /// The drafter proposes a wrong token behind the last one, this long after it.
    fn answer(&mut self, after: Duration) {
        self.propose(after, &[], (0, 0.001));
    }

    /// It proposes a token behind `path`.
    fn propose(&mut self, after: Duration, path: &[Token], child: (Token, f32)) {
        self.say(after, SEQUENCE, path, &[child]);
    }

    /// It says that these tokens may follow `path` in a sequence.
    fn say(
        &mut self,
        after: Duration,
        sequence: SequenceId,
        path: &[Token],
        children: &[(Token, f32)],
    ) {
        self.now += after;
        let tokens = self.scheduler.tokens(sequence).unwrap();
        let children = children.iter().map(|&(t, p)| (t, Prob::clamped(p)));
        let expansion = Expansion {
            sequence,
            root: tokens.len() as u32 - 1,
            path: path.to_vec(),
            children: children.collect(),
        };
        let drafted = Drafted {
            source: Source::Draft,
            expansions: vec![expansion],
            rows: Rows::clamped(1),
            started: self.now,
            elapsed: Duration::from_millis(2),
        };
        self.scheduler.drafted(&drafted, self.now);
    }
}

#[test]
fn a_drafter_that_still_reads_the_prompt_is_not_waited_for() {
    let mut scene = Scene::new();
    for _ in 0..5 {
        assert_eq!(scene.poll(), None);
    }
    assert!(scene.tokens().len() >= 10, "every forward wrote a token");
    // Its first word comes long after the token it follows. That is no measure of the next:
    // after a correction the target waits for it.
    scene.answer(Duration::from_millis(900));
    assert_eq!(scene.poll(), None);
    assert!(scene.poll().is_some(), "the next word is due in 2 ms");
}

#[test]
fn a_drafter_that_has_nothing_to_say_is_not_waited_for() {
    let mut scene = Scene::new();
    scene.poll();
    scene.answer(Duration::from_millis(2));
    assert_eq!(scene.poll(), None, "a candidate is there");
    for _ in 0..3 {
        assert!(scene.poll().is_some(), "the next word is due in 2 ms");
        scene.say(Duration::from_millis(2), SEQUENCE, &[], &[]);
        assert_eq!(scene.poll(), None, "there is nothing to wait for");
    }
}

#[test]
fn a_sequence_that_the_drafter_dropped_is_not_waited_for_in_every_round() {
    const OTHER: SequenceId = SequenceId(2);
    let wrong = [(0, 0.001)];
    let step = Duration::from_millis(2);
    let mut scene = Scene::new();
    scene
        .scheduler
        .open(request(OTHER), Duration::ZERO)
        .unwrap();
    // Both prompts are read, the second one a few tokens at a time.
    for _ in 0..4 {
        assert_eq!(scene.poll(), None);
    }
    scene.say(step, SEQUENCE, &[], &wrong);
    scene.say(Duration::ZERO, OTHER, &[], &wrong);
    assert_eq!(scene.poll(), None, "candidates are there");
    // The first sequence is waited for, in vain.
    scene.say(step, OTHER, &[], &[]);
    let until = scene.poll().unwrap();
    scene.now = until;
    assert_eq!(scene.poll(), None);
    for _ in 0..3 {
        scene.say(step, OTHER, &[], &[]);
        assert_eq!(scene.poll(), None, "the first one is not waited for again");
    }
    // It is, once the drafter speaks of it.
    scene.say(step, SEQUENCE, &[], &[]);
    scene.say(Duration::ZERO, OTHER, &[], &[]);
    assert_eq!(scene.poll(), None, "there is nothing to wait for");
    scene.say(step, OTHER, &[], &[]);
    assert!(scene.poll().is_some(), "the next word is due in 2 ms");
}

#[test]
fn an_answer_that_was_late_says_little_of_the_next() {
    let mut scene = Scene::new();
    scene.poll();
    for ms in [2, 2, 2, 4000] {
        scene.answer(Duration::from_millis(ms));
        assert_eq!(scene.poll(), None, "a candidate is there");
    }
    assert!(scene.poll().is_some());
}

#[test]
fn what_a_forward_held_up_says_little_of_the_next() {
    const LATE: Duration = Duration::from_millis(60);
    let text = {
        let mut scene = Scene::new();
        while scene.tokens().len() < 40 {
            scene.poll();
        }
        scene.tokens().to_vec()
    };
    // One candidate pays, a second does not, so the target does not wait for it. The drafter
    // shares its device: while the target is at work it is slow.
    let mut scene = Scene::with(&[(1, 70.0), (2, 70.0), (3, 210.0), (64, 9000.0)]);
    scene.poll();
    let end = scene.tokens().len();
    scene.propose(Duration::ZERO, &[], (text[end], 0.9));
    for _ in 0..8 {
        let end = scene.tokens().len();
        let waits = scene.poll_and(|s| {
            s.propose(LATE, &text[end..=end], (text[end + 1], 0.9));
            s.propose(Duration::ZERO, &text[end..=end + 1], (text[end + 2], 0.9));
        });
        assert_eq!(waits, None, "a candidate is there");
        assert_eq!(scene.tokens().len(), end + 2);
    }
    // Nothing new is proposed, and the target has nothing left to verify.
    assert_eq!(scene.poll(), None);
    assert!(scene.poll().is_some(), "the next word is due in 2 ms");
}
