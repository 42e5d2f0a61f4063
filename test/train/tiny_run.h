#pragma once

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "io/metrics_file.h"
#include "io/safetensors.h"
#include "io/token_file.h"
#include "test/support/compare.h"
#include "test/support/temporary_folder.h"
#include "train/run.h"

namespace ratel::test {

inline constexpr int64_t kTinyVocab = 17, kTinyEos = 16;

/// Tokens that can be learned: each is mostly the one before plus 3, with some noise and some ends of text.
inline std::vector<int64_t> tiny_tokens(int64_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<int64_t> tokens{1};
  while (static_cast<int64_t>(tokens.size()) < count)
    tokens.push_back(rng.uniform() < 0.7 ? (tokens.back() + 3) % kTinyVocab
                                         : static_cast<int64_t>(rng.below(static_cast<uint64_t>(kTinyVocab))));
  return tokens;
}

inline void write_tokens(const std::string& path, const std::vector<int64_t>& tokens, int64_t vocab = kTinyVocab) {
  io::TokenFileWriter writer(path, vocab);
  writer.append(tokens);
  writer.close();
}

/// A joint run of 12 steps in two parts a batch, over more than one epoch, of a model of 2 layers.
inline train::TrainConfig tiny_config() {
  train::TrainConfig c;
  c.model = {.vocab_size = kTinyVocab, .layers = 2, .channels = 8, .heads = 2};
  c.data = {.seq_len = 12, .batch_size = 4, .accumulate = 2, .seed = 3, .tokenizer = "none", .eos = kTinyEos};
  c.optimizer.peak_rate = 1e-2;
  c.optimizer.warmup_fraction = 0.25;
  c.train.steps = 12;
  c.train.sparse_dilation = 4;
  c.train.checkpoint_every = 4;
  c.train.threads = 1;
  return c;
}

inline std::string write_config(const std::string& path, const train::TrainConfig& config) {
  io::write_file_atomically(path, train::to_toml(config));
  return path;
}

/// The columns that clocks decide, and what else the process holds.
inline const std::set<std::string> kClockColumns{"tokens_per_second",  "seconds",     "eta_seconds",
                                                 "validation_seconds", "memory_live", "memory_peak"};

/// The rows of a run's metrics without those.
inline std::vector<std::string> exact_metrics(const std::string& run) {
  std::vector<std::string> rows;
  for (const io::Json& row : io::read_metrics(train::metrics_path(run))) {
    io::Json kept = io::Json::object();
    for (const auto& [key, value] : row.as_object())
      if (!kClockColumns.contains(key)) kept.append(key, value);
    rows.push_back(kept.dump());
  }
  return rows;
}

/// Checks that two checkpoints hold the same weights and moments, bit for bit.
inline void check_same_checkpoint(const std::string& a, const std::string& b, const std::string& what) {
  for (const char* name : {"/model.safetensors", "/optimizer.safetensors"}) {
    const auto first = io::SafetensorsFile::open(a + name), second = io::SafetensorsFile::open(b + name);
    BOOST_TEST(first.names() == second.names(), boost::test_tools::per_element());
    for (const std::string& tensor : first.names())
      check_identical(first.tensor(tensor), second.tensor(tensor), concat_text(what, ' ', tensor));
  }
}

/// Checks that two runs went the same way from start to end.
inline void check_same_run(const std::string& a, const std::string& b, int64_t steps, const std::string& what) {
  BOOST_TEST_CONTEXT(what) {
    BOOST_TEST(exact_metrics(a) == exact_metrics(b), boost::test_tools::per_element());
    check_same_checkpoint(train::checkpoint_path(a, steps), train::checkpoint_path(b, steps), what);
  }
}

}  // namespace ratel::test
