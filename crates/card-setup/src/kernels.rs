//! Whose matrix kernels a model is loaded for: those to choose from, and what they are called.

use std::sync::{Once, OnceLock};

use card_llama::{Kernels, card_kernels};

use crate::devices;
use crate::settings::{KernelChoice, Settings};

/// The instruction set that the own kernels use here; `None`, and once a line in the log, if
/// they cannot be used.
pub fn own() -> Option<&'static str> {
    static OWN: OnceLock<Option<&'static str>> = OnceLock::new();
    *OWN.get_or_init(|| {
        card_kernels()
            .inspect_err(|why| tracing::info!("ggml's kernels are taken: {why}"))
            .ok()
    })
}

/// How much more than the first layout another one has to promise to be taken. Two measurements
/// of the same thing differ by nearly as much.
pub const CLEARLY: f64 = 1.05;

/// The layouts to choose from; the first one wins ties. `exact` says that the text has to be
/// plain decoding's, where it helps if more row counts give the same logits. `elsewhere` says
/// that nothing of the model is computed on this processor.
pub fn layouts(asked: KernelChoice, exact: bool, elsewhere: bool) -> Vec<Kernels> {
    let available = matches!(asked, KernelChoice::Auto | KernelChoice::Card) && own().is_some();
    if asked == KernelChoice::Card && !available {
        static SAID: Once = Once::new();
        SAID.call_once(|| tracing::warn!("card's own kernels cannot be used here; -v says why"));
    }
    of(asked, available, exact, elsewhere)
}

fn of(asked: KernelChoice, available: bool, exact: bool, elsewhere: bool) -> Vec<Kernels> {
    match (asked, available) {
        (KernelChoice::Auto, _) if elsewhere => vec![Kernels::Ggml],
        (KernelChoice::Card, true) => vec![Kernels::Card],
        (KernelChoice::Auto, true) => vec![Kernels::Card, Kernels::Ggml],
        // Repacked weights use other kernels from some row counts on.
        _ if exact && !elsewhere => vec![Kernels::Ggml, Kernels::GgmlPlain],
        _ => vec![Kernels::Ggml],
    }
}

/// The layout for a model that is not measured.
pub fn preferred(asked: KernelChoice, elsewhere: bool) -> Kernels {
    let all = layouts(asked, false, elsewhere);
    all.first().copied().unwrap_or(Kernels::Ggml)
}

/// What people call such kernels.
pub fn words(kernels: Kernels) -> String {
    match (kernels, own()) {
        (Kernels::Card, Some(set)) => format!("own kernels, {set}"),
        (Kernels::Card, None) => "own kernels".into(),
        (Kernels::Ggml, _) => "ggml's kernels".into(),
        (Kernels::GgmlPlain, _) => "ggml's kernels, weights not repacked".into(),
    }
}

/// What people call the kernels that compute a target, loaded by these settings for `kernels`.
pub fn called(settings: &Settings, kernels: Kernels) -> String {
    match (devices::target_elsewhere(settings), settings.rpc.is_empty()) {
        (true, true) => "the GPU's kernels".into(),
        (true, false) => "the workers' kernels".into(),
        (false, _) => words(kernels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_to_choose_from() {
        use Kernels::{Card, Ggml, GgmlPlain};
        for (asked, available, exact, elsewhere, layouts) in [
            (KernelChoice::Auto, true, true, false, vec![Card, Ggml]),
            (KernelChoice::Auto, true, false, false, vec![Card, Ggml]),
            (
                KernelChoice::Auto,
                false,
                true,
                false,
                vec![Ggml, GgmlPlain],
            ),
            (KernelChoice::Auto, false, false, false, vec![Ggml]),
            // On a GPU there is nothing to compare.
            (KernelChoice::Auto, true, true, true, vec![Ggml]),
            (KernelChoice::Ggml, true, true, true, vec![Ggml]),
            // What was asked for is taken where it can be.
            (KernelChoice::Card, true, true, false, vec![Card]),
            (KernelChoice::Card, true, false, true, vec![Card]),
            (KernelChoice::Card, false, false, false, vec![Ggml]),
            (KernelChoice::Ggml, true, true, false, vec![Ggml, GgmlPlain]),
            (KernelChoice::Ggml, true, false, false, vec![Ggml]),
        ] {
            let found = of(asked, available, exact, elsewhere);
            assert_eq!(found, layouts, "{asked:?} {available} {exact} {elsewhere}");
        }
    }
}
