#include "models/kv_cache.h"

#include <algorithm>
#include <numeric>

#include "autograd/grad_mode.h"
#include "core/op_scope.h"
#include "ops/cache_slots.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/embedding.h"
#include "ops/view.h"

namespace ratel {
namespace {

/// (B, n, C) -> (B, C): of each sequence the row of its last new token, or its first row where it has none.
Tensor last_rows(const Tensor& hidden, std::span<const int64_t> counts) {
  const int64_t B = hidden.dim(0), n = hidden.dim(1), C = hidden.dim(2);
  if (n == 1) return reshape(hidden, {B, C});
  std::vector<int64_t> rows;
  for (int64_t b = 0; b < B; ++b) rows.push_back(b * n + std::max<int64_t>(0, counts[static_cast<size_t>(b)] - 1));
  return embedding(reshape(hidden, {B * n, C}), from_vector(rows, {B}, DType::i64, hidden.device()),
                   IdCheck::by_caller);
}

std::vector<int64_t> all_or(std::span<const int64_t> counts, const Tensor& tokens) {
  if (!counts.empty()) return {counts.begin(), counts.end()};
  return std::vector<int64_t>(static_cast<size_t>(tokens.dim(0)), tokens.dim(1));
}

struct RowRun {
  int64_t begin, end;
};
using RowRuns = std::vector<RowRun>;

/// Rows of a layer's keys and values that a query after `length` tokens, or a later one, may see.
RowRuns filled_slots(const AttentionCache& layer, int64_t length) {
  RowRuns runs;
  for (size_t head = 0; head < layer.patterns.size(); ++head)
    CacheSlots(layer.patterns[head], layer.capacity).for_each_run(length, [&](int64_t slot, int64_t count) {
      const int64_t begin = layer.slots_before[head] + slot;
      if (count > 0) runs.push_back({begin, begin + count});
    });
  return runs;
}

/// Rows of its summaries that tell of blocks that have begun.
RowRuns filled_summaries(const AttentionCache& layer, int64_t length) {
  RowRuns runs;
  for (size_t head = 0; head < layer.patterns.size(); ++head) {
    const int64_t begin = layer.summaries_before[head], count = summary_rows(layer.patterns[head], length);
    if (count > 0) runs.push_back({begin, begin + count});
  }
  return runs;
}

/// Throws where there can be no such cache, before anything is allocated for it.
int64_t checked_dense_bytes(const RatPlus& model, const ModelPattern& pattern, int64_t batch, int64_t capacity) {
  pattern.check_fits(model.config);
  check(batch >= 1 && capacity >= 1, "kv_cache: expected a batch and a capacity of at least 1, found ", batch, " and ",
        capacity);
  int64_t bytes = 0;
  check(!__builtin_mul_overflow(batch, kv_cache_bytes(model.config, {}, capacity, model.dtype()), &bytes),
        "kv_cache: ", batch, " x ", capacity, " tokens have too many bytes to count");
  return bytes;
}

}  // namespace

KvCache::KvCache(const RatPlus& model, const ModelPattern& pattern, int64_t batch, int64_t capacity)
    : config_(model.config),
      pattern_(pattern),
      capacity_(capacity),
      dense_bytes_(checked_dense_bytes(model, pattern, batch, capacity)),
      inputs_(batch, model.device()) {
  const OpScope scope("kv_cache");
  const RatPlusConfig& config = config_;
  const DType dtype = model.dtype();
  lengths_.assign(static_cast<size_t>(batch), 0);
  for (int64_t layer = 0; layer < config.layers; ++layer)
    layers_.emplace_back(batch, capacity, config.channels, config.heads, pattern.of_layer(layer, config.layers),
                         config.recurrence, dtype, model.device());
}

KvCache::KvCache(const KvCache& other, int64_t batch)
    : config_(other.config_),
      pattern_(other.pattern_),
      capacity_(other.capacity_),
      dense_bytes_(other.dense_bytes_ / other.batch() * batch),
      inputs_(batch, other.inputs_.tokens().device()) {}

int64_t KvCache::bytes() const {
  return std::accumulate(layers_.begin(), layers_.end(), int64_t{0},
                         [](int64_t sum, const AttentionCache& layer) { return sum + layer.bytes(); });
}

void KvCache::reset() {
  for (int64_t b = 0; b < batch(); ++b) reset(b);
  is_torn_ = false;
}

void KvCache::reset(int64_t sequence) {
  check(sequence >= 0 && sequence < batch(), "kv_cache: sequence ", sequence, " of ", batch(), " does not exist");
  for (const AttentionCache& layer : layers_) {
    if (!layer.state.defined()) continue;
    const Tensor state = slice(layer.state, 0, sequence, sequence + 1);
    copy_into(state, zeros_like(state));
  }
  lengths_[static_cast<size_t>(sequence)] = 0;
}

KvCache KvCache::fork(std::span<const int64_t> sequences) const {
  const OpScope scope("kv_cache");
  check(!sequences.empty(), "kv_cache: a fork needs at least one sequence");
  check_whole();
  const auto B = static_cast<int64_t>(sequences.size());
  KvCache forked(*this, B);
  for (const int64_t b : sequences) {
    check(b >= 0 && b < batch(), "kv_cache: sequence ", b, " of ", batch(), " does not exist");
    forked.lengths_.push_back(lengths_[static_cast<size_t>(b)]);
  }
  // Rows that hold nothing are not even touched: room for a long text takes memory as the text grows. A GPU has no such
  // pages, and copies all of them with one launch.
  const auto chosen = [&](const Tensor& x, auto&& filled) {
    if (!x.defined()) return x;
    Tensor y = empty({B, x.dim(1), x.dim(2)}, x.dtype(), x.device());
    for (int64_t b = 0; b < B; ++b) {
      const int64_t from = sequences[static_cast<size_t>(b)];
      const Tensor source = slice(x, 0, from, from + 1), target = slice(y, 0, b, b + 1);
      if (x.device().is_cuda())
        copy_into(target, source);
      else
        for (const auto& [begin, end] : filled(forked.lengths_[static_cast<size_t>(b)]))
          copy_into(slice(target, 1, begin, end), slice(source, 1, begin, end));
    }
    return y;
  };
  for (AttentionCache layer : layers_) {
    const auto slots = [&layer](int64_t length) { return filled_slots(layer, length); };
    layer.keys = chosen(layer.keys, slots);
    layer.values = chosen(layer.values, slots);
    layer.state = chosen(layer.state, [](int64_t) { return RowRuns{{0, 2}}; });
    layer.summaries = chosen(layer.summaries, [&layer](int64_t length) { return filled_summaries(layer, length); });
    forked.layers_.push_back(std::move(layer));
  }
  return forked;
}

void KvCache::check_whole() const {
  check(!is_torn_, "kv_cache: an earlier step failed between its layers\nhint: reset() it and feed the tokens again");
}

void KvCache::begin_step(const RatPlus& model, std::span<const int64_t> counts, int64_t n,
                         std::span<const int64_t> tokens) {
  check_whole();
  check(model.config == config_, "kv_cache: made for a model of another shape");
  check(static_cast<int64_t>(counts.size()) == batch(), "kv_cache: expected a count for each of ", batch(),
        " sequences, found ", counts.size());
  for (size_t b = 0; b < counts.size(); ++b) {
    check(counts[b] >= 0 && counts[b] <= n, "kv_cache: expected 0 to ", n, " new tokens of sequence ", b, ", found ",
          counts[b]);
    check(lengths_[b] + counts[b] <= capacity_, "kv_cache: sequence ", b, " is full: it has ", lengths_[b],
          " tokens and cannot take ", counts[b], " more; the capacity is ", capacity_);
  }
  inputs_.send(lengths_, counts, tokens);
  is_torn_ = true;
}

Tensor KvCache::hidden(const RatPlus& model, const Tensor& tokens) {
  Tensor x = embedding(model.embedding.weight, tokens, IdCheck::by_caller);  // (B, n, C)
  for (size_t layer = 0; layer < model.blocks.size(); ++layer)
    x = model.blocks[layer](x, layers_[layer], inputs_.positions());
  return model.norm(x);
}

Tensor KvCache::logits_of_one(const RatPlus& model, const Tensor& tokens) {
  return model.embedding.as_head(reshape(hidden(model, tokens), {batch(), model.config.channels}));
}

void KvCache::end_step(std::span<const int64_t> counts) {
  for (size_t b = 0; b < counts.size(); ++b) lengths_[b] += counts[b];
  is_torn_ = false;
}

Tensor extend(const RatPlus& model, KvCache& cache, const Tensor& tokens, std::span<const int64_t> counts_or_all) {
  const NoGrad no_grad;
  check(tokens.rank() == 2 && tokens.dim(0) == cache.batch() && tokens.dim(1) >= 1, "kv_cache: expected tokens (",
        cache.batch(), ", n) with n >= 1, found ", tokens.shape());
  check(!is_float(tokens.dtype()) && tokens.device() == model.device(),
        "kv_cache: expected tokens of an integer dtype on ", model.device(), ", found ", tokens.dtype(), " on ",
        tokens.device());
  check_ids(tokens, model.config.vocab_size);
  const std::vector<int64_t> counts = all_or(counts_or_all, tokens);
  cache.begin_step(model, counts, tokens.dim(1));
  Tensor hidden = cache.hidden(model, tokens);
  cache.end_step(counts);
  return hidden;
}

Tensor next_logits(const RatPlus& model, KvCache& cache, const Tensor& tokens, std::span<const int64_t> counts) {
  const NoGrad no_grad;
  const Tensor hidden = extend(model, cache, tokens, counts);
  return model.embedding.as_head(last_rows(hidden, all_or(counts, tokens)));
}

Tensor prefill(const RatPlus& model, KvCache& cache, const std::vector<std::vector<int64_t>>& prompts, int64_t chunk,
               const std::function<bool()>& stop) {
  const NoGrad no_grad;
  const int64_t B = cache.batch(), V = model.config.vocab_size;
  check(static_cast<int64_t>(prompts.size()) == B, "kv_cache: expected ", B, " prompts, found ", prompts.size());
  check(chunk >= 1, "kv_cache: expected chunks of at least 1 token, found ", chunk);
  int64_t longest = 0;
  for (size_t b = 0; b < prompts.size(); ++b) {
    const auto length = static_cast<int64_t>(prompts[b].size());
    check(length > 0, "kv_cache: prompt ", b, " is empty; it needs at least one token");
    check(cache.lengths()[b] <= cache.capacity() - length, "kv_cache: sequence ", b, " of ", cache.lengths()[b],
          " tokens cannot take a prompt of ", length, "; the capacity is ", cache.capacity());
    for (const int64_t token : prompts[b])
      check(token >= 0 && token < V, "kv_cache: prompt ", b, " has the token ", token, ", expected 0 to ", V - 1);
    longest = std::max(longest, length);
  }
  const Tensor last = empty({B, model.config.channels}, model.dtype(), model.device());
  for (int64_t begin = 0; begin < longest; begin += chunk) {
    if (stop && stop()) return {};
    const int64_t n = std::min(chunk, longest - begin);
    std::vector<int64_t> tokens, counts;
    for (const std::vector<int64_t>& prompt : prompts) {
      const auto length = static_cast<int64_t>(prompt.size());
      counts.push_back(std::clamp<int64_t>(length - begin, 0, n));
      for (int64_t t = 0; t < n; ++t) tokens.push_back(prompt[static_cast<size_t>(std::min(begin + t, length - 1))]);
    }
    const Tensor hidden = extend(model, cache, from_vector(tokens, {B, n}, DType::i64, model.device()), counts);
    for (int64_t b = 0; b < B; ++b) {
      const int64_t end = static_cast<int64_t>(prompts[static_cast<size_t>(b)].size()) - begin;
      if (end < 1 || end > n) continue;  // it ends in another chunk
      const Tensor row = slice(slice(hidden, 0, b, b + 1), 1, end - 1, end);
      copy_into(slice(last, 0, b, b + 1), reshape(row, {1, -1}));
    }
  }
  return model.embedding.as_head(last);
}

}  // namespace ratel
