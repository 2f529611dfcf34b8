//! Which devices the two models are on, and how many threads that takes.

use std::sync::{Once, OnceLock};

use card_llama::{CacheTypes, Cores, devices};

use crate::settings::{LaneChoice, Settings};

/// Threads in all: as many as there are cores for this process, by its affinity and the quota of
/// its container, or fewer if fewer were asked for. More would wait for each other.
pub fn threads(asked: Option<u32>) -> usize {
    let there_are = std::thread::available_parallelism().map_or(1, usize::from);
    let Some(asked) = asked.map(|t| t as usize).filter(|t| *t > there_are) else {
        return asked.map_or(there_are, |t| t.max(1) as usize);
    };
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            "{asked} threads were asked for, and there are cores for {there_are}, so that many \
             are taken"
        );
    });
    there_are
}

/// Cores of the target and of the drafter when they work in turns.
pub fn cores(settings: &Settings) -> (Cores, Cores) {
    let (target, draft) = threads_alone(settings);
    let cores = Cores::one_lane(target);
    if target == draft {
        (cores.clone(), cores)
    } else {
        (cores, Cores::one_lane(draft))
    }
}

/// Threads of the target and of the drafter when they work in turns: a model that is all on
/// a GPU needs one, which speaks to it.
pub fn threads_alone(settings: &Settings) -> (usize, usize) {
    let all = threads(settings.threads);
    let needs = |on_gpu: bool| if on_gpu { 1 } else { all };
    (
        needs(target_on_gpu(settings)),
        needs(draft_on_gpu(settings)),
    )
}

/// Threads of the target and of the drafter to try with both at work at the same time.
pub fn splits(settings: &Settings) -> Vec<(usize, usize)> {
    let all = threads(settings.threads);
    let drafter = settings.draft_threads.map(|n| n as usize);
    match (target_on_gpu(settings), draft_on_gpu(settings)) {
        (true, true) => vec![(1, 1)],
        (true, false) => left_over(all, drafter),
        (false, true) => vec![(all, 1)],
        (false, false) if apart(settings) && !share_cores(settings) => {
            vec![(all, drafter.unwrap_or(all))]
        }
        (false, false) => divided(all, drafter),
    }
}

/// Splits of the threads where both models compute on one processor.
fn divided(all: usize, drafter: Option<usize>) -> Vec<(usize, usize)> {
    let split = |n| (all.saturating_sub(n).max(1), n);
    shares([1, all / 4, all / 2], drafter).map(split).collect()
}

/// Splits of the threads where the target's device leaves the processor to the drafter, but for
/// the one thread that speaks to the device. Some cores stay free for other programs: a drafter
/// whose threads wait for one that was interrupted loses milliseconds (docs/build.md).
fn left_over(all: usize, drafter: Option<usize>) -> Vec<(usize, usize)> {
    let split = |n| (1, n);
    shares([all / 4, all / 2, all * 3 / 4], drafter)
        .map(split)
        .collect()
}

/// Threads of the drafter to try: the number that was asked for, else those in `tried`, which
/// grow; each number once.
fn shares(tried: [usize; 3], wanted: Option<usize>) -> impl Iterator<Item = usize> {
    let mut threads = wanted.map_or(tried.to_vec(), |n| vec![n]);
    threads.iter_mut().for_each(|n| *n = (*n).max(1));
    threads.dedup();
    threads.into_iter()
}

/// These settings with the draft model on the processor, beside the target's device; `None` if
/// they already say where the draft model is, or if one of the models is on the processor anyway.
pub fn with_draft_beside(settings: &Settings) -> Option<Settings> {
    let said = !settings.draft_device.is_empty()
        || settings.draft_gpu_layers.is_some()
        || settings.draft_threads.is_some()
        || settings.lanes != LaneChoice::Auto
        || settings.emulate.is_some();
    let may = !said && !target_on_cpu(settings) && !draft_on_cpu(settings);
    may.then(|| Settings {
        draft_device: vec!["CPU".to_owned()],
        ..settings.clone()
    })
}

