// What the two sides say to each other: numbers and pointers, which Rust and C++ lay out alike.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

// product.rs, attention.rs and through_ggml.rs have the same structs.
struct card_product {
    std::uint32_t type;
    std::int64_t width, height;
    const void * weights;
    const void * from;
    std::size_t from_strides[3];
    void * to;
    std::size_t to_strides[3];
    std::int64_t columns[3];
    // 1 if all columns go to the same matrix.
    std::int64_t matrices;
    // So many columns of the second number share a matrix; 0 if `ids` says which.
    std::int64_t repeat;
    const void * ids;
    std::size_t id_strides[2];
};

struct card_attention {
    const void * q;
    std::size_t q_strides[3];
    std::int64_t q_size[4];
    const void * k;
    std::size_t k_strides[3];
    std::int64_t k_size[4];
    const void * v;
    std::size_t v_strides[3];
    std::int64_t v_size[4];
    std::uint32_t k_type, v_type;
    const void * mask;
    std::size_t mask_strides[3];
    std::int64_t mask_size[2];
    const void * sinks;
    float scale, max_bias, softcap;
    void * to;
};

// A product that `card_kernels_multiply` does.
struct card_ggml_product {
    std::uint32_t type;
    // Where the weights lie. 0: the CPU's plain memory. 1: laid out for these kernels. From 2 on:
    // ggml's own layouts, in the order of its list.
    std::uint32_t memory;
    std::int64_t width, height, matrices;
    const void * file;
    // So many bytes of the weights are read back from there on.
    void * back;
    std::size_t back_at, back_bytes;
    // Columns, by two numbers.
    const float * from;
    std::int64_t columns[2];
    // If there are any: the matrices of so many slots for each column by the second number.
    const std::int32_t * ids;
    std::int64_t slots;
    float * to;
    int threads;
    // Afterwards: how often a thread asked these kernels for a product.
    unsigned asked;
};

using card_barrier = void (*)(void * pool);

std::size_t card_matrix_bytes(std::uint32_t type, std::int64_t width, std::int64_t height);
void card_matrix_pack(std::uint32_t type, std::int64_t width, std::int64_t height,
                      const void * file, void * packed);
void card_matrix_unpack(std::uint32_t type, std::int64_t width, std::int64_t height,
                        const void * packed, void * file);
std::size_t card_product_work(const card_product * product);
void card_product_run(const card_product * product, int thread, int threads,
                      card_barrier barrier, void * pool, void * work);
// 0 if it cannot be done here.
std::size_t card_attention_work(const card_attention * attention, int threads);
void card_attention_run(const card_attention * attention, int thread, int threads,
                        card_barrier barrier, void * pool, void * work);

}
