// What the operations are tried with, from the command line.

#pragma once

#include "error.hpp"

#include "ggml.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

namespace classes {

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

inline std::vector<int64_t> numbers(const std::string & text) {
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

inline std::vector<int64_t> numbers(const std::string & text, std::size_t many) {
    auto found = numbers(text);
    if (found.size() != many) {
        fail(text + " has not " + std::to_string(many) + " numbers");
    }
    return found;
}

inline ggml_type type_named(const std::string & name) {
    for (int i = 0; i < GGML_TYPE_COUNT; ++i) {
        const char * known = ggml_type_name(static_cast<ggml_type>(i));
        if (known != nullptr && name == known) {
            return static_cast<ggml_type>(i);
        }
    }
    fail("no type is called " + name);
}

inline std::vector<std::string> split(const std::string & text) {
    std::vector<std::string> parts;
    std::size_t from = 0;
    while (from <= text.size()) {
        const std::size_t to = std::min(text.find(',', from), text.size());
        parts.push_back(text.substr(from, to - from));
        from = to + 1;
    }
    return parts;
}

inline std::vector<int> row_counts(const std::string & text) {
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

inline Options parse(int count, char ** given) {
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

}
