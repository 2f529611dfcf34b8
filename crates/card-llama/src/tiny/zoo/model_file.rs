//! The file of a made-up model.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::file::Tiny;
use super::keys::ZooKeys;
use super::recipe;
use crate::error::LlamaError;
use crate::sys::shapes::{TensorShape, tensor_shapes};

/// Writes a model with these keys. `weights` makes the weights of a tensor with this name and shape,
/// or leaves the tensor out.
pub(super) fn write_model(
    name: &str,
    keys: &ZooKeys,
    weights: impl Fn(&str, &[u64]) -> Option<Vec<f32>>,
) -> Result<PathBuf, LlamaError> {
    let head = written(with_keys(name, keys), name)?;
    let shapes = tensor_shapes(&head);
    remove(&head);
    let mut whole = with_keys(name, keys);
    for TensorShape {
        name: tensor,
        shape,
    } in shapes?
    {
        if recipe::left_out(name, &tensor) {
            continue;
        }
        if let Some(weights) = weights(&tensor, &shape) {
            whole = whole.weights(&tensor, &shape, weights);
        }
    }
    written(whole, name)
}

/// A file with these keys and no tensor.
fn with_keys(name: &str, keys: &ZooKeys) -> Tiny {
    // Tests of one process may make the same model at the same time.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut file = Tiny::new(&format!("zoo-{next}-{name}"));
    for (key, value) in keys.iter() {
        file = file.value(key, value);
    }
    file
}

fn written(file: Tiny, name: &str) -> Result<PathBuf, LlamaError> {
    file.try_write().map_err(|source| LlamaError::Open {
        path: format!("a temporary file for a model of {name}"),
        source,
    })
}

/// A file that cannot be removed is left: the folder is one for temporary files.
pub(super) fn remove(file: &Path) {
    let _ = std::fs::remove_file(file);
}
