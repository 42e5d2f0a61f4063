// AdamW on a GPU, all parameters at once: a launch takes up to 32 tensors by value, and a block 2^15 elements of one of
// them at 16 bytes a thread. The norm of all gradients is summed first, a block's squares in f64 and then the blocks'
// in order. A thread decides by it, and by the losses, whether the step is made; the step reads that from device
// memory, so that nothing waits for the host. Bytes a parameter in f32: 4 for the norm, 16 read and 12 written, and 2
// for a bf16 copy; bound by memory.

#include "ops/adamw.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cuda/device.h"
#include "cuda/scratch.h"

namespace ratel::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int64_t kBlockElements = 1 << 15;
constexpr int kMostItems = 32;

template <class T>
struct Item {
  int64_t n, first_block;
  const T* grad;
  T *m, *v, *parameter;
  bfloat16* copy;
  AdamWScale scale;
};

template <class T>
struct Items {
  int count = 0;
  int64_t blocks = 0;
  Item<T> at[kMostItems];
};

/// The elements [begin, end) of an item that are a block's.
struct Stretch {
  int item;
  int64_t begin, end;
};
template <class T>
__device__ Stretch stretch_of(const Items<T>& items, int64_t block) {
  int item = items.count - 1;
  while (items.at[item].first_block > block) --item;
  const int64_t begin = (block - items.at[item].first_block) * kBlockElements, n = items.at[item].n;
  return {item, begin, begin + kBlockElements < n ? begin + kBlockElements : n};
}

template <class T>
__global__ __launch_bounds__(kThreads) void square_sums(Items<T> items, double* sums) {
  SharedArena arena;
  const Shared<double> scratch = arena.take<double>(kWarps);
  const auto [item, begin, end] = stretch_of(items, block_index().x);
  const T* grad = items.at[item].grad;
  double total = 0;
  for (int64_t i = begin + thread_index().x; i < end; i += kThreads) {
    const auto g = static_cast<double>(grad[i]);
    total += g * g;
  }
  total = block_sum(total, scratch);
  if (thread_index().x == 0) sums[block_index().x] = total;
}

/// A step's rate, and of the bias correction 1 - beta1^count and sqrt(1 - beta2^count).
struct Correction {
  double rate, rest, root;
};
__host__ __device__ inline Correction correction_of(const AdamWStep& s, double count) {
  return {s.rate, 1 - std::pow(s.beta1, count), std::sqrt(1 - std::pow(s.beta2, count))};
}

/// What is known of a step on the device alone.
struct Decision {
  bool made;
  double clip;
  Correction correction;
};

__global__ __launch_bounds__(kThreads) void decide(int64_t n, const double* sums, AdamWStep s, AdamWControlArgs control,
                                                   Decision* decision) {
  SharedArena arena;
  const Shared<double> scratch = arena.take<double>(kWarps);
  double total = 0;
  for (int64_t i = thread_index().x; i < n; i += kThreads) total += sums[i];
  const double norm = std::sqrt(block_sum(total, scratch));
  if (thread_index().x != 0) return;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  bool made = norm < kInfinity;
  for (int64_t i = 0; i < control.watched_count; ++i) made = made && std::abs(control.watched[i]) < kInfinity;
  control.outcome[0] = norm;
  control.outcome[1] = made ? 1 : 0;
  if (made) ++*control.steps;
  const double scale = control.clip / (norm + kClipEps);
  s.rate = *control.rate;
  *decision = {made, control.clip > 0 && scale < 1 ? scale : 1.0,
               correction_of(s, static_cast<double>(*control.steps))};
}

/// The step's numbers, in the type that it computes in, and in f64 those that a parameter's scale comes to.
template <class T>
struct Factors {
  T scale, beta1, rest1, beta2, rest2, eps;
  double decay;
  Correction correction;
};

