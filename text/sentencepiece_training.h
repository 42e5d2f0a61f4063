#pragma once

#include <cstdint>
#include <string>

#include "text/word_counts.h"

namespace ratel {

struct SentencePieceTraining {
  int64_t vocab_size = 4096;  ///< pieces: 3 control tokens, 256 bytes, the characters of the text, what was merged
  double character_coverage =
      0.99995;  ///< of the text, by characters that get pieces, from 0.98 to 1; others are bytes

  /// Throws Error for a number out of range.
  void validate() const;
};

/// Trains a SentencePiece model with LLaMA's settings: byte pairs, byte_fallback, digits by themselves, nothing
/// normalised and no space removed; `<unk>` 0, `<s>` 1, `</s>` 2. Returns the .model file. Lossless
/// (Tokenizer::lossless), and the same bytes for the same words and settings. Throws Error(input) where there are no
/// words, Error where fewer pieces are to be had than vocab_size (it says how many there are), or where the characters
/// alone need more.
std::string train_sentencepiece(const WordCounts& words, const SentencePieceTraining& how);

}  // namespace ratel
