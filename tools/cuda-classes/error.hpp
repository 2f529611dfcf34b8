// What ends the program with a reason.

#pragma once

#include <stdexcept>
#include <string>

namespace classes {

[[noreturn]] inline void fail(const std::string & why) {
    throw std::runtime_error(why);
}

}
