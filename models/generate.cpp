#include "models/generate.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "autograd/grad_mode.h"
#include "core/free_memory.h"
#include "models/decoder.h"
#include "models/stop_strings.h"
#include "ops/view.h"
#include "text/streaming_decoder.h"

namespace ratel {
namespace {

constexpr std::pair<FinishReason, std::string_view> kReasons[] = {{FinishReason::length, "length"},
                                                                  {FinishReason::eos, "eos"},
                                                                  {FinishReason::stop_string, "stop_string"},
                                                                  {FinishReason::stopped, "stopped"}};

using Prompts = std::vector<std::vector<int64_t>>;

/// A text that grows.
class Sequence {
 public:
  Sequence(const std::vector<int64_t>& prompt, const GenerationOptions& options, size_t index)
      : options_(&options),
        index_(index),
        stream_(static_cast<size_t>(options.first_sample) + index % static_cast<size_t>(options.samples)),
        prompt_(prompt.size()),
        text_(prompt),
        token_text_(options.token_text ? options.token_text(prompt) : TokenText()),
        stop_strings_(options.stop_strings) {}

  [[nodiscard]] const std::vector<int64_t>& text() const { return text_; }
  [[nodiscard]] bool ended() const { return finish_.has_value(); }

  /// Draws the next token.
  Next extend(std::span<const double> logits, const OnToken& on_token) {
    const size_t step = text_.size() - prompt_;
    const int64_t token = sample_token(logits, options_->sampling, {step, stream_}, text_);
    double logprob = std::numeric_limits<double>::quiet_NaN();
    if (options_->logprobs == LogProbs::chosen) logprobs_.push_back(logprob = log_probability(logits, token));
    text_.push_back(token);
    std::string said = token_text_ ? stop_strings_.push(token_text_(token)) : "";
    if (stop_strings_.found())
      finish_ = FinishReason::stop_string;
    else if (token == options_->eos)
      finish_ = FinishReason::eos;
    else if (static_cast<int64_t>(step) + 1 == options_->max_new_tokens)
      finish_ = FinishReason::length;
    if (ended()) said += rest();
    said_ += said;
    const Next next = on_token ? on_token({index_, token, logprob, said, finish_}) : Next::go_on;
    if (next != Next::go_on) end();
    return next;
  }

  /// Ends it here, if it has not ended.
  void end() {
    if (ended()) return;
    finish_ = FinishReason::stopped;
    said_ += rest();
  }

  Continuation result() && {
    text_.erase(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(prompt_));
    return {std::move(text_), std::move(logprobs_), std::move(said_), finish_.value_or(FinishReason::stopped)};
  }

 private:
  /// What is left of a text that ends here.
  std::string rest() {
    std::string said = token_text_ ? stop_strings_.push(token_text_({})) : "";
    return said += stop_strings_.finish();
  }

  const GenerationOptions* options_;
  size_t index_, stream_, prompt_;
  std::vector<int64_t> text_;
  std::vector<double> logprobs_;
  TokenText token_text_;
  StopStrings stop_strings_;
  std::string said_;
  std::optional<FinishReason> finish_;
};

/// The model over texts that grow: their next logits.
class Reader {
 public:
  Reader(const RatPlus& model, const ModelPattern& pattern, const GenerationOptions& options)
      : model_(model), pattern_(pattern), options_(options), V_(static_cast<size_t>(model.config.vocab_size)) {}

  /// Reads what is new of the texts that go on. False where the caller wanted no more meanwhile.
  bool read(const Prompts& prompts, const std::vector<Sequence>& sequences) {
    if (options_.caching == Caching::none) return read_whole(sequences);
    return cache_ ? read_last_tokens(sequences) : read_prompts(prompts);
  }

  /// Sequences whose logits are known, and the logits of the i-th of these.
  [[nodiscard]] const std::vector<size_t>& rows() const { return rows_; }
  [[nodiscard]] std::span<const double> logits(size_t i) const { return std::span(logits_).subspan(i * V_, V_); }
  [[nodiscard]] const std::optional<KvCache>& cache() const { return cache_; }

