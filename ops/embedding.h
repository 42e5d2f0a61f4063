#pragma once

#include "core/stream.h"
#include "core/tensor.h"

namespace ratel {

/// Rows of a table:  out[..., c] = weight[ids[...], c].
///
///   weight   (V, C)  f64 | f32 | bf16, contiguous
///   ids      (...)   i64 | i32 | u16 | u8, any layout
///   returns  (..., C)
///
/// Gradient: weight, in f32 for bf16; rows are added in the order of ids, so that it is deterministic.
/// Throws Error for an id outside [0, V), naming the id and its position: for which ids on a GPU are copied back and
/// waited for. With IdCheck::by_caller nothing is looked at, and the op may be part of a graph.
/// Source: Bengio et al., "A neural probabilistic language model", JMLR 3, 2003, section 2.
enum class IdCheck { by_op, by_caller };
Tensor embedding(const Tensor& weight, const Tensor& ids, IdCheck ids_are_checked = IdCheck::by_op);

/// The check: throws Error for the first id outside [0, V).
void check_ids(const Tensor& ids, int64_t V);

/// The definition: a one-hot matrix times the table.
Tensor embedding_reference(const Tensor& weight, const Tensor& ids);

/// `ids` are checked before the kernels run.
struct EmbeddingArgs {
  int64_t n, V, C;
  DType dtype;
  const void* weight;
  const int64_t* ids;
  void* out;
};
/// grad_weight (V, C) in `accumulate_dtype(dtype)` is zeroed and filled.
struct EmbeddingBackwardArgs {
  int64_t n, V, C;
  DType dtype;
  const void* grad;
  const int64_t* ids;
  void* grad_weight;
};
namespace cpu {
void embedding_forward(const EmbeddingArgs& args);
void embedding_backward(const EmbeddingBackwardArgs& args);
}  // namespace cpu
namespace cuda {
void embedding_forward(const EmbeddingArgs& args, Stream stream);
void embedding_backward(const EmbeddingBackwardArgs& args, Stream stream);
}  // namespace cuda

}  // namespace ratel
