// Whatever the file: a checkpoint whose tensors can all be read, or one Error.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/error.h"
#include "io/pth.h"

namespace {

/// A file in memory, of which only the content changes.
const int file = memfd_create("fuzz", 0);

double sum_of(const ratel::Tensor& tensor) {
  double sum = 0;
  if (tensor.numel() > 10'000) return sum;  // a stretched view: its layout was checked, and it has nothing more to read
  for (const double value : ratel::to_vector<double>(tensor)) sum += value;
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (file < 0 || ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  try {
    const auto checkpoint = ratel::io::PthFile::open("/proc/self/fd/" + std::to_string(file));
    volatile double sum = 0;
    for (const auto& tensor : checkpoint.tensors())
      if (!tensor.is_half || tensor.layout.shape.numel() < 10'000) sum = sum + sum_of(checkpoint.tensor(tensor));
    (void)checkpoint.others();
  } catch (const ratel::Error&) {
  }
  return 0;
}
