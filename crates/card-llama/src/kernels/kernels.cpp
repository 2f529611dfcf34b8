// Card's kernels as one of ggml's extra CPU buffer types, as ggml's own repacked weights are.
//
// ggml asks each type in its list for every operation, first by whose memory the weights lie
// in, and every thread of its pool then calls `compute_forward`. So nothing is scheduled anew:
// only the arithmetic is ours. The Rust files beside this one have the other side (abi.h).
//
// What ggml keeps to itself is declared in ggml_private.h; if that is not what ggml declares (or a
// symbol is missing), CARD_KERNELS is not defined and ggml's kernels are used.

#include "abi.h"

#include "ggml-backend.h"
#include "ggml-cpp.h"
#include "ggml-cpu.h"
#include "ggml.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#endif

// A library that is loaded is looked into with dlsym, which Windows does not have.
#if defined(CARD_KERNELS_SHARED) && defined(_WIN32)
#undef CARD_KERNELS
#endif

#ifdef CARD_KERNELS
#include "ggml-backend-impl.h"
#include "ggml_private.h"
#include "operations.h"
#ifdef CARD_KERNELS_SHARED
#include <dlfcn.h>
#endif
#endif

#ifdef CARD_KERNELS

namespace {

using buffer_types = std::vector<ggml_backend_buffer_type_t>;

// Functions of ggml-cpu that no header declares.
buffer_types & (*extra_buffer_types)()                 = nullptr;
void (*pool_barrier)(struct ggml_threadpool * threads) = nullptr;

// Whether weights of the model that this thread loads may be laid out for these kernels.
thread_local bool offered = false;
// Whether attention is done here, for the whole process.
std::atomic<bool> attention_on{false};
// How often a thread asked for a product: what the check at the start looks at.
std::atomic<unsigned> calls{0};

void barrier(void * pool) {
    pool_barrier(static_cast<struct ggml_threadpool *>(pool));
}

ggml_backend_buffer_type_t buffer_type();

bool is_ours(const struct ggml_tensor * t) {
    return t != nullptr && t->buffer != nullptr && t->buffer->buft == buffer_type();
}

// Whether laid out it takes far more memory than in the file, as very flat or narrow matrices do:
// rows are filled up to 8 or 16, plain numbers to 32 in a row. ggml may have those.
bool is_wasteful(const struct ggml_tensor * t) {
    return packed_bytes(t) > 2 * ggml_nbytes(t) + (1u << 20);
}

// Whether these numbers scale what a matrix gives, as files of BitNet, of NVFP4 and of Gemma 4's
// experts have them (`attn_q.scale`). llama.cpp asks about them as if they were a matrix, by the name
// before the dot, and then multiplies them number by number, which only ggml does.
bool is_scale(const struct ggml_tensor * t) {
    const char * suffix = std::strrchr(t->name, '.');
    return suffix != nullptr &&
           (std::strcmp(suffix, ".scale") == 0 || std::strcmp(suffix, ".input_scale") == 0);
}

// Whether these are RWKV 6's five matrices in one tensor, which it multiplies through a view of
// another shape: a view is no weight of ours.
bool is_viewed(const struct ggml_tensor * t) {
    return t->ne[2] > 1 && std::strstr(t->name, ".time_mix_w2.") != nullptr;
}

class product_traits : public tensor_traits {
  public:
    bool work_size(int, const struct ggml_tensor * op, size_t & size) override {
        card_product p;
        if (!product_of(op, p)) {
            return false;
        }
        size = card_product_work(&p);
        return true;
    }

    bool compute_forward(struct ggml_compute_params * params, struct ggml_tensor * op) override {
        card_product p;
        // If this were declined, ggml would read these weights as if they were not laid out.
        const bool can = product_of(op, p) && card_product_work(&p) <= params->wsize;
        GGML_ASSERT(can && "a product of weights that are laid out for another one");
        calls.fetch_add(1, std::memory_order_relaxed);
        card_product_run(&p, params->ith, params->nth, barrier, params->threadpool, params->wdata);
        return true;
    }
};

// `attention_on` changes when models are loaded and freed, while others may compute. Who does an
// attention is decided when ggml plans the graph, by one thread, and noted in the operation: so
// all threads agree, and the work memory is the one that was planned.
class attention_traits : public tensor_traits {
  public:
    bool work_size(int n_threads, const struct ggml_tensor * op, size_t & size) override {
        card_attention a;
        const bool wanted   = attention_on.load(std::memory_order_relaxed) && attention_of(op, a);
        const size_t needed = wanted ? card_attention_work(&a, n_threads) : 0;
        // ggml's CPU kernels use `extra` of weights only.
        const_cast<struct ggml_tensor *>(op)->extra = needed == 0 ? nullptr : this;
        if (needed == 0) {
            return false;
        }
        size = needed;
        return true;
    }

