//! Runs engine and drafter on made-up models in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use card_core::constraint::Constraint;
use card_core::cost::CostCurve;
use card_core::drafter::{DraftInput, Drafted, Drafter, DrafterConfig};
use card_core::engine::{
    Action, Engine, EngineConfig, Finish, Memory, Output, Request, Round, Shapes,
};
use card_core::forward::{Forward, KvOp, Limits, Model};
use card_core::policy::{Lanes, Mode, Policy, PolicyConfig};
use card_core::sampler::Sampling;
use card_core::sources::Corrections;
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_core::types::{Prob, Rows, SequenceId, Source, Tenant, Token};

pub const VOCAB: usize = 23;
pub const LIMITS: Limits = Limits {
    context: 400,
    cells: 1200,
    rows: 24,
    leaves: 8,
};

#[derive(Clone, Debug)]
pub struct Setup {
    pub mode: Mode,
    pub lanes: Lanes,
    pub shapes: Shapes,
    pub params: Sampling,
    /// Noise of the draft model; `None` is no drafter at all.
    pub draft_noise: Option<f32>,
    pub draft_len: u32,
    pub branch: usize,
    pub cache_nodes: usize,
    pub target_ms: Vec<(u32, f64)>,
    /// What a forward takes of that while no drafter is at work.
    pub alone: f64,
    pub draft_ms: f64,
    /// Prompts, one sequence each.
    pub prompts: Vec<Vec<Token>>,
    pub max_tokens: u32,
    pub stop_tokens: Vec<Token>,
    /// Random expansions thrown at the engine, with this seed.
    pub garbage: Option<u64>,
    /// Suffix matches, corrections and this predicted text propose too.
    pub free_sources: bool,
    pub prediction: Vec<Token>,
    /// Nothing shall be proposed for the sequences.
    pub plain: bool,
    /// The drafter dies at this time.
    pub dies: Option<Duration>,
    /// Only these tokens may be written, the others in turn with them.
    pub allowed: Option<Vec<Token>>,
}

/// Allows some tokens at every other position and all of them in between.
struct Alternate {
    only: Vec<Token>,
    mask: [u32; 1],
    written: usize,
}

impl Constraint for Alternate {
    fn allowed(&mut self) -> Result<&[u32], String> {
        let some = self.only.iter().fold(0, |mask, t| mask | 1 << t);
        self.mask[0] = if self.written.is_multiple_of(2) {
            some
        } else {
            u32::MAX
        };
        Ok(&self.mask)
    }

    fn wrote(&mut self, token: Token) -> Result<(), String> {
        let odd = self.written % 2 == 1;
        self.written += 1;
        match odd || self.only.contains(&token) {
            true => Ok(()),
            false => Err(format!("{token} is not allowed")),
        }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            mode: Mode::Plain,
            lanes: Lanes::Disjoint,
            shapes: Shapes::FREE,
            params: Sampling::default(),
            draft_noise: Some(0.5),
            draft_len: 4,
            branch: 3,
            cache_nodes: 300,
            target_ms: vec![(1, 10.0), (8, 12.0), (24, 20.0)],
            alone: 1.0,
            draft_ms: 2.0,
            prompts: vec![vec![1, 2, 3, 4, 5]],
            max_tokens: 60,
            stop_tokens: Vec::new(),
            garbage: None,
            free_sources: false,
            prediction: Vec::new(),
            plain: false,
            dies: None,
            allowed: None,
        }
    }
}

#[derive(Debug, Default)]
pub struct Outcome {
    pub text: BTreeMap<u64, Vec<Token>>,
    pub finish: BTreeMap<u64, Finish>,
    pub rounds: Vec<Round>,
    pub time: Duration,
}

impl Outcome {
    pub fn hit_rate(&self) -> f64 {
        let hits: Vec<bool> = self.rounds.iter().filter_map(|r| r.hit).collect();
        hits.iter().filter(|h| **h).count() as f64 / hits.len().max(1) as f64
    }

    pub fn mean_accepted(&self) -> f64 {
        let rounds: Vec<_> = self.rounds.iter().filter(|r| !r.prefill).collect();
        let tokens: usize = rounds.iter().map(|r| r.tokens.len()).sum();
        tokens as f64 / rounds.len().max(1) as f64
    }
}

pub fn model(noise: f32) -> Synthetic {
    Synthetic::new(SyntheticConfig {
        vocab: VOCAB,
        seed: 5,
        spread: 2.0,
        noise,
        noise_seed: 99,
        limits: LIMITS,
    })
}

