// Decoding on a GPU: all of a layer between its two projections for one new token a sequence, in one kernel. A block
// has a head of a sequence:
//
//   1. a thread has a pair of channels: the gate's sigmoid, one step of the recurrence of k and v from the state, which
//      is written back, and rope of q and k~ at the sequence's length; q, k~ and v~ go to shared memory
//   2. a key and its value are read by as few lanes as 16 bytes each take, so that a warp has several keys, and four of
//      them under way; every such group of lanes keeps a softmax of its own
//   3. a thread has a channel: the groups' softmaxes are added in order to the token's own (largest score q.k~, sum 1,
//      value v~), the output gate is applied, and the new key and value go into their slot, which no thread reads now
//
// Where there are few heads and many keys, the slots are cut into splits, a block each, which leave their softmaxes in
// working memory, and a second kernel does steps 1 and 3. Their number follows from the capacity, and what they share
// from the length: a captured graph stays valid while a sequence grows, and sums have one order.
//
// Bytes: the visible keys and values once, 2 d each in bf16, beside 12 C and the state, 16 C, of a token. Long lists
// are bound by memory; a short one by the latency of three dependent steps, some microseconds.

#include <algorithm>
#include <limits>
#include <numbers>

#include "cuda/cached_attention_parts.h"
#include "cuda/scratch.h"
#include "cuda/sigmoid.h"
#include "ops/recurrent_attention.h"

namespace ratel::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;

using Part = ProjectionPart;

template <class T>
__device__ accumulate_t<T> exp2_of(accumulate_t<T> x) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return fast_exp2(x);
  else
    return std::exp2(x);
}

/// What a launch is told beside the op's arguments.
struct Decode {
  CachedAttentionArgs args;
  int64_t t;      // of the new tokens
  int64_t width;  // of a projection
  int lanes;      // that share a key: a power of two
  int splits;
  int64_t slots_of_sequence;
  RopeFrequencies frequencies;
  void *statistics, *sums;  // of the splits: (B, H, splits, 2) and (B, H, splits, d)
};

/// Softmaxes over some keys each, in scores that are powers of two: the largest, the sum, and the sums of values.
/// Rows is Shared<A> or a pointer.
template <class T, class Rows>
struct Softmaxes {
  using A = accumulate_t<T>;
  Rows statistics, sums;
  int count, d;

  __device__ void put(int part, A most, A total) const {
    statistics[2 * part] = most;
    statistics[2 * part + 1] = total;
  }
  /// How much what was summed relative to `before` counts relative to `most`.
  __device__ static A weight(A before, A most) { return exp2_of<T>(before - most); }
  __device__ A weight_of(int part, A most) const { return weight(statistics[2 * part], most); }

  __device__ A most(A start) const {
    for (int part = 0; part < count; ++part) {
      const A score = statistics[2 * part];
      start = score > start ? score : start;
    }
    return start;
  }
  /// The sums of all parts relative to `most`, in order.
  __device__ A total(A most) const {
    A sum = 0;
    for (int part = 0; part < count; ++part) sum += weight_of(part, most) * statistics[2 * part + 1];
    return sum;
  }
  __device__ A channel(A most, int c) const {
    A sum = 0;
    for (int part = 0; part < count; ++part) sum += weight_of(part, most) * sums[part * d + c];
    return sum;
  }
};

/// The list of slots that a token sees, its divisions done once.
struct VisibleSlots {
  int64_t dilated, initial, count;         // of the list: ends of its first two parts, and of all
  int64_t to_initial, to_ring, end, ring;  // slot = place in the list + to_...; the ring goes on `ring` before `end`

  __device__ VisibleSlots(const CacheSlots& slots, int64_t position)
      : dilated(slots.dilated(position)),
        initial(dilated + slots.initial(position)),
        count(initial + slots.ring(position)),
        to_initial(slots.first_initial() - dilated),
        to_ring(slots.ring_begin(position) - initial),
        end(slots.count()),
        ring(slots.count() - slots.first_ring()) {}
  __device__ int64_t operator[](int64_t n) const {
    if (n < dilated) return n;
    if (n < initial) return n + to_initial;
    const int64_t slot = n + to_ring;
    return slot < end ? slot : slot - ring;
  }
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
  const T* projection;  // channel 0 of the head, of the first part
  Shared<A> q, key, value;

