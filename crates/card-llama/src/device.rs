//! The devices llama.cpp found.

use std::ffi::{CStr, c_void};

use llama_cpp_sys_2 as sys;

use crate::{LlamaError, log, shim};

/// Something that computes.
#[derive(Clone, Debug)]
pub struct Device {
    /// The name to choose it by, like `CUDA0` or `CPU`.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Whether it has memory of its own.
    pub is_gpu: bool,
    /// Bytes free and in all.
    pub memory: (usize, usize),
}

/// Every device, in llama.cpp's order.
pub fn devices() -> Vec<Device> {
    log::start();
    handles()
        .map(|handle| {
            let (mut free, mut total) = (0, 0);
            // SAFETY: the handle is one ggml just gave; it stays valid for the process.
            let asked = unsafe { shim::ggml_backend_dev_memory(handle, &mut free, &mut total) };
            if let Err(thrown) = asked {
                tracing::debug!("{}: {thrown}", name(handle));
            }
            Device {
                name: name(handle),
                // SAFETY: as above; the string is static.
                description: text(unsafe { sys::ggml_backend_dev_description(handle) }),
                is_gpu: is_gpu(handle),
                memory: (free, total),
            }
        })
        .collect()
}

/// The handle of the device called `wanted`.
pub(crate) fn find(wanted: &str) -> Result<sys::ggml_backend_dev_t, LlamaError> {
    handles()
        .find(|&h| name(h).eq_ignore_ascii_case(wanted))
        .ok_or_else(|| LlamaError::Device {
            name: wanted.to_owned(),
            known: handles().map(name).collect::<Vec<_>>().join(", "),
        })
}

/// The handles of all GPUs of this machine.
pub(crate) fn gpus() -> Vec<sys::ggml_backend_dev_t> {
    handles().filter(|&handle| is_gpu(handle)).collect()
}

fn is_gpu(handle: sys::ggml_backend_dev_t) -> bool {
    let kind = kind(handle);
    kind == sys::GGML_BACKEND_DEVICE_TYPE_GPU || kind == sys::GGML_BACKEND_DEVICE_TYPE_IGPU
}

pub(crate) fn is_cpu(handle: sys::ggml_backend_dev_t) -> bool {
    kind(handle) == sys::GGML_BACKEND_DEVICE_TYPE_CPU
}

fn kind(handle: sys::ggml_backend_dev_t) -> sys::ggml_backend_dev_type {
    // SAFETY: the handle is one ggml gave; it stays valid for the process.
    unsafe { sys::ggml_backend_dev_type(handle) }
}

/// CPU features and backends of this build, in llama.cpp's words.
pub fn system_info() -> String {
    log::start();
    // SAFETY: returns a static string.
    let info = unsafe { shim::llama_print_system_info() };
    info.map(text).unwrap_or_default()
}

/// A function of a backend, which may be loaded only when we start, or missing.
pub(crate) fn function(backend: &CStr, name: &CStr) -> Option<*mut c_void> {
    log::start();
    // SAFETY: both names are NUL-terminated; an unknown one gives null.
    let found = unsafe {
        let registry = shim::ggml_backend_reg_by_name(backend.as_ptr()).ok()?;
        match registry.is_null() {
            true => std::ptr::null_mut(),
            false => sys::ggml_backend_reg_get_proc_address(registry, name.as_ptr()),
        }
    };
    (!found.is_null()).then_some(found)
}

fn handles() -> impl Iterator<Item = sys::ggml_backend_dev_t> {
    // SAFETY: the backends are loaded; the count is fixed from then on.
    let count = unsafe { shim::ggml_backend_dev_count() }.unwrap_or(0);
    // SAFETY: the index is below the count.
    (0..count).map(|i| unsafe { sys::ggml_backend_dev_get(i) })
}

fn name(handle: sys::ggml_backend_dev_t) -> String {
    // SAFETY: the handle is one ggml gave; the string is static.
    text(unsafe { sys::ggml_backend_dev_name(handle) })
}

pub(crate) fn text(p: *const std::ffi::c_char) -> String {
    if p.is_null() {
        return String::new();
    }
    // SAFETY: not null, and all callers pass NUL-terminated strings of llama.cpp.
    unsafe { CStr::from_ptr(p) }.to_string_lossy().into_owned()
}
