//! Whole generations: a scheduler, its target, and a drafter of another vocabulary.

use std::collections::BTreeMap;
use std::time::Duration;

use card_core::cost::CostCurve;
use card_core::drafter::Drafter;
use card_core::forward::{KvOp, Model};
use card_core::policy::{Mode, Policy, PolicyConfig};
use card_core::protocol::{DraftInput, DraftPlan, Lanes};
use card_core::sampler::{Sampling, SamplingParams};
use card_core::scheduler::{Action, Learned, Output, Request, Scheduler, SchedulerConfig, Shapes};
use card_core::translation::Translated;
use card_core::types::{SequenceId, Source, Tenant, Token};

use crate::letters::{LIMITS, Letters, TARGET, TARGET_END, TARGET_FOREIGN, TARGET_OTHER, map};

/// A run of the scheduler: how, and the prompts, wave after wave.
#[derive(Clone)]
pub struct Play {
    pub mode: Mode,
    pub lanes: Lanes,
    pub params: Sampling,
    pub prefix_slots: usize,
    pub max_tokens: u32,
    pub waves: Vec<Vec<Vec<Token>>>,
}

impl Play {
    pub fn new(mode: Mode, lanes: Lanes) -> Self {
        Play {
            mode,
            lanes,
            params: Sampling::default(),
            prefix_slots: 0,
            max_tokens: 60,
            waves: vec![vec![
                vec![0, 1, 6, 9],
                vec![TARGET_OTHER, 8, TARGET_FOREIGN, TARGET_END, 10],
            ]],
        }
    }

    pub fn scheduler(&self) -> Scheduler {
        let policy = PolicyConfig {
            mode: self.mode,
            lanes: self.lanes,
            draft_len: 4,
        };
        let target = CostCurve::from_points([(1, 10.0), (8, 10.5), (24, 12.0)]);
        let draft = CostCurve::from_points([(1, 1.0), (16, 1.5)]);
        let config = SchedulerConfig {
            limits: LIMITS,
            vocab: TARGET.len(),
            shapes: Shapes::FREE,
            prefill_rows: 7,
            cache_bytes: 1 << 15,
            prefix_slots: self.prefix_slots,
            lookup: false,
            trace: false,
            near_tie: 0.0,
        };
        let policy = Policy::new(policy, target, [draft, CostCurve::default()]);
        Scheduler::new(config, policy, Learned::default())
    }

    pub fn drafter(&self, model: &dyn Model) -> Drafter {
        let plan = DraftPlan {
            chain: (self.mode == Mode::DraftThenVerify).then_some(4),
            branch: 3,
            max_depth: 8,
            cache_bytes: 1 << 15,
            prefix_slots: self.prefix_slots,
            lanes: self.lanes,
        };
        let costs = CostCurve::from_points([(1, 1.0), (16, 1.5)]);
        Drafter::new(
            plan.config(Source::Draft, model.limits(), model.vocab()),
            costs,
        )
    }

    pub fn request(&self, sequence: SequenceId, prompt: Vec<Token>) -> Request {
        Request {
            sequence,
            prompt,
            tenant: Tenant::SHARED,
            params: self.params.clone(),
            max_tokens: self.max_tokens,
            stop_tokens: Vec::new(),
            prediction: Vec::new(),
            logprobs: None,
            constraint: None,
            plain: false,
            most_candidates: None,
        }
    }
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Written {
    pub texts: BTreeMap<SequenceId, Vec<Token>>,
    /// Candidates that were accepted.
    pub accepted: usize,
}

/// A drafter with its model.
pub struct DraftSide<M> {
    pub drafter: Drafter,
    pub model: Translated<M>,
    /// Stems that were taken over, and that were shared.
    pub adopted: usize,
    pub shared: usize,
}

impl<M: Model> DraftSide<M> {
    pub fn new(play: &Play, model: M) -> Self {
        let model = Translated::new(Box::new(model), map()).unwrap();
        DraftSide {
            drafter: play.drafter(&model),
            model,
            adopted: 0,
            shared: 0,
        }
    }

    pub fn apply(&mut self) {
        let mut ops = Vec::new();
        self.drafter.take_ops(&mut ops);
        for op in ops {
            self.adopted += usize::from(matches!(op, KvOp::Adopt { .. }));
            self.shared += usize::from(matches!(op, KvOp::Share { .. }));
            self.model.apply(op).unwrap();
        }
    }

