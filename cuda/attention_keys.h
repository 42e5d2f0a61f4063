#pragma once

// Which keys a tile of queries needs, and which queries a tile of keys needs: the sets of
// docs/derivations/dilated_attention.md without repetition, for kernels. A query's own key is in none of them.

#include <algorithm>

#include "cuda/attention.h"
#include "cuda/device.h"

namespace ratel::cuda {

/// Patterns travel with the launch, so many heads at a time.
inline constexpr int kHeadsPerLaunch = 32;

struct HeadGroup {
  int64_t first = 0;
  int count = 0;
  Pattern patterns[kHeadsPerLaunch];
};

/// On the host: calls f(group) for every group of heads.
template <class F>
void for_each_head_group(const AttentionShape& shape, F&& f) {
  for (int64_t first = 0; first < shape.H; first += kHeadsPerLaunch) {
    HeadGroup group{first, static_cast<int>(std::min<int64_t>(kHeadsPerLaunch, shape.H - first)), {}};
    std::copy_n(shape.patterns + first, group.count, group.patterns);
    f(group);
  }
}

/// The head and the piece of it that this block works on, of a grid of B x group.count x pieces blocks.
struct BlockOfHead {
  int64_t b, h, row, piece;  // row: of (B, H, T), token 0
  Pattern pattern;

  __device__ BlockOfHead(const HeadGroup& group, const AttentionShape& shape, int64_t pieces) {
    const int64_t block = block_index().x, head = block / pieces;
    piece = block % pieces;
    b = head / group.count;
    const int in_group = static_cast<int>(head % group.count);
    h = group.first + in_group;
    row = (b * shape.H + h) * shape.T;
    pattern = group.patterns[in_group];
  }
};

/// Rows of one head: row t begins at data + t * step.
template <class T>
struct HeadRows {
  T* data;
  int64_t step;
  __device__ T* operator[](int64_t t) const { return data + t * step; }
};
template <class T>
__device__ inline HeadRows<const T> head_rows(const AttentionOperand& x, int64_t b, int64_t h) {
  return {static_cast<const T*>(x.data) + b * x.batch + h * x.head, x.time};
}
template <class T>
__device__ inline HeadRows<T> head_rows(const AttentionRows& x, int64_t b, int64_t h) {
  return {static_cast<T*>(x.data) + b * x.batch + h * x.head, x.time};
}

__host__ __device__ constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
__host__ __device__ constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
__host__ __device__ constexpr int64_t tiles_of(int64_t n, int64_t tile) { return (n + tile - 1) / tile; }

/// How many of the first n keys are dilated ones.
__host__ __device__ constexpr int64_t dilated_below(const Pattern& pattern, int64_t n) {
  return pattern.dilation == kNoDilatedKeys ? 0 : n / pattern.dilation;
}

enum class KeyKind { dilated, window, initial };

/// Keys first, first + step, ..., count of them. A query sees those at positions [low, high) that are not left out: in
/// the window and among the initial tokens the dilated keys are.
struct KeyTile {
  KeyKind kind;
  int64_t first, step;
  int count;
  Pattern pattern;

  struct Range {
    int low, high;
  };
  __device__ Range seen_by(int64_t i) const {
    int64_t low = 0, high = 0;
    if (kind == KeyKind::dilated) {
      high = i / step - (first + 1) / step + 1;
    } else if (kind == KeyKind::window) {
      low = i - pattern.window - first;
      high = i - first;
    } else {
      high = smaller(pattern.initial, i - pattern.window) - first;
    }
    return {static_cast<int>(larger(0, smaller(low, count))), static_cast<int>(larger(0, smaller(high, count)))};
  }
  __device__ bool leaves_out(int position) const {
    return kind != KeyKind::dilated && pattern.dilation != kNoDilatedKeys &&
           (first + position + 1) % pattern.dilation == 0;
  }
  /// True where queries from i on see a whole tile of n keys.
  __device__ bool is_seen_whole_by(int64_t i, int n) const {
    return kind == KeyKind::dilated && count == n && first + (n - 1) * step < i;
  }
};

/// The keys that queries [begin, end) of a head need, in tiles of N: dilated ones, the window, initial tokens.
template <int N>
class KeyTiles {
 public:
  __device__ KeyTiles(const Pattern& pattern, int64_t begin, int64_t end) : pattern_(pattern) {
    dilated_ = dilated_below(pattern, end - 1);
    dilated_tiles_ = tiles_of(dilated_, N);
    window_begin_ = larger(0, begin - pattern.window);
    window_end_ = pattern.window > 0 && pattern.dilation != 1 ? end - 1 : window_begin_;
    window_tiles_ = tiles_of(larger(0, window_end_ - window_begin_), N);
    initial_ = pattern.dilation == 1 ? 0 : larger(0, smaller(pattern.initial, end - 1 - pattern.window));
  }
  __device__ int64_t count() const { return dilated_tiles_ + window_tiles_ + tiles_of(initial_, N); }
  __device__ KeyTile operator[](int64_t n) const {
    const auto at_most_n = [](int64_t left) { return static_cast<int>(smaller(left, N)); };
    if (n < dilated_tiles_) {
      const int64_t D = pattern_.dilation;
      return {KeyKind::dilated, (n * N + 1) * D - 1, D, at_most_n(dilated_ - n * N), pattern_};
    }
    n -= dilated_tiles_;
    if (n < window_tiles_) {
      const int64_t first = window_begin_ + n * N;
      return {KeyKind::window, first, 1, at_most_n(window_end_ - first), pattern_};
    }
    n -= window_tiles_;
    return {KeyKind::initial, n * N, 1, at_most_n(initial_ - n * N), pattern_};
  }

 private:
  Pattern pattern_;
  int64_t dilated_, dilated_tiles_, window_begin_, window_end_, window_tiles_, initial_;
};

/// The keys of a head by who sees them. Far keys, the initial and the dilated ones, are seen by every query behind
/// them; near keys, the rest, by the W queries behind them. A key is in one of the lists, so that its gradient has one
/// owner.
class KeyLists {
 public:
  __host__ __device__ KeyLists(const Pattern& pattern, int64_t T) : pattern_(pattern), T_(T) {
    initial_ = pattern.dilation == 1 ? 0 : smaller(pattern.initial, T);
    dilated_before_ = dilated_below(pattern, initial_);
    far_ = initial_ + dilated_below(pattern, T) - dilated_before_;
  }
  __host__ __device__ int64_t far_count() const { return far_; }
  __host__ __device__ int64_t near_count() const { return T_ - far_; }
  __device__ int64_t far(int64_t n) const {
    return n < initial_ ? n : (dilated_before_ + n - initial_ + 1) * pattern_.dilation - 1;
  }
  /// Between two dilated keys lie D - 1 others.
  __device__ int64_t near(int64_t n) const {
    const int64_t m = n + initial_ - dilated_before_;
    return pattern_.dilation == kNoDilatedKeys ? m : m + m / (pattern_.dilation - 1);
  }
  __device__ bool is_near(int64_t j) const {
    return j >= initial_ && (pattern_.dilation == kNoDilatedKeys || (j + 1) % pattern_.dilation != 0);
  }

 private:
  Pattern pattern_;
  int64_t T_, initial_, dilated_before_, far_;
};

}  // namespace ratel::cuda
