// For which numbers of rows does a row's result stay the same bit for bit?
//
// Runs ggml's operations on one device with 1 to 512 rows, one of which is always the same (the
// target), and compares what comes out for it. Row counts whose results agree are a *kernel
// class*. README.md says how to build and run it, docs/findings/cuda-classes.md what it found.

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

// What the operations are tried with.
struct Options {
    std::string device;
    std::string csv;
    std::vector<std::string> types{"q4_K", "q5_K", "q6_K", "q8_0", "q4_0", "mxfp4", "f16", "bf16"};
    // Inputs x outputs of a weight matrix.
    std::vector<std::string> shapes{"1536x8960", "8960x1536", "4096x4096", "4096x14336",
                                    "2048x151936"};
    // Query heads : heads of K and V.
    std::vector<std::string> heads{"8:1", "32:8", "64:8", "12:2"};
    // Cells that the target sees beside its own.
    std::vector<std::string> contexts{"64", "600", "3000"};
    // Width : width of the feed-forward part : query heads : heads of K and V.
    std::vector<std::string> blocks{"1536:8960:12:2", "4096:14336:32:8"};
    std::vector<std::string> block_types{"q4_K", "q8_0", "f16"};
    // Inputs x outputs x experts : experts used.
    std::vector<std::string> experts{"2048x768x128:8", "768x2048x128:8"};
    std::vector<int> rows{1,  2,  3,  4,  5,  6,  7,  8,  9,   10,  12,  16,
                          17, 24, 32, 48, 64, 65, 96, 128, 129, 192, 256, 512};
    std::vector<int> attention_rows{1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                                    12, 13, 15, 16, 17, 20, 24, 31, 32, 33, 48, 64};
    std::vector<std::string> sections;
    // Forwards that are timed.
    int repeats = 20;
};

// Forwards before those that are timed: at least so many, for at least so many microseconds.
constexpr int WARM = 5;
constexpr double WARM_US = 10'000;
// Heads of this size, as most models have.
constexpr int64_t HEAD = 128;
// llama.cpp rounds the cells that attention goes through up to a multiple of this.
constexpr int64_t PAD = 256;
// Layers of a block, each with weights and a cache of its own.
constexpr int LAYERS = 6;

[[noreturn]] void fail(const std::string & why) {
    throw std::runtime_error(why);
}

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

