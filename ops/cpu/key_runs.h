#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/pattern.h"

namespace ratel::cpu {

inline constexpr int64_t kQueryTile = 64;  // queries a tile: rows of one block of scores
inline constexpr int64_t kKeyTile = 256;  // keys a run: with the queries, 64 KB of f32 scores in the second-level cache

/// Keys first, first + step, ... (count of them, at most kKeyTile) that queries [row_begin, row_end) are multiplied
/// with at once. Query i sees those at positions [low(i), high(i)), less the dilated ones where `skip` is not 0: they
/// belong to another run, and a key that several rules admit counts once. A query's own key is in no run.
struct KeyRun {
  enum class Kind { dilated, window, initial };
  Kind kind;
  int64_t row_begin, row_end;
  int64_t first, step, count;
  Pattern pattern;
  int64_t skip;

  [[nodiscard]] int64_t low(int64_t i) const {
    return kind == Kind::window ? std::clamp<int64_t>(i - pattern.window - first, 0, count) : 0;
  }
  [[nodiscard]] int64_t high(int64_t i) const {
    switch (kind) {
      case Kind::dilated: return std::clamp<int64_t>(i / step - (first + 1) / step + 1, 0, count);
      case Kind::window: return std::clamp<int64_t>(i - first, 0, count);
      case Kind::initial: return std::clamp<int64_t>(std::min(pattern.initial, i - pattern.window) - first, 0, count);
    }
    return 0;
  }
  /// Position of the first dilated key at or after position `from`.
  [[nodiscard]] int64_t next_skipped(int64_t from) const { return from + (skip - 1 - (first + from) % skip); }
};

/// Calls f(run) for every run of keys that queries [begin, end) of one head need, always in the same order: dilated
/// keys from the first, the local window from the left, initial tokens.
template <class F>
void for_each_key_run(const Pattern& pattern, int64_t begin, int64_t end, F&& f) {
  const int64_t D = pattern.dilation, W = pattern.window;
  if (D != kNoDilatedKeys) {
    const int64_t rows = (end - 1) / D;  // keys D-1, 2D-1, ... before the last query
    for (int64_t r = 0; r < rows; r += kKeyTile)
      f(KeyRun{KeyRun::Kind::dilated, begin, end, (r + 1) * D - 1, D, std::min(kKeyTile, rows - r), pattern, 0});
  }
  if (D == 1) return;  // every key is a dilated one
  const int64_t skip = D == kNoDilatedKeys ? 0 : D;
  // A window narrower than the tile touches a band: the tile is cut into bands about as high as the window is wide.
  const int64_t band = std::clamp<int64_t>(W, 16, kQueryTile);
  for (int64_t i = begin; W > 0 && i < end; i += band) {
    const int64_t band_end = std::min(end, i + band);
    for (int64_t j = std::max<int64_t>(0, i - W); j < band_end - 1; j += kKeyTile)
      f(KeyRun{KeyRun::Kind::window, i, band_end, j, 1, std::min(kKeyTile, band_end - 1 - j), pattern, skip});
  }
  const int64_t initial = std::min(pattern.initial, end - 1 - W);
  for (int64_t j = 0; j < initial; j += kKeyTile)
    f(KeyRun{KeyRun::Kind::initial, begin, end, j, 1, std::min(kKeyTile, initial - j), pattern, skip});
}

}  // namespace ratel::cpu
