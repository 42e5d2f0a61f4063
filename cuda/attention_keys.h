#pragma once

// Which keys a tile of queries needs, and which queries a tile of keys needs: the sets of
// docs/derivations/dilated_attention.md without repetition, for kernels. A query's own key is in none of them.

#include <algorithm>

#include "cuda/attention.h"
#include "cuda/device.h"

namespace ratel::cuda {

template <class A, class B>
__host__ __device__ constexpr std::common_type_t<A, B> smaller(A a, B b) {
  return a < b ? a : b;
}
template <class A, class B>
__host__ __device__ constexpr std::common_type_t<A, B> larger(A a, B b) {
  return a > b ? a : b;
}

struct HeadGroup {
  int64_t first = 0;
  int count = 0;
  Pattern patterns[kHeadsPerLaunch];
};

/// On the host: the pattern that admits the same of T keys, with no number above T.
inline Pattern within(const Pattern& pattern, int64_t T) {
  return {pattern.dilation > T ? kNoDilatedKeys : pattern.dilation, std::min(pattern.window, T),
          std::min(pattern.initial, T)};
}

/// On the host: calls f(group) for every group of heads.
template <class F>
void for_each_head_group(const AttentionShape& shape, F&& f) {
  for (int64_t first = 0; first < shape.H; first += kHeadsPerLaunch) {
    HeadGroup group{first, static_cast<int>(std::min<int64_t>(kHeadsPerLaunch, shape.H - first)), {}};
    for (int h = 0; h < group.count; ++h) group.patterns[h] = within(shape.patterns[first + h], shape.T);
    f(group);
  }
}

/// The head and the piece of it that this block works on, of a grid of B x group.count x pieces blocks. They begin in
/// rounds of some heads each: all their first pieces, then their second ones, and so on.
struct BlockOfHead {
  int64_t b, h, row, piece;  // row: of (B, H, T), token 0
  int64_t round;
  Pattern pattern;

  /// In the type of `pieces`, of which there are as few as blocks: int holds them, and is divided far faster.
  template <class I>
  __device__ BlockOfHead(const HeadGroup& group, const AttentionShape& shape, I pieces, I heads_of_round = 1) {
    const I block = block_index().x, heads = static_cast<I>(shape.B) * group.count;
    const I before = block / (heads_of_round * pieces), in_round = block % (heads_of_round * pieces);
    const I first = before * heads_of_round, here = heads_of_round == 1 ? 1 : smaller(heads_of_round, heads - first);
    // From lane 0, so that nvcc knows them to be the same for a warp, and keeps what follows from them apart.
    const I head = shuffle(first + in_round % here, 0);
    piece = shuffle(in_round / here, 0);
    round = shuffle(before, 0);
    b = head / group.count;
    const auto in_group = static_cast<int>(head % group.count);
    h = group.first + in_group;
    row = (b * shape.H + h) * shape.T;
    pattern = group.patterns[in_group];
  }
};

/// How many heads begin together (BlockOfHead). Where a token's heads lie side by side all of them, so that memory is
/// read in long rows.
__device__ inline int heads_together(const HeadGroup& group, const AttentionShape& shape,
                                     const AttentionOperand& rows) {
  return rows.head == shape.d ? group.count : 1;
}

/// On the host: may rows of d channels be read 16 bytes at a time?
template <class T>
bool rows_are_vectorisable(int64_t d, const AttentionOperand& x) {
  constexpr int64_t N = kPerVec<T>;
  return is_vectorisable<T>(d, x.data) && x.batch % N == 0 && x.head % N == 0 && x.time % N == 0;
}

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

template <class I>
__host__ __device__ constexpr I tiles_of(I n, int tile) {
  return (n + tile - 1) / tile;
}

/// A pattern as kernels take it. I counts tokens: a GPU divides 32 bits far faster than 64, and in fewer registers.
template <class I>
struct PatternOf {
  I dilation, window, initial;

  __host__ __device__ explicit PatternOf(const Pattern& pattern)
      : dilation(static_cast<I>(pattern.dilation)),
        window(static_cast<I>(pattern.window)),
        initial(static_cast<I>(pattern.initial)) {}
  __host__ __device__ bool has_dilated() const { return dilation != kNoDilatedKeys; }
  /// How many of the first n keys are dilated ones.
  __host__ __device__ I dilated_below(I n) const { return has_dilated() ? n / dilation : 0; }
};

enum class KeyKind { dilated, window, initial };

/// Keys first, first + step, ..., count of them. A query sees those at positions [low, high) that are not left out: in
/// the window and among the initial tokens the dilated keys are.
template <class I>
struct KeyTile {
  KeyKind kind;
  I first, step;
  int count;
  PatternOf<I> pattern;
  I before;                       // of dilated keys: how many there are before the first
  I left_out, left_out_step = 1;  // the first position that is left out, and how far to the next

