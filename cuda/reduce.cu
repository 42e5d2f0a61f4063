// Sums and maxima on a GPU, deterministic: who adds what follows from the shape alone, and nothing is added atomically.
// Rows: a block a row; a long row that is alone is cut into pieces whose sums a second launch adds. Columns: a thread a
// column, and where there are few columns, pieces of rows. Bound by memory: every element is read once.

#include "ops/reduce.h"

#include "cuda/device.h"
#include "cuda/scratch.h"

namespace ratel::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

struct Identity {
  template <class A>
  __device__ A operator()(A x) const {
    return x;
  }
};
struct Square {
  template <class A>
  __device__ A operator()(A x) const {
    return x * x;
  }
};

/// out[p] = sum of f(x[i]) over the p-th stretch of `stretch` elements; A is what is summed in, Out what it becomes.
template <class A, class T, class Out, class F>
__global__ __launch_bounds__(kThreads) void sum_stretches(int64_t n, int64_t stretch, F f, const T* x, Out* out) {
  SharedArena arena;
  const Shared<A> scratch = arena.take<A>(kWarps);
  const int64_t begin = block_index().x * stretch, end = begin + stretch < n ? begin + stretch : n;
  A total = 0;
  for (int64_t i = begin + thread_index().x; i < end; i += kThreads) total += f(convert_element<A>(x[i]));
  total = block_sum(total, scratch);
  if (thread_index().x == 0) out[block_index().x] = convert_element<Out>(total);
}

template <class A, class T, class Out, class F>
void sum_each(const char* name, int64_t n, int64_t stretch, F f, const T* x, Out* out, Stream stream) {
  launch({name, (n + stretch - 1) / stretch, kThreads, shared_size<A>(kWarps), stream}, sum_stretches<A, T, Out, F>, n,
         stretch, f, x, out);
}

/// One sum of everything, in two launches where it is long.
template <class A, class T, class Out, class F>
void sum_all(const char* name, int64_t n, F f, const T* x, Out* out, Stream stream) {
  constexpr int64_t kLong = 1 << 14, kPieces = 1024;
  if (n <= kLong) return sum_each<A>(name, n, n, f, x, out, stream);
  const int64_t stretch = (n + kPieces - 1) / kPieces, pieces = (n + stretch - 1) / stretch;
  const Scratch<A> sums(pieces, stream);
  sum_each<A>(name, n, stretch, f, x, sums.get(), stream);
  sum_each<A>(name, pieces, pieces, Identity(), static_cast<const A*>(sums.get()), out, stream);
}

template <class T>
__global__ void set_zero(int64_t n, T* out) {
  for (int64_t i = global_thread(); i < n; i += global_threads()) out[i] = T{};
}

/// out[p, c] = sum of x[r, c] over the p-th piece of rows.
template <class A, class T, class Out>
__global__ __launch_bounds__(kThreads) void sum_columns(int64_t rows, int64_t n, int64_t piece, const T* x, Out* out) {
  const int64_t c = global_thread();
  if (c >= n) return;
  const int64_t begin = block_index().y * piece, end = begin + piece < rows ? begin + piece : rows;
  A total = 0;
  for (int64_t row = begin; row < end; ++row) total += convert_element<A>(x[row * n + c]);
  out[block_index().y * n + c] = convert_element<Out>(total);
}

/// NaN is above every number.
template <class A>
__device__ bool above(A x, A y) {
  return x > y || (x != x && y == y);
}

/// A warp a row: the largest, and of equal ones the first.
template <class T>
__global__ __launch_bounds__(kThreads) void max_rows(ReduceArgs args) {
  using A = accumulate_t<T>;
  const int64_t row = static_cast<int64_t>(block_index().x) * kWarps + warp_index();
  if (row >= args.rows) return;
  const T* x = static_cast<const T*>(args.x) + row * args.n;
  // Lanes beyond the row stand for its first element: they change neither the maximum nor its place.
  int64_t place = lane_index() < args.n ? lane_index() : 0;
  A largest = convert_element<A>(x[place]);
  for (int64_t i = place + kWarp; i < args.n; i += kWarp)
    if (const A value = convert_element<A>(x[i]); above(value, largest)) {
      largest = value;
      place = i;
    }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const A other = shuffle_xor(largest, step);
    const int64_t other_place = shuffle_xor(place, step);
    if (above(other, largest) || (!above(largest, other) && other_place < place)) {
      largest = other;
      place = other_place;
    }
  }
  if (lane_index() != 0) return;
  static_cast<T*>(args.out)[row] = x[place];
  args.argmax[row] = place;
}

