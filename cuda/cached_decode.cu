// Decoding on a GPU: all of a layer between its two projections for one new token a sequence, in one kernel. A block
// has a head of a sequence:
//
//   1. a thread has a pair of channels: the gate's sigmoid, one step of the recurrence of k and v from the state, which
//      is written back, and rope of q and k~ at the sequence's length; q, k~ and v~ go to shared memory
//   2. a key and its value are read by as few lanes as 16 bytes each take, so that a warp has several keys; every such
//      group of lanes has two or four of its keys under way, and keeps a softmax of its own
//   3. a thread has a channel: the groups' softmaxes are added in order to the token's own (largest score q.k~, sum 1,
//      value v~), the output gate is applied, and the new key and value go into their slot, which no thread reads now
//
// Where there are few heads and many keys, the slots are cut into splits, a block each, which leave their softmaxes in
// working memory, and a second kernel does steps 1 and 3. Their number follows from the capacity, and what they share
// from the length: a captured graph stays valid while a sequence grows, and sums have one order.
//
// What the kernel before these writes is the projection alone. So the first keys and values, which lie in the cache,
// and the angles, which follow from the length, are asked for before a block waits for it, and each next key where the
// one before was used.
//
// Bytes: the visible keys and values once, 2 d each in bf16, beside 12 C and the state, 16 C, of a token. Long lists
// are bound by memory, of which a multiprocessor has 64 KB under way; a short one by the latency of three dependent
// steps, some microseconds. Measured on an H100 with nothing before it, 16 heads of 128: 64 sequences of 256 keys 55 us
// (57 by the blocks of few; a copy's rate would allow 46), of 64 keys 14.6 (17; 12), of 4096 keys 703 (by the blocks of
// many 716); one of 64 keys 8 to 10. Keys on their way in a ring in shared memory, twice as many: 56, 16 and 721.

#include <algorithm>
#include <limits>
#include <numbers>

#include "cuda/cached_attention_parts.h"
#include "cuda/cached_list.h"
#include "cuda/packed.h"
#include "cuda/rotation.h"
#include "cuda/scratch.h"
#include "cuda/sigmoid.h"
#include "ops/recurrent_attention.h"

namespace ratel::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;

using Part = ProjectionPart;

/// What a launch is told beside the op's arguments.
struct Decode {
  CachedAttentionArgs args;
  int64_t t;      // of the new tokens
  int64_t width;  // of a projection
  int d;          // channels of a head
  int lanes;      // that share a key: a power of two
  int splits;
  int64_t slots_of_sequence;
  RopeFrequencies frequencies;
  void *statistics, *sums;  // of the splits: (B, H, splits, 2) and (B, H, splits, d)
};

/// The head of a sequence that this block works on, and its new token, which comes to lie in shared memory.
template <class T>
struct Token {
  using A = accumulate_t<T>;
  const Decode& how;
  int split, index, d;  // index: of the heads of all sequences in this launch
  int64_t b, h, position, first_row;
  CacheSlots slots;
  bool is_there;
  const T* projection;                  // channel 0 of the head, of the first part
  Shared<A> q, key, value, gate, turn;  // the output gate's sigmoid; cosines, then sines

  __device__ Token(const Decode& decode, const CachedHeads& heads, SharedArena& arena, int splits)
      : how(decode),
        split(block_index().x % splits),
        index(block_index().x / splits),
        d(decode.d),
        b(index / heads.count),
        h(heads.first + index % heads.count),
        position(decode.args.lengths[b] + decode.t),
        first_row(b * decode.slots_of_sequence + heads.heads[index % heads.count].before),
        slots(heads.heads[index % heads.count].slots),
        is_there(decode.t < decode.args.counts[b]),
        projection(static_cast<const T*>(decode.args.projection) + (b * decode.args.n + decode.t) * decode.width +
                   h * d),
        q(arena.take<A>(d)),
        key(arena.take<A>(d)),
        value(arena.take<A>(d)),
        gate(arena.take<A>(d)),
        turn(arena.take<A>(d)) {}
  __host__ static size_t shared_bytes(int64_t d) { return 5 * shared_size<A>(d); }

  __device__ A at(Part part, int channel) const {
    return convert_element<A>(projection[static_cast<int64_t>(part) * how.args.C + channel]);
  }
  __device__ T* out() const { return static_cast<T*>(how.args.out) + (b * how.args.n + how.t) * how.args.C + h * d; }

