#pragma once

// What the recurrence's kernels share: which channels and tokens a block has, and the ring of tiles through which it
// reads them.

#include <cmath>

#include "cuda/device.h"

namespace ratel::cuda {

inline constexpr int kScanThreads = 128;  // channels of a block, one a thread
inline constexpr int kScanStages = 3;     // tiles in shared memory: one is read while the others arrive

/// Tokens of a tile, before each of which a state is noted for backward: 16 of bf16, 8 of f32, 4 of f64.
template <class T>
inline constexpr int kScanTile = 32 / static_cast<int>(sizeof(T));

/// Token t of batch b begins at data + b batch + t time, in elements.
template <class T>
struct TokenRows {
  T* data = nullptr;
  int64_t batch = 0, time = 0;
  __device__ T* at(int64_t b, int64_t t) const { return data + b * batch + t * time; }
};

/// How a scan over T tokens of B x C channels is cut: `blocks` of 128 channels a batch entry, each walking `segments`
/// of `segment` tokens, in a block of the grid each.
struct ScanShape {
  int64_t B, T, C;
  int64_t blocks, segments, segment;
  int64_t half = 0;                 // where channels rotate in pairs: of a head
  const void* table = nullptr;      // and (T, half) pairs of cosine and sine,
  int64_t table_batch = 0;          // so many of A apart from one batch entry to the next
  const int64_t* counts = nullptr;  // tokens of every batch entry, where it is not T

  __host__ __device__ int64_t grid() const { return blocks * B * segments; }
};

/// Cuts time only where the channels alone leave most of a GPU idle: its cost is a second reading.
inline ScanShape cut_scan(int64_t B, int64_t T, int64_t C) {
  constexpr int64_t kEnough = 128, kWanted = 256, kShortest = 128;  // blocks, blocks, tokens
  const auto parts = [](int64_t n, int64_t size) { return (n + size - 1) / size; };
  const int64_t blocks = parts(C, kScanThreads), busy = blocks * B;
  if (busy == 0 || busy >= kEnough || T < 2 * kShortest) return {B, T, C, blocks, 1, T};
  const int64_t wanted = parts(kWanted, busy), most = T / kShortest;
  // Segments begin where tiles of every dtype do.
  const int64_t segment = parts(parts(T, wanted < most ? wanted : most), kScanTile<bfloat16>) * kScanTile<bfloat16>;
  return {B, T, C, blocks, parts(T, segment), segment};
}

/// Slots are the channels of a block in the order of its threads: as they come, or in pairs that rotate together, lane
/// l < 16 of a warp with the left one of a pair and lane l + 16 with the right one.
enum class Slots { plain, pairs };

template <Slots kSlots>
struct ScanPlace {
  int64_t b, segment, begin, end, block;

  __device__ explicit ScanPlace(const ScanShape& shape, int64_t first_segment = 0) {
    int64_t index = block_index().x;
    block = index % shape.blocks;
    index /= shape.blocks;
    b = index % shape.B;
    segment = first_segment + index / shape.B;
    begin = segment * shape.segment;
    const int64_t tokens = shape.counts == nullptr ? shape.T : shape.counts[b];
    end = begin + shape.segment < tokens ? begin + shape.segment : tokens;  // may lie before it
  }
  /// The pair at a place among the block's 64, and its channel within the left half of its head.
  __device__ int pair(int place) const { return static_cast<int>(block) * (kScanThreads / 2) + place; }
  /// May be C or more: then there is none.
  __device__ int channel(const ScanShape& shape, int slot) const {
    if constexpr (kSlots == Slots::plain) return static_cast<int>(block) * kScanThreads + slot;
    const int half = static_cast<int>(shape.half), p = pair(slot / 32 * 16 + slot % 16);
    return p / half * (2 * half) + p % half + (slot % 32 < 16 ? 0 : half);
  }
};

/// Tiles of kParts tensors on their way through shared memory, N elements at a time (asynchronously where N > 1, and
/// kept in order by the same barriers where not), and with pairs the tokens' cosines and sines.
template <class T, int kParts, int N, Slots kSlots>
class TileRing {
  using A = accumulate_t<T>;
  static constexpr int kTile = kScanTile<T>, kRow = kScanThreads;
  static constexpr int kTurnVec = N == 1 ? 1 : kPerVec<A>;

 public:
  static constexpr size_t bytes() {
    return shared_size<T>(kScanStages * kParts * kTile * kRow) +
           (kSlots == Slots::pairs ? shared_size<A>(kScanStages * kTile * kRow) : 0);
  }

