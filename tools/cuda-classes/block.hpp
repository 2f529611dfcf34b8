// Whole layers of a transformer.

#pragma once

#include "attention.hpp"
#include "forward.hpp"
#include "memory.hpp"

#include "ggml.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace classes {

// Layers of a block, each with weights and a cache of its own.
constexpr int LAYERS = 6;

// Widths of a model.
struct Widths {
    int64_t width;
    int64_t inner;
    int64_t queries;
    int64_t keys;
};

// Layers of a transformer as llama.cpp builds them, with everything between the products: norms,
// rotation, writing the cache, activation, sums. What ggml fuses is fused here too. Without
// attention only the feed-forward parts are left.
class Block final : public Forward {
public:
    Block(ggml_backend_t on, ggml_type type, Widths widths, int64_t seen, bool attention)
        : Forward(on), size(widths), context_cells(seen), with_attention(attention),
          length(round_up(seen + 64, PAD)), held_context(new_context()) {
        // Files of the kind Q4_K_M have these two in more bits.
        const ggml_type finer = type == GGML_TYPE_Q4_K ? GGML_TYPE_Q6_K : type;
        ggml_context * in = held_context.get();
        for (Layer & layer : layers) {
            layer.norm_in = ggml_new_tensor_1d(in, GGML_TYPE_F32, size.width);
            layer.norm_inner = ggml_new_tensor_1d(in, GGML_TYPE_F32, size.width);
            layer.q = ggml_new_tensor_2d(in, type, size.width, HEAD * size.queries);
            layer.k = ggml_new_tensor_2d(in, type, size.width, HEAD * size.keys);
            layer.v = ggml_new_tensor_2d(in, finer, size.width, HEAD * size.keys);
            layer.out = ggml_new_tensor_2d(in, type, HEAD * size.queries, size.width);
            layer.gate = ggml_new_tensor_2d(in, type, size.width, size.inner);
            layer.up = ggml_new_tensor_2d(in, type, size.width, size.inner);
            layer.down = ggml_new_tensor_2d(in, finer, size.inner, size.width);
        }
        held_buffer = allocate(in, backend, true);
        cache_context = new_context();
        for (Layer & layer : layers) {
            layer.cache_k = ggml_new_tensor_2d(cache_context.get(), GGML_TYPE_F16,
                                               HEAD * size.keys, length);
            layer.cache_v = ggml_new_tensor_2d(cache_context.get(), GGML_TYPE_F16,
                                               HEAD * size.keys, length);
        }
        cache_buffer = allocate(cache_context.get(), backend, false);
        const auto cached = static_cast<std::size_t>(HEAD * size.keys * length);
        std::uint64_t seed = 10;
        for (Layer & layer : layers) {
            for (ggml_tensor * norm : {layer.norm_in, layer.norm_inner}) {
                upload(norm, normal(static_cast<std::size_t>(size.width), seed++, 1.0f));
            }
            for (ggml_tensor * matrix : {layer.q, layer.k, layer.v, layer.out, layer.gate,
                                         layer.up, layer.down}) {
                fill_weights(matrix, seed++);
            }
            upload(layer.cache_k, halves(normal(cached, seed++, 1.0f)));
            upload(layer.cache_v, halves(normal(cached, seed++, 1.0f)));
        }
        wanted_row = normal(static_cast<std::size_t>(size.width), 5, 1.0f);
    }

    void rows(int n) override {
        count = n;
        buffer.reset();
        ggml_context * in = next_context();
        input = ggml_new_tensor_2d(in, GGML_TYPE_F32, size.width, n);
        positions = ggml_new_tensor_1d(in, GGML_TYPE_I32, n);
        targets = ggml_new_tensor_1d(in, GGML_TYPE_I64, n);
        mask = ggml_new_tensor_2d(in, GGML_TYPE_F16, length, n);
        graph = ggml_new_graph_custom(in, 2048, false);
        ggml_tensor * flow = input;
        for (const Layer & layer : layers) {
            if (with_attention) {
                flow = ggml_add(in, attention(in, layer, norm(in, flow, layer.norm_in)), flow);
            }
            ggml_tensor * inner = norm(in, flow, layer.norm_inner);
            ggml_tensor * gate = ggml_mul_mat(in, layer.gate, inner);
            ggml_tensor * up = ggml_mul_mat(in, layer.up, inner);
            ggml_tensor * mixed = ggml_swiglu_split(in, gate, up);
            flow = ggml_add(in, ggml_mul_mat(in, layer.down, mixed), flow);
        }
        output = flow;
        ggml_build_forward_expand(graph, output);
        check_supported();
        buffer = allocate(in, backend, false);
    }

