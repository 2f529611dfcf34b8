//! `card chat`: a conversation at the terminal. Nothing is printed while a prompt waits, and nothing
//! that is typed is shown while an answer comes.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use card_core::sampler::SamplingParams;
use card_core::scheduler::Finish;
use card_engine::LaneTimes;
use card_llama::{ChatError, ChatMessage, ChatTemplate};
use card_setup::models::catalogue::Catalogue;
use card_setup::models::store::Store;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::chat_line::{ChatLine, HELP};
use crate::args::{ChatArgs, SamplingArgs};
use crate::complaint::complain;
use crate::keyboard::KeysHeld;
use crate::log_writer::LogsHeld;
use crate::session::Session;
use crate::stream::{GenerationInput, PrintOptions, stream};
use crate::summary::{GREY, Summary};
use crate::word_wrap::{WordWrap, columns};

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
    let mut chat = TerminalChat {
        session: &session,
        template,
        sampling: &args.sampling,
        params,
        wraps: !args.no_wrap,
        messages: opening.clone(),
        last: None,
    };
    eprintln!("{HELP}");
    loop {
        let Some(line) = ask(&mut editor)? else {
            break;
        };
        match ChatLine::read(&line) {
            ChatLine::Nothing => {}
            ChatLine::Quit => break,
            ChatLine::Help => eprintln!("{HELP}"),
            ChatLine::Unknown(word) => {
                eprintln!("there is no command /{word}; // begins a message with /\n{HELP}");
            }
            ChatLine::Stats => chat.print_stats(),
            ChatLine::Reset => {
                chat.messages = opening.clone();
                eprintln!("a new conversation begins");
            }
            ChatLine::Message(text) => {
                let _ = editor.add_history_entry(&line);
                chat.answer(text);
            }
        }
    }
    drop(chat);
    if let Some(file) = &history {
        keep_history(&mut editor, file);
    }
    session.end();
    Ok(ExitCode::SUCCESS)
}

/// The next line; `None` at the end of the input.
fn ask(editor: &mut DefaultEditor) -> Result<Option<String>> {
    loop {
        let logs = LogsHeld::hold();
        let read = editor.readline("> ");
        drop(logs);
        match read {
            Ok(line) => return Ok(Some(line)),
            Err(ReadlineError::Interrupted) => eprintln!("/quit or Ctrl-D leaves"),
            Err(ReadlineError::Eof) => return Ok(None),
            Err(error) => return Err(error).context("cannot read a line"),
        }
    }
}

fn keep_history(editor: &mut DefaultEditor, file: &Path) {
    let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    if made.is_ok() {
        let _ = editor.save_history(file);
    }
}

/// A conversation.
struct TerminalChat<'a> {
    session: &'a Session,
    template: &'a ChatTemplate,
    sampling: &'a SamplingArgs,
    params: SamplingParams,
    /// Whether lines of an answer end between words.
    wraps: bool,
    messages: Vec<ChatMessage>,
    last: Option<LastAnswer>,
}

/// What is known of the last answer: its counts, and what the lanes had done before and after it.
struct LastAnswer {
    summary: Summary,
    before: LaneTimes,
    after: LaneTimes,
}

impl TerminalChat<'_> {
    /// Answers a message. One that did not work is taken back, and the conversation goes on.
    fn answer(&mut self, text: &str) {
        self.messages.push(ChatMessage::new("user", text));
        match self.generate() {
            Ok(text) => self.messages.push(ChatMessage::new("assistant", text)),
            Err(error) => {
                self.messages.pop();
                complain(&error);
            }
        }
    }

    /// Prints an answer, and a line about it. Returns its text.
    fn generate(&mut self) -> Result<String> {
        let setup = &self.session.setup;
        let prompt = self.template.render(&self.messages)?;
        let input = GenerationInput {
            prompt: setup.vocab.tokenize(&prompt, true)?,
            params: self.params.clone(),
            prediction: Vec::new(),
        };
        let before = self.session.engine.lane_times();
        let keys = KeysHeld::hold();
        let width = columns().filter(|_| self.wraps);
        let mut out = WordWrap::new(std::io::stdout().lock(), width);
        let how = PrintOptions::default();
        let done = stream(self.session, input, self.sampling, how, &mut out);
        let written = out.finish();
        drop(keys);
        let done = done?;
        written.context("cannot write the answer")?;
        let (brief, more) = (done.summary.brief(), "/stats says more");
        match self.last {
            None => anstream::eprintln!("{GREY}{brief}; {more}{GREY:#}\n"),
            Some(_) => anstream::eprintln!("{GREY}{brief}{GREY:#}\n"),
        }
        if done.finish == Finish::ContextFull {
            eprintln!("the context is full; /reset starts over, --ctx makes it longer");
        }
        self.last = Some(LastAnswer {
            summary: done.summary,
            before,
            after: self.session.engine.lane_times(),
        });
        Ok(done.text)
    }

    /// Prints the figures of the last answer.
    fn print_stats(&self) {
        match &self.last {
            None => eprintln!("nothing was answered yet"),
            Some(LastAnswer {
                summary,
                before,
                after,
            }) => summary.print(*before, *after, &self.session.setup.guarantee),
        }
    }
}
