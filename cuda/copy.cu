// Copies and conversions on a GPU: 16 bytes of the wider type a thread where both sides are contiguous, else an element
// a thread, found by its index. Bound by memory: every byte once read and once written.

#include "ops/copy.h"

#include "cuda/strided.h"

namespace ratel::cuda {
namespace {

constexpr int kThreads = 256;

template <int N, class To, class From>
__global__ __launch_bounds__(kThreads) void copy_vectors(int64_t vectors, const From* from, To* into) {
  for (int64_t i = global_thread(); i < vectors; i += global_threads()) {
    const auto values = load_vec<N>(from + i * N);
    Vec<To, N> out;
    for (int k = 0; k < N; ++k) out.at[k] = convert_element<To>(values.at[k]);
    store_vec(into + i * N, out);
  }
}

template <class To, class From, class Index>
__global__ __launch_bounds__(kThreads) void copy_strided(int64_t n, Strided<2, Index> where, const From* from,
                                                         To* into) {
  for (int64_t i = global_thread(); i < n; i += global_threads()) {
    int64_t at[2];
    where.positions(i, at);
    into[at[0]] = convert_element<To>(from[at[1]]);
  }
}

template <class To, class From>
void copy_as(const CopyArgs& args, Stream stream) {
  To* const into = static_cast<To*>(args.into) + args.into_layout.offset;
  const From* const from = static_cast<const From*>(args.from) + args.from_layout.offset;
  const int64_t n = args.into_layout.shape.numel();
  if (args.into_layout.is_contiguous() && args.from_layout.is_contiguous()) {
    constexpr int N = kPerVec<To> < kPerVec<From> ? kPerVec<To> : kPerVec<From>;
    if (is_vectorisable<To>(n, into) && is_vectorisable<From>(n, from))
      launch({"copy", blocks_for(n / N, kThreads), kThreads, 0, stream}, copy_vectors<N, To, From>, n / N, from, into);
    else
      launch({"copy", blocks_for(n, kThreads), kThreads, 0, stream}, copy_vectors<1, To, From>, n, from, into);
    return;
  }
  with_strided<2>({&args.into_layout, &args.from_layout}, [&]<class Index>(const Strided<2, Index>& where) {
    launch({"copy", blocks_for(n, kThreads), kThreads, 0, stream}, copy_strided<To, From, Index>, n, where, from, into);
  });
}

}  // namespace

void copy(const CopyArgs& args, Stream stream) {
  visit_any(args.into_dtype,
            [&]<class To>() { visit_any(args.from_dtype, [&]<class From>() { copy_as<To, From>(args, stream); }); });
}

}  // namespace ratel::cuda
