#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "models/rat_plus.h"
#include "models/step_inputs.h"
#include "ops/cached_attention.h"

namespace ratel {

/// What a model keeps of B sequences that grow: one AttentionCache a layer, allocated once for `capacity` tokens a
/// sequence and one pattern. Sequences may differ in length. It moves; fork() is the copy.
///
///   KvCache cache(model, pattern, prompts.size(), 4096);
///   Tensor logits = prefill(model, cache, prompts);   // (B, V)
///   logits = next_logits(model, cache, tokens);       // decode: one token a sequence, (B, 1)
class KvCache {
 public:
  /// Throws Error where the pattern does not fit the model, batch or capacity is below 1, and Error (memory).
  KvCache(const RatPlus& model, const ModelPattern& pattern, int64_t batch, int64_t capacity);
  KvCache(KvCache&&) = default;
  KvCache& operator=(KvCache&&) = default;
  KvCache(const KvCache&) = delete;  // its tensors would be shared, its lengths not
  KvCache& operator=(const KvCache&) = delete;
  ~KvCache() = default;

  [[nodiscard]] int64_t batch() const { return static_cast<int64_t>(lengths_.size()); }
  [[nodiscard]] int64_t capacity() const { return capacity_; }
  [[nodiscard]] std::span<const int64_t> lengths() const { return lengths_; }  ///< tokens of every sequence
  [[nodiscard]] const ModelPattern& pattern() const { return pattern_; }

  /// Bytes of all its tensors: batch times kv_cache_bytes(config, pattern, capacity, dtype).
  [[nodiscard]] int64_t bytes() const;
  /// The same for a dense pattern.
  [[nodiscard]] int64_t dense_bytes() const { return dense_bytes_; }

  /// Forgets all sequences, or one.
  void reset();
  void reset(int64_t sequence);
  /// A cache that holds sequences[i] of this one as its i-th: several samples of one prompt, or some of a batch.
  /// Both caches are there until one is given up. A GPU copies all of their slots; a CPU those that are filled, and
  /// room for more takes memory as it is filled. Throws Error for a sequence that there is not, and Error (memory).
  [[nodiscard]] KvCache fork(std::span<const int64_t> sequences) const;

 private:
  KvCache(const KvCache& other, int64_t batch);  // without its sequences
  friend Tensor extend(const RatPlus& model, KvCache& cache, const Tensor& tokens, std::span<const int64_t> counts);
  friend class Decoder;

  /// Throws where an earlier step failed between its layers.
  void check_whole() const;
  /// Checks that each sequence can take its count of n new tokens, and tells the kernels where they stand, and one
  /// token a sequence where such are given. Until end_step() the cache counts as torn.
  void begin_step(const RatPlus& model, std::span<const int64_t> counts, int64_t n,
                  std::span<const int64_t> tokens = {});
  /// What a step computes, from tokens that were checked: the final normed hidden states, or the logits of one token a
  /// sequence. Nothing but kernels.
  Tensor hidden(const RatPlus& model, const Tensor& tokens);
  Tensor logits_of_one(const RatPlus& model, const Tensor& tokens);
  void end_step(std::span<const int64_t> counts);

  RatPlusConfig config_;
  ModelPattern pattern_;
  int64_t capacity_ = 0, dense_bytes_ = 0;
  bool is_torn_ = false;  // some layers took up tokens that others did not
  std::vector<AttentionCache> layers_;
  std::vector<int64_t> lengths_;
  StepInputs inputs_;
};

/// The model over new tokens, which the cache takes up. The first counts[b] of row b of `tokens` (B, n) follow the
/// sequence b; without counts all of them do. Returns the final normed hidden states (B, n, C); those of rows without a
/// token mean nothing. Equals RatPlus::hidden over whole sequences, up to rounding.
/// Records nothing. Rows beyond counts[b] may hold any token of the vocabulary, and cost what the others do.
/// Throws Error where a sequence would outgrow the capacity, naming it, its length and the capacity, for a token
/// outside the vocabulary, and for a cache made for a model of another shape; the cache is as it was then. After any
/// other error (memory) it takes no more tokens until reset().
Tensor extend(const RatPlus& model, KvCache& cache, const Tensor& tokens, std::span<const int64_t> counts = {});

/// The same, and of each sequence the logits of the token after its last new one: (B, V). counts[b] may be 0; that row
/// of the result means nothing.
Tensor next_logits(const RatPlus& model, KvCache& cache, const Tensor& tokens, std::span<const int64_t> counts = {});

/// Feeds prompts of one token or more, `chunk` tokens of each at a time, which bounds the working memory and changes
/// nothing else. Returns the logits (B, V) of the token after each. Before every chunk it asks `stop`, and where that
/// says true returns an undefined tensor; the cache then holds what was fed.
/// Costs as much as prompts that are all as long as the longest.
/// Throws Error as extend() does, for an empty prompt, and for a number of prompts that is not the batch, before
/// anything is fed.
Tensor prefill(const RatPlus& model, KvCache& cache, const std::vector<std::vector<int64_t>>& prompts,
               int64_t chunk = 512, const std::function<bool()>& stop = {});

}  // namespace ratel
