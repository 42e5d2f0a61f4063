#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace ratel::cpu {

/// Tokens between two saved states. Backward runs the recurrence again from the state saved last: chunk by chunk, so
/// that the states it needs stay in the caches and never go to memory.
inline constexpr int64_t kScanChunk = 32;

/// One step of the recurrence on n channels: h = g before + (1 - g) x; h may be `before`. Exact for g = 0 and g = 1;
/// x + g (before - x) would save a product, but then a state that holds (g near 1) picks up the rounding of every x
/// that passes.
template <class G, class T, class A>
void scan_step(int64_t n, const G* gate, const T* x, const A* before, A* h) {
#pragma GCC ivdep
  for (int64_t c = 0; c < n; ++c) {
    const A g = static_cast<A>(gate[c]);
    h[c] = g * before[c] + (1 - g) * static_cast<A>(x[c]);
  }
}

/// One step of its backward. On entry dh = g[t+1] dh[t+1]; on return dh = g[t] dh[t], ready for t-1.
///   dh[t] = grad + dh;  dx = (1 - g) dh[t];  dgate = dh[t] (h[t-1] - x)
template <class T, class A>
void scan_step_backward(int64_t n, const T* gate, const T* x, const A* h_before, const T* grad, A* dh, T* dx,
                        T* dgate) {
#pragma GCC ivdep
  for (int64_t c = 0; c < n; ++c) {
    const A total = static_cast<A>(grad[c]) + dh[c];
    const A g = static_cast<A>(gate[c]);
    dx[c] = static_cast<T>((1 - g) * total);
    dgate[c] = static_cast<T>(total * (h_before[c] - static_cast<A>(x[c])));
    dh[c] = g * total;
  }
}

}  // namespace ratel::cpu
