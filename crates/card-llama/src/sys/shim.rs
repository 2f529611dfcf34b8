//! llama.cpp's functions that may throw, as functions that return an error.
//!
//! A C++ exception that reaches Rust ends the process. `shim.cpp` catches it; here are the
//! declarations. Functions that are not here (getters of fields, `free`s, ggml's own, which
//! is C) throw nothing and are called as `llama_cpp_sys_2` has them. What llama.cpp treats as
//! its own mistake (`GGML_ASSERT`) ends the process all the same, so arguments are checked
//! before each call.

use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;

use llama_cpp_sys_2 as cpp;

/// What a function of llama.cpp threw, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("llama.cpp failed: {0}")]
pub(crate) struct Thrown(pub(crate) String);

/// Where a wrapper writes what was thrown: `card_shim_error` of `shim.cpp`.
#[repr(C)]
struct ShimError {
    /// Words that end with NUL.
    text: [c_char; 256],
}

impl ShimError {
    fn new() -> Self {
        ShimError { text: [0; 256] }
    }

    /// What the code of a wrapper means.
    fn check(&self, code: i32) -> Result<(), Thrown> {
        if code == 0 {
            return Ok(());
        }
        let bytes: Vec<u8> = self.text.iter().map(|&c| c as u8).collect();
        let text = CStr::from_bytes_until_nul(&bytes).unwrap_or_default();
        Err(Thrown(text.to_string_lossy().into_owned()))
    }
}

/// Declares wrappers of functions that return something. The constant has the compiler check
/// that the function has these parameters in the bindings, which are made from llama.cpp's
/// headers; `shim.cpp` is compiled against the headers themselves.
macro_rules! guarded {
    ($($shim:ident: fn $name:ident($($argument:ident: $type:ty),*) -> $out:ty;)*) => {
        unsafe extern "C" {
            $(fn $shim(out: *mut $out, error: *mut ShimError, $($argument: $type),*) -> i32;)*
        }
        $(
            const _: unsafe extern "C" fn($($type),*) -> $out = cpp::$name;

            /// As llama.cpp's function of this name, whose conditions hold here too.
            pub(crate) unsafe fn $name($($argument: $type),*) -> Result<$out, Thrown> {
                let mut out = MaybeUninit::<$out>::uninit();
                let mut error = ShimError::new();
                // SAFETY: the caller vouches for the arguments; `out` and `error` are ours.
                let code = unsafe { $shim(out.as_mut_ptr(), &mut error, $($argument),*) };
                error.check(code)?;
                // SAFETY: the wrapper has written it if it returned 0.
                Ok(unsafe { out.assume_init() })
            }
        )*
    };
}

/// The same for functions that return nothing.
macro_rules! guarded_void {
    ($($shim:ident: fn $name:ident($($argument:ident: $type:ty),*);)*) => {
        unsafe extern "C" {
            $(fn $shim(error: *mut ShimError, $($argument: $type),*) -> i32;)*
        }
        $(
            const _: unsafe extern "C" fn($($type),*) = cpp::$name;

            /// As llama.cpp's function of this name, whose conditions hold here too.
            pub(crate) unsafe fn $name($($argument: $type),*) -> Result<(), Thrown> {
                let mut error = ShimError::new();
                // SAFETY: the caller vouches for the arguments; `error` is ours.
                let code = unsafe { $shim(&mut error, $($argument),*) };
                error.check(code)
            }
        )*
    };
}

