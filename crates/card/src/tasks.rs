//! Prompts as tasks for the commands that compare: `card bench`, `card plan`, `card export-pairs`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use card_bench::contest::{self, Contestant};
use card_bench::prompts::{self, BenchPrompt};
use card_bench::sample::{BenchTask, Rules};
use card_llama::ChatMessage;
use card_setup::{Setup, progress};

/// Every contestant on every task, one after the other, with a progress bar.
pub fn interleaved(
    contestants: &[Contestant],
    tasks: &[BenchTask],
    repeats: usize,
    rules: &Rules,
) -> Result<contest::Results> {
    let turns = contestants.len() * tasks.len() * repeats;
    let bar = progress::bar(turns as u64, "  {bar:32} {pos}/{len} {msg:28} {eta:>5}");
    let mut begun = 0;
    let results = contest::run(contestants, tasks, repeats, rules, &mut |name| {
        bar.set_position(begun);
        bar.set_message(name.to_owned());
        begun += 1;
    });
    bar.finish_and_clear();
    Ok(results?)
}

/// The first `most` prompts of each file and of each built-in category that is named; of every
/// built-in category where no file and no category is named.
pub fn tasks(
    files: &[PathBuf],
    most: usize,
    categories: &[String],
    setup: &Setup,
) -> Result<Vec<BenchTask>> {
    let mut chosen: Vec<BenchPrompt> = Vec::new();
    for file in files {
        chosen.extend(prompts::from_file(file, most)?);
    }
    if files.is_empty() || !categories.is_empty() {
        for prompt in prompts::built_in() {
            let same = |p: &&BenchPrompt| p.category == prompt.category;
            let wanted = categories.is_empty() || categories.contains(&prompt.category);
            if wanted && chosen.iter().filter(same).count() < most {
                chosen.push(prompt);
            }
        }
    }
    if chosen.is_empty() {
        bail!(
            "no prompt is of category {}; there are code, maths, chat, edit, json and japanese",
            categories.join(", ")
        );
    }
    let template = setup.template.as_ref().context(
        "this model has no chat template, so there is no telling how to ask it something",
    )?;
    let task = |p: BenchPrompt| {
        let rendered = template.render(&[ChatMessage::new("user", p.text.clone())])?;
        let prediction = p.prediction.as_deref().unwrap_or_default();
        Ok(BenchTask {
            prompt: setup.vocab.tokenize(&rendered, true)?,
            prediction: setup.vocab.tokenize(prediction, false)?,
            category: p.category,
            text: p.text,
        })
    };
    chosen.into_iter().map(task).collect()
}
