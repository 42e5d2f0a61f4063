#pragma once

// The gated recurrence on a GPU, of one tensor under a gate as it is (gated_recurrence), or of keys and values under
// the sigmoid of one gate, the keys rotated (the recurrence stage of recurrent_attention).
//
// A block has 64 or 128 channels of a batch entry and walks time; a thread has a channel of one stream, with the state
// in a register, so that half the warps walk the keys and half the values. Tiles of tokens come through a ring of five
// in shared memory. Backward walks down: a tile's states are computed again from the one noted before it, and on them
// runs
//
//   e[t] = grad[t] + g[t+1] e[t+1];   dx = (1 - g) e;   dg = sum over streams of e (h[t-1] - x)
//
// Two streams exchange their parts of dg through shared memory; each adds up and writes half a tile's. The stage's grad
// of a key that its own query alone sees is ds q, and of its value p da: rows of other tensors, which the ring fetches
// where attention left none (NearRows), times a factor of the token and head.
//
// Where there are few channels and much time, time is cut into segments: a first launch leaves each segment's product
// of gates and its states from zero, and a block then walks those of the segments before its own (backward: after its
// own) to the state it starts from. The cut follows from the shape alone.
//
// Bytes of a bf16 element (token and channel), and at 3.0 TB/s 8 x 4096 x 2048 of them:
//   gated_recurrence  forward 6, 134 us;   backward 10, 224 us;  0.25 each for the noted states
//   recurrence stage  forward 10, 224 us;  backward 16, and 0.5 for the noted states: 369 us; 0.5 more forward
// where time is cut, each scan reads its gate and streams (backward: their gradients) once more, 4 or 6. Bound by
// memory: at that rate 64 channels of a token take an H100's multiprocessor 49 cycles forward and 79 backward. A warp
// issues about 50 and 74 instructions for it (65 with near rows, of which none is turned back), and the eight warps of
// a multiprocessor hide one another's latencies. The body of a tile therefore first loads all that does not hang on the
// state before it. 4 x 4096 x 2048 is half as many warps, and bound by those latencies: 161 and 248 us where memory
// would take half of what is above; 128 channels a block take 219 and 339.
//
// Measured on an H100, 128 channels a block: the stage 237 us forward, 251 with the states noted, 394 us backward; 64
// channels 253, 268 and 427. gated_recurrence 140 us forward, 391 us forward and backward. With one warp for both
// streams of its channels the stage would take the sum of that warp's latencies, 310 us forward.

#include "cuda/runtime.h"
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
__device__ inline A turned_channel(A x, const Vec<A, 2>& turn, Rotation rotation) {
  const A partner = shuffle_xor(x, 16);
  const bool is_left = lane_index() < 16;
  const A sine = is_left == (rotation == Rotation::forward) ? -turn.at[1] : turn.at[1];
  return std::fma(x, turn.at[0], partner * sine);
}

template <int kStreams>
inline constexpr Slots kScanSlots = kStreams == 2 ? Slots::pairs : Slots::plain;

/// Calls f with the stream of a warp as a constant: rotating or not is decided once for a tile.
template <int kStreams, class F>
__device__ inline void with_stream(int s, F&& f) {
  if (kStreams == 1 || s == 0)
    f.template operator()<0>();
  else
    f.template operator()<kStreams - 1>();
}

/// Does the stream rotate?
template <int kStreams, int kStream>
inline constexpr bool kRotates = kStreams == 2 && kStream == 0;

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

/// Where two streams exchange their parts of the gate's gradient of a tile, in numbers of A.
template <class T>
constexpr int scan_exchange(int channels, int streams) {
  return streams == 1 ? 0 : kScanTile<T> * channels;
}