Context new_context() {
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
Buffer allocate(ggml_context * context, ggml_backend_t backend, bool weights) {
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
std::vector<float> normal(std::size_t count, std::uint64_t seed, float scale) {
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

void upload(ggml_tensor * tensor, const void * data, std::size_t bytes) {
    ggml_backend_tensor_set(tensor, data, 0, bytes);
}

void upload(ggml_tensor * tensor, const std::vector<float> & data) {
    upload(tensor, data.data(), data.size() * sizeof(float));
}

using Halves = std::vector<ggml_fp16_t>;

Halves halves(const std::vector<float> & data) {
    Halves half(data.size());
    ggml_fp32_to_fp16_row(data.data(), half.data(), static_cast<int64_t>(data.size()));
    return half;
}

void upload(ggml_tensor * tensor, const Halves & data) {
    upload(tensor, data.data(), data.size() * sizeof(data[0]));
}

// A mask that lets nothing through.
Halves nothing(std::size_t count) {
    return Halves(count, ggml_fp32_to_fp16(-INFINITY));
}

// Fills a weight matrix: up to 1024 rows of its own, which then come again.
void fill_weights(ggml_tensor * tensor, std::uint64_t seed) {
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
std::size_t copies_of(std::size_t bytes) {
    const std::size_t wanted = (std::size_t(384) << 20) / bytes + 1;
    return std::min<std::size_t>(48, std::max<std::size_t>(2, wanted));
}

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

int64_t round_up(int64_t value, int64_t to) {
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

bool same_bits(const std::vector<float> & a, const std::vector<float> & b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Largest difference, relative to the root mean square of `a`.
double difference(const std::vector<float> & a, const std::vector<float> & b) {
    double largest = 0.0;
    double squares = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        largest = std::max(largest, std::fabs(double(a[i]) - double(b[i])));
        squares += double(a[i]) * double(a[i]);
    }
    return largest / std::sqrt(squares / static_cast<double>(a.size()));
}

// What one number of rows did.
struct Size {
    int rows = 0;
    // The smallest number of rows that gives the target the same bits.
    int its_class = 0;
    // From the result of the first number of rows.
    double diff = 0.0;
    // Whether the target gets the same bits in the middle and at the end of the rows.
    bool places = true;
    // Whether it gets the same bits beside other rows.
    bool others = true;
    // Whether it gets the same bits again.
    bool again = true;
    double us = 0.0;
};

struct Finding {
    std::string section;
    std::string what;
    std::string shape;
    std::vector<Size> sizes;
};

std::vector<Size> examine(Forward & forward, const std::vector<int> & counts, int repeats) {
    std::vector<Size> sizes;
    std::vector<std::pair<int, std::vector<float>>> classes;
    for (int n : counts) {
        Size size;
        size.rows = n;
        forward.rows(n);
        const auto first = forward.target(0, 0);
        for (float value : first) {
            if (!std::isfinite(value)) {
                fail("a result is no number");
            }
        }
        if (n > 1) {
            size.places = same_bits(first, forward.target(n / 2, 0));
            size.places &= same_bits(first, forward.target(n - 1, 0));
        }
        size.others = same_bits(first, forward.target(0, 1));
        for (int i = 0; i < 4; ++i) {
            size.again &= same_bits(first, forward.target(0, 0));
        }
        const auto known = std::find_if(classes.begin(), classes.end(), [&](const auto & one) {
            return same_bits(one.second, first);
        });
        if (known == classes.end()) {
            size.its_class = n;
            classes.emplace_back(n, first);
        } else {
            size.its_class = known->first;
        }
        size.diff = difference(classes[0].second, first);
        sizes.push_back(size);
    }
    // Twice, so that nothing that passes (such as a clock that rises) is taken for the cost of
    // one number of rows; the better time counts.
    for (int pass = 0; pass < 2; ++pass) {
        for (Size & size : sizes) {
            forward.rows(size.rows);
            forward.place(0, 0);
            const double us = forward.time(repeats);
            size.us = pass == 0 ? us : std::min(size.us, us);
        }
    }
    return sizes;
}

// "1–4, 6" for the members of a list of all numbers.
std::string ranges(const std::vector<int> & members, const std::vector<int> & all) {
    std::string text;
    for (std::size_t i = 0; i < all.size(); ++i) {
        auto has = [&](std::size_t at) {
            return at < all.size() &&
                   std::find(members.begin(), members.end(), all[at]) != members.end();
        };
        if (!has(i)) {
            continue;
        }
        std::size_t last = i;
        while (has(last + 1)) {
            ++last;
        }
        text += text.empty() ? "" : ", ";
        text += std::to_string(all[i]);
        if (last > i) {
            text += (last == i + 1 ? ", " : "–") + std::to_string(all[last]);
        }
        i = last;
    }
    return text;
}

std::string classes_of(const std::vector<Size> & sizes) {
    std::vector<int> all;
    std::map<int, std::vector<int>> classes;
    for (const Size & size : sizes) {
        all.push_back(size.rows);
        classes[size.its_class].push_back(size.rows);
    }
    std::string text;
    for (const auto & [first, members] : classes) {
        text += (text.empty() ? "{" : " {") + ranges(members, all) + "}";
    }
    auto note = [&](const char * what, bool Size::*fine) {
        std::vector<int> bad;
        for (const Size & size : sizes) {
            if (!(size.*fine)) {
                bad.push_back(size.rows);
            }
        }
        if (!bad.empty()) {
            text += std::string("; ") + what + " at " + ranges(bad, all);
        }
    };
    note("**the place among the rows matters**", &Size::places);
    note("**what the others are matters**", &Size::others);
    note("**not repeatable**", &Size::again);
    return text;
}

// Prints one table for findings that have the same row counts: a line for each count, a column
// for each finding.
void print_table(const std::string & title, const std::vector<Finding> & findings) {
    std::printf("\n### %s\n\n", title.c_str());
    for (const Finding & finding : findings) {
        std::printf("- %s: %s\n", finding.shape.c_str(), classes_of(finding.sizes).c_str());
    }
    std::printf("\n| rows |");
    for (const Finding & finding : findings) {
        std::printf(" %s |", finding.shape.c_str());
    }
    std::printf("\n| ---: |");
    for (std::size_t i = 0; i < findings.size(); ++i) {
        std::printf(" --- |");
    }
    std::printf("\n");
    for (std::size_t line = 0; line < findings[0].sizes.size(); ++line) {
        std::printf("| %d |", findings[0].sizes[line].rows);
        for (const Finding & finding : findings) {
            const Size & size = finding.sizes[line];
            std::printf(" %d%s%s%s", size.its_class, size.places ? "" : " p",
                        size.others ? "" : " o", size.again ? "" : " r");
            if (size.diff == 0.0) {
                std::printf(" · 0");
            } else {
                std::printf(" · %.1e", size.diff);
            }
            if (line == 0) {
                std::printf(" · %.1f µs |", size.us);
            } else {
                std::printf(" · ×%.2f |", size.us / finding.sizes[0].us);
            }
        }
        std::printf("\n");
    }
    std::fflush(stdout);
}

void write_csv(std::FILE * file, const Finding & finding) {
    if (file == nullptr) {
        return;
    }
    for (const Size & size : finding.sizes) {
        std::fprintf(file, "%s,%s,%s,%d,%d,%.6g,%d,%d,%d,%.3f\n", finding.section.c_str(),
                     finding.what.c_str(), finding.shape.c_str(), size.rows, size.its_class,
                     size.diff, size.places, size.others, size.again, size.us);
    }
    std::fflush(file);
}

std::vector<int64_t> numbers(const std::string & text) {
    std::vector<int64_t> found;
    const char * at = text.c_str();
    while (*at != '\0') {
        char * end = nullptr;
        const long long value = std::strtoll(at, &end, 10);
        if (end == at || value <= 0) {
            fail("not a list of numbers: " + text);
        }
        found.push_back(value);
        at = *end == '\0' ? end : end + 1;
    }
    return found;
}

std::vector<int64_t> numbers(const std::string & text, std::size_t many) {
    auto found = numbers(text);
    if (found.size() != many) {
        fail(text + " has not " + std::to_string(many) + " numbers");
    }
    return found;
}

ggml_type type_named(const std::string & name) {
    for (int i = 0; i < GGML_TYPE_COUNT; ++i) {
        const char * known = ggml_type_name(static_cast<ggml_type>(i));
        if (known != nullptr && name == known) {
            return static_cast<ggml_type>(i);
        }
    }
    fail("no type is called " + name);
}

void matrices(ggml_backend_t backend, const Options & options, std::FILE * csv) {
    for (const std::string & type : options.types) {
        std::vector<Finding> findings;
        for (const std::string & shape : options.shapes) {
            const auto parts = numbers(shape, 2);
            std::fprintf(stderr, "matrix %s %s\n", type.c_str(), shape.c_str());
            Matrix forward(backend, type_named(type), parts[0], parts[1]);
            findings.push_back(
                {"matrix", type, shape, examine(forward, options.rows, options.repeats)});
            write_csv(csv, findings.back());
        }
        print_table("MUL_MAT, weights " + type, findings);
    }
}

// Which lengths of the cache leave a row the same bits if 256 masked cells are added: what happens
// to a row whose forward ends behind a multiple of 256 cells. A text for each number of rows.
std::vector<std::string> longer(ggml_backend_t backend, int64_t queries, int64_t keys,
                                const std::vector<int> & lengths,
                                const std::vector<int> & counts) {
    std::vector<std::vector<int>> same(counts.size());
    for (int length : lengths) {
        std::vector<std::vector<float>> results[2];
        for (int64_t more : {0, 1}) {
            const Cells cells{length - 65, false, length + more * PAD};
            Attention forward(backend, queries, keys, cells, false);
            for (int n : counts) {
                forward.rows(n);
                results[more].push_back(forward.target(0, 0));
            }
        }
        for (std::size_t i = 0; i < counts.size(); ++i) {
            if (same_bits(results[0][i], results[1][i])) {
                same[i].push_back(length);
            }
        }
    }
    std::vector<std::string> texts;
    for (const auto & members : same) {
        const bool all = members.size() == lengths.size();
        texts.push_back(all ? "all" : members.empty() ? "none" : ranges(members, lengths));
    }
    return texts;
}

// Largest difference if cells of another sequence lie between the own ones, with a cache of the
// same length.
double mixed(ggml_backend_t backend, int64_t queries, int64_t keys, int64_t context, int n) {
    const Cells apart{context, true};
    std::vector<std::vector<float>> results;
    for (const Cells & cells : {Cells{context, false, apart.all()}, apart}) {
        Attention forward(backend, queries, keys, cells, false);
        forward.rows(n);
        results.push_back(forward.target(0, 0));
    }
    return difference(results[0], results[1]);
}

void attentions(ggml_backend_t backend, const Options & options, std::FILE * csv) {
    for (const std::string & heads : options.heads) {
        const auto parts = numbers(heads, 2);
        std::vector<Finding> findings;
        for (const bool between : {false, true}) {
            for (const std::string & context : options.contexts) {
                std::fprintf(stderr, "attention %s %s %d\n", heads.c_str(), context.c_str(),
                             between);
                const Cells cells{numbers(context, 1)[0], between};
                Attention forward(backend, parts[0], parts[1], cells, true);
                const std::string shape = context + " of " + std::to_string(cells.all()) +
                                          " cells" + (between ? " with others" : "");
                findings.push_back({"attention", heads, shape,
                                    examine(forward, options.attention_rows, options.repeats)});
                write_csv(csv, findings.back());
            }
        }
        print_table("FLASH_ATTN_EXT, heads " + heads, findings);
    }
    const std::vector<int> counts{1, 2, 4, 8, 16, 32};
    std::vector<int> lengths;
    for (int length = 256; length <= 4096; length += 256) {
        lengths.push_back(length);
    }
    for (int length : {6144, 8192}) {
        lengths.push_back(length);
    }
    std::printf("\n### Masked cells\n\nLengths of the cache to which 256 masked cells can be added "
                "without changing a bit, of 256 to 4096 in steps of 256, 6144 and "
                "8192:\n\n| heads |");
    for (int n : counts) {
        std::printf(" %d row%s |", n, n == 1 ? "" : "s");
    }
    std::printf("\n| --- |%s\n", " --- | --- | --- | --- | --- | --- |");
    for (const std::string & heads : options.heads) {
        const auto parts = numbers(heads, 2);
        std::printf("| %s |", heads.c_str());
        for (const std::string & text : longer(backend, parts[0], parts[1], lengths, counts)) {
            std::printf(" %s |", text.c_str());
        }
        std::printf("\n");
        std::fflush(stdout);
    }
    std::printf("\nLargest difference if cells of another sequence lie between the own ones "
                "(cache of the same length):\n\n| heads | context | 1 row | 4 rows |\n"
                "| --- | ---: | --- | --- |\n");
    for (const std::string & heads : options.heads) {
        const auto parts = numbers(heads, 2);
        for (const std::string & text : options.contexts) {
            const int64_t context = numbers(text, 1)[0];
            std::printf("| %s | %s |", heads.c_str(), text.c_str());
            for (int n : {1, 4}) {
                std::printf(" %.1e |", mixed(backend, parts[0], parts[1], context, n));
            }
            std::printf("\n");
        }
    }
    std::fflush(stdout);
}

void mixtures(ggml_backend_t backend, const Options & options, std::FILE * csv) {
    std::vector<int> counts;
    std::copy_if(options.rows.begin(), options.rows.end(), std::back_inserter(counts),
                 [](int n) { return n <= 256; });
    for (const std::string & type : options.types) {
        std::vector<Finding> findings;
        for (const std::string & shape : options.experts) {
            const auto parts = numbers(shape, 4);
            const Mixture mixture{parts[0], parts[1], parts[2], parts[3]};
            for (const bool apart : {false, true}) {
                std::fprintf(stderr, "experts %s %s %d\n", type.c_str(), shape.c_str(), apart);
                Experts forward(backend, type_named(type), mixture, apart);
                findings.push_back({"experts", type, shape + (apart ? " one input each" : ""),
                                    examine(forward, counts, options.repeats)});
                write_csv(csv, findings.back());
            }
        }
        print_table("MUL_MAT_ID, weights " + type, findings);
    }
}

void blocks(ggml_backend_t backend, const Options & options, std::FILE * csv) {
    // Every row takes a cell of its own behind the context, where 64 are kept free.
    std::vector<int> counts;
    std::copy_if(options.rows.begin(), options.rows.end(), std::back_inserter(counts),
                 [](int n) { return n <= 64; });
    for (const std::string & type : options.block_types) {
        std::vector<Finding> findings;
        for (const std::string & block : options.blocks) {
            const auto parts = numbers(block, 4);
            for (const bool attention : {false, true}) {
                std::fprintf(stderr, "block %s %s %d\n", type.c_str(), block.c_str(), attention);
                const Widths widths{parts[0], parts[1], parts[2], parts[3]};
                Block forward(backend, type_named(type), widths, 600, attention);
                const std::string shape =
                    block + (attention ? " whole" : " feed-forward only");
                findings.push_back(
                    {"block", type, shape, examine(forward, counts, options.repeats)});
                write_csv(csv, findings.back());
            }
        }
        print_table(std::to_string(LAYERS) + " layers, weights " + type +
                        (type == "q4_K" ? " (v and down q6_K)" : ""),
                    findings);
    }
}

std::vector<std::string> split(const std::string & text) {
    std::vector<std::string> parts;
    std::size_t from = 0;
    while (from <= text.size()) {
        const std::size_t to = std::min(text.find(',', from), text.size());
        parts.push_back(text.substr(from, to - from));
        from = to + 1;
    }
    return parts;
}

std::vector<int> row_counts(const std::string & text) {
    std::vector<int> counts;
    for (int64_t n : numbers(text)) {
        counts.push_back(static_cast<int>(n));
    }
    return counts;
}

const char * const USAGE =
    "cuda-classes [OPTION VALUE]... SECTION...\n"
    "sections: matrix, experts, attention, block\n"
    "--device NAME       as ggml names it, such as CUDA0; else the first GPU\n"
    "--csv FILE          writes every measurement there, too\n"
    "--types LIST        types of the weights\n"
    "--shapes LIST       INPUTSxOUTPUTS of the weights\n"
    "--experts LIST      INPUTSxOUTPUTSxEXPERTS:USED\n"
    "--rows LIST         row counts, not for attention\n"
    "--heads LIST        QUERIES:KEYS for attention\n"
    "--contexts LIST     cells that the target sees\n"
    "--attention-rows LIST   at most 64\n"
    "--blocks LIST       WIDTH:INNER:QUERIES:KEYS\n"
    "--block-types LIST\n"
    "--repeats N         timed forwards\n";

Options parse(int count, char ** given) {
    Options options;
    for (int i = 1; i < count; ++i) {
        const std::string name = given[i];
        if (name.rfind("--", 0) != 0) {
            if (name != "matrix" && name != "experts" && name != "attention" && name != "block") {
                fail("no section is called " + name + "\n" + USAGE);
            }
            options.sections.push_back(name);
            continue;
        }
        if (i + 1 == count) {
            fail(name + " needs a value\n" + USAGE);
        }
        const std::string value = given[++i];
        if (name == "--device") {
            options.device = value;
        } else if (name == "--csv") {
            options.csv = value;
        } else if (name == "--types") {
            options.types = split(value);
        } else if (name == "--shapes") {
            options.shapes = split(value);
        } else if (name == "--experts") {
            options.experts = split(value);
        } else if (name == "--heads") {
            options.heads = split(value);
        } else if (name == "--contexts") {
            options.contexts = split(value);
        } else if (name == "--blocks") {
            options.blocks = split(value);
        } else if (name == "--block-types") {
            options.block_types = split(value);
        } else if (name == "--rows") {
            options.rows = row_counts(value);
        } else if (name == "--attention-rows") {
            options.attention_rows = row_counts(value);
        } else if (name == "--repeats") {
            options.repeats = static_cast<int>(numbers(value, 1)[0]);
        } else {
            fail("no option is called " + name + "\n" + USAGE);
        }
    }
    if (options.sections.empty()) {
        fail(USAGE);
    }
    for (int n : options.attention_rows) {
        // Tokens before the target have to be there, and cells behind it.
        if (n > 64) {
            fail("attention is tried with at most 64 rows");
        }
    }
    for (const std::string & context : options.contexts) {
        if (numbers(context, 1)[0] < 64) {
            fail("a context has at least 64 cells");
        }
    }
    return options;
}

ggml_backend_dev_t find_device(const std::string & name) {
    ggml_backend_dev_t found = nullptr;
    for (std::size_t i = 0; i < ggml_backend_dev_count(); ++i) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        std::fprintf(stderr, "device %s: %s\n", ggml_backend_dev_name(device),
                     ggml_backend_dev_description(device));
        const bool wanted = name.empty()
                                ? ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_GPU
                                : name == ggml_backend_dev_name(device);
        if (wanted && found == nullptr) {
            found = device;
        }
    }
    if (found == nullptr) {
        fail("there is no such device");
    }
    return found;
}

void run(int count, char ** given) {
    const Options options = parse(count, given);
    ggml_log_set(
        [](ggml_log_level level, const char * text, void *) {
            if (level == GGML_LOG_LEVEL_WARN || level == GGML_LOG_LEVEL_ERROR) {
                std::fputs(text, stderr);
            }
        },
        nullptr);
    ggml_backend_dev_t device = find_device(options.device);
    Backend backend(ggml_backend_dev_init(device, nullptr));
    if (!backend) {
        fail("the device could not be opened");
    }
    std::FILE * csv = nullptr;
    if (!options.csv.empty()) {
        csv = std::fopen(options.csv.c_str(), "a");
        if (csv == nullptr) {
            fail("cannot write " + options.csv);
        }
    }
    std::printf("\nDevice: %s (%s)\n", ggml_backend_dev_description(device),
                ggml_backend_dev_name(device));
    for (const std::string & section : options.sections) {
        if (section == "matrix") {
            matrices(backend.get(), options, csv);
        } else if (section == "experts") {
            mixtures(backend.get(), options, csv);
        } else if (section == "attention") {
            attentions(backend.get(), options, csv);
        } else {
            blocks(backend.get(), options, csv);
        }
    }
    if (csv != nullptr) {
        std::fclose(csv);
    }
}

}

int main(int count, char ** given) {
    try {
        run(count, given);
        return 0;
    } catch (const std::exception & thrown) {
        std::fprintf(stderr, "%s\n", thrown.what());
        return 1;
    }
}
