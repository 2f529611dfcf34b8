// Products with weights: a matrix, or a mixture of experts.

#pragma once

#include "forward.hpp"
#include "memory.hpp"

#include "ggml.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace classes {

// Products of one weight matrix with several columns.
class Matrix final : public Forward {
public:
    Matrix(ggml_backend_t on, ggml_type type, int64_t inputs, int64_t outputs)
        : Forward(on), width(inputs), height(outputs), weights_context(new_context()) {
        const std::size_t bytes =
            ggml_row_size(type, width) * static_cast<std::size_t>(height);
        for (std::size_t i = 0; i < copies_of(bytes); ++i) {
            weights.push_back(ggml_new_tensor_2d(weights_context.get(), type, width, height));
        }
        weights_buffer = allocate(weights_context.get(), backend, true);
        fill_weights(weights[0], 1);
        for (std::size_t i = 1; i < weights.size(); ++i) {
            ggml_backend_tensor_copy(weights[0], weights[i]);
        }
        wanted_row = normal(static_cast<std::size_t>(width), 2, 1.0f);
    }

    void rows(int n) override {
        count = n;
        buffer.reset();
        ggml_context * in = next_context();
        input = ggml_new_tensor_2d(in, GGML_TYPE_F32, width, n);
        graph = ggml_new_graph_custom(in, 1024, false);
        outputs.clear();
        for (ggml_tensor * matrix : weights) {
            outputs.push_back(ggml_mul_mat(in, matrix, input));
            ggml_build_forward_expand(graph, outputs.back());
        }
        check_supported();
        buffer = allocate(in, backend, false);
    }

    void place(int at, std::uint64_t others) override {
        auto values = normal(static_cast<std::size_t>(width * count), 100 + others, 1.0f);
        std::copy(wanted_row.begin(), wanted_row.end(), values.begin() + at * width);
        upload(input, values);
        where = at;
    }

    std::vector<float> result() const override {
        std::vector<float> row(static_cast<std::size_t>(height));
        const std::size_t bytes = row.size() * sizeof(float);
        ggml_backend_tensor_get(outputs[0], row.data(), static_cast<std::size_t>(where) * bytes,
                                bytes);
        return row;
    }

    int copies() const override { return static_cast<int>(weights.size()); }

private:
    int64_t width;
    int64_t height;
    Context weights_context;
    std::vector<ggml_tensor *> weights;
    Buffer weights_buffer;
    std::vector<float> wanted_row;
    ggml_tensor * input = nullptr;
    std::vector<ggml_tensor *> outputs;
    Buffer buffer;
    int count = 0;
    int where = 0;
};

// A mixture of experts.
struct Mixture {
    int64_t inputs;
    int64_t outputs;
    int64_t experts;
    int64_t used;
};

// Products of several columns with the experts that each is sent to.
class Experts final : public Forward {
public:
    // `apart`: each expert gets a column of its own, as in the last product of a mixture. Else
    // all experts of a row get the same one.
    Experts(ggml_backend_t on, ggml_type type, Mixture mixture, bool apart)
        : Forward(on), size(mixture), columns(apart ? mixture.used : 1),
          weights_context(new_context()) {
        const std::size_t bytes = ggml_row_size(type, size.inputs) *
                                  static_cast<std::size_t>(size.outputs * size.experts);
        for (std::size_t i = 0; i < copies_of(bytes); ++i) {
            weights.push_back(ggml_new_tensor_3d(weights_context.get(), type, size.inputs,
                                                 size.outputs, size.experts));
        }
        weights_buffer = allocate(weights_context.get(), backend, true);
        fill_weights(weights[0], 1);
        for (std::size_t i = 1; i < weights.size(); ++i) {
            ggml_backend_tensor_copy(weights[0], weights[i]);
        }
        wanted_row = normal(static_cast<std::size_t>(size.inputs * columns), 2, 1.0f);
    }

    void rows(int n) override {
        count = n;
        buffer.reset();
        ggml_context * in = next_context();
        input = ggml_new_tensor_3d(in, GGML_TYPE_F32, size.inputs, columns, n);
        chosen = ggml_new_tensor_2d(in, GGML_TYPE_I32, size.used, n);
        graph = ggml_new_graph_custom(in, 1024, false);
        outputs.clear();
        for (ggml_tensor * matrix : weights) {
            outputs.push_back(ggml_mul_mat_id(in, matrix, input, chosen));
            ggml_build_forward_expand(graph, outputs.back());
        }
        check_supported();
        buffer = allocate(in, backend, false);
    }

    void place(int at, std::uint64_t others) override {
        const int64_t row_size = size.inputs * columns;
        auto values = normal(static_cast<std::size_t>(row_size * count), 600 + others, 1.0f);
        std::copy(wanted_row.begin(), wanted_row.end(), values.begin() + at * row_size);
        upload(input, values);
        // The experts of a row are those of the largest of some random numbers.
        std::vector<std::int32_t> ids;
        for (int row = 0; row < count; ++row) {
            const auto own = 1000 * (others + 1) + static_cast<std::uint64_t>(row);
            const std::uint64_t seed = row == at ? 7 : own;
            const auto score = normal(static_cast<std::size_t>(size.experts), seed, 1.0f);
            std::vector<std::int32_t> order(score.size());
            std::iota(order.begin(), order.end(), 0);
            std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
                return score[static_cast<std::size_t>(a)] > score[static_cast<std::size_t>(b)];
            });
            ids.insert(ids.end(), order.begin(), order.begin() + size.used);
        }
        upload(chosen, ids.data(), ids.size() * sizeof(ids[0]));
        where = at;
    }

    std::vector<float> result() const override {
        std::vector<float> row(static_cast<std::size_t>(size.outputs * size.used));
        const std::size_t bytes = row.size() * sizeof(float);
        ggml_backend_tensor_get(outputs[0], row.data(), static_cast<std::size_t>(where) * bytes,
                                bytes);
        return row;
    }

    int copies() const override { return static_cast<int>(weights.size()); }

private:
    Mixture size;
    int64_t columns;
    Context weights_context;
    std::vector<ggml_tensor *> weights;
    Buffer weights_buffer;
    std::vector<float> wanted_row;
    ggml_tensor * input = nullptr;
    ggml_tensor * chosen = nullptr;
    std::vector<ggml_tensor *> outputs;
    Buffer buffer;
    int count = 0;
    int where = 0;
};

}
