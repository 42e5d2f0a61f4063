// Dilated attention on a GPU, for any dtype, width and layout: tiles of 32 queries by 32 keys, products on the plain
// cores. A block of 128 threads takes a tile of queries of one head (forward, and the queries' gradients) or a tile of
// keys (the keys' and values' gradients) and walks what meets it; a thread has 2 x 4 of the 32 x 32 numbers of every
// product. Operands come through shared memory 32 channels at a time, converted to the type of sums. A block keeps
// kChannels channels of its results in registers; wider heads take several blocks, each with the scores of all
// channels.
//
// Forward: 4 d flops a pair that meet; query gradients 6 d, key gradients 8 d. Bound by shared memory, which feeds the
// products 6 numbers for 8 multiplications.

#include <cmath>
#include <limits>

#include "cuda/attention_keys.h"
#include "cuda/attention_slices.h"
#include "cuda/attention_sources.h"
#include "cuda/sigmoid.h"

namespace ratel::cuda::plain {
namespace {

constexpr int kThreads = 128, kTile = 32, kPitch = kTile + 1;  // pitch: rows begin in different banks
constexpr int kWarps = kThreads / kWarp, kRowsOfWarp = kTile / kWarps;

/// Channels of a result that a block keeps: 32 registers a thread.
template <class A>
constexpr int kChannels = 512 / static_cast<int>(sizeof(A));

/// A thread's rows and columns of a 32 x 32 tile.
__device__ int row_of(int i) { return thread_index().x / 8 + 16 * i; }
__device__ int column_of(int j) { return thread_index().x % 8 + 8 * j; }

template <class A>
struct Sums {
  A at[2][4] = {};
  __device__ void operator+=(const Sums& other) {
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 4; ++j) at[i][j] += other.at[i][j];
  }
};

template <class A>
__device__ Shared<A> take_tile(SharedArena& arena) {
  return arena.take<A>(kTile * kPitch);
}

/// tile[r][c] = row(r)[c] for r < rows and c < width, else 0.
template <class A, class Row>
__device__ void stage(Shared<A> tile, int rows, int width, Row&& row) {
  for (int i = thread_index().x; i < kTile * kTile; i += kThreads) {
    const int r = i / kTile, c = i % kTile;
    tile[r * kPitch + c] = r < rows && c < width ? convert_element<A>(row(r)[c]) : A{0};
  }
}

// Products of a tile begin at 0 and are added to the sum of all tiles: in two steps long sums round less.

/// left right^T, both (32, depth).
template <class A>
__device__ Sums<A> multiply_transposed(Shared<A> left, Shared<A> right, int depth) {
  Sums<A> sums;
  for (int k = 0; k < depth; ++k) {
    A x[2], y[4];
    for (int i = 0; i < 2; ++i) x[i] = left[row_of(i) * kPitch + k];
    for (int j = 0; j < 4; ++j) y[j] = right[column_of(j) * kPitch + k];
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 4; ++j) sums.at[i][j] = std::fma(x[i], y[j], sums.at[i][j]);
  }
  return sums;
}

/// left right, (32, depth) and (depth, 32).
template <class A>
__device__ Sums<A> multiply(Shared<A> left, Shared<A> right, int depth) {
  Sums<A> sums;
  for (int k = 0; k < depth; ++k) {
    A x[2], y[4];
    for (int i = 0; i < 2; ++i) x[i] = left[row_of(i) * kPitch + k];
    for (int j = 0; j < 4; ++j) y[j] = right[k * kPitch + column_of(j)];
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 4; ++j) sums.at[i][j] = std::fma(x[i], y[j], sums.at[i][j]);
  }
  return sums;
}

/// The products of all channels of two sets of rows, through two staging tiles.
template <class A, class Left, class Right>
__device__ Sums<A> products_of_rows(int64_t d, Shared<A> left, Shared<A> right, int left_rows, Left&& left_row,
                                    int right_rows, Right&& right_row) {
  Sums<A> sums;
  for (int64_t c = 0; c < d; c += kTile) {
    const int width = static_cast<int>(smaller(kTile, d - c));
    sync_block();
    stage(left, left_rows, width, [&](int r) { return left_row(r) + c; });
    stage(right, right_rows, width, [&](int r) { return right_row(r) + c; });
    sync_block();
    sums += multiply_transposed(left, right, width);
  }
  return sums;
}

