#pragma once

#include <vector>

#include "core/stream.h"
#include "core/tensor.h"
#include "ops/cache_slots.h"
#include "ops/recurrent_attention.h"

namespace ratel {

/// What one RAT+ layer keeps of B sequences: for every head the keys and values that a later query may see, and the
/// state of the recurrence. Copying it copies handles; cached_attention() writes into the tensors.
struct AttentionCache {
  HeadPatterns patterns;  ///< one a head
  int64_t capacity = 0;   ///< tokens a sequence may have
  Recurrence recurrence = Recurrence::gated;
  Tensor keys, values;  ///< (B, slots, d)  the model's dtype; the slots of head h begin at slots_before[h]
  Tensor state;         ///< (B, 2, C)      f32 (f64 for f64): k~ before rope and v~ of the last token; undefined
                        ///<                without recurrence
  Tensor summaries;     ///< (B, rows, d)   f32 (f64 for f64): what BlockScore::mean and minmax know of the blocks;
                        ///<                those of head h begin at summaries_before[h]; undefined where none does
  std::vector<int64_t> slots_before, summaries_before;  ///< H + 1 of each: the last is the sum over all heads

  /// Empty, for B sequences of at most `tokens` tokens in a layer of C channels: all of it is allocated here.
  /// Throws Error where heads, channels or patterns do not fit, and Error (memory).
  AttentionCache(int64_t B, int64_t tokens, int64_t C, int64_t heads, const HeadPatterns& of_heads, Recurrence kind,
                 DType dtype, Device device = kCpu);

  [[nodiscard]] int64_t batch() const { return keys.dim(0); }
  [[nodiscard]] int64_t heads() const { return static_cast<int64_t>(patterns.size()); }
  [[nodiscard]] std::vector<Tensor> tensors() const;  ///< those that are defined: keys, values, state, summaries
  [[nodiscard]] int64_t bytes() const;                ///< of all of them
};

/// Rows that the summaries of one head take: a block's sum of keys for `mean`; its least and greatest for `minmax`, one
/// after the other; none else. The last block may be partial. A row begins anew with its block's first token, whatever
/// it held.
int64_t summary_rows(const Pattern& pattern, int64_t capacity);

/// Where the new tokens of a batch stand: sequence b has lengths[b] tokens in the cache, and the first counts[b] of its
/// n rows are new ones. Both (B), i64, on the cache's device, where a captured graph reads them.
struct CachePositions {
  Tensor lengths, counts;
};

/// recurrent_attention of new tokens that follow those in a cache, which takes them up:
///   k~, v~ go on from the state, rope turns by the position in the sequence, and query i sees what its pattern admits
///   of the cache and of the new tokens up to itself
///
///   projection  (B, n, 5C)  the cache's dtype, contiguous, n >= 1; (B, n, 4C) without recurrence
///   at          lengths + counts must not exceed the capacity, nor counts n: the caller's duty where they are on a GPU
///   returns     (B, n, C)   zeros for rows that hold no new token, whatever the projection has there
///
/// Whatever the pieces a sequence is fed in, the outputs are those of recurrent_attention over all of it, up to
/// rounding. Work is O(n (T/D + W + S) C), of top-k blocks O(n (T/D + K D) C); for n = 1 the cache is read once and
/// nothing else is held: decoding. A head of top-k blocks chooses by the rounded keys of the cache; on a GPU its cache
/// has fewer than 2^31 tokens, another's at most 2^30 slots. No gradient: throws Error where one is wanted, and where
/// shapes, dtypes, devices or lengths do not fit. Source: RAT+, arXiv 2602.18196, section 3, inference.
Tensor cached_attention(const Tensor& projection, AttentionCache& cache, const CachePositions& at,
                        double rope_base = 10000.0);

/// Of one token a sequence a GPU may read lengths, counts, and the keys and values of tokens before it, before the
/// kernels before this one have ended, in a graph of Weights::constant (core/device_graph.h).
struct CachedAttentionArgs {
  int64_t B, n, C, H, capacity;
  DType dtype;
  Recurrence recurrence;
  double rope_base;
  const Pattern* patterns;                         // H of them
  const int64_t *slots_before, *summaries_before;  // H + 1 of them, on the host
  const int64_t *lengths, *counts;                 // B of them, on the device
  const void* projection;
  void *keys, *values, *state, *summaries;  // state and summaries may be null
  void* out;
};
namespace cpu {
void cached_attention(const CachedAttentionArgs& args);
}
namespace cuda {
void cached_attention(const CachedAttentionArgs& args, Stream stream);
}

}  // namespace ratel
