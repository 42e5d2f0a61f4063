#pragma once

// What the recurrence's kernels share: which channels and tokens a block has, and the ring of tiles through which it
// reads them.

#include <cmath>
#include <type_traits>

#include "cuda/device.h"

namespace ratel::cuda {

/// Channels of a block; a channel of a stream a thread. Twice as many where there are blocks enough: of rows 256 bytes
/// long memory gives a twentieth more a second than of two blocks' halves of them at different times.
inline constexpr int kNarrowScan = 64, kWideScan = 128;
inline constexpr int kScanStages = 5;  // tiles in shared memory: one is read while the others arrive

constexpr int scan_threads(int channels, int streams) { return channels * streams; }
/// Of a multiprocessor: told, nvcc takes the registers that save it waiting.
constexpr int scan_blocks(int channels) { return kWideScan / channels; }

/// The stream of this thread. From lane 0, so that nvcc knows it to be the same for a warp: it may shuffle where it has
/// branched on it.
template <int kChannels>
__device__ inline int thread_stream() {
  return shuffle(thread_index().x / kChannels, 0);
}

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

/// How a scan over T tokens of B x C channels is cut: `blocks` of some channels a batch entry, each walking `segments`
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

inline constexpr int64_t kEnoughScans = 128;  // blocks that keep a GPU busy
constexpr int64_t scan_parts(int64_t n, int64_t size) { return (n + size - 1) / size; }

/// In narrow blocks. Cuts time only where the channels alone leave most of a GPU idle: its cost is a second reading.
inline ScanShape cut_scan(int64_t B, int64_t T, int64_t C) {
  constexpr int64_t kWanted = 256, kShortest = 128;  // blocks, tokens
  const int64_t blocks = scan_parts(C, kNarrowScan), busy = blocks * B;
  if (busy == 0 || busy >= kEnoughScans || T < 2 * kShortest) return {B, T, C, blocks, 1, T};
  const int64_t wanted = scan_parts(kWanted, busy), most = T / kShortest;
  // Segments begin where tiles of every dtype do.
  const int64_t segment =
      scan_parts(scan_parts(T, wanted < most ? wanted : most), kScanTile<bfloat16>) * kScanTile<bfloat16>;
  return {B, T, C, blocks, scan_parts(T, segment), segment};
}
/// Is the same scan faster in wide blocks? Where those are enough too, one a multiprocessor, and leave few of these
/// idle at the end.
inline bool is_wide(const ScanShape& shape, int multiprocessors) {
  const int64_t blocks = scan_parts(shape.C, kWideScan) * shape.B, waves = scan_parts(blocks, multiprocessors);
  return shape.segments == 1 && blocks >= kEnoughScans && 10 * blocks >= 9 * waves * multiprocessors;
}
inline ScanShape widened(ScanShape shape) {
  shape.blocks = scan_parts(shape.C, kWideScan);
  return shape;
}

/// Slots are the channels of a block as they lie in its tiles: as they come, or of the pairs that rotate together first
/// all left ones, then all right ones.
enum class Slots { plain, pairs };

template <Slots kSlots, int kChannels>
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
  /// May be C or more: then there is none.
  __device__ int channel(const ScanShape& shape, int slot) const {
    if constexpr (kSlots == Slots::plain) return static_cast<int>(block) * kChannels + slot;
    const int half = static_cast<int>(shape.half), p = pair(slot);
    return p / half * (2 * half) + p % half + (slot < kPairs ? 0 : half);
  }
  /// Of a slot: its pair among those of all heads.
  __device__ int pair(int slot) const { return static_cast<int>(block) * kPairs + slot % kPairs; }

  /// The slot of this thread. Where the first stream rotates, a pair is in lanes l < 16 and l + 16 of one of its warps;
  /// otherwise a warp has neighbours, which it writes together.
  __device__ static int slot() {
    const int place = thread_index().x % kChannels;
    if (kSlots == Slots::plain || thread_index().x >= kChannels) return place;
    return place / 32 * 16 + place % 16 + (place % 32 < 16 ? 0 : kPairs);
  }
  static constexpr int kPairs = kChannels / 2;
};

/// The far tokens of a head, of which there is a gradient row: initial ones, and every dilation-th. Walks down by
/// tiles.
struct FarTokens {
  int dilation = 1, initial = 0, token = 0, remainder = 0, step = 0;

