#include "tasks/continuations.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "ops/fused_linear.h"

namespace ratel::tasks {
namespace {

constexpr int64_t kChunk = 512, kChunkStep = 32;
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

}  // namespace

std::vector<std::optional<Continuation>> greedy_continuations(const TaskSetting& setting,
                                                              std::span<const Prompt> prompts,
                                                              const std::vector<std::string>& stop_strings) {
  check(setting.batch_size >= 1, "greedy_continuations: expected a batch_size of at least 1, found ",
        setting.batch_size);
  std::vector<std::optional<Continuation>> results(prompts.size());
  GenerationOptions how;
  how.eos = setting.tokenizer.eos();
  how.token_text = texts_of(setting.tokenizer);
  how.stop_strings = stop_strings;
  how.stop = setting.stop;
  how.logprobs = LogProbs::chosen;
  const bool is_on_cpu = !setting.model.device().is_cuda();
  const auto most = static_cast<size_t>(is_on_cpu ? std::min(setting.batch_size, kFewFusedRows) : setting.batch_size);
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
      Generation generation = generate(setting.model, texts, setting.pattern, how);
      for (size_t i = 0; i < texts.size(); ++i)
        if (Continuation& text = generation.sequences[i]; text.finish != FinishReason::stopped) {
          results[order[first + i]] = std::move(text);
          ++done;
        }
      if (setting.stop && setting.stop()) return results;
      if (setting.progress) setting.progress(done, static_cast<int64_t>(prompts.size()));
    }
  }
  return results;
}

}  // namespace ratel::tasks
