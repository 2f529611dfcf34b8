//! The start of llama.cpp: where its log lines and last words go, and which backends it has.

use std::sync::Once;

use llama_cpp_sys_2 as cpp;

use super::{abort, log};

/// Starts llama.cpp, once per process: whoever calls its functions first calls this.
pub(crate) fn start() {
    static START: Once = Once::new();
    START.call_once(|| {
        // SAFETY: the callbacks are functions that live as long as the process and
        // have no user data; init has no other requirement than being called first.
        unsafe {
            cpp::llama_log_set(Some(log::on_line), std::ptr::null_mut());
            cpp::ggml_set_abort_callback(Some(abort::on_abort));
            cpp::llama_backend_init();
        }
        #[cfg(feature = "portable")]
        load_backends();
    });
}

/// Loads the backends that lie beside the executable. llama.cpp by itself looks into the
/// working folder too, which may be anybody's, and what it loads is code.
#[cfg(feature = "portable")]
fn load_backends() {
    let exe = std::env::current_exe().and_then(std::fs::canonicalize);
    let folder = match exe.as_ref().map(|exe| exe.parent()) {
        Ok(Some(folder)) => folder,
        _ => {
            tracing::error!("it cannot be told where this program is, so no backend is loaded");
            return;
        }
    };
    if let Some(path) = std::env::var_os("GGML_BACKEND_PATH") {
        let path = path.to_string_lossy();
        tracing::warn!("loads the backend {path} as well, since GGML_BACKEND_PATH is set");
    }
    let Ok(name) = super::file::c_path(folder) else {
        return;
    };
    // SAFETY: the path ends with NUL.
    let loaded = unsafe { super::shim::ggml_backend_load_all_from_path(name.as_ptr()) };
    if let Err(thrown) = loaded {
        tracing::error!("no backend of {}: {thrown}", folder.display());
    }
}
