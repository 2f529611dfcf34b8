//! A drafter without asking: of the models here that could draft for a target, the one that promises
//! most. What is chosen, and why, is said in one line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use card_core::cost::CostCurve;
use card_core::policy;
use card_core::protocol::Lanes;
use card_core::types::Token;
use card_engine::{placement, teacher_forcing};
use card_llama::{Kernels, LlamaContext, on_own_thread};
use serde::{Deserialize, Serialize};

use crate::choice;
use crate::contexts::llama_context;
use crate::findings::{identity, known, remember};
use crate::loader::{LoadedDraft, LoadedTarget, Loader};
use crate::models::drafters::{DraftCandidate, DrafterSearch};
use crate::self_test::PASSAGE;

/// Kernels of the trial. ggml's do not change how a target is computed that is measured already.
const KERNELS: Kernels = Kernels::Ggml;

/// Chooses a drafter for the target among those of a plan, and loads it. Returns its file too;
/// `None` if there is none, or none that works, so that only the model-free sources propose.
pub fn find(
    loader: &Loader,
    plan: DrafterSearch,
    target: &LoadedTarget,
) -> Option<(PathBuf, LoadedDraft)> {
    if plan.candidates.is_empty() {
        eprintln!("no drafter: {}", missing(plan.fetch.as_ref()));
        return None;
    }
    for (candidate, why) in ordered(loader, target, plan.candidates) {
        match choice::draft(loader, &candidate.file, target) {
            Ok(draft) => {
                eprintln!(
                    "drafting with {}: {why} (--draft none for no drafter)",
                    candidate.name
                );
                return Some((candidate.file, draft));
            }
            Err(error) => tracing::warn!("{} does not draft: {error:#}", candidate.name),
        }
    }
    eprintln!(
        "no drafter: none of those that looked fit works; only sources without a model propose"
    );
    None
}

/// Why there is no drafter, and what helps.
fn missing(fetch: Option<&(String, String)>) -> String {
    let until = "only sources without a model propose";
    match fetch {
        Some((family, name)) => format!(
            "no smaller model here speaks this one's vocabulary, so {until}; `card pull {name}` \
             fetches the one for {family}"
        ),
        None => format!("no smaller model here speaks this one's vocabulary, so {until}"),
    }
}

/// Why a candidate would be taken that was not measured.
fn reason(candidate: &DraftCandidate) -> String {
    let vocabulary = if candidate.translated {
        "it is the one for the target's family, its tokens are translated,"
    } else {
        "it speaks the target's vocabulary"
    };
    format!(
        "{vocabulary} and it is {:.0} times smaller",
        candidate.smaller
    )
}

/// The candidates with why each would be taken, the one that promises most first.
fn ordered(
    loader: &Loader,
    target: &LoadedTarget,
    mut candidates: Vec<DraftCandidate>,
) -> Vec<(DraftCandidate, String)> {
    let mut measured = None;
    if candidates.len() > 1 {
        match winner(loader, target, &candidates) {
            Ok(Some(winner)) if winner.index < candidates.len() => {
                candidates[..=winner.index].rotate_right(1);
                measured = Some(format!(
                    "of {} models here that speak the target's vocabulary it promises most, {:.1} \
                     times plain decoding",
                    candidates.len(),
                    winner.times
                ));
            }
            Ok(_) => {}
            // The likeliest stays the first.
            Err(error) => tracing::warn!("the drafters here cannot be compared: {error:#}"),
        }
    }
    let mut ordered = Vec::new();
    for candidate in candidates {
        let why = measured.take().unwrap_or_else(|| reason(&candidate));
        ordered.push((candidate, why));
    }
    ordered
}

/// The candidate that won.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Winner {
    /// Its place among the candidates.
    index: usize,
    /// How many times plain decoding's speed it promises on the passage of the trial.
    times: f64,
}

/// The candidate that promises most: a remembered measurement, or one that is made now; `None` if
/// there is no time to make one.
fn winner(
    loader: &Loader,
    target: &LoadedTarget,
    candidates: &[DraftCandidate],
) -> Result<Option<Winner>> {
    let report = target
        .report
        .as_ref()
        .context("the target's costs are not known")?;
    let mut key = format!(
        "{} | drafters | {} | {}",
        identity(target.model.path())?,
        loader.target_key(target.kernels),
        loader.draft_key(KERNELS)
    );
    for candidate in candidates {
        key.push_str(" | ");
        key.push_str(&identity(&candidate.file)?);
    }
    if let Some(budget) = &loader.coarse {
        let known = known(loader.store, &key);
        budget.leave_out(|u| u.forms |= known.is_none());
        return Ok(known);
    }
    let measured = remember(loader.store, key, || {
        Trial::new(loader, target, report.cost())?.winner(candidates)
    });
    measured.map(Some)
}