  __device__ void begin_at(int64_t first, int tile) {
    token = static_cast<int>(first);
    remainder = (token + 1) % dilation;
    step = tile % dilation;
  }
  __device__ void move_down(int tile) {
    token -= tile;
    remainder -= step;
    if (remainder < 0) remainder += dilation;
  }
  __device__ bool is_far() const { return remainder == 0 || token < initial; }
};

/// What stands in for the gradients of keys and values of the other tokens, where attention leaves them out: rows, each
/// times a factor of its token and head. Those of far tokens are turned back already. A block has no more than two
/// heads, whole ones or a part of one: heads of 64 or 128 channels.
template <class T>
struct NearRows {
  static constexpr bool kExists = true;
  static constexpr int kMostHeads = 64;
  TokenRows<const T> rows[2];
  const accumulate_t<T>* factors[2] = {};  // (B, heads, T)
  int heads = 0;
  int dilation[kMostHeads] = {}, initial[kMostHeads] = {};
};
struct NoNearRows {
  static constexpr bool kExists = false;
};

/// Tiles of kParts tensors on their way through shared memory, N elements at a time (asynchronously where N > 1, and
/// kept in order by the same barriers where not), with pairs the tokens' cosines and sines, and the kNotes states that
/// were noted before a tile: loaded into registers they would hold up all that waits on the same scoreboard. With near
/// rows, for a walk down, these take the place of the last two parts' but for far tokens.
template <class T, int kStreams, int kParts, int N, Slots kSlots, int kChannels, int kNotes = 0,
          class Near = NoNearRows>
class TileRing {
  using A = accumulate_t<T>;
  static constexpr int kTile = kScanTile<T>, kRow = kChannels;
  static constexpr int kVecA = N == 1 ? 1 : kPerVec<A>;
  /// Rows of cosines and sines that a tile brings. For bf16 two are enough: the others follow by turning on, which errs
  /// by some 1e-6 over a tile. All 16 would be 40% more to bring forward.
  static constexpr int kTurns = sizeof(T) == 2 ? 2 : kTile;
  /// Rows that all threads bring in a step of kVec elements each.
  template <int kVec>
  static constexpr int kRows = scan_threads(kChannels, kStreams) / (kRow / kVec);

 public:
  static constexpr size_t bytes() {
    return shared_size<T>(kScanStages * kParts * kTile * kRow) +
           (kSlots == Slots::pairs ? shared_size<A>(kScanStages * kTurns * kRow) : 0) +
           shared_size<A>(kScanStages * kNotes * kRow) +
           (Near::kExists ? shared_size<A>(kScanStages * kFactors * kTile) : 0);
  }

  __device__ TileRing(SharedArena& arena, const ScanShape& shape, const ScanPlace<kSlots, kChannels>& place,
                      const TokenRows<const T> (&parts)[kParts], const Near& near = {}, const A* notes = nullptr)
      : shape_(shape),
        place_(place),
        parts_(parts),
        near_(near),
        notes_data_(notes),
        slot_(place.slot()),
        values_(arena.take<T>(kScanStages * kParts * kTile * kRow)),
        turns_(arena.take<A>(kSlots == Slots::pairs ? kScanStages * kTurns * kRow : 0)),
        notes_(arena.take<A>(kScanStages * kNotes * kRow)),
        factors_(arena.take<A>(Near::kExists ? kScanStages * kFactors * kTile : 0)) {}

  /// Calls body(tokens, stage) for the tiles of the place, in falling order where `reverse`; the tile may be read from
  /// the ring in that stage. The number of tokens is a constant but of a ragged tile. A part without data reads as
  /// zeros, as do tokens and channels that there are not.
  template <bool reverse, class F>
  __device__ void for_each_tile(F&& body) {
    const int tiles = static_cast<int>((place_.end - place_.begin + kTile - 1) / kTile);
    const auto first = [&](int n) { return place_.begin + static_cast<int64_t>(reverse ? tiles - 1 - n : n) * kTile; };
    if (tiles > 0) begin_fetching(first(0));
    for (int n = 0; n < kScanStages - 1; ++n) {
      if (n < tiles) fetch<reverse>(first(n), n);
      commit_copies();
    }
    for (int n = 0; n < tiles; ++n) {
      wait_copies<kScanStages - 2>();
      sync_block();
      // Into the stage of the tile before this one, which all have read.
      if (const int next = n + kScanStages - 1; next < tiles) fetch<reverse>(first(next), next % kScanStages);
      commit_copies();
      if (const int tokens = tokens_from(first(n)); tokens == kTile)
        body(std::integral_constant<int, kTile>{}, n % kScanStages);
      else
        body(tokens, n % kScanStages);
    }
  }

