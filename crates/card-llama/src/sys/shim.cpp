// llama.cpp is C++ behind a C interface, and lets exceptions through it: a token id that is
// not in the vocabulary, memory that is not there, a regular expression that is too complex.
// Rust ends the process when one arrives. So each function that can throw is called here,
// and what it throws becomes an error code and a text.
//
// Every wrapper has the parameters of the function it calls, so that this file does not
// compile if llama.cpp's differ; shim.rs checks the same against the Rust bindings.

#include "ggml-backend.h"
#include "ggml.h"
#include "gguf.h"
#include "llama.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>

extern "C" {

// What was thrown, in words that end with NUL. shim.rs has the same struct.
struct card_shim_error {
    char text[256];
};

}

namespace {

void say(card_shim_error * error, const char * text) noexcept {
    const std::size_t room = sizeof(error->text) - 1;
    std::size_t length = 0;
    while (length < room && text != nullptr && text[length] != '\0') {
        ++length;
    }
    if (length > 0) {
        std::memcpy(error->text, text, length);
    }
    error->text[length] = '\0';
}

// 0 if `work` returned, else a number that says what it threw.
template <typename Work> std::int32_t guarded(card_shim_error * error, Work && work) noexcept {
    try {
        work();
        return 0;
    } catch (const std::bad_alloc &) {
        say(error, "out of memory");
        return 1;
    } catch (const std::exception & thrown) {
        say(error, thrown.what());
        return 2;
    } catch (...) {
        say(error, "it threw something without a description");
        return 3;
    }
}

}

#define CARD_LIST(...) __VA_ARGS__

// A function that returns something: it is written to `out`.
#define CARD_GUARDED(RESULT, NAME, PARAMETERS, ARGUMENTS)                              \
    extern "C" std::int32_t card_##NAME(RESULT * out, card_shim_error * error,              \
                                        CARD_LIST PARAMETERS) {                        \
        return guarded(error, [&] { *out = ::NAME ARGUMENTS; });                       \
    }

// A function that returns nothing.
#define CARD_GUARDED_VOID(NAME, PARAMETERS, ARGUMENTS)                                 \
    extern "C" std::int32_t card_##NAME(card_shim_error * error, CARD_LIST PARAMETERS) {    \
        return guarded(error, [&] { ::NAME ARGUMENTS; });                              \
    }

// Models.

CARD_GUARDED(llama_model *, llama_model_load_from_file,
             (const char * path, llama_model_params params), (path, params))
CARD_GUARDED(llama_model *, llama_model_init_from_user,
             (gguf_context * metadata, llama_model_set_tensor_data_t set_weights, void * data,
              llama_model_params params),
             (metadata, set_weights, data, params))
CARD_GUARDED(std::int32_t, llama_model_desc,
             (const llama_model * model, char * buffer, std::size_t size), (model, buffer, size))
CARD_GUARDED(std::int32_t, llama_model_meta_val_str,
             (const llama_model * model, const char * key, char * buffer, std::size_t size),
             (model, key, buffer, size))
CARD_GUARDED(const char *, llama_model_chat_template,
             (const llama_model * model, const char * name), (model, name))
CARD_GUARDED(std::uint32_t, llama_model_quantize,
             (const char * from, const char * to, const llama_model_quantize_params * params),
             (from, to, params))

// Vocabularies.

CARD_GUARDED(std::int32_t, llama_tokenize,
             (const llama_vocab * vocab, const char * text, std::int32_t length,
              llama_token * tokens, std::int32_t room, bool add_special, bool parse_special),
             (vocab, text, length, tokens, room, add_special, parse_special))
CARD_GUARDED(std::int32_t, llama_token_to_piece,
             (const llama_vocab * vocab, llama_token token, char * buffer, std::int32_t length,
              std::int32_t lstrip, bool special),
             (vocab, token, buffer, length, lstrip, special))
CARD_GUARDED(const char *, llama_vocab_get_text, (const llama_vocab * vocab, llama_token token),
             (vocab, token))
CARD_GUARDED(bool, llama_vocab_is_control, (const llama_vocab * vocab, llama_token token),
             (vocab, token))
CARD_GUARDED(bool, llama_vocab_is_eog, (const llama_vocab * vocab, llama_token token),
             (vocab, token))
CARD_GUARDED(llama_token_attr, llama_vocab_get_attr,
             (const llama_vocab * vocab, llama_token token), (vocab, token))

