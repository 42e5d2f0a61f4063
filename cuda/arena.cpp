#include "cuda/arena.h"

#include <algorithm>

namespace ratel::cuda {
namespace {

constexpr size_t kUnit = 512, kSegment = size_t{32} << 20;  // a segment's least size

}  // namespace

void* Arena::take(size_t bytes, const Take& more) {
  bytes = std::max((bytes + kUnit - 1) / kUnit * kUnit, kUnit);
  auto best = blocks_.end();
  for (auto block = blocks_.begin(); block != blocks_.end(); ++block)
    if (block->second.is_free && block->second.bytes >= bytes &&
        (best == blocks_.end() || block->second.bytes < best->second.bytes))
      best = block;
  if (best == blocks_.end()) {
    const size_t segment = std::max(bytes, kSegment);
    void* const base = more(segment);
    if (base == nullptr) return nullptr;
    best = blocks_.insert({static_cast<char*>(base), {segment, true, true}}).first;
    bytes_ += segment;
  }
  auto& [begin, block] = *best;
  if (const size_t rest = block.bytes - bytes; rest > 0) blocks_.insert({begin + bytes, {rest, true, false}});
  block.bytes = bytes;
  block.is_free = false;
  taken_ += bytes;
  return begin;
}

bool Arena::give_back(void* pointer) noexcept {
  auto block = blocks_.find(static_cast<char*>(pointer));
  if (block == blocks_.end() || block->second.is_free) return false;
  taken_ -= block->second.bytes;
  block->second.is_free = true;
  const auto join_next = [&](auto first) {
    const auto next = std::next(first);
    if (next == blocks_.end() || !next->second.is_free || next->second.begins_segment) return;
    first->second.bytes += next->second.bytes;
    blocks_.erase(next);
  };
  join_next(block);
  if (block != blocks_.begin() && !block->second.begins_segment && std::prev(block)->second.is_free)
    join_next(std::prev(block));
  return true;
}

void Arena::clear(const std::function<void(void*)>& f) {
  for (const auto& [begin, block] : std::exchange(blocks_, {}))
    if (block.begins_segment) f(begin);
  bytes_ = taken_ = 0;
}

}  // namespace ratel::cuda
