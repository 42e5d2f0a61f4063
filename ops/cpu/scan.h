#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/dtype.h"

namespace ratel::cpu {

/// Tokens between two saved states. Backward runs the recurrence again from the state saved last: chunk by chunk, so
/// that the states it needs fit the first-level cache and never go to memory.
inline constexpr int64_t kScanChunk = 32;

/// One step of the recurrence on n channels: h = g h + (1 - g) x. Exact for g = 0 and g = 1; x + g (h - x) would save a
/// product, but then a state that holds (g near 1) picks up the rounding of every x that passes.
template <class A, class T>
void scan_step(int64_t n, const A* gate, const T* x, A* h) {
#pragma GCC ivdep
  for (int64_t c = 0; c < n; ++c) {
    h[c] = gate[c] * h[c] + (1 - gate[c]) * static_cast<A>(x[c]);
  }
}

/// One step of its backward. On entry dh = g[t+1] dh[t+1]; on return dh = g[t] dh[t], ready for t-1.
///   dh[t] = grad + dh;  dx = (1 - g) dh[t];  dgate += dh[t] (h[t-1] - x)
template <class A, class T>
void scan_step_backward(int64_t n, const A* gate, const T* x, const A* h_before, const A* grad, A* dh, A* dx,
                        A* dgate) {
#pragma GCC ivdep
  for (int64_t c = 0; c < n; ++c) {
    const A total = grad[c] + dh[c];
    dx[c] = (1 - gate[c]) * total;
    dgate[c] += total * (h_before[c] - static_cast<A>(x[c]));
    dh[c] = gate[c] * total;
  }
}

}  // namespace ratel::cpu
