#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/enum_names.h"
#include "models/rat_plus.h"
#include "models/sampling.h"
#include "text/tokenizer.h"

namespace ratel {

/// What the model sees again of the text so far at every token.
enum class Caching {
  keys,  ///< models/kv_cache.h: a step is one token a sequence
  none,  ///< all of it, one text after the other: slow, for comparison
};

/// Whether the log-probabilities of the new tokens are wanted, log_probability() of models/sampling.h.
enum class LogProbs { none, chosen };

/// Why a text ends.
enum class FinishReason {
  length,       ///< it has max_new_tokens
  eos,          ///< its last token is eos
  stop_string,  ///< it came to a stop string
  stopped,      ///< the caller wanted no more
};
EnumNames<FinishReason> names_of(FinishReason);  ///< "length", "eos", "stop_string", "stopped"

/// What the tokens of one text say: called with every token that is new, returns the bytes that it adds, and at the end
/// with nothing, for what was held back.
using TokenText = std::function<std::string(std::optional<int64_t> token)>;

inline constexpr int64_t kMostNewTokens = int64_t{1} << 30;  ///< the bytes of any model's cache fit in 64 bits

struct GenerationOptions {
  int64_t max_new_tokens = 128;
  std::optional<int64_t> eos = {};  ///< a token that ends a text
  SamplingOptions sampling = {};
  int64_t samples = 1;  ///< texts a prompt; each draws from a stream of its own
  /// The number of the first sample: those of a prompt that are made by several calls are as those of one.
  int64_t first_sample = 0;

  /// Begins a text after its prompt; texts_of() makes one. Without it texts are empty, and there are no stop strings.
  std::function<TokenText(const std::vector<int64_t>& prompt)> token_text = {};
  /// A text ends before the first of these to be complete, which may begin and end inside of tokens.
  std::vector<std::string> stop_strings = {};

  LogProbs logprobs = LogProbs::none;
  Caching caching = Caching::keys;
  int64_t prefill_chunk = 512;      ///< tokens of each prompt that the model reads at once
  std::function<bool()> stop = {};  ///< asked before every chunk and every step: true ends all texts where they are
};

/// What a tokenizer makes of tokens: whole characters. Those beyond its vocabulary, of a model that has more, say
/// nothing.
std::function<TokenText(const std::vector<int64_t>& prompt)> texts_of(const Tokenizer& tokenizer);

/// A token that was just chosen.
struct NewToken {
  size_t sequence;  ///< prompt * samples + sample
  int64_t token;
  double logprob;         ///< NaN where it is not wanted
  std::string_view text;  ///< what is new in the text that no stop string can take back; all the rest at its end
  std::optional<FinishReason> finish;
};
/// What on_token wants: another token, no more of this text, or no more at all.
enum class Next { go_on, stop, stop_all };
/// Called with every new token as soon as it is known: for printing as it comes, and for stopping between tokens.
using OnToken = std::function<Next(const NewToken& token)>;

/// How a prompt goes on.
struct Continuation {
  std::vector<int64_t> tokens;   ///< the new ones, eos and those of a stop string included
  std::vector<double> logprobs;  ///< of each token, where they are wanted
  std::string text;              ///< what the tokens say, without the stop string
  FinishReason finish = FinishReason::stopped;
};

struct Generation {
  std::vector<Continuation> sequences;  ///< the samples of the first prompt, those of the second, ...
  int64_t cache_bytes = 0;              ///< of the KvCache; 0 without one
  int64_t dense_bytes = 0;              ///< of one with a dense pattern
};

/// Continues prompts of at least one token each, all at once. A text follows from model, prompt, pattern, options and
/// the number of its sample, not from the prompts beside it, up to rounding: a product of many rows may add in another
/// order than one of few. Sample 0 is what samples = 1 gives. Texts that have ended cost little more.
/// Throws Error for no prompts or an empty one, a token outside the vocabulary, options or a pattern that do not fit,
/// and Error (memory) where the cache of (longest prompt + max_new_tokens - 1) tokens a text does not fit.
Generation generate(const RatPlus& model, const std::vector<std::vector<int64_t>>& prompts, const ModelPattern& pattern,
                    const GenerationOptions& options, const OnToken& on_token = {});

}  // namespace ratel
