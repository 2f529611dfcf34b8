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
    let make = |tensor: &str, shape: &[u64]| Some((shape.to_vec(), weights(tensor, shape)?));
    write_model_with(name, keys, make, |file| file)
}

/// The same, where `make` may give a tensor another shape, and `more` adds tensors that llama.cpp
/// asks for only if they are there.
pub(super) fn write_model_with(
    name: &str,
    keys: &ZooKeys,
    make: impl Fn(&str, &[u64]) -> Option<(Vec<u64>, Vec<f32>)>,
    more: impl FnOnce(Tiny) -> Tiny,
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
        if let Some((shape, weights)) = make(&tensor, &shape) {
            whole = whole.weights(&tensor, &shape, weights);
        }
    }
    written(more(whole), name)
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