/// The product of two rows, by a warp.
template <class A, class T>
__device__ A dot(const T* x, const T* y, int64_t d) {
  A sum = 0;
  for (int64_t c = lane_index(); c < d; c += kWarp) sum += convert_element<A>(x[c]) * convert_element<A>(y[c]);
  return warp_sum(sum);
}

/// Channels [begin, begin + width) of a result, a piece of 32 after the other.
template <class A>
struct Channels {
  int64_t begin;
  int width;
  Sums<A> sums[kChannels<A> / kTile];

  __device__ Channels(int64_t d, int64_t chunk)
      : begin(chunk * kChannels<A>), width(static_cast<int>(smaller(kChannels<A>, d - begin))) {}

  /// f(piece, first channel, channels) for the pieces that there are.
  template <class F>
  __device__ void for_each(F&& f) {
#pragma unroll
    for (int piece = 0; piece < kChannels<A> / kTile; ++piece)
      if (piece * kTile < width)
        f(sums[piece], begin + piece * kTile, static_cast<int>(smaller(kTile, width - piece * kTile)));
  }
  /// f(sum, row, channel) for every number of this thread's, of `rows` rows.
  template <class F>
  __device__ void for_each_element(int rows, F&& f) {
    for_each([&](Sums<A>& piece, int64_t c, int channels) {
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
          if (row_of(i) < rows && column_of(j) < channels) f(piece.at[i][j], row_of(i), c + column_of(j));
    });
  }
  /// sums += weights (32, depth) times the rows, staged in `tile`.
  template <class Row>
  __device__ void add_product(Shared<A> weights, Shared<A> tile, int depth, Row&& row) {
    for_each([&](Sums<A>& piece, int64_t c, int channels) {
      sync_block();
      stage(tile, depth, channels, [&](int r) { return row(r) + c; });
      sync_block();
      piece += multiply(weights, tile, depth);
    });
  }
};

template <class A>
int64_t chunks_of(int64_t d) {
  return tiles_of(d, kChannels<A>);
}

template <class A>
constexpr size_t kForwardShared = 3 * shared_size<A>(kTile* kPitch) + 2 * shared_size<A>(kTile);

template <class T, class Source>
__global__ __launch_bounds__(kThreads, 2) void forward_kernel(AttentionForwardArgs args, HeadGroup group, int64_t tiles,
                                                              int64_t chunks, Source source) {
  using A = accumulate_t<T>;
  SharedArena arena;
  const Shared<A> left = take_tile<A>(arena), right = take_tile<A>(arena), scores = take_tile<A>(arena);
  const Shared<A> corrections = arena.take<A>(kTile), totals = arena.take<A>(kTile);
  const int64_t d = args.shape.d;
  const BlockOfHead block(group, args.shape, tiles * chunks);
  const int64_t begin = (tiles - 1 - block.piece / chunks) * kTile;  // those with most keys first
  const int rows = static_cast<int>(smaller(kTile, source.tokens(args.shape, block.b) - begin));
  const auto to = head_rows<T>(args.out, block.b, block.h), gated = head_rows<T>(args.gated, block.b, block.h);
  Channels<A> out(d, block.piece % chunks);
  if constexpr (!std::is_same_v<Source, CallKeys>) {
    const int all = static_cast<int>(smaller(kTile, args.shape.T - begin));
    out.for_each_element(all, [&](A&, int r, int64_t c) {
      if (r >= rows) gated[begin + r][c] = T{};
    });
    if (rows <= 0) return;
  }
  const auto q = head_rows<T>(args.q, block.b, block.h), k = head_rows<T>(args.k, block.b, block.h),
             v = head_rows<T>(args.v, block.b, block.h);
  const A scale = 1 / std::sqrt(static_cast<A>(d));
  const int lane = lane_index(), warp_row = warp_index() * kRowsOfWarp;

  // The softmax of row warp_row + r: the same numbers in all lanes of its warp, beginning with the query's own key.
  A largest[kRowsOfWarp], total[kRowsOfWarp];
#pragma unroll
  for (int r = 0; r < kRowsOfWarp; ++r) {
    const int64_t i = begin + smaller(warp_row + r, rows - 1);
    largest[r] = scale * dot<A>(q[i], k[i], d);
    total[r] = 1;
  }
  out.for_each_element(rows, [&](A& sum, int r, int64_t c) { sum = convert_element<A>(v[begin + r][c]); });

  const typename Source::template Tiles<kTile, int64_t, T> keys(source, group, block, begin, begin + rows, k, v);
  for (int64_t n = 0; n < keys.count(); ++n) {
    const auto from = keys.with_rows(n);
    const auto& tile = from.tile;
    const Sums<A> s = products_of_rows(
        d, left, right, rows, [&](int r) { return q[begin + r]; }, tile.count, [&](int r) { return from.keys[r]; });
    for (int i = 0; i < 2; ++i) {
      const auto seen = tile.seen_by(begin + row_of(i));
      for (int j = 0; j < 4; ++j) {
        const int c = column_of(j);
        scores[row_of(i) * kPitch + c] =
            shows(tile, c, seen) ? scale * s.at[i][j] : -std::numeric_limits<A>::infinity();
      }
    }
    sync_block();
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
      const int at = (warp_row + r) * kPitch + lane;
      const A score = scores[at], most = warp_max(score), next = most > largest[r] ? most : largest[r];
      const A correction = std::exp(largest[r] - next), p = std::exp(score - next);
      scores[at] = p;
      total[r] = total[r] * correction + warp_sum(p);
      largest[r] = next;
      if (lane == 0) corrections[warp_row + r] = correction;
    }
    sync_block();
    out.for_each_element(rows, [&](A& sum, int r, int64_t) { sum *= corrections[r]; });
    out.add_product(scores, right, tile.count, [&](int r) { return from.values[r]; });
  }

