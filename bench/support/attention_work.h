#pragma once

#include <array>

#include "bench/support/bench.h"
#include "ops/pattern.h"

namespace ratel::bench {

/// Pairs (query, key) that one head of T tokens sees.
inline double visible_pairs(const Pattern& pattern, int64_t T) {
  double pairs = 0;
  for (int64_t tokens = 1; tokens <= T; ++tokens) pairs += static_cast<double>(visible_keys(pattern, tokens));
  return pairs;
}

/// FLOPs of attention by `heads` heads (of all batch entries) of width d: two products of 2 d a visible pair forward;
/// five more backward, where the scores are computed again.
inline double attention_flops(const Pattern& pattern, int64_t heads, int64_t T, int64_t d, Pass pass) {
  const double products = pass == Pass::forward ? 2 : 7;
  return products * 2 * static_cast<double>(heads * d) * visible_pairs(pattern, T);
}

/// "D=16", "D=16,W=64,S=4" or "D=64,K=8,mean".
inline std::string name_of(const Pattern& pattern) {
  std::string name = "D=" + std::to_string(pattern.dilation);
  if (pattern.window != 0) name += ",W=" + std::to_string(pattern.window);
  if (pattern.initial != 0) name += ",S=" + std::to_string(pattern.initial);
  if (pattern.top_blocks != 0)
    name += ",K=" + std::to_string(pattern.top_blocks) + ',' +
            std::array{"last", "mean", "minmax"}[static_cast<size_t>(pattern.score)];
  return name;
}

}  // namespace ratel::bench