guarded! {
    card_llama_model_load_from_file: fn llama_model_load_from_file(
        path: *const c_char, params: cpp::llama_model_params) -> *mut cpp::llama_model;
    card_llama_model_desc: fn llama_model_desc(
        model: *const cpp::llama_model, buffer: *mut c_char, size: usize) -> i32;
    card_llama_model_meta_val_str: fn llama_model_meta_val_str(
        model: *const cpp::llama_model, key: *const c_char, buffer: *mut c_char, size: usize
    ) -> i32;
    card_llama_model_chat_template: fn llama_model_chat_template(
        model: *const cpp::llama_model, name: *const c_char) -> *const c_char;
    card_llama_model_quantize: fn llama_model_quantize(
        from: *const c_char, to: *const c_char, params: *const cpp::llama_model_quantize_params
    ) -> u32;
    card_llama_tokenize: fn llama_tokenize(
        vocab: *const cpp::llama_vocab, text: *const c_char, length: i32,
        tokens: *mut cpp::llama_token, room: i32, add_special: bool, parse_special: bool
    ) -> i32;
    card_llama_token_to_piece: fn llama_token_to_piece(
        vocab: *const cpp::llama_vocab, token: cpp::llama_token, buffer: *mut c_char,
        length: i32, lstrip: i32, special: bool) -> i32;
    card_llama_vocab_get_text: fn llama_vocab_get_text(
        vocab: *const cpp::llama_vocab, token: cpp::llama_token) -> *const c_char;
    card_llama_vocab_is_control: fn llama_vocab_is_control(
        vocab: *const cpp::llama_vocab, token: cpp::llama_token) -> bool;
    card_llama_vocab_is_eog: fn llama_vocab_is_eog(
        vocab: *const cpp::llama_vocab, token: cpp::llama_token) -> bool;
    card_llama_vocab_get_attr: fn llama_vocab_get_attr(
        vocab: *const cpp::llama_vocab, token: cpp::llama_token) -> cpp::llama_token_attr;
    card_llama_init_from_model: fn llama_init_from_model(
        model: *mut cpp::llama_model, params: cpp::llama_context_params
    ) -> *mut cpp::llama_context;
    card_llama_adapter_lora_init: fn llama_adapter_lora_init(
        model: *mut cpp::llama_model, path: *const c_char) -> *mut cpp::llama_adapter_lora;
    card_llama_set_adapters_lora: fn llama_set_adapters_lora(
        context: *mut cpp::llama_context, adapters: *mut *mut cpp::llama_adapter_lora,
        count: usize, scales: *mut f32) -> i32;
    card_llama_decode: fn llama_decode(
        context: *mut cpp::llama_context, batch: cpp::llama_batch) -> i32;
    card_llama_encode: fn llama_encode(
        context: *mut cpp::llama_context, batch: cpp::llama_batch) -> i32;
    card_llama_get_logits_ith: fn llama_get_logits_ith(
        context: *mut cpp::llama_context, row: i32) -> *mut f32;
    card_llama_get_embeddings_ith: fn llama_get_embeddings_ith(
        context: *mut cpp::llama_context, row: i32) -> *mut f32;
    card_llama_get_embeddings_seq: fn llama_get_embeddings_seq(
        context: *mut cpp::llama_context, id: cpp::llama_seq_id) -> *mut f32;
    card_llama_memory_seq_rm: fn llama_memory_seq_rm(
        memory: cpp::llama_memory_t, id: cpp::llama_seq_id, start: cpp::llama_pos,
        end: cpp::llama_pos) -> bool;
    card_llama_state_seq_get_size: fn llama_state_seq_get_size(
        context: *mut cpp::llama_context, id: cpp::llama_seq_id) -> usize;
    card_llama_state_seq_get_data: fn llama_state_seq_get_data(
        context: *mut cpp::llama_context, into: *mut u8, size: usize, id: cpp::llama_seq_id
    ) -> usize;
    card_llama_state_seq_set_data: fn llama_state_seq_set_data(
        context: *mut cpp::llama_context, from: *const u8, size: usize, id: cpp::llama_seq_id
    ) -> usize;
    card_llama_state_seq_get_size_ext: fn llama_state_seq_get_size_ext(
        context: *mut cpp::llama_context, id: cpp::llama_seq_id,
        flags: cpp::llama_state_seq_flags) -> usize;
    card_llama_state_seq_get_data_ext: fn llama_state_seq_get_data_ext(
        context: *mut cpp::llama_context, into: *mut u8, size: usize, id: cpp::llama_seq_id,
        flags: cpp::llama_state_seq_flags) -> usize;
    card_llama_state_seq_set_data_ext: fn llama_state_seq_set_data_ext(
        context: *mut cpp::llama_context, from: *const u8, size: usize, id: cpp::llama_seq_id,
        flags: cpp::llama_state_seq_flags) -> usize;
    card_gguf_init_empty: fn gguf_init_empty() -> *mut cpp::gguf_context;
    card_gguf_init_from_file: fn gguf_init_from_file(
        path: *const c_char, params: cpp::gguf_init_params) -> *mut cpp::gguf_context;
    card_gguf_remove_key: fn gguf_remove_key(
        file: *mut cpp::gguf_context, key: *const c_char) -> i64;
    card_gguf_write_to_file: fn gguf_write_to_file(
        file: *const cpp::gguf_context, path: *const c_char, only_meta: bool) -> bool;
    card_ggml_backend_reg_by_name: fn ggml_backend_reg_by_name(
        name: *const c_char) -> cpp::ggml_backend_reg_t;
    card_ggml_backend_dev_count: fn ggml_backend_dev_count() -> usize;
    card_llama_print_system_info: fn llama_print_system_info() -> *const c_char;
}

