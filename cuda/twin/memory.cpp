// Global memory of the twin. An allocation ends at a page that nobody may touch, and lies behind another: an overrun
// faults at once. What the alignment leaves over before that page is checked after each launch. Fresh memory is all
// ones: NaN in every float dtype.

#include <sys/mman.h>

#include <cstring>
#include <map>

#include "core/error.h"
#include "cuda/runtime.h"
#include "cuda/twin/block.h"
#include "cuda/twin/graph.h"
#include "cuda/twin/twin.h"

namespace ratel::cuda {
namespace {

constexpr size_t kPage = 4096;
constexpr unsigned char kFresh = 0xff;

struct Allocation {
  unsigned char* base;  // the guard page before it
  size_t pages, bytes;
};

auto& allocations = *new std::map<const void*, Allocation>;  // tensors that end with the program ask for it
size_t given = 0;
size_t limit = twin::kMemory;

size_t rounded(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

bool is_fresh(const unsigned char* from, const unsigned char* to) {
  for (; from != to; ++from)
    if (*from != kFresh) return false;
  return true;
}

}  // namespace

void* raw_allocate(size_t bytes, Stream) {
  if (bytes > limit || given + bytes > limit) return nullptr;
  const size_t pages = rounded(bytes, kPage) / kPage, all = (pages + 2) * kPage;
  void* const mapped = mmap(nullptr, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* const base = static_cast<unsigned char*>(mapped);
  check(mprotect(base + kPage, pages * kPage, PROT_READ | PROT_WRITE) == 0, "twin: mprotect failed");
  std::memset(base + kPage, kFresh, pages * kPage);
  unsigned char* const begin = base + (pages + 1) * kPage - rounded(bytes, 16);
  allocations[begin] = {base, pages, bytes};
  given += bytes;
  if (twin::is_recording()) twin::record_allocation(begin, bytes);
  return begin;
}

void raw_release(void* pointer, Stream) noexcept {
  if (twin::is_recording()) return twin::record_release(pointer, allocations.at(pointer).bytes);
  const auto found = allocations.extract(pointer);
  given -= found.mapped().bytes;
  munmap(found.mapped().base, (found.mapped().pages + 2) * kPage);
}

size_t free_bytes_on(int) { return limit - given; }

namespace twin {

void set_memory_limit(size_t bytes) { limit = bytes; }
void set_memory_left(size_t bytes) { limit = given + bytes; }
size_t memory_given() { return given; }

void set_access(const void* pointer, Access access) {
  const Allocation& allocation = allocations.at(pointer);
  const int protection = access == Access::none ? PROT_NONE : PROT_READ | PROT_WRITE;
  check(mprotect(allocation.base + kPage, allocation.pages * kPage, protection) == 0, "twin: mprotect failed");
}

bool is_within(const void* pointer, const void* address) {
  const Allocation& allocation = allocations.at(pointer);
  const auto* const at = static_cast<const unsigned char*>(address);
  return at >= allocation.base + kPage && at < allocation.base + (allocation.pages + 1) * kPage;
}

void check_memory(const std::string& kernel) {
  for (const auto& [begin, allocation] : allocations) {
    const auto* const from = static_cast<const unsigned char*>(begin);
    const unsigned char* const page = allocation.base + kPage;
    const unsigned char* const last = page + allocation.pages * kPage;
    const size_t before = std::min<size_t>(static_cast<size_t>(from - page), 64);
    if (!is_fresh(from - before, from)) fail(kernel, ": wrote before an allocation of ", allocation.bytes, " bytes");
    if (!is_fresh(from + allocation.bytes, last))
      fail(kernel, ": wrote past the end of an allocation of ", allocation.bytes, " bytes");
  }
}

}  // namespace twin
}  // namespace ratel::cuda
