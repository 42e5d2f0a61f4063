#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

namespace ratel {

/// How a query scores an earlier block of keys, from what is known of the block without reading its keys:
///   last    q . k of the block's last token: what the recurrence makes of the block
///   mean    q . the mean of its keys (MoBA)
///   minmax  sum over channels of max(q_c min_c, q_c max_c), an upper bound of every q . k (Quest)
enum class BlockScore { last, mean, minmax };

/// Who sees whom in one attention head, by one of two kinds of rules.
///
/// Dilated (top_blocks = 0): query i sees key j when j <= i and one of these holds:
///   (j + 1) % dilation == 0    the dilated keys; dilation 1 is dense, kNoDilatedKeys (-1) admits none
///   i - j <= window            the local window; j = i itself is always visible, also with window 0
///   j < initial                the initial tokens
/// A key that several rules admit counts once.
///
/// Top-k blocks (top_blocks = K >= 2): keys lie in blocks of `dilation` tokens. A query sees its own block up to
/// itself, the whole first block, and the K - 2 earlier blocks of the others that score highest (of equal scores the
/// earlier block), all of them where there are no more. window and initial are 0. For inference: who sees whom depends
/// on the numbers, and has no gradient.
///
/// A pattern is a property of a run, never of the weights. Source: RAT+, arXiv 2602.18196.
struct Pattern {
  int64_t dilation = 1;
  int64_t window = 0;
  int64_t initial = 0;
  int64_t top_blocks = 0;
  BlockScore score = BlockScore::last;
  friend bool operator==(const Pattern&, const Pattern&) = default;
};

inline constexpr int64_t kNoDilatedKeys = -1;
inline constexpr int64_t kLongestSequence = int64_t{1} << 40;  // of a sequence, a window, ...: sums of them fit

/// Whether that many heads divide the channels into widths that the kernels take: even, and at most 1024.
bool heads_divide(int64_t heads, int64_t channels);
/// Throws Error naming `op` unless they do.
void check_heads(int64_t heads, int64_t channels, const char* op);

/// The patterns of a layer's heads: one for all of them, or one a head.
using HeadPatterns = std::vector<Pattern>;

/// True where query i sees key j, of a dilated pattern.
constexpr bool sees(const Pattern& p, int64_t i, int64_t j) {
  const bool dilated = p.dilation != kNoDilatedKeys && (j + 1) % p.dilation == 0;
  return j <= i && (dilated || i - j <= p.window || j < p.initial);
}

/// Throws Error naming `op` unless `patterns` holds 1 or `heads` valid patterns: dilation >= 1 or -1, window and
/// initial >= 0, none above kLongestSequence; of top-k blocks dilation >= 1, top_blocks >= 2, window and initial 0.
void check_patterns(const HeadPatterns& patterns, int64_t heads, const char* op);

/// True where one of the patterns is of top-k blocks.
bool selects_blocks(const HeadPatterns& patterns);

/// One pattern a head of `patterns`, which holds 1 or `heads`.
HeadPatterns one_a_head(const HeadPatterns& patterns, int64_t heads);

/// How many keys the last of T queries sees, itself included; of top-k blocks, at most.
int64_t visible_keys(const Pattern& pattern, int64_t T);

/// "D=16 W=0 S=0", or "D=16 K=4 mean" of top-k blocks.
std::ostream& operator<<(std::ostream& out, const Pattern& pattern);

}  // namespace ratel
