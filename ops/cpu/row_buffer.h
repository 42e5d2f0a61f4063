#pragma once

#include "ops/cpu/blocks.h"
#include "ops/cpu/scratch.h"

namespace ratel::cpu {

/// The sum of an array expression, block by block: the partial sums stay short, and with them the rounding.
/// Inlined by force: GCC 12 keeps it out of line else, and a row of 128 takes three times as long.
template <class E>
[[gnu::always_inline]] inline typename E::Scalar block_sum(const Eigen::ArrayBase<E>& values) {
  const int64_t n = values.size();
  if (n <= kBlock) return values.derived().sum();
  typename E::Scalar total = 0;
  for (int64_t i = 0; i < n; i += kBlock) total += values.derived().segment(i, std::min(kBlock, n - i)).sum();
  return total;
}

/// A row of n elements in the type it is computed in: the tensor's own memory for f64 and f32, converted working memory
/// for bf16, one rounding an element on the way back.
template <class T>
class RowBuffer {
 public:
  using A = accumulate_t<T>;
  explicit RowBuffer(int64_t n) : n_(n), converted_(kDirect ? Scratch<A>() : Scratch<A>(n)) {}

  /// The elements at `from`; valid until the next call.
  ConstArray<A> read(const T* from) const {
    if constexpr (kDirect) {
      return {from, n_};
    } else {
      load(from, converted_.get(), n_);
      return {converted_.get(), n_};
    }
  }
  /// Writes an expression of n elements to `to`.
  template <class E>
  void write(const Eigen::ArrayBase<E>& values, T* to) const {
    if constexpr (kDirect) {
      Array<A>(to, n_) = values;
    } else {
      Array<A>(converted_.get(), n_) = values;
      store(converted_.get(), to, n_);
    }
  }

 private:
  static constexpr bool kDirect = std::is_same_v<T, accumulate_t<T>>;
  int64_t n_;
  Scratch<A> converted_;
};

}  // namespace ratel::cpu
