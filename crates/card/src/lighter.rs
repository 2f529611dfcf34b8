//! A lighter copy of the draft model. A draft decides how soon a token is known, never
//! which, so its weights may be rounded further and its output layer may leave out rare
//! tokens; whether that pays is measured.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use card_core::cost::CostCurve;
use card_core::policy::{self, Lanes};
use card_core::types::Token;
use card_engine::{placement, recall};
use card_llama::{Kernels, LlamaContext, LlamaModel, on_own_thread};
use serde::{Deserialize, Serialize};

use crate::loader::{Loader, Target, llama_context};
use crate::profile::{self, short_name};
use card_setup::rewrite::{CopyWeights, rewrite};

/// The type with the fastest kernels on processors, and few bits.
const KIND: &str = "Q4_0";
/// Files with fewer bits a weight than this have nothing to gain.
const HEAVY: f64 = 4.8;
/// Tokens that keep their row in the output layer: of English, code and mathematics they
/// are nearly all.
const COMMON: usize = 64_000;
/// Gain in promised speed below which a copy is not worth its place on the disk.
const GAIN: f64 = 1.02;
/// Share of drafts that are right, for the comparison.
const TOP: f64 = 0.85;
/// Text of several kinds, to see how often two models' first choices are the same.
const PASSAGE: &str = "use std::collections::HashMap;\n\n/// Counts how often each word \
    occurs.\npub fn count(text: &str) -> HashMap<String, usize> {\n    let mut counts = \
    HashMap::new();\n    for word in text.split_whitespace() {\n        *counts.entry(\
    word.to_lowercase()).or_insert(0) += 1;\n    }\n    counts\n}\n\nThe river rises in the \
    hills north of the town and reaches the sea after eighty kilometres. For most of the \
    year it is shallow enough to be crossed on foot, but in spring the melting snow turns \
    it into a torrent, and the old stone bridge is the only way to the other side. If a \
    train travels at 60 km/h for 2.5 hours, it covers 60 * 2.5 = 150 km. \
    次の文を英語に訳してください。駅前の図書館は午前九時に開きます。\n{\"name\": \"Ann\", \
    \"age\": 31, \"city\": \"Oslo\"}\n{\"name\": \"Ben\", \"age\": 28, \"city\": \"Rome\"}\n";

/// How a copy differs from the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Plan {
    /// Its weights are of [`KIND`].
    few_bits: bool,
    /// It has logits for the [`COMMON`] most common tokens only.
    common: bool,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.few_bits, self.common) {
            (false, false) => "as it is",
            (true, false) => "4 bits a weight",
            (false, true) => "common tokens only",
            (true, true) => "4 bits a weight, common tokens only",
        })
    }
}

/// The file to draft with: `path`, or a copy of it with less to compute if that is faster
/// here, with these kernels.
pub fn choose(
    loader: &Loader,
    path: &Path,
    target: &Target,
    kernels: Kernels,
    context: u32,
) -> PathBuf {
    match fastest(loader, path, target, kernels, context) {
        Ok(chosen) => chosen,
        // Nothing is lost but some speed.
        Err(error) => {
            tracing::warn!("no lighter copy of the draft model: {error:#}");
            path.to_owned()
        }
    }
}

fn fastest(
    loader: &Loader,
    path: &Path,
    target: &Target,
    kernels: Kernels,
    context: u32,
) -> Result<PathBuf> {
    let Some(profile) = &target.profile else {
        return Ok(path.to_owned());
    };
    let copies = Copies {
        of: path,
        identity: profile::identity(path)?,
        folder: loader.store.drafters(),
    };
    let key = format!(
        "{} | {} | lighter copies | {} | {}",
        profile::identity(target.model.path())?,
        copies.identity,
        loader.key(target.kernels),
        loader.draft_key(kernels)
    );
    let plan = profile::remember(loader.store, key, || {
        let trial = Trial {
            loader,
            target,
            kernels,
            cost: profile.report.cost(),
            context,
            copies: &copies,
            wanted: Vec::new(),
        };
        trial.winner()
    })?;
    copies.get(plan)
}

/// The copies there may be of a file.
struct Copies<'a> {
    of: &'a Path,
    identity: String,
    folder: PathBuf,
}

impl Copies<'_> {
    fn path(&self, plan: Plan) -> PathBuf {
        if plan == Plan::default() {
            return self.of.to_owned();
        }
        let name = short_name(&format!("{} {KIND} {COMMON} {plan:?}", self.identity));
        self.folder.join(format!("{name}.gguf"))
    }

    /// The copy, made if it is not there.
    fn get(&self, plan: Plan) -> Result<PathBuf> {
        let path = self.path(plan);
        if !path.exists() {
            std::fs::create_dir_all(&self.folder)
                .with_context(|| format!("cannot make {}", self.folder.display()))?;
            let untrimmed = self.path(Plan {
                common: false,
                ..plan
            });
            // In a trial that one was made a moment ago.
            if plan.common && untrimmed.exists() {
                card_llama::trim(&untrimmed, &path, self.of, COMMON)?;
            } else {
                let weights = CopyWeights {
                    kind: plan.few_bits.then_some(KIND),
                    pure: true,
                    vocabulary: plan.common.then_some(COMMON),
                };
                rewrite(self.of, &path, weights)?;
            }
        }
        Ok(path)
    }
}

