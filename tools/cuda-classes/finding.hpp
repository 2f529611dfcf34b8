// What is found of a forward, and how it is shown.

#pragma once

#include "error.hpp"
#include "forward.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace classes {

inline bool same_bits(const std::vector<float> & a, const std::vector<float> & b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Largest difference, relative to the root mean square of `a`.
inline double difference(const std::vector<float> & a, const std::vector<float> & b) {
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

inline std::vector<Size> examine(Forward & forward, const std::vector<int> & counts, int repeats) {
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
inline std::string ranges(const std::vector<int> & members, const std::vector<int> & all) {
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

inline std::string classes_of(const std::vector<Size> & sizes) {
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
inline void print_table(const std::string & title, const std::vector<Finding> & findings) {
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

inline void write_csv(std::FILE * file, const Finding & finding) {
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

}