    bool compute_forward(struct ggml_compute_params * params, struct ggml_tensor * op) override {
        if (op->extra != this) {
            return false;
        }
        card_attention a;
        const bool can =
            attention_of(op, a) && card_attention_work(&a, params->nth) <= params->wsize;
        GGML_ASSERT(can && "an attention that was planned otherwise");
        card_attention_run(&a, params->ith, params->nth, barrier, params->threadpool,
                           params->wdata);
        return true;
    }
};

class card_buffer_type : public extra_buffer_type {
  public:
    bool supports_op(ggml_backend_dev_t, const struct ggml_tensor * op) override {
        if ((op->op != GGML_OP_MUL_MAT && op->op != GGML_OP_MUL_MAT_ID) || !is_ours(op->src[0])) {
            return false;
        }
        // llama.cpp asks with an empty buffer whether weights may be put here.
        const struct ggml_tensor * w = op->src[0];
        if (w->buffer->size == 0 && (!offered || is_wasteful(w) || is_scale(w) || is_viewed(w))) {
            return false;
        }
        const struct ggml_tensor * x = op->src[1];
        if (x->buffer != nullptr && !ggml_backend_buft_is_host(x->buffer->buft)) {
            return false;
        }
        card_product p;
        return product_of(op, p);
    }

    tensor_traits * get_tensor_traits(const struct ggml_tensor * op) override {
        if (op->op == GGML_OP_MUL_MAT || op->op == GGML_OP_MUL_MAT_ID) {
            return is_ours(op->src[0]) ? &product : nullptr;
        }
        return op->op == GGML_OP_FLASH_ATTN_EXT ? &attention : nullptr;
    }

  private:
    product_traits product;
    attention_traits attention;
};

const char * get_name(ggml_backend_buffer_type_t) {
    return "CPU_CARD";
}

void set_tensor(ggml_backend_buffer_t, struct ggml_tensor * t, const void * data, size_t offset,
                size_t size) {
    const size_t packed = card_matrix_bytes(t->type, t->ne[0], t->ne[1]);
    GGML_ASSERT(packed != 0 && t->view_src == nullptr && offset == 0 && size == ggml_nbytes(t));
    const auto * from = static_cast<const char *>(data);
    auto * to         = static_cast<char *>(t->data);
    for (std::int64_t i = 0; i < matrices(t); ++i) {
        card_matrix_pack(t->type, t->ne[0], t->ne[1], from + i * t->nb[2], to + i * packed);
    }
}

void get_tensor(ggml_backend_buffer_t, const struct ggml_tensor * t, void * data, size_t offset,
                size_t size) {
    const size_t packed = card_matrix_bytes(t->type, t->ne[0], t->ne[1]);
    const size_t whole  = ggml_nbytes(t);
    GGML_ASSERT(packed != 0 && t->view_src == nullptr && offset <= whole && size <= whole - offset);
    const auto * from = static_cast<const char *>(t->data);
    auto * to         = static_cast<char *>(data);
    std::vector<char> matrix;
    for (std::int64_t i = 0; i < matrices(t); ++i) {
        // What is asked for of this matrix.
        const size_t begin = i * t->nb[2], end = begin + t->nb[2];
        const size_t first = std::max(begin, offset), last = std::min(end, offset + size);
        if (first >= last) {
            continue;
        }
        if (first == begin && last == end) {
            card_matrix_unpack(t->type, t->ne[0], t->ne[1], from + i * packed,
                               to + (begin - offset));
            continue;
        }
        matrix.resize(t->nb[2]);
        card_matrix_unpack(t->type, t->ne[0], t->ne[1], from + i * packed, matrix.data());
        std::memcpy(to + (first - offset), matrix.data() + (first - begin), last - first);
    }
}

ggml_backend_buffer_t alloc_buffer(ggml_backend_buffer_type_t type, size_t size) {
    ggml_backend_buffer_t buffer =
        ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), size);
    if (buffer == nullptr) {
        return nullptr;
    }