  __device__ KeyTile(KeyKind of_kind, I first_key, I key_step, I keys, const PatternOf<I>& of, I keys_before = 0)
      : kind(of_kind),
        first(first_key),
        step(key_step),
        count(static_cast<int>(keys)),
        pattern(of),
        before(keys_before),
        left_out(count) {
    if (kind == KeyKind::dilated || !pattern.has_dilated()) return;
    left_out = pattern.dilation - 1 - first % pattern.dilation;
    left_out_step = pattern.dilation;
  }

  struct Range {
    int low, high;
  };
  __device__ Range seen_by(I i) const {
    I low = 0, high = 0;
    if (kind == KeyKind::dilated) {
      high = i / step - before;
    } else if (kind == KeyKind::window) {
      low = i - pattern.window - first;
      high = i - first;
    } else {
      high = smaller(pattern.initial, i - pattern.window) - first;
    }
    return {static_cast<int>(larger(0, smaller(low, count))), static_cast<int>(larger(0, smaller(high, count)))};
  }
  __device__ bool leaves_out(int position) const {
    return position >= left_out && (position - left_out) % left_out_step == 0;
  }
  /// The same of all positions of a tile of at most 64 keys, a bit each.
  __device__ uint64_t left_out_positions() const {
    uint64_t positions = 0;
    for (I position = left_out; position < count; position += left_out_step) positions |= uint64_t{1} << position;
    return positions;
  }
  /// True where queries from i on see a whole tile of n keys.
  __device__ bool is_seen_whole_by(I i, int n) const {
    return kind == KeyKind::dilated && count == n && first + (n - 1) * step < i;
  }
};

/// True where the key at that position of a tile is seen by a query that sees `seen` of it.
template <class Tile, class Range>
__device__ bool shows(const Tile& tile, int position, const Range& seen) {
  return position >= seen.low && position < seen.high && !tile.leaves_out(position);
}

/// The keys from `origin` on that queries [begin, end) of a head need, in tiles of N: dilated ones, the window, initial
/// tokens.
template <int N, class I>
class KeyTiles {
 public:
  __device__ KeyTiles(const PatternOf<I>& pattern, I begin, I end, I origin = 0) : pattern_(pattern), origin_(origin) {
    dilated_before_ = pattern.dilated_below(origin);
    dilated_ = pattern.dilated_below(end - 1) - dilated_before_;
    dilated_tiles_ = tiles_of(dilated_, N);
    window_begin_ = larger(origin, begin - pattern.window);
    window_end_ = pattern.window > 0 && pattern.dilation != 1 ? end - 1 : window_begin_;
    window_tiles_ = tiles_of(larger(I{0}, window_end_ - window_begin_), N);
    initial_ = pattern.dilation == 1 ? 0 : larger(0, smaller(pattern.initial, end - 1 - pattern.window) - origin);
  }
  __device__ I count() const { return dilated_tiles_ + window_tiles_ + tiles_of(initial_, N); }
  __device__ KeyTile<I> operator[](I n) const {
    if (n < dilated_tiles_) {
      const I D = pattern_.dilation;
      const I before = dilated_before_ + n * N;
      return {KeyKind::dilated, (before + 1) * D - 1, D, smaller(dilated_ - n * N, N), pattern_, before};
    }
    n -= dilated_tiles_;
    if (n < window_tiles_) {
      const I first = window_begin_ + n * N;
      return {KeyKind::window, first, 1, smaller(window_end_ - first, N), pattern_};
    }
    n -= window_tiles_;
    return {KeyKind::initial, origin_ + n * N, 1, smaller(initial_ - n * N, N), pattern_};
  }

 private:
  PatternOf<I> pattern_;
  I origin_, dilated_before_, dilated_, dilated_tiles_, window_begin_, window_end_, window_tiles_, initial_;
};

/// The keys of a head by who sees them. Far keys, the initial and the dilated ones, are seen by every query behind
/// them; near keys, the rest, by the W queries behind them. A key is in one of the lists, so that its gradient has one
/// owner.
template <class I>
class KeyLists {
 public:
  __host__ __device__ KeyLists(const PatternOf<I>& pattern, I T) : dilation_(pattern.dilation), T_(T) {
    initial_ = pattern.dilation == 1 ? 0 : smaller(pattern.initial, T);
    dilated_before_ = pattern.dilated_below(initial_);
    far_ = initial_ + pattern.dilated_below(T) - dilated_before_;
  }
  __host__ __device__ I far_count() const { return far_; }
  __host__ __device__ I near_count() const { return T_ - far_; }
  __host__ __device__ I far(I n) const {
    return n < initial_ ? n : (dilated_before_ + n - initial_ + 1) * dilation_ - 1;
  }
  /// Between two dilated keys lie D - 1 others.
  __device__ I near(I n) const {
    const I m = n + initial_ - dilated_before_;
    return dilation_ == kNoDilatedKeys ? m : m + m / (dilation_ - 1);
  }
  __device__ bool is_near(I j) const {
    return j >= initial_ && (dilation_ == kNoDilatedKeys || (j + 1) % dilation_ != 0);
  }

 private:
  I dilation_, T_, initial_, dilated_before_, far_;
};

}  // namespace ratel::cuda
