//! Draft copies against the file itself, as drafters of a target.

use std::path::Path;

use anyhow::Result;
use card_core::cost::CostCurve;
use card_core::forward::Model;
use card_core::policy;
use card_core::protocol::Lanes;
use card_core::types::Token;
use card_engine::{placement, teacher_forcing};
use card_llama::{Kernels, on_own_thread};

use super::copies::{COMMON, Copies, CopyPlan};
use crate::contexts::llama_context;
use crate::draft_model::DraftModel;
use crate::loader::{LoadedTarget, Loader};

/// Bits a weight. Files with fewer have nothing to gain.
const HEAVY: f64 = 4.8;
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

/// The copies against each other, as drafters of a target.
pub struct CopyTrial<'a> {
    loader: &'a Loader<'a>,
    target: &'a LoadedTarget,
    kernels: Kernels,
    cost: CostCurve,
    copies: &'a Copies<'a>,
    /// The target's first choices along the passage; empty until they are needed.
    wanted: Vec<Token>,
}

/// A drafter of the trial.
struct CopyEntrant {
    plan: CopyPlan,
    context: Box<dyn Model + Send>,
    /// Share of the passage at which it has the target's choice.
    agreement: f64,
}

impl<'a> CopyTrial<'a> {
    /// A trial of copies as drafters of `target`, whose forwards take what `cost` says.
    pub fn new(
        loader: &'a Loader<'a>,
        target: &'a LoadedTarget,
        kernels: Kernels,
        cost: CostCurve,
        copies: &'a Copies<'a>,
    ) -> Self {
        CopyTrial {
            loader,
            target,
            kernels,
            cost,
            copies,
            wanted: Vec::new(),
        }
    }

    /// Takes one thing after the other away from the file, if that pays.
    ///
    /// # Errors
    /// If the models cannot be loaded or run.
    pub fn winner(mut self) -> Result<CopyPlan> {
        let original = self.load(self.copies.of)?;
        let info = original.info();
        let heavy = info.bytes as f64 * 8.0 / info.parameters as f64 > HEAVY;
        // Which tokens of a draft model of another vocabulary are rare for the target is not known.
        let wide = !original.is_translated()
            && original.llama.vocab().len() >= 2 * COMMON
            && original.llama.can_be_trimmed();
        if !(heavy || wide) {
            return Ok(CopyPlan::default());
        }
        let (context, cores) = (self.target.context, &self.loader.draft_cores);
        let mut target = llama_context(&self.target.model, "target", context, cores)?;
        self.wanted = self.favourites(&mut target)?;
        drop(target);
        let mut best = self.entrant(CopyPlan::default(), &original)?;
        drop(original);
        let as_is = best.agreement;
        let mut made = Vec::new();
        for (applies, few_bits, common) in [(heavy, true, false), (wide, false, true)] {
            if !applies {
                continue;
            }
            let plan = CopyPlan {
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
    fn better(
        &self,
        best: &mut CopyEntrant,
        plan: CopyPlan,
        as_is: f64,
    ) -> Result<Option<CopyEntrant>> {
        let copy = self.copies.get(plan)?;
        let mut next = self.entrant(plan, &self.load(&copy)?)?;
        let token = self.wanted.first().copied().unwrap_or(0);
        let steps =
            on_own_thread(|| placement::in_turns([&mut *best.context, &mut *next.context], token))?;
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

    fn load(&self, path: &Path) -> Result<DraftModel> {
        self.loader.draft(path, self.target, self.kernels)
    }

    fn entrant(&self, plan: CopyPlan, model: &DraftModel) -> Result<CopyEntrant> {
        let mut context = model.model(self.target.context, &self.loader.draft_cores)?;
        let theirs = self.favourites(&mut *context)?;
        let same = self.wanted.iter().zip(&theirs).filter(|(a, b)| a == b);
        Ok(CopyEntrant {
            plan,
            context,
            agreement: same.count() as f64 / self.wanted.len().max(1) as f64,
        })
    }

    /// A model's first choices along the passage.
    fn favourites(&self, context: &mut (dyn Model + Send)) -> Result<Vec<Token>> {
        let passage = self.target.model.vocab().tokenize(PASSAGE, false)?;
        Ok(on_own_thread(|| {
            teacher_forcing::favourites(context, &passage)
        })?)
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
