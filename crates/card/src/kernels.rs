//! Whose matrix kernels a model is loaded for: those to choose from, and what they are called.

use std::sync::{Once, OnceLock};

use card_llama::{Kernels, card_kernels};

use crate::args::{KernelsArg, ModelArgs};
use crate::devices;

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

/// How much more another layout than the first has to promise to be taken: what the machine
/// swings by between two measurements is no reason.
pub const CLEARLY: f64 = 1.05;

/// The layouts to choose from, the one that wins ties first. `exact` says whether more rows of
/// one class help, and `elsewhere` that none of it is computed on this processor.
pub fn layouts(asked: KernelsArg, exact: bool, elsewhere: bool) -> Vec<Kernels> {
    let available = matches!(asked, KernelsArg::Auto | KernelsArg::Card) && own().is_some();
    if asked == KernelsArg::Card && !available {
        static SAID: Once = Once::new();
        SAID.call_once(|| tracing::warn!("card's own kernels cannot be used here; -v says why"));
    }
    of(asked, available, exact, elsewhere)
}

fn of(asked: KernelsArg, available: bool, exact: bool, elsewhere: bool) -> Vec<Kernels> {
    match (asked, available) {
        (KernelsArg::Auto, _) if elsewhere => vec![Kernels::Ggml],
        (KernelsArg::Card, true) => vec![Kernels::Card],
        (KernelsArg::Auto, true) => vec![Kernels::Card, Kernels::Ggml],
        // Repacked weights use other kernels from some row counts on.
        _ if exact && !elsewhere => vec![Kernels::Ggml, Kernels::GgmlPlain],
        _ => vec![Kernels::Ggml],
    }
}

/// The layout for a model that is not measured.
pub fn preferred(asked: KernelsArg, elsewhere: bool) -> Kernels {
    let all = layouts(asked, false, elsewhere);
    all.first().copied().unwrap_or(Kernels::Ggml)
}

/// What people call them.
pub fn words(kernels: Kernels) -> String {
    match (kernels, own()) {
        (Kernels::Card, Some(set)) => format!("own kernels, {set}"),
        (Kernels::Card, None) => "own kernels".into(),
        (Kernels::Ggml, _) => "ggml's kernels".into(),
        (Kernels::GgmlPlain, _) => "ggml's kernels, weights not repacked".into(),
    }
}

/// What people call what computes a target that is loaded for `args` like this.
pub fn called(args: &ModelArgs, kernels: Kernels) -> String {
    match (devices::target_elsewhere(args), args.rpc.is_empty()) {
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
            (KernelsArg::Auto, true, true, false, vec![Card, Ggml]),
            (KernelsArg::Auto, true, false, false, vec![Card, Ggml]),
            (KernelsArg::Auto, false, true, false, vec![Ggml, GgmlPlain]),
            (KernelsArg::Auto, false, false, false, vec![Ggml]),
            // On a GPU there is nothing to compare.
            (KernelsArg::Auto, true, true, true, vec![Ggml]),
            (KernelsArg::Ggml, true, true, true, vec![Ggml]),
            // What was asked for is taken where it can be.
            (KernelsArg::Card, true, true, false, vec![Card]),
            (KernelsArg::Card, true, false, true, vec![Card]),
            (KernelsArg::Card, false, false, false, vec![Ggml]),
            (KernelsArg::Ggml, true, true, false, vec![Ggml, GgmlPlain]),
            (KernelsArg::Ggml, true, false, false, vec![Ggml]),
        ] {
            let found = of(asked, available, exact, elsewhere);
            assert_eq!(found, layouts, "{asked:?} {available} {exact} {elsewhere}");
        }
    }
}