/// Drafters against each other on one passage.
struct Trial<'a> {
    loader: &'a Loader<'a>,
    target: &'a LoadedTarget,
    cost: CostCurve,
    passage: Vec<Token>,
    /// The target's first choices along the passage.
    wanted: Vec<Token>,
}

/// A drafter of the trial.
struct Entrant {
    index: usize,
    context: LlamaContext,
    /// Share of the passage at which it has the target's choice.
    agreement: f64,
}

impl<'a> Trial<'a> {
    fn new(loader: &'a Loader<'a>, target: &'a LoadedTarget, cost: CostCurve) -> Result<Self> {
        let passage = target.model.vocab().tokenize(PASSAGE, false)?;
        let mut trial = Trial {
            loader,
            target,
            cost,
            passage,
            wanted: Vec::new(),
        };
        let mut context =
            llama_context(&target.model, "target", target.context, &loader.draft_cores)?;
        trial.wanted = trial.favourites(&mut context)?;
        Ok(trial)
    }

    /// Two at a time are timed in turns, so that whatever else the machine does meets both alike.
    fn winner(&self, candidates: &[DraftCandidate]) -> Result<Winner> {
        let mut best: Option<Entrant> = None;
        let mut times = 1.0;
        for (index, candidate) in candidates.iter().enumerate() {
            let mut next = match self.entrant(index, &candidate.file) {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!("{} does not draft: {error:#}", candidate.name);
                    continue;
                }
            };
            let Some(before) = &mut best else {
                best = Some(next);
                continue;
            };
            let token = self.wanted.first().copied().unwrap_or(0);
            let steps = on_own_thread(|| {
                placement::in_turns([&mut before.context, &mut next.context], token)
            })?;
            let promises = [
                self.promise(before.agreement, steps[0]),
                self.promise(next.agreement, steps[1]),
            ];
            for (entrant, i) in [(&*before, 0), (&next, 1)] {
                tracing::info!(
                    "{}: {:.2} ms a token, the target's choice {:.1} % of the time, {:.2} times \
                     plain decoding",
                    candidates[entrant.index].name,
                    steps[i],
                    100.0 * entrant.agreement,
                    promises[i]
                );
            }
            times = promises[0].max(promises[1]);
            if promises[1] > promises[0] {
                best = Some(next);
            }
        }
        let best = best.context("none of the models can be loaded")?;
        Ok(Winner {
            index: best.index,
            times,
        })
    }

    fn entrant(&self, index: usize, file: &Path) -> Result<Entrant> {
        let model = self.loader.draft(file, self.target, KERNELS)?;
        let cores = &self.loader.draft_cores;
        ensure!(!model.is_translated(), "it speaks another vocabulary");
        let mut context = llama_context(&model.llama, "draft", self.target.context, cores)?;
        let theirs = self.favourites(&mut context)?;
        let same = self.wanted.iter().zip(&theirs).filter(|(a, b)| a == b);
        Ok(Entrant {
            index,
            context,
            agreement: same.count() as f64 / self.wanted.len().max(1) as f64,
        })
    }

    /// A model's first choices along the passage.
    fn favourites(&self, context: &mut LlamaContext) -> Result<Vec<Token>> {
        let passage = &self.passage;
        Ok(on_own_thread(|| {
            teacher_forcing::favourites(context, passage)
        })?)
    }

    /// How many times plain decoding's speed a drafter promises that takes `step` milliseconds for a
    /// token and has the target's choice so often.
    fn promise(&self, agreement: f64, step: f64) -> f64 {
        let draft = CostCurve::from_points([(1, step)]);
        let (rate, _) = policy::promise(Lanes::Shared, agreement, &self.cost, &draft);
        let (plain, _) = policy::promise(Lanes::Shared, 0.0, &self.cost, &draft);
        rate / plain.max(1e-12)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drafter_of_other_tokens_is_told_from_one_of_the_same() {
        let candidate = |translated| DraftCandidate {
            name: "small".into(),
            file: "small.gguf".into(),
            smaller: 11.8,
            translated,
        };
        assert_eq!(
            reason(&candidate(false)),
            "it speaks the target's vocabulary and it is 12 times smaller"
        );
        assert!(reason(&candidate(true)).contains("tokens are translated"));
    }

    #[test]
    fn what_is_missing_is_said_with_the_command_that_fetches_it() {
        let family = ("Qwen 3".to_owned(), "qwen3-0.6b".to_owned());
        let said = missing(Some(&family));
        assert!(
            said.contains("`card pull qwen3-0.6b`") && said.contains("Qwen 3"),
            "{said}"
        );
        assert!(!missing(None).contains("pull"));
    }
}
