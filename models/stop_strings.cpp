#include "models/stop_strings.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace ratel {

StopStrings::StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {
  for (const std::string& string : strings_) check(!string.empty(), "generate: a stop string is empty");
}

std::string StopStrings::push(std::string_view piece) {
  std::string released;
  for (size_t i = 0; i < piece.size() && !found_; ++i) {
    held_ += piece[i];
    // `reach` is how many of the last bytes may belong to a stop string; `full`, how many are one.
    size_t reach = 0, full = 0;
    for (const std::string& string : strings_) {
      if (held_.ends_with(string)) full = std::max(full, string.size());
      for (size_t length = std::min(string.size() - 1, held_.size()); length > reach; --length)
        if (held_.ends_with(std::string_view(string).substr(0, length))) reach = length;
    }
    found_ = full > 0;
    released.append(held_, 0, held_.size() - (found_ ? full : reach));
    held_.erase(0, found_ ? held_.size() : held_.size() - reach);
  }
  return released;
}

std::string StopStrings::finish() { return std::exchange(held_, {}); }

}  // namespace ratel
