//! What a forward takes by its rows, with each kind of kernels.
//!
//! cargo run --release -p card-engine --example forwards -- MODEL
//!
//! Both kinds are in memory at once and take turns, forward by forward, so that a slow minute
//! of the machine hits both. Ratios are between forwards of the same round. Cells that a
//! forward took are free again after it, so that the next one sees the same context.

mod common;

use std::path::PathBuf;
use std::time::Instant;

use card_core::forward::{Forward, KvOp, Model, ModelError};
use card_core::types::{SequenceId, Token};
use card_llama::{Cores, Kernels, LlamaContext, on_own_thread};
use clap::Parser;
use common::{AnyError, kernels_name, spread};

/// Up to so many rows all of them have logits, as candidates do. Larger forwards read a
/// prompt, and only their last row has.
const MOST_LOGITS: usize = 64;
const SEQUENCE: SequenceId = SequenceId(1);

/// Measures what a forward takes by its rows.
#[derive(Parser)]
struct Args {
    /// The model, a GGUF file
    model: PathBuf,
    /// Of card, ggml and ggml-plain; all are compared with the first
    #[arg(long, value_delimiter = ',', default_value = "card,ggml", value_parser = common::kernels)]
    kernels: Vec<Kernels>,
    /// Rows of a forward; one row is measured in any case
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,128,512")]
    rows: Vec<usize>,
    /// Tokens there are before it
    #[arg(long, value_delimiter = ',', default_value = "10,600")]
    context: Vec<usize>,
    /// Forwards of each kind that are timed
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Threads of the lane; all cores if it is not given
    #[arg(long)]
    threads: Option<usize>,
    /// Keep one kind in memory at a time: for models of which two do not fit, and for ggml
    /// with its own attention (while card's kernels are in memory, both kinds use card's)
    #[arg(long)]
    one_at_a_time: bool,
}

/// What one kind of kernels takes.
struct Times {
    kernels: Kernels,
    /// Bytes of weights.
    bytes: u64,
    /// Milliseconds by context, rows and run.
    ms: Vec<Vec<Vec<f64>>>,
}

/// A model that is measured.
struct Contestant {
    context: LlamaContext,
    /// As many tokens as the longest context and the largest forward have together.
    text: Vec<Token>,
    times: Times,
}

impl Contestant {
    fn load(args: &Args, kernels: Kernels, cores: &Cores) -> Result<Self, AnyError> {
        /// The context is read in forwards of so many rows.
        const READ: usize = 256;
        let model = common::load(&args.model, kernels)?;
        let most = |numbers: &[usize]| numbers.iter().copied().max().unwrap_or(1);
        let tokens = most(&args.context) + most(&args.rows);
        let mut options = common::options("target", tokens as u32, 1, cores);
        options.rows = most(&args.rows).max(READ) as u32;
        Ok(Contestant {
            context: LlamaContext::new(&model, &options)?,
            text: common::filler(&model.vocab(), tokens)?,
            times: Times {
                kernels,
                bytes: model.info().bytes,
                ms: vec![vec![Vec::new(); args.rows.len()]; args.context.len()],
            },
        })
    }

    /// Reads so many tokens into an empty context.
    fn begin(&mut self, tokens: usize) -> Result<(), ModelError> {
        self.context.reset()?;
        let rows = self.context.limits().rows;
        let mut at = 0;
        for chunk in self.text[..tokens].chunks(rows) {
            self.context.forward(&reading(at, chunk))?;
            at += chunk.len();
            self.context.apply(KvOp::Commit {
                sequence: SEQUENCE,
                tip: at as u64,
                keep_descendants: false,
            })?;
        }
        Ok(())
    }

    /// Milliseconds of a forward of so many rows behind `at` tokens.
    fn time(&mut self, at: usize, rows: usize) -> Result<f64, ModelError> {
        let tokens = &self.text[at..at + rows];
        let forward = match rows {
            0..=MOST_LOGITS => Forward::chain(SEQUENCE, at, tokens, 0),
            _ => reading(at, tokens),
        };
        let start = Instant::now();
        self.context.forward(&forward)?;
        let time = start.elapsed();
        self.context.apply(KvOp::Prune { sequence: SEQUENCE })?;
        Ok(time.as_secs_f64() * 1e3)
    }
}

/// A forward that reads a prompt: only its last row has logits.
fn reading(at: usize, tokens: &[Token]) -> Forward {
    let mut forward = Forward::chain(SEQUENCE, at, tokens, 0);
    let last = tokens.len().saturating_sub(1);
    for row in &mut forward.rows[..last] {
        row.logits = false;
    }
    forward
}

