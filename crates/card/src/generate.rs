//! `card generate`, and the streaming that `card chat` shares.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use card_core::engine::Finish;
use card_core::sampler::SamplingParams;
use card_core::types::Token;
use card_engine::text::TextStream;
use card_engine::{Event, Generate};
use card_llama::{ChatError, Message};
use crossbeam_channel::select;

use crate::args::{GenerateArgs, SamplingArgs};
use crate::interrupt::{EXIT_CODE, Listener};
use crate::report::Summary;
use crate::session::Session;
use crate::show;
use card_setup::models::catalogue::Catalogue;

/// `card generate`.
pub fn run(args: &GenerateArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let params = args.sampling.params()?;
    let prompt = read_prompt(args)?;
    let prediction = match &args.prediction {
        Some(file) => read_text(file, "predicted text")?,
        None => String::new(),
    };
    let session = Session::start(&args.model, catalogue, args.show_cache)?;
    let prompt = match args.chat {
        true => {
            let template = session.rig.template.as_ref().ok_or(ChatError::None)?;
            let mut messages = Vec::new();
            messages.extend(args.system.iter().map(|s| Message::new("system", s)));
            messages.push(Message::new("user", prompt));
            session
                .rig
                .vocab
                .tokenize(&template.render(&messages)?, true)?
        }
        false => session.rig.vocab.tokenize(&prompt, false)?,
    };
    let mut out = std::io::stdout().lock();
    let how = How {
        show_cache: args.show_cache,
        tokens: args.tokens,
        explain: args.explain_policy,
    };
    let what = What {
        prompt,
        params,
        prediction: session.rig.vocab.tokenize(&prediction, false)?,
    };
    let before = session.engine.lane_times();
    let done = stream(&session, what, &args.sampling, how, &mut out)?;
    drop(out);
    if !args.quiet {
        eprintln!();
        done.summary
            .print(before, session.engine.lane_times(), &session.rig.holds);
        if done.finish == Finish::ContextFull {
            eprintln!(
                "the context of {} tokens is full, so generation ended; raise --ctx for more",
                session.rig.context
            );
        }
    }
    session.rig.check_emulation()?;
    session.end();
    Ok(match done.interrupted {
        true => ExitCode::from(EXIT_CODE),
        false => ExitCode::SUCCESS,
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

/// What to generate.
pub struct What {
    pub prompt: Vec<Token>,
    pub params: SamplingParams,
    pub prediction: Vec<Token>,
}

/// What to print.
#[derive(Clone, Copy, Default)]
pub struct How {
    pub show_cache: bool,
    pub tokens: bool,
    pub explain: bool,
}

/// A finished generation.
pub struct Done {
    pub text: String,
    pub finish: Finish,
    pub interrupted: bool,
    pub summary: Summary,
}

/// Generates, printing as it comes. Ctrl-C ends it with what there is.
pub fn stream(
    session: &Session,
    what: What,
    sampling: &SamplingArgs,
    how: How,
    out: &mut dyn Write,
) -> Result<Done> {
    let listener = Listener::new();
    let start = Instant::now();
    let mut summary = Summary::of_prompt(what.prompt.len());
    let stop_tokens = match sampling.ignore_eos {
        true => Vec::new(),
        false => session.rig.vocab.end_tokens(),
    };
    let events = session.engine.generate(Generate {
        prompt: what.prompt,
        params: what.params,
        max_tokens: sampling.max_tokens,
        stop_tokens,
        prediction: what.prediction.into(),
        ..Generate::default()
    })?;
    let mut text = TextStream::new(sampling.stop.clone());
    let mut done = String::new();
    let mut ids: Vec<Token> = Vec::new();
    let mut interrupted = false;
    let finish;
    if session.rig.emulation.is_some() {
        eprintln!("emulated devices: tokens are real, times are the profile's");
    }
    let mut print = |shown: &str| -> Result<()> {
        done.push_str(shown);
        if !how.tokens && !how.show_cache && !shown.is_empty() {
            out.write_all(shown.as_bytes())?;
            out.flush()?;
        }
        Ok(())
    };
    loop {
        let event = select! {
            recv(events.events()) -> event => match event {
                Ok(event) => event,
                Err(_) => bail!("the engine has stopped; run again with -vv for its messages"),
            },
            recv(Listener::channel()) -> _ => {
                interrupted = true;
                events.cancel();
                continue;
            }
        };
        match event {
            Event::Tokens(tokens) => {
                summary.first_token.get_or_insert_with(|| start.elapsed());
                for token in tokens {
                    if text.stopped() {
                        break;
                    }
                    summary.tokens += 1;
                    ids.push(token);
                    print(&text.push(&session.rig.vocab.piece(token, false)))?;
                }
                if text.stopped() {
                    events.cancel();
                }
            }
            Event::Round(round) => {
                summary.add(&round);
                if how.explain && !round.prefill {
                    eprintln!("{}", show::why(summary.rounds, &round));
                }
                if how.show_cache && !round.prefill {
                    show::round(summary.rounds, &round, &session.rig.vocab);
                }
            }
            Event::Finished(reason) => {
                finish = match text.stopped() {
                    true => Finish::Stop,
                    false => reason,
                };
                break;
            }
            Event::Failed(failure) => return Err(failure.into()),
        }
    }
    drop(listener);
    print(&text.finish())?;
    if how.tokens {
        writeln!(out, "{}", serde_json::to_string(&ids)?)?;
    } else if how.show_cache {
        writeln!(out, "\n{done}")?;
    } else {
        writeln!(out)?;
    }
    summary.total = start.elapsed();
    Ok(Done {
        text: done,
        finish,
        interrupted,
        summary,
    })
}
