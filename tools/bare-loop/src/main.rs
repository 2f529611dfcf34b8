//! Greedy decoding with llama-cpp-2 and nothing else.
//!
//! bare-loop MODEL.gguf PROMPT TOKENS THREADS: the text on stdout, tokens per second of
//! decoding (the prompt's prefill left out) on stderr.

use std::num::NonZeroU32;
use std::time::Instant;

use anyhow::{Context, Result};
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::model::LlamaModel;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, prompt, tokens, threads] = &args[..] else {
        anyhow::bail!("usage: bare-loop MODEL.gguf PROMPT TOKENS THREADS");
    };
    let tokens: usize = tokens.parse().context("TOKENS is a number")?;
    let threads: i32 = threads.parse().context("THREADS is a number")?;
    let mut backend = LlamaBackend::init()?;
    backend.void_logs();
    let model = LlamaModel::load_from_file(&backend, model, &LlamaModelParams::default())?;
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(4096))
        .with_n_threads(threads)
        .with_n_threads_batch(threads);
    let mut context = model.new_context(&backend, params)?;
    let vocab = model.vocab();
    let prompt = vocab.tokenize(prompt.as_bytes(), true, true);
    let mut batch = LlamaBatch::new(prompt.len().max(1), 1);
    for (i, token) in prompt.iter().enumerate() {
        batch.add(*token, i as i32, &[0], i + 1 == prompt.len())?;
    }
    context.decode(&mut batch)?;
    let mut written = Vec::new();
    let start = Instant::now();
    let mut decoded = 0;
    loop {
        let logits = context.get_logits_ith(batch.n_tokens() - 1);
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        let token = llama_cpp_2::token::LlamaToken(best.map_or(0, |b| b.0 as i32));
        written.push(token);
        if written.len() >= tokens || vocab.is_eog(token) {
            break;
        }
        batch.clear();
        batch.add(token, (prompt.len() + written.len() - 1) as i32, &[0], true)?;
        context.decode(&mut batch)?;
        decoded += 1;
    }
    let rate = f64::from(decoded) / start.elapsed().as_secs_f64();
    let text = vocab.detokenize(&written, false, true);
    println!("{}", String::from_utf8_lossy(&text));
    eprintln!("{rate:.3}");
    Ok(())
}
