//! `card export-pairs`: where the draft model is wrong, for those who want to train it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use card_bench::contest::{self, Rules};
use card_core::sampler::SamplingParams;
use card_core::types::Token;
use card_engine::recall;
use card_llama::on_own_thread;
use serde::Serialize;

use crate::args::{ExportArgs, ModeArg};
use crate::bench;
use crate::session::Session;
use card_setup::models::catalogue::Catalogue;
use card_setup::progress;

/// A place at which the draft model would have proposed something else.
#[derive(Serialize)]
struct Pair<'a> {
    /// The chat as the model reads it, up to there.
    context: &'a str,
    /// What the draft model proposes first, and how sure it is.
    draft: String,
    draft_probability: f32,
    /// What the target wrote.
    correction: String,
    /// How sure the draft model was of that; `null` if it was not among its first proposals.
    correction_probability: Option<f32>,
    context_tokens: &'a [Token],
    draft_token: Token,
    correction_token: Token,
}

/// Proposals of the draft model that are looked at.
const PROPOSALS: usize = 8;

/// `card export-pairs`.
pub fn run(args: &ExportArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let mut model = args.model.clone();
    model.mode = ModeArg::Auto;
    let session = Session::start(&model, catalogue, false)?;
    let rig = &session.rig;
    let mut draft = rig
        .scratch_draft()?
        .context("there is no draft model to compare with; give one with --draft")?;
    let tasks = bench::tasks(&args.files, args.prompts, &[], rig)?;
    let rules = Rules {
        params: SamplingParams::default(),
        max_tokens: args.tokens,
        stop_tokens: rig.vocab.end_tokens(),
    };
    let file = std::fs::File::create(&args.out)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    let mut out = std::io::BufWriter::new(file);
    let bar = progress::bar(
        tasks.len() as u64,
        "  {bar:32} {pos}/{len} prompts {eta:>5}",
    );
    let (mut places, mut wrong) = (0usize, 0usize);
    for task in &tasks {
        let text = contest::generate(&session.engine, task, &rules)?.tokens;
        let mut rows: Vec<(Token, Vec<(Token, f32)>)> = Vec::new();
        on_own_thread(|| {
            recall::along(
                &mut draft,
                &task.prompt,
                &text,
                PROPOSALS,
                &mut |token, p| {
                    rows.push((token, p.to_vec()));
                },
            )
        })?;
        let mut tokens = task.prompt.clone();
        let piece = |t: &Token| rig.vocab.piece(*t, true);
        let mut bytes: Vec<u8> = tokens.iter().flat_map(piece).collect();
        for (token, proposals) in rows {
            places += 1;
            if let Some(&(first, probability)) = proposals.first().filter(|p| p.0 != token) {
                wrong += 1;
                let shown = |t: Token| String::from_utf8_lossy(&piece(&t)).into_owned();
                let known = proposals.iter().find(|p| p.0 == token);
                let pair = Pair {
                    context: &String::from_utf8_lossy(&bytes),
                    draft: shown(first),
                    draft_probability: probability,
                    correction: shown(token),
                    correction_probability: known.map(|p| p.1),
                    context_tokens: &tokens,
                    draft_token: first,
                    correction_token: token,
                };
                serde_json::to_writer(&mut out, &pair)?;
                out.write_all(b"\n")?;
            }
            tokens.push(token);
            bytes.extend(piece(&token));
        }
        bar.inc(1);
    }
    out.flush()
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    bar.finish_and_clear();
    eprintln!(
        "{}: {wrong} corrections; the draft model's first proposal was right at {:.1} % of {places} places",
        args.out.display(),
        100.0 * (places - wrong) as f64 / places.max(1) as f64
    );
    session.end();
    Ok(ExitCode::SUCCESS)
}