    void place(int at, std::uint64_t others) override {
        auto values = normal(static_cast<std::size_t>(size.width * count), 500 + others, 1.0f);
        std::copy(wanted_row.begin(), wanted_row.end(), values.begin() + at * size.width);
        upload(input, values);
        where = at;
        if (!with_attention) {
            return;
        }
        // The target always has the same position and cell. The others stand beside it like
        // branches of a tree: the same position, cells of their own.
        const auto width = static_cast<std::size_t>(length);
        std::vector<std::int32_t> position(static_cast<std::size_t>(count),
                                           static_cast<std::int32_t>(context_cells));
        std::vector<std::int64_t> cell(static_cast<std::size_t>(count));
        Halves allowed = nothing(width * static_cast<std::size_t>(count));
        for (int row = 0; row < count; ++row) {
            const auto index = static_cast<std::size_t>(row);
            const int64_t own = row == at ? 0 : (row < at ? row + 1 : row);
            cell[index] = context_cells + own;
            ggml_fp16_t * line = allowed.data() + index * width;
            std::fill(line, line + context_cells, ggml_fp16_t(0));
            line[cell[index]] = 0;
        }
        upload(positions, position.data(), position.size() * sizeof(position[0]));
        upload(targets, cell.data(), cell.size() * sizeof(cell[0]));
        upload(mask, allowed);
    }

    std::vector<float> result() const override {
        std::vector<float> row(static_cast<std::size_t>(size.width));
        const std::size_t bytes = row.size() * sizeof(float);
        ggml_backend_tensor_get(output, row.data(), static_cast<std::size_t>(where) * bytes,
                                bytes);
        return row;
    }

    int copies() const override { return LAYERS; }

private:
    struct Layer {
        ggml_tensor *norm_in, *norm_inner, *q, *k, *v, *out, *gate, *up, *down;
        ggml_tensor *cache_k, *cache_v;
    };

    static ggml_tensor * norm(ggml_context * in, ggml_tensor * flow, ggml_tensor * weights) {
        return ggml_mul(in, ggml_rms_norm(in, flow, 1e-6f), weights);
    }

    ggml_tensor * attention(ggml_context * in, const Layer & layer, ggml_tensor * flow) {
        auto rotate = [&](ggml_tensor * matrix, int64_t heads) {
            ggml_tensor * made = ggml_mul_mat(in, matrix, flow);
            made = ggml_reshape_3d(in, made, HEAD, heads, count);
            return ggml_rope_ext(in, made, positions, nullptr, static_cast<int>(HEAD),
                                 GGML_ROPE_TYPE_NEOX, 32768, 1e6f, 1.0f, 0.0f, 1.0f, 32.0f,
                                 1.0f);
        };
        ggml_tensor * query = rotate(layer.q, size.queries);
        ggml_tensor * key = rotate(layer.k, size.keys);
        ggml_tensor * value = ggml_mul_mat(in, layer.v, flow);
        ggml_build_forward_expand(graph, query);
        ggml_build_forward_expand(graph, value);
        ggml_build_forward_expand(graph, key);
        key = ggml_reshape_2d(in, key, HEAD * size.keys, count);
        ggml_build_forward_expand(graph, ggml_set_rows(in, layer.cache_k, key, targets));
        ggml_build_forward_expand(graph, ggml_set_rows(in, layer.cache_v, value, targets));
        ggml_tensor * made =
            Attention::attend(in, query, layer.cache_k, layer.cache_v, mask, size.keys);
        made = ggml_reshape_2d(in, made, HEAD * size.queries, count);
        return ggml_mul_mat(in, layer.out, made);
    }

    Widths size;
    int64_t context_cells;
    bool with_attention;
    int64_t length;
    Layer layers[LAYERS] = {};
    Context held_context;
    Buffer held_buffer;
    Context cache_context;
    Buffer cache_buffer;
    std::vector<float> wanted_row;
    ggml_tensor * input = nullptr;
    ggml_tensor * positions = nullptr;
    ggml_tensor * targets = nullptr;
    ggml_tensor * mask = nullptr;
    ggml_tensor * output = nullptr;
    Buffer buffer;
    int count = 0;
    int where = 0;
};

}
