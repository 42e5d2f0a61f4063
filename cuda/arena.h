#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <utility>

namespace ratel::cuda {

/// Memory handed out in blocks from segments that stay: one block after the other may lie at the same address, and a
/// recording that takes and gives back in the same order finds the same addresses again. Best fit; a block that is
/// given back joins the free ones beside it. Not thread-safe.
class Arena {
 public:
  /// Bytes of memory, or null where there are none left.
  using Take = std::function<void*(size_t)>;

  /// At least `bytes` bytes at a multiple of 512, of a new segment from `more` where no free block is large enough;
  /// null where `more` gives none.
  void* take(size_t bytes, const Take& more);
  /// False where the pointer is none of those handed out.
  bool give_back(void* pointer) noexcept;
  /// Calls f for every segment, in order of their addresses, and forgets them all.
  void clear(const std::function<void(void*)>& f);
  /// Of all segments, and of the blocks that are handed out.
  [[nodiscard]] size_t bytes() const { return bytes_; }
  [[nodiscard]] size_t taken() const { return taken_; }

 private:
  struct Block {
    size_t bytes;
    bool is_free, begins_segment;
  };
  std::map<char*, Block> blocks_;  // of all segments, without gaps
  size_t bytes_ = 0, taken_ = 0;
};

}  // namespace ratel::cuda