template <class T, int kStreams>
struct ScanForward {
  using A = accumulate_t<T>;
  static constexpr int kOfStreams = kStreams;
  ScanShape shape;
  TokenRows<const T> parts[1 + kStreams];  // gate, streams
  const A* initial = nullptr;              // (B, kStreams, C), or null
  SegmentSums<A> sums = {};
  A* carries = nullptr;   // (tiles, kStreams, B, C), or null
  T* out[kStreams] = {};  // (B, T, C) each, or null
  A* last = nullptr;      // (B, kStreams, C), not the memory of `initial`; or null
};

template <class T, int kStreams, class Near = NoNearRows>
struct ScanBackward {
  using A = accumulate_t<T>;
  static constexpr int kOfStreams = kStreams;
  ScanShape shape;
  TokenRows<const T> parts[1 + 2 * kStreams];  // gate, streams, gradients of the streams' results
  Near near = {};
  const A* carries;
  const A* grad_last = nullptr;  // (B, C), or null
  SegmentSums<A> sums = {};
  T* grads[1 + kStreams] = {};            // of gate, streams: the first element of each, or null
  int64_t grad_batch = 0, grad_time = 0;  // from one batch entry and token to the next, in elements
  A* grad_initial = nullptr;              // (B, C), or null
};

template <class T, int kStreams, int N, int kChannels>
__global__ __launch_bounds__(scan_threads(kChannels, kStreams),
                             scan_blocks(kChannels)) void scan_forward(ScanForward<T, kStreams> args) {
  using A = accumulate_t<T>;
  constexpr Slots kSlots = kScanSlots<kStreams>;
  constexpr int kTile = kScanTile<T>;
  SharedArena arena;
  const ScanShape& shape = args.shape;
  const ScanPlace<kSlots, kChannels> place(shape);
  TileRing<T, kStreams, 1 + kStreams, N, kSlots, kChannels> ring(arena, shape, place, args.parts);
  const int s = thread_stream<kChannels>(), slot = place.slot(), c = place.channel(shape, slot);
  const bool mine = c < shape.C;
  const int64_t channel = place.b * shape.C + c, channels = shape.B * shape.C;
  const int64_t of_state = (place.b * kStreams + s) * shape.C + c;
  A state = 0;
  if (mine) {
    if (args.initial != nullptr) state = args.initial[of_state];
    for (int64_t before = 0; before < place.segment; ++before) {
      const A* const sums = args.sums.template at<kStreams>(before, channel);
      state = sums[0] * state + sums[(1 + s) * channels];
    }
  }
  // Where the next state is noted and the next row written: pointers that move, not one computed for each.
  A* note = args.carries + (place.begin / kTile * kStreams + s) * channels + channel;
  T* row = args.out[s] + (place.b * shape.T + place.begin) * shape.C + c;
  const bool notes = mine && args.carries != nullptr, writes = mine && args.out[s] != nullptr;
  ring.template for_each_tile<false>([&](auto tokens, int stage) {
    if (notes) *note = state;
    note += kStreams * channels;
    with_stream<kStreams>(s, [&]<int kStream>() {
      A gate[kTile], added[kTile];
      typename decltype(ring)::template Turns<kRotates<kStreams, kStream>> turns(ring, stage);
#pragma unroll
      for (int i = 0; i < kTile; ++i) {
        gate[i] = gate_or_hold<T, kStreams>(ring.value(stage, 0, i), i < tokens);
        added[i] = (1 - gate[i]) * ring.value(stage, 1 + kStream, i);
      }
#pragma unroll
      for (int i = 0; i < kTile; ++i) {
        state = gate[i] * state + added[i];
        A h = state;
        if constexpr (kRotates<kStreams, kStream>) h = turned_channel(h, turns.at(i), Rotation::forward);
        const T rounded = round_to<T>(h);
        if (writes && i < tokens) *row = rounded;
        row += shape.C;
      }
    });
  });
  if (args.last != nullptr && mine && place.segment == shape.segments - 1) args.last[of_state] = state;
}