/// Times all forwards of these models, which take turns.
fn measure(args: &Args, models: &mut [Contestant]) -> Result<(), ModelError> {
    for (c, &context) in args.context.iter().enumerate() {
        for model in &mut *models {
            model.begin(context)?;
        }
        // The first run of each shape loads what it needs, and is not counted.
        for run in 0..=args.runs {
            for (r, &rows) in args.rows.iter().enumerate() {
                for turn in 0..models.len() {
                    // Whoever comes second finds other caches, so each does now and then.
                    let who = (turn + run) % models.len();
                    let ms = models[who].time(context, rows)?;
                    if run > 0 {
                        models[who].times.ms[c][r].push(ms);
                    }
                }
            }
            eprintln!("behind {context} tokens: run {run} of {}", args.runs);
        }
    }
    Ok(())
}

/// Median, and the least and the greatest in brackets.
fn shown(numbers: impl IntoIterator<Item = f64>, digits: usize) -> String {
    let (median, least, most) = spread(numbers);
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
}

/// Ratios between forwards of the same run.
fn ratios<'a>(above: &'a [f64], below: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    above.iter().zip(below).map(|(a, b)| a / b)
}

/// The table for the context of this number; `one` is the place of one row.
fn print(args: &Args, c: usize, one: usize, all: &[Times]) {
    let Some((first, others)) = all.split_first() else {
        return;
    };
    let mut head = vec!["rows".to_owned()];
    for times in all {
        let name = kernels_name(times.kernels);
        head.push(format!("{name}, ms"));
        head.push(format!("{name}, T(n) / T(1)"));
    }
    for other in others {
        let (a, b) = (kernels_name(first.kernels), kernels_name(other.kernels));
        head.push(format!("{a} / {b}"));
    }
    let mut table = Vec::new();
    for (r, rows) in args.rows.iter().enumerate() {
        let mut cells = vec![rows.to_string()];
        for times in all {
            let ms = &times.ms[c];
            cells.push(shown(ms[r].iter().copied(), 1));
            cells.push(shown(ratios(&ms[r], &ms[one]), 2));
        }
        for other in others {
            cells.push(shown(ratios(&first.ms[c][r], &other.ms[c][r]), 2));
        }
        table.push(cells);
    }
    println!();
    println!("Behind {} tokens:", args.context[c]);
    println!();
    common::table(0, &head, &table);
}

/// Weights, and the bandwidth of memory if a forward of one row reads each of them once.
fn print_weights(one: usize, all: &[Times]) {
    let head = ["kernels", "weights, GB", "T(1), ms", "GB/s"];
    let row = |times: &Times| {
        let (ms, _, _) = spread(times.ms[0][one].iter().copied());
        let gigabytes = times.bytes as f64 / 1e9;
        vec![
            kernels_name(times.kernels).to_owned(),
            format!("{gigabytes:.3}"),
            format!("{ms:.1}"),
            format!("{:.1}", gigabytes / (ms / 1e3)),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    println!();
    common::table(1, &head.map(str::to_owned), &rows);
}

fn main() -> Result<(), AnyError> {
    let mut args = Args::parse();
    args.rows.push(1);
    args.rows.sort_unstable();
    args.rows.dedup();
    if args.rows[0] == 0 || args.context.contains(&0) || args.runs == 0 {
        return Err("rows, tokens of context and runs are 1 or more".into());
    }
    // They are sorted, and there is no smaller one.
    let one = 0;
    let cores = common::lane(args.threads);
    let together = if args.one_at_a_time {
        1
    } else {
        args.kernels.len().max(1)
    };
    let mut all: Vec<Times> = Vec::new();
    for group in args.kernels.chunks(together) {
        let mut models = Vec::new();
        for &kernels in group {
            models.push(Contestant::load(&args, kernels, &cores)?);
        }
        on_own_thread(|| measure(&args, &mut models))?;
        all.extend(models.into_iter().map(|model| model.times));
    }
    println!(
        "Forwards of {}: median (least–most) of {} runs, {}",
        args.model.display(),
        args.runs,
        match together {
            1 => "one kind of kernels after the other",
            _ => "all kinds of kernels in turn",
        }
    );
    println!();
    common::print_machine(cores.threads());
    print_weights(one, &all);
    for c in 0..args.context.len() {
        print(&args, c, one, &all);
    }
    Ok(())
}
