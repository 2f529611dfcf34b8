//! Which layers of a target stay on the processor where the GPUs have no room for all of them.

use anyhow::Result;
use card_llama::{CacheTypes, KvShape, LayerSizes};

use crate::contexts;
use crate::devices;
use crate::files::ModelFiles;
use crate::room::{self, Room};
use crate::settings::Settings;

/// Bytes that are left free on the GPUs, for buffers of forwards and other programs.
const LEFT_FREE: u64 = 1 << 30;
/// Bytes that the cells and states of one layer are taken to need at most, so that what a damaged
/// file says of them can be added up. No machine has as much memory.
const MOST_OF_LAYER: u64 = 1 << 50;

/// Where the layers of a target go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// All of them to the GPUs.
    Whole,
    /// All of them, but for the experts of the first layers.
    ExpertsHere(u32),
    /// The last layers only; the experts of these are here as well if the model has any.
    LastLayers {
        /// Layers on GPUs, where what gives the logits counts as one.
        gpu_layers: u32,
        /// Whether the model has experts.
        experts: bool,
    },
}

/// These settings with as much of the target on the GPUs as they have room for; `None` if it all
/// fits, if the settings say themselves where it is, or if nothing is known of it.
pub fn fitted(settings: &Settings, files: &ModelFiles) -> Option<Settings> {
    if let Some(why) = devices::without_effect(settings) {
        tracing::warn!("{why}");
    }
    let said = settings.gpu_layers.is_some()
        || settings.cpu_moe
        || settings.n_cpu_moe.is_some()
        || !settings.override_tensor.is_empty()
        || !settings.rpc.is_empty();
    if !settings.fit || said || devices::target_on_cpu(settings) {
        return None;
    }
    let free = Room::now(&settings.device).gpus?;
    match plan(settings, files, free) {
        Ok(fit) => changed(settings, fit, free),
        // What is wrong with a file is said when it is loaded.
        Err(why) => {
            tracing::debug!("nothing is fitted: {why:#}");
            None
        }
    }
}

fn plan(settings: &Settings, files: &ModelFiles, free: u64) -> Result<Fit> {
    let sizes = LayerSizes::of_file(&files.target)?;
    let context = settings.asked_context().unwrap_or(room::DEFAULT_CONTEXT);
    let cells = u64::from(context) * u64::from(settings.parallel) + u64::from(room::SPARE_CELLS);
    let kept_bytes = |shape: KvShape, types: CacheTypes, role: &'static str| {
        let states = contexts::state_bytes(&shape, role, settings.parallel);
        shape.cache_bytes(cells, types).saturating_add(states)
    };
    let kept = KvShape::of_file(&files.target)?;
    let layers = u64::from(kept.layers.max(1));
    let of_layer = kept_bytes(kept, settings.target_cache(), "target") / layers;
    let of_layer = of_layer.min(MOST_OF_LAYER);
    let mut room = free.saturating_sub(LEFT_FREE);
    if !devices::draft_on_cpu(settings) {
        let drafts = files.draft.iter().chain(&files.draft2);
        for file in drafts.chain(&files.head_file) {
            let shape = match KvShape::of_file(file) {
                Ok(shape) => shape,
                // Another candidate may turn out to be the drafter.
                Err(_) if files.finds_draft && files.draft.as_ref() == Some(file) => continue,
                Err(why) => return Err(why.into()),
            };
            let weights = if *file == files.target {
                0
            } else {
                shape.bytes
            };
            let kept = kept_bytes(shape, settings.draft_cache(), "draft");
            room = room.saturating_sub(weights.saturating_add(kept));
        }
    }
    Ok(fit(&sizes, of_layer, room))
}