#pragma unroll
  for (int r = 0; r < kRowsOfWarp; ++r)
    if (lane == 0) {
      totals[warp_row + r] = total[r];
      if (out.begin == 0 && warp_row + r < rows)
        static_cast<A*>(args.lse)[block.row + begin + warp_row + r] = largest[r] + std::log(total[r]);
    }
  sync_block();
  const auto gate = head_rows<T>(args.gate, block.b, block.h);
  out.for_each_element(rows, [&](A& sum, int r, int64_t c) {
    const A value = sum / totals[r];
    to[begin + r][c] = round_to<T>(value);
    if (gated.data != nullptr)
      gated[begin + r][c] = round_to<T>(value * sigmoid(convert_element<A>(gate[begin + r][c])));
  });
}

/// Probability and score gradient of a pair, from s = q.k and dp = grad_out.v.
template <class A>
struct Pair {
  A p, ds;
  __device__ Pair(bool seen, A scale, A s, A dp, A lse, A delta) {
    p = seen ? std::exp(scale * s - lse) : A{0};
    ds = scale * p * (dp - delta);
  }
};

template <class A>
constexpr size_t kQueryShared = 3 * shared_size<A>(kTile* kPitch);

template <class T>
__global__ __launch_bounds__(kThreads, 2) void query_kernel(AttentionBackwardArgs args, AttentionStatistics statistics,
                                                            HeadGroup group, int64_t tiles, int64_t chunks) {
  using A = accumulate_t<T>;
  SharedArena arena;
  const Shared<A> left = take_tile<A>(arena), right = take_tile<A>(arena), slopes = take_tile<A>(arena);
  const int64_t d = args.shape.d;
  const BlockOfHead block(group, args.shape, tiles * chunks);
  const int64_t begin = (tiles - 1 - block.piece / chunks) * kTile;
  const int rows = static_cast<int>(smaller(kTile, args.shape.T - begin));
  const auto q = head_rows<T>(args.q, block.b, block.h), k = head_rows<T>(args.k, block.b, block.h),
             v = head_rows<T>(args.v, block.b, block.h), grad = head_rows<T>(args.grad_out, block.b, block.h);
  const A scale = 1 / std::sqrt(static_cast<A>(d));
  const A* own_slopes = static_cast<const A*>(statistics.ds) + block.row + begin;
  A lse[2], delta[2];
  for (int i = 0; i < 2; ++i) {
    const int64_t at = block.row + begin + smaller(row_of(i), rows - 1);
    lse[i] = static_cast<const A*>(args.lse)[at];
    delta[i] = static_cast<const A*>(statistics.delta)[at];
  }
  Channels<A> grad_q(d, block.piece % chunks);
  grad_q.for_each_element(rows,
                          [&](A& sum, int r, int64_t c) { sum = own_slopes[r] * convert_element<A>(k[begin + r][c]); });
  const KeyTiles<kTile, int64_t> keys(PatternOf<int64_t>(block.pattern), begin, begin + rows);
  for (int64_t n = 0; n < keys.count(); ++n) {
    const KeyTile<int64_t> tile = keys[n];
    const auto key = [&](int r) { return tile.first + r * tile.step; };
    const Sums<A> s = products_of_rows(
        d, left, right, rows, [&](int r) { return q[begin + r]; }, tile.count, [&](int r) { return k[key(r)]; });
    const Sums<A> dp = products_of_rows(
        d, left, right, rows, [&](int r) { return grad[begin + r]; }, tile.count, [&](int r) { return v[key(r)]; });
    for (int i = 0; i < 2; ++i) {
      const auto seen = tile.seen_by(begin + row_of(i));
      for (int j = 0; j < 4; ++j) {
        const int c = column_of(j);
        slopes[row_of(i) * kPitch + c] =
            Pair<A>(shows(tile, c, seen), scale, s.at[i][j], dp.at[i][j], lse[i], delta[i]).ds;
      }
    }
    grad_q.add_product(slopes, right, tile.count, [&](int r) { return k[key(r)]; });
  }
  const auto to = head_rows<T>(args.grad_q, block.b, block.h);
  grad_q.for_each_element(rows, [&](A& sum, int r, int64_t c) { to[begin + r][c] = round_to<T>(sum); });
}

