#pragma once

// The work of the key-stationary kernels: tiles of keys that own their gradients, and, where few far keys meet many
// queries, slices of the queries with partial sums that are added in order. How many slices there are follows from the
// shapes alone, so that the sum has one order.

#include <algorithm>

#include "cuda/attention_keys.h"
#include "cuda/rotation.h"
#include "cuda/scratch.h"

namespace ratel::cuda {

struct QuerySlices {
  int64_t count = 1, length = 0;
  int64_t far_keys = 0;                       // of the head that has most
  void *grad_k = nullptr, *grad_v = nullptr;  // partial sums (count, B, H, far_keys, d) where count > 1
};

/// A tile of at most N keys of one list, and the queries to walk for it.
template <int N, class I>
struct OwnedKeys {
  KeyLists<I> lists;
  I window, T, first = 0;
  int slice = 0, count;
  bool far;
  I query_begin = 0, query_end = 0;  // none of these sees anything before the first or after the last key's

  /// Piece 0 and on of a head: its far tiles, slice by slice, then its near ones. An empty tile has count 0.
  __device__ OwnedKeys(const PatternOf<I>& pattern, I tokens, I piece, const QuerySlices& slices)
      : lists(pattern, tokens), window(pattern.window), T(tokens) {
    const auto slice_count = static_cast<I>(slices.count), slice_length = static_cast<I>(slices.length);
    const I far_tiles = tiles_of(lists.far_count(), N);
    far = piece < far_tiles * slice_count;
    if (far) slice = static_cast<int>(piece / far_tiles);
    slice = shuffle(slice, 0);
    first = (far ? piece - slice * far_tiles : piece - far_tiles * slice_count) * N;
    const I keys = far ? lists.far_count() : window > 0 ? lists.near_count() : 0;
    count = static_cast<int>(larger(0, smaller(N, keys - first)));
    if (count == 0) return;
    query_begin = larger(key(0) + 1, slice * slice_length);
    query_end = smaller(last_query(key(count - 1)) + 1, far ? (slice + 1) * slice_length : T);
  }
  __device__ I key(int r) const { return far ? lists.far(first + r) : lists.near(first + r); }
  /// Key j is seen by the queries behind it up to this one.
  __device__ I last_query(I j) const { return far ? T - 1 : smaller(T - 1, j + window); }
};

inline constexpr int64_t kKeyBlocks = 256;  // that run at once: two on a multiprocessor

/// Pieces of the head of a group that has most, and how many heads begin together (BlockOfHead).
struct KeyPieces {
  int64_t count = 0, heads_of_round = 1;
};

/// On the host. Far tiles of a head walk the same queries, from behind their keys to the last one, and find them in the
/// cache where they walk together. So as many heads begin together as run at once; all their tiles begin at the last
/// query and end one after the other, the last keys first. Where each ends one of the next round begins: those walk the
/// other way, from the first of their queries on, which are those that the others of their head have come to. They end
/// together, and the next round begins as the first did. A head's place decides the order in which its gradients are
/// added up, so that equal sequences of a batch may differ in their last bits. Near tiles are short: where there are
/// any, the far ones of all heads come first.
template <int N>
KeyPieces key_pieces(const HeadGroup& group, const AttentionShape& shape, int64_t slices) {
  KeyPieces pieces;
  bool has_near = false;
  for (int h = 0; h < group.count; ++h) {
    const KeyLists lists(PatternOf<int64_t>(group.patterns[h]), shape.T);
    const int64_t near = group.patterns[h].window > 0 ? lists.near_count() : 0;
    pieces.count = larger(pieces.count, tiles_of(lists.far_count(), N) * slices + tiles_of(near, N));
    has_near = has_near || near > 0;
  }
  const int64_t heads = shape.B * group.count;
  pieces.heads_of_round =
      has_near || pieces.count == 0 ? heads : std::clamp<int64_t>(kKeyBlocks / pieces.count, 1, heads);
  return pieces;
}

/// Sums of the slices, in order, into the rows of the far keys; a thread has two channels, half a row apart. With
/// turns, of an even d, the keys' gradients are turned back.
template <class T, class A>
__global__ __launch_bounds__(256) void add_slices(HeadGroup group, AttentionShape shape, QuerySlices slices,
                                                  AttentionRows grad_k, AttentionRows grad_v, const A* turns,
                                                  int64_t pieces) {
  const BlockOfHead block(group, shape, pieces);
  const KeyLists lists(PatternOf<int64_t>(block.pattern), shape.T);
  const int64_t per_slice = shape.B * shape.H * slices.far_keys * shape.d;
  const int64_t base = (block.b * shape.H + block.h) * slices.far_keys * shape.d;
  const HeadRows<T> to_k = head_rows<T>(grad_k, block.b, block.h), to_v = head_rows<T>(grad_v, block.b, block.h);
  const int64_t half = (shape.d + 1) / 2, pair = block.piece * block_size().x + thread_index().x;
  if (pair >= lists.far_count() * half) return;
  const int64_t row = pair / half, c = pair % half, at = base + row * shape.d + c, j = lists.far(row);
  A dk[2] = {}, dv[2] = {};
  for (int64_t slice = 0; slice < slices.count; ++slice)
    for (int i = 0; i < 2 && c + i * half < shape.d; ++i) {
      dk[i] += static_cast<const A*>(slices.grad_k)[slice * per_slice + at + i * half];
      dv[i] += static_cast<const A*>(slices.grad_v)[slice * per_slice + at + i * half];
    }
  if (turns != nullptr) {
    const A* const turn = turns + 2 * (j * half + c);
    const auto both = turned_back(dk[0], dk[1], {{turn[0], turn[1]}});
    dk[0] = both.at[0];
    dk[1] = both.at[1];
  }
  for (int i = 0; i < 2 && c + i * half < shape.d; ++i) {
    to_k[j][c + i * half] = round_to<T>(dk[i]);
    to_v[j][c + i * half] = round_to<T>(dv[i]);
  }
}

/// On the host: calls f(group, pieces, slices) for every group of heads, then adds the slices.
template <class T, int N, class F>
void with_query_slices(const AttentionBackwardArgs& args, Stream stream, F&& f) {
  using A = accumulate_t<T>;
  const AttentionShape& shape = args.shape;
  constexpr int64_t kLeastQueries = 512;  // of a slice
  int64_t queries = 0;                    // that all far tiles walk
  QuerySlices slices;
  for (int64_t h = 0; h < shape.H; ++h) {
    const KeyLists lists(PatternOf<int64_t>(within(shape.patterns[h], shape.T)), shape.T);
    const int64_t far = lists.far_count();
    for (int64_t first = 0; first < far; first += N) queries += shape.B * (shape.T - 1 - lists.far(first));
    slices.far_keys = larger(slices.far_keys, far);
  }
  // No slice is longer than what each of the blocks has to do on average: then none runs on alone.
  const int64_t share = tiles_of(larger(kLeastQueries, queries / kKeyBlocks), 64) * 64;
  slices.count = (shape.T + share - 1) / share;
  slices.length = tiles_of((shape.T + slices.count - 1) / slices.count, 64) * 64;
  const int64_t partial = slices.count == 1 ? 0 : slices.count * shape.B * shape.H * slices.far_keys * shape.d;
  const Scratch<A> sums(2 * partial, stream);
  slices.grad_k = sums.get();
  slices.grad_v = sums.get() + partial;
  for_each_head_group(shape, [&](const HeadGroup& group) {
    f(group, key_pieces<N>(group, shape, slices.count), slices);
    if (slices.count == 1) return;
    const int64_t pieces = tiles_of(slices.far_keys * ((shape.d + 1) / 2), 256);
    const A* const turns = args.own.p == nullptr ? nullptr : static_cast<const A*>(args.turns.data);
    launch({"attention_add_slices", shape.B * group.count * pieces, 256, 0, stream}, add_slices<T, A>, group, shape,
           slices, args.grad_k, args.grad_v, turns, pieces);
  });
}

}  // namespace ratel::cuda
