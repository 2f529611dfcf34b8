//! Modes against plain decoding, interleaved: ratios of the time per token.
//!
//! cargo run --release -p card-engine --example compare -- TARGET DRAFT PROMPTS.jsonl [N] [TOKENS]
//!
//! PROMPTS has one JSON object per line; its `question`, `text` or first of `turns` is the
//! prompt. For each of N prompts every contestant generates TOKENS tokens, one after the
//! other, so that a slow minute of the machine hits all of them. `bare` is a loop of
//! one-token forwards and an argmax, without the engine.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use card_core::cost::CostCurve;
use card_core::forward::{Forward, KvOp, Logits, Model};
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::sampler::SamplingParams;
use card_core::scheduler::Shapes;
use card_core::types::{SequenceId, Token};
use card_engine::selftest::HEADS;
use card_engine::{Engine, Event, Generate, Options};
use card_llama::{Cores, LlamaContext, LlamaModel, LoadOptions, on_own_thread};
use common::{AnyError, Prompter};

/// A contestant: its name and how it runs.
type Contestant = (&'static str, Option<(Mode, Lanes)>);

const CONTESTANTS: [Contestant; 6] = [
    ("plain", Some((Mode::Plain, Lanes::Shared))),
    ("bare", None),
    (
        "draft-then-verify",
        Some((Mode::DraftThenVerify, Lanes::Shared)),
    ),
    ("card, shared lane", Some((Mode::Card, Lanes::Shared))),
    (
        "card, lanes of their own",
        Some((Mode::Card, Lanes::Disjoint)),
    ),
    ("auto", Some((Mode::Auto, Lanes::Shared))),
];

/// The models, with what their forwards cost.
struct ModelPair {
    target: LlamaModel,
    draft: LlamaModel,
    target_cost: CostCurve,
    draft_cost: CostCurve,
}

/// What was measured so far.
struct Measured {
    /// Speed relative to plain decoding: for each contestant, prompt by prompt.
    ratios: Vec<Vec<f64>>,
    /// See [`Run::overhead`].
    overheads: Vec<f64>,
}

fn main() -> Result<(), AnyError> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: compare TARGET DRAFT PROMPTS.jsonl [N] [TOKENS]";
    let (Some(target), Some(draft), Some(prompts)) = (args.next(), args.next(), args.next()) else {
        return Err(usage.into());
    };
    let count: usize = args.next().map_or(Ok(4), |n| n.parse())?;
    let tokens: u32 = args.next().map_or(Ok(64), |n| n.parse())?;
    let load = |file: &str| LlamaModel::load(Path::new(file), &LoadOptions::default(), &mut |_| {});
    let (target, draft) = (load(&target)?, load(&draft)?);
    let prompter = Prompter::of(&target)?;
    let lane = cores(Lanes::Shared).0;
    let cost = |model: &LlamaModel| -> Result<CostCurve, AnyError> {
        Ok(common::self_test(model, &HEADS[..1], &lane)?.cost())
    };
    let (target_cost, draft_cost) = (cost(&target)?, cost(&draft)?);
    let models = ModelPair {
        target,
        draft,
        target_cost,
        draft_cost,
    };
    let mut measured = Measured {
        ratios: vec![Vec::new(); CONTESTANTS.len()],
        overheads: Vec::new(),
    };
    let prompts = common::prompts(&[PathBuf::from(prompts)])?;
    for text in prompts.iter().take(count) {
        models.contest(&prompter.tokens(text)?, tokens, &mut measured)?;
    }
    measured.print(count);
    Ok(())
}

impl ModelPair {
    /// Lets every contestant write the text of one prompt.
    fn contest(
        &self,
        prompt: &[Token],
        tokens: u32,
        measured: &mut Measured,
    ) -> Result<(), AnyError> {
        let mut times = Vec::new();
        let mut plain = Vec::new();
        let mut margins = BTreeMap::new();
        for (name, how) in CONTESTANTS {
            let (seconds, written) = match how {
                None => bare(&self.target, prompt, tokens)?,
                Some((mode, lanes)) => {
                    let options = self.options(mode, lanes);
                    let run = engine(&self.target, &self.draft, options, prompt, tokens)?;
                    measured.overheads.push(run.overhead);
                    if mode == Mode::Plain {
                        margins = run.margins;
                    }
                    (run.seconds, run.written)
                }
            };
            if plain.is_empty() {
                plain.clone_from(&written);
            }
            let same = plain
                .iter()
                .zip(&written)
                .take_while(|(a, b)| a == b)
                .count();
            if same < plain.len().min(written.len()) {
                let margin = margins.get(&((prompt.len() + same) as u32));
                println!("  {name}: another text from token {same} on; plain's margin {margin:?}");
            }
            times.push(seconds / written.len().max(1) as f64);
        }
        for (ratio, time) in measured.ratios.iter_mut().zip(&times) {
            ratio.push(times[0] / time);
        }
        Ok(())
    }

