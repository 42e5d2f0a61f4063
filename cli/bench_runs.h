#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "core/enum_names.h"
#include "models/rat_plus.h"
#include "nn/layers.h"

namespace ratel::cli {

/// What `ratel bench` measures:
///   prefill  feeding `length` tokens of every sequence into an empty cache
///   decode   one token a sequence, in a cache that comes to hold `length` of them
///   train    an optimizer step on a batch through the dense pattern; through a sparse one and then the dense one
///   layer    the mixer of one layer over `length` tokens, forward, and forward with backward
enum class Bench { prefill, decode, train, layer };
EnumNames<Bench> names_of(Bench);

/// One point of a sweep.
struct BenchPoint {
  int64_t batch = 1, length = 1024;
  ModelPattern pattern;
  std::string name;  ///< of the pattern, for people
};

struct BenchSetting {
  RatPlusConfig config;
  DType dtype = DType::f32;
  Device device = kCpu;
  double seconds = 1;               ///< to measure a point for, at least three times
  int64_t chunk = 512;              ///< tokens of a sequence that prefill feeds at once
  std::function<bool()> stop = {};  ///< polled between runs
};

struct BenchResult {
  double seconds = 0;              ///< of a run, the median; of the forward alone for `layer`
  std::optional<double> backward;  ///< of forward and backward, the median, for `layer`
  int64_t tokens = 0;              ///< of a run
  int64_t runs = 0;
  int64_t peak_bytes = 0;  ///< most that tensors held at once while it was measured, weights included
};

/// Bytes that a point needs at least: weights, cache, gradients and moments, and the largest activations. At most 3
/// kMostBytes (core/free_memory.h).
int64_t least_bytes(Bench what, const BenchSetting& setting, const BenchPoint& point);

/// Each runs once unmeasured and then until `seconds` have passed; nothing where `stop` ended it before the third run.
/// Throws Error(memory), and what the model throws.
std::optional<BenchResult> bench_prefill(const RatPlus& model, const BenchSetting& setting, const BenchPoint& point);
/// The cache is filled up to the last 1/16 of `length` (16 to 1024 tokens, no more than half), and then decoded to the
/// end: the median is over lengths from there to `length`. Further sequences of a batch are forks of the first.
std::optional<BenchResult> bench_decode(const RatPlus& model, const BenchSetting& setting, const BenchPoint& point);
inline constexpr int64_t kLeastDecodeLength = 8;  ///< half of it is decoded, one token to warm up and three to measure
/// Makes its own weights, gradients and moments. The pattern must be uniform: a dilation.
std::optional<BenchResult> bench_train(const BenchSetting& setting, const BenchPoint& point);
std::optional<BenchResult> bench_layer(const nn::RatPlusMixer& mixer, const BenchSetting& setting,
                                       const BenchPoint& point);

}  // namespace ratel::cli