// Adapters.

CARD_GUARDED(llama_adapter_lora *, llama_adapter_lora_init,
             (llama_model * model, const char * path), (model, path))
CARD_GUARDED(std::int32_t, llama_set_adapters_lora,
             (llama_context * context, llama_adapter_lora ** adapters, std::size_t count,
              float * scales),
             (context, adapters, count, scales))

// Contexts.

CARD_GUARDED(llama_context *, llama_init_from_model,
             (llama_model * model, llama_context_params params), (model, params))
CARD_GUARDED(std::int32_t, llama_decode, (llama_context * context, llama_batch batch),
             (context, batch))
CARD_GUARDED(std::int32_t, llama_encode, (llama_context * context, llama_batch batch),
             (context, batch))
CARD_GUARDED_VOID(llama_synchronize, (llama_context * context), (context))
CARD_GUARDED_VOID(llama_set_embeddings, (llama_context * context, bool embeddings),
                  (context, embeddings))
CARD_GUARDED(float *, llama_get_logits_ith, (llama_context * context, std::int32_t row),
             (context, row))
CARD_GUARDED(float *, llama_get_embeddings_ith, (llama_context * context, std::int32_t row),
             (context, row))
CARD_GUARDED(float *, llama_get_embeddings_seq, (llama_context * context, llama_seq_id id),
             (context, id))
CARD_GUARDED_VOID(llama_memory_clear, (llama_memory_t memory, bool data), (memory, data))
CARD_GUARDED_VOID(llama_memory_seq_cp,
                  (llama_memory_t memory, llama_seq_id from, llama_seq_id to, llama_pos start,
                   llama_pos end),
                  (memory, from, to, start, end))
CARD_GUARDED(bool, llama_memory_seq_rm,
             (llama_memory_t memory, llama_seq_id id, llama_pos start, llama_pos end),
             (memory, id, start, end))
CARD_GUARDED(std::size_t, llama_state_seq_get_size, (llama_context * context, llama_seq_id id),
             (context, id))
CARD_GUARDED(std::size_t, llama_state_seq_get_data,
             (llama_context * context, std::uint8_t * into, std::size_t size, llama_seq_id id),
             (context, into, size, id))
CARD_GUARDED(std::size_t, llama_state_seq_set_data,
             (llama_context * context, const std::uint8_t * from, std::size_t size,
              llama_seq_id id),
             (context, from, size, id))
// context.rs has this number.
static_assert(LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY == 1, "llama.cpp numbers its flags otherwise");
CARD_GUARDED(std::size_t, llama_state_seq_get_size_ext,
             (llama_context * context, llama_seq_id id, llama_state_seq_flags flags),
             (context, id, flags))
CARD_GUARDED(std::size_t, llama_state_seq_get_data_ext,
             (llama_context * context, std::uint8_t * into, std::size_t size, llama_seq_id id,
              llama_state_seq_flags flags),
             (context, into, size, id, flags))
CARD_GUARDED(std::size_t, llama_state_seq_set_data_ext,
             (llama_context * context, const std::uint8_t * from, std::size_t size,
              llama_seq_id id, llama_state_seq_flags flags),
             (context, from, size, id, flags))

// Hidden states, of which heads make proposals. llama.cpp has these functions in src/llama-ext.h,
// "a staging header for new llama.cpp API" that it does not install. build.rs compares what is
// declared there with this, and leaves them out if it is something else.

#ifdef CARD_HIDDEN_STATES
LLAMA_API void llama_set_embeddings_nextn(struct llama_context * ctx, bool value, bool masked);
LLAMA_API float * llama_get_embeddings_nextn_ith(struct llama_context * ctx, int32_t i);
LLAMA_API void llama_set_embeddings_layer_inp(struct llama_context * ctx, uint32_t lid,
                                              bool value);
LLAMA_API float * llama_get_embeddings_layer_inp(struct llama_context * ctx, uint32_t lid);
#else
static void llama_set_embeddings_nextn(struct llama_context *, bool, bool) {
    throw std::runtime_error("this build of llama.cpp gives no hidden states");
}
static float * llama_get_embeddings_nextn_ith(struct llama_context *, int32_t) {
    return nullptr;
}
static void llama_set_embeddings_layer_inp(struct llama_context *, uint32_t, bool) {
    throw std::runtime_error("this build of llama.cpp gives no hidden states");
}
static float * llama_get_embeddings_layer_inp(struct llama_context *, uint32_t) {
    return nullptr;
}
#endif