template <class A>
constexpr size_t kKeyShared = 4 * shared_size<A>(kTile* kPitch) + shared_size<int64_t>(kTile);

template <class T>
__global__ __launch_bounds__(kThreads) void key_kernel(AttentionBackwardArgs args, AttentionStatistics statistics,
                                                       QuerySlices slices, HeadGroup group, int64_t pieces,
                                                       int64_t chunks) {
  using A = accumulate_t<T>;
  SharedArena arena;
  const Shared<A> left = take_tile<A>(arena), right = take_tile<A>(arena), weights = take_tile<A>(arena),
                  slopes = take_tile<A>(arena);
  const Shared<int64_t> key = arena.take<int64_t>(kTile);
  const int64_t d = args.shape.d;
  const BlockOfHead block(group, args.shape, pieces * chunks);
  const OwnedKeys<kTile, int64_t> owned(PatternOf<int64_t>(block.pattern), args.shape.T, block.piece / chunks, slices);
  if (owned.count == 0) return;
  const auto q = head_rows<T>(args.q, block.b, block.h), k = head_rows<T>(args.k, block.b, block.h),
             v = head_rows<T>(args.v, block.b, block.h), grad = head_rows<T>(args.grad_out, block.b, block.h);
  const A scale = 1 / std::sqrt(static_cast<A>(d));
  const A *lse = static_cast<const A*>(args.lse) + block.row,
          *delta = static_cast<const A*>(statistics.delta) + block.row,
          *own_p = static_cast<const A*>(statistics.p) + block.row,
          *own_ds = static_cast<const A*>(statistics.ds) + block.row;
  for (int r = thread_index().x; r < owned.count; r += kThreads) key[r] = owned.key(r);
  sync_block();
  int64_t mine[2], last[2];  // this thread's keys
  for (int i = 0; i < 2; ++i) {
    mine[i] = row_of(i) < owned.count ? int64_t{key[row_of(i)]} : args.shape.T;  // the last is seen by nobody
    last[i] = owned.last_query(mine[i]);
  }
  // The first slice has the term of the key's own query.
  Channels<A> grad_k(d, block.piece % chunks), grad_v(d, block.piece % chunks);
  if (owned.slice == 0) {
    grad_k.for_each_element(owned.count, [&](A& sum, int r, int64_t c) {
      const int64_t j = key[r];
      sum = own_ds[j] * convert_element<A>(q[j][c]);
    });
    grad_v.for_each_element(owned.count, [&](A& sum, int r, int64_t c) {
      const int64_t j = key[r];
      sum = own_p[j] * convert_element<A>(grad[j][c]);
    });
  }
  for (int64_t begin = owned.query_begin; begin < owned.query_end; begin += kTile) {
    const int queries = static_cast<int>(smaller(kTile, owned.query_end - begin));
    const Sums<A> s = products_of_rows(
        d, left, right, owned.count, [&](int r) { return k[key[r]]; }, queries, [&](int r) { return q[begin + r]; });
    const Sums<A> dp = products_of_rows(
        d, left, right, owned.count, [&](int r) { return v[key[r]]; }, queries, [&](int r) { return grad[begin + r]; });
    for (int j = 0; j < 4; ++j) {
      const int64_t query = begin + smaller(column_of(j), queries - 1);
      for (int i = 0; i < 2; ++i) {
        const bool sees = column_of(j) < queries && mine[i] < query && query <= last[i];
        const Pair<A> pair(sees, scale, s.at[i][j], dp.at[i][j], lse[query], delta[query]);
        weights[row_of(i) * kPitch + column_of(j)] = pair.p;
        slopes[row_of(i) * kPitch + column_of(j)] = pair.ds;
      }
    }
    grad_v.add_product(weights, right, queries, [&](int r) { return grad[begin + r]; });
    grad_k.add_product(slopes, right, queries, [&](int r) { return q[begin + r]; });
  }
  if (owned.far && slices.count > 1) {
    const int64_t at =
        ((int64_t{owned.slice} * args.shape.B + block.b) * args.shape.H + block.h) * slices.far_keys + owned.first;
    const auto partial = [&](void* sums) {
      return [=](A& sum, int r, int64_t c) { static_cast<A*>(sums)[(at + r) * d + c] = sum; };
    };
    grad_k.for_each_element(owned.count, partial(slices.grad_k));
    grad_v.for_each_element(owned.count, partial(slices.grad_v));
    return;
  }
  const auto to_k = head_rows<T>(args.grad_k, block.b, block.h), to_v = head_rows<T>(args.grad_v, block.b, block.h);
  grad_k.for_each_element(owned.count, [&](A& sum, int r, int64_t c) { to_k[key[r]][c] = round_to<T>(sum); });
  grad_v.for_each_element(owned.count, [&](A& sum, int r, int64_t c) { to_v[key[r]][c] = round_to<T>(sum); });
}

