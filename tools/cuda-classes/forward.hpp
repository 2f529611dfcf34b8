// A forward of several rows, one of which is the target.

#pragma once

#include "error.hpp"
#include "memory.hpp"

#include "ggml-backend.h"
#include "ggml.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace classes {

// Forwards before those that are timed: at least so many, for at least so many microseconds.
constexpr int WARM = 5;
constexpr double WARM_US = 10'000;

// Something that is computed for several rows at once, one of which is the target.
class Forward {
public:
    explicit Forward(ggml_backend_t on) : backend(on) {}
    virtual ~Forward() = default;
    Forward(const Forward &) = delete;
    Forward & operator=(const Forward &) = delete;

    // Gets ready for forwards of `n` rows.
    virtual void rows(int n) = 0;
    // Puts the target at a place among the rows. What the other rows are, and what is in
    // cells that the target does not see, follows from the seed, which is 0 or 1.
    virtual void place(int at, std::uint64_t others) = 0;
    // What the last forward gave for the target.
    virtual std::vector<float> result() const = 0;
    // How often the graph does the same, each time with other memory.
    virtual int copies() const = 0;

    void compute() {
        if (ggml_backend_graph_compute(backend, graph) != GGML_STATUS_SUCCESS) {
            fail("the device could not compute");
        }
    }

    std::vector<float> target(int at, std::uint64_t others) {
        place(at, others);
        compute();
        return result();
    }

    // Median microseconds of one copy.
    double time(int repeats) {
        const auto timed = [this] {
            const auto start = std::chrono::steady_clock::now();
            compute();
            const std::chrono::duration<double, std::micro> took =
                std::chrono::steady_clock::now() - start;
            return took.count();
        };
        double warm = 0.0;
        for (int i = 0; i < WARM || warm < WARM_US; ++i) {
            warm += timed();
        }
        std::vector<double> taken;
        for (int i = 0; i < repeats; ++i) {
            taken.push_back(timed());
        }
        std::sort(taken.begin(), taken.end());
        return taken[taken.size() / 2] / copies();
    }

protected:
    ggml_backend_t backend;
    ggml_cgraph * graph = nullptr;

    // A context for the next graph. It stays to the end of the program, as the backend knows a
    // graph that it has recorded by the address of a tensor.
    static ggml_context * next_context() {
        static std::vector<Context> contexts;
        contexts.push_back(new_context());
        return contexts.back().get();
    }

    // Every operation of the graph must run on the device.
    void check_supported() const {
        for (int i = 0; i < ggml_graph_n_nodes(graph); ++i) {
            ggml_tensor * node = ggml_graph_node(graph, i);
            if (!ggml_backend_supports_op(backend, node)) {
                fail(std::string("the device does not do ") + ggml_op_desc(node));
            }
        }
    }
};

// So many weights of a size that no cache of the device holds them all.
inline std::size_t copies_of(std::size_t bytes) {
    const std::size_t wanted = (std::size_t(384) << 20) / bytes + 1;
    return std::min<std::size_t>(48, std::max<std::size_t>(2, wanted));
}

}
