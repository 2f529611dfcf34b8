//! `card chat`: a conversation at the terminal.

use std::process::ExitCode;

use anyhow::{Context, Result};
use card_core::scheduler::Finish;
use card_llama::{ChatError, ChatMessage};
use card_setup::models::catalogue::Catalogue;
use card_setup::models::store::Store;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::args::{ChatArgs, SamplingArgs};
use crate::session::Session;
use crate::stream::{GenerationInput, PrintOptions, stream};

const HELP: &str =
    "/reset  start over\n/help   this\n/quit   leave (also Ctrl-D)\nCtrl-C ends an answer early.";

/// `card chat`.
pub fn run(args: &ChatArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let params = args.sampling.params()?;
    let mut session = Session::start(&args.model.settings(), catalogue, false)?;
    session.measure_in_pauses();
    let template = session.setup.template.as_ref().ok_or(ChatError::None)?;
    let mut editor = DefaultEditor::new().context("cannot use this terminal")?;
    // What was typed is kept for the next time, readable by its owner only.
    let history = if args.model.no_memory {
        None
    } else {
        Some(Store::open()?.chat_history())
    };
    if let Some(file) = &history {
        let _ = editor.load_history(file);
    }
    let system = args.system.iter().map(|s| ChatMessage::new("system", s));
    let opening: Vec<ChatMessage> = system.collect();
    let mut messages = opening.clone();
    eprintln!("{HELP}");
    loop {
        let line = match editor.readline("> ") {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error).context("cannot read a line"),
        };
        match line.trim() {
            "" => continue,
            "/quit" => break,
            "/help" => {
                eprintln!("{HELP}");
                continue;
            }
            "/reset" => {
                messages = opening.clone();
                continue;
            }
            _ => {}
        }
        let _ = editor.add_history_entry(&line);
        messages.push(ChatMessage::new("user", line));
        let prompt = template.render(&messages)?;
        let input = GenerationInput {
            prompt: session.setup.vocab.tokenize(&prompt, true)?,
            params: params.clone(),
            prediction: Vec::new(),
        };
        match answer(&session, input, &args.sampling) {
            Ok(text) => messages.push(ChatMessage::new("assistant", text)),
            Err(error) => {
                // The conversation goes on without the message that did not work.
                messages.pop();
                eprintln!("error: {error:#}");
            }
        }
    }
    if let Some(file) = &history {
        let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        if made.is_ok() {
            let _ = editor.save_history(file);
        }
    }
    session.end();
    Ok(ExitCode::SUCCESS)
}

/// Prints an answer with its summary. Returns its text.
fn answer(session: &Session, input: GenerationInput, sampling: &SamplingArgs) -> Result<String> {
    let before = session.engine.lane_times();
    let mut out = std::io::stdout().lock();
    let done = stream(session, input, sampling, PrintOptions::default(), &mut out)?;
    drop(out);
    done.summary
        .print(before, session.engine.lane_times(), &session.setup.holds);
    if done.finish == Finish::ContextFull {
        eprintln!("the context is full; /reset starts over, --ctx makes it longer");
    }
    Ok(done.text)
}
