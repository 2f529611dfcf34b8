//! `card export-pairs`: where the draft model is wrong, for those who want to train it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use card_bench::measure;
use card_bench::sample::{BenchTask, Rules};
use card_core::policy::Mode;
use card_core::sampler::SamplingParams;
use card_core::types::Token;
use card_core::words::counted;
use card_engine::teacher_forcing;
use card_llama::{Vocab, on_own_thread};
use card_setup::models::catalogue::Catalogue;
use card_setup::{Settings, progress};
use serde::Serialize;

use crate::args::ExportArgs;
use crate::session::Session;
use crate::tasks::tasks;

/// A place at which the draft model would have proposed something else.
#[derive(Serialize)]
struct WrongDraft<'a> {
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

/// A token of a text, and what the draft model proposes in its place with which probability,
/// best first.
type ForcedRow = (Token, Vec<(Token, f32)>);

/// `card export-pairs`.
pub fn run(args: &ExportArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let settings = Settings {
        mode: Mode::Auto,
        ..args.model.settings()
    };
    let session = Session::measured(&settings, catalogue)?;
    let setup = &session.setup;
    let mut draft = setup
        .scratch_draft()?
        .context("there is no draft model to compare with; give one with --draft")?;
    let tasks = tasks(&args.files, args.prompts, &[], setup)?;
    let rules = Rules {
        params: SamplingParams::default(),
        max_tokens: args.tokens,
        stop_tokens: setup.vocab.end_tokens(),
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
        let text = measure::generate(&session.engine, task, &rules)?.tokens;
        let mut rows: Vec<ForcedRow> = Vec::new();
        on_own_thread(|| {
            let mut each = |token: Token, proposals: &[(Token, f32)]| {
                rows.push((token, proposals.to_vec()));
            };
            teacher_forcing::along(&mut *draft, &task.prompt, &text, PROPOSALS, &mut each)
        })?;
        places += rows.len();
        wrong += write_wrong(&mut out, &setup.vocab, task, rows)?;
        bar.inc(1);
    }
    out.flush()
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    bar.finish_and_clear();
    eprintln!(
        "{}: {}; the draft model's first proposal was right at {:.1} % of {}",
        args.out.display(),
        counted(wrong, "correction"),
        100.0 * (places - wrong) as f64 / places.max(1) as f64,
        counted(places, "place")
    );
    session.end();
    Ok(ExitCode::SUCCESS)
}

/// Writes the places of an answer at which the first proposal is not what the target wrote.
/// Returns their number.
fn write_wrong(
    out: &mut impl Write,
    vocab: &Vocab,
    task: &BenchTask,
    rows: Vec<ForcedRow>,
) -> Result<usize> {
    let piece = |t: &Token| vocab.piece(*t, true);
    let shown = |t: Token| String::from_utf8_lossy(&piece(&t)).into_owned();
    let mut tokens = task.prompt.clone();
    let mut bytes: Vec<u8> = tokens.iter().flat_map(piece).collect();
    let mut wrong = 0;
    for (token, proposals) in rows {
        if let Some(&(first, probability)) = proposals.first().filter(|p| p.0 != token) {
            wrong += 1;
            let known = proposals.iter().find(|p| p.0 == token);
            let pair = WrongDraft {
                context: &String::from_utf8_lossy(&bytes),
                draft: shown(first),
                draft_probability: probability,
                correction: shown(token),
                correction_probability: known.map(|p| p.1),
                context_tokens: &tokens,
                draft_token: first,
                correction_token: token,
            };
            serde_json::to_writer(&mut *out, &pair)?;
            out.write_all(b"\n")?;
        }
        tokens.push(token);
        bytes.extend(piece(&token));
    }
    Ok(wrong)
}
