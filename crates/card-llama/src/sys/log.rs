//! llama.cpp's log lines, sent to `tracing`.
//!
//! llama.cpp often returns null or a code and logs why. So the errors of the last call are kept:
//! [`forget`] before the call, [`reason`] after it.

use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use llama_cpp_sys_2 as cpp;

/// Errors that are kept for [`reason`].
const MOST_ERRORS: usize = 4;

static LOG: Mutex<LogState> = Mutex::new(LogState {
    line: String::new(),
    level: cpp::GGML_LOG_LEVEL_INFO,
    errors: Vec::new(),
    watcher: None,
});

/// A function that is called with every log line.
type LogWatcher = Box<dyn FnMut(&str) + Send>;

/// What was logged so far, as far as it is still wanted.
struct LogState {
    /// The line that has not ended yet: llama.cpp writes some in pieces.
    line: String,
    /// The level of that line.
    level: cpp::ggml_log_level,
    /// The first errors since [`forget`].
    errors: Vec<String>,
    /// At most one function hears the lines at a time.
    watcher: Option<LogWatcher>,
}

/// Forgets earlier errors; call before something that may fail.
pub(crate) fn forget() {
    lock().errors.clear();
}

/// What llama.cpp complained of since [`forget`], in one line.
pub(crate) fn reason() -> String {
    let errors = &lock().errors;
    if errors.is_empty() {
        "it gave no reason".into()
    } else {
        errors.join("; ")
    }
}

/// Calls `watcher` with every log line until the guard is dropped.
pub(crate) fn watch(watcher: LogWatcher) -> LogWatch {
    lock().watcher = Some(watcher);
    LogWatch(())
}

/// While it lives, a function hears the log lines (see [`watch`]).
pub(crate) struct LogWatch(());

impl Drop for LogWatch {
    fn drop(&mut self) {
        lock().watcher = None;
    }
}

fn lock() -> MutexGuard<'static, LogState> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What llama.cpp calls with each piece of a line.
///
/// # Safety
/// `text` is null, or ends with NUL and stays during the call.
pub(crate) unsafe extern "C" fn on_line(
    level: cpp::ggml_log_level,
    text: *const c_char,
    _: *mut c_void,
) {
    if text.is_null() {
        return;
    }
    // SAFETY: `text` is not null, and the caller vouches for the rest.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    // A panic of whoever hears the lines must not reach llama.cpp.
    let heard = std::panic::AssertUnwindSafe(|| hear(level, &text));
    let _ = std::panic::catch_unwind(heard);
}

/// Takes a piece of a line, and every line that ends with it.
fn hear(level: cpp::ggml_log_level, text: &str) {
    let mut state = lock();
    if level != cpp::GGML_LOG_LEVEL_CONT {
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
            cpp::GGML_LOG_LEVEL_ERROR => {
                tracing::debug!(target: "llama.cpp", "error: {line}");
                // "function: what happened": the function helps nobody outside.
                let said = line.split_once(": ").map_or(line, |(_, said)| said);
                if state.errors.len() < MOST_ERRORS {
                    state.errors.push(said.to_owned());
                }
            }
            cpp::GGML_LOG_LEVEL_WARN => tracing::debug!(target: "llama.cpp", "warning: {line}"),
            _ => tracing::trace!(target: "llama.cpp", "{line}"),
        }
        if let Some(watcher) = &mut state.watcher {
            watcher(line);
        }
    }
}
