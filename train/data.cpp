#include "train/data.h"

#include <array>
#include <bit>
#include <utility>
#include <vector>

#include "core/rng.h"
#include "ops/cross_entropy.h"

namespace ratel::train {
namespace {

constexpr uint32_t kFeistelRounds = 6;
constexpr uint32_t kOrderStream = 0x6f726465;  // sets these random numbers apart from those of weights and sampling

/// Copies T inputs and T labels out of T + 1 tokens.
void fill_row(const int64_t* window, int64_t T, int64_t eos, int64_t* tokens, int64_t* labels, int64_t& counted) {
  for (int64_t t = 0; t < T; ++t) {
    tokens[t] = window[t];
    const bool counts = eos < 0 || window[t] != eos;
    labels[t] = counts ? window[t + 1] : kIgnoreIndex;
    counted += counts ? 1 : 0;
  }
}

Batch empty_batch(int64_t B, int64_t T) { return {empty({B, T}, DType::i64), empty({B, T}, DType::i64), 0}; }

}  // namespace

Batch moved_to(const Batch& batch, Device device) {
  return {ratel::moved_to(batch.tokens, device), ratel::moved_to(batch.labels, device), batch.counted};
}

int64_t permuted(int64_t index, int64_t size, uint64_t seed, uint64_t epoch) {
  check(index >= 0 && index < size, "permuted: expected an index below ", size, ", found ", index);
  if (size == 1) return 0;
  // Both halves have `half` bits, so that 2^(2 half) is at least `size` and below 4 size: about 4 walks at most on
  // average.
  const uint64_t half = (std::bit_width(static_cast<uint64_t>(size - 1)) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  const std::array<uint32_t, 2> key{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  auto x = static_cast<uint64_t>(index);
  do {
    uint64_t left = x >> half, right = x & mask;
    for (uint32_t round = 0; round < kFeistelRounds; ++round) {
      const auto words = philox({static_cast<uint32_t>(right), static_cast<uint32_t>(epoch),
                                 static_cast<uint32_t>(epoch >> 32), kOrderStream + round},
                                key);
      left = std::exchange(right, left ^ (words[0] & mask));
    }
    x = left << half | right;
  } while (x >= static_cast<uint64_t>(size));
  return static_cast<int64_t>(x);
}

namespace {

int64_t count_windows(int64_t tokens, int64_t seq_len) {
  check(seq_len >= 1, "data: expected a seq_len of at least 1, found ", seq_len);
  return (tokens - 1) / seq_len;
}

/// Whether the first `count` tokens are `id`. As a rule the first one tells.
bool is_all(const io::TokenFile& file, int64_t count, int64_t id) {
  for (int64_t at = 0; at < count; ++at)
    if (file.token(at) != id) return false;
  return true;
}

}  // namespace

TrainData::TrainData(io::TokenFile file, int64_t seq_len, uint64_t seed, int64_t eos)
    : file_(std::move(file)),
      seq_len_(seq_len),
      windows_(count_windows(file_.size(), seq_len)),
      eos_(eos),
      seed_(seed) {
  if (windows_ < 1)
    fail_input(file_.path(), "expected at least ", seq_len + 1, " tokens, one window of seq_len ", seq_len,
               " and the token after it; found ", file_.size(), "\nhint: a smaller --data.seq_len, or more text");
  if (eos_ >= 0 && is_all(file_, windows_ * seq_len, eos_))
    fail_input(file_.path(), "expected text, found end-of-text tokens alone, after which nothing is predicted");
}

int64_t TrainData::window_of(int64_t sample) const {
  check(sample >= 0, "data: expected a sample of at least 0, found ", sample);
  return permuted(sample % windows_, windows_, seed_, static_cast<uint64_t>(sample / windows_));
}

Batch TrainData::batch(int64_t first, int64_t count) const {
  Batch batch = empty_batch(count, seq_len_);
  std::vector<int64_t> window(static_cast<size_t>(seq_len_ + 1));
  for (int64_t b = 0; b < count; ++b) {
    file_.read(window_of(first + b) * seq_len_, seq_len_ + 1, window.data());
    fill_row(window.data(), seq_len_, eos_, batch.tokens.data<int64_t>() + b * seq_len_,
             batch.labels.data<int64_t>() + b * seq_len_, batch.counted);
  }
  return batch;
}

Batch windows_at(const io::TokenFile& file, std::span<const int64_t> begins, int64_t length, int64_t eos) {
  Batch batch = empty_batch(static_cast<int64_t>(begins.size()), length);
  std::vector<int64_t> window(static_cast<size_t>(length + 1));
  int64_t at = 0;
  for (const int64_t begin : begins) {
    file.read(begin, length + 1, window.data());
    fill_row(window.data(), length, eos, batch.tokens.data<int64_t>() + at, batch.labels.data<int64_t>() + at,
             batch.counted);
    at += length;
  }
  return batch;
}

Batch batch_of(std::span<const std::vector<int64_t>> windows, int64_t eos) {
  check(!windows.empty() && windows.front().size() >= 2, "batch_of: expected windows of 2 tokens or more");
  const auto length = static_cast<int64_t>(windows.front().size()) - 1;
  Batch batch = empty_batch(static_cast<int64_t>(windows.size()), length);
  int64_t at = 0;
  for (const std::vector<int64_t>& window : windows) {
    check(window.size() == windows.front().size(), "batch_of: expected windows of ", length + 1, " tokens, found ",
          window.size());
    fill_row(window.data(), length, eos, batch.tokens.data<int64_t>() + at, batch.labels.data<int64_t>() + at,
             batch.counted);
    at += length;
  }
  return batch;
}

}  // namespace ratel::train
