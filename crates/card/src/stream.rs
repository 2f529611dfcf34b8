//! One generation, printed as it comes. `card generate` and `card chat` share it.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::time::Instant;

use anyhow::{Result, bail};
use card_core::sampler::SamplingParams;
use card_core::scheduler::{Finish, Round};
use card_core::types::Token;
use card_engine::text::TextStream;
use card_engine::{Event, Generate, Stream};
use crossbeam_channel::select;

use crate::args::SamplingArgs;
use crate::interrupt::Listener;
use crate::session::Session;
use crate::show;
use crate::summary::Summary;

/// What to generate.
pub struct GenerationInput {
    pub prompt: Vec<Token>,
    pub params: SamplingParams,
    pub prediction: Vec<Token>,
}

/// What to print.
#[derive(Clone, Copy, Default)]
pub struct PrintOptions {
    pub show_cache: bool,
    pub tokens: bool,
    pub explain: bool,
    /// Whether the text is held back to the end, because something else is printed meanwhile.
    pub holds_text: bool,
}

/// A finished generation.
pub struct FinishedGeneration {
    pub text: String,
    pub finish: Finish,
    pub interrupted: bool,
    pub summary: Summary,
}

/// Generates, printing as it comes. Ctrl-C ends it with what there is.
pub fn stream(
    session: &Session,
    what: GenerationInput,
    sampling: &SamplingArgs,
    how: PrintOptions,
    out: &mut dyn Write,
) -> Result<FinishedGeneration> {
    let listener = Listener::new();
    let mut printer = Printer {
        session,
        how,
        out,
        start: Instant::now(),
        text: TextStream::new(sampling.stop.clone()),
        written: String::new(),
        terminal: std::io::stdout().is_terminal(),
        tokens: Vec::new(),
        summary: Summary::of_prompt(what.prompt.len()),
    };
    let stop_tokens = if sampling.ignore_eos {
        Vec::new()
    } else {
        session.setup.vocab.end_tokens()
    };
    let events = session.engine.generate(Generate {
        prompt: what.prompt,
        params: what.params,
        max_tokens: sampling.max_tokens,
        stop_tokens,
        prediction: what.prediction.into(),
        ..Generate::default()
    })?;
    if session.setup.emulation.is_some() {
        eprintln!("emulated devices: tokens are real, times are the profile's");
    }
    let (finish, interrupted) = printer.follow(&events)?;
    drop(listener);
    printer.end()?;
    Ok(FinishedGeneration {
        text: printer.written,
        finish,
        interrupted,
        summary: printer.summary,
    })
}

/// Prints a generation and counts what came.
struct Printer<'a> {
    session: &'a Session,
    how: PrintOptions,
    out: &'a mut dyn Write,
    start: Instant,
    /// The text that may still turn out to be a stop string.
    text: TextStream,
    /// The text so far.
    written: String,
    /// Whether it is read on a terminal.
    terminal: bool,
    tokens: Vec<Token>,
    summary: Summary,
}

impl Printer<'_> {
    /// Prints events until the generation ends. Returns why it ended, and whether it was
    /// interrupted.
    fn follow(&mut self, events: &Stream) -> Result<(Finish, bool)> {
        let mut interrupted = false;
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
                    self.take(tokens)?;
                    if self.text.stopped() {
                        events.cancel();
                    }
                }
                Event::Round(round) => self.show(&round),
                Event::Finished(_) if self.text.stopped() => {
                    return Ok((Finish::Stop, interrupted));
                }
                Event::Finished(reason) => return Ok((reason, interrupted)),
                Event::Failed(failure) => return Err(failure.into()),
            }
        }
    }

    /// Takes tokens up to a stop string.
    fn take(&mut self, tokens: Vec<Token>) -> Result<()> {
        let start = self.start;
        self.summary
            .first_token
            .get_or_insert_with(|| start.elapsed());
        let before = self.tokens.len();
        for token in tokens {
            if self.text.stopped() {
                break;
            }
            self.tokens.push(token);
            let piece = self.session.setup.vocab.piece(token, false);
            let shown = self.text.push(&piece);
            self.print(&shown)?;
        }
        self.summary.wrote(self.tokens.len() - before);
        Ok(())
    }

    fn show(&mut self, round: &Round) {
        self.summary.add(round);
        let (number, vocab) = (self.summary.rounds, &self.session.setup.vocab);
        if self.how.explain && !round.prefill {
            eprintln!("{}", show::why(number, round, vocab));
        }
        if self.how.show_cache && !round.prefill {
            show::round(number, round, vocab);
        }
    }

    fn print(&mut self, shown: &str) -> Result<()> {
        self.written.push_str(shown);
        if !self.how.tokens && !self.how.holds_text && !shown.is_empty() {
            let shown = self.as_printed(shown);
            self.out.write_all(shown.as_bytes())?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// A text as it may be printed: what is no terminal gets it as it is.
    fn as_printed<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.terminal {
            for_terminal(text)
        } else {
            Cow::Borrowed(text)
        }
    }

    /// Prints what is left, and the end.
    fn end(&mut self) -> Result<()> {
        let rest = self.text.finish();
        self.print(&rest)?;
        if self.how.tokens {
            writeln!(self.out, "{}", serde_json::to_string(&self.tokens)?)?;
        } else if self.how.holds_text {
            let shown = self.as_printed(&self.written);
            writeln!(self.out, "\n{shown}")?;
        } else {
            writeln!(self.out)?;
        }
        self.summary.total = self.start.elapsed();
        Ok(())
    }
}

/// A text without the characters that a terminal obeys, but for line ends and tabs. What a model
/// writes may come from whoever wrote a part of its prompt, and a terminal that obeys can be told to
/// change its title, its colours or the clipboard.
fn for_terminal(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if text.contains(obeyed) {
        Cow::Owned(text.replace(obeyed, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_that_a_model_writes() {
        let text = "a\tb\n\u{1b}]52;c;Zg==\u{7}\r\u{9b}2Jc";
        let shown = for_terminal(text);
        assert_eq!(shown, "a\tb\n\u{fffd}]52;c;Zg==\u{fffd}\u{fffd}\u{fffd}2Jc");
        assert!(matches!(for_terminal("a\tb\n"), Cow::Borrowed(_)));
    }
}