 private:
  bool read_prompts(const Prompts& prompts) {
    const auto longest = std::ranges::max_element(prompts, {}, &std::vector<int64_t>::size);
    const auto capacity = static_cast<int64_t>(longest->size()) + options_.max_new_tokens - 1;  // the last is not read
    const auto batch = static_cast<int64_t>(prompts.size());
    cache_ = allocated(batch, capacity, [&] { return KvCache(model_, pattern_, batch, capacity); });
    const Tensor first = prefill(model_, *cache_, prompts, options_.prefill_chunk, options_.stop);  // (prompts, V)
    if (!first.defined()) return false;
    const auto of_prompts = to_vector<double>(first);
    std::vector<int64_t> origins;
    for (size_t prompt = 0; prompt < prompts.size(); ++prompt)
      for (int64_t sample = 0; sample < options_.samples; ++sample) {
        rows_.push_back(rows_.size());
        origins.push_back(static_cast<int64_t>(prompt));
        const auto row = std::span(of_prompts).subspan(prompt * V_, V_);
        logits_.insert(logits_.end(), row.begin(), row.end());
      }
    if (options_.samples > 1)
      cache_ = allocated(batch * options_.samples, capacity, [&] { return cache_->fork(origins); });
    return true;
  }

  /// The cache that `make` returns. Where there is no memory for it, the error says what it is for.
  template <class Make>
  KvCache allocated(int64_t texts, int64_t capacity, Make&& make) const {
    try {
      return make();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::memory) throw;
      throw Error(
          concat_text("generate: no memory for a cache of ", texts, " x ", capacity, " tokens, ",
                      bounded_product({texts, kv_cache_bytes(model_.config, pattern_, capacity, model_.dtype())}),
                      " bytes\nhint: a sparser pattern, a lower max_new_tokens or fewer texts need less"),
          ErrorKind::memory);
    }
  }

  bool read_last_tokens(const std::vector<Sequence>& sequences) {
    std::vector<int64_t> going_on;  // places among rows_
    for (size_t row = 0; row < rows_.size(); ++row)
      if (!sequences[rows_[row]].ended()) going_on.push_back(static_cast<int64_t>(row));
    if (2 * going_on.size() <= rows_.size()) {  // rows that have ended cost little each, but not nothing
      decoder_.reset();                         // its graph is of the cache before
      cache_ = cache_->fork(going_on);
      for (size_t row = 0; row < going_on.size(); ++row) rows_[row] = rows_[static_cast<size_t>(going_on[row])];
      rows_.resize(going_on.size());
    }
    std::vector<int64_t> tokens, counts;
    for (const size_t index : rows_) {
      tokens.push_back(sequences[index].text().back());
      counts.push_back(sequences[index].ended() ? 0 : 1);
    }
    if (!decoder_) decoder_.emplace(model_, *cache_);
    logits_ = to_vector<double>((*decoder_)(tokens, counts));  // (rows, V)
    return true;
  }

  bool read_whole(const std::vector<Sequence>& sequences) {
    rows_.clear();
    logits_.clear();
    for (size_t index = 0; index < sequences.size(); ++index) {
      if (sequences[index].ended()) continue;
      const std::vector<int64_t>& text = sequences[index].text();
      const auto T = static_cast<int64_t>(text.size());
      const Tensor hidden = model_.hidden(from_vector(text, {1, T}, DType::i64, model_.device()), pattern_);
      const auto row = to_vector<double>(model_.embedding.as_head(slice(hidden, 1, T - 1, T)));
      rows_.push_back(index);
      logits_.insert(logits_.end(), row.begin(), row.end());
    }
    return true;
  }

