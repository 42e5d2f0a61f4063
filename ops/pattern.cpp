#include "ops/pattern.h"

#include <algorithm>
#include <array>

#include "core/error.h"

namespace ratel {

bool heads_divide(int64_t heads, int64_t channels) {
  return heads >= 1 && heads <= channels / 2 && channels % (2 * heads) == 0 && channels / heads <= 1024;
}

void check_heads(int64_t heads, int64_t channels, const char* op) {
  check(heads_divide(heads, channels), op, ": ", heads, " heads do not divide ", channels,
        " channels into even widths of at most 1024");
}

void check_patterns(const HeadPatterns& patterns, int64_t heads, const char* op) {
  const auto count = static_cast<int64_t>(patterns.size());
  check(count == 1 || count == heads, op, ": expected one pattern, or one for each of ", heads, " heads, found ",
        count);
  for (const Pattern& p : patterns) {
    check(p.dilation >= 1 || p.dilation == kNoDilatedKeys, op,
          ": dilation must be at least 1, or -1 for no dilated keys, found ", p.dilation);
    check(p.window >= 0, op, ": window must not be negative, found ", p.window);
    check(p.initial >= 0, op, ": initial must not be negative, found ", p.initial);
    for (const int64_t tokens : {p.dilation, p.window, p.initial, p.top_blocks})
      check(tokens <= kLongestSequence, op, ": a pattern counts up to ", kLongestSequence, " tokens, found ", tokens);
    if (p.top_blocks == 0) continue;
    check(p.top_blocks >= 2, op, ": top-k needs at least 2 blocks, the first and the query's own, found ",
          p.top_blocks);
    check(p.dilation >= 1, op, ": top-k blocks need a size of at least 1 token, found ", p.dilation);
    check(p.window == 0 && p.initial == 0, op, ": top-k blocks have no window and no initial tokens, found ", p.window,
          " and ", p.initial);
  }
}

bool selects_blocks(const HeadPatterns& patterns) {
  return std::ranges::any_of(patterns, [](const Pattern& p) { return p.top_blocks > 0; });
}

HeadPatterns one_a_head(const HeadPatterns& patterns, int64_t heads) {
  return patterns.size() == 1 ? HeadPatterns(static_cast<size_t>(heads), patterns[0]) : patterns;
}

int64_t visible_keys(const Pattern& pattern, int64_t T) {
  if (T <= 0) return 0;
  if (pattern.top_blocks > 0) {
    const int64_t earlier = (T - 1) / pattern.dilation, own = T - earlier * pattern.dilation;
    return own + std::min(earlier, pattern.top_blocks - 1) * pattern.dilation;
  }
  if (pattern.dilation == 1) return T;
  // Window and self: [first, T). Initial tokens: [0, initial) before it. Dilated keys: those before it in neither.
  const int64_t first = std::max<int64_t>(0, T - 1 - std::min(pattern.window, T));
  const int64_t initial = std::min(pattern.initial, first);
  const auto dilated_below = [&](int64_t end) {
    return pattern.dilation == kNoDilatedKeys ? 0 : end / pattern.dilation;
  };
  return (T - first) + initial + dilated_below(first) - dilated_below(initial);
}

std::ostream& operator<<(std::ostream& out, const Pattern& pattern) {
  if (pattern.top_blocks > 0) {
    constexpr std::array kScores{"last", "mean", "minmax"};
    return out << "D=" << pattern.dilation << " K=" << pattern.top_blocks << ' '
               << kScores[static_cast<size_t>(pattern.score)];
  }
  return out << "D=" << pattern.dilation << " W=" << pattern.window << " S=" << pattern.initial;
}

}  // namespace ratel
