// What an operation of ggml's graph is in the numbers of abi.h.
#pragma once

#include "abi.h"
#include "ggml-backend.h"
#include "ggml.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {

// Matrices that a tensor of weights has.
std::int64_t matrices(const struct ggml_tensor * t) {
    return t->ne[2] * t->ne[3];
}

// Bytes of all matrices of a tensor laid out; 0 if that cannot be.
size_t packed_bytes(const struct ggml_tensor * t) {
    const size_t one         = card_matrix_bytes(t->type, t->ne[0], t->ne[1]);
    const std::int64_t count = matrices(t);
    if (count < 1 || one > SIZE_MAX / 4 / static_cast<size_t>(count)) {
        return 0;
    }
    return one * static_cast<size_t>(count);
}

// Says what a product is in numbers, or that it cannot be done here.
bool product_of(const struct ggml_tensor * op, card_product & p) {
    const struct ggml_tensor * w = op->src[0];
    const struct ggml_tensor * x = op->src[1];
    if (w == nullptr || x == nullptr || x->type != GGML_TYPE_F32 || op->type != GGML_TYPE_F32 ||
        x->nb[0] != sizeof(float) || op->nb[0] != sizeof(float) || w->ne[3] != 1 ||
        w->view_src != nullptr || packed_bytes(w) == 0) {
        return false;
    }
    p         = {};
    p.type    = w->type;
    p.width   = w->ne[0];
    p.height  = w->ne[1];
    p.weights = w->data;
    p.from    = x->data;
    p.to      = op->data;
    for (int i = 0; i < 3; ++i) {
        p.from_strides[i] = x->nb[i + 1];
        p.to_strides[i]   = op->nb[i + 1];
        p.columns[i]      = x->ne[i + 1];
    }
    p.matrices = w->ne[2];
    p.repeat   = 1;
    if (op->op == GGML_OP_MUL_MAT) {
        if (p.matrices > 1) {
            p.repeat = x->ne[2] / w->ne[2];
            return x->ne[3] == 1 && p.repeat > 0 && p.repeat * w->ne[2] == x->ne[2];
        }
        return true;
    }
    const struct ggml_tensor * ids = op->src[2];
    if (op->op != GGML_OP_MUL_MAT_ID || ids == nullptr || ids->type != GGML_TYPE_I32 ||
        ids->ne[2] != 1 || x->ne[3] != 1 || x->ne[2] != ids->ne[1] ||
        (x->ne[1] != 1 && x->ne[1] != ids->ne[0])) {
        return false;
    }
    if (x->ne[1] == 1) {
        p.from_strides[0] = 0;
    }
    p.columns[0]    = ids->ne[0];
    p.columns[1]    = ids->ne[1];
    p.repeat        = 0;
    p.ids           = ids->data;
    p.id_strides[0] = ids->nb[0];
    p.id_strides[1] = ids->nb[1];
    return true;
}

// Says what an attention is in numbers, or that it cannot be done here.
bool attention_of(const struct ggml_tensor * op, card_attention & a) {
    const struct ggml_tensor * q     = op->src[0];
    const struct ggml_tensor * k     = op->src[1];
    const struct ggml_tensor * v     = op->src[2];
    const struct ggml_tensor * mask  = op->src[3];
    const struct ggml_tensor * sinks = op->src[4];
    const auto is_host = [](const struct ggml_tensor * t) {
        return t->buffer == nullptr || ggml_backend_buffer_is_host(t->buffer);
    };
    if (q->type != GGML_TYPE_F32 || op->type != GGML_TYPE_F32 || q->nb[0] != sizeof(float) ||
        k->nb[0] != ggml_type_size(k->type) || v->nb[0] != ggml_type_size(v->type) ||
        !ggml_is_contiguous(op) || !is_host(q) || !is_host(k) || !is_host(v)) {
        return false;
    }
    if (mask != nullptr && (mask->type != GGML_TYPE_F16 || mask->nb[0] != 2)) {
        return false;
    }
    a        = {};
    a.q      = q->data;
    a.k      = k->data;
    a.v      = v->data;
    a.k_type = k->type;
    a.v_type = v->type;
    for (int i = 0; i < 3; ++i) {
        a.q_strides[i] = q->nb[i + 1];
        a.k_strides[i] = k->nb[i + 1];
        a.v_strides[i] = v->nb[i + 1];
    }
    for (int i = 0; i < 4; ++i) {
        a.q_size[i] = q->ne[i];
        a.k_size[i] = k->ne[i];
        a.v_size[i] = v->ne[i];
    }
    if (mask != nullptr) {
        a.mask = mask->data;
        for (int i = 0; i < 3; ++i) {
            a.mask_strides[i] = mask->nb[i + 1];
        }
        a.mask_size[0] = mask->ne[2];
        a.mask_size[1] = mask->ne[3];
    }
    a.sinks = sinks == nullptr ? nullptr : sinks->data;
    std::memcpy(&a.scale, op->op_params, sizeof(float));
    std::memcpy(&a.max_bias, reinterpret_cast<const float *>(op->op_params) + 1, sizeof(float));
    std::memcpy(&a.softcap, reinterpret_cast<const float *>(op->op_params) + 2, sizeof(float));
    a.to = op->data;
    return true;
}

}