  __device__ A value(int stage, int part, int token) const {
    return convert_element<A>(static_cast<T>(values_[row(stage, part, token) + slot_]));
  }
  /// Cosine and sine of the thread's pair, one token of a tile after the other; nothing where a stream does not rotate.
  template <bool kRotates>
  class Turns {
   public:
    __device__ Turns(const TileRing& ring, int stage) : ring_(ring), stage_(stage) {
      if constexpr (kRotates && kTurns < kTile) {
        const Vec<A, 2> next = ring.turn(stage, 1);
        now_ = ring.turn(stage, 0);
        step_ = {next.at[0] * now_.at[0] + next.at[1] * now_.at[1], next.at[1] * now_.at[0] - next.at[0] * now_.at[1]};
      }
    }
    /// To be asked for in rising order, from 0 on.
    __device__ Vec<A, 2> at(int token) {
      if constexpr (kTurns == kTile) return ring_.turn(stage_, token);
      if (token > 0)
        now_ = {now_.at[0] * step_.at[0] - now_.at[1] * step_.at[1],
                now_.at[1] * step_.at[0] + now_.at[0] * step_.at[1]};
      return now_;
    }

   private:
    const TileRing& ring_;
    int stage_;
    Vec<A, 2> now_, step_;
  };
  /// Of the thread's head: the factors of a stream's rows, one token after the other; 1 for far tokens.
  __device__ void factors(A (&to)[kTile], int stage, int stream) const {
#pragma unroll
    for (int i = 0; i < kTile; i += 4) {
      const auto four = factors_.template load<4>((stage * 2 + stream) * kHeads * kTile + of_head_ + i);
#pragma unroll
      for (int j = 0; j < 4; ++j) to[i + j] = four.at[j];
    }
  }
  /// The state of a stream before the tile.
  __device__ A note(int stage, int stream) const { return notes_[(stage * kNotes + stream) * kRow + slot_]; }

 private:
  static constexpr int kHeads = 2, kFactors = 2 * kHeads;  // of a block at most; rows of factors of a tile

  __device__ FarTokens far_tokens_of(int head, int64_t token) const {
    const int h = head < near_.heads ? head : 0;  // for channels behind the last one
    FarTokens far{.dilation = near_.dilation[h], .initial = near_.initial[h]};
    far.begin_at(token, kTile);
    return far;
  }
  __device__ int width_of_head() const { return 2 * static_cast<int>(shape_.half); }
  __device__ Vec<A, 2> turn(int stage, int row) const {
    return turns_.template load<2>((stage * kTurns + row) * kRow + slot_ % place_.kPairs * 2);
  }
  __device__ static int row(int stage, int part, int token) { return ((stage * kParts + part) * kTile + token) * kRow; }
  /// Where this thread copies kVec elements at a time: the token of its first step, and the first of its columns.
  template <int kVec>
  __device__ static int copied_token() {
    return thread_index().x / (kRow / kVec);
  }
  template <int kVec>
  __device__ static int copied_column() {
    return thread_index().x % (kRow / kVec) * kVec;
  }
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

  __device__ void begin_fetching(int64_t first) {
    const int channel = place_.channel(shape_, copied_column<N>());
    has_channel_ = channel < shape_.C;
    for (int part = 0; part < kParts; ++part)
      from_[part] = parts_[part].at(place_.b, first + copied_token<N>()) + channel;
    if constexpr (kSlots == Slots::pairs) {
      const int64_t half = shape_.half;
      const int column = copied_column<kVecA>(), pair = place_.pair(column / 2);
      has_pair_ = 2 * static_cast<int64_t>(pair) < shape_.C;
      turn_from_ = static_cast<const A*>(shape_.table) + place_.b * shape_.table_batch +
                   ((first + copied_token<kVecA>()) * half + pair % half) * 2 + column % 2;
    }
    if constexpr (Near::kExists) {
      static_assert(kRows<N> >= kTile);  // a thread has one token of each tile
      for (int s = 0; s < 2; ++s) near_from_[s] = near_.rows[s].at(place_.b, first + copied_token<N>()) + channel;
      far_ = far_tokens_of(channel / width_of_head(), first + copied_token<N>());
      of_head_ = slot_ / width_of_head() * kTile;
      // The first threads bring a factor each: of a stream, one of the block's heads and a token.
      const int thread = thread_index().x, of_head = thread / kTile % kHeads;
      const int head = place_.channel(shape_, 0) / width_of_head() + of_head;
      has_factor_ = head < near_.heads && of_head * width_of_head() < kRow;
      far_factor_ = far_tokens_of(head, first + thread % kTile);
      factor_from_ = near_.factors[thread / (kTile * kHeads) % 2] +
                     (place_.b * near_.heads + (has_factor_ ? head : 0)) * shape_.T + first + thread % kTile;
    }
    if constexpr (kNotes > 0) {
      const int noted = place_.channel(shape_, copied_column<kVecA>()), stream = copied_token<kVecA>();
      has_note_ = stream < kNotes && noted < shape_.C;
      note_from_ = notes_data_ + ((first / kTile * kNotes + stream) * shape_.B + place_.b) * shape_.C + noted;
    }
  }