template <class Source>
void launch_forward(const char* name, const AttentionForwardArgs& args, const HeadGroup& group, const Source& source,
                    Stream stream) {
  visit_float(args.shape.dtype, "attention", [&]<class T>() {
    using A = accumulate_t<T>;
    const int64_t tiles = tiles_of(args.shape.T, kTile), chunks = chunks_of<A>(args.shape.d);
    launch({name, args.shape.B * group.count * tiles * chunks, kThreads, kForwardShared<A>, stream},
           forward_kernel<T, Source>, args, group, tiles, chunks, source);
  });
}

}  // namespace

void forward(const AttentionForwardArgs& args, Stream stream) {
  for_each_head_group(args.shape, [&](const HeadGroup& group) {
    launch_forward("attention_forward", args, group, CallKeys(), stream);
  });
}

void cached_forward(const AttentionForwardArgs& args, const CachedAttentionArgs& cache, Stream stream) {
  for_each_cached_group(args.shape, cache, [&](const HeadGroup& group, const CachedKeys& keys) {
    launch_forward("cached_attention_forward", args, group, keys, stream);
  });
}

void query_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics, Stream stream) {
  visit_float(args.shape.dtype, "attention", [&]<class T>() {
    using A = accumulate_t<T>;
    const int64_t tiles = tiles_of(args.shape.T, kTile), chunks = chunks_of<A>(args.shape.d);
    for_each_head_group(args.shape, [&](const HeadGroup& group) {
      launch(
          {"attention_query_gradients", args.shape.B * group.count * tiles * chunks, kThreads, kQueryShared<A>, stream},
          query_kernel<T>, args, statistics, group, tiles, chunks);
    });
  });
}

void key_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics, Stream stream) {
  visit_float(args.shape.dtype, "attention", [&]<class T>() {
    using A = accumulate_t<T>;
    const int64_t chunks = chunks_of<A>(args.shape.d);
    with_query_slices<T, kTile>(args, stream,
                                [&](const HeadGroup& group, const KeyPieces& pieces, const QuerySlices& slices) {
                                  launch({"attention_key_gradients", args.shape.B * group.count * pieces.count * chunks,
                                          kThreads, kKeyShared<A>, stream},
                                         key_kernel<T>, args, statistics, slices, group, pieces.count, chunks);
                                });
  });
}

}  // namespace ratel::cuda::plain
