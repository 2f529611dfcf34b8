//! `card serve --embeddings`: a server that makes vectors of texts and writes none.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use card_core::scheduler::Learned;
use card_server::{ExactnessAnswer, ServedModel, ServerConfig, engine_without_text};
use card_setup::models::catalogue::Catalogue;
use card_setup::{Settings, embedder};

use super::serve::{file_name, served_name};
use crate::args::ServeArgs;
use crate::interrupt::{Listener, stopped};
use crate::served::{ServedEmbedder, ServedVocab};

/// Serves until Ctrl-C or SIGTERM.
///
/// # Errors
/// If the model cannot be loaded, or the server fails.
pub fn serve(
    args: &ServeArgs,
    mut config: ServerConfig,
    settings: &Settings,
    catalogue: &Catalogue,
) -> Result<ExitCode> {
    ensure!(
        args.accept_drafters.is_none() && args.canary.is_none(),
        "--embeddings writes no text, so there is nothing to draft; leave --accept-drafters and \
         --canary out"
    );
    let model = embedder::load(settings, catalogue, args.vectors.pooling())?;
    config.llama_server.model_path = file_name(&model.path());
    let served = served_model(args, model)?;
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let listener = Listener::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .max_blocking_threads(args.parallel as usize + 16)
        .thread_name("card-http")
        .build()
        .context("cannot start the server's threads")?;
    let ended = runtime.block_on(card_server::serve(
        served,
        config,
        stopped("finishing what runs; interrupt again to end at once"),
        |address| {
            let model = &args.model.model;
            eprintln!("vectors of {model} at {scheme}://{address}/v1/embeddings");
        },
        |_: &Learned| {},
    ));
    drop(listener);
    runtime.shutdown_timeout(Duration::from_secs(5));
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// The model as the server knows it.
fn served_model(args: &ServeArgs, model: card_llama::LlamaEmbedder) -> Result<ServedModel> {
    let (vocab, context) = (model.vocab(), model.context());
    let engine = engine_without_text(vocab.len(), context);
    Ok(ServedModel {
        engine: Arc::new(engine.context("cannot start a thread")?),
        tokenizer: Arc::new(ServedVocab(vocab)),
        template: None,
        name: served_name(args),
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
    })
}