/// Where the layers go if each takes `cache` bytes of cells and states beside its weights, and GPUs
/// have `room`.
fn fit(sizes: &LayerSizes, cache: u64, room: u64) -> Fit {
    let rest: u64 = sizes.layers.iter().map(|l| l.rest + cache).sum();
    let experts: u64 = sizes.layers.iter().map(|l| l.experts).sum();
    let mut takes = sizes.output + rest + experts;
    if takes <= room {
        return Fit::Whole;
    }
    for (i, layer) in sizes.layers.iter().enumerate().filter(|_| experts > 0) {
        takes -= layer.experts;
        if takes <= room {
            return Fit::ExpertsHere(i as u32 + 1);
        }
    }
    // llama.cpp takes layers to GPUs from the last on, and before them what gives the logits.
    let mut left = room.checked_sub(sizes.output);
    let mut gpu_layers = u32::from(left.is_some());
    for layer in sizes.layers.iter().rev() {
        left = left.and_then(|left| left.checked_sub(layer.rest + cache));
        if left.is_none() {
            break;
        }
        gpu_layers += 1;
    }
    Fit::LastLayers {
        gpu_layers,
        experts: experts > 0,
    }
}

/// The settings with what was found, which is said in the log.
fn changed(settings: &Settings, fit: Fit, free: u64) -> Option<Settings> {
    let mut fitted = settings.clone();
    let flags = match fit {
        Fit::Whole => return None,
        Fit::ExpertsHere(layers) => {
            fitted.n_cpu_moe = Some(layers);
            format!("--n-cpu-moe {layers}")
        }
        Fit::LastLayers {
            gpu_layers,
            experts,
        } => {
            fitted.gpu_layers = Some(gpu_layers);
            fitted.cpu_moe = experts;
            let moe = if experts { " --cpu-moe" } else { "" };
            format!("--gpu-layers {gpu_layers}{moe}")
        }
    };
    tracing::warn!(
        "the target does not fit the {} that are free on the GPUs, so it is loaded with {flags}; \
         --fit off loads it as it is",
        room::gib(free)
    );
    Some(fitted)
}

#[cfg(test)]
mod tests {
    use card_llama::LayerBytes;

    use super::*;

    fn sizes(experts: u64) -> LayerSizes {
        LayerSizes {
            layers: vec![LayerBytes { experts, rest: 10 }; 4],
            output: 5,
        }
    }

    fn last(gpu_layers: u32, experts: bool) -> Fit {
        Fit::LastLayers {
            gpu_layers,
            experts,
        }
    }

    #[test]
    fn a_dense_model_leaves_its_first_layers() {
        // Each layer takes 12, all of it 53.
        let dense = sizes(0);
        assert_eq!(fit(&dense, 2, 53), Fit::Whole);
        assert_eq!(fit(&dense, 2, 52), last(4, false));
        assert_eq!(fit(&dense, 2, 5 + 12), last(2, false));
        assert_eq!(fit(&dense, 2, 5), last(1, false));
        assert_eq!(fit(&dense, 2, 4), last(0, false));
    }

    #[test]
    fn a_model_with_experts_leaves_as_few_of_them_as_it_can() {
        let moe = sizes(100);
        assert_eq!(fit(&moe, 2, 453), Fit::Whole);
        assert_eq!(fit(&moe, 2, 452), Fit::ExpertsHere(1));
        assert_eq!(fit(&moe, 2, 53), Fit::ExpertsHere(4));
        assert_eq!(fit(&moe, 2, 40), last(3, true));
        assert_eq!(fit(&LayerSizes::default(), 2, 0), Fit::Whole);
    }

    #[test]
    fn what_was_found_is_in_the_settings() {
        let settings = Settings::default();
        assert_eq!(changed(&settings, Fit::Whole, 1), None);
        let found = changed(&settings, Fit::ExpertsHere(3), 1).unwrap();
        assert_eq!(found.n_cpu_moe, Some(3));
        let found = changed(&settings, last(7, true), 1).unwrap();
        assert_eq!((found.gpu_layers, found.cpu_moe), (Some(7), true));
    }
}
