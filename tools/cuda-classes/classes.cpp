// For which numbers of rows does a row's result stay the same bit for bit?
//
// Runs ggml's operations on one device with 1 to 512 rows, one of which is always the same (the
// target), and compares what comes out for it. Row counts whose results agree are a *kernel
// class*. README.md says how to build and run it, docs/findings/cuda-classes.md what it found.

#include "attention.hpp"
#include "block.hpp"
#include "error.hpp"
#include "finding.hpp"
#include "memory.hpp"
#include "options.hpp"
#include "products.hpp"

#include "ggml-backend.h"
#include "ggml.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iterator>
#include <string>
#include <vector>

using namespace classes;

namespace {

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