/// The copies against each other, as drafters of a target.
struct Trial<'a> {
    loader: &'a Loader<'a>,
    target: &'a Target,
    kernels: Kernels,
    cost: CostCurve,
    context: u32,
    copies: &'a Copies<'a>,
    /// The target's first choices along the passage.
    wanted: Vec<Token>,
}

/// A drafter of the trial.
struct Entrant {
    plan: Plan,
    context: LlamaContext,
    /// Share of the passage at which it has the target's choice.
    agreement: f64,
}

impl Trial<'_> {
    /// Takes one thing after the other away from the file, if that pays.
    fn winner(mut self) -> Result<Plan> {
        let original = self.load(self.copies.of)?;
        let info = original.info();
        let heavy = info.bytes as f64 * 8.0 / info.parameters as f64 > HEAVY;
        let wide = original.vocab().len() >= 2 * COMMON && original.can_be_trimmed();
        if !(heavy || wide) {
            return Ok(Plan::default());
        }
        self.wanted = self.favourites(&mut self.context(&self.target.model, "target")?)?;
        let mut best = self.entrant(Plan::default(), &original)?;
        drop(original);
        let as_is = best.agreement;
        let mut made = Vec::new();
        for (applies, few_bits, common) in [(heavy, true, false), (wide, false, true)] {
            if !applies {
                continue;
            }
            let plan = Plan {
                few_bits: best.plan.few_bits || few_bits,
                common: best.plan.common || common,
            };
            if !self.copies.path(plan).exists() {
                made.push(plan);
            }
            match self.better(&mut best, plan, as_is) {
                Ok(Some(next)) => best = next,
                Ok(None) => {}
                Err(error) => tracing::warn!("no draft model of {plan}: {error:#}"),
            }
        }
        // What was there before may be of use to another target.
        for plan in made.into_iter().filter(|p| *p != best.plan) {
            let _ = std::fs::remove_file(self.copies.path(plan));
        }
        Ok(best.plan)
    }

    /// The copy `plan`, if it promises more than `best`, which it is timed in turns with.
    fn better(&self, best: &mut Entrant, plan: Plan, as_is: f64) -> Result<Option<Entrant>> {
        let copy = self.copies.get(plan)?;
        let mut next = self.entrant(plan, &self.load(&copy)?)?;
        let token = self.wanted.first().copied().unwrap_or(0);
        let steps =
            on_own_thread(|| placement::in_turns([&mut best.context, &mut next.context], token))?;
        let promises = [(&*best, steps[0]), (&next, steps[1])].map(|(entrant, step)| {
            tracing::info!(
                "draft model, {}: {step:.2} ms a token, the target's choice {:.1} % of the time",
                entrant.plan,
                100.0 * entrant.agreement
            );
            self.promise(entrant.agreement / as_is.max(1e-9), step)
        });
        Ok((promises[1] >= GAIN * promises[0]).then_some(next))
    }

    fn load(&self, path: &Path) -> Result<LlamaModel> {
        self.loader.load_draft(path, self.target, self.kernels)
    }

    fn entrant(&self, plan: Plan, model: &LlamaModel) -> Result<Entrant> {
        let mut context = self.context(model, "draft")?;
        let theirs = self.favourites(&mut context)?;
        let same = self.wanted.iter().zip(&theirs).filter(|(a, b)| a == b);
        Ok(Entrant {
            plan,
            context,
            agreement: same.count() as f64 / self.wanted.len().max(1) as f64,
        })
    }

    fn context(&self, model: &LlamaModel, role: &'static str) -> Result<LlamaContext> {
        Ok(llama_context(
            model,
            role,
            self.context,
            &self.loader.draft_cores,
        )?)
    }

    /// A model's first choices along the passage.
    fn favourites(&self, context: &mut LlamaContext) -> Result<Vec<Token>> {
        let passage = self.target.model.vocab().tokenize(PASSAGE, false)?;
        Ok(on_own_thread(|| recall::favourites(context, &passage))?)
    }

    /// Tokens per millisecond to expect where there is drafting at all. What is found on the
    /// passage says how a copy compares with the file, not how often drafts of the target's
    /// own text are right.
    fn promise(&self, agreement: f64, step: f64) -> f64 {
        let top = TOP * agreement.min(1.0);
        let draft = CostCurve::from_points([(1, step)]);
        policy::promises(Lanes::Shared, top, &self.cost, &draft)
            .skip(1)
            .fold(0.0, |best, (rate, _)| best.max(rate))
    }
}
