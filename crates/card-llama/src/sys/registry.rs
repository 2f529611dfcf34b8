//! Functions of ggml's backends, found by name when the program runs: a backend may be a library
//! that is loaded at the start, or missing.

use std::ffi::{CStr, c_void};

use llama_cpp_sys_2 as cpp;

use super::shim;
use super::start::start;

/// The address of the function `name` of the backend `backend`, if there is one.
pub(crate) fn function(backend: &CStr, name: &CStr) -> Option<*mut c_void> {
    start();
    // SAFETY: both names end with NUL; an unknown one gives null.
    let found = unsafe {
        let registry = shim::ggml_backend_reg_by_name(backend.as_ptr()).ok()?;
        if registry.is_null() {
            std::ptr::null_mut()
        } else {
            cpp::ggml_backend_reg_get_proc_address(registry, name.as_ptr())
        }
    };
    (!found.is_null()).then_some(found)
}
