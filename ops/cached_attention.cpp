#include "ops/cached_attention.h"

#include "autograd/grad_mode.h"
#include "autograd/gradient.h"
#include "core/op_scope.h"
#include "ops/copy.h"
#include "ops/create.h"

namespace ratel {
namespace {

constexpr const char* kName = "cached_attention";

/// Sums of f(pattern) before every head, and of all of them.
template <class F>
std::vector<int64_t> sums_before(const HeadPatterns& patterns, F&& f) {
  std::vector<int64_t> sums{0};
  for (const Pattern& pattern : patterns) sums.push_back(sums.back() + f(pattern));
  return sums;
}

/// Throws where the arguments do not fit; returns C.
int64_t check_arguments(const Tensor& projection, const AttentionCache& cache, const CachePositions& at) {
  const int64_t parts = cache.recurrence == Recurrence::gated ? 5 : 4;
  const int64_t B = cache.batch(), C = cache.heads() * cache.keys.dim(2);
  check(!grad_enabled() || !needs_grad(projection), kName, ": the projection wants a gradient, and there is none\n",
        "hint: NoGrad, or recurrent_attention over the whole sequence");
  check(projection.rank() == 3 && projection.dim(0) == B && projection.dim(1) >= 1 && projection.dim(2) == parts * C,
        kName, ": expected a projection (", B, ", n, ", parts * C, ") with n >= 1, found ", projection.shape());
  check(projection.is_contiguous(), kName, ": the projection must be contiguous");
  check(projection.dtype() == cache.keys.dtype(), kName, ": expected the cache's dtype ", cache.keys.dtype(),
        ", found ", projection.dtype());
  check(projection.device() == cache.keys.device(), kName, ": the cache is on ", cache.keys.device(),
        ", the projection on ", projection.device());
  for (const Tensor* x : {&at.lengths, &at.counts})
    check(
        x->dtype() == DType::i64 && x->shape() == Shape{B} && x->is_contiguous() && x->device() == projection.device(),
        kName, ": expected lengths and counts (", B, ") in i64 on ", projection.device(), ", found ", x->shape(),
        " in ", x->dtype(), " on ", x->device());
  if (projection.device().is_cuda()) return C;
  for (int64_t b = 0; b < B; ++b) {
    const int64_t length = at.lengths.data<int64_t>()[b], count = at.counts.data<int64_t>()[b];
    check(count >= 0 && count <= projection.dim(1), kName, ": expected 0 to ", projection.dim(1),
          " new tokens of sequence ", b, ", found ", count);
    check(length >= 0 && length <= cache.capacity - count, kName, ": sequence ", b, " of ", length,
          " tokens cannot take ", count, " more; the capacity is ", cache.capacity);
  }
  return C;
}

void run(const CachedAttentionArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::cached_attention(args, current_stream(device));
  cpu::cached_attention(args);
}

}  // namespace

int64_t summary_rows(const Pattern& pattern, int64_t capacity) {
  if (pattern.top_blocks == 0 || pattern.score == BlockScore::last) return 0;
  const int64_t blocks = (capacity + pattern.dilation - 1) / pattern.dilation;
  return pattern.score == BlockScore::mean ? blocks : 2 * blocks;
}

AttentionCache::AttentionCache(int64_t B, int64_t tokens, int64_t C, int64_t heads, const HeadPatterns& of_heads,
                               Recurrence kind, DType dtype, Device device)
    : capacity(tokens), recurrence(kind) {
  const OpScope scope("kv_cache");
  check(B >= 1 && capacity >= 1 && capacity <= kLongestSequence,
        "kv_cache: expected a batch of at least 1 and a capacity of 1 to ", kLongestSequence, " tokens, found ", B,
        " and ", capacity);
  check(is_float(dtype), "kv_cache: expected a float dtype, found ", dtype);
  check_heads(heads, C, "kv_cache");
  check_patterns(of_heads, heads, "kv_cache");
  patterns = one_a_head(of_heads, heads);
  slots_before = sums_before(patterns, [&](const Pattern& p) { return cache_slots(p, capacity); });
  summaries_before = sums_before(patterns, [&](const Pattern& p) { return summary_rows(p, capacity); });
  const int64_t d = C / heads, slots = slots_before.back(), rows = summaries_before.back();
  keys = zeros({B, slots, d}, dtype, device);
  values = zeros({B, slots, d}, dtype, device);
  if (recurrence == Recurrence::gated) state = zeros({B, 2, C}, accumulate_dtype(dtype), device);
  if (rows > 0) summaries = zeros({B, rows, d}, accumulate_dtype(dtype), device);
}

std::vector<Tensor> AttentionCache::tensors() const {
  std::vector<Tensor> all{keys, values};
  if (state.defined()) all.push_back(state);
  if (summaries.defined()) all.push_back(summaries);
  return all;
}

int64_t AttentionCache::bytes() const {
  int64_t total = 0;
  for (const Tensor& x : tensors()) total += x.numel() * static_cast<int64_t>(size_of(x.dtype()));
  return total;
}

Tensor cached_attention(const Tensor& projection, AttentionCache& cache, const CachePositions& at, double rope_base) {
  const OpScope scope(kName);
  const int64_t C = check_arguments(projection, cache, at);
  const int64_t B = projection.dim(0), n = projection.dim(1);
  Tensor out = empty({B, n, C}, projection.dtype(), projection.device());
  run({.B = B,
       .n = n,
       .C = C,
       .H = cache.heads(),
       .capacity = cache.capacity,
       .dtype = projection.dtype(),
       .recurrence = cache.recurrence,
       .rope_base = rope_base,
       .patterns = cache.patterns.data(),
       .slots_before = cache.slots_before.data(),
       .summaries_before = cache.summaries_before.data(),
       .lengths = static_cast<const int64_t*>(at.lengths.data()),
       .counts = static_cast<const int64_t*>(at.counts.data()),
       .projection = projection.data(),
       .keys = cache.keys.data(),
       .values = cache.values.data(),
       .state = cache.state.defined() ? cache.state.data() : nullptr,
       .summaries = cache.summaries.defined() ? cache.summaries.data() : nullptr,
       .out = out.data()},
      projection.device());
  for (const Tensor& changed : cache.tensors()) changed.storage()->bump_version();
  return out;
}

}  // namespace ratel