    /// One step, if there is one to take.
    pub fn step(&mut self, scheduler: &mut Scheduler, now: &mut Duration) -> bool {
        let Some(forward) = self.drafter.poll(*now) else {
            return false;
        };
        self.apply();
        self.model.forward(&forward).unwrap();
        *now += Duration::from_millis(1);
        let drafted = self.drafter.complete(&forward, &self.model, *now);
        scheduler.drafted(&drafted, *now);
        true
    }
}

/// Runs all waves, with a drafter or without.
pub fn write<M: Model>(play: &Play, mut side: Option<&mut DraftSide<M>>) -> Written {
    let mut written = Written::default();
    let mut scheduler = play.scheduler();
    let mut target = Letters::new(TARGET, LIMITS);
    let mut now = Duration::ZERO;
    let mut next = 0;
    if side.is_none() {
        scheduler.drafter_lost();
    }
    for wave in &play.waves {
        for prompt in wave {
            let request = play.request(SequenceId(next), prompt.clone());
            scheduler.open(request, now).unwrap();
            next += 1;
        }
        if let Some(side) = &mut side {
            let drafter = &mut side.drafter;
            scheduler
                .introductions()
                .for_each(|open| drafter.handle(open));
        }
        drive(
            &mut scheduler,
            &mut target,
            &mut side,
            play.lanes,
            &mut now,
            &mut written,
        );
    }
    written
}

/// Runs until no sequence does.
pub fn drive<M: Model>(
    scheduler: &mut Scheduler,
    target: &mut Letters,
    side: &mut Option<&mut DraftSide<M>>,
    lanes: Lanes,
    now: &mut Duration,
    written: &mut Written,
) {
    let (mut ops, mut drafts) = (Vec::new(), true);
    for _ in 0..10_000 {
        if let (Lanes::Disjoint, Some(side)) = (lanes, side.as_mut()) {
            side.step(scheduler, now);
        }
        let shares = lanes == Lanes::Shared && drafts;
        let outlook = side.as_mut().filter(|_| shares);
        let outlook = outlook.and_then(|side| side.drafter.outlook());
        match scheduler.poll(*now, outlook.as_slice()) {
            Action::Draft(_) => {
                let side = side.as_mut().unwrap();
                drafts = side.step(scheduler, now);
            }
            Action::Forward(forward) => {
                scheduler.take_ops(&mut ops);
                for op in ops.drain(..) {
                    target.apply(op).unwrap();
                }
                target.forward(&forward).unwrap();
                *now += Duration::from_millis(10);
                scheduler.complete(&forward, &*target, *now);
                drafts = true;
            }
            Action::Wait(until) => *now = until.max(*now),
            Action::Idle => return,
        }
        for output in scheduler.take_outputs() {
            let heard = match output {
                Output::Tokens(sequence, from, tokens) => {
                    written.texts.entry(sequence).or_default().extend(&tokens);
                    DraftInput::Commit {
                        sequence,
                        from,
                        tokens,
                    }
                }
                Output::Finished(sequence, _) => DraftInput::Close { sequence },
                Output::Round(round) => {
                    written.accepted += round.accepted.len();
                    continue;
                }
                Output::Failed(_, why) => panic!("{why}"),
            };
            if let Some(side) = side.as_mut() {
                side.drafter.handle(heard);
            }
        }
    }
    panic!("it never ends");
}

/// The text without a drafter.
pub fn plainly(play: &Play) -> Written {
    let play = Play {
        mode: Mode::Plain,
        ..play.clone()
    };
    write::<Letters>(&play, None)
}

/// Every way of scheduling, greedily and with noise.
pub fn plays() -> Vec<Play> {
    let modes = [Mode::DraftThenVerify, Mode::Card, Mode::Auto];
    let ways = modes.map(|mode| [Lanes::Shared, Lanes::Disjoint].map(|lanes| (mode, lanes)));
    let params = [0.0, 0.8].map(|temperature| {
        let params = SamplingParams {
            temperature,
            seed: 7,
            ..Default::default()
        };
        params.checked().unwrap()
    });
    let both = |way: (Mode, Lanes)| {
        params.clone().map(|params| Play {
            params,
            ..Play::new(way.0, way.1)
        })
    };
    ways.into_iter().flatten().flat_map(both).collect()
}