  /// Of step 1 what the position alone says: each thread has the angles of its pairs.
  __device__ void prepare() const {
    const int half = d / 2;
    for (int c = thread_index().x; c < half; c += kThreads) {
      const auto angle = how.frequencies.turn<A>(position, c);
      turn[c] = angle.at[0];
      turn[c + half] = angle.at[1];
    }
  }

  /// Step 1, of it all or the query alone, which is scaled so that scores are powers of two.
  enum class Begin { all, query };
  template <Begin kBegin>
  __device__ void begin() const {
    const int half = d / 2;
    const A scale = static_cast<A>(std::numbers::log2e) / std::sqrt(static_cast<A>(d));
    for (int c = thread_index().x; c < half; c += kThreads) {
      const auto put_turned = [&](Shared<A> to, A left, A right) {
        const auto pair = turned(left, right, {{turn[c], turn[c + half]}});
        to[c] = pair.at[0];
        to[c + half] = pair.at[1];
      };
      const A left = at(Part::query, c), right = at(Part::query, c + half);
      if constexpr (kBegin == Begin::all) {  // all loads lie in front of the states' stores
        Channel of[2] = {channel(c), channel(c + half)};
        const A gates[2] = {at(Part::output_gate, c), at(Part::output_gate, c + half)};
        for (int i = 0; i < 2; ++i) {
          step(of[i], c + i * half);
          value[c + i * half] = of[i].value;
          gate[c + i * half] = sigmoid_for<T>(gates[i]);
        }
        put_turned(key, of[0].key, of[1].key);
      }
      put_turned(q, scale * left, scale * right);
    }
    sync_block();
  }

  /// The own score, the same bits in every lane.
  __device__ A own_score() const {
    A sum = 0;
    for (int c = lane_index(); c < d; c += kWarp) sum += q[c] * key[c];
    return warp_sum(sum);
  }

  /// Step 3: `parts` are of all keys but the own one.
  template <class Rows>
  __device__ void finish(const Softmaxes<T, Rows>& parts) const {
    const A own = own_score(), most = parts.most(own), weight = parts.weight(own, most);
    const A total = weight + parts.total(most);
    const int64_t row = slots.keeps(position) ? first_row + slots.slot(position) : -1;
    for (int c = thread_index().x; c < d; c += kThreads) {
      const A attended = (weight * value[c] + parts.channel(most, c)) / total;
      out()[c] = round_to<T>(attended * gate[c]);
      if (row < 0) continue;
      static_cast<T*>(how.args.keys)[row * d + c] = round_to<T>(key[c]);
      static_cast<T*>(how.args.values)[row * d + c] = round_to<T>(value[c]);
    }
  }
  /// Of a sequence that has no new token.
  __device__ void finish_absent() const {
    for (int c = thread_index().x; c < d; c += kThreads) out()[c] = T{};
  }

 private:
  /// A channel of k and v, which become k~ and v~, and of what they follow.
  struct Channel {
    A key, value, gate = 0, key_before = 0, value_before = 0;
  };
  __device__ A* state(int channel) const {
    return static_cast<A*>(how.args.state) + 2 * b * how.args.C + h * d + channel;
  }
  __device__ Channel channel(int c) const {
    Channel of{at(Part::key, c), at(Part::value, c)};
    if (how.args.state == nullptr) return of;
    of.gate = at(Part::gate, c);
    of.key_before = state(c)[0];
    of.value_before = state(c)[how.args.C];
    return of;
  }
  /// The states take a step.
  __device__ void step(Channel& of, int c) const {
    if (how.args.state == nullptr) return;
    const A g = sigmoid_for<T>(of.gate);
    state(c)[0] = of.key = g * of.key_before + (1 - g) * of.key;
    state(c)[how.args.C] = of.value = g * of.value_before + (1 - g) * of.value;
  }
};

/// Of few blocks, four keys of a group are under way at once; of many, two, in half the registers, so that twice as
/// many blocks lie on a GPU and fewer begin or end while no key is under way.
enum class Grid { few, many };

/// The softmax of one group of lanes over the keys it is given; a lane has N channels of every kPieces.
template <class T, int N, int kPieces, Grid kGrid>
class KeyGroup {
  using A = accumulate_t<T>;
  static constexpr int kKeys = kPieces > 1 ? 1 : kGrid == Grid::many ? 2 : 4;  // under way at once