guarded_void! {
    card_llama_synchronize: fn llama_synchronize(context: *mut cpp::llama_context);
    card_llama_set_embeddings: fn llama_set_embeddings(
        context: *mut cpp::llama_context, embeddings: bool);
    card_llama_memory_clear: fn llama_memory_clear(memory: cpp::llama_memory_t, data: bool);
    card_llama_memory_seq_cp: fn llama_memory_seq_cp(
        memory: cpp::llama_memory_t, from: cpp::llama_seq_id, to: cpp::llama_seq_id,
        start: cpp::llama_pos, end: cpp::llama_pos);
    card_gguf_set_kv: fn gguf_set_kv(
        file: *mut cpp::gguf_context, from: *const cpp::gguf_context);
    card_gguf_set_val_str: fn gguf_set_val_str(
        file: *mut cpp::gguf_context, key: *const c_char, value: *const c_char);
    card_gguf_set_val_u32: fn gguf_set_val_u32(
        file: *mut cpp::gguf_context, key: *const c_char, value: u32);
    card_gguf_set_arr_data: fn gguf_set_arr_data(
        file: *mut cpp::gguf_context, key: *const c_char, kind: cpp::gguf_type,
        data: *const c_void, length: usize);
    card_gguf_add_tensor: fn gguf_add_tensor(
        file: *mut cpp::gguf_context, tensor: *const cpp::ggml_tensor);
    card_ggml_backend_dev_memory: fn ggml_backend_dev_memory(
        device: cpp::ggml_backend_dev_t, free: *mut usize, total: *mut usize);
}

#[cfg(any(test, feature = "tiny"))]
guarded! {
    card_llama_model_init_from_user: fn llama_model_init_from_user(
        metadata: *mut cpp::gguf_context, set_weights: cpp::llama_model_set_tensor_data_t,
        data: *mut c_void, params: cpp::llama_model_params) -> *mut cpp::llama_model;
}

#[cfg(feature = "portable")]
guarded_void! {
    card_ggml_backend_load_all_from_path: fn ggml_backend_load_all_from_path(
        folder: *const c_char);
}

/// A function of the RPC backend: makes a worker known.
pub(crate) type AddServer = unsafe extern "C" fn(*const c_char) -> cpp::ggml_backend_reg_t;
/// A function of the RPC backend: is a worker.
pub(crate) type StartServer =
    unsafe extern "C" fn(*const c_char, *const c_char, usize, usize, *mut cpp::ggml_backend_dev_t);

unsafe extern "C" {
    fn card_gives_hidden_states() -> bool;
    fn card_llama_set_embeddings_nextn(
        error: *mut ShimError,
        context: *mut cpp::llama_context,
        value: bool,
        masked: bool,
    ) -> i32;
    fn card_llama_get_embeddings_nextn_ith(
        out: *mut *mut f32,
        error: *mut ShimError,
        context: *mut cpp::llama_context,
        row: i32,
    ) -> i32;
    fn card_llama_set_embeddings_layer_inp(
        error: *mut ShimError,
        context: *mut cpp::llama_context,
        layer: u32,
        value: bool,
    ) -> i32;
    fn card_llama_get_embeddings_layer_inp(
        out: *mut *mut f32,
        error: *mut ShimError,
        context: *mut cpp::llama_context,
        layer: u32,
    ) -> i32;
    fn card_rpc_add_server(
        out: *mut cpp::ggml_backend_reg_t,
        error: *mut ShimError,
        add: AddServer,
        endpoint: *const c_char,
    ) -> i32;
    fn card_rpc_start_server(
        error: *mut ShimError,
        start: StartServer,
        endpoint: *const c_char,
        cache: *const c_char,
        threads: usize,
        count: usize,
        devices: *mut cpp::ggml_backend_dev_t,
    ) -> i32;
}

/// Whether this build of llama.cpp gives hidden states.
pub(crate) fn gives_hidden_states() -> bool {
    // SAFETY: no arguments; returns a constant.
    unsafe { card_gives_hidden_states() }
}

