// Matrix products: cuBLASLt's (cuda/blas_lt.cpp), in the twin the definition. Here is what neither takes: empty sums.

#include "cuda/blas_lt.h"
#include "ops/create.h"

namespace ratel::cuda {

void matmul(const MatmulArgs& args, Stream stream) {
  if (args.batch == 0 || args.M == 0 || args.N == 0) return;
  if (args.K > 0) return gemm(args, stream);
  if (args.accumulate) return;
  for (int64_t entry = 0; entry < args.batch; ++entry)
    for (int64_t row = 0; row < args.M; ++row) {
      const int64_t begin = entry * args.c_batch + row * args.ldc;
      fill({args.N, args.c_dtype, static_cast<char*>(args.c) + static_cast<size_t>(begin) * size_of(args.c_dtype)}, 0,
           stream);
    }
}

}  // namespace ratel::cuda
