//! What the measuring examples share: prompts, models, contexts, numbers, tables.

// Each example uses a part of it.
#![allow(dead_code)]

pub mod asking;
pub mod tally;

use std::path::{Path, PathBuf};

use card_core::types::Token;
use card_engine::selftest::{self, SelfTestReport};
use card_llama::{
    ChatError, ChatMessage, ChatTemplate, ContextOptions, Cores, Kernels, LlamaContext, LlamaModel,
    LoadOptions, Vocab, card_kernels, on_own_thread, system_info,
};

/// Anything that goes wrong. It may come from another thread.
pub type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Text for forwards that are only timed, and for the self-test.
pub const PASSAGE: &str = "A list is sorted if each element is at most the next one. To sort a \
    list of numbers, compare neighbours and swap those in the wrong order, until nothing changes \
    any more; better methods split the list first, sort both halves, and join them.";

/// Reads the name of kernels on a command line.
pub fn kernels(name: &str) -> Result<Kernels, String> {
    match name {
        "card" => Ok(Kernels::Card),
        "ggml" => Ok(Kernels::Ggml),
        "ggml-plain" => Ok(Kernels::GgmlPlain),
        _ => Err("there are card, ggml and ggml-plain".into()),
    }
}

/// The name that [`kernels`] reads.
pub fn kernels_name(kernels: Kernels) -> &'static str {
    match kernels {
        Kernels::Card => "card",
        Kernels::Ggml => "ggml",
        Kernels::GgmlPlain => "ggml-plain",
    }
}

/// A lane of so many threads, of one for each core if no number is given.
pub fn lane(threads: Option<usize>) -> Cores {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    Cores::one_lane(threads.unwrap_or(all))
}

/// Loads a model for these kernels. Where card's cannot be used that is an error, since a
/// measurement of other kernels would be taken for one of them.
pub fn load(file: &Path, kernels: Kernels) -> Result<LlamaModel, AnyError> {
    if kernels == Kernels::Card
        && let Err(why) = card_kernels()
    {
        return Err(format!("card's kernels cannot be used here: {why}").into());
    }
    let options = LoadOptions {
        kernels,
        ..LoadOptions::default()
    };
    eprintln!(
        "loading {} for {}'s kernels",
        file.display(),
        kernels_name(kernels)
    );
    Ok(LlamaModel::load(file, &options, &mut |_| {})?)
}

/// A context for so many sequences of `context` tokens, as `card` makes them.
pub fn options(role: &'static str, context: u32, sequences: u32, cores: &Cores) -> ContextOptions {
    ContextOptions {
        role,
        context,
        sequences,
        spare_cells: 512,
        rows: 256,
        in_order: sequences > 1 && role == "target",
        cores: cores.clone(),
    }
}

/// The self-test of a model behind each of the heads.
pub fn self_test(
    model: &LlamaModel,
    heads: &[usize],
    cores: &Cores,
) -> Result<SelfTestReport, AnyError> {
    let mut passage = model.vocab().tokenize(PASSAGE, false)?;
    passage.truncate(40);
    let mut context = LlamaContext::new(model, &options("target", 1024, 1, cores))?;
    let run = || selftest::run(&mut context, &passage, heads, &mut |_, _| {});
    Ok(on_own_thread(run)?)
}

/// So many tokens of [`PASSAGE`], over and over.
pub fn filler(vocab: &Vocab, tokens: usize) -> Result<Vec<Token>, AnyError> {
    let passage = vocab.tokenize(PASSAGE, false)?;
    Ok(passage.iter().copied().cycle().take(tokens).collect())
}

/// The prompt in a line of a file of prompts: the `question`, the `text`, or the first of the
/// `turns` of a JSON object.
pub fn prompt_of(line: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = [&value["question"], &value["text"], &value["turns"][0]];
    fields
        .into_iter()
        .find_map(|v| v.as_str())
        .map(str::to_owned)
}

/// The prompts of all files: the first of each, then the second of each, and so on.
pub fn prompts(files: &[PathBuf]) -> Result<Vec<String>, AnyError> {
    let mut all: Vec<(usize, String)> = Vec::new();
    for file in files {
        let read = |e: std::io::Error| format!("{}: {e}", file.display());
        let text = std::fs::read_to_string(file).map_err(read)?;
        let lines = text.lines().enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let none = || format!("{}:{}: no prompt", file.display(), number + 1);
            all.push((number, prompt_of(line).ok_or_else(none)?));
        }
    }
    // Stable: the files keep their order within each number.
    all.sort_by_key(|(number, _)| *number);
    Ok(all.into_iter().map(|(_, prompt)| prompt).collect())
}

/// Makes prompts of texts, by the model's chat template if it has one.
pub struct Prompter {
    vocab: Vocab,
    template: Option<ChatTemplate>,
}

impl Prompter {
    /// That of a model.
    pub fn of(model: &LlamaModel) -> Result<Self, AnyError> {
        let template = match ChatTemplate::of(model) {
            Ok(template) => Some(template),
            Err(ChatError::None) => None,
            Err(why) => return Err(why.into()),
        };
        let vocab = model.vocab();
        Ok(Prompter { vocab, template })
    }

    /// The tokens a user's text becomes.
    pub fn tokens(&self, text: &str) -> Result<Vec<Token>, AnyError> {
        let Some(template) = &self.template else {
            return Ok(self.vocab.tokenize(text, false)?);
        };
        let rendered = template.render(&[ChatMessage::new("user", text)])?;
        Ok(self.vocab.tokenize(&rendered, true)?)
    }
}

/// The median of some numbers, the least, and the greatest.
pub fn spread(numbers: impl IntoIterator<Item = f64>) -> (f64, f64, f64) {
    let mut sorted: Vec<f64> = numbers.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.as_slice() {
        [] => (f64::NAN, f64::NAN, f64::NAN),
        [least, ..] => {
            let last = sorted.len() - 1;
            (sorted[last / 2], *least, sorted[last])
        }
    }
}

/// Prints a table in Markdown. Columns after the first `texts` are numbers.
pub fn table(texts: usize, head: &[String], rows: &[Vec<String>]) {
    let line = |cells: &[String]| println!("| {} |", cells.join(" | "));
    line(head);
    let rule = |i: usize| if i < texts { "---" } else { "---:" };
    let rules: Vec<&str> = (0..head.len()).map(rule).collect();
    println!("|{}|", rules.join("|"));
    rows.iter().for_each(|row| line(row));
}

/// Prints the processor, and what it lets both kinds of kernels use.
pub fn print_machine(threads: usize) {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|l| l.strip_prefix("model name"));
    let name = name.map(|l| l.trim_start_matches([' ', '\t', ':']));
    let name = name.unwrap_or("unknown");
    println!("- processor: {name}, {threads} threads");
    match card_kernels() {
        Ok(set) => println!("- card's kernels: {set}"),
        Err(why) => println!("- card's kernels: none ({why})"),
    }
    println!("- llama.cpp: {}", system_info().trim());
}