 public:
  __device__ explicit KeyGroup(const Token<T>& token)
      : token_(token),
        lanes_(token.how.lanes),
        lane_(lane_index() % lanes_),
        groups_(kWarp / lanes_),
        group_(lane_index() / lanes_),
        begin_(0),
        end_(0) {}

  /// Keys [begin, end) of the list are shared by all groups of the block; asks for the first ones.
  __device__ void begin(const VisibleSlots& visible, int begin, int end) {
    begin_ = begin + warp_index() * groups_ * kKeys;
    end_ = end;
    if constexpr (kPieces == 1) {
      find_rows(visible, begin_);
      ask_for(k_, token_.how.args.keys);
      ask_for(v_, token_.how.args.values);
    }
  }

  /// With few registers a key a lane has the next ones under way where it has used those before.
  __device__ void attend(const VisibleSlots& visible) {
    if constexpr (kPieces == 1) for_each_channel([&](int, int i, int c) { q_[i] = token_.q[c]; });
    const int step_of_block = kWarps * groups_ * kKeys;
    for (int first = begin_; first < end_; first += step_of_block) {  // the same in all lanes of a warp
      if constexpr (kPieces > 1) {
        find_rows(visible, first);
        ask_for(k_, token_.how.args.keys);
      }
      A score[kKeys], next = most_;
      bool is_key[kKeys];
#pragma unroll
      for (int u = 0; u < kKeys; ++u) {
        score[u] = 0;
#pragma unroll
        for (int p = 0; p < kPieces; ++p) {
          const auto k = unpack<T, N>(k_[u][p]);
#pragma unroll
          for (int i = 0; i < N; ++i)
            if constexpr (kPieces == 1)
              score[u] += q_[i] * k.at[i];
            else if (channel(p) < token_.d)
              score[u] += token_.q[channel(p) + i] * k.at[i];
        }
        is_key[u] = key_of_group(first, u) < end_;
      }
#pragma unroll
      for (int step = kWarp / 2; step > 0; step /= 2)
        if (step < lanes_)
          for (int u = 0; u < kKeys; ++u) score[u] += shuffle_xor(score[u], step);
      for (int u = 0; u < kKeys; ++u)
        if (is_key[u] && score[u] > next) next = score[u];
      if constexpr (kPieces > 1) {
        ask_for(v_, token_.how.args.values);  // registers hold either
      } else {
        find_rows(visible, first + step_of_block);
        ask_for(k_, token_.how.args.keys);
      }
      const A correction = Softmaxes<T, A*>::weight(most_, next);
      most_ = next;
      total_ *= correction;
      for (auto& piece : sums_)
        for (A& sum : piece) sum *= correction;
#pragma unroll
      for (int u = 0; u < kKeys; ++u) {
        const A p_u = is_key[u] ? exp2_of<T>(score[u] - next) : A{0};
        total_ += p_u;
#pragma unroll
        for (int p = 0; p < kPieces; ++p) {
          const auto v = unpack<T, N>(v_[u][p]);
#pragma unroll
          for (int i = 0; i < N; ++i) sums_[p][i] += p_u * v.at[i];
        }
      }
      if constexpr (kPieces == 1) ask_for(v_, token_.how.args.values);
    }
  }

  /// The softmaxes of all groups, which are those of kThreads / lanes in order.
  __device__ Softmaxes<T, Shared<A>> shared(SharedArena& arena) const {
    const int groups = kThreads / lanes_, mine = thread_index().x / lanes_;
    const Softmaxes<T, Shared<A>> parts{arena.take<A>(2 * groups), arena.take<A>(groups * token_.d), groups, token_.d};
    if (lane_ == 0) parts.put(mine, most_, total_);
    for_each_channel([&](int p, int i, int c) { parts.sums[mine * token_.d + c] = sums_[p][i]; });
    sync_block();
    return parts;
  }

 private:
  __device__ int channel(int piece) const { return (piece * lanes_ + lane_) * N; }
  /// f(piece, place in it, channel) for the channels of this lane that there are.
  template <class F>
  __device__ void for_each_channel(F&& f) const {
#pragma unroll
    for (int p = 0; p < kPieces; ++p)
#pragma unroll
      for (int i = 0; i < N; ++i)
        if (channel(p) < token_.d) f(p, i, channel(p) + i);
  }

