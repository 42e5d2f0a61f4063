#pragma once

#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ops/cpu/task_order.h"

namespace ratel::cpu {

/// Calls f(begin, end) on [0, grain), [grain, 2 grain), ... up to n, several at once. The pieces depend on n and grain
/// only, so that what f computes does not depend on the number of threads.
template <class F>
void parallel_for(int64_t n, int64_t grain, F&& f) {
  grain = std::max<int64_t>(grain, 1);
  if (n <= grain) {
    if (n > 0) f(int64_t{0}, n);
    return;
  }
  const int64_t pieces = (n + grain - 1) / grain;
  const auto one_piece = [&](int64_t piece) {
    TaskOrder::begin_piece();
    f(piece * grain, std::min(n, (piece + 1) * grain));
    TaskOrder::end_piece();
  };
  TaskOrder::give_out();
  tbb::parallel_for(int64_t{0}, pieces, one_piece);
  TaskOrder::go_on();
}

/// The sum of f(begin, end) over the same pieces, added in order: the same bits on any number of threads.
template <class T, class F>
T parallel_sum(int64_t n, int64_t grain, F&& f) {
  grain = std::max<int64_t>(grain, 1);
  std::vector<T> partial(static_cast<size_t>((n + grain - 1) / grain));
  parallel_for(n, grain,
               [&](int64_t begin, int64_t end) { partial[static_cast<size_t>(begin / grain)] = f(begin, end); });
  T total{};
  for (const T& value : partial) total += value;
  return total;
}

/// Rows a piece should have so that it holds about `elements` elements: enough work to be worth a task.
inline int64_t rows_per_piece(int64_t row_size, int64_t elements = 16384) {
  return std::max<int64_t>(1, elements / std::max<int64_t>(1, row_size));
}

}  // namespace ratel::cpu
