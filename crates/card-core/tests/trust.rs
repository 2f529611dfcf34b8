//! What drafters, files and other users say changes nothing that is not theirs to change.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod common;

use std::time::Duration;

use card_core::cache::BYTES_PER_NODE;
use card_core::cost::CostCurve;
use card_core::forward::{KvOp, Model};
use card_core::policy::{Mode, Policy, PolicyConfig};
use card_core::protocol::{Drafted, Expansion, Lanes};
use card_core::sampler::Sampling;
use card_core::scheduler::{
    Action, Learned, Output, Request, Round, Scheduler, SchedulerConfig, Shapes,
};
use card_core::sources::Corrections;
use card_core::synthetic::Synthetic;
use card_core::types::{Prob, Rows, SequenceId, Source, Tenant, Token};
use common::{LIMITS, Setup, VOCAB, model, run};

const SEQUENCE: SequenceId = SequenceId(1);
const PROMPT: [Token; 5] = [3, 1, 4, 1, 5];

/// A scheduler, and a model whose forwards take 70 ms, however many rows they have.
struct Scene {
    scheduler: Scheduler,
    target: Synthetic,
    now: Duration,
    rounds: Vec<Round>,
    ops: Vec<KvOp>,
}

impl Scene {
    fn new(cache_nodes: usize, learned: Learned) -> Self {
        let config = PolicyConfig {
            mode: Mode::Card,
            lanes: Lanes::Disjoint,
            draft_len: 4,
        };
        let costs = CostCurve::from_points([(1, 70.0), (64, 70.0)]);
        let draft = CostCurve::from_points([(1, 2.0)]);
        let policy = Policy::new(config, costs, [draft, CostCurve::default()]);
        let config = SchedulerConfig {
            limits: LIMITS,
            vocab: VOCAB,
            shapes: Shapes::FREE,
            prefill_rows: 7,
            cache_bytes: cache_nodes * BYTES_PER_NODE,
            prefix_slots: 4,
            lookup: learned.corrections.is_some(),
            trace: false,
            near_tie: 0.0,
        };
        Scene {
            scheduler: Scheduler::new(config, policy, learned),
            target: model(0.0),
            now: Duration::ZERO,
            rounds: Vec::new(),
            ops: Vec::new(),
        }
    }

    fn open(&mut self, sequence: SequenceId, tenant: Tenant, max_tokens: u32) {
        let request = Request {
            sequence,
            prompt: PROMPT.to_vec(),
            tenant,
            params: Sampling::default(),
            max_tokens,
            stop_tokens: Vec::new(),
            prediction: Vec::new(),
            logprobs: None,
            plain: false,
            most_candidates: None,
            constraint: None,
        };
        self.scheduler.open(request, self.now).unwrap();
    }

    /// Does a forward; `meanwhile` happens while it runs. Waits for nobody.
    fn step(&mut self, meanwhile: impl FnOnce(&mut Self)) {
        let forward = loop {
            match self.scheduler.poll(self.now, &[]) {
                Action::Forward(forward) => break forward,
                Action::Wait(until) => self.now = until,
                other => panic!("{other:?}"),
            }
        };
        let known = |token: Token| (token as usize) < VOCAB;
        assert!(forward.rows.iter().all(|r| known(r.token)));
        let mut ops = Vec::new();
        self.scheduler.take_ops(&mut ops);
        for &op in &ops {
            self.target.apply(op).unwrap();
        }
        self.ops.append(&mut ops);
        self.target.forward(&forward).unwrap();
        meanwhile(self);
        self.now += Duration::from_millis(70);
        self.scheduler.complete(&forward, &self.target, self.now);
        for output in self.scheduler.take_outputs() {
            if let Output::Round(round) = output {
                self.rounds.push(*round);
            }
        }
    }

    fn tokens(&self) -> Vec<Token> {
        self.scheduler.tokens(SEQUENCE).unwrap().to_vec()
    }

    fn cached(&self) -> usize {
        self.scheduler.cached(SEQUENCE).unwrap().1.len()
    }

    /// A drafter proposes these behind `path`, which begins behind the last token.
    fn drafted(&mut self, path: &[Token], children: &[(Token, f32)]) {
        let root = self.tokens().len() as u32 - 1;
        self.says(SEQUENCE, root, path, children);
    }

