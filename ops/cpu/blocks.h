#pragma once

#include <Eigen/Core>
#include <array>

#include "core/dtype.h"
#include "ops/cpu/parallel.h"

namespace ratel::cpu {

template <class T>
using Array = Eigen::Map<Eigen::Array<T, Eigen::Dynamic, 1>>;
template <class T>
using ConstArray = Eigen::Map<const Eigen::Array<T, Eigen::Dynamic, 1>>;

inline constexpr int64_t kBlock = 1024;  // elements a block: a few of them fit the first-level cache

template <class T>
void load(const T* from, accumulate_t<T>* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<accumulate_t<T>>(from[i]);
}
template <class T>
void store(const accumulate_t<T>* from, T* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(from[i]);
}

/// A run of elements in the type they are computed in: the memory itself for f64 and f32, a converted copy for bf16.
template <class T>
class Loaded {
 public:
  Loaded(const T* from, int64_t n) : n_(n) {
    if constexpr (std::is_same_v<T, accumulate_t<T>>)
      data_ = from;
    else
      load(from, buffer_.data(), n), data_ = buffer_.data();
  }
  Loaded(const Loaded&) = delete;  // data_ may point into this object
  Loaded& operator=(const Loaded&) = delete;
  ~Loaded() = default;
  ConstArray<accumulate_t<T>> operator*() const { return {data_, n_}; }

 private:
  const accumulate_t<T>* data_;
  int64_t n_;
  alignas(64) std::array<accumulate_t<T>, std::is_same_v<T, accumulate_t<T>> ? 1 : kBlock> buffer_;
};

/// y[i] = f(x0[i], x1[i], ...) over n contiguous elements: f maps Eigen arrays of at most kBlock elements in the
/// accumulate type of T to an Eigen expression. y may be one of the inputs.
template <class T, class F, class... Inputs>
void map_blocks(int64_t n, F&& f, T* y, const Inputs*... x) {
  using A = accumulate_t<T>;
  parallel_for(n, 16 * kBlock, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += kBlock) {
      const int64_t count = std::min(kBlock, end - i);
      if constexpr (std::is_same_v<T, A>) {
        Array<A>(y + i, count) = f(*Loaded<Inputs>(x + i, count)...);
      } else {
        alignas(64) std::array<A, kBlock> result;
        Array<A>(result.data(), count) = f(*Loaded<Inputs>(x + i, count)...);
        store(result.data(), y + i, count);
      }
    }
  });
}

}  // namespace ratel::cpu
