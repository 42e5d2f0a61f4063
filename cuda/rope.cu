// Rotary embedding on a GPU. A first kernel fills the table of cosines and sines, a thread an angle, in f64 from powers
// of the base that the host computed and that travel with the launch: the angles have the bits of the CPU's. The second
// rotates: a thread has N neighbouring channels of a left half and their partners of the right one, and the table's
// rows come from the cache, where the heads of a token share them. 4 bytes a bf16 element, in place too: bound by
// memory, 8 x 4096 x 2048 of them at 3.0 TB/s 89 us.

#include "ops/rope.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cuda/device.h"
#include "cuda/recurrent_attention_stages.h"
#include "cuda/rotation.h"

namespace ratel::cuda {
namespace {

constexpr int kThreads = 256;

/// Of channels first, first + 1, ... of a head: the angle between neighbouring tokens.
struct Frequencies {
  static constexpr int kMost = 256;
  int64_t first = 0;
  int count = 0;
  double at[kMost];
};

template <class A>
__global__ __launch_bounds__(kThreads) void fill_table(Frequencies frequencies, int64_t position, int64_t T,
                                                       int64_t half, A* pairs) {
  const int64_t angles = T * frequencies.count;
  for (int64_t i = global_thread(); i < angles; i += global_threads()) {
    const int64_t t = i / frequencies.count;
    const int n = static_cast<int>(i % frequencies.count);
    const double angle = static_cast<double>(position + t) * frequencies.at[n];
    A* const pair = pairs + 2 * (t * half + frequencies.first + n);
    pair[0] = static_cast<A>(std::cos(angle));
    pair[1] = static_cast<A>(std::sin(angle));
  }
}

/// Index is the type of the divisions, as in strided.h.
template <class T, int N, class Index>
__global__ __launch_bounds__(kThreads) void rotate(RotateHeadsArgs args) {
  using A = accumulate_t<T>;
  constexpr int kTurn = N == 1 ? 2 : kPerVec<A>;
  const Index half = static_cast<Index>(args.d / 2), vectors = half / N, H = static_cast<Index>(args.H),
              tokens = static_cast<Index>(args.T);
  const Index all = static_cast<Index>(args.B) * tokens * H * vectors;
  const A sign = args.rotation == Rotation::forward ? A{1} : A{-1};
  for (int64_t i = global_thread(); i < static_cast<int64_t>(all); i += global_threads()) {
    Index rest = static_cast<Index>(i);
    const int64_t c = static_cast<int64_t>(rest % vectors) * N;
    rest /= vectors;
    const int64_t h = rest % H;
    rest /= H;
    const int64_t t = rest % tokens, b = rest / tokens, in_row = h * args.d + c;
    const T* x = static_cast<const T*>(args.x) + b * args.x_batch_stride + t * args.x_time_stride + in_row;
    T* y = static_cast<T*>(args.y) + b * args.y_batch_stride + t * args.y_time_stride + in_row;
    const A* turns = static_cast<const A*>(args.table) + b * args.table_batch_stride + 2 * (t * half + c);
    const auto left = load_vec<N>(x), right = load_vec<N>(x + half);
    Vec<T, N> new_left, new_right;
    for (int k = 0; k < N; k += kTurn / 2) {
      const auto turn = load_vec<kTurn>(turns + 2 * k);
      for (int j = 0; j < kTurn / 2; ++j) {
        const A l = convert_element<A>(left.at[k + j]), r = convert_element<A>(right.at[k + j]);
        const auto pair = turned(l, r, {{turn.at[2 * j], sign * turn.at[2 * j + 1]}});
        new_left.at[k + j] = round_to<T>(pair.at[0]);
        new_right.at[k + j] = round_to<T>(pair.at[1]);
      }
    }
    store_vec(y, new_left);
    store_vec(y + half, new_right);
  }
}

template <class T, int N>
void run_rotate(const RotateHeadsArgs& args, Stream stream) {
  const int64_t all = args.B * args.T * args.H * (args.d / 2) / N;
  const Launch how{"rope", blocks_for(all, kThreads), kThreads, 0, stream};
  if (all <= std::numeric_limits<uint32_t>::max())
    launch(how, rotate<T, N, uint32_t>, args);
  else
    launch(how, rotate<T, N, uint64_t>, args);
}

}  // namespace

RopeTable::RopeTable(DType dtype, int64_t position, int64_t T, int64_t d, double base, Stream stream)
    : pairs_(T * d * static_cast<int64_t>(size_of(accumulate_dtype(dtype))), stream) {
  visit_float(dtype, "rope", [&]<class E>() {
    using A = accumulate_t<E>;
    for (int64_t first = 0; first < d / 2; first += Frequencies::kMost) {
      Frequencies group{first, static_cast<int>(std::min<int64_t>(d / 2 - first, Frequencies::kMost)), {}};
      for (int n = 0; n < group.count; ++n)
        group.at[n] = std::pow(base, -static_cast<double>(2 * (first + n)) / static_cast<double>(d));
      launch({"rope_table", blocks_for(T * group.count, kThreads), kThreads, 0, stream}, fill_table<A>, group, position,
             T, d / 2, reinterpret_cast<A*>(pairs_.get()));
    }
  });
}

void rotate_heads(const RotateHeadsArgs& args, Stream stream) {
  visit_float(args.dtype, "rope", [&]<class T>() {
    constexpr int N = kPerVec<T>;
    const bool aligned = is_vectorisable<T>(args.d / 2, args.x, args.y) && args.x_batch_stride % N == 0 &&
                         args.x_time_stride % N == 0 && args.y_batch_stride % N == 0 && args.y_time_stride % N == 0;
    if (aligned)
      run_rotate<T, N>(args, stream);
    else
      run_rotate<T, 1>(args, stream);
  });
}

void rope(const RopeArgs& args, Stream stream) {
  const RopeTable table(args.dtype, args.position, args.T, args.d, args.base, stream);
  rotate_heads({args.rows, args.T, 1, args.d, args.dtype, table.data(), args.x, args.T * args.d, args.d, args.y,
                args.T * args.d, args.d, args.rotation},
               stream);
}

}  // namespace ratel::cuda
