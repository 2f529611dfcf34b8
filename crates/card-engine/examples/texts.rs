//! How many texts differ from plain decoding's.
//!
//! cargo run --release -p card-engine --example texts -- TARGET DRAFT|self PROMPTS.jsonl…
//!
//! PROMPTS has one JSON object per line; its `question`, `text` or first of `turns` is the
//! prompt. Plain decoding, alone and in an engine of its own, writes the text that is right.
//! Then every mode writes it in every company, in an engine of its own too. With `exact` the
//! program fails if any token of any text is another one.

mod common;
#[path = "../tests/support/spoilt.rs"]
mod spoilt;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use card_core::cost::CostCurve;
use card_core::forward::Model;
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::scheduler::Shapes;
use card_engine::selftest::{Exactness, HEADS, Means};
use card_engine::{Engine, Options, Stream};
use card_llama::{Cores, Kernels, LlamaContext, LlamaModel, check_vocabularies};
use clap::Parser;
use common::asking::{Ask, Text, is_over};
use common::tally::{self, Company, ExampleSampling, Tally, company, exactness, mode, sampling};
use common::{AnyError, Prompter};
use crossbeam_channel::RecvTimeoutError;
use spoilt::Spoilt;

/// Requests that run beside ours.
const OTHERS: usize = 4;
/// Share of the logits that are spoilt where a model is its own drafter: it would always be
/// right, and nothing would be rejected.
const SPOILT: f32 = 0.25;
/// Seeds of our requests and of those beside them begin here.
const SEED: u64 = 1000;
const OTHER_SEED: u64 = 9000;

/// Counts the texts that differ from plain decoding's.
#[derive(Parser)]
struct Args {
    /// The target, a GGUF file
    target: PathBuf,
    /// The draft model, a GGUF file; `self` for the target with some of its logits spoilt
    draft: String,
    /// Files with a prompt per line; they are taken in turn
    #[arg(required = true, value_name = "PROMPTS.jsonl")]
    files: Vec<PathBuf>,
    /// Prompts to leave out first, so that a long run can be done in parts
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: usize,
    /// Prompts to take in all
    #[arg(long, value_name = "N", default_value_t = 40)]
    prompts: usize,
    /// Tokens of a text
    #[arg(long, default_value_t = 128)]
    tokens: u32,
    /// Tokens a sequence has room for
    #[arg(long, default_value_t = 2048)]
    ctx: u32,
    /// Threads of the lane; all cores if it is not given
    #[arg(long)]
    threads: Option<usize>,
    /// card, ggml or ggml-plain
    #[arg(long, default_value = "card", value_parser = common::kernels)]
    kernels: Kernels,
    /// exact or fast
    #[arg(long, default_value = "exact", value_parser = exactness)]
    exactness: Exactness,
    /// Of auto, card, draft-then-verify and plain
    #[arg(long, value_delimiter = ',', default_value = "auto,card,draft-then-verify", value_parser = mode)]
    modes: Vec<Mode>,
    /// greedy, or temperatures
    #[arg(long, value_delimiter = ',', default_value = "greedy,0.8", value_parser = sampling)]
    sampling: Vec<ExampleSampling>,
    /// Of alone, among (four others) and cached (the prompt was asked before)
    #[arg(long, value_delimiter = ',', default_value = "alone,among,cached", value_parser = company)]
    company: Vec<Company>,
}

/// The models, and how they are run.
struct Setup {
    target: LlamaModel,
    /// `None` for the target itself, spoilt.
    draft: Option<LlamaModel>,
    cores: Cores,
    context: u32,
    shapes: Shapes,
    /// Whether cells of earlier prompts are used again.
    reuse: bool,
    target_cost: CostCurve,
    draft_cost: CostCurve,
}

