//! A head in a file of its own, loaded for its target.

use std::path::Path;

use super::model::{LlamaModel, LoadOptions};
use crate::error::LlamaError;
use crate::sys::context::{Context, ContextSettings, ModelPart};
use crate::sys::head_file::HeadFile;
use crate::sys::vocab::check_vocabularies;

/// A head in a file of its own ([`HeadFile`]) with the target that it drafts for. Cheap to clone.
#[derive(Clone)]
pub struct HeadModel {
    model: LlamaModel,
    target: LlamaModel,
    file: HeadFile,
}

impl HeadModel {
    /// Loads a head for a target. Its tensors have to be where those of the target are that it
    /// borrows, so devices and workers of the `options` are the target's. `progress` hears of the part
    /// done, 0 to 1.
    ///
    /// # Errors
    /// If the file is no head, is one for another target, or cannot be loaded.
    pub fn load(
        path: &Path,
        target: &LlamaModel,
        options: &LoadOptions,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Self, LlamaError> {
        let unfit = |why: String| LlamaError::Unsupported {
            path: path.display().to_string(),
            why: format!(
                "it cannot draft for {}: {why}. Name a head that was made for this model, or another \
                 drafter (--draft auto, or a model's name)",
                target.path().display()
            ),
        };
        let file = HeadFile::of_file(path)?;
        let file = file.ok_or_else(|| unfit("it is no head".into()))?;
        if let Some(why) = file.unfit(target.path())? {
            return Err(unfit(why));
        }
        if target.trimmed().is_some() {
            return Err(unfit("the target has a part of its vocabulary only".into()));
        }
        let model = LlamaModel::load_head(path, options, progress)?;
        let (own, theirs) = (model.vocab(), target.vocab());
        if let Err(differ) = check_vocabularies(&theirs, &own) {
            return Err(unfit(differ.to_string()));
        }
        // Embeddings that it borrows are asked for each of its tokens.
        if file.borrows && own.len() != theirs.len() {
            return Err(unfit(format!(
                "it takes the target's embeddings, which are of {} tokens, and has {}",
                theirs.len(),
                own.len()
            )));
        }
        Ok(HeadModel {
            model,
            target: target.clone(),
            file,
        })
    }

    /// The head by itself.
    pub fn model(&self) -> &LlamaModel {
        &self.model
    }

    /// What its file says.
    pub fn file(&self) -> &HeadFile {
        &self.file
    }

    /// The target that it was loaded for.
    pub(super) fn target(&self) -> &LlamaModel {
        &self.target
    }

    /// The layers of the target whose inputs it reads.
    pub(super) fn layers(&self) -> &[u32] {
        &self.file.layers
    }

    /// Numbers of the states of one token that it reads, of all of these layers.
    pub(super) fn features(&self) -> usize {
        self.file.features()
    }

    /// A context of the target that the head's contexts borrow tensors through, if it lacks some.
    /// llama.cpp asks it for its model only, so it is as small as can be, and not the one that the
    /// engine decodes with, which may go first.
    pub(super) fn lender(&self) -> Result<Option<Context>, String> {
        if !self.file.borrows {
            return Ok(None);
        }
        let settings = ContextSettings {
            part: ModelPart::Trunk,
            cells: 256,
            rows: 1,
            ids: 1,
            snapshots: 0,
            threads: 1,
            cache: self.target.cache(),
        };
        Context::new(self.target.handle(), &settings).map(Some)
    }
}
