#pragma once

#include <cstdint>
#include <string>

namespace ratel::tasks {

/// How many different keys there are.
int64_t needle_keys();

/// Key `index` of [0, needle_keys()), "adjective-noun": two words of the lists in the source, a-z, all different.
std::string needle_key(int64_t index);

}  // namespace ratel::tasks
