//! Perplexity of a text, with each kind of kernels.
//!
//! cargo run --release -p card-engine --example perplexity -- MODEL TEXT.txt
//!
//! As llama.cpp's tool measures it: windows of `--ctx` tokens, each read into an empty
//! context behind the token that begins a text; what the second half of a window says of
//! its next tokens counts.

mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use card_core::forward::{Forward, KvOp, Logits, Model};
use card_core::types::{SequenceId, Token};
use card_llama::{Cores, Kernels, LlamaContext, LlamaModel, on_own_thread};
use clap::Parser;
use common::AnyError;

/// Most rows of a forward.
const ROWS: usize = 256;

/// Measures the perplexity of a text.
#[derive(Parser)]
struct Args {
    /// The model, a GGUF file
    model: PathBuf,
    /// The text
    text: PathBuf,
    /// Tokens of the text to read
    #[arg(long, default_value_t = 4000)]
    tokens: usize,
    /// Tokens of a window
    #[arg(long, default_value_t = 512)]
    ctx: usize,
    /// Of card, ggml and ggml-plain; one after the other
    #[arg(long, value_delimiter = ',', default_value = "card,ggml", value_parser = common::kernels)]
    kernels: Vec<Kernels>,
    /// Threads of the lane; all cores if it is not given
    #[arg(long)]
    threads: Option<usize>,
}

/// What one kind of kernels gives.
struct PerplexityResult {
    kernels: Kernels,
    /// Negative logarithms of the probabilities of the tokens that count.
    losses: Vec<f64>,
    /// Tokens that were read.
    read: usize,
    /// Time in forwards.
    time: Duration,
}

impl PerplexityResult {
    fn perplexity(&self) -> f64 {
        mean_and_error(&self.losses).0.exp()
    }

    /// The standard error of the perplexity: what another text of the kind may give.
    fn error(&self) -> f64 {
        mean_and_error(&self.losses).1 * self.perplexity()
    }

    /// How many times `other`'s perplexity this one is, and the standard error of that: both read
    /// the same tokens, so what the text does to both is not in it.
    fn relative(&self, other: &PerplexityResult) -> (f64, f64) {
        let pairs = self.losses.iter().zip(&other.losses);
        let differences: Vec<f64> = pairs.map(|(ours, theirs)| ours - theirs).collect();
        let (mean, error) = mean_and_error(&differences);
        (mean.exp(), error * mean.exp())
    }
}

/// The mean of these numbers, and its standard error.
fn mean_and_error(of: &[f64]) -> (f64, f64) {
    let n = of.len() as f64;
    let mean = of.iter().sum::<f64>() / n;
    let variance = of.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, (variance / n).sqrt())
}

/// The negative logarithm of the probability of a token.
fn loss(logits: &[f32], token: Token) -> Result<f64, AnyError> {
    let logit = logits.get(token as usize).ok_or("a token has no logit")?;
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let max = f64::from(max);
    let sum: f64 = logits.iter().map(|&l| (f64::from(l) - max).exp()).sum();
    let loss = max + sum.ln() - f64::from(*logit);
    if !loss.is_finite() {
        return Err(format!("the model gives token {token} no probability").into());
    }
    Ok(loss)
}

/// Reads a window into an empty context.
fn window(
    context: &mut LlamaContext,
    tokens: &[Token],
    out: &mut PerplexityResult,
) -> Result<(), AnyError> {
    let sequence = SequenceId(1);
    // The last token has no next one.
    let counts = tokens.len() / 2..tokens.len() - 1;
    let mut at = 0;
    for chunk in tokens.chunks(ROWS) {
        let mut forward = Forward::chain(sequence, at, chunk, 0);
        for row in &mut forward.rows {
            row.logits = counts.contains(&(row.position as usize));
        }
        let start = Instant::now();
        context.forward(&forward)?;
        out.time += start.elapsed();
        for (i, row) in forward.rows.iter().enumerate().filter(|(_, r)| r.logits) {
            let next = tokens[row.position as usize + 1];
            out.losses.push(loss(context.row(i), next)?);
        }
        at += chunk.len();
        context.apply(KvOp::Commit {
            sequence,
            tip: at as u64,
            keep_descendants: false,
        })?;
    }
    out.read += tokens.len();
    context.apply(KvOp::Release { sequence })?;
    Ok(())
}

fn measure(
    model: &LlamaModel,
    kernels: Kernels,
    tokens: &[Token],
    ctx: usize,
    cores: &Cores,
) -> Result<PerplexityResult, AnyError> {
    let mut options = common::options("target", ctx as u32, 1, cores);
    options.rows = ROWS as u32;
    let mut context = LlamaContext::new(model, &options)?;
    // Of the empty text nothing is left but the token that begins every text, if there is one.
    let begin = model.vocab().tokenize("", true)?.first().copied();
    let mut out = PerplexityResult {
        kernels,
        losses: Vec::new(),
        read: 0,
        time: Duration::ZERO,
    };
    on_own_thread(|| -> Result<PerplexityResult, AnyError> {
        let windows = tokens.len() / ctx;
        for (i, chunk) in tokens.chunks_exact(ctx).enumerate() {
            let mut chunk = chunk.to_vec();
            if let Some(begin) = begin {
                chunk[0] = begin;
            }
            window(&mut context, &chunk, &mut out)?;
            let (done, so_far) = (i + 1, out.perplexity());
            eprintln!("window {done} of {windows}: perplexity {so_far:.4} so far");
        }
        Ok(out)
    })
}

fn main() -> Result<(), AnyError> {
    let args = Args::parse();
    if args.ctx < 4 {
        return Err("a window has 4 tokens or more".into());
    }
    let text = std::fs::read_to_string(&args.text);
    let text = text.map_err(|e| format!("{}: {e}", args.text.display()))?;
    let cores = common::lane(args.threads);
    let mut outcomes = Vec::new();
    for &kernels in &args.kernels {
        let model = common::load(&args.model, kernels)?;
        let mut tokens = model.vocab().tokenize(&text, false)?;
        tokens.truncate(args.tokens);
        if tokens.len() < args.ctx {
            let (have, ctx) = (tokens.len(), args.ctx);
            return Err(format!("{have} tokens are less than a window of {ctx}").into());
        }
        outcomes.push(measure(&model, kernels, &tokens, args.ctx, &cores)?);
    }
    let Some(last) = outcomes.last() else {
        return Err("no kernels were named".into());
    };
    println!(
        "Perplexity of {} over {} tokens in windows of {}, the second half of each:",
        args.model.display(),
        last.read,
        args.ctx
    );
    println!();
    common::print_machine(cores.threads());
    println!();
    let head = [
        "kernels".to_owned(),
        "perplexity".to_owned(),
        "standard error".to_owned(),
        format!("relative to {}", common::kernels_name(last.kernels)),
        "its standard error".to_owned(),
        "tokens/s".to_owned(),
    ];
    let row = |o: &PerplexityResult| {
        let (ratio, ratio_error) = o.relative(last);
        vec![
            common::kernels_name(o.kernels).to_owned(),
            format!("{:.4}", o.perplexity()),
            format!("{:.4}", o.error()),
            format!("{ratio:.5}"),
            format!("{ratio_error:.5}"),
            format!("{:.1}", o.read as f64 / o.time.as_secs_f64()),
        ]
    };
    let rows: Vec<_> = outcomes.iter().map(row).collect();
    common::table(1, &head, &rows);
    Ok(())
}
