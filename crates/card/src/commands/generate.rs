//! `card generate`.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use card_core::scheduler::Finish;
use card_llama::{ChatError, ChatMessage};
use card_setup::models::catalogue::Catalogue;

use crate::args::GenerateArgs;
use crate::interrupt::EXIT_CODE;
use crate::session::Session;
use crate::stream::{GenerationInput, PrintOptions, stream};

/// `card generate`.
pub fn run(args: &GenerateArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let params = args.sampling.params()?;
    let prompt = read_prompt(args)?;
    let prediction = match &args.prediction {
        Some(file) => read_text(file, "predicted text")?,
        None => String::new(),
    };
    let session = Session::start(&args.model.settings(), catalogue, args.show_cache)?;
    let setup = &session.setup;
    let prompt = if args.chat {
        let template = setup.template.as_ref().ok_or(ChatError::None)?;
        let mut messages = Vec::new();
        messages.extend(args.system.iter().map(|s| ChatMessage::new("system", s)));
        messages.push(ChatMessage::new("user", prompt));
        setup.vocab.tokenize(&template.render(&messages)?, true)?
    } else {
        setup.vocab.tokenize(&prompt, false)?
    };
    let mut out = std::io::stdout().lock();
    let how = PrintOptions {
        show_cache: args.show_cache,
        tokens: args.tokens,
        explain: args.explain_policy,
    };
    let what = GenerationInput {
        prompt,
        params,
        prediction: setup.vocab.tokenize(&prediction, false)?,
    };
    let before = session.engine.lane_times();
    let done = stream(&session, what, &args.sampling, how, &mut out)?;
    drop(out);
    if !args.quiet {
        eprintln!();
        done.summary
            .print(before, session.engine.lane_times(), &setup.holds);
        if done.finish == Finish::ContextFull {
            eprintln!(
                "the context of {} tokens is full, so generation ended; raise --ctx for more",
                setup.context
            );
        }
    }
    setup.check_emulation()?;
    session.end();
    Ok(if done.interrupted {
        ExitCode::from(EXIT_CODE)
    } else {
        ExitCode::SUCCESS
    })
}

fn read_prompt(args: &GenerateArgs) -> Result<String> {
    let prompt = match (&args.prompt, &args.file) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(file)) => read_text(file, "prompt")?,
        (None, None) => {
            if std::io::stdin().is_terminal() {
                eprintln!("reading the prompt from standard input; end it with Ctrl-D");
            }
            let mut bytes = Vec::new();
            std::io::stdin()
                .read_to_end(&mut bytes)
                .context("cannot read standard input")?;
            String::from_utf8(bytes).context("standard input is not UTF-8 text")?
        }
    };
    if prompt.trim().is_empty() {
        bail!("the prompt is empty; give one with -p, -f FILE or on standard input");
    }
    Ok(prompt)
}

fn read_text(file: &Path, what: &str) -> Result<String> {
    std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the {what} from {}", file.display()))
}
