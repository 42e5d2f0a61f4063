#pragma once

#include <string>
#include <vector>

#include "models/generate.h"

namespace ratel::cli {

/// What `ratel generate` shows of its texts: one alone as it comes, several each under a heading, in their order, as
/// soon as they are complete; with json, one object at the end.
class GenerationView {
 public:
  enum class Output { text, json };
  enum class Tokens { as_text, as_ids };  ///< ids where the model has no tokenizer

  /// `prompts` are what headings call them.
  GenerationView(std::vector<std::string> prompts, int64_t samples, Output output, Tokens tokens);

  void add(const NewToken& token);
  /// Shows what is left, and on stderr the bytes of the cache beside a dense one.
  void conclude(const Generation& generation);

 private:
  [[nodiscard]] bool alone() const { return texts_.size() == 1; }
  [[nodiscard]] std::string heading(size_t sequence) const;
  void print_complete();

  std::vector<std::string> prompts_;
  size_t samples_;
  Output output_;
  Tokens tokens_;
  std::vector<std::string> texts_;  // so far
  std::vector<bool> complete_;
  size_t printed_ = 0;  // texts that were printed
};

}  // namespace ratel::cli