  const RatPlus& model_;
  const ModelPattern& pattern_;
  const GenerationOptions& options_;
  size_t V_;
  std::optional<KvCache> cache_;
  std::optional<Decoder> decoder_;  // over the cache
  std::vector<size_t> rows_;
  std::vector<double> logits_;
};

void check_arguments(const RatPlus& model, const Prompts& prompts, const ModelPattern& pattern,
                     const GenerationOptions& options) {
  check(!prompts.empty(), "generate: expected at least one prompt, found none");
  for (size_t index = 0; index < prompts.size(); ++index) {
    const std::string which = prompts.size() == 1 ? "the prompt" : "prompt " + std::to_string(index);
    check(!prompts[index].empty(), "generate: ", which, " is empty; it needs at least one token");
    for (const int64_t token : prompts[index])
      check(token >= 0 && token < model.config.vocab_size, "generate: ", which, " has the token ", token,
            ", expected tokens from 0 to ", model.config.vocab_size - 1);
  }
  check(options.max_new_tokens >= 0 && options.max_new_tokens <= kMostNewTokens,
        "generate: expected max_new_tokens from 0 to ", kMostNewTokens, ", found ", options.max_new_tokens);
  check(options.samples >= 1 && options.samples <= kMostNewTokens, "generate: expected at least 1 sample, found ",
        options.samples);
  check(options.first_sample >= 0, "generate: expected first_sample 0 or more, found ", options.first_sample);
  check(options.prefill_chunk >= 1, "generate: expected prefill_chunk 1 or more, found ", options.prefill_chunk);
  check(options.stop_strings.empty() || options.token_text, "generate: stop strings need token_text");
  options.sampling.validate();
  pattern.check_fits(model.config);
}

}  // namespace

EnumNames<FinishReason> names_of(FinishReason) { return kReasons; }

std::function<TokenText(const std::vector<int64_t>& prompt)> texts_of(const Tokenizer& tokenizer) {
  return [tokenizer](const std::vector<int64_t>& prompt) -> TokenText {
    const auto is_known = [size = tokenizer.vocab_size()](int64_t token) { return token < size; };
    std::vector<int64_t> before;
    std::ranges::copy_if(prompt, std::back_inserter(before), is_known);
    return [decoder = StreamingDecoder(tokenizer, before), is_known](std::optional<int64_t> token) mutable {
      if (!token) return decoder.finish();
      return is_known(*token) ? decoder.push(*token) : "";
    };
  };
}

Generation generate(const RatPlus& model, const Prompts& prompts, const ModelPattern& pattern,
                    const GenerationOptions& options, const OnToken& on_token) {
  check_arguments(model, prompts, pattern, options);
  const NoGrad no_grad;
  std::vector<Sequence> sequences;
  for (const std::vector<int64_t>& prompt : prompts)
    for (int64_t sample = 0; sample < options.samples; ++sample)
      sequences.emplace_back(prompt, options, sequences.size());
  Reader reader(model, pattern, options);
  const auto stopped = [&] { return options.stop && options.stop(); };
  bool go_on = options.max_new_tokens > 0;
  while (go_on && !stopped() && reader.read(prompts, sequences)) {
    const std::vector<size_t>& rows = reader.rows();
    for (size_t row = 0; row < rows.size() && go_on; ++row)
      if (!sequences[rows[row]].ended())
        go_on = sequences[rows[row]].extend(reader.logits(row), on_token) != Next::stop_all;
    go_on = go_on && !std::ranges::all_of(sequences, &Sequence::ended);
  }
  Generation result;
  for (Sequence& sequence : sequences) {
    sequence.end();
    result.sequences.push_back(std::move(sequence).result());
    if (options.max_new_tokens == 0) result.sequences.back().finish = FinishReason::length;
  }
  if (reader.cache()) {
    const auto texts = static_cast<int64_t>(sequences.size()), batch = reader.cache()->batch();
    result.cache_bytes = reader.cache()->bytes() / batch * texts;
    result.dense_bytes = reader.cache()->dense_bytes() / batch * texts;
  }
  return result;
}

}  // namespace ratel