/// The sums of all segments but the last, whose are not asked for.
template <class T, int kStreams, int N, int kChannels>
__global__ __launch_bounds__(scan_threads(kChannels, kStreams),
                             scan_blocks(kChannels)) void scan_forward_sums(ScanForward<T, kStreams> args) {
  using A = accumulate_t<T>;
  SharedArena arena;
  const ScanShape& shape = args.shape;
  const ScanPlace<Slots::plain, kChannels> place(shape);
  TileRing<T, kStreams, 1 + kStreams, N, Slots::plain, kChannels> ring(arena, shape, place, args.parts);
  const int s = thread_stream<kChannels>(), slot = place.slot(), c = place.channel(shape, slot);
  A product = 1, state = 0;
  ring.template for_each_tile<false>([&](auto tokens, int stage) {
#pragma unroll
    for (int i = 0; i < kScanTile<T>; ++i) {
      const A g = gate_or_hold<T, kStreams>(ring.value(stage, 0, i), i < tokens);
      product *= g;
      state = g * state + (1 - g) * ring.value(stage, 1 + s, i);
    }
  });
  if (c >= shape.C) return;
  A* const sums = args.sums.template at<kStreams>(place.segment, place.b * shape.C + c);
  if (s == 0) sums[0] = product;
  sums[(1 + s) * shape.B * shape.C] = state;
}

/// A stream's gradients of a tile: its rows, turned back where it rotates; or, with near rows, of which none is to be
/// turned, times their factors.
template <bool rotates, class Near, class A, int kTile, class Ring>
__device__ inline void read_gradients(A (&grad)[kTile], const Ring& ring, int stage, int part, int stream) {
  typename Ring::template Turns<rotates && !Near::kExists> turns(ring, stage);
  if constexpr (Near::kExists) ring.factors(grad, stage, stream);
#pragma unroll
  for (int i = 0; i < kTile; ++i) {
    const A row = ring.value(stage, part, i);
    if constexpr (Near::kExists)
      grad[i] *= row;
    else if constexpr (rotates)
      grad[i] = turned_channel(row, turns.at(i), Rotation::backward);
    else
      grad[i] = row;
  }
}

/// Where gradients are turned back channels come in pairs.
template <int kStreams, class Near>
inline constexpr Slots kScanBackSlots = Near::kExists ? Slots::plain : kScanSlots<kStreams>;