impl Setup {
    fn new(args: &Args) -> Result<Self, AnyError> {
        let cores = common::lane(args.threads);
        let target = common::load(&args.target, args.kernels)?;
        eprintln!("the self-test of the target");
        let report = common::self_test(&target, &HEADS, &cores)?;
        let (draft, draft_cost) = match args.draft.as_str() {
            "self" => (None, report.cost()),
            file => {
                let draft = common::load(Path::new(file), args.kernels)?;
                check_vocabularies(&target.vocab(), &draft.vocab())?;
                let report = common::self_test(&draft, &HEADS[..1], &cores)?;
                (Some(draft), report.cost())
            }
        };
        let means = report.means();
        let any_shape = matches!(means, Means::AnyShape);
        let by = match means {
            Means::AnyShape => "every shape of forward gives the same logits",
            Means::OneClass => "forwards keep to one class of row counts",
            Means::NearTies => "near-ties are decided again",
            Means::PlainOnly => "plain decoding only",
        };
        let exact = args.exactness == Exactness::Exact;
        println!("- target: {}", target.info().description);
        let description = draft.as_ref().map(|d| d.info().description);
        println!(
            "- drafter: {}",
            description.unwrap_or("the target, spoilt".into())
        );
        println!("- kernels: {}", common::kernels_name(args.kernels));
        println!(
            "- exactness: {}, and {by}",
            if exact { "exact" } else { "fast" }
        );
        common::print_machine(cores.threads());
        Ok(Setup {
            draft,
            context: args.ctx,
            shapes: report.shapes(args.exactness),
            reuse: any_shape || !exact,
            target_cost: report.cost(),
            draft_cost,
            target,
            cores,
        })
    }

    /// An engine that has done nothing yet, for so many sequences.
    fn engine(&self, mode: Mode, sequences: usize, near_tie: f32) -> Result<Engine, AnyError> {
        let sequences = sequences as u32;
        let context = |model: &LlamaModel, role: &'static str| {
            let options = common::options(role, self.context, sequences, &self.cores);
            LlamaContext::new(model, &options)
        };
        let drafter: Option<Box<dyn Model + Send>> = match (mode, &self.draft) {
            (Mode::Plain, _) => None,
            (_, Some(draft)) => Some(Box::new(context(draft, "draft")?)),
            (_, None) => {
                let honest = context(&self.target, "draft")?;
                Some(Box::new(Spoilt::new(honest, SPOILT)))
            }
        };
        let options = Options {
            mode,
            lanes: Lanes::Shared,
            shapes: self.shapes,
            prefix_slots: if self.reuse { sequences as usize } else { 0 },
            near_tie,
            target_cost: self.target_cost.clone(),
            draft_costs: [self.draft_cost.clone(), self.draft_cost.clone()],
            ..Options::default()
        };
        let target = Box::new(context(&self.target, "target")?);
        Ok(Engine::start(target, drafter, options)?)
    }

    /// What plain decoding writes alone, with the margin of each decision.
    fn plain(&self, ask: &Ask) -> Result<Text, AnyError> {
        ask.text(&self.engine(Mode::Plain, 1, f32::INFINITY)?)
    }

    /// The text while others run.
    fn among(&self, mode: Mode, ask: &Ask, others: &[Ask]) -> Result<Text, AnyError> {
        let engine = self.engine(mode, OTHERS + 1, 0.0)?;
        let mut next = others.iter().cycle();
        let mut other = || -> Result<Stream, AnyError> {
            let ask = next.next().ok_or("there is no other prompt")?;
            ask.start(&engine)
        };
        let mut beside = Vec::new();
        for _ in 0..OTHERS {
            beside.push(other()?);
        }
        let stream = ask.start(&engine)?;
        let mut text = Text::default();
        loop {
            match stream.events().recv_timeout(Duration::from_millis(20)) {
                Ok(event) => {
                    if text.take(event)? {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("the engine ended before the text did".into());
                }
            }
            for stream in &mut beside {
                if is_over(stream)? {
                    *stream = other()?;
                }
            }
        }
        if text.mixed == 0 && !self.shapes.alone {
            return Err("no forward had rows of others beside ours".into());
        }
        Ok(text)
    }

    /// The text after somebody else asked the same.
    fn cached(&self, mode: Mode, ask: &Ask) -> Result<Text, AnyError> {
        let engine = self.engine(mode, 1, 0.0)?;
        let earlier = Ask {
            params: ExampleSampling(Some(1.0)).params(OTHER_SEED),
            tokens: 8,
            ..ask.clone()
        };
        earlier.text(&engine)?;
        let text = ask.text(&engine)?;
        if self.reuse && text.reused == 0 {
            return Err("the prompt was asked before, but decoded again".into());
        }
        Ok(text)
    }
}

