#include "cuda/blas_lt.h"

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include "core/error.h"
#include "cuda/check.h"
#include "cuda/runtime.h"
#include "cuda/scratch.h"

// cuBLASLt counts columns first. A row-major matrix is its own transpose there, so that c = a b is computed as
// c^T = b^T a^T: the operands change places, and no flag.

namespace ratel::cuda {
namespace {

constexpr size_t kWorkspace = size_t{32} << 20;  // what Hopper's kernels are advised to have
constexpr int kCandidates = 8, kRepeats = 3;

std::atomic<GemmChoice> choice_of_program{GemmChoice::heuristic};

void require(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) [[likely]]
    return;
  throw Error(concat_text(call, ": ", cublasLtGetStatusString(status)),
              status == CUBLAS_STATUS_ALLOC_FAILED ? ErrorKind::memory : ErrorKind::usage);
}

/// A cuBLASLt object with its two functions.
template <class Handle, cublasStatus_t (*kDestroy)(Handle)>
class Owned {
 public:
  Owned() = default;
  ~Owned() {
    if (handle_ != nullptr) kDestroy(handle_);
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  Handle* into() { return &handle_; }
  [[nodiscard]] Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};

cublasLtHandle_t handle_of(int device) {
  static std::mutex guard;
  static std::map<int, cublasLtHandle_t> handles;
  const std::scoped_lock lock(guard);
  cublasLtHandle_t& handle = handles[device];  // lives as long as the program: the driver may be gone before it
  if (handle == nullptr) require(cublasLtCreate(&handle), "cublasLtCreate");
  return handle;
}

cudaDataType_t type_of(DType dtype) {
  return dtype == DType::f64 ? CUDA_R_64F : dtype == DType::f32 ? CUDA_R_32F : CUDA_R_16BF;
}

/// The largest power of two that divides an address, up to 256.
uint32_t alignment_of(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer) | 256;
  return static_cast<uint32_t>(address & (~address + 1));
}

/// A matrix in memory: rows of `columns` neighbours, `leading` apart.
class Matrix {
 public:
  Matrix(DType dtype, int64_t rows, int64_t columns, int64_t leading, int64_t batch, int64_t batch_stride) {
    require(cublasLtMatrixLayoutCreate(layout_.into(), type_of(dtype), static_cast<uint64_t>(columns),
                                       static_cast<uint64_t>(rows), leading),
            "cublasLtMatrixLayoutCreate");
    const auto count = static_cast<int32_t>(batch);
    set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, count);
    set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, batch_stride);
  }
  [[nodiscard]] cublasLtMatrixLayout_t get() const { return layout_.get(); }

 private:
  template <class T>
  void set(cublasLtMatrixLayoutAttribute_t attribute, const T& value) {
    require(cublasLtMatrixLayoutSetAttribute(layout_.get(), attribute, &value, sizeof(value)),
            "cublasLtMatrixLayoutSetAttribute");
  }
  Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy> layout_;
};

/// What cuBLASLt is told of one product; `first` is its first operand, our b.
class Product {
 public:
  explicit Product(const MatmulArgs& args)
      : args_(args),
        first_(args.dtype, args.transpose_b == Transpose::yes ? args.N : args.K,
               args.transpose_b == Transpose::yes ? args.K : args.N, args.ldb, args.batch, args.b_batch),
        second_(args.dtype, args.transpose_a == Transpose::yes ? args.K : args.M,
                args.transpose_a == Transpose::yes ? args.M : args.K, args.lda, args.batch, args.a_batch),
        out_(args.c_dtype, args.M, args.N, args.ldc, args.batch, args.c_batch) {
    const bool wide = args.dtype == DType::f64;
    require(cublasLtMatmulDescCreate(operation_.into(), wide ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                     wide ? CUDA_R_64F : CUDA_R_32F),
            "cublasLtMatmulDescCreate");
    set(CUBLASLT_MATMUL_DESC_TRANSA, args.transpose_b == Transpose::yes ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, args.transpose_a == Transpose::yes ? CUBLAS_OP_T : CUBLAS_OP_N);
  }