template <class T, int kStreams, int N, int kChannels, class Near>
__global__ __launch_bounds__(scan_threads(kChannels, kStreams),
                             scan_blocks(kChannels)) void scan_backward(ScanBackward<T, kStreams, Near> args) {
  using A = accumulate_t<T>;
  constexpr Slots kSlots = kScanBackSlots<kStreams, Near>;
  constexpr int kTile = kScanTile<T>, kShare = kTile / kStreams;
  SharedArena arena;
  const ScanShape& shape = args.shape;
  const ScanPlace<kSlots, kChannels> place(shape);
  TileRing<T, kStreams, 1 + 2 * kStreams, N, kSlots, kChannels, kStreams, Near> ring(arena, shape, place, args.parts,
                                                                                     args.near, args.carries);
  const Shared<A> exchange = arena.take<A>(scan_exchange<T>(kChannels, kStreams));
  const int s = thread_stream<kChannels>(), slot = place.slot(), c = place.channel(shape, slot);
  const bool mine = c < shape.C;
  const int64_t channel = place.b * shape.C + c, channels = shape.B * shape.C;
  A carried = 0;  // g[t+1] e[t+1]
  if (mine) {
    if (args.grad_last != nullptr) carried = args.grad_last[channel];
    for (int64_t after = shape.segments - 1; after > place.segment; --after) {
      const A* const sums = args.sums.template at<kStreams>(after, channel);
      carried = sums[0] * carried + sums[(1 + s) * channels];
    }
  }
  // Pointers that move, from the last tile down: to the last row of a tile, and of the thread's share of it.
  const int64_t last = (place.end - 1) / kTile * kTile;
  const int64_t row = place.b * args.grad_batch + last * args.grad_time + c, time = args.grad_time;
  T* row_x = args.grads[1 + s] + row + (kTile - 1) * time;
  T* row_gate = args.grads[0] + row + ((s + 1) * kShare - 1) * time;
  const bool writes_x = mine && args.grads[1 + s] != nullptr, writes_gate = mine && args.grads[0] != nullptr;
  ring.template for_each_tile<true>([&](auto tokens, int stage) {
    A state = ring.note(stage, s);
    A of_gate[kTile];  // the stream's part of the gate's gradient
    with_stream<kStreams>(s, [&]<int kStream>() {
      A gate[kTile], grad[kTile];
#pragma unroll
      for (int i = 0; i < kTile; ++i) gate[i] = gate_or_hold<T, kStreams>(ring.value(stage, 0, i), i < tokens);
      read_gradients<kRotates<kStreams, kStream>, Near>(grad, ring, stage, 1 + kStreams + kStream, kStream);
#pragma unroll
      for (int i = 0; i < kTile; ++i) {
        const A g = gate[i], x = ring.value(stage, 1 + kStream, i);
        of_gate[i] = kStreams == 1 ? state - x : g * (state - x);
        state = g * state + (1 - g) * x;
      }
#pragma unroll
      for (int i = kTile - 1; i >= 0; --i) {
        const A g = gate[i], e = grad[i] + carried, of_x = (1 - g) * e;
        of_gate[i] *= kStreams == 1 ? e : of_x;  // through the sigmoid, whose derivative is g (1 - g)
        carried = g * e;
        const T rounded = round_to<T>(of_x);
        if (writes_x && i < tokens) *row_x = rounded;
        row_x -= time;
        if (i / kShare != kStream) exchange[i * kChannels + slot] = of_gate[i];
      }
    });
    if constexpr (kStreams > 1) sync_block();
    with_stream<kStreams>(s, [&]<int kStream>() {
#pragma unroll
      for (int i = (kStream + 1) * kShare - 1; i >= kStream * kShare; --i) {
        if constexpr (kStreams > 1) of_gate[i] += exchange[i * kChannels + slot];
        const T rounded = round_to<T>(of_gate[i]);
        if (writes_gate && i < tokens) *row_gate = rounded;
        row_gate -= time;
      }
      row_gate -= (kTile - kShare) * time;
    });
  });
  if (args.grad_initial != nullptr && mine && place.begin == 0) args.grad_initial[channel] = carried;
}

/// The sums of all segments but the first, whose are not asked for.
template <class T, int kStreams, int N, int kChannels, class Near>
__global__ __launch_bounds__(scan_threads(kChannels, kStreams),
                             scan_blocks(kChannels)) void scan_backward_sums(ScanBackward<T, kStreams, Near> args) {
  using A = accumulate_t<T>;
  constexpr Slots kSlots = kScanBackSlots<kStreams, Near>;
  SharedArena arena;
  const ScanShape& shape = args.shape;
  const ScanPlace<kSlots, kChannels> place(shape, 1);
  TokenRows<const T> parts[1 + kStreams];  // without the streams themselves
  parts[0] = args.parts[0];
  for (int s = 0; s < kStreams; ++s) parts[1 + s] = args.parts[1 + kStreams + s];
  TileRing<T, kStreams, 1 + kStreams, N, kSlots, kChannels, 0, Near> ring(arena, shape, place, parts, args.near);
  const int s = thread_stream<kChannels>(), slot = place.slot(), c = place.channel(shape, slot);
  A product = 1, carried = 0;
  ring.template for_each_tile<true>([&](auto tokens, int stage) {
    with_stream<kStreams>(s, [&]<int kStream>() {
      A grad[kScanTile<T>];
      read_gradients<kRotates<kStreams, kStream>, Near>(grad, ring, stage, 1 + kStream, kStream);
#pragma unroll
      for (int i = kScanTile<T> - 1; i >= 0; --i) {
        const A g = gate_or_hold<T, kStreams>(ring.value(stage, 0, i), i < tokens);
        product *= g;
        carried = g * (grad[i] + carried);
      }
    });
  });
  if (c >= shape.C) return;
  A* const sums = args.sums.template at<kStreams>(place.segment, place.b * shape.C + c);
  if (s == 0) sums[0] = product;
  sums[(1 + s) * shape.B * shape.C] = carried;
}