/// Whether no layer of the target is computed on this machine's processor, so that its
/// kernels there do not matter.
pub fn target_elsewhere(settings: &Settings) -> bool {
    settings.gpu_layers.is_none() && !target_on_cpu(settings) && !partly_here(settings)
}

/// Whether no layer of the draft model is computed on this machine's processor.
pub fn draft_elsewhere(settings: &Settings) -> bool {
    draft_on_gpu(settings)
}

/// The devices that measurements of both models at work depend on, as a part of a key.
pub fn describe(settings: &Settings) -> String {
    format!(
        "{:?} {:?} {:?}{}, {:?} {:?}{}",
        settings.rpc,
        settings.device,
        settings.gpu_layers,
        target_changes(settings),
        settings.draft_device,
        settings.draft_gpu_layers,
        draft_changes(settings)
    )
}

/// What is unusual about how the target is loaded, as a part of a key; empty for nothing.
pub fn target_changes(settings: &Settings) -> String {
    let mut changes = cache_change(settings.target_cache());
    let Settings {
        cpu_moe,
        n_cpu_moe,
        override_tensor,
        lora,
        lora_scaled,
        ..
    } = settings;
    if partly_here(settings) {
        changes += &format!(", tensors {cpu_moe} {n_cpu_moe:?} {override_tensor:?}");
    }
    if !lora.is_empty() || !lora_scaled.is_empty() {
        changes += &format!(", adapters {lora:?} {lora_scaled:?}");
    }
    changes
}

/// What is unusual about how the drafter is loaded, as a part of a key; empty for nothing.
pub fn draft_changes(settings: &Settings) -> String {
    cache_change(settings.draft_cache())
}

fn cache_change(cache: CacheTypes) -> String {
    if cache == CacheTypes::default() {
        String::new()
    } else {
        format!(", cache {} {}", cache.k, cache.v)
    }
}

/// Whether some of the target's tensors may be on the processor, whatever their layer.
pub fn partly_here(settings: &Settings) -> bool {
    let experts = settings.cpu_moe || settings.n_cpu_moe.is_some_and(|n| n > 0);
    experts || !settings.override_tensor.is_empty()
}

/// The devices that one of the models may use, by name; empty for all there are.
pub fn named(settings: &Settings) -> Vec<String> {
    let Settings {
        device,
        draft_device,
        ..
    } = settings;
    if device.is_empty() || draft_device.is_empty() {
        Vec::new()
    } else {
        device.iter().chain(draft_device).cloned().collect()
    }
}

/// Whether the models compute on different devices, or on partly different ones.
pub fn apart(settings: &Settings) -> bool {
    let on_cpu = target_on_cpu(settings);
    let named = !settings.draft_device.is_empty() && settings.draft_device != settings.device;
    !settings.rpc.is_empty() || on_cpu != draft_on_cpu(settings) || (!on_cpu && named)
}

/// Whether both models compute on this machine's processor, one of them only in part: a target with
/// some of its layers or experts there, beside a draft model. They take each other's cores then,
/// whatever else the target computes on.
pub fn share_cores(settings: &Settings) -> bool {
    !target_elsewhere(settings) && !draft_elsewhere(settings)
}

/// Whether all layers of a model with these devices are on GPUs.
pub fn all_on_gpu(names: &[String], layers: Option<u32>) -> bool {
    layers.is_none() && !on_cpu(names, layers)
}

fn target_on_gpu(settings: &Settings) -> bool {
    settings.rpc.is_empty() && target_elsewhere(settings)
}

fn draft_on_gpu(settings: &Settings) -> bool {
    all_on_gpu(&settings.draft_device, settings.draft_gpu_layers)
}

/// Whether all of the target is computed on this machine's processor.
pub fn target_on_cpu(settings: &Settings) -> bool {
    settings.rpc.is_empty() && on_cpu(&settings.device, settings.gpu_layers)
}

/// Whether all of the draft model is computed on this machine's processor.
pub fn draft_on_cpu(settings: &Settings) -> bool {
    on_cpu(&settings.draft_device, settings.draft_gpu_layers)
}