template <class T>
__global__ __launch_bounds__(kThreads) void scatter(ScatterArgs args) {
  const int64_t all = args.rows * args.n;
  for (int64_t i = global_thread(); i < all; i += global_threads()) {
    const int64_t row = i / args.n;
    static_cast<T*>(args.out)[i] = i % args.n == args.argmax[row] ? static_cast<const T*>(args.value)[row] : T{};
  }
}

template <class T>
void fill_zero(int64_t n, T* out, Stream stream) {
  launch({"sum_of_nothing", blocks_for(n, kThreads), kThreads, 0, stream}, set_zero<T>, n, out);
}

}  // namespace

void reduce_sum(const ReduceArgs& args, Stream stream) {
  visit_float(args.dtype, "sum", [&]<class T>() {
    using A = accumulate_t<T>;
    const T* x = static_cast<const T*>(args.x);
    T* out = static_cast<T*>(args.out);
    if (args.n == 0) return fill_zero(args.rows, out, stream);
    if (args.rows == 1) return sum_all<A>("sum", args.n, Identity(), x, out, stream);
    sum_each<A>("sum", args.rows * args.n, args.n, Identity(), x, out, stream);
  });
}

void reduce_max(const ReduceArgs& args, Stream stream) {
  visit_float(args.dtype, "max", [&]<class T>() {
    launch({"max", (args.rows + kWarps - 1) / kWarps, kThreads, 0, stream}, max_rows<T>, args);
  });
}

void column_sum(const ColumnSumArgs& args, Stream stream) {
  visit_float(args.dtype, "sum", [&]<class T>() {
    using A = accumulate_t<T>;
    const T* x = static_cast<const T*>(args.x);
    T* out = static_cast<T*>(args.out);
    const auto sum = [&](auto* from, int64_t rows, int64_t piece, auto* into) {
      using From = std::remove_cvref_t<decltype(*from)>;
      using Into = std::remove_cvref_t<decltype(*into)>;
      launch({"sum", (args.n + kThreads - 1) / kThreads, kThreads, 0, stream, (rows + piece - 1) / piece},
             sum_columns<A, From, Into>, rows, args.n, piece, from, into);
    };
    constexpr int64_t kFewRows = 64, kPieces = 64;
    if (args.rows == 0) return fill_zero(args.n, out, stream);
    if (args.rows <= kFewRows) return sum(x, args.rows, args.rows, out);
    const int64_t piece = (args.rows + kPieces - 1) / kPieces, pieces = (args.rows + piece - 1) / piece;
    const Scratch<A> sums(pieces * args.n, stream);
    sum(x, args.rows, piece, sums.get());
    sum(static_cast<const A*>(sums.get()), pieces, pieces, out);
  });
}

void scatter_rows(const ScatterArgs& args, Stream stream) {
  visit_float(args.dtype, "max", [&]<class T>() {
    launch({"max_backward", blocks_for(args.rows * args.n, kThreads), kThreads, 0, stream}, scatter<T>, args);
  });
}

double sum_of_squares(int64_t n, DType dtype, const void* x, Stream stream) {
  double total = 0;
  if (n == 0) return total;
  visit_float(dtype, "global_norm", [&]<class T>() {
    const Scratch<double> sum(1, stream);
    sum_all<double>("global_norm", n, Square(), static_cast<const T*>(x), sum.get(), stream);
    copy_to_host(&total, sum.get(), sizeof(total), stream);
  });
  return total;
}

}  // namespace ratel::cuda