/// A scan's kernels and their bytes of shared memory, N elements copied at a time. Wide scans are not cut, and have no
/// sums of their own.
template <class T, int kStreams, int N, int kChannels>
struct ForwardKernels {
  static constexpr size_t kSumBytes = TileRing<T, kStreams, 1 + kStreams, N, Slots::plain, kNarrowScan>::bytes(),
                          kScanBytes = TileRing<T, kStreams, 1 + kStreams, N, kScanSlots<kStreams>, kChannels>::bytes();
  static constexpr auto sum = scan_forward_sums<T, kStreams, N, kNarrowScan>;
  static constexpr auto scan = scan_forward<T, kStreams, N, kChannels>;
};
template <class T, int kStreams, int N, int kChannels, class Near>
struct BackwardKernels {
  static constexpr Slots kSlots = kScanBackSlots<kStreams, Near>;
  static constexpr size_t kSumBytes = TileRing<T, kStreams, 1 + kStreams, N, kSlots, kNarrowScan, 0, Near>::bytes(),
                          kScanBytes =
                              TileRing<T, kStreams, 1 + 2 * kStreams, N, kSlots, kChannels, kStreams, Near>::bytes() +
                              shared_size<accumulate_t<T>>(scan_exchange<T>(kChannels, kStreams));
  static constexpr auto sum = scan_backward_sums<T, kStreams, N, kNarrowScan, Near>;
  static constexpr auto scan = scan_backward<T, kStreams, N, kChannels, Near>;
};
template <int N, int kChannels, class T, int kStreams>
ForwardKernels<T, kStreams, N, kChannels> kernels_of(const ScanForward<T, kStreams>&) {
  return {};
}
template <int N, int kChannels, class T, int kStreams, class Near>
BackwardKernels<T, kStreams, N, kChannels, Near> kernels_of(const ScanBackward<T, kStreams, Near>&) {
  return {};
}

/// The launches of a scan: where time is cut, the sums of all segments but one, and then the scan itself.
template <int kChannels, class Kernels, class Args>
void launch_scan(const char* name, const Kernels& kernels, Args args, Stream stream) {
  const ScanShape& shape = args.shape;
  const int64_t step = shape.B * shape.C;
  const bool is_cut = shape.segments > 1;
  const Scratch<typename Args::A> sums(is_cut ? shape.segments * (1 + Args::kOfStreams) * step : 0, stream);
  args.sums = {sums.get(), step};
  constexpr int kThreads = scan_threads(kChannels, Args::kOfStreams);
  if (is_cut)
    launch({name, shape.grid() - shape.blocks * shape.B, kThreads, kernels.kSumBytes, stream}, kernels.sum, args);
  launch({name, shape.grid(), kThreads, kernels.kScanBytes, stream}, kernels.scan, args);
}

/// N elements are copied at a time. Wide are blocks of bf16 alone: others' rows are long enough.
template <int N, class Args>
void run_scan(const char* name, Args args, Stream stream) {
  if constexpr (N == kPerVec<bfloat16>) {
    const auto wide = kernels_of<N, kWideScan>(args);
    if (is_wide(args.shape, multiprocessors_of(stream.device)) && wide.kScanBytes <= shared_bytes_of(stream.device)) {
      args.shape = widened(args.shape);
      return launch_scan<kWideScan>(name, wide, args, stream);
    }
  }
  launch_scan<kNarrowScan>(name, kernels_of<N, kNarrowScan>(args), args, stream);
}

/// States noted for backward, in numbers of A.
template <class T>
int64_t scan_carries(int64_t B, int64_t T_, int64_t C, int kStreams) {
  return (T_ + kScanTile<T> - 1) / kScanTile<T> * kStreams * B * C;
}

}  // namespace ratel::cuda
