#pragma once

#include <algorithm>

#include "cuda/device.h"

namespace ratel::cuda {

/// out[i] = f(in[i]...) over n contiguous elements of one type, computed in the type sums are kept in: 16 bytes a
/// thread where all begin at multiples of 16, the rest an element a thread. Bound by memory.
inline constexpr int kElementThreads = 256;

template <int N, class T, class F, class... In>
__global__ __launch_bounds__(kElementThreads) void map_kernel(int64_t n, F f, T* out, const In*... in) {
  using A = accumulate_t<T>;
  let_next_begin();
  wait_for_previous();
  const int64_t vectors = n / N;
  for (int64_t i = global_thread(); i < vectors; i += global_threads()) {
    Vec<T, N> values;
    const auto apply = [&](const auto&... from) {
      for (int k = 0; k < N; ++k) values.at[k] = round_to<T>(f(convert_element<A>(from.at[k])...));
    };
    apply(load_vec<N>(in + i * N)...);
    store_vec(out + i * N, values);
  }
  for (int64_t i = vectors * N + global_thread(); i < n; i += global_threads())
    out[i] = round_to<T>(f(convert_element<A>(in[i])...));
}

template <class T, class F, class... In>
void map(const char* name, int64_t n, Stream stream, F f, T* out, const In*... in) {
  constexpr int N = 16 / static_cast<int>(std::max({sizeof(T), sizeof(In)...}));
  const bool in_vectors = is_vectorisable<T>(0, out, in...);
  launch({.kernel = name,
          .grid_x = blocks_for(in_vectors ? (n + N - 1) / N : n, kElementThreads),
          .block_x = kElementThreads,
          .stream = stream,
          .start = Start::early},
         in_vectors ? map_kernel<N, T, F, In...> : map_kernel<1, T, F, In...>, n, f, out, in...);
}

}  // namespace ratel::cuda
