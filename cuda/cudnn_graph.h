#pragma once

#include <array>
#include <optional>
#include <vector>

#include "cuda/attention.h"
#include "cuda/cudnn.h"

namespace ratel::cuda::cudnn {

/// What graphs call the tensors they are run with.
enum TensorId : int64_t {
  id_q = 1,
  id_k,
  id_v,
  id_out,
  id_lse,     // (B, H, T) f32, contiguous
  id_scale,   // one f32 on the host: 1 / sqrt(d)
  id_hidden,  // one f32 on the host: the score of a key that is not seen, -inf
  id_one,     // one f32 on the host: 1
  id_grad_out,
  id_delta,  // (B, H, T) f32, working memory
  id_grad_q,
  id_grad_k,
  id_grad_v,
  id_first_inner,  // tensors between two operations count from here
};

/// A tensor of four axes.
struct GraphTensor {
  enum class Place { memory, host, inner };
  int64_t id;
  cudnnDataType_t type;
  std::array<int64_t, 4> sizes, strides;
  Place place;
};

/// y = x b (multiply), y = x by other strides (reshape), or what `pointwise` or `reduction` says. Tensors are told by
/// their ids, 0 where there is none.
struct GraphOperation {
  enum class Kind { multiply, reshape, pointwise, reduce };
  Kind kind;
  int64_t x = 0, y = 0, b = 0, predicate = 0;
  cudnnPointwiseMode_t pointwise = CUDNN_POINTWISE_IDENTITY;
  cudnnDataType_t precision = CUDNN_DATA_FLOAT;  // of a pointwise operation
  std::optional<int64_t> axis = {};              // of CUDNN_POINTWISE_GEN_INDEX
  cudnnReduceTensorOp_t reduction = CUDNN_REDUCE_TENSOR_ADD;
};

/// Operations in order.
struct OperationGraph {
  std::vector<GraphTensor> tensors;
  std::vector<GraphOperation> operations;
};

/// Dense causal attention and its gradients. Of args only sizes and strides are read.
OperationGraph forward_graph(const AttentionForwardArgs& args);
OperationGraph backward_graph(const AttentionBackwardArgs& args);

}  // namespace ratel::cuda::cudnn