/// What runs beside the text of a prompt: other prompts, all sampled, of several lengths. The
/// first of them are asked at once. Those that join later, while ours decodes, are some
/// prompts in one, so that they are read in pieces.
fn others(
    prompter: &Prompter,
    prompts: &[String],
    number: usize,
    args: &Args,
) -> Result<Vec<Ask>, AnyError> {
    /// Prompts in one.
    const LONG: usize = 3;
    if prompts.len() < 2 {
        return Err("there is no other prompt to run beside".into());
    }
    let mut order = prompts.iter().enumerate().cycle().skip(number + 1);
    let mut next = || order.find(|(i, _)| *i != number).map(|(_, text)| &text[..]);
    let room = args.ctx.saturating_sub(args.tokens + 1).max(1) as usize;
    let ask = |k: usize| -> Result<Ask, AnyError> {
        let joined = if k < OTHERS { 1 } else { LONG };
        let texts: Vec<&str> = (0..joined).filter_map(|_| next()).collect();
        let mut prompt = prompter.tokens(&texts.join("\n\n"))?;
        prompt.truncate(room);
        Ok(Ask {
            prompt,
            params: ExampleSampling(Some(0.8)).params(OTHER_SEED + k as u64),
            // A quarter of ours to all of it.
            tokens: (args.tokens * (k % OTHERS + 1) as u32).div_ceil(OTHERS as u32),
        })
    };
    (0..3 * OTHERS).map(ask).collect()
}

fn main() -> Result<ExitCode, AnyError> {
    let args = Args::parse();
    let prompts = common::prompts(&args.files)?;
    let count = args.prompts.min(prompts.len().saturating_sub(args.skip));
    println!("Texts of {} tokens, {count} prompts:", args.tokens);
    println!();
    let setup = Setup::new(&args)?;
    let prompter = Prompter::of(&setup.target)?;
    let mut tallies = Vec::new();
    for &sampling in &args.sampling {
        let mut kinds = Vec::new();
        for &mode in &args.modes {
            let kind = |&company: &Company| Tally::new(sampling, mode, company);
            kinds.extend(args.company.iter().map(kind));
        }
        for (number, prompt) in prompts.iter().enumerate().skip(args.skip).take(count) {
            let ask = Ask {
                prompt: prompter.tokens(prompt)?,
                params: sampling.params(SEED + number as u64),
                tokens: args.tokens,
            };
            let start = Instant::now();
            let plain = setup.plain(&ask)?;
            for tally in &mut kinds {
                let text = match tally.company {
                    Company::Alone => ask.text(&setup.engine(tally.mode, 1, 0.0)?)?,
                    Company::Among => {
                        let others = others(&prompter, &prompts, number, &args)?;
                        setup.among(tally.mode, &ask, &others)?
                    }
                    Company::Cached => setup.cached(tally.mode, &ask)?,
                };
                tally.add(number, ask.prompt.len(), &plain, &text);
            }
            eprintln!(
                "{}, prompt {number}: {} of {count} done, {:.0} s",
                sampling.name(),
                number + 1 - args.skip,
                start.elapsed().as_secs_f64()
            );
        }
        tallies.extend(kinds);
    }
    println!();
    tally::print(&tallies);
    let texts: usize = tallies.iter().map(|t| t.texts).sum();
    let differ: usize = tallies.iter().map(|t| t.differ).sum();
    println!();
    println!("{differ} of {texts} texts differ from plain decoding's.");
    Ok(match args.exactness {
        Exactness::Exact if differ > 0 => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}