pub fn run(setup: &Setup) -> Outcome {
    let curve = CostCurve::from_points(setup.target_ms.iter().copied());
    let draft_curve = CostCurve::from_points([(1, setup.draft_ms), (8, setup.draft_ms * 2.0)]);
    let mut policy = Policy::new(
        PolicyConfig {
            mode: setup.mode,
            lanes: setup.lanes,
            draft_len: setup.draft_len,
        },
        curve.clone(),
        [draft_curve.clone(), CostCurve::default()],
    );
    if setup.alone < 1.0 {
        let alone = setup.target_ms.iter().map(|p| (p.0, setup.alone * p.1));
        policy = policy.slowed_from(CostCurve::from_points(alone));
    }
    let bytes = setup.cache_nodes * card_core::cache::BYTES_PER_NODE;
    let mut engine = Engine::new(
        EngineConfig {
            limits: LIMITS,
            vocab: VOCAB,
            shapes: setup.shapes,
            prefill_rows: 7,
            cache_bytes: bytes,
            parked: 1,
            free_sources: setup.free_sources,
            trace: true,
            near_tie: 0.01,
        },
        policy,
        Memory {
            corrections: setup.free_sources.then(|| Corrections::new(1 << 14, 0)),
            ..Memory::default()
        },
    );
    let chain = setup.mode == Mode::DraftThenVerify;
    let mut drafter = Drafter::new(
        DrafterConfig {
            source: Source::Draft,
            branch: if chain { 1 } else { setup.branch },
            max_depth: if chain { setup.draft_len } else { 12 },
            min_reach: 0.01,
            cache_bytes: bytes,
            limits: LIMITS,
            vocab: VOCAB,
            parked: 1,
            lanes: setup.lanes,
        },
        draft_curve.clone(),
    );
    let mut target = model(0.0);
    let mut draft = setup.draft_noise.map(model);
    if draft.is_none() {
        engine.drafter_lost();
    }
    let mut now = Duration::ZERO;
    let mut out = Outcome::default();
    for (i, prompt) in setup.prompts.iter().enumerate() {
        let sequence = SequenceId(i as u64);
        engine
            .open(
                Request {
                    sequence,
                    prompt: prompt.clone(),
                    tenant: Tenant::SHARED,
                    params: setup.params.clone(),
                    max_tokens: setup.max_tokens,
                    stop_tokens: setup.stop_tokens.clone(),
                    prediction: setup.prediction.clone(),
                    logprobs: None,
                    plain: setup.plain,
                    constraint: setup.allowed.clone().map(|only| {
                        Box::new(Alternate {
                            only,
                            mask: [0],
                            written: 0,
                        }) as _
                    }),
                },
                now,
            )
            .unwrap();
        drafter.handle(DraftInput::Open {
            sequence,
            tenant: Tenant::SHARED,
            tokens: prompt.clone(),
            params: setup.params.clone(),
            end: LIMITS.context,
        });
    }
    let mut last = Forward::default();
    let mut verifying: Option<(Forward, Duration)> = None;
    let mut drafting: Option<(Forward, Duration)> = None;
    let mut heard: Vec<DraftInput> = Vec::new();
    let mut noise = setup.garbage;
    for _ in 0..100_000 {
        // The drafter hears news between its forwards only.
        if drafting.is_none() {
            for message in heard.drain(..) {
                drafter.handle(message);
            }
        }
        let shared = setup.lanes == Lanes::Shared;
        let mut wait = None;
        if verifying.is_none() && (!shared || drafting.is_none()) {
            if let Some(seed) = &mut noise {
                throw_garbage(&mut engine, seed, now);
            }
            let mut outlook: Vec<_> = (shared && draft.is_some())
                .then(|| drafter.outlook())
                .flatten()
                .into_iter()
                .collect();
            let action = loop {
                match engine.poll(now, &outlook) {
                    // Nothing could be drafted after all: ask again without that choice.
                    Action::Draft(_)
                        if !begin_draft(&mut drafter, &mut draft, now, &mut drafting) =>
                    {
                        outlook.clear();
                    }
                    action => break action,
                }
            };
            match action {
                Action::Forward(forward) => {
                    let rows = forward.rows.len().max(forward.pad_to);
                    assert!(rows <= LIMITS.rows);
                    let decodes = forward.rows.iter().all(|r| r.logits);
                    assert!(!decodes || forward.rows.len() <= setup.shapes.max_rows);
                    let mut ops = Vec::new();
                    engine.take_ops(&mut ops);
                    for op in &ops {
                        joins_in_order(op, &last);
                    }
                    step(&mut target, |out| out.append(&mut ops), &forward);
                    last = forward.clone();
                    let part = match engine.drafters_rest() || draft.is_none() {
                        true => setup.alone,
                        false => 1.0,
                    };
                    let end = now + ms(part * curve.ms(rows as u32));
                    verifying = Some((forward, end));
                }
                Action::Draft(_) => {}
                Action::Wait(until) => wait = Some(until),
                Action::Idle => break,
            }
        }
        if !shared && drafting.is_none() && !engine.drafters_rest() {
            begin_draft(&mut drafter, &mut draft, now, &mut drafting);
        }
        if let Some((_, end)) = &mut drafting
            && *end == Duration::MAX
        {
            *end = now + ms(draft_curve.ms(1));
        }
        let times = [
            verifying.as_ref().map(|v| v.1),
            drafting.as_ref().map(|v| v.1),
            wait,
        ];
        let next = times.into_iter().flatten().min();
        now = now.max(next.expect("something happens next"));
        if let Some((forward, _)) = drafting.take_if(|d| d.1 <= now) {
            let model = draft.as_ref().unwrap();
            let drafted = drafter.complete(&forward, model, now);
            engine.drafted(&drafted, now);
        }
        if setup.dies.is_some_and(|at| now >= at) && draft.take().is_some() {
            drafting = None;
            engine.drafter_lost();
        }
        if let Some((forward, _)) = verifying.take_if(|d| d.1 <= now) {
            engine.complete(&forward, &target, now);
        }
        for output in engine.take_outputs() {
            match output {
                Output::Tokens(sequence, from, tokens) => {
                    out.text.entry(sequence.0).or_default().extend(&tokens);
                    heard.push(DraftInput::Commit {
                        sequence,
                        from,
                        tokens,
                    });
                }
                Output::Round(round) => out.rounds.push(*round),
                Output::Failed(_, why) => panic!("{why}"),
                Output::Finished(sequence, reason) => {
                    out.finish.insert(sequence.0, reason);
                    heard.push(DraftInput::Close { sequence });
                }
            }
        }
    }
    assert_eq!(engine.running(), 0, "every sequence ends");
    out.time = now;
    out
}