  __device__ Token(const Decode& decode, const CachedHeads& heads, SharedArena& arena, int splits)
      : how(decode),
        split(block_index().x % splits),
        index(block_index().x / splits),
        d(static_cast<int>(decode.args.C / decode.args.H)),
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
        value(arena.take<A>(d)) {}

  __device__ A at(Part part, int channel) const {
    return convert_element<A>(projection[static_cast<int64_t>(part) * how.args.C + channel]);
  }
  __device__ T* out() const { return static_cast<T*>(how.args.out) + (b * how.args.n + how.t) * how.args.C + h * d; }

  /// Step 1, of it all or the query alone, which is scaled so that scores are powers of two.
  enum class Begin { all, query };
  template <Begin kBegin>
  __device__ void begin() const {
    const int half = d / 2;
    const A scale = static_cast<A>(std::numbers::log2e) / std::sqrt(static_cast<A>(d));
    for (int c = thread_index().x; c < half; c += kThreads) {
      const auto turn = how.frequencies.turn<A>(position, c);
      const auto put_turned = [&](Shared<A> to, A left, A right) {
        const auto pair = turned(left, right, turn);
        to[c] = pair.at[0];
        to[c + half] = pair.at[1];
      };
      put_turned(q, scale * at(Part::query, c), scale * at(Part::query, c + half));
      if constexpr (kBegin == Begin::all) {
        put_turned(key, step_key(c), step_key(c + half));
        value[c] = step_value(c);
        value[c + half] = step_value(c + half);
      }
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
      out()[c] = round_to<T>(attended * sigmoid_for<T>(at(Part::output_gate, c)));
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
  /// The state of k~ or v~ takes a step.
  __device__ A step(int64_t state_of_sequence, Part part, int channel) const {
    const A x = at(part, channel);
    if (how.args.state == nullptr) return x;
    A& state = static_cast<A*>(how.args.state)[(2 * b + state_of_sequence) * how.args.C + h * d + channel];
    const A g = sigmoid_for<T>(at(Part::gate, channel));
    return state = g * state + (1 - g) * x;
  }
  __device__ A step_key(int channel) const { return step(0, Part::key, channel); }
  __device__ A step_value(int channel) const { return step(1, Part::value, channel); }
};

/// The softmax of one group of lanes over the keys it is given; a lane has N channels of every kPieces.
template <class T, int N, int kPieces>
class KeyGroup {
  using A = accumulate_t<T>;
  static constexpr int kKeys = kPieces == 1 ? 4 : 1;  // under way at once

 public:
  __device__ explicit KeyGroup(const Token<T>& token)
      : token_(token), lanes_(token.how.lanes), lane_(lane_index() % lanes_) {
    if constexpr (kPieces == 1) for_each_channel([&](int, int i, int c) { q_[i] = token.q[c]; });
  }

  /// Keys [begin, end) of the list are shared by all groups of the block.
  __device__ void attend(const VisibleSlots& visible, int64_t begin, int64_t end) {
    const int groups = kWarp / lanes_;  // of a warp, whose lanes take the same steps
    for (int64_t first = begin + warp_index() * groups * kKeys; first < end; first += kWarps * groups * kKeys) {
      int64_t row[kKeys];
      bool is_key[kKeys];
#pragma unroll
      for (int u = 0; u < kKeys; ++u) {
        const int64_t n = first + u * groups + lane_index() / lanes_;
        is_key[u] = n < end;
        row[u] = (token_.first_row + visible[is_key[u] ? n : begin]) * token_.d;
      }
      Vec<T, N> k[kKeys][kPieces], v[kKeys][kPieces];
      load(k, token_.how.args.keys, row);
      if constexpr (kPieces == 1) load(v, token_.how.args.values, row);
      A score[kKeys], next = most_;
#pragma unroll
      for (int u = 0; u < kKeys; ++u) {
        score[u] = 0;
        for_each_channel([&](int p, int i, int c) {
          const A q = kPieces == 1 ? q_[i] : A{token_.q[c]};
          score[u] += q * convert_element<A>(k[u][p].at[i]);
        });
        for (int step = lanes_ / 2; step > 0; step /= 2) score[u] += shuffle_xor(score[u], step);
        if (is_key[u] && score[u] > next) next = score[u];
      }
      if constexpr (kPieces > 1) load(v, token_.how.args.values, row);  // registers hold either
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
        for (int p = 0; p < kPieces; ++p)
#pragma unroll
          for (int i = 0; i < N; ++i) sums_[p][i] += p_u * convert_element<A>(v[u][p].at[i]);
      }
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

  /// The lane's channels of rows that begin at these elements.
  __device__ void load(Vec<T, N> (&to)[kKeys][kPieces], const void* from, const int64_t (&row)[kKeys]) const {
#pragma unroll
    for (int u = 0; u < kKeys; ++u)
#pragma unroll
      for (int p = 0; p < kPieces; ++p)
        to[u][p] = channel(p) < token_.d ? load_vec<N>(static_cast<const T*>(from) + row[u] + channel(p)) : Vec<T, N>{};
  }

  const Token<T>& token_;
  int lanes_, lane_;
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

/// Blocks of a multiprocessor at least, which leave a thread 128 registers, or 255.
template <int kPieces>
inline constexpr int kBlocks = kPieces == 1 ? 4 : 2;

/// All three steps; the block has all keys of its head.
template <class T, int N, int kPieces>
__global__ __launch_bounds__(kThreads, kBlocks<kPieces>) void decode_whole(Decode how, CachedHeads heads) {
  SharedArena arena;
  const Token<T> token(how, heads, arena, 1);
  if (!token.is_there) return token.finish_absent();
  token.template begin<Token<T>::Begin::all>();
  const VisibleSlots visible(token.slots, token.position);
  KeyGroup<T, N, kPieces> group(token);
  group.attend(visible, 0, visible.count);
  token.finish(group.shared(arena));
}

/// Step 2 for a share of the keys.
template <class T, int N, int kPieces>
__global__ __launch_bounds__(kThreads, kBlocks<kPieces>) void decode_split(Decode how, CachedHeads heads) {
  using A = accumulate_t<T>;
  SharedArena arena;
  const Token<T> token(how, heads, arena, how.splits);
  if (!token.is_there) return;
  token.template begin<Token<T>::Begin::query>();
  const VisibleSlots visible(token.slots, token.position);
  KeyGroup<T, N, kPieces> group(token);
  group.attend(visible, visible.count * token.split / how.splits, visible.count * (token.split + 1) / how.splits);
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
  if (!token.is_there) return token.finish_absent();
  token.template begin<Token<T>::Begin::all>();
  token.finish(splits_of(token));
}

/// How many blocks share a head's keys: where that is more than one, every block has 256 keys or more at the end.
int64_t splits_for(const CachedAttentionArgs& args, const CachedHeads& heads) {
  constexpr int64_t kWanted = 256, kLeastKeys = 256, kMost = 64;
  int64_t keys = 0;
  for (int h = 0; h < heads.count; ++h) keys = std::max(keys, heads.heads[h].slots.count());
  const int64_t wanted = (kWanted + args.B * args.H - 1) / (args.B * args.H);
  return std::clamp<int64_t>(std::min(wanted, keys / kLeastKeys), 1, kMost);
}

template <class T, int N, int kPieces>
void run(const CachedAttentionArgs& args, int64_t t, Stream stream) {
  using A = accumulate_t<T>;
  const int64_t d = args.C / args.H;
  int lanes = 1;
  while (lanes < kWarp && lanes * N < d) lanes *= 2;
  for_each_cached_group(args, HeadKinds::dilated, [&](const CachedHeads& heads) {
    const int64_t splits = splits_for(args, heads), blocks = args.B * heads.count;
    const Scratch<A> statistics(splits == 1 ? 0 : blocks * splits * 2, stream),
        sums(splits == 1 ? 0 : blocks * splits * d, stream);
    const Decode how{args,
                     t,
                     projection_width(args),
                     lanes,
                     static_cast<int>(splits),
                     args.slots_before[args.H],
                     RopeFrequencies(args.rope_base, d),
                     statistics.get(),
                     sums.get()};
    const int groups = kThreads / lanes;
    const size_t token = 3 * shared_size<A>(d), parts = shared_size<A>(2 * groups) + shared_size<A>(groups * d);
    if (splits == 1)
      return launch({"decode_attention", blocks, kThreads, token + parts, stream}, decode_whole<T, N, kPieces>, how,
                    heads);
    launch({"decode_attention_split", blocks * splits, kThreads, token + parts, stream}, decode_split<T, N, kPieces>,
           how, heads);
    launch({"decode_attention_join", blocks, kThreads, token, stream}, decode_join<T>, how, heads);
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
