#pragma once

#include "cuda/device.h"
#include "cuda/gelu.h"
#include "cuda/inverse_root.h"
#include "ops/fused_linear.h"

namespace ratel::cuda {

/// The kernel of fused_linear_one_row.cu, for one row of whole multiples of 16 bytes that shared memory holds beside
/// its rings; false where x is another.
bool fused_linear_one_row(const FusedLinearArgs& args, Stream stream);
/// The kernel of fused_linear_tensor_core.cu: bf16, rows of whole multiples of 16 bytes.
void fused_linear_tensor_core(const FusedLinearArgs& args, Stream stream);

/// Rows of x in shared memory, in vectors of N: pieces of 16 bytes, those of neighbouring vectors together, so that a
/// warp reads them from different banks.
template <class A, int N>
class VectorRows {
  static constexpr int kPiece = N < kPerVec<A> ? N : kPerVec<A>;

 public:
  __device__ VectorRows(SharedArena& arena, int rows, int vectors)
      : vectors_(vectors), data_(arena.take<A>(rows * vectors * N)) {}
  __device__ void put(int row, int vector, const A (&values)[N]) const {
    for (int i = 0; i < N; i += kPiece) {
      Vec<A, kPiece> piece;
      for (int j = 0; j < kPiece; ++j) piece.at[j] = values[i + j];
      data_.store(at(row, vector, i), piece);
    }
  }
  __device__ void get(int row, int vector, A (&values)[N]) const {
    for (int i = 0; i < N; i += kPiece) {
      const auto piece = data_.template load<kPiece>(at(row, vector, i));
      for (int j = 0; j < kPiece; ++j) values[i + j] = piece.at[j];
    }
  }

 private:
  __device__ int at(int row, int vector, int i) const {
    return row * vectors_ * N + (i / kPiece * vectors_ + vector) * kPiece;
  }
  int vectors_;
  Shared<A> data_;
};

/// The norm's factor of a row of x, from the sum of its squares.
template <class A>
__device__ A norm_factor(const FusedLinearArgs& args, double squares) {
  return inverse_root<A>(squares / static_cast<double>(args.K) + args.norm_eps);
}

/// What is added to the product of row m of x with row n of the weight, where there are such rows: to be asked for
/// early, so that it is there when the product is. Without a residual -0, which changes no sum.
template <class T>
__device__ T residual_of(const FusedLinearArgs& args, int m, int64_t n) {
  const bool is_some = args.residual != nullptr && m < args.rows && n < args.N;
  return is_some ? static_cast<const T*>(args.residual)[m * args.N + n] : convert_element<T>(accumulate_t<T>{-0.0});
}

/// What follows the normalised product `y`: the activation, the residual.
template <class T>
__device__ void finish_product(const FusedLinearArgs& args, int m, int64_t n, accumulate_t<T> y, T residual) {
  if (m >= args.rows || n >= args.N) return;
  if (args.activation == Activation::gelu) y = gelu_for<T>(y);
  static_cast<T*>(args.y)[m * args.N + n] = round_to<T>(y + convert_element<accumulate_t<T>>(residual));
}

}  // namespace ratel::cuda
