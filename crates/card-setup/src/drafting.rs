//! The draft model of this machine, for targets on other machines.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use card_engine::start_lane;
use card_link::{Budget, Drafting, MakeLane, ServerSecurity};
use card_llama::{Cores, LlamaModel, LoadOptions};

use crate::contexts::llama_contexts;
use crate::devices::{self, threads};
use crate::draft_model::DraftModel;
use crate::kernels;
use crate::link::{runtime, vocabulary_of};
use crate::load_progress::LoadProgress;
use crate::loader::load_model;
use crate::models::catalogue::Catalogue;
use crate::models::locate::ModelPlaces;
use crate::models::store::Store;
use crate::settings::DrafterSettings;

/// Loads the draft model: each target gets a lane that is made of it.
///
/// # Errors
/// If there is no such model, or it cannot be fetched or loaded.
pub fn load(settings: &DrafterSettings, catalogue: &Catalogue) -> Result<Drafting> {
    let store = Store::open()?;
    let path = ModelPlaces::new(catalogue, &store, settings.offline)?.drafter(&settings.model)?;
    let options = LoadOptions {
        gpu_layers: settings.gpu_layers,
        devices: settings.device.clone(),
        kernels: kernels::preferred(
            settings.kernels,
            devices::all_on_gpu(&settings.device, settings.gpu_layers),
        ),
        ..LoadOptions::default()
    };
    let model = load_model(&path, &options, "draft", &LoadProgress::default())?;
    let cores = Cores::one_lane(threads(settings.threads));
    Ok(drafting(model, cores, settings.max_cells))
}

/// Drafting with a model on these cores, with `cells` tokens of context for all targets together.
fn drafting(model: LlamaModel, cores: Cores, cells: u64) -> Drafting {
    let vocabulary = vocabulary_of(&model.vocab());
    let budget = Budget::new(Budget::LINKS, cells, model.info().trained_context);
    // Lanes of several targets take turns on these cores.
    let turns = Arc::new(Mutex::new(()));
    let make: MakeLane = Arc::new(move |plan, context, sequences| {
        let made = llama_contexts(&model, "draft", context, sequences, &cores);
        let made = made.map_err(|e| e.to_string())?;
        start_lane(Box::new(made), plan, turns.clone()).map_err(|e| e.to_string())
    });
    Drafting {
        vocabulary,
        make,
        budget,
    }
}

/// Starts a drafter of this process that listens on loopback, like another machine's. Returns its
/// URL.
///
/// # Errors
/// If it cannot listen, or if it has another vocabulary than the target: over a link only tokens
/// go, which are the same on both sides.
pub fn beside(model: &DraftModel, cores: Cores) -> Result<String> {
    if model.is_translated() {
        bail!(
            "a drafter over a link has to have the target's vocabulary; choose a draft model of \
             the target's family"
        );
    }
    // The only target is this process, which bounds itself.
    let drafting = drafting(model.llama.clone(), cores, u64::MAX);
    let (tell, address) = crossbeam_channel::bounded(1);
    runtime()?.spawn(async move {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let ready = |address| drop(tell.send(Ok(address)));
        let (security, never) = (ServerSecurity::open(), std::future::pending());
        let served = card_link::serve_drafter(any, drafting, security, never, ready).await;
        drop(tell.send(served.map(|()| any)));
    });
    let address = address.recv().context("the drafter did not start")??;
    Ok(format!("http://{address}"))
}
