#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "io/token_file.h"

namespace ratel::train {

/// Where `index` of [0, size) goes in a permutation of [0, size) that is a pure function of (seed, epoch). Nothing is
/// stored: a Feistel network of Philox rounds on the next even number of bits, walked along its cycle until it falls
/// inside. Throws Error for an index outside [0, size).
/// Source: Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002.
int64_t permuted(int64_t index, int64_t size, uint64_t seed, uint64_t epoch);

/// One batch:  tokens, labels (B, T) i64.
struct Batch {
  Tensor tokens, labels;
  int64_t counted = 0;  ///< labels that are not kIgnoreIndex
};
Batch moved_to(const Batch& batch, Device device);

/// Training windows of a token file. Window w holds tokens [w T, w T + T]: T inputs, each with the token after it as
/// its label, so that neighbouring windows share one token; a tail shorter than T + 1 is not trained on. A label is
/// kIgnoreIndex where its INPUT token is `eos`.
///
/// Samples are counted from 0 over the whole run; sample s is window permuted(s % windows, windows, seed, s / windows):
/// every window once an epoch, each epoch in an order of its own.
class TrainData {
 public:
  /// Throws Error(input) where the file is shorter than one window, or has no label that counts.
  TrainData(io::TokenFile file, int64_t seq_len, uint64_t seed, int64_t eos);

  [[nodiscard]] int64_t windows() const { return windows_; }
  [[nodiscard]] const io::TokenFile& file() const { return file_; }
  /// The window of a sample.
  [[nodiscard]] int64_t window_of(int64_t sample) const;
  /// Samples [first, first + count). Throws Error(input) for a token id that is not below the vocabulary size.
  [[nodiscard]] Batch batch(int64_t first, int64_t count) const;

 private:
  io::TokenFile file_;
  int64_t seq_len_, windows_, eos_;
  uint64_t seed_;
};

/// Windows of length + 1 tokens that begin where `begins` says, as a batch.
Batch windows_at(const io::TokenFile& file, std::span<const int64_t> begins, int64_t length, int64_t eos);
/// Windows of length + 1 tokens as a batch. Throws Error where there are none, they are of fewer than 2 tokens, or of
/// different lengths.
Batch batch_of(std::span<const std::vector<int64_t>> windows, int64_t eos);

}  // namespace ratel::train
