// Two classes and a struct of ggml that are not in its installed headers, declared as ggml declares
// them. build.rs compares the texts with ggml's: keep both in step.
#pragma once

#include "ggml-backend.h"
#include "ggml.h"

#include <cstddef>

// ggml-cpu-impl.h
struct ggml_compute_params {
    int ith, nth;
    std::size_t wsize;
    void * wdata;
    struct ggml_threadpool * threadpool;
    bool use_ref;
};

namespace {

// ggml::cpu::tensor_traits and ggml::cpu::extra_buffer_type of traits.h: classes with the same
// virtual functions in the same order, which is all that ggml knows of them.
class tensor_traits {
  public:
    virtual ~tensor_traits() {}
    virtual bool work_size(int n_threads, const struct ggml_tensor * op, size_t & size)        = 0;
    virtual bool compute_forward(struct ggml_compute_params * params, struct ggml_tensor * op) = 0;
};

class extra_buffer_type {
  public:
    virtual ~extra_buffer_type() {}
    virtual bool            supports_op(ggml_backend_dev_t dev, const struct ggml_tensor * op) = 0;
    virtual tensor_traits * get_tensor_traits(const struct ggml_tensor * op)                   = 0;
};

}
