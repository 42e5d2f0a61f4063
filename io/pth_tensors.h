#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/pickle.h"
#include "io/pth.h"

namespace ratel::io {

/// What a storage's persistent id says, and where its bytes are.
struct PthStorage {
  size_t place = 0;
  uint64_t bytes = 0;
};
/// The storage of that key. Nothing where there is none.
using FindStorage = std::function<std::optional<PthStorage>(std::string_view key)>;

/// The state dict of a checkpoint's pickle.
struct StateDict {
  std::string member;
  std::vector<PthTensor> tensors;
};

/// Throws as PthFile::open says; offsets count from `start`.
StateDict read_state_dict(const Pickle& pickle, const FindStorage& find_storage, std::string_view path, uint64_t start);

}  // namespace ratel::io
