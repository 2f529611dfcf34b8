//! Whose kernels a model is loaded for.

use serde::{Deserialize, Serialize};

/// Whose matrix kernels a model's weights are laid out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernels {
    /// The kernels of the crate `card-kernels`: the same bits for every shape of forward.
    Card,
    /// ggml's, with weights repacked for them.
    Ggml,
    /// ggml's, with weights as the file has them.
    GgmlPlain,
}