fn on_cpu(names: &[String], layers: Option<u32>) -> bool {
    let named = |gpu: &str| names.is_empty() || names.iter().any(|n| n.eq_ignore_ascii_case(gpu));
    layers == Some(0) || !gpus().iter().any(|gpu| named(gpu))
}

/// What of these settings does nothing here, in words, as layers for a GPU where there is none.
pub fn without_effect(settings: &Settings) -> Option<String> {
    unheard(settings, gpus().is_empty())
}

fn unheard(settings: &Settings, no_gpu: bool) -> Option<String> {
    let asked = [
        ("--gpu-layers", settings.gpu_layers),
        ("--draft-gpu-layers", settings.draft_gpu_layers),
    ];
    let (flag, layers) = asked
        .into_iter()
        .find_map(|(flag, layers)| Some((flag, layers.filter(|n| *n > 0)?)))?;
    let nowhere = no_gpu && settings.rpc.is_empty();
    nowhere.then(|| {
        format!("{flag} {layers} does nothing here: there is no GPU (`card devices` lists devices)")
    })
}

/// Names of the GPUs, which are asked for once: to list devices wakes them.
fn gpus() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let gpus = devices().into_iter().filter(|d| d.is_gpu);
        gpus.map(|d| d.name).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_threads_than_there_are_cores_for() {
        let there_are = threads(None);
        assert!(there_are >= 1);
        assert_eq!(threads(Some(1)), 1);
        assert_eq!(threads(Some(100_000)), there_are);
        assert_eq!(threads(Some(0)), 1);
    }

    #[test]
    fn layers_for_a_gpu_that_is_not_there_are_told_of() {
        let settings = Settings {
            gpu_layers: Some(10),
            ..Settings::default()
        };
        let why = unheard(&settings, true).unwrap();
        assert!(why.contains("--gpu-layers 10 does nothing here"), "{why}");
        assert_eq!(unheard(&settings, false), None);
        let none = Settings {
            gpu_layers: Some(0),
            ..Settings::default()
        };
        assert_eq!(unheard(&none, true), None);
        assert_eq!(unheard(&Settings::default(), true), None);
    }

    #[test]
    fn threads_are_divided_on_one_processor() {
        assert_eq!(divided(2, None), [(1, 1)]);
        assert_eq!(divided(8, None), [(7, 1), (6, 2), (4, 4)]);
        assert_eq!(divided(8, Some(3)), [(5, 3)]);
        assert_eq!(divided(1, None), [(1, 1)]);
    }

    #[test]
    fn findings_of_usual_models_keep_their_keys() {
        let mut settings = Settings::default();
        assert_eq!(describe(&settings), "[] [] None, [] None");
        settings.cache_type_v = card_llama::CacheType::Q8_0;
        settings.n_cpu_moe = Some(4);
        settings.lora = vec!["a.gguf".into()];
        let changes = target_changes(&settings);
        assert!(
            changes.contains("f16 q8_0") && changes.contains("Some(4)"),
            "{changes}"
        );
        assert!(changes.contains("a.gguf") && draft_changes(&settings).is_empty());
        assert!(!target_elsewhere(&settings));
    }

    #[test]
    fn experts_on_the_processor_share_its_cores_with_a_drafter_there() {
        let mut settings = Settings {
            rpc: vec!["worker:50052".into()],
            draft_device: vec!["CPU".into()],
            ..Settings::default()
        };
        assert!(apart(&settings) && !share_cores(&settings));
        settings.cpu_moe = true;
        assert!(apart(&settings) && share_cores(&settings));
        settings.cpu_moe = false;
        settings.gpu_layers = Some(20);
        assert!(share_cores(&settings));
    }

    #[test]
    fn a_drafter_beside_a_gpu_leaves_cores_free() {
        assert_eq!(left_over(16, None), [(1, 4), (1, 8), (1, 12)]);
        assert_eq!(left_over(2, None), [(1, 1)]);
        assert_eq!(left_over(16, Some(15)), [(1, 15)]);
    }
}
