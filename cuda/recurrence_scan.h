#pragma once

// The gated recurrence on a GPU, of one tensor under a gate as it is (gated_recurrence), or of keys and values under
// the sigmoid of one gate, the keys rotated (the recurrence stage of recurrent_attention).
//
// A block has 128 channels of a batch entry, a channel a thread, and walks time with the states in registers; tiles of
// tokens come through a ring of three in shared memory. Backward walks down: a tile's states are computed again from
// the one noted before it into registers, and on them runs
//
//   e[t] = grad[t] + g[t+1] e[t+1];   dx = (1 - g) e;   dg = sum over streams of e (h[t-1] - x)
//
// Where there are few channels and much time, time is cut into segments: a first launch leaves each segment's product
// of gates and its states from zero, and a block then walks those of the segments before its own (backward: after its
// own) to the state it starts from. The cut follows from the shape alone.
//
// Bytes of a bf16 element (token and channel), and at 3.0 TB/s 8 x 4096 x 2048 of them:
//   gated_recurrence  forward 6, 134 us;   backward 10, and 4 to note the states: 313 us
//   recurrence stage  forward 10, 224 us;  backward 16, and 0.5 for the noted states: 369 us; 0.5 more forward
// where time is cut, each scan reads its gate and streams (backward: their gradients) once more, 4 or 6. Bound by
// memory: at that rate 128 channels of a token take an H100's multiprocessor 98 cycles forward and 157 backward, in
// which a thread issues about 40 and 75 instructions.

#include "cuda/scan_tiles.h"
#include "cuda/scratch.h"
#include "cuda/sigmoid.h"
#include "ops/rope.h"

