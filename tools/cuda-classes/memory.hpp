// Memory of the device, and what fills it.

#pragma once

#include "error.hpp"

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

namespace classes {

struct FreeContext {
    void operator()(ggml_context * it) const { ggml_free(it); }
};
struct FreeBuffer {
    void operator()(ggml_backend_buffer * it) const { ggml_backend_buffer_free(it); }
};
struct FreeBackend {
    void operator()(ggml_backend * it) const { ggml_backend_free(it); }
};
using Context = std::unique_ptr<ggml_context, FreeContext>;
using Buffer = std::unique_ptr<ggml_backend_buffer, FreeBuffer>;
using Backend = std::unique_ptr<ggml_backend, FreeBackend>;

inline Context new_context() {
    ggml_init_params params{};
    params.mem_size = ggml_tensor_overhead() * 1024 + ggml_graph_overhead_custom(2048, false);
    params.no_alloc = true;
    Context made(ggml_init(params));
    if (!made) {
        fail("ggml_init failed");
    }
    return made;
}

// Puts all tensors of `context` that have no memory yet into memory of the device.
inline Buffer allocate(ggml_context * context, ggml_backend_t backend, bool weights) {
    Buffer made(ggml_backend_alloc_ctx_tensors(context, backend));
    if (!made) {
        fail("the device has no memory left");
    }
    if (weights) {
        ggml_backend_buffer_set_usage(made.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    }
    return made;
}

// Numbers that are spread nearly normally, from a seed: each is a sum of four even ones.
inline std::vector<float> normal(std::size_t count, std::uint64_t seed, float scale) {
    std::uint64_t state = (seed + 1) * 0x9e3779b97f4a7c15ULL;
    std::vector<float> made(count);
    for (float & value : made) {
        state += 0x9e3779b97f4a7c15ULL;
        std::uint64_t z = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        z ^= z >> 31;
        const std::uint64_t sum =
            (z & 0xffff) + ((z >> 16) & 0xffff) + ((z >> 32) & 0xffff) + (z >> 48);
        value = scale * (static_cast<float>(sum) / 65535.0f - 2.0f) * 1.7320508f;
    }
    return made;
}

inline void upload(ggml_tensor * tensor, const void * data, std::size_t bytes) {
    ggml_backend_tensor_set(tensor, data, 0, bytes);
}

inline void upload(ggml_tensor * tensor, const std::vector<float> & data) {
    upload(tensor, data.data(), data.size() * sizeof(float));
}

using Halves = std::vector<ggml_fp16_t>;

inline Halves halves(const std::vector<float> & data) {
    Halves half(data.size());
    ggml_fp32_to_fp16_row(data.data(), half.data(), static_cast<int64_t>(data.size()));
    return half;
}

inline void upload(ggml_tensor * tensor, const Halves & data) {
    upload(tensor, data.data(), data.size() * sizeof(data[0]));
}

// A mask that lets nothing through.
inline Halves nothing(std::size_t count) {
    return Halves(count, ggml_fp32_to_fp16(-INFINITY));
}

// Fills a weight matrix: up to 1024 rows of its own, which then come again.
inline void fill_weights(ggml_tensor * tensor, std::uint64_t seed) {
    const int64_t width = tensor->ne[0];
    const int64_t rows = ggml_nrows(tensor);
    const int64_t own = std::min<int64_t>(rows, 1024);
    const float scale = 1.0f / std::sqrt(static_cast<float>(width));
    const std::size_t row_bytes = ggml_row_size(tensor->type, width);
    std::vector<char> bytes(row_bytes * static_cast<std::size_t>(rows));
    ggml_quantize_init(tensor->type);
    const int64_t workers = std::max(1u, std::min(16u, std::thread::hardware_concurrency()));
    std::vector<std::thread> threads;
    for (int64_t worker = 0; worker < workers; ++worker) {
        const int64_t first = own * worker / workers;
        const int64_t count = own * (worker + 1) / workers - first;
        threads.emplace_back([=, &bytes] {
            const std::uint64_t own_seed = seed * 64 + static_cast<std::uint64_t>(worker);
            const auto values = normal(static_cast<std::size_t>(count * width), own_seed, scale);
            ggml_quantize_chunk(tensor->type, values.data(),
                                bytes.data() + row_bytes * static_cast<std::size_t>(first), 0,
                                count, width, nullptr);
        });
    }
    for (std::thread & thread : threads) {
        thread.join();
    }
    for (int64_t row = own; row < rows; ++row) {
        std::memcpy(bytes.data() + row_bytes * static_cast<std::size_t>(row),
                    bytes.data() + row_bytes * static_cast<std::size_t>(row % own), row_bytes);
    }
    upload(tensor, bytes.data(), bytes.size());
}

}
