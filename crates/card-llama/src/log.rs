//! llama.cpp's log lines, sent to `tracing`; the last errors are kept to explain a failure.

use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, Once, PoisonError};

use llama_cpp_sys_2 as sys;

use crate::rpc;

static START: Once = Once::new();
static STATE: Mutex<State> = Mutex::new(State {
    line: String::new(),
    level: sys::GGML_LOG_LEVEL_INFO,
    errors: Vec::new(),
    watch: None,
});

/// Hears every log line.
type Watcher = Box<dyn FnMut(&str) + Send>;

struct State {
    line: String,
    level: sys::ggml_log_level,
    errors: Vec<String>,
    watch: Option<Watcher>,
}

/// Starts llama.cpp once per process.
pub(crate) fn start() {
    START.call_once(|| {
        // SAFETY: the callbacks are functions that live as long as the process and
        // have no user data; init has no other requirement than being called first.
        unsafe {
            sys::llama_log_set(Some(on_line), std::ptr::null_mut());
            sys::ggml_set_abort_callback(Some(rpc::on_abort));
            sys::llama_backend_init();
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
    let Ok(name) = crate::model::c_path(folder) else {
        return;
    };
    // SAFETY: the path is NUL-terminated.
    let loaded = unsafe { crate::shim::ggml_backend_load_all_from_path(name.as_ptr()) };
    if let Err(thrown) = loaded {
        tracing::error!("no backend of {}: {thrown}", folder.display());
    }
}

/// Forgets earlier errors; call before something that may fail.
pub(crate) fn forget() {
    lock().errors.clear();
}

/// What llama.cpp complained of since [`forget`], in one line.
pub(crate) fn reason() -> String {
    let errors = &lock().errors;
    match errors.is_empty() {
        true => "it gave no reason".into(),
        false => errors.join("; "),
    }
}

/// Calls `watch` with every log line until the guard is dropped.
pub(crate) fn watch(watch: Watcher) -> Watch {
    lock().watch = Some(watch);
    Watch(())
}

pub(crate) struct Watch(());

impl Drop for Watch {
    fn drop(&mut self) {
        lock().watch = None;
    }
}

fn lock() -> std::sync::MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe extern "C" fn on_line(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: ggml passes a NUL-terminated string that is valid during the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    // A panic of whoever hears the lines must not reach llama.cpp.
    let heard = std::panic::AssertUnwindSafe(|| hear(level, &text));
    let _ = std::panic::catch_unwind(heard);
}

fn hear(level: sys::ggml_log_level, text: &str) {
    let mut state = lock();
    if level != sys::GGML_LOG_LEVEL_CONT {
        state.level = level;
    }
    state.line.push_str(text);
    while let Some(end) = state.line.find('\n') {
        let rest = state.line.split_off(end + 1);
        let line = std::mem::replace(&mut state.line, rest);
        let line = line.trim_end();
        if line.is_empty() {
            continue;
        }
        match state.level {
            sys::GGML_LOG_LEVEL_ERROR => {
                tracing::debug!(target: "llama.cpp", "error: {line}");
                // "function: what happened": the function helps nobody outside.
                let said = line.split_once(": ").map_or(line, |(_, said)| said);
                if state.errors.len() < 4 {
                    state.errors.push(said.to_owned());
                }
            }
            sys::GGML_LOG_LEVEL_WARN => tracing::debug!(target: "llama.cpp", "warning: {line}"),
            _ => tracing::trace!(target: "llama.cpp", "{line}"),
        }
        if let Some(watch) = &mut state.watch {
            watch(line);
        }
    }
}