namespace ratel::cuda {

/// The gate of a scan of kStreams tensors: with two it comes before its sigmoid, and the first stream rotates. 1 for a
/// token behind the end, which passes on what it is given in both directions.
template <class T, int kStreams>
__device__ inline accumulate_t<T> gate_or_hold(accumulate_t<T> g, bool is_token) {
  const accumulate_t<T> gate = [g] {
    if constexpr (kStreams == 1)
      return g;
    else
      return sigmoid_for<T>(g);
  }();
  return is_token ? gate : 1;
}

/// The thread's channel of a pair, turned: the left one x cos - partner sin, the right one x cos + partner sin, and the
/// other way around to turn back.
template <class A>
__device__ inline A turned(A x, const Vec<A, 2>& turn, Rotation rotation) {
  const A partner = shuffle_xor(x, 16);
  const bool is_left = lane_index() < 16;
  const A sine = is_left == (rotation == Rotation::forward) ? -turn.at[1] : turn.at[1];
  return std::fma(x, turn.at[0], partner * sine);
}

/// Per segment, (segments, 1 + kStreams, B, C): the product of the gates, and what each stream has at its end
/// (backward: at its beginning) if it has nothing at the other end.
template <class A>
struct SegmentSums {
  A* data = nullptr;
  int64_t step = 0;  // B C
  template <int kStreams>
  __device__ A* at(int64_t segment, int64_t channel) const {
    return data + segment * (1 + kStreams) * step + channel;
  }
};

template <class T, int kStreams>
struct ScanForward {
  using A = accumulate_t<T>;
  ScanShape shape;
  TokenRows<const T> parts[1 + kStreams];  // gate, streams
  const A* initial = nullptr;              // (B, kStreams, C), or null
  SegmentSums<A> sums = {};
  A* carries = nullptr;   // (tiles, kStreams, B, C), or null
  T* out[kStreams] = {};  // (B, T, C) each, or null
  A* last = nullptr;      // (B, kStreams, C), not the memory of `initial`; or null
};

template <class T, int kStreams>
struct ScanBackward {
  using A = accumulate_t<T>;
  ScanShape shape;
  TokenRows<const T> parts[1 + 2 * kStreams];  // gate, streams, gradients of the streams' results
  const A* carries;
  const A* grad_last = nullptr;  // (B, C), or null
  SegmentSums<A> sums = {};
  TokenRows<T> grads[1 + kStreams] = {};  // of gate, streams; their data may be null
  A* grad_initial = nullptr;              // (B, C), or null
};

template <int kStreams>
inline constexpr Slots kScanSlots = kStreams == 2 ? Slots::pairs : Slots::plain;

template <class T, int kStreams, int N>
__global__ __launch_bounds__(kScanThreads) void scan_forward(ScanForward<T, kStreams> args) {
  using A = accumulate_t<T>;
  constexpr Slots kSlots = kScanSlots<kStreams>;
  SharedArena arena;
  const ScanShape& shape = args.shape;
  const ScanPlace<kSlots> place(shape);
  TileRing<T, 1 + kStreams, N, kSlots> ring(arena, shape, place, args.parts);
  const int c = place.channel(shape, thread_index().x);
  const bool mine = c < shape.C;
  const int64_t channel = place.b * shape.C + c, channels = shape.B * shape.C;
  const auto state_of = [&](int s) { return (place.b * kStreams + s) * shape.C + c; };
  A state[kStreams] = {};
  if (mine) {
    for (int s = 0; s < kStreams; ++s) state[s] = args.initial == nullptr ? A{0} : args.initial[state_of(s)];
    for (int64_t before = 0; before < place.segment; ++before) {
      const A* const sums = args.sums.template at<kStreams>(before, channel);
      for (int s = 0; s < kStreams; ++s) state[s] = sums[0] * state[s] + sums[(1 + s) * channels];
    }
  }
  ring.template for_each_tile<false>([&](int64_t first, int tokens, int stage) {
    if (args.carries != nullptr && mine)
      for (int s = 0; s < kStreams; ++s)
        args.carries[(first / kScanTile<T> * kStreams + s) * channels + channel] = state[s];
    T* out[kStreams];
    int written[kStreams];
    for (int s = 0; s < kStreams; ++s) {
      out[s] = args.out[s] + (place.b * shape.T + first) * shape.C + c;
      written[s] = mine && args.out[s] != nullptr ? tokens : 0;
    }
#pragma unroll
    for (int i = 0; i < kScanTile<T>; ++i) {
      const A g = gate_or_hold<T, kStreams>(ring.value(stage, 0, i), i < tokens);
#pragma unroll
      for (int s = 0; s < kStreams; ++s) {
        state[s] = g * state[s] + (1 - g) * ring.value(stage, 1 + s, i);
        A h = state[s];
        if constexpr (kSlots == Slots::pairs)
          if (s == 0) h = turned(h, ring.turn(stage, i), Rotation::forward);
        if (i < written[s]) *out[s] = round_to<T>(h);
        out[s] += shape.C;
      }
    }
  });
  if (args.last == nullptr || !mine || place.segment < shape.segments - 1) return;
  for (int s = 0; s < kStreams; ++s) args.last[state_of(s)] = state[s];
}

/// The sums of all segments but the last, whose are not asked for.
template <class T, int kStreams, int N>
__global__ __launch_bounds__(kScanThreads) void scan_forward_sums(ScanForward<T, kStreams> args) {
  using A = accumulate_t<T>;
  SharedArena arena;
  const ScanShape& shape = args.shape;
  const ScanPlace<Slots::plain> place(shape);
  TileRing<T, 1 + kStreams, N, Slots::plain> ring(arena, shape, place, args.parts);
  const int c = place.channel(shape, thread_index().x);
  A product = 1, state[kStreams] = {};
  ring.template for_each_tile<false>([&](int64_t, int tokens, int stage) {
#pragma unroll
    for (int i = 0; i < kScanTile<T>; ++i) {
      const A g = gate_or_hold<T, kStreams>(ring.value(stage, 0, i), i < tokens);
      product *= g;
#pragma unroll
      for (int s = 0; s < kStreams; ++s) state[s] = g * state[s] + (1 - g) * ring.value(stage, 1 + s, i);
    }
  });
  if (c >= shape.C) return;
  A* const sums = args.sums.template at<kStreams>(place.segment, place.b * shape.C + c);
  sums[0] = product;
  for (int s = 0; s < kStreams; ++s) sums[(1 + s) * shape.B * shape.C] = state[s];
}

template <class T, int kStreams, int N>
__global__ __launch_bounds__(kScanThreads) void scan_backward(ScanBackward<T, kStreams> args) {
  using A = accumulate_t<T>;
  constexpr Slots kSlots = kScanSlots<kStreams>;
  constexpr int kTile = kScanTile<T>;
  SharedArena arena;
  const ScanShape& shape = args.shape;
  const ScanPlace<kSlots> place(shape);
  TileRing<T, 1 + 2 * kStreams, N, kSlots> ring(arena, shape, place, args.parts);
  const int c = place.channel(shape, thread_index().x);
  const bool mine = c < shape.C;
  const int64_t channel = place.b * shape.C + c, channels = shape.B * shape.C;
  A carried[kStreams] = {};  // g[t+1] e[t+1]
  if (mine) {
    for (int s = 0; s < kStreams; ++s) carried[s] = args.grad_last == nullptr ? A{0} : args.grad_last[channel];
    for (int64_t after = shape.segments - 1; after > place.segment; --after) {
      const A* const sums = args.sums.template at<kStreams>(after, channel);
      for (int s = 0; s < kStreams; ++s) carried[s] = sums[0] * carried[s] + sums[(1 + s) * channels];
    }
  }
  // A tile ahead: the load is under way while the tile before it is worked on.
  const auto load_state = [&](int64_t first, A(&state)[kStreams]) {
    for (int s = 0; s < kStreams; ++s)
      state[s] =
          mine && first >= place.begin ? args.carries[(first / kTile * kStreams + s) * channels + channel] : A{0};
  };
  A next_state[kStreams];
  load_state((place.end - 1) / kTile * kTile, next_state);
  ring.template for_each_tile<true>([&](int64_t first, int tokens, int stage) {
    A gate[kTile], before[kStreams][kTile], state[kStreams];
    for (int s = 0; s < kStreams; ++s) state[s] = next_state[s];
    load_state(first - kTile, next_state);
#pragma unroll
    for (int i = 0; i < kTile; ++i) {
      gate[i] = gate_or_hold<T, kStreams>(ring.value(stage, 0, i), i < tokens);
#pragma unroll
      for (int s = 0; s < kStreams; ++s) {
        before[s][i] = state[s];
        state[s] = gate[i] * state[s] + (1 - gate[i]) * ring.value(stage, 1 + s, i);
      }
    }
    T* grads[1 + kStreams];
    int written[1 + kStreams];
    for (int p = 0; p <= kStreams; ++p) {
      grads[p] = args.grads[p].at(place.b, first + kTile - 1) + c;
      written[p] = mine && args.grads[p].data != nullptr ? tokens : 0;
    }
#pragma unroll
    for (int i = kTile - 1; i >= 0; --i) {
      const A g = gate[i];
      A grad_gate = 0;
#pragma unroll
      for (int s = 0; s < kStreams; ++s) {
        A grad = ring.value(stage, 1 + kStreams + s, i);
        if constexpr (kSlots == Slots::pairs)
          if (s == 0) grad = turned(grad, ring.turn(stage, i), Rotation::backward);
        const A e = grad + carried[s];
        grad_gate += e * (before[s][i] - ring.value(stage, 1 + s, i));
        carried[s] = g * e;
        if (i < written[1 + s]) *grads[1 + s] = round_to<T>((1 - g) * e);
        grads[1 + s] -= args.grads[1 + s].time;
      }
      if constexpr (kStreams == 2) grad_gate *= g * (1 - g);
      if (i < written[0]) *grads[0] = round_to<T>(grad_gate);
      grads[0] -= args.grads[0].time;
    }
  });
  if (args.grad_initial != nullptr && mine && place.begin == 0) args.grad_initial[channel] = carried[0];
}

/// The sums of all segments but the first, whose are not asked for.
template <class T, int kStreams, int N>
__global__ __launch_bounds__(kScanThreads) void scan_backward_sums(ScanBackward<T, kStreams> args) {
  using A = accumulate_t<T>;
  constexpr Slots kSlots = kScanSlots<kStreams>;
  SharedArena arena;
  const ScanShape& shape = args.shape;
  const ScanPlace<kSlots> place(shape, 1);
  TokenRows<const T> parts[1 + kStreams];  // without the streams themselves
  parts[0] = args.parts[0];
  for (int s = 0; s < kStreams; ++s) parts[1 + s] = args.parts[1 + kStreams + s];
  TileRing<T, 1 + kStreams, N, kSlots> ring(arena, shape, place, parts);
  const int c = place.channel(shape, thread_index().x);
  A product = 1, carried[kStreams] = {};
  ring.template for_each_tile<true>([&](int64_t, int tokens, int stage) {
#pragma unroll
    for (int i = kScanTile<T> - 1; i >= 0; --i) {
      const A g = gate_or_hold<T, kStreams>(ring.value(stage, 0, i), i < tokens);
      product *= g;
#pragma unroll
      for (int s = 0; s < kStreams; ++s) {
        A grad = ring.value(stage, 1 + s, i);
        if constexpr (kSlots == Slots::pairs)
          if (s == 0) grad = turned(grad, ring.turn(stage, i), Rotation::backward);
        carried[s] = g * (grad + carried[s]);
      }
    }
  });
  if (c >= shape.C) return;
  A* const sums = args.sums.template at<kStreams>(place.segment, place.b * shape.C + c);
  sums[0] = product;
  for (int s = 0; s < kStreams; ++s) sums[(1 + s) * shape.B * shape.C] = carried[s];
}

/// The launches of a scan: where time is cut, the sums of all segments but one, and then the scan itself.
template <int kStreams, class Args>
void launch_scan(const char* name, Args args, void (*sum)(Args), size_t sum_bytes, void (*scan)(Args), size_t bytes,
                 Stream stream) {
  const ScanShape& shape = args.shape;
  const int64_t step = shape.B * shape.C;
  const bool is_cut = shape.segments > 1;
  const Scratch<typename Args::A> sums(is_cut ? shape.segments * (1 + kStreams) * step : 0, stream);
  args.sums = {sums.get(), step};
  if (is_cut) launch({name, shape.grid() - shape.blocks * shape.B, kScanThreads, sum_bytes, stream}, sum, args);
  launch({name, shape.grid(), kScanThreads, bytes, stream}, scan, args);
}

template <class T, int kStreams, int N>
void run_scan(const char* name, const ScanForward<T, kStreams>& args, Stream stream) {
  launch_scan<kStreams>(name, args, scan_forward_sums<T, kStreams, N>,
                        TileRing<T, 1 + kStreams, N, Slots::plain>::bytes(), scan_forward<T, kStreams, N>,
                        TileRing<T, 1 + kStreams, N, kScanSlots<kStreams>>::bytes(), stream);
}
template <class T, int kStreams, int N>
void run_scan(const char* name, const ScanBackward<T, kStreams>& args, Stream stream) {
  launch_scan<kStreams>(name, args, scan_backward_sums<T, kStreams, N>,
                        TileRing<T, 1 + kStreams, N, kScanSlots<kStreams>>::bytes(), scan_backward<T, kStreams, N>,
                        TileRing<T, 1 + 2 * kStreams, N, kScanSlots<kStreams>>::bytes(), stream);
}

/// States noted for backward, in numbers of A.
template <class T>
int64_t scan_carries(int64_t B, int64_t T_, int64_t C, int kStreams) {
  return (T_ + kScanTile<T> - 1) / kScanTile<T> * kStreams * B * C;
}

}  // namespace ratel::cuda
