//! The tensors of a model that is known by its metadata only.

use std::ffi::c_void;
use std::path::Path;

use llama_cpp_sys_2 as cpp;

use super::ffi::text;
use super::gguf::Gguf;
use super::start::start;
use super::{log, shim};
use crate::error::LlamaError;

/// A tensor that a model has; its weights are F32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TensorShape {
    /// The name, like `token_embd.weight`.
    pub(crate) name: String,
    /// Numbers of a row, rows, and so on; the last is not 1 unless it is the first.
    pub(crate) shape: Vec<u64>,
}

/// The tensors that llama.cpp takes for a model with the metadata of a GGUF file, also those that
/// it could do without, in its order. The file has no tensors itself.
///
/// Card's kernels are registered before, or never (see `LoadedModel::load`).
///
/// # Errors
/// If the file is missing or no GGUF, or llama.cpp does not take its metadata.
pub(crate) fn tensor_shapes(metadata: &Path) -> Result<Vec<TensorShape>, LlamaError> {
    start();
    let file = Gguf::open(metadata, false)?;
    let mut shapes: Vec<TensorShape> = Vec::new();
    let fail = |why| LlamaError::Load {
        path: metadata.display().to_string(),
        why,
    };
    // SAFETY: returns a plain struct.
    let mut params = unsafe { cpp::llama_model_default_params() };
    // Nothing is computed with it.
    params.n_gpu_layers = 0;
    params.load_mtp = true;
    log::forget();
    // SAFETY: the metadata is alive and llama.cpp keeps nothing of it; the callback takes the
    // list, which nobody else uses during the call; the params point to nothing.
    let made = unsafe {
        shim::llama_model_init_from_user(
            file.raw(),
            Some(note_shape),
            (&raw mut shapes).cast(),
            params,
        )
    };
    let made = made.map_err(|thrown| fail(thrown.to_string()))?;
    if made.is_null() {
        return Err(fail(log::reason()));
    }
    // SAFETY: made above and used by nobody.
    unsafe { cpp::llama_model_free(made) };
    Ok(shapes)
}

/// What llama.cpp calls for each tensor of the model, to have its weights set. They are left as
/// they are.
///
/// # Safety
/// `tensor` is a tensor with a name, and `shapes` a list that nobody else uses meanwhile.
unsafe extern "C" fn note_shape(tensor: *mut cpp::ggml_tensor, shapes: *mut c_void) {
    // SAFETY: the caller vouches for both; a tensor's name ends with NUL.
    let (name, sizes, shapes) = unsafe {
        (
            text(cpp::ggml_get_name(tensor)),
            (*tensor).ne,
            &mut *shapes.cast::<Vec<TensorShape>>(),
        )
    };
    // A tensor that several layers share comes several times.
    if shapes.iter().any(|known| known.name == name) {
        return;
    }
    let mut shape: Vec<u64> = sizes.iter().map(|&n| n.unsigned_abs()).collect();
    while shape.len() > 1 && shape.last() == Some(&1) {
        shape.pop();
    }
    shapes.push(TensorShape { name, shape });
}
