// Whatever the bytes: values, and a state dict whose tensors lie in their storages, or one Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "core/error.h"
#include "io/pickle.h"
#include "io/pth_tensors.h"

namespace {

using ratel::io::Pickle;
using ratel::io::PthStorage;
using ratel::io::PthTensor;

constexpr uint64_t kStorageBytes = 96;  // of every storage there is: 24 floats, as in the corpus

void check_inside(const PthTensor& tensor) {
  const auto element = tensor.is_half ? 2 : ratel::size_of(tensor.dtype);
  const auto extent = static_cast<uint64_t>(tensor.layout.extent());
  if (tensor.layout.shape.numel() > 0 && extent * element > kStorageBytes) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const Pickle pickle = Pickle::parse(bytes, "fuzz");
    size_t left = 1000;
    if (const auto json = pickle.to_json(pickle.root(), left)) (void)json->dump();
    (void)pickle.described(pickle.root());
    const auto find = [](std::string_view) -> std::optional<PthStorage> { return PthStorage{0, kStorageBytes}; };
    for (const PthTensor& tensor : read_state_dict(pickle, find, "fuzz", 0).tensors) check_inside(tensor);
  } catch (const ratel::Error&) {
  }
  return 0;
}