    fn says(&mut self, sequence: SequenceId, root: u32, path: &[Token], children: &[(Token, f32)]) {
        let children = children.iter().map(|c| (c.0, Prob::clamped(c.1)));
        let expansion = Expansion {
            sequence,
            root,
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

/// What the target writes after the prompt, the prompt first.
fn text(tokens: usize) -> Vec<Token> {
    let mut scene = Scene::new(10, Learned::default());
    scene.open(SEQUENCE, Tenant::SHARED, 200);
    while scene.tokens().len() < PROMPT.len() + tokens {
        scene.step(|_| ());
    }
    scene.tokens()
}

#[test]
fn what_a_drafter_cannot_know_of_teaches_nothing() {
    let mut scene = Scene::new(100, Learned::default());
    scene.open(SEQUENCE, Tenant::SHARED, 200);
    scene.step(|_| ());
    let before = scene.scheduler.learned().acceptance.clone();
    let length = scene.tokens().len() as u32;
    let sure = [(1, 1.0), (2, 0.0)];
    let foreign = [(VOCAB as Token, 1.0), (Token::MAX, 1.0)];
    scene.says(SequenceId(77), length - 1, &[], &sure);
    for root in [length, length + 1, u32::MAX] {
        scene.says(SEQUENCE, root, &[], &sure);
    }
    scene.drafted(&[], &foreign);
    scene.scheduler.set_alone(SEQUENCE, true);
    scene.drafted(&[], &sure);
    scene.scheduler.set_alone(SEQUENCE, false);
    assert_eq!(scene.scheduler.learned().acceptance, before);
    assert_eq!(scene.cached(), 0);
    // And what it does know of is heard, as far as it makes sense.
    scene.drafted(&[], &[(1, 0.5), (VOCAB as Token, 0.4), (2, 0.1)]);
    assert_eq!(scene.cached(), 2);
    assert_ne!(scene.scheduler.learned().acceptance, before);
    assert!(scene.scheduler.learned().acceptance.fits());
}

#[test]
fn a_flood_of_what_makes_no_sense_is_looked_at_in_bounds() {
    let mut scene = Scene::new(5000, Learned::default());
    scene.open(SEQUENCE, Tenant::SHARED, 200);
    scene.step(|_| ());
    let root = scene.tokens().len() as u32 - 1;
    let children: Vec<_> = (0..200_000).map(|t| (t % 50, Prob::ONE)).collect();
    let many = Expansion {
        sequence: SEQUENCE,
        root,
        path: Vec::new(),
        children,
    };
    let empty = Expansion {
        children: Vec::new(),
        ..many.clone()
    };
    let drafted = Drafted {
        source: Source::Draft,
        expansions: [vec![many], vec![empty; 100_000]].concat(),
        rows: Rows::clamped(usize::MAX),
        started: Duration::MAX,
        elapsed: Duration::MAX,
    };
    for _ in 0..50 {
        scene.scheduler.drafted(&drafted, scene.now);
    }
    assert!(scene.cached() <= VOCAB);
    assert!(scene.scheduler.policy().patience() <= Policy::PATIENCE);
    scene.step(|_| ());
}

#[test]
fn a_candidate_that_cannot_be_is_not_proposed_whoever_says_so() {
    let text = text(120);
    // A table that says foreign tokens follow what is written, and so do the drafter and the
    // predicted text.
    let mut corrections = Corrections::new(1 << 16, 0);
    for at in PROMPT.len() + 3..text.len() {
        let mut said = text[..at].to_vec();
        said.push(VOCAB as Token + at as Token);
        for _ in 0..5 {
            corrections.learn(Tenant::SHARED, &said, at);
        }
    }
    let learned = Learned {
        corrections: Some(corrections),
        ..Learned::default()
    };
    let mut scene = Scene::new(100, learned);
    scene.open(SEQUENCE, Tenant::SHARED, 150);
    // The scene looks at every row.
    while scene.tokens().len() < PROMPT.len() + 45 {
        scene.step(|s| s.drafted(&[], &[(Token::MAX, 0.9), (VOCAB as Token, 0.1)]));
    }
    assert_eq!(scene.tokens(), text[..scene.tokens().len()]);
    let base = Setup {
        lookup: true,
        draft_noise: None,
        ..Setup::default()
    };
    let plain = run(&base);
    let spoilt = |(i, &t): (usize, &Token)| if i % 3 == 2 { Token::MAX } else { t };
    let predicted = run(&Setup {
        mode: Mode::Auto,
        prediction: plain.text[&0].iter().enumerate().map(spoilt).collect(),
        ..base
    });
    assert_eq!(plain.text, predicted.text);
}

#[test]
fn a_place_past_the_end_is_not_proposed() {
    let mut scene = Scene::new(100, Learned::default());
    scene.open(SEQUENCE, Tenant::SHARED, 3);
    scene.step(|_| ());
    // One was written, two are wanted.
    scene.drafted(&[], &[(1, 0.9)]);
    scene.drafted(&[1], &[(2, 0.9)]);
    scene.drafted(&[1, 2], &[(3, 0.9)]);
    assert_eq!(scene.cached(), 2);
}

#[test]
fn what_is_being_verified_is_not_evicted_meanwhile() {
    let text = text(20);
    let mut scene = Scene::new(4, Learned::default());
    scene.open(SEQUENCE, Tenant::SHARED, 100);
    scene.step(|_| ());
    let at = scene.tokens().len();
    let right = &text[at..at + 4];
    for (i, &token) in right.iter().enumerate() {
        scene.drafted(&right[..i], &[(token, 0.5)]);
    }
    assert_eq!(scene.cached(), 4);
    let others: Vec<Token> = (0..VOCAB as Token).filter(|t| *t != right[0]).collect();
    scene.step(|s| {
        for &other in &others {
            s.drafted(&[], &[(other, 1.0)]);
        }
    });
    assert_eq!(scene.rounds.last().unwrap().offered, 4);
    assert_eq!(scene.tokens(), text[..at + 5]);
    // Afterwards there is room again.
    scene.drafted(&[], &[(1, 0.9), (2, 0.1)]);
    assert_eq!(scene.cached(), 2);
}

#[test]
fn a_forward_that_fails_holds_no_candidate_for_ever() {
    let mut scene = Scene::new(2, Learned::default());
    scene.open(SEQUENCE, Tenant::SHARED, 100);
    scene.step(|_| ());
    scene.drafted(&[], &[(1, 0.02), (2, 0.01)]);
    let launched = loop {
        match scene.scheduler.poll(scene.now, &[]) {
            Action::Wait(until) => scene.now = until,
            other => break other,
        }
    };
    assert!(matches!(launched, Action::Forward(f) if f.rows.len() > 1));
    scene.scheduler.abandon(scene.now);
    let before = scene.scheduler.cached(SEQUENCE).unwrap().1.evictions();
    scene.drafted(&[], &[(3, 1.0)]);
    let cache = scene.scheduler.cached(SEQUENCE).unwrap().1;
    assert_eq!(cache.evictions(), before + 1);
}

#[test]
fn tenants_do_not_find_what_others_left() {
    let (us, them) = (Tenant(1), Tenant(2));
    let mut scene = Scene::new(100, Learned::default());
    let reused = |scene: &mut Scene, sequence, tenant| {
        scene.open(sequence, tenant, 2);
        scene.scheduler.cached(sequence).unwrap().0
    };
    // While ours runs.
    scene.open(SEQUENCE, us, 2);
    scene.step(|_| ());
    assert_eq!(reused(&mut scene, SequenceId(2), them), 0);
    assert_eq!(reused(&mut scene, SequenceId(3), Tenant::SHARED), 0);
    assert_eq!(reused(&mut scene, SequenceId(4), us), PROMPT.len() - 1);
    while scene.scheduler.running() > 0 {
        scene.step(|_| ());
    }
    // And when it is over.
    let other = Tenant(3);
    assert_eq!(reused(&mut scene, SequenceId(5), other), 0);
    assert!(reused(&mut scene, SequenceId(6), us) > 0);
    while scene.scheduler.running() > 0 {
        scene.step(|_| ());
    }
    let names = |op: &KvOp| match *op {
        KvOp::Adopt { sequence, from, .. } | KvOp::Share { sequence, from, .. } => {
            Some((sequence.0, from.0))
        }
        _ => None,
    };
    let taken: Vec<_> = scene.ops.iter().filter_map(names).collect();
    let own = [1, 4, 6];
    assert!(!taken.is_empty());
    assert!(
        taken
            .iter()
            .all(|t| own.contains(&t.0) && own.contains(&t.1))
    );
}

#[test]
fn predicted_text_beyond_the_context_is_left_out() {
    let base = Setup {
        lookup: true,
        draft_noise: None,
        max_tokens: 100,
        ..Setup::default()
    };
    let plain = run(&base);
    let predicted = |before: usize| {
        let filler = std::iter::repeat_n(Token::MAX, before);
        let out = run(&Setup {
            mode: Mode::Auto,
            prediction: filler.chain(plain.text[&0].iter().copied()).collect(),
            ..base.clone()
        });
        assert_eq!(out.text, plain.text);
        let accepted = out.rounds.iter().flat_map(|r| &r.accepted);
        accepted.filter(|a| a.contains(Source::Prediction)).count()
    };
    assert!(predicted(100) > 40);
    assert_eq!(predicted(LIMITS.context as usize), 0);
}
