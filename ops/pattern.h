#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

namespace ratel {

/// Who sees whom in one attention head. Query i sees key j when j <= i and one of these holds:
///   (j + 1) % dilation == 0    the dilated keys; dilation 1 is dense, kNoDilatedKeys (-1) admits none
///   i - j <= window            the local window; j = i itself is always visible, also with window 0
///   j < initial                the initial tokens
/// A key that several rules admit counts once.
/// A pattern is a property of a run, never of the weights. Source: RAT+, arXiv 2602.18196.
struct Pattern {
  int64_t dilation = 1;
  int64_t window = 0;
  int64_t initial = 0;
  friend bool operator==(const Pattern&, const Pattern&) = default;
};

inline constexpr int64_t kNoDilatedKeys = -1;

/// The patterns of a layer's heads: one for all of them, or one a head.
using HeadPatterns = std::vector<Pattern>;

/// True where query i sees key j.
constexpr bool sees(const Pattern& p, int64_t i, int64_t j) {
  const bool dilated = p.dilation != kNoDilatedKeys && (j + 1) % p.dilation == 0;
  return j <= i && (dilated || i - j <= p.window || j < p.initial);
}

/// Throws Error naming `op` unless `patterns` holds 1 or `heads` valid patterns: dilation >= 1 or -1, window and
/// initial >= 0.
void check_patterns(const HeadPatterns& patterns, int64_t heads, const char* op);

/// One pattern a head of `patterns`, which holds 1 or `heads`.
HeadPatterns one_a_head(const HeadPatterns& patterns, int64_t heads);

/// How many keys the last of T queries sees: what a cache must hold for one head.
int64_t visible_keys(const Pattern& pattern, int64_t T);

/// "D=16 W=0 S=0".
std::ostream& operator<<(std::ostream& out, const Pattern& pattern);

}  // namespace ratel