  /// The candidates, the most promising first.
  std::vector<cublasLtMatmulAlgo_t> candidates(cublasLtHandle_t handle) const {
    Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy> preference;
    require(cublasLtMatmulPreferenceCreate(preference.into()), "cublasLtMatmulPreferenceCreate");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      require(cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof(value)),
              "cublasLtMatmulPreferenceSetAttribute");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
    // The parts of a sum that is cut along K are added in the type it is computed in, not in bf16.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(args_.b));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(args_.a));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(args_.addend == nullptr ? args_.c : args_.addend));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(args_.c));
    std::array<cublasLtMatmulHeuristicResult_t, kCandidates> found{};
    int count = 0;
    require(cublasLtMatmulAlgoGetHeuristic(handle, operation_.get(), first_.get(), second_.get(), out_.get(),
                                           out_.get(), preference.get(), kCandidates, found.data(), &count),
            "cublasLtMatmulAlgoGetHeuristic");
    std::vector<cublasLtMatmulAlgo_t> result;
    for (int i = 0; i < count; ++i)
      if (const auto& one = found[static_cast<size_t>(i)]; one.state == CUBLAS_STATUS_SUCCESS)
        result.push_back(one.algo);
    return result;
  }

  cublasStatus_t run(cublasLtHandle_t handle, const cublasLtMatmulAlgo_t& algorithm, void* c, void* workspace,
                     Stream stream) const {
    const double one = 1, keep = args_.addend == nullptr ? 0 : 1;
    const auto narrow_one = static_cast<float>(one), narrow_keep = static_cast<float>(keep);
    const bool wide = args_.dtype == DType::f64;
    const void* alpha = wide ? static_cast<const void*>(&one) : &narrow_one;
    const void* beta = wide ? static_cast<const void*>(&keep) : &narrow_keep;
    const void* addend = args_.addend == nullptr || args_.addend == args_.c ? c : args_.addend;
    return cublasLtMatmul(handle, operation_.get(), alpha, args_.b, first_.get(), args_.a, second_.get(), beta, addend,
                          out_.get(), c, out_.get(), &algorithm, workspace, kWorkspace,
                          static_cast<cudaStream_t>(stream.handle));
  }

 private:
  void set(cublasLtMatmulDescAttributes_t attribute, cublasOperation_t value) {
    require(cublasLtMatmulDescSetAttribute(operation_.get(), attribute, &value, sizeof(value)),
            "cublasLtMatmulDescSetAttribute");
  }
  MatmulArgs args_;
  Matrix first_, second_, out_;
  Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> operation_;
};

/// The quickest candidate, tried on the real operands and a result that nobody reads.
size_t quickest(const Product& product, const MatmulArgs& args, const std::vector<cublasLtMatmulAlgo_t>& candidates,
                cublasLtHandle_t handle, void* workspace, Stream stream) {
  const int64_t extent = (args.batch - 1) * args.c_batch + (args.M - 1) * args.ldc + args.N;
  const Scratch<char> out(extent * static_cast<int64_t>(size_of(args.c_dtype)), stream);
  Event begin(stream.device), end(stream.device);
  size_t best = 0;
  float least = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    bool works = product.run(handle, candidates[i], out.get(), workspace, stream) == CUBLAS_STATUS_SUCCESS;
    begin.record(stream);
    for (int repeat = 0; repeat < kRepeats && works; ++repeat)
      works = product.run(handle, candidates[i], out.get(), workspace, stream) == CUBLAS_STATUS_SUCCESS;
    end.record(stream);
    const float taken = end.milliseconds_since(begin);
    if (!works || (least > 0 && taken >= least)) continue;
    least = taken;
    best = i;
  }
  return best;
}

size_t choose(GemmChoice choice, const Product& product, const MatmulArgs& args,
              const std::vector<cublasLtMatmulAlgo_t>& candidates, cublasLtHandle_t handle, void* workspace,
              Stream stream) {
  if (choice == GemmChoice::heuristic || candidates.size() == 1 || is_recorded(stream)) return 0;
  try {
    return quickest(product, args, candidates, handle, workspace, stream);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::memory) throw;
    return 0;  // there is no room for a second result
  }
}

using Key = std::array<int64_t, 22>;

Key key_of(GemmChoice choice, const MatmulArgs& args, int device) {
  return {device,
          static_cast<int64_t>(choice),
          static_cast<int64_t>(args.transpose_a),
          static_cast<int64_t>(args.transpose_b),
          args.batch,
          args.M,
          args.N,
          args.K,
          static_cast<int64_t>(args.dtype),
          static_cast<int64_t>(args.c_dtype),
          args.lda,
          args.ldb,
          args.ldc,
          args.a_batch,
          args.b_batch,
          args.c_batch,
          args.addend == nullptr ? 0 : 1,
          args.addend == args.c ? 1 : 0,
          alignment_of(args.a),
          alignment_of(args.b),
          alignment_of(args.c),
          alignment_of(args.addend)};
}

}  // namespace

void set_gemm_choice(GemmChoice wanted) { choice_of_program = wanted; }
GemmChoice gemm_choice() { return choice_of_program; }

void gemm(const MatmulArgs& args, Stream stream) {
  static std::mutex guard;
  static std::map<Key, cublasLtMatmulAlgo_t> chosen;
  use_device(stream.device);
  const cublasLtHandle_t handle = handle_of(stream.device);
  const Product product(args);
  const Scratch<char> workspace(kWorkspace, stream);
  const std::scoped_lock lock(guard);
  const GemmChoice choice = gemm_choice();
  const Key key = key_of(choice, args, stream.device);
  cublasLtMatmulAlgo_t algorithm;
  if (const auto found = chosen.find(key); found != chosen.end()) {
    algorithm = found->second;
  } else {
    const auto candidates = product.candidates(handle);
    check(!candidates.empty(), "matmul: cuBLASLt has no algorithm for ", args.dtype, ' ', args.M, " x ", args.K,
          " times ", args.K, " x ", args.N);
    algorithm = candidates[choose(choice, product, args, candidates, handle, workspace.get(), stream)];
    // There is nothing to time in a recording: the first product that computes decides.
    if (!is_recorded(stream)) chosen.emplace(key, algorithm);
  }
  require(product.run(handle, algorithm, args.c, workspace.get(), stream), "cublasLtMatmul");
}

}  // namespace ratel::cuda
