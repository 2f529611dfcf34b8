//! A model that makes vectors of texts: embeddings, and scores of rerankers.

use std::path::{Path, PathBuf};

use card_core::types::Token;

use super::context_options::MOST_ROWS;
use super::model::{LlamaModel, LoadOptions};
use crate::error::LlamaError;
use crate::kernels::Kernels;
use crate::sys::embedding::{EmbeddingContext, EmbeddingSettings};
use crate::sys::gguf::Gguf;
use crate::sys::pooling::Pooling;
use crate::sys::vocab::Vocab;

/// Tensors of which a file of a reranker has one: its classification head.
const HEADS: [&str; 2] = ["cls.weight", "cls.output.weight"];
/// The key under which a file has the text that its reranker reads, with places for the question
/// and the document.
const RERANK_TEXT: &str = "tokenizer.chat_template.rerank";

/// Most tokens of a text where nobody says: the memory of a text grows with the square of them.
const USUAL_CONTEXT: u32 = 2048;

/// How to load a model that makes vectors.
#[derive(Clone, Debug, Default)]
pub struct EmbedderOptions {
    /// Most tokens of a text; `None` for what the model was trained for, at most 2048.
    pub context: Option<u32>,
    /// How a text gets its vector; `None` for what the model's file says.
    pub pooling: Option<Pooling>,
    /// Threads that compute, at least one.
    pub threads: usize,
    /// Layers to put on the GPU; `None` for all that there are.
    pub gpu_layers: Option<u32>,
    /// The only devices to use, by name; empty for llama.cpp's choice.
    pub devices: Vec<String>,
}

/// A model that makes vectors of texts. A text is computed by itself, so that its vector does not
/// depend on what else is asked for.
pub struct LlamaEmbedder {
    model: LlamaModel,
    context: EmbeddingContext,
}

impl LlamaEmbedder {
    /// Loads a GGUF file. `progress` hears of the part done, 0 to 1.
    ///
    /// # Errors
    /// If the file cannot be loaded, there is no memory for a context, or the model cannot score
    /// texts and shall.
    pub fn load(
        path: &Path,
        options: &EmbedderOptions,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Self, LlamaError> {
        if options.pooling == Some(Pooling::Rank) && !has_head(path)? {
            return Err(LlamaError::Unsupported {
                path: path.display().to_string(),
                why: "it has no classification head, so it cannot rank; serve a reranker, or \
                      choose another --pooling"
                    .into(),
            });
        }
        let load = LoadOptions {
            gpu_layers: options.gpu_layers,
            devices: options.devices.clone(),
            // A text has many rows at once, for which ggml's kernels are made.
            kernels: Kernels::Ggml,
            ..LoadOptions::default()
        };
        let model = LlamaModel::load(path, &load, progress)?;
        let trained = model.info().trained_context.max(1);
        let tokens = options.context.unwrap_or(USUAL_CONTEXT).min(trained);
        let settings = EmbeddingSettings {
            tokens: tokens.clamp(1, MOST_ROWS),
            threads: options.threads.max(1),
            pooling: options.pooling,
        };
        let context = EmbeddingContext::new(model.handle(), &settings);
        let context = context.map_err(|why| LlamaError::Context {
            context: settings.tokens,
            why,
        })?;
        Ok(LlamaEmbedder { model, context })
    }

    /// The vocabulary.
    pub fn vocab(&self) -> Vocab {
        self.model.vocab()
    }

    /// The file that the model came from.
    pub fn path(&self) -> PathBuf {
        self.model.path().to_owned()
    }

    /// How a text gets its vector.
    pub fn pooling(&self) -> Pooling {
        self.context.pooling()
    }

    /// Most tokens of a text.
    pub fn context(&self) -> u32 {
        self.context.tokens() as u32
    }

    /// Numbers of a vector.
    pub fn width(&self) -> usize {
        self.context.width()
    }

    /// The text that the model reads of a question and a document, if its file has one, with
    /// `{query}` and `{document}` in their places.
    pub fn rerank_text(&self) -> Option<String> {
        self.model.meta(RERANK_TEXT)
    }

    /// The vectors of a text: one, or one for each token if nothing is pooled. They are as the
    /// model gives them, not normalised.
    ///
    /// # Errors
    /// If the text has no token or too many, or llama.cpp fails; the words are llama.cpp's.
    pub fn embed(&mut self, tokens: &[Token]) -> Result<Vec<Vec<f32>>, String> {
        self.context.embed(tokens)
    }
}

/// Whether the file has a classification head.
fn has_head(path: &Path) -> Result<bool, LlamaError> {
    let file = Gguf::open(path, false)?;
    let is_head = |name: &str| HEADS.contains(&name);
    let tensors = file.tensors();
    Ok(tensors
        .iter()
        .any(|tensor| tensor.name.to_str().is_ok_and(is_head)))
}
