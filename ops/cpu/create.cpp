#include "ops/create.h"

#include <algorithm>

#include "ops/cpu/parallel.h"

namespace ratel::cpu {
constexpr int64_t kPiece = 1 << 16;

void fill(const FillArgs& args, double value) {
  visit_any(args.dtype, [&]<class T>() {
    T* out = static_cast<T*>(args.out);
    const T converted = convert_element<T>(value);
    parallel_for(args.n, kPiece, [&](int64_t begin, int64_t end) { std::fill(out + begin, out + end, converted); });
  });
}

void fill_arange(const FillArgs& args) {
  visit_any(args.dtype, [&]<class T>() {
    T* out = static_cast<T*>(args.out);
    for (int64_t i = 0; i < args.n; ++i) out[i] = convert_element<T>(static_cast<double>(i));
  });
}

void fill_random(const RandomArgs& args) {
  const Rng rng(args.seed, args.stream);
  const auto value_at = [&](uint64_t index) {
    switch (args.distribution) {
      case Distribution::uniform: return args.a + (args.b - args.a) * rng.uniform_at(index);
      case Distribution::normal: return args.a + args.b * rng.normal_at(index);
      case Distribution::integers: return static_cast<double>(static_cast<int64_t>(args.a * rng.uniform_at(index)));
    }
    return 0.0;
  };
  visit_any(args.dtype, [&]<class T>() {
    T* out = static_cast<T*>(args.out);
    // Rounding to T may carry a uniform number onto the end of its half-open range.
    T last{};
    if constexpr (std::is_floating_point_v<T> || std::is_same_v<T, bfloat16>) last = largest_below<T>(args.b);
    const bool bounded = args.distribution == Distribution::uniform && args.a < args.b;
    parallel_for(args.n, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        out[i] = convert_element<T>(value_at(args.first + static_cast<uint64_t>(i)));
      for (int64_t i = begin; i < end && bounded; ++i)
        if (convert_element<double>(out[i]) >= args.b) out[i] = last;
    });
  });
}

}  // namespace ratel::cpu
