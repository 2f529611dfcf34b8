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
        holds_text: args.show_cache || (args.explain_policy && on_one_screen()),
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
            .print(before, session.engine.lane_times(), &setup.guarantee);
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

/// Whether text and remarks meet on a terminal, where they would run into each other.
fn on_one_screen() -> bool {
    std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
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
            text(bytes, "standard input")?
        }
    };
    if prompt.trim().is_empty() {
        bail!("the prompt is empty; give one with -p, -f FILE or on standard input");
    }
    Ok(prompt)
}

fn read_text(file: &Path, what: &str) -> Result<String> {
    let bytes = std::fs::read(file)
        .with_context(|| format!("cannot read the {what} from {}", file.display()))?;
    text(bytes, &file.display().to_string())
}

/// What was read from somewhere, as text.
fn text(bytes: Vec<u8>, from: &str) -> Result<String> {
    let text = String::from_utf8(bytes);
    text.map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!("{from} is not text: byte {at} is no UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_said_to_be_none() {
        assert_eq!(text(b"a".to_vec(), "x").unwrap(), "a");
        let why = text(b"ab\xff".to_vec(), "prompt.bin").unwrap_err();
        assert_eq!(
            why.to_string(),
            "prompt.bin is not text: byte 2 is no UTF-8"
        );
    }
}
