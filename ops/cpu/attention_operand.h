#pragma once

#include "ops/cpu/attention_tile.h"
#include "ops/dilated_attention.h"

namespace ratel::cpu {

/// Tokens [begin, end) of heads [first, last), counted over the batch, of an operand in the type they are computed in:
/// the memory itself, or a converted copy.
template <class T>
class Operand {
  using A = accumulate_t<T>;

 public:
  Operand(const AttentionOperand& x, int64_t heads, int64_t first, int64_t last, int64_t begin, int64_t end, int64_t d)
      : x_(x), heads_(heads), first_(first), begin_(begin), tokens_(end - begin), d_(d) {
    if constexpr (kDirect) return;
    copy_ = Scratch<A>((last - first) * tokens_ * d);
    parallel_for((last - first) * tokens_, rows_per_piece(d), [&](int64_t row, int64_t row_end) {
      for (; row < row_end; ++row) load(at(first + row / tokens_, begin + row % tokens_), copy_.get() + row * d, d);
    });
  }
  /// The rows of a head: row t belongs to token `from` + t.
  [[nodiscard]] Rows<const A> rows(int64_t head, int64_t from = 0) const {
    if constexpr (kDirect)
      return {at(head, from), x_.time};
    else
      return {copy_.get() + ((head - first_) * tokens_ + from - begin_) * d_, d_};
  }

 private:
  static constexpr bool kDirect = std::is_same_v<T, A>;
  [[nodiscard]] const T* at(int64_t head, int64_t t) const {
    return static_cast<const T*>(x_.data) + head / heads_ * x_.batch + head % heads_ * x_.head + t * x_.time;
  }

  AttentionOperand x_;
  int64_t heads_, first_, begin_, tokens_, d_;
  Scratch<A> copy_;
};

}  // namespace ratel::cpu
