// Comparisons and selection on a GPU, an element a thread; bound by memory.

#include "ops/select.h"

#include "cuda/elementwise.h"
#include "cuda/strided.h"

namespace ratel::cuda {
namespace {

/// What an element is compared as.
template <class T>
using Compared = std::conditional_t<std::is_same_v<T, bfloat16>, float, T>;

template <class T, class Index>
__global__ __launch_bounds__(kElementThreads) void compare_kernel(int64_t n, CompareOp op, Strided<2, Index> places,
                                                                  const T* a, const T* b, uint8_t* out) {
  for (int64_t i = global_thread(); i < n; i += global_threads()) {
    int64_t at[2];
    places.positions(i, at);
    const auto x = convert_element<Compared<T>>(a[at[0]]), y = convert_element<Compared<T>>(b[at[1]]);
    out[i] = (op == CompareOp::equal ? x == y : op == CompareOp::less ? x < y : x <= y) ? 1 : 0;
  }
}

template <class T, class Index>
__global__ __launch_bounds__(kElementThreads) void where_kernel(int64_t n, Strided<3, Index> places,
                                                                const uint8_t* condition, const T* a, const T* b,
                                                                T* out) {
  for (int64_t i = global_thread(); i < n; i += global_threads()) {
    int64_t at[3];
    places.positions(i, at);
    out[i] = condition[at[0]] != 0 ? a[at[1]] : b[at[2]];
  }
}

}  // namespace

void compare(const CompareArgs& args, Stream stream) {
  const int64_t n = args.a_layout.shape.numel();
  visit_any(args.dtype, [&]<class T>() {
    const T *a = static_cast<const T*>(args.a) + args.a_layout.offset,
            *b = static_cast<const T*>(args.b) + args.b_layout.offset;
    with_strided<2>({&args.a_layout, &args.b_layout}, [&]<class Index>(const Strided<2, Index>& places) {
      launch({"compare", blocks_for(n, kElementThreads), kElementThreads, 0, stream}, compare_kernel<T, Index>, n,
             args.op, places, a, b, args.out);
    });
  });
}

void where(const WhereArgs& args, Stream stream) {
  const int64_t n = args.a_layout.shape.numel();
  const uint8_t* const condition = args.condition + args.condition_layout.offset;
  visit_any(args.dtype, [&]<class T>() {
    const T *a = static_cast<const T*>(args.a) + args.a_layout.offset,
            *b = static_cast<const T*>(args.b) + args.b_layout.offset;
    with_strided<3>({&args.condition_layout, &args.a_layout, &args.b_layout},
                    [&]<class Index>(const Strided<3, Index>& places) {
                      launch({"where", blocks_for(n, kElementThreads), kElementThreads, 0, stream},
                             where_kernel<T, Index>, n, places, condition, a, b, static_cast<T*>(args.out));
                    });
  });
}

}  // namespace ratel::cuda