extern "C" bool card_gives_hidden_states(void) {
#ifdef CARD_HIDDEN_STATES
    return true;
#else
    return false;
#endif
}

CARD_GUARDED_VOID(llama_set_embeddings_nextn, (llama_context * context, bool value, bool masked),
                  (context, value, masked))
CARD_GUARDED(float *, llama_get_embeddings_nextn_ith, (llama_context * context, std::int32_t row),
             (context, row))
CARD_GUARDED_VOID(llama_set_embeddings_layer_inp,
                  (llama_context * context, std::uint32_t layer, bool value),
                  (context, layer, value))
CARD_GUARDED(float *, llama_get_embeddings_layer_inp,
             (llama_context * context, std::uint32_t layer), (context, layer))

// Files.

CARD_GUARDED(gguf_context *, gguf_init_from_file, (const char * path, gguf_init_params params),
             (path, params))
CARD_GUARDED_VOID(gguf_set_kv, (gguf_context * file, const gguf_context * from), (file, from))
CARD_GUARDED(std::int64_t, gguf_remove_key, (gguf_context * file, const char * key), (file, key))
CARD_GUARDED_VOID(gguf_set_val_str, (gguf_context * file, const char * key, const char * value),
                  (file, key, value))
CARD_GUARDED_VOID(gguf_set_val_u32, (gguf_context * file, const char * key, std::uint32_t value),
                  (file, key, value))
CARD_GUARDED_VOID(gguf_set_arr_data,
                  (gguf_context * file, const char * key, enum gguf_type type, const void * data,
                   std::size_t length),
                  (file, key, type, data, length))
CARD_GUARDED_VOID(gguf_add_tensor, (gguf_context * file, const ggml_tensor * tensor),
                  (file, tensor))
CARD_GUARDED(bool, gguf_write_to_file,
             (const gguf_context * file, const char * path, bool only_meta),
             (file, path, only_meta))

// Devices.

CARD_GUARDED_VOID(ggml_backend_load_all_from_path, (const char * folder), (folder))
CARD_GUARDED(ggml_backend_reg_t, ggml_backend_reg_by_name, (const char * name), (name))
CARD_GUARDED_VOID(ggml_backend_dev_memory,
                  (ggml_backend_dev_t device, std::size_t * free, std::size_t * total),
                  (device, free, total))

// Functions without parameters.

extern "C" std::int32_t card_gguf_init_empty(gguf_context ** out, card_shim_error * error) {
    return guarded(error, [&] { *out = ::gguf_init_empty(); });
}

extern "C" std::int32_t card_ggml_backend_dev_count(std::size_t * out, card_shim_error * error) {
    return guarded(error, [&] { *out = ::ggml_backend_dev_count(); });
}

extern "C" std::int32_t card_llama_print_system_info(const char ** out, card_shim_error * error) {
    return guarded(error, [&] { *out = ::llama_print_system_info(); });
}

// Functions of the RPC backend, which are found when the program runs.

typedef ggml_backend_reg_t (*card_add_server)(const char * endpoint);
typedef void (*card_start_server)(const char * endpoint, const char * cache, std::size_t threads,
                                  std::size_t count, ggml_backend_dev_t * devices);

extern "C" std::int32_t card_rpc_add_server(ggml_backend_reg_t * out, card_shim_error * error,
                                            card_add_server add, const char * endpoint) {
    return guarded(error, [&] { *out = add(endpoint); });
}

extern "C" std::int32_t card_rpc_start_server(card_shim_error * error, card_start_server start,
                                              const char * endpoint, const char * cache,
                                              std::size_t threads, std::size_t count,
                                              ggml_backend_dev_t * devices) {
    return guarded(error, [&] { start(endpoint, cache, threads, count, devices); });
}

// For the test that nothing gets past `guarded`.
extern "C" std::int32_t card_throw(std::int32_t * out, card_shim_error * error, std::int32_t what) {
    return guarded(error, [&] {
        switch (what) {
            case 1: throw std::bad_alloc();
            case 2: throw std::out_of_range("a token that is not there");
            case 3: throw 42;
            default: *out = what;
        }
    });
}
