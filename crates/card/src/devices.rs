//! Which devices the two models are on, and how many threads that takes.

use std::sync::OnceLock;

use card_llama::{Cores, devices};

use crate::args::{LanesArg, ModelArgs};
use crate::loader::threads;

/// Cores of the target and of the drafter when they work in turns.
pub fn cores(args: &ModelArgs) -> (Cores, Cores) {
    let (target, draft) = threads_alone(args);
    let cores = Cores::one_lane(target);
    match target == draft {
        true => (cores.clone(), cores),
        false => (cores, Cores::one_lane(draft)),
    }
}

/// Threads of the target and of the drafter when they work in turns: a model that is all on
/// a GPU needs one, which speaks to it.
pub fn threads_alone(args: &ModelArgs) -> (usize, usize) {
    let all = threads(args.threads);
    let needs = |on_gpu: bool| if on_gpu { 1 } else { all };
    (needs(target_on_gpu(args)), needs(draft_on_gpu(args)))
}

/// (Threads of the target, threads of the drafter) to try with both at work.
pub fn splits(args: &ModelArgs) -> Vec<(usize, usize)> {
    let all = threads(args.threads);
    let drafter = args.draft_threads.map(|n| n as usize);
    match (target_on_gpu(args), draft_on_gpu(args)) {
        (true, true) => vec![(1, 1)],
        (true, false) => left_over(all, drafter),
        (false, true) => vec![(all, 1)],
        (false, false) if apart(args) => vec![(all, drafter.unwrap_or(all))],
        (false, false) => divided(all, drafter),
    }
}

/// Both compute on the processor.
fn divided(all: usize, drafter: Option<usize>) -> Vec<(usize, usize)> {
    let split = |n| (all.saturating_sub(n).max(1), n);
    shares([1, all / 4, all / 2], drafter).map(split).collect()
}

/// The target's device leaves the processor to the drafter, but for the thread that speaks
/// to it. A part of the cores stays free for everybody else: a drafter whose threads wait
/// for one of them, which was interrupted, loses milliseconds (docs/build.md).
fn left_over(all: usize, drafter: Option<usize>) -> Vec<(usize, usize)> {
    let split = |n| (1, n);
    shares([all / 4, all / 2, all * 3 / 4], drafter)
        .map(split)
        .collect()
}

/// Threads of the drafter: those asked for, else these, growing, each once.
fn shares(tried: [usize; 3], wanted: Option<usize>) -> impl Iterator<Item = usize> {
    let mut threads = wanted.map_or(tried.to_vec(), |n| vec![n]);
    threads.iter_mut().for_each(|n| *n = (*n).max(1));
    threads.dedup();
    threads.into_iter()
}

/// The same with the draft model on the processor beside the target's device, if nothing is
/// said about where it shall be, and it would not be there anyway.
pub fn with_draft_beside(args: &ModelArgs) -> Option<ModelArgs> {
    let said = !args.draft_device.is_empty()
        || args.draft_gpu_layers.is_some()
        || args.draft_threads.is_some()
        || args.lanes != LanesArg::Auto
        || args.emulate.is_some();
    let may = !said && !target_on_cpu(args) && !draft_on_cpu(args);
    may.then(|| ModelArgs {
        draft_device: vec!["CPU".to_owned()],
        ..args.clone()
    })
}

/// Whether no layer of the target is computed on this machine's processor, so that its
/// kernels there do not matter.
pub fn target_elsewhere(args: &ModelArgs) -> bool {
    args.gpu_layers.is_none() && !target_on_cpu(args)
}

/// The same for the draft model.
pub fn draft_elsewhere(args: &ModelArgs) -> bool {
    draft_on_gpu(args)
}

/// What measurements of both at work depend on.
pub fn describe(args: &ModelArgs) -> String {
    format!(
        "{:?} {:?} {:?}, {:?} {:?}",
        args.rpc, args.device, args.gpu_layers, args.draft_device, args.draft_gpu_layers
    )
}

/// Whether the models do not share what they compute on, or not all of it.
fn apart(args: &ModelArgs) -> bool {
    let on_cpu = target_on_cpu(args);
    let named = !args.draft_device.is_empty() && args.draft_device != args.device;
    !args.rpc.is_empty() || on_cpu != draft_on_cpu(args) || (!on_cpu && named)
}

/// Whether all layers of a model with these devices are on GPUs.
pub fn all_on_gpu(names: &[String], layers: Option<u32>) -> bool {
    layers.is_none() && !on_cpu(names, layers)
}

fn target_on_gpu(args: &ModelArgs) -> bool {
    args.rpc.is_empty() && args.gpu_layers.is_none() && !target_on_cpu(args)
}

fn draft_on_gpu(args: &ModelArgs) -> bool {
    all_on_gpu(&args.draft_device, args.draft_gpu_layers)
}

fn target_on_cpu(args: &ModelArgs) -> bool {
    args.rpc.is_empty() && on_cpu(&args.device, args.gpu_layers)
}

fn draft_on_cpu(args: &ModelArgs) -> bool {
    on_cpu(&args.draft_device, args.draft_gpu_layers)
}

fn on_cpu(names: &[String], layers: Option<u32>) -> bool {
    let named = |gpu: &str| names.is_empty() || names.iter().any(|n| n.eq_ignore_ascii_case(gpu));
    layers == Some(0) || !gpus().iter().any(|gpu| named(gpu))
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
    fn threads_are_divided_on_one_processor() {
        assert_eq!(divided(2, None), [(1, 1)]);
        assert_eq!(divided(8, None), [(7, 1), (6, 2), (4, 4)]);
        assert_eq!(divided(8, Some(3)), [(5, 3)]);
        assert_eq!(divided(1, None), [(1, 1)]);
    }

    #[test]
    fn a_drafter_beside_a_gpu_leaves_cores_free() {
        assert_eq!(left_over(16, None), [(1, 4), (1, 8), (1, 12)]);
        assert_eq!(left_over(2, None), [(1, 1)]);
        assert_eq!(left_over(16, Some(15)), [(1, 15)]);
    }
}