    fn options(&self, mode: Mode, lanes: Lanes) -> Options {
        Options {
            mode,
            lanes,
            shapes: Shapes::FREE,
            prefix_slots: 0,
            // Every decision's margin is wanted, should a text differ.
            near_tie: f32::INFINITY,
            target_cost: self.target_cost.clone(),
            draft_costs: [self.draft_cost.clone(), self.draft_cost.clone()],
            ..Options::default()
        }
    }
}

impl Measured {
    fn print(mut self, count: usize) {
        println!("speed relative to plain decoding over {count} prompts, median (least to most):");
        for ((name, _), mut ratio) in CONTESTANTS.into_iter().zip(self.ratios) {
            ratio.sort_by(f64::total_cmp);
            let last = ratio.len() - 1;
            println!(
                "  {name:26} {:.3} ({:.3} to {:.3})",
                ratio[last / 2],
                ratio[0],
                ratio[last]
            );
        }
        self.overheads.sort_by(f64::total_cmp);
        println!(
            "engine outside the models: median {:.2} % of a target forward",
            100.0 * self.overheads[self.overheads.len() / 2]
        );
    }
}

fn cores(lanes: Lanes) -> (Cores, Cores) {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    if lanes == Lanes::Shared {
        let one = Cores::one_lane(all);
        return (one.clone(), one);
    }
    let draft = (all / 4).max(1);
    Cores::two_lanes(all.saturating_sub(draft).max(1), draft)
}

fn context(model: &LlamaModel, cores: &Cores) -> Result<LlamaContext, AnyError> {
    let options = common::options("target", 2048, 1, cores);
    Ok(LlamaContext::new(model, &options)?)
}

/// What the engine did.
struct Run {
    /// Time of decoding, the prompt's prefill left out.
    seconds: f64,
    written: Vec<Token>,
    /// Time of the engine relative to that of the target's forwards.
    overhead: f64,
    /// Distance of the two best tokens in logits, by position.
    margins: BTreeMap<u32, f32>,
}

fn engine(
    target: &LlamaModel,
    draft: &LlamaModel,
    options: Options,
    prompt: &[Token],
    tokens: u32,
) -> Result<Run, AnyError> {
    let (target_cores, draft_cores) = cores(options.lanes);
    let drafter: Option<Box<dyn Model + Send>> = match options.mode {
        Mode::Plain => None,
        _ => Some(Box::new(context(draft, &draft_cores)?)),
    };
    let target = Box::new(context(target, &target_cores)?);
    let engine = Engine::start(target, drafter, options)?;
    let stream = engine.generate(Generate {
        prompt: prompt.to_vec(),
        params: SamplingParams::default(),
        max_tokens: tokens,
        stop_tokens: Vec::new(),
        ..Generate::default()
    })?;
    let mut written = Vec::new();
    let mut margins = BTreeMap::new();
    let mut start = Instant::now();
    while let Some(event) = stream.next() {
        match event {
            Event::Tokens(tokens) => {
                if written.is_empty() {
                    start = Instant::now();
                }
                written.extend(tokens);
            }
            Event::Failed(failure) => return Err(failure.into()),
            Event::Finished(_) => break,
            Event::Round(round) => margins.extend(round.near_ties.iter().copied()),
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let lanes = engine.lane_times();
    let overhead = lanes.overhead.as_secs_f64() / lanes.target.as_secs_f64();
    Ok(Run {
        seconds,
        written,
        overhead,
        margins,
    })
}

fn bare(model: &LlamaModel, prompt: &[Token], tokens: u32) -> Result<(f64, Vec<Token>), AnyError> {
    let mut context = context(model, &cores(Lanes::Shared).0)?;
    on_own_thread(move || {
        let sequence = SequenceId(1);
        let mut at = 0;
        let mut step = |chunk: &[Token]| -> Result<Token, String> {
            let forward = Forward::chain(sequence, at, chunk, 0);
            context.forward(&forward).map_err(|e| e.to_string())?;
            let logits = context.row(chunk.len() - 1);
            let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            let best = best.map_or(0, |b| b.0 as Token);
            at += chunk.len();
            let tip = at as u64;
            let keep_descendants = false;
            let commit = KvOp::Commit {
                sequence,
                tip,
                keep_descendants,
            };
            context.apply(commit).map_err(|e| e.to_string())?;
            Ok(best)
        };
        let mut next = 0;
        for chunk in prompt.chunks(256) {
            next = step(chunk)?;
        }
        let mut written = vec![next];
        let start = Instant::now();
        while written.len() < tokens as usize {
            next = step(&[next])?;
            written.push(next);
        }
        Ok((start.elapsed().as_secs_f64(), written))
    })
    .map_err(|e: String| e.into())
}