  __device__ int key_of_group(int first, int u) const { return first + u * groups_ + group_; }
  /// Where the keys lie of those from `first` on, which the warp takes, that are this group's; -1: there is none.
  __device__ void find_rows(const VisibleSlots& visible, int first) {
#pragma unroll
    for (int u = 0; u < kKeys; ++u) {
      const int n = key_of_group(first, u);
      row_[u] = n < end_ ? token_.first_row * token_.d + int64_t{visible[n]} * token_.d : -1;
    }
  }
  /// The lane's channels of these rows. What there is not stays as it is, and counts nothing.
  __device__ void ask_for(Packed<T, N> (&to)[kKeys][kPieces], const void* from) const {
#pragma unroll
    for (int u = 0; u < kKeys; ++u)
#pragma unroll
      for (int p = 0; p < kPieces; ++p)
        if (row_[u] >= 0 && channel(p) < token_.d)
          to[u][p] = load_packed<N>(static_cast<const T*>(from) + row_[u] + channel(p));
        else if (kPieces > 1)
          to[u][p] = {};  // which need not be kept until then
  }

  const Token<T>& token_;
  int lanes_, lane_, groups_, group_;  // lanes of a group, groups of a warp, and which of them
  int begin_, end_;                    // from the warp's first key on
  int64_t row_[kKeys] = {};
  Packed<T, N> k_[kKeys][kPieces] = {}, v_[kKeys][kPieces] = {};
  A q_[N] = {};  // of one piece; more stay in shared memory
  A sums_[kPieces][N] = {};
  A most_ = std::numeric_limits<A>::lowest(), total_ = 0;  // no score is less, and no difference is NaN
};

/// The softmaxes that the splits of this block's head leave in working memory.
template <class T, class A = accumulate_t<T>>
__device__ Softmaxes<T, A*> splits_of(const Token<T>& token) {
  const int64_t first = int64_t{token.index} * token.how.splits;
  return {static_cast<A*>(token.how.statistics) + first * 2, static_cast<A*>(token.how.sums) + first * token.d,
          token.how.splits, token.d};
}

/// Blocks of a multiprocessor at least, which leave a thread 128 registers, 64, or 255.
template <int kPieces, Grid kGrid = Grid::few>
inline constexpr int kBlocks = kPieces > 1           ? 2
                               : kGrid == Grid::many ? 8
                                                     : 4;

/// All three steps; the block has all keys of its head.
template <class T, int N, int kPieces, Grid kGrid>
__global__ __launch_bounds__(kThreads, (kBlocks<kPieces, kGrid>)) void decode_whole(Decode how, CachedHeads heads) {
  SharedArena arena;
  const Token<T> token(how, heads, arena, 1);
  const VisibleSlots visible(token.slots, token.position);
  KeyGroup<T, N, kPieces, kGrid> group(token);
  let_next_begin();
  if (token.is_there) {
    group.begin(visible, 0, visible.count);
    token.prepare();
  }
  wait_for_previous();
  if (!token.is_there) return token.finish_absent();
  token.template begin<Token<T>::Begin::all>();
  group.attend(visible);
  token.finish(group.shared(arena));
}

/// Step 2 for a share of the keys.
template <class T, int N, int kPieces>
__global__ __launch_bounds__(kThreads, kBlocks<kPieces>) void decode_split(Decode how, CachedHeads heads) {
  using A = accumulate_t<T>;
  SharedArena arena;
  const Token<T> token(how, heads, arena, how.splits);
  const VisibleSlots visible(token.slots, token.position);
  KeyGroup<T, N, kPieces, Grid::few> group(token);
  let_next_begin();
  if (token.is_there) {
    group.begin(visible, visible.share(token.split, how.splits), visible.share(token.split + 1, how.splits));
    token.prepare();
  }
  wait_for_previous();
  if (!token.is_there) return;
  token.template begin<Token<T>::Begin::query>();
  group.attend(visible);
  const auto parts = group.shared(arena);
  const auto splits = splits_of(token);
  const A most = parts.most(std::numeric_limits<A>::lowest());
  if (thread_index().x == 0) splits.put(token.split, most, parts.total(most));
  for (int c = thread_index().x; c < token.d; c += kThreads)
    splits.sums[token.split * token.d + c] = parts.channel(most, c);
}

/// Steps 1 and 3.
template <class T>
__global__ __launch_bounds__(kThreads, kBlocks<1>) void decode_join(Decode how, CachedHeads heads) {
  SharedArena arena;
  const Token<T> token(how, heads, arena, 1);
  let_next_begin();
  if (token.is_there) token.prepare();
  wait_for_previous();
  if (!token.is_there) return token.finish_absent();
  token.template begin<Token<T>::Begin::all>();
  token.finish(splits_of(token));
}

