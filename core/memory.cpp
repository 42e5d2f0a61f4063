#include "core/memory.h"

#include <atomic>
#include <cstdlib>
#include <memory>

#if defined(__linux__)
#include <sys/mman.h>
#include <sys/sysinfo.h>
#endif

#include "core/error.h"

// Freed blocks of many megabytes are asked for again a moment later, step after step. TBB's scalable pool keeps them,
// where the C library would return them to the system and fault every page in anew. Sanitizers watch the C library
// only.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(RATEL_TBBMALLOC)
#define RATEL_PLAIN_MALLOC 1
#else
#include <tbb/scalable_allocator.h>
#endif

namespace ratel {
namespace {

constexpr size_t kAlignment = 64;
std::atomic<int64_t> live_bytes{0};
std::atomic<int64_t> peak_bytes{0};

void* raw_allocate(size_t bytes) {
#ifdef RATEL_PLAIN_MALLOC
  return std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
#else
  return scalable_aligned_malloc(bytes, kAlignment);
#endif
}

void raw_free(void* pointer) {
#ifdef RATEL_PLAIN_MALLOC
  std::free(pointer);
#else
  scalable_aligned_free(pointer);
#endif
}

/// Asks for pages of 2 MiB, where the system gives them to who asks, in so much of a large block as they fill: a page
/// walk costs most in a virtual machine, where every step of it is a walk of its own.
void ask_for_huge_pages([[maybe_unused]] void* pointer, [[maybe_unused]] size_t bytes) {
#if defined(__linux__)
  constexpr size_t kPage = size_t{1} << 21, kWorthACall = 2 * kPage;
  size_t rest = bytes;
  if (bytes < kWorthACall || std::align(kPage, kPage, pointer, rest) == nullptr) return;
  madvise(pointer, rest / kPage * kPage, MADV_HUGEPAGE);  // a refusal leaves the pages as they were
#endif
}

/// Whether no machine like this one could hold so much. Linux may hand it out all the same, and end the process once it
/// is written to.
bool is_more_than_all(size_t bytes) {
  constexpr size_t kAddresses = size_t{1} << 47;
  if (bytes >= kAddresses) return true;
#if defined(__linux__)
  constexpr size_t kWorthACall = size_t{1} << 30;
  struct sysinfo all {};
  if (bytes >= kWorthACall && sysinfo(&all) == 0) return bytes > (all.totalram + all.totalswap) * all.mem_unit;
#endif
  return false;
}

}  // namespace

MemoryUse memory_use() { return {live_bytes.load(), peak_bytes.load()}; }

void reset_peak_memory() { peak_bytes.store(live_bytes.load()); }

void* allocate_bytes(size_t bytes) {
  if (bytes == 0) return nullptr;
  void* pointer = is_more_than_all(bytes) ? nullptr : raw_allocate(bytes);
  if (pointer == nullptr)
    throw Error(concat_text("out of memory: asked for ", bytes, " bytes, tensors hold ", live_bytes.load(),
                            " bytes\nhint: a smaller batch, a shorter sequence or gradient accumulation needs less"),
                ErrorKind::memory);
  ask_for_huge_pages(pointer, bytes);
  const int64_t now = live_bytes.fetch_add(static_cast<int64_t>(bytes)) + static_cast<int64_t>(bytes);
  int64_t peak = peak_bytes.load();
  while (now > peak && !peak_bytes.compare_exchange_weak(peak, now)) {
  }
  return pointer;
}

void free_bytes(void* pointer, size_t bytes) noexcept {
  if (pointer == nullptr) return;
  live_bytes.fetch_sub(static_cast<int64_t>(bytes));
  raw_free(pointer);
}

}  // namespace ratel
