#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/memory.h"

namespace ratel::cpu {

/// Uninitialised working memory of n elements from the tensors' pool, so that it counts in the peak. Aligned to 64
/// bytes: Eigen's loops over rows of it start with a whole register instead of single elements.
template <class T>
class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(int64_t n)
      : bytes_(static_cast<size_t>(n) * sizeof(T)), data_(static_cast<T*>(allocate_bytes(bytes_))) {}
  ~Scratch() { free_bytes(data_, bytes_); }
  Scratch(Scratch&& other) noexcept : bytes_(other.bytes_), data_(other.data_) { other.data_ = nullptr; }
  Scratch& operator=(Scratch&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(data_, other.data_);
    return *this;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  [[nodiscard]] T* get() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  size_t bytes_ = 0;
  T* data_ = nullptr;
};

}  // namespace ratel::cpu