/// Of the head that has most.
int64_t most_slots(const CachedHeads& heads) {
  int64_t slots = 0;
  for (int h = 0; h < heads.count; ++h) slots = std::max(slots, heads.heads[h].slots.count());
  check(slots <= kMostVisibleSlots, "cached_attention: a head's cache on a GPU has at most 2^30 slots");
  return slots;
}

/// How many blocks share a head's keys: where that is more than one, every block has 256 keys or more at the end.
int64_t splits_for(const CachedAttentionArgs& args, int64_t slots) {
  constexpr int64_t kWanted = 256, kLeastKeys = 256, kMost = 64;
  const int64_t wanted = (kWanted + args.B * args.H - 1) / (args.B * args.H);
  return std::clamp<int64_t>(std::min(wanted, slots / kLeastKeys), 1, kMost);
}

/// 528 blocks of few lie on an H100. Timed: lists of 64 and 256 keys, where many are quicker, and of 4096, where they
/// are slower; 128 channels, of which eight blocks take 62 KB.
Grid grid_of(int64_t blocks, int64_t slots, int64_t d) {
  return blocks > 512 && slots <= 512 && d <= 128 ? Grid::many : Grid::few;
}

template <class T, int N, int kPieces>
void run(const CachedAttentionArgs& args, int64_t t, Stream stream) {
  using A = accumulate_t<T>;
  const int64_t d = args.C / args.H;
  int lanes = 1;
  while (lanes < kWarp && lanes * N < d) lanes *= 2;
  for_each_cached_group(args, HeadKinds::dilated, [&](const CachedHeads& heads) {
    const int64_t slots = most_slots(heads), splits = splits_for(args, slots), blocks = args.B * heads.count;
    const Scratch<A> statistics(splits == 1 ? 0 : blocks * splits * 2, stream),
        sums(splits == 1 ? 0 : blocks * splits * d, stream);
    const Decode how{args,
                     t,
                     projection_width(args),
                     static_cast<int>(d),
                     lanes,
                     static_cast<int>(splits),
                     args.slots_before[args.H],
                     RopeFrequencies(args.rope_base, d),
                     statistics.get(),
                     sums.get()};
    const int groups = kThreads / lanes;
    const size_t token = Token<T>::shared_bytes(d), parts = shared_size<A>(2 * groups) + shared_size<A>(groups * d);
    // Only the first token's keys are in the cache when the kernel before this one ends.
    Launch launched{
        .kernel = "decode_attention",
        .grid_x = blocks,
        .block_x = kThreads,
        .shared_bytes = token + parts,
        .stream = stream,
        .start = t == 0 ? Start::early : Start::in_order,
        // As the products on either side of it ask for: fused_linear of one row (of usual size), or of several.
        .division = args.B == 1 ? Division::shared : Division::cache};
    if (splits == 1) {
      if constexpr (std::is_same_v<T, bfloat16> && kPieces == 1)
        if (grid_of(blocks, slots, d) == Grid::many) {
          launched.kernel = "decode_attention_many";
          return launch(launched, decode_whole<T, N, kPieces, Grid::many>, how, heads);
        }
      return launch(launched, decode_whole<T, N, kPieces, Grid::few>, how, heads);
    }
    launched.kernel = "decode_attention_split";
    launched.grid_x = blocks * splits;
    launch(launched, decode_split<T, N, kPieces>, how, heads);
    launched.kernel = "decode_attention_join";
    launched.grid_x = blocks;
    launched.shared_bytes = token;
    launch(launched, decode_join<T>, how, heads);
  });
}

}  // namespace

void cached_decode(const CachedAttentionArgs& args, int64_t t, Stream stream) {
  visit_float(args.dtype, "cached_attention", [&]<class T>() {
    constexpr int N = kPerVec<T>, kMostPieces = 1024 / kWarp;
    const int64_t d = args.C / args.H;
    if (!is_vectorisable<T>(d, args.keys, args.values))
      run<T, 1, kMostPieces>(args, t, stream);
    else if (d <= kWarp * N)
      run<T, N, 1>(args, t, stream);
    else
      run<T, N, kMostPieces / N>(args, t, stream);
  });
}

}  // namespace ratel::cuda
