// Matrix products of the twin: the definition, in the type that sums are kept in.

#include "cuda/blas_lt.h"

#include "cuda/twin/block.h"
#include "cuda/twin/graph.h"

namespace ratel::cuda {

namespace {

GemmChoice choice = GemmChoice::heuristic;

template <class T, class C>
void multiply(const MatmulArgs& args) {
  using A = accumulate_t<T>;
  const bool ta = args.transpose_a == Transpose::yes, tb = args.transpose_b == Transpose::yes;
  for (int64_t entry = 0; entry < args.batch; ++entry) {
    const T* a = static_cast<const T*>(args.a) + entry * args.a_batch;
    const T* b = static_cast<const T*>(args.b) + entry * args.b_batch;
    C* c = static_cast<C*>(args.c) + entry * args.c_batch;
    const C* addend = args.addend == nullptr ? nullptr : static_cast<const C*>(args.addend) + entry * args.c_batch;
    for (int64_t m = 0; m < args.M; ++m)
      for (int64_t n = 0; n < args.N; ++n) {
        A sum{0};
        for (int64_t k = 0; k < args.K; ++k)
          sum += convert_element<A>(ta ? a[k * args.lda + m] : a[m * args.lda + k]) *
                 convert_element<A>(tb ? b[n * args.ldb + k] : b[k * args.ldb + n]);
        if (addend != nullptr) sum += convert_element<A>(addend[m * args.ldc + n]);
        c[m * args.ldc + n] = convert_element<C>(sum);
      }
  }
}

void multiply(const MatmulArgs& args) {
  twin::count_launch(args.addend == nullptr ? "gemm" : "gemm added");
  visit_float(args.dtype, "matmul", [&]<class T>() {
    args.c_dtype == args.dtype ? multiply<T, T>(args) : multiply<T, accumulate_t<T>>(args);
  });
}

}  // namespace

void set_gemm_choice(GemmChoice wanted) { choice = wanted; }  // there is one algorithm
GemmChoice gemm_choice() { return choice; }

void gemm(const MatmulArgs& args, Stream) {
  twin::run_or_record([=] { multiply(args); });
}

}  // namespace ratel::cuda
