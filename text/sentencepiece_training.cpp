#include "text/sentencepiece_training.h"

#include <sentencepiece_trainer.h>

#include <exception>
#include <new>
#include <utility>
#include <vector>

#include "core/error.h"
#include "io/json.h"
#include "io/limits.h"
#include "text/sentencepiece_file.h"

namespace ratel {
namespace {

constexpr int64_t kLeastPieces = 3 + 256 + 1;  // control tokens, bytes, the space

/// The words as the library reads them: "word\tcount".
class Words : public sentencepiece::SentenceIterator {
 public:
  explicit Words(std::vector<std::pair<std::string, int64_t>> words) : words_(std::move(words)) { set_row(); }
  [[nodiscard]] bool done() const override { return next_ == words_.size(); }
  void Next() override {
    ++next_;
    set_row();
  }
  [[nodiscard]] const std::string& value() const override { return row_; }
  [[nodiscard]] sentencepiece::util::Status status() const override { return {}; }

 private:
  void set_row() {
    if (!done()) row_ = words_[next_].first + '\t' + std::to_string(words_[next_].second);
  }
  std::vector<std::pair<std::string, int64_t>> words_;
  size_t next_ = 0;
  std::string row_;
};

/// What the library says without where in its sources it says so.
std::string reason_of(std::string_view status) {
  const size_t end = status.rfind("] ");
  return std::string(end == std::string_view::npos ? status : status.substr(end + 2));
}

}  // namespace

void SentencePieceTraining::validate() const {
  check(vocab_size >= kLeastPieces && vocab_size <= static_cast<int64_t>(io::kTokenizerPieces), "vocab_size: expected ",
        kLeastPieces, " to ", io::kTokenizerPieces, ", found ", vocab_size);
  check(character_coverage >= 0.98 && character_coverage <= 1, "character_coverage: expected 0.98 to 1, found ",
        character_coverage);
}

std::string train_sentencepiece(const WordCounts& words, const SentencePieceTraining& how) {
  how.validate();
  if (words.different_words() == 0) throw Error("expected text to train a tokenizer on, found none", ErrorKind::input);
  Words rows(words.sorted());
  std::string model, problem;
  try {
    const auto status = sentencepiece::SentencePieceTrainer::Train(
        {{"model_type", "bpe"},
         {"vocab_size", std::to_string(how.vocab_size)},
         {"character_coverage", io::Json(how.character_coverage).dump()},
         {"byte_fallback", "true"},
         {"split_digits", "true"},
         {"allow_whitespace_only_pieces", "true"},
         {"normalization_rule_name", "identity"},
         {"remove_extra_whitespaces", "false"},
         {"input_format", "tsv"},
         {"max_sentence_length", std::to_string(2 * WordCounts::kMostWordBytes)},
         {"hard_vocab_limit", "false"},  // what there is, is said below
         {"num_threads", "1"},           // it is recorded in the file, and changes nothing in it else
         {"minloglevel", "3"}},
        &rows, &model);
    if (!status.ok()) problem = reason_of(status.ToString());
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    problem = error.what();
  }
  check(problem.empty(), "training a tokenizer of ", how.vocab_size, " pieces: ", problem);
  const auto pieces = static_cast<int64_t>(read_sentencepiece(model, "the trained model").pieces.size());
  check(pieces == how.vocab_size, "training a tokenizer: expected ", how.vocab_size, " pieces, found ", pieces,
        " in a text of ", words.bytes(), " bytes\nhint: --vocab ", pieces, ", or more text");
  return model;
}

}  // namespace ratel
