// Flash attention over one cache.

#pragma once

#include "forward.hpp"
#include "memory.hpp"

#include "ggml.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace classes {

// Heads of this size, as most models have.
constexpr int64_t HEAD = 128;
// llama.cpp rounds the cells that attention goes through up to a multiple of this.
constexpr int64_t PAD = 256;

inline int64_t round_up(int64_t value, int64_t to) {
    return (value + to - 1) / to * to;
}

// Which cells are whose.
struct Cells {
    // Cells that the target sees beside its own.
    int64_t context;
    // Whether another sequence has three cells after every five of ours.
    bool between;
    // Cells that attention goes through, at least.
    int64_t least = 0;

    // The cell of our token number `i`.
    int64_t ours(int64_t i) const { return between ? i + i / 5 * 3 : i; }
    // The cell of the other sequence's token number `i`.
    int64_t theirs(int64_t i) const { return i / 3 * 8 + 5 + i % 3; }
    // Cells that attention goes through: there is room for 64 rows.
    int64_t all() const { return std::max(least, round_up(ours(context + 64), PAD)); }
};

// Flash attention of several rows over one cache, as llama.cpp asks for it.
class Attention final : public Forward {
public:
    // `timed`: there are as many caches as it takes for the device to read them from memory.
    Attention(ggml_backend_t on, int64_t queries, int64_t keys, Cells laid, bool timed)
        : Forward(on), n_queries(queries), n_keys(keys), cells(laid), length(laid.all()),
          cache_context(new_context()) {
        const std::size_t bytes =
            static_cast<std::size_t>(4 * HEAD * n_keys * length);
        const std::size_t wanted = (std::size_t(192) << 20) / bytes + 1;
        const std::size_t many =
            timed ? std::min<std::size_t>(16, std::max<std::size_t>(2, wanted)) : 1;
        for (std::size_t i = 0; i < many; ++i) {
            for (auto * list : {&caches_k, &caches_v}) {
                list->push_back(ggml_new_tensor_2d(cache_context.get(), GGML_TYPE_F16,
                                                   HEAD * n_keys, length));
            }
        }
        cache_buffer = allocate(cache_context.get(), backend, false);
        for (std::uint64_t others = 0; others < (timed ? 2 : 1); ++others) {
            held_k[others] = content(3, others);
            held_v[others] = content(4, others);
        }
        for (std::size_t i = 0; i < many; ++i) {
            upload(caches_k[i], held_k[0]);
            upload(caches_v[i], held_v[0]);
        }
        wanted_row = normal(static_cast<std::size_t>(HEAD * n_queries), 5, 1.0f);
    }

    void rows(int n) override {
        count = n;
        buffer.reset();
        ggml_context * in = next_context();
        input = ggml_new_tensor_3d(in, GGML_TYPE_F32, HEAD, n_queries, n);
        mask = ggml_new_tensor_2d(in, GGML_TYPE_F16, length, n);
        graph = ggml_new_graph_custom(in, 1024, false);
        output = nullptr;
        for (std::size_t i = 0; i < caches_k.size(); ++i) {
            ggml_tensor * made = attend(in, input, caches_k[i], caches_v[i], mask, n_keys);
            ggml_build_forward_expand(graph, made);
            output = output == nullptr ? made : output;
        }
        check_supported();
        buffer = allocate(in, backend, false);
    }

    // One attention over a cache, with the strides that llama.cpp's cache has.
    static ggml_tensor * attend(ggml_context * in, ggml_tensor * query, ggml_tensor * cache_k,
                                ggml_tensor * cache_v, ggml_tensor * mask, int64_t n_keys) {
        const std::size_t head_bytes = HEAD * sizeof(ggml_fp16_t);
        auto seen = [&](ggml_tensor * cache) {
            ggml_tensor * view = ggml_view_3d(in, cache, HEAD, n_keys, mask->ne[0], head_bytes,
                                              cache->nb[1], 0);
            return ggml_permute(in, view, 0, 2, 1, 3);
        };
        ggml_tensor * turned = ggml_permute(in, query, 0, 2, 1, 3);
        const float scale = 1.0f / std::sqrt(static_cast<float>(HEAD));
        ggml_tensor * made = ggml_flash_attn_ext(in, turned, seen(cache_k), seen(cache_v), mask,
                                                 scale, 0.0f, 0.0f);
        ggml_prec_set_acc(made, GGML_PREC_F32);
        return made;
    }

    void place(int at, std::uint64_t others) override {
        auto values =
            normal(static_cast<std::size_t>(HEAD * n_queries * count), 200 + others, 1.0f);
        std::copy(wanted_row.begin(), wanted_row.end(), values.begin() + at * HEAD * n_queries);
        upload(input, values);
        // Row number `at` is token number `context`, so row r is token context - at + r. It
        // sees all earlier ones and itself. With another sequence every second other row is
        // one of that.
        const auto width = static_cast<std::size_t>(length);
        Halves allowed = nothing(width * static_cast<std::size_t>(count));
        for (int row = 0; row < count; ++row) {
            const bool foreign = cells.between && (row - at) % 2 != 0;
            const int64_t last = cells.context - at + row;
            ggml_fp16_t * line = allowed.data() + static_cast<std::size_t>(row) * width;
            for (int64_t i = 0; i <= last; ++i) {
                const int64_t cell = foreign ? cells.theirs(i) : cells.ours(i);
                if (cell < length) {
                    line[cell] = 0;
                }
            }
        }
        upload(mask, allowed);
        if (others != held) {
            upload(caches_k[0], held_k[others]);
            upload(caches_v[0], held_v[others]);
            held = others;
        }
        where = at;
    }

    std::vector<float> result() const override {
        std::vector<float> row(static_cast<std::size_t>(HEAD * n_queries));
        const std::size_t bytes = row.size() * sizeof(float);
        ggml_backend_tensor_get(output, row.data(), static_cast<std::size_t>(where) * bytes,
                                bytes);
        return row;
    }

    int copies() const override { return static_cast<int>(caches_k.size()); }

private:
    // What the cells hold. The target's tokens are the same in every layout; with other `others`
    // the cells that it does not see hold something else.
    Halves content(std::uint64_t seed, std::uint64_t others) const {
        const auto cell_size = static_cast<std::size_t>(HEAD * n_keys);
        const auto seen = static_cast<std::size_t>(cells.context + 1);
        const Halves tokens = halves(normal(cell_size * seen, seed, 1.0f));
        Halves made = halves(
            normal(cell_size * static_cast<std::size_t>(length), 10 * seed + others, 1.0f));
        for (std::size_t i = 0; i < seen; ++i) {
            const auto cell = static_cast<std::size_t>(cells.ours(static_cast<int64_t>(i)));
            std::copy_n(tokens.data() + i * cell_size, cell_size, made.data() + cell * cell_size);
        }
        return made;
    }

    int64_t n_queries;
    int64_t n_keys;
    Cells cells;
    int64_t length;
    Context cache_context;
    std::vector<ggml_tensor *> caches_k;
    std::vector<ggml_tensor *> caches_v;
    Buffer cache_buffer;
    Halves held_k[2];
    Halves held_v[2];
    std::uint64_t held = 0;
    std::vector<float> wanted_row;
    ggml_tensor * input = nullptr;
    ggml_tensor * mask = nullptr;
    ggml_tensor * output = nullptr;
    Buffer buffer;
    int count = 0;
    int where = 0;
};

}