#ifdef __linux__
    // Weights are read from end to end in every forward: with pages of 2 MiB the processor
    // looks up fewer of them. Where the system has none to give, nothing changes.
    constexpr std::uintptr_t page = 2u << 20;
    const auto start = reinterpret_cast<std::uintptr_t>(ggml_backend_buffer_get_base(buffer));
    const auto first = (start + page - 1) / page * page;
    const auto end   = (start + size) / page * page;
    if (first < end) {
        madvise(reinterpret_cast<void *>(first), end - first, MADV_HUGEPAGE);
    }
#endif
    buffer->buft                = type;
    buffer->iface.init_tensor   = nullptr;
    buffer->iface.memset_tensor = nullptr;
    buffer->iface.set_tensor    = set_tensor;
    buffer->iface.get_tensor    = get_tensor;
    buffer->iface.cpy_tensor    = nullptr;
    return buffer;
}

size_t get_alignment(ggml_backend_buffer_type_t) {
    return 64;
}

size_t get_alloc_size(ggml_backend_buffer_type_t, const struct ggml_tensor * t) {
    return std::max(packed_bytes(t), ggml_nbytes(t));
}

ggml_backend_buffer_type_t buffer_type() {
    // Never destroyed: a thread may compute while the process ends.
    static auto * const context = new card_buffer_type;
    static struct ggml_backend_buffer_type type = [] {
        struct ggml_backend_buffer_type t = {};
        t.iface.get_name                  = get_name;
        t.iface.alloc_buffer              = alloc_buffer;
        t.iface.get_alignment             = get_alignment;
        t.iface.get_alloc_size            = get_alloc_size;
        t.device  = ggml_backend_reg_dev_get(ggml_backend_dev_backend_reg(
                        ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)), 0);
        t.context = static_cast<extra_buffer_type *>(context);
        return t;
    }();
    return &type;
}

// The memory with this number (see `card_ggml_product`), or null.
ggml_backend_buffer_type_t memory_type(std::uint32_t number) {
    if (number == 0) {
        return ggml_backend_cpu_buffer_type();
    }
    if (number == 1) {
        return buffer_type();
    }
    number -= 2;
    for (ggml_backend_buffer_type_t type : extra_buffer_types()) {
        if (type != buffer_type() && number-- == 0) {
            return type;
        }
    }
    return nullptr;
}

enum outcome : int { done = 0, no_such_memory = 1, not_supported = 2, failed = 3 };

// Does a product through ggml.
outcome multiply(card_ggml_product & product) {
    ggml_backend_buffer_type_t type =
        extra_buffer_types == nullptr ? nullptr : memory_type(product.memory);
    if (type == nullptr) {
        return no_such_memory;
    }
    ggml_backend_ptr backend(ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr));
    if (!backend) {
        return failed;
    }
    ggml_backend_dev_t cpu = ggml_backend_get_device(backend.get());
    const auto set_threads = reinterpret_cast<ggml_backend_set_n_threads_t>(
        ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu),
                                          "ggml_backend_set_n_threads"));
    const struct ggml_init_params params = {16 * ggml_tensor_overhead() + ggml_graph_overhead(),
                                            nullptr, true};
    ggml_context_ptr weights(ggml_init(params));
    ggml_context_ptr rest(ggml_init(params));
    if (set_threads == nullptr || !weights || !rest) {
        return failed;
    }
    set_threads(backend.get(), product.threads);
    struct ggml_tensor * w = ggml_new_tensor_3d(weights.get(), static_cast<ggml_type>(product.type),
                                                product.width, product.height, product.matrices);
    struct ggml_tensor * x   = ggml_new_tensor_3d(rest.get(), GGML_TYPE_F32, product.width,
                                                  product.columns[0], product.columns[1]);
    struct ggml_tensor * ids = nullptr;
    struct ggml_tensor * y   = nullptr;
    if (product.ids == nullptr) {
        y = ggml_mul_mat(rest.get(), w, x);
    } else {
        ids = ggml_new_tensor_2d(rest.get(), GGML_TYPE_I32, product.slots, product.columns[1]);
        y   = ggml_mul_mat_id(rest.get(), w, x, ids);
    }
    struct ggml_cgraph * graph = ggml_new_graph(rest.get());
    ggml_build_forward_expand(graph, y);
    ggml_backend_buffer_ptr w_memory(
        ggml_backend_alloc_ctx_tensors_from_buft(weights.get(), type));
    ggml_backend_buffer_ptr memory(ggml_backend_alloc_ctx_tensors(rest.get(), backend.get()));
    if (!w_memory || !memory) {
        return failed;
    }
    if (!ggml_backend_dev_supports_op(cpu, y)) {
        return not_supported;
    }
    ggml_backend_tensor_set(w, product.file, 0, ggml_nbytes(w));
    if (product.back_bytes > 0) {
        ggml_backend_tensor_get(w, product.back, product.back_at, product.back_bytes);
    }
    ggml_backend_tensor_set(x, product.from, 0, ggml_nbytes(x));
    if (ids != nullptr) {
        ggml_backend_tensor_set(ids, product.ids, 0, ggml_nbytes(ids));
    }
    // No numbers, where nothing else is written.
    ggml_backend_tensor_memset(y, 0xff, 0, ggml_nbytes(y));
    const unsigned before = calls.load();
    if (ggml_backend_graph_compute(backend.get(), graph) != GGML_STATUS_SUCCESS) {
        return failed;
    }
    product.asked = calls.load() - before;
    ggml_backend_tensor_get(y, product.to, 0, ggml_nbytes(y));
    return done;
}

}

