// Fresh values on a GPU: a thread an element, bound by memory, the random ones by Philox' forty multiplications and the
// logarithm and cosine in f64. Numbers are those of core/rng.h at the same index, up to the last bit of log and cos.

#include "ops/create.h"

#include <cmath>
#include <limits>
#include <numbers>

#include "cuda/device.h"

namespace ratel::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ __launch_bounds__(kThreads) void fill_with(int64_t n, T value, T* out) {
  for (int64_t i = global_thread(); i < n; i += global_threads()) out[i] = value;
}

template <class T>
__global__ __launch_bounds__(kThreads) void count(int64_t n, T* out) {
  for (int64_t i = global_thread(); i < n; i += global_threads()) out[i] = convert_element<T>(static_cast<double>(i));
}

__device__ double random_value(const RandomArgs& args, uint64_t index) {
  const auto words = random_words(args.seed, args.stream, index);
  const double first = unit_of(join_words(words[0], words[1]));
  switch (args.distribution) {
    case Distribution::uniform: return args.a + (args.b - args.a) * first;
    case Distribution::integers: return static_cast<double>(static_cast<int64_t>(args.a * first));
    case Distribution::normal: break;
  }
  const double radius = std::sqrt(-2.0 * std::log(1.0 - first));
  return args.a + args.b * (radius * std::cos(2.0 * std::numbers::pi * unit_of(join_words(words[2], words[3]))));
}

/// `last` is the largest T below the end of a uniform range: rounding to T may carry a number onto that end.
template <class T>
__global__ __launch_bounds__(kThreads) void fill_with_random(RandomArgs args, bool bounded, T last) {
  for (int64_t i = global_thread(); i < args.n; i += global_threads()) {
    const T value = convert_element<T>(random_value(args, args.first + static_cast<uint64_t>(i)));
    static_cast<T*>(args.out)[i] = bounded && convert_element<double>(value) >= args.b ? last : value;
  }
}

}  // namespace

void fill(const FillArgs& args, double value, Stream stream) {
  visit_any(args.dtype, [&]<class T>() {
    launch({"fill", blocks_for(args.n, kThreads), kThreads, 0, stream}, fill_with<T>, args.n, convert_element<T>(value),
           static_cast<T*>(args.out));
  });
}

void fill_arange(const FillArgs& args, Stream stream) {
  visit_any(args.dtype, [&]<class T>() {
    launch({"arange", blocks_for(args.n, kThreads), kThreads, 0, stream}, count<T>, args.n, static_cast<T*>(args.out));
  });
}

void fill_random(const RandomArgs& args, Stream stream) {
  visit_any(args.dtype, [&]<class T>() {
    const bool bounded = args.distribution == Distribution::uniform && args.a < args.b;
    T last{};
    if constexpr (std::is_floating_point_v<T> || std::is_same_v<T, bfloat16>) last = largest_below<T>(args.b);
    launch({"random", blocks_for(args.n, kThreads), kThreads, 0, stream}, fill_with_random<T>, args, bounded, last);
  });
}

}  // namespace ratel::cuda