/// `decision` is null where the host made it.
template <class T, int N>
__global__ __launch_bounds__(kThreads) void step(Items<T> items, Factors<T> f, const Decision* decision) {
  if (decision != nullptr) {
    if (!decision->made) return;
    f.scale *= static_cast<T>(decision->clip);
    f.correction = decision->correction;
  }
  const auto [item, begin, end] = stretch_of(items, block_index().x);
  const Item<T> of = items.at[item];
  const double rate = f.correction.rate * of.scale.rate;
  const T keep = static_cast<T>(1 - rate * (f.decay * of.scale.decay)), size = static_cast<T>(rate / f.correction.rest),
          root = static_cast<T>(f.correction.root);
  const auto update = [&]<int K>(int64_t i) {
    const auto grads = load_vec<K>(of.grad + i);
    auto firsts = load_vec<K>(of.m + i), seconds = load_vec<K>(of.v + i), values = load_vec<K>(of.parameter + i);
    Vec<bfloat16, K> rounded;
    for (int k = 0; k < K; ++k) {
      const T g = f.scale * grads.at[k];
      const T first = f.beta1 * firsts.at[k] + f.rest1 * g, second = f.beta2 * seconds.at[k] + f.rest2 * g * g;
      firsts.at[k] = first;
      seconds.at[k] = second;
      values.at[k] = keep * values.at[k] - size * first / (std::sqrt(second) / root + f.eps);
      rounded.at[k] = convert_element<bfloat16>(values.at[k]);
    }
    store_vec(of.m + i, firsts);
    store_vec(of.v + i, seconds);
    store_vec(of.parameter + i, values);
    if (of.copy != nullptr) store_vec(of.copy + i, rounded);
  };
  const int64_t whole = begin + (end - begin) / N * N;
  for (int64_t i = begin + static_cast<int64_t>(thread_index().x) * N; i < whole; i += kThreads * N)
    update.template operator()<N>(i);
  if (const int64_t i = whole + thread_index().x; N > 1 && i < end) update.template operator()<1>(i);
}

template <class T>
Factors<T> factors_of(const AdamWStep& s) {
  const auto as = [](double value) { return static_cast<T>(value); };
  return {as(s.grad_scale), as(s.beta1), as(1 - s.beta1), as(s.beta2),
          as(1 - s.beta2),  as(s.eps),   s.decay,         correction_of(s, static_cast<double>(s.step))};
}

/// Calls f(items) for as many items at a time as a launch takes.
template <class T, class F>
void for_launches(std::span<const AdamWItem> all, F&& f) {
  Items<T> items;
  for (size_t i = 0; i < all.size(); ++i) {
    const AdamWItem& item = all[i];
    if (item.n > 0) {
      items.at[items.count++] = {item.n,
                                 items.blocks,
                                 static_cast<const T*>(item.grad),
                                 static_cast<T*>(item.m),
                                 static_cast<T*>(item.v),
                                 static_cast<T*>(item.parameter),
                                 static_cast<bfloat16*>(item.copy),
                                 item.scale};
      items.blocks += blocks_for(item.n, kBlockElements, std::numeric_limits<int64_t>::max());
    }
    if (items.count == 0 || (items.count < kMostItems && i + 1 < all.size())) continue;
    f(items);
    items = {};
  }
}

template <class T>
void run_steps(const AdamWArgs& args, const Decision* decision, Stream stream) {
  const Factors<T> factors = factors_of<T>(args.step);
  const bool aligned = std::ranges::all_of(args.items, [](const AdamWItem& item) {
    return is_vectorisable<T>(0, item.grad, item.m, item.v, item.parameter, item.copy);
  });
  for_launches<T>(args.items, [&](const Items<T>& items) {
    const Launch how{"adamw", items.blocks, kThreads, 0, stream};
    if (aligned)
      launch(how, step<T, kPerVec<T>>, items, factors, decision);
    else
      launch(how, step<T, 1>, items, factors, decision);
  });
}

template <class F>
void with_type(DType dtype, F&& f) {
  if (dtype == DType::f64)
    f.template operator()<double>();
  else
    f.template operator()<float>();
}

}  // namespace

void adamw(const AdamWArgs& args, Stream stream) {
  with_type(args.dtype, [&]<class T>() { run_steps<T>(args, nullptr, stream); });
}

void clipped_adamw(const AdamWArgs& args, const AdamWControlArgs& control, Stream stream) {
  int64_t blocks = 0;
  for (const AdamWItem& item : args.items)
    blocks += blocks_for(item.n, kBlockElements, std::numeric_limits<int64_t>::max());
  const Scratch<double> sums(std::max<int64_t>(blocks, 1), stream);
  const Scratch<Decision> decision(1, stream);
  with_type(args.dtype, [&]<class T>() {
    int64_t first = 0;
    for_launches<T>(args.items, [&](const Items<T>& items) {
      launch({"gradient_norm", items.blocks, kThreads, shared_size<double>(kWarps), stream}, square_sums<T>, items,
             sums.get() + first);
      first += items.blocks;
    });
    launch({"adamw_decide", 1, kThreads, shared_size<double>(kWarps), stream}, decide, blocks, sums.get(), args.step,
           control, decision.get());
    run_steps<T>(args, decision.get(), stream);
  });
}

}  // namespace ratel::cuda