#ifndef CARD_KERNELS_SHARED
// Defined in ggml-cpu.cpp and ggml-cpu.c.
std::vector<ggml_backend_buffer_type_t> & ggml_backend_cpu_get_extra_buffer_types();
extern "C" void ggml_barrier(struct ggml_threadpool * tp);
#endif

namespace {

int put_first() {
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (cpu == nullptr) {
        return 2;
    }
#ifdef CARD_KERNELS_SHARED
    // ggml-cpu is a library of its own, loaded when the program started: its functions are
    // looked up there.
    void * known = ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu),
                                                     "ggml_backend_dev_get_extra_bufts");
    Dl_info info;
    if (known == nullptr || dladdr(known, &info) == 0) {
        return 3;
    }
    void * library = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    if (library == nullptr) {
        return 3;
    }
    extra_buffer_types = reinterpret_cast<buffer_types & (*)()>(
        dlsym(library, "_Z39ggml_backend_cpu_get_extra_buffer_typesv"));
    pool_barrier = reinterpret_cast<void (*)(struct ggml_threadpool *)>(
        dlsym(library, "ggml_barrier"));
    if (extra_buffer_types == nullptr || pool_barrier == nullptr) {
        return 3;
    }
#else
    extra_buffer_types = ggml_backend_cpu_get_extra_buffer_types;
    pool_barrier       = ggml_barrier;
#endif
    buffer_types & types = extra_buffer_types();
    types.insert(types.begin(), buffer_type());
    // llama.cpp's loader gets a copy of the list, made when it first asks.
    const auto copy = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
        ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu),
                                          "ggml_backend_dev_get_extra_bufts"));
    return copy != nullptr && copy(cpu)[0] == buffer_type() ? 0 : 4;
}

}

#endif

extern "C" {

// Puts the kernels first in ggml's list. 0, or what is missing: 1 this build has none, 2 there
// is no CPU backend, 3 it hides its list, 4 the list was read before, 5 there is no memory.
int card_kernels_register() {
#ifdef CARD_KERNELS
    try {
        return put_first();
    } catch (...) {
        return 5;
    }
#else
    return 1;
#endif
}

// Does a product through ggml; returns an `outcome`. The kernels must be registered.
int card_kernels_multiply(card_ggml_product * product) {
#ifdef CARD_KERNELS
    try {
        return multiply(*product);
    } catch (...) {
        return failed;
    }
#else
    (void) product;
    return 1;
#endif
}

// Whether the model that this thread loads may use the kernels.
void card_kernels_offer(bool offer) {
#ifdef CARD_KERNELS
    offered = offer;
#else
    (void) offer;
#endif
}

// Whether attention is done by the kernels.
void card_kernels_attention(bool on) {
#ifdef CARD_KERNELS
    attention_on.store(on);
#else
    (void) on;
#endif
}

}
