//! llama.cpp's last words: a failed `GGML_ASSERT` ends the process, and says why before.

use std::ffi::c_char;

use super::ffi::text;

/// What llama.cpp's last words mean to a user.
fn explain(last_words: &str) -> String {
    if last_words.contains("RPC server") {
        "a worker of --rpc is gone or answered nonsense. Its part of the weights and of the \
         context is lost, so this process ends: start the worker, then this again"
            .into()
    } else {
        format!("llama.cpp gave up, and this process with it: {last_words}")
    }
}

/// What ggml calls with its last words, before it ends the process.
///
/// # Safety
/// `message` is null, or ends with NUL and stays during the call.
pub(crate) unsafe extern "C" fn on_abort(message: *const c_char) {
    // SAFETY: the caller's.
    let message = unsafe { text(message) };
    tracing::error!("{}", explain(&message));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_explained() {
        let said =
            explain("ggml-rpc.cpp:1: Remote RPC server crashed or returned malformed response");
        assert!(said.contains("start the worker"), "{said}");
        assert!(explain("GGML_ASSERT(x) failed").contains("GGML_ASSERT(x)"));
    }
}