/// As llama.cpp's function of this name in `src/llama-ext.h`, which no bindings have; its
/// conditions hold here too.
pub(crate) unsafe fn llama_set_embeddings_nextn(
    context: *mut cpp::llama_context,
    value: bool,
    masked: bool,
) -> Result<(), Thrown> {
    let mut error = ShimError::new();
    // SAFETY: the caller vouches for the context; `error` is ours.
    let code = unsafe { card_llama_set_embeddings_nextn(&mut error, context, value, masked) };
    error.check(code)
}

/// The same of this one.
pub(crate) unsafe fn llama_get_embeddings_nextn_ith(
    context: *mut cpp::llama_context,
    row: i32,
) -> Result<*mut f32, Thrown> {
    let mut out: *mut f32 = std::ptr::null_mut();
    let mut error = ShimError::new();
    // SAFETY: the caller vouches for the context; `out` and `error` are ours.
    let code = unsafe { card_llama_get_embeddings_nextn_ith(&mut out, &mut error, context, row) };
    error.check(code)?;
    Ok(out)
}

/// The same of this one.
pub(crate) unsafe fn llama_set_embeddings_layer_inp(
    context: *mut cpp::llama_context,
    layer: u32,
    value: bool,
) -> Result<(), Thrown> {
    let mut error = ShimError::new();
    // SAFETY: the caller vouches for the context and the layer; `error` is ours.
    let code = unsafe { card_llama_set_embeddings_layer_inp(&mut error, context, layer, value) };
    error.check(code)
}

/// The same of this one.
pub(crate) unsafe fn llama_get_embeddings_layer_inp(
    context: *mut cpp::llama_context,
    layer: u32,
) -> Result<*mut f32, Thrown> {
    let mut out: *mut f32 = std::ptr::null_mut();
    let mut error = ShimError::new();
    // SAFETY: the caller vouches for the context and the layer; `out` and `error` are ours.
    let code = unsafe { card_llama_get_embeddings_layer_inp(&mut out, &mut error, context, layer) };
    error.check(code)?;
    Ok(out)
}

/// Calls the RPC backend's `add` with an endpoint, which ends with NUL.
pub(crate) unsafe fn rpc_add_server(
    add: AddServer,
    endpoint: *const c_char,
) -> Result<cpp::ggml_backend_reg_t, Thrown> {
    let mut out: cpp::ggml_backend_reg_t = std::ptr::null_mut();
    let mut error = ShimError::new();
    // SAFETY: the caller vouches for the arguments; `out` and `error` are ours.
    let code = unsafe { card_rpc_add_server(&mut out, &mut error, add, endpoint) };
    error.check(code)?;
    Ok(out)
}

/// Calls the RPC backend's `start`. Both texts end with NUL, and `cache` may be null.
pub(crate) unsafe fn rpc_start_server(
    start: StartServer,
    endpoint: *const c_char,
    cache: *const c_char,
    threads: usize,
    devices: &mut [cpp::ggml_backend_dev_t],
) -> Result<(), Thrown> {
    let mut error = ShimError::new();
    // SAFETY: the caller vouches for the arguments; `error` is ours, and the list of devices
    // is as long as said.
    let code = unsafe {
        card_rpc_start_server(
            &mut error,
            start,
            endpoint,
            cache,
            threads,
            devices.len(),
            devices.as_mut_ptr(),
        )
    };
    error.check(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" {
        fn card_throw(out: *mut i32, error: *mut ShimError, what: i32) -> i32;
    }

    fn throw(what: i32) -> Result<i32, Thrown> {
        let mut out = 0;
        let mut error = ShimError::new();
        // SAFETY: both are ours and written to during the call only.
        let code = unsafe { card_throw(&mut out, &mut error, what) };
        error.check(code)?;
        Ok(out)
    }

    #[test]
    fn what_llama_cpp_throws_is_an_error_and_not_the_end() {
        assert_eq!(throw(0), Ok(0));
        assert_eq!(throw(1), Err(Thrown("out of memory".into())));
        assert_eq!(throw(2), Err(Thrown("a token that is not there".into())));
        let unknown = throw(3).unwrap_err().to_string();
        assert!(unknown.contains("without a description"), "{unknown}");
        // And again: nothing is left over from the last one.
        assert_eq!(throw(0), Ok(0));
    }

    #[test]
    fn what_llama_cpp_says_is_cut_to_the_room_there_is() {
        let mut error = ShimError::new();
        error.text = [b'x' as c_char; 256];
        // Without an end there is no text, and nothing beyond is read.
        assert_eq!(error.check(2), Err(Thrown(String::new())));
        error.text[255] = 0;
        assert_eq!(error.check(2), Err(Thrown("x".repeat(255))));
    }
}
