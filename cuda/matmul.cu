// Matrix products: cuBLASLt's (cuda/blas_lt.cpp), in the twin the definition. Here is what neither takes: empty sums.

#include "cuda/blas_lt.h"
#include "ops/copy.h"
#include "ops/create.h"

namespace ratel::cuda {

void matmul(const MatmulArgs& args, Stream stream) {
  if (args.batch == 0 || args.M == 0 || args.N == 0) return;
  if (args.K > 0) return gemm(args, stream);
  if (args.addend == args.c) return;
  for (int64_t entry = 0; entry < args.batch; ++entry)
    for (int64_t row = 0; row < args.M; ++row) {
      const size_t begin = static_cast<size_t>(entry * args.c_batch + row * args.ldc) * size_of(args.c_dtype);
      void* c = static_cast<char*>(args.c) + begin;
      if (args.addend == nullptr)
        fill({args.N, args.c_dtype, c}, 0, stream);
      else
        copy({Layout::contiguous({args.N}), Layout::contiguous({args.N}), args.c_dtype, args.c_dtype, c,
              static_cast<const char*>(args.addend) + begin},
             stream);
    }
}

}  // namespace ratel::cuda