fn ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}

fn step(model: &mut Synthetic, take: impl FnOnce(&mut Vec<KvOp>), forward: &Forward) {
    let mut ops = Vec::new();
    take(&mut ops);
    for op in ops {
        model.apply(op).unwrap();
    }
    model.forward(forward).unwrap();
}

/// The rows that join the target's stem lie side by side in the order of their positions:
/// so do their KV cells, and attention sums in the order of plain decoding.
fn joins_in_order(op: &KvOp, last: &Forward) {
    let KvOp::Commit { sequence, tip, .. } = *op else {
        return;
    };
    let mut rows = last.rows.iter().filter(|r| r.sequence == sequence);
    let mut previous = None;
    while previous != Some(tip) {
        let row = rows.next().expect("the tip is a row of the forward before");
        assert_eq!(row.parent, previous, "a side branch joins the stem");
        previous = Some(row.cell);
    }
}

fn begin_draft(
    drafter: &mut Drafter,
    model: &mut Option<Synthetic>,
    now: Duration,
    drafting: &mut Option<(Forward, Duration)>,
) -> bool {
    let Some(model) = model else { return false };
    let Some(forward) = drafter.poll(now) else {
        return false;
    };
    step(model, |ops| drafter.take_ops(ops), &forward);
    *drafting = Some((forward, Duration::MAX));
    true
}

fn throw_garbage(engine: &mut Engine, seed: &mut u64, now: Duration) {
    let mut draw = |n: u64| {
        *seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (*seed >> 33) % n
    };
    let expansions = (0..draw(6))
        .map(|_| {
            let root = draw(80) as u32;
            card_core::drafter::Expansion {
                sequence: SequenceId(draw(3)),
                root,
                path: (0..draw(4)).map(|_| draw(30) as Token).collect(),
                children: (0..draw(5))
                    .map(|_| {
                        let token = draw(40) as Token;
                        (token, Prob::clamped(draw(150) as f32 / 100.0 - 0.2))
                    })
                    .collect(),
            }
        })
        .collect();
    let drafted = Drafted {
        source: Source::Draft2,
        expansions,
        rows: Rows::clamped(0),
        started: Duration::ZERO,
        elapsed: Duration::ZERO,
    };
    engine.drafted(&drafted, now);
}