  __device__ TileRing(SharedArena& arena, const ScanShape& shape, const ScanPlace<kSlots>& place,
                      const TokenRows<const T> (&parts)[kParts])
      : shape_(shape),
        place_(place),
        parts_(parts),
        values_(arena.take<T>(kScanStages * kParts * kTile * kRow)),
        turns_(arena.take<A>(kSlots == Slots::pairs ? kScanStages * kTile * kRow : 0)) {
    const int channel = place.channel(shape, copied_slot());
    for (int part = 0; part < kParts; ++part)
      from_[part] = channel < shape.C && parts[part].data != nullptr ? parts[part].at(place.b, 0) + channel : nullptr;
  }

  /// Calls body(first token, tokens, stage) for the tiles of the place, in falling order where `reverse`; the tile may
  /// be read from the ring in that stage. A part without data reads as zeros, as do tokens and channels that there are
  /// not.
  template <bool reverse, class F>
  __device__ void for_each_tile(F&& body) {
    const int tiles = static_cast<int>((place_.end - place_.begin + kTile - 1) / kTile);
    const auto first = [&](int n) { return place_.begin + static_cast<int64_t>(reverse ? tiles - 1 - n : n) * kTile; };
    for (int n = 0; n < kScanStages - 1; ++n) {
      if (n < tiles) fetch(first(n), n);
      commit_copies();
    }
    for (int n = 0; n < tiles; ++n) {
      wait_copies<kScanStages - 2>();
      sync_block();
      // Into the stage of the tile before this one, which all have read.
      if (const int next = n + kScanStages - 1; next < tiles) fetch(first(next), next % kScanStages);
      commit_copies();
      body(first(n), tokens_from(first(n)), n % kScanStages);
    }
  }

  __device__ A value(int stage, int part, int token) const {
    return convert_element<A>(static_cast<T>(values_[row(stage, part, token) + thread_index().x]));
  }
  /// Cosine and sine of the thread's pair.
  __device__ Vec<A, 2> turn(int stage, int token) const {
    const int place = warp_index() * 16 + lane_index() % 16;
    return turns_.template load<2>((stage * kTile + token) * kRow + 2 * place);
  }

 private:
  __device__ static int row(int stage, int part, int token) { return ((stage * kParts + part) * kTile + token) * kRow; }
  /// Of the values that this thread copies: the first slot.
  __device__ static int copied_slot() { return thread_index().x % (kRow / N) * N; }
  __device__ int tokens_from(int64_t first) const {
    return place_.end - first < kTile ? static_cast<int>(place_.end - first) : kTile;
  }

  template <int kVec, class E>
  __device__ static void copy(Shared<E> into, int index, const E* from, bool valid) {
    if constexpr (kVec == 1)
      into[index] = valid ? *from : E{};
    else
      copy_async_16(into, index, from, valid);
  }

  /// A row of 128 takes 128 / kVec threads, so that a step of all threads brings kVec rows.
  __device__ void fetch(int64_t first, int stage) {
    const int tokens = tokens_from(first);
#pragma unroll
    for (int part = 0; part < kParts; ++part)
#pragma unroll
      for (int step = 0; step < kTile / N; ++step) {
        const int token = step * N + thread_index().x / (kRow / N);
        const bool valid = token < tokens && from_[part] != nullptr;
        const T* from = valid ? from_[part] + (first + token) * parts_[part].time : parts_[0].data;
        copy<N>(values_, row(stage, part, token) + copied_slot(), from, valid);
      }
    if constexpr (kSlots == Slots::pairs) {
      const int at = thread_index().x % (kRow / kTurnVec) * kTurnVec, half = static_cast<int>(shape_.half);
      const int pair = place_.pair(at / 2);
      const bool has_pair = 2 * static_cast<int64_t>(pair) < shape_.C;
      const A* const table = static_cast<const A*>(shape_.table) + place_.b * shape_.table_batch;
      const A* const rows = table + (first * half + pair % half) * 2 + at % 2;
#pragma unroll
      for (int step = 0; step < kTile / kTurnVec; ++step) {
        const int token = step * kTurnVec + thread_index().x / (kRow / kTurnVec);
        const bool valid = has_pair && token < tokens;
        copy<kTurnVec>(turns_, (stage * kTile + token) * kRow + at, valid ? rows + token * 2 * half : table, valid);
      }
    }
  }

  const ScanShape& shape_;
  const ScanPlace<kSlots>& place_;
  const TokenRows<const T> (&parts_)[kParts];
  const T* from_[kParts];  // of the copied slot at token 0; null where there is nothing
  Shared<T> values_;
  Shared<A> turns_;
};

}  // namespace ratel::cuda