  /// Begins to copy the next tile, and moves on to the one behind it.
  template <bool reverse>
  __device__ void fetch(int64_t first, int stage) {
    const int tokens = tokens_from(first);
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      const int64_t time = parts_[part].time;
#pragma unroll
      for (int step = 0; step < kTile / kRows<N>; ++step) {
        const int token = step * kRows<N> + copied_token<N>();
        const bool valid = has_channel_ && token < tokens && parts_[part].data != nullptr;
        const T* from = valid ? from_[part] + step * kRows<N> * time : parts_[0].data;
        if constexpr (Near::kExists)
          if (part >= kParts - 2 && valid && !far_.is_far()) from = near_from_[part - (kParts - 2)];
        copy<N>(values_, row(stage, part, token) + copied_column<N>(), from, valid);
      }
      from_[part] += (reverse ? -kTile : kTile) * time;
    }
    if constexpr (Near::kExists) {
      static_assert(reverse);
      far_.move_down(kTile);
      for (int s = 0; s < 2; ++s) near_from_[s] -= kTile * near_.rows[s].time;
      if (const int thread = thread_index().x; thread < kFactors * kTile) {
        const A* const one = static_cast<const A*>(shape_.table);  // the cosine of 0
        const bool valid = has_factor_ && thread % kTile < tokens;
        copy_async_4(factors_, stage * kFactors * kTile + thread, valid && !far_factor_.is_far() ? factor_from_ : one,
                     valid);
      }
      far_factor_.move_down(kTile);
      factor_from_ -= kTile;
    }
    if constexpr (kSlots == Slots::pairs) {
      const int64_t time = 2 * shape_.half;
#pragma unroll
      for (int step = 0; step < (kTurns + kRows<kVecA> - 1) / kRows<kVecA>; ++step) {
        const int token = step * kRows<kVecA> + copied_token<kVecA>();
        if (kTurns < kRows<kVecA> && token >= kTurns) break;
        const bool valid = has_pair_ && token < tokens;
        const A* const from = valid ? turn_from_ + step * kRows<kVecA> * time : static_cast<const A*>(shape_.table);
        copy<kVecA>(turns_, (stage * kTurns + token) * kRow + copied_column<kVecA>(), from, valid);
      }
      turn_from_ += (reverse ? -kTile : kTile) * time;
    }
    if constexpr (kNotes > 0) {
      if (const int stream = copied_token<kVecA>(); stream < kNotes)
        copy<kVecA>(notes_, (stage * kNotes + stream) * kRow + copied_column<kVecA>(),
                    has_note_ ? note_from_ : notes_data_, has_note_);
      note_from_ += (reverse ? -kNotes : kNotes) * shape_.B * shape_.C;
    }
  }

  const ScanShape& shape_;
  const ScanPlace<kSlots, kChannels>& place_;
  const TokenRows<const T> (&parts_)[kParts];
  const std::conditional_t<Near::kExists, const Near&, Near> near_;
  const A* const notes_data_;
  const int slot_;
  // What this thread copies of the next tile.
  const T* from_[kParts] = {};
  const A *turn_from_ = nullptr, *note_from_ = nullptr;
  const T* near_from_[2] = {};
  const A* factor_from_ = nullptr;
  FarTokens far_, far_factor_;
  int of_head_ = 0;
  bool has_channel_ = false, has_pair_ = false, has_note_ = false, has_factor_ = false;
  Shared<T> values_;
  Shared<A> turns_;
  Shared<A> notes_;
  Shared<A> factors_;
};

}  // namespace ratel::cuda
