#include "tasks/continuations.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "ops/fused_linear.h"

namespace ratel::tasks {
namespace {

constexpr int64_t kChunk = 512, kChunkStep = 32;
/// Channels beyond a multiple of it are summed in another order for one row than for a few.
constexpr int64_t kVector = 16;
/// Batches that are sorted by length together. Not all of them, so that what a signal leaves is not the shortest texts.
constexpr size_t kSortedBatches = 16;

enum class Company { others, nobody };

/// What texts must have in common to be read side by side.
struct Reading {
  int64_t max_new_tokens, chunk;
  Company company;
  friend bool operator==(const Reading&, const Reading&) = default;
};

/// Chunks of so many tokens leave none at the end that is a few rows by itself and many beside others.
Reading reading_of(const Prompt& prompt) {
  const auto length = static_cast<int64_t>(prompt.tokens.size());
  for (int64_t chunk = kChunk; chunk > kFewFusedRows; chunk -= kChunkStep)
    if (const int64_t last = length % chunk; last == 0 || last > kFewFusedRows)
      return {prompt.max_new_tokens, chunk, Company::others};
  return {prompt.max_new_tokens, kChunk, Company::nobody};
}

size_t most_at_once(const TaskSetting& setting) {
  if (setting.model.device().is_cuda()) return static_cast<size_t>(setting.batch_size);
  if (setting.model.config.channels % kVector != 0) return 1;
  return static_cast<size_t>(std::min(setting.batch_size, kFewFusedRows));
}

}  // namespace

std::vector<std::optional<Continuation>> greedy_continuations(const TaskSetting& setting,
                                                              std::span<const Prompt> prompts,
                                                              const std::vector<std::string>& stop_strings,
                                                              const AfterBatch& after_batch) {
  check(setting.batch_size >= 1, "greedy_continuations: expected a batch_size of at least 1, found ",
        setting.batch_size);
  std::vector<std::optional<Continuation>> results(prompts.size());
  GenerationOptions how;
  how.eos = setting.tokenizer.eos();
  how.token_text = texts_of(setting.tokenizer);
  how.stop_strings = stop_strings;
  how.stop = setting.stop;
  how.logprobs = LogProbs::chosen;
  const size_t most = most_at_once(setting);
  int64_t done = 0;
  for (size_t begin = 0; begin < prompts.size();) {
    std::vector<size_t> order(std::min(kSortedBatches * most, prompts.size() - begin));
    std::iota(order.begin(), order.end(), begin);
    begin += order.size();
    std::ranges::stable_sort(order, std::greater(), [&](size_t prompt) {
      const Reading reading = reading_of(prompts[prompt]);
      return std::tuple(reading.max_new_tokens, reading.chunk, reading.company, prompts[prompt].tokens.size());
    });
    for (size_t at = 0; at < order.size();) {
      const Reading reading = reading_of(prompts[order[at]]);
      std::vector<std::vector<int64_t>> texts;
      const size_t first = at;
      do {
        texts.push_back(prompts[order[at++]].tokens);
      } while (reading.company == Company::others && texts.size() < most && at < order.size() &&
               reading_of(prompts[order[at]]) == reading);
      how.max_new_tokens = reading.max_new_tokens;
      how.prefill_chunk = reading.chunk;
      const auto batch = std::span<const size_t>(order).subspan(first, texts.size());
      Generation generation = computed(batch, [&] { return generate(setting.model, texts, setting.pattern, how); });
      std::vector<size_t> ended;
      for (size_t i = 0; i < texts.size(); ++i)
        if (Continuation& text = generation.sequences[i]; text.finish != FinishReason::stopped) {
          results[batch[i]] = std::move(text);
          ended.push_back(batch[i]);
        }
      if (after_batch && !ended.empty()) after_batch(ended, results);
      done += static_cast<int64_t>(ended.size());
      if (setting.stop && setting.stop()) return results;
      if (setting.progress) setting.progress(done, static_cast<int64_t>(prompts.size()));
    }
  }
  return results;
}

}  // namespace ratel::tasks
