//! `card serve --embeddings`: a server that makes vectors of texts and writes none.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use card_llama::{LlamaEmbedder, Pooling};
use card_server::{
    ExactnessAnswer, ListedModel, LoadStage, ModelSource, ServedModel, ServerConfig,
    engine_without_text,
};
use card_setup::models::catalogue::Catalogue;
use card_setup::{LoadProgress, Settings, embedder};

use super::run_server::run_server;
use crate::args::ServeArgs;
use crate::model_list::name_of;
use crate::model_source::{file_name, told};
use crate::served::{ServedEmbedder, ServedVocab};

/// Serves until Ctrl-C or SIGTERM.
///
/// # Errors
/// If the model cannot be loaded, or the server fails.
pub fn run(
    args: &ServeArgs,
    config: ServerConfig,
    settings: Settings,
    catalogue: Catalogue,
) -> Result<ExitCode> {
    ensure!(
        args.accept_drafters.is_none() && args.canary.is_none(),
        "--embeddings writes no text, so there is nothing to draft; leave --accept-drafters and \
         --canary out"
    );
    ensure!(
        !args.several.asked(),
        "--embeddings is for one model; name it with --model, and leave --models and [models] out"
    );
    let name = args
        .first_name()
        .unwrap_or_else(|| name_of(&settings.model));
    let model = VectorModel {
        name: name.clone(),
        settings,
        catalogue,
        pooling: args.vectors.pooling(),
        progress: LoadProgress::default(),
    };
    run_server(config, Arc::new(model), Some(&name), 1)
}

/// The one model of such a server.
struct VectorModel {
    /// The name by which requests ask for it.
    name: String,
    /// What to load, and where.
    settings: Settings,
    /// Models by name.
    catalogue: Catalogue,
    /// How a text gets its vector; `None` for what the model's file says.
    pooling: Option<Pooling>,
    /// How far it is, while it is being loaded.
    progress: LoadProgress,
}

impl ModelSource for VectorModel {
    fn list(&self) -> Vec<ListedModel> {
        vec![ListedModel {
            name: self.name.clone(),
            context: self.settings.asked_context(),
            drafter: None,
        }]
    }

    fn default_model(&self) -> Option<String> {
        Some(self.name.clone())
    }

    fn load(&self, name: &str) -> Result<ServedModel, String> {
        let loaded = embedder::load(
            &self.settings,
            &self.catalogue,
            self.pooling,
            &self.progress,
        );
        let served = loaded.and_then(|model| served_model(name, model));
        served.map_err(|error| format!("{error:#}"))
    }

    fn progress(&self) -> Option<LoadStage> {
        told(&self.progress)
    }
}

/// The model as the server knows it.
fn served_model(name: &str, model: LlamaEmbedder) -> Result<ServedModel> {
    let (vocab, context) = (model.vocab(), model.context());
    let engine = engine_without_text(vocab.len(), context);
    Ok(ServedModel {
        engine: Arc::new(engine.context("cannot start a thread")?),
        tokenizer: Arc::new(ServedVocab(vocab)),
        template: None,
        name: name.to_owned(),
        file: Some(file_name(&model.path())),
        context,
        note: None,
        exactness: ExactnessAnswer {
            level: "exact".to_owned(),
            means: None,
            kernels: "llama.cpp's kernels".to_owned(),
            words: "a text's vector depends on nothing else that is asked (llama.cpp's kernels)"
                .to_owned(),
        },
        embedder: Some(Arc::new(ServedEmbedder::new(model))),
        drafter: None,
        sampling: None,
        keep: Arc::new(|_| {}),
    })
}
