//! The draft copies that there may be of a draft model's file.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::findings::short_name;
use crate::rewrite::{CopyWeights, rewrite};

/// The type of weights of a draft copy: the one with the fastest kernels on processors, and
/// few bits.
const KIND: &str = "Q4_0";
/// Tokens that keep their row in the output layer of a draft copy. Of English, code and
/// mathematics they are nearly all.
pub const COMMON: usize = 64_000;

/// How a copy differs from the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CopyPlan {
    /// Its weights are of the type [`KIND`].
    pub few_bits: bool,
    /// It has logits for the [`COMMON`] most common tokens only.
    pub common: bool,
}

impl fmt::Display for CopyPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.few_bits, self.common) {
            (false, false) => "as it is",
            (true, false) => "4 bits a weight",
            (false, true) => "common tokens only",
            (true, true) => "4 bits a weight, common tokens only",
        })
    }
}

/// The copies of one file. Each has a name that says of which file it is and how it differs, so
/// a copy that is there can be used.
pub struct Copies<'a> {
    /// The file itself.
    pub of: &'a Path,
    /// What the file is, for names and keys.
    pub identity: String,
    /// Where the copies are kept.
    pub folder: PathBuf,
}

impl Copies<'_> {
    /// Where the copy is, or will be; the file itself if the copy does not differ.
    pub fn path(&self, plan: CopyPlan) -> PathBuf {
        if plan == CopyPlan::default() {
            return self.of.to_owned();
        }
        let CopyPlan { few_bits, common } = plan;
        // Copies that exist were named like this.
        let plan = format!("Plan {{ few_bits: {few_bits}, common: {common} }}");
        let name = short_name(&format!("{} {KIND} {COMMON} {plan}", self.identity));
        self.folder.join(format!("{name}.gguf"))
    }

    /// The copy, made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn get(&self, plan: CopyPlan) -> Result<PathBuf> {
        let path = self.path(plan);
        if !path.exists() {
            self.make(plan, &path)?;
        }
        Ok(path)
    }

    fn make(&self, plan: CopyPlan, path: &Path) -> Result<()> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        let untrimmed = self.path(CopyPlan {
            common: false,
            ..plan
        });
        // In a trial that one was made a moment ago.
        if plan.common && untrimmed.exists() {
            card_llama::trim(&untrimmed, path, self.of, COMMON)?;
            return Ok(());
        }
        let weights = CopyWeights {
            kind: plan.few_bits.then_some(KIND),
            pure: true,
            vocabulary: plan.common.then_some(COMMON),
        };
        rewrite(self.of, path, weights)?;
        Ok(())
    }
}
