//! The start of llama.cpp: where its log lines and last words go, and which backends it has.

#[cfg(any(feature = "portable", test))]
use std::path::{Path, PathBuf};
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

/// Loads the backends that lie beside the executable, or where packages put them. llama.cpp by
/// itself looks into the working folder too, which may be anybody's, and what it loads is code.
#[cfg(feature = "portable")]
fn load_backends() {
    let exe = std::env::current_exe().and_then(std::fs::canonicalize);
    let Some(folder) = exe.ok().as_deref().and_then(backends_of) else {
        tracing::error!("it cannot be told where this program is, so no backend is loaded");
        return;
    };
    if let Some(path) = std::env::var_os("GGML_BACKEND_PATH") {
        let path = path.to_string_lossy();
        tracing::warn!("loads the backend {path} as well, since GGML_BACKEND_PATH is set");
    }
    let Ok(name) = super::file::c_path(&folder) else {
        return;
    };
    // SAFETY: the path ends with NUL.
    let loaded = unsafe { super::shim::ggml_backend_load_all_from_path(name.as_ptr()) };
    if let Err(thrown) = loaded {
        tracing::error!("no backend of {}: {thrown}", folder.display());
    }
}

/// The folder of the backends of a program: its own if there is one, else `../lib/card`, where the
/// packages have them (docs/build.md). `crates/card/build.rs` looks for libraries in the same order.
#[cfg(any(feature = "portable", test))]
fn backends_of(exe: &Path) -> Option<PathBuf> {
    let own = exe.parent()?;
    let apart = own.parent().map(|prefix| prefix.join("lib/card"));
    let apart = apart.filter(|folder| folder.is_dir() && !has_backend(own));
    Some(apart.unwrap_or_else(|| own.to_owned()))
}

/// Whether a folder has a library of ggml's kernels for processors.
#[cfg(any(feature = "portable", test))]
fn has_backend(folder: &Path) -> bool {
    let files = folder.read_dir().into_iter().flatten().flatten();
    files
        .map(|file| file.file_name())
        .any(|name| name.to_string_lossy().contains("ggml-cpu"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn backends_lie_beside_the_program_or_in_lib() {
        let root = std::env::temp_dir().join(format!("card-backends-{}", std::process::id()));
        let (bin, lib) = (root.join("bin"), root.join("lib/card"));
        fs::create_dir_all(&bin).unwrap();
        let exe = bin.join("card");
        // Nowhere: llama.cpp then says what it did not find there.
        assert_eq!(backends_of(&exe), Some(bin.clone()));
        fs::create_dir_all(&lib).unwrap();
        assert_eq!(backends_of(&exe), Some(lib));
        // As a build has them.
        fs::write(bin.join("libggml-cpu-x64.so"), "").unwrap();
        assert_eq!(backends_of(&exe), Some(bin));
        fs::remove_dir_all(&root).unwrap();
    }
}
