// Attention as graphs of cuDNN's operations, in the form that its fused kernels recognise; what lies between two
// operations is never stored. With s = scale q k^T where j <= i, -inf elsewhere:
//
//   forward    m = max s; e = exp(s - m); l = sum e; lse = m + log l; out = (e / l) v
//   backward   delta = sum grad_out out; p = exp(s - lse); grad_v = p^T grad_out;
//              ds = scale p (grad_out v^T - delta); grad_k = ds^T q; grad_q = ds k
//
// grad_q is the product's own result. Through an f32 sum beside it, the other form that is recognised, blocks would add
// their shares to grad_q in whatever order they come.
// Source: "Attention", documentation of NVIDIA's cuDNN frontend, and its choice for deterministic gradients.

#include "cuda/cudnn_graph.h"

namespace ratel::cuda::cudnn {
namespace {

using Kind = GraphOperation::Kind;
using Place = GraphTensor::Place;

constexpr cudnnDataType_t kElement = CUDNN_DATA_BFLOAT16, kSum = CUDNN_DATA_FLOAT;

/// Adds tensors and operations to a graph; each function returns the id of what it adds or writes.
class Builder {
 public:
  explicit Builder(const AttentionShape& shape) : B_(shape.B), H_(shape.H), T_(shape.T), d_(shape.d) {}
  [[nodiscard]] OperationGraph graph() const { return graph_; }

  // In memory: rows (B, H, T, d); the same as the right operand of a product, (B, H, d, T); a number a row.
  int64_t rows(TensorId id, const AttentionOperand& x) {
    return tensor({id, kElement, {B_, H_, T_, d_}, {x.batch, x.head, x.time, 1}, Place::memory});
  }
  int64_t transposed(TensorId id, const AttentionOperand& x) {
    return tensor({id, kElement, {B_, H_, d_, T_}, {x.batch, x.head, 1, x.time}, Place::memory});
  }
  int64_t column(TensorId id) { return tensor({id, kSum, {B_, H_, T_, 1}, {H_ * T_, T_, 1, 1}, Place::memory}); }
  int64_t number(TensorId id) { return tensor({id, kSum, {1, 1, 1, 1}, {1, 1, 1, 1}, Place::host}); }

  // Between operations: scores (B, H, T, T), by rows or by columns; a number a row; rows.
  int64_t scores(cudnnDataType_t type = kSum) { return inner(type, {B_, H_, T_, T_}, {H_ * T_ * T_, T_ * T_, T_, 1}); }
  int64_t columns_of_scores() { return inner(kElement, {B_, H_, T_, T_}, {H_ * T_ * T_, T_ * T_, 1, T_}); }
  int64_t inner_column() { return inner(kSum, {B_, H_, T_, 1}, {H_ * T_, T_, 1, 1}); }
  int64_t inner_rows(cudnnDataType_t type, const AttentionOperand& x) {
    return inner(type, {B_, H_, T_, d_}, {x.batch, x.head, x.time, 1});
  }
  int64_t products_of_rows() { return inner(kSum, {B_, H_, T_, d_}, {H_ * T_ * d_, T_ * d_, d_, 1}); }

  int64_t multiply(int64_t x, int64_t b, int64_t y) { return add({.kind = Kind::multiply, .x = x, .y = y, .b = b}); }
  int64_t reshape(int64_t x, int64_t y) { return add({.kind = Kind::reshape, .x = x, .y = y}); }
  int64_t reduce(cudnnReduceTensorOp_t how, int64_t x, int64_t y) {
    return add({.kind = Kind::reduce, .x = x, .y = y, .reduction = how});
  }
  int64_t map(cudnnPointwiseMode_t mode, int64_t x, int64_t y) {
    return add({.kind = Kind::pointwise, .x = x, .y = y, .pointwise = mode});
  }
  int64_t combine(cudnnPointwiseMode_t mode, int64_t x, int64_t b, int64_t y) {
    return add({.kind = Kind::pointwise, .x = x, .y = y, .b = b, .pointwise = mode});
  }

  /// Scores of keys behind their queries become that of a key that is not seen.
  int64_t causal(int64_t s, int64_t hidden) {
    const auto index = [&](int64_t axis) {
      return add({.kind = Kind::pointwise,
                  .x = s,
                  .y = scores(CUDNN_DATA_INT32),
                  .pointwise = CUDNN_POINTWISE_GEN_INDEX,
                  .axis = axis});
    };
    const int64_t i = index(2), j = index(3);
    const int64_t seen = add({.kind = Kind::pointwise,
                              .x = i,
                              .y = scores(CUDNN_DATA_BOOLEAN),
                              .b = j,
                              .pointwise = CUDNN_POINTWISE_CMP_GE,
                              .precision = CUDNN_DATA_BOOLEAN});
    return add({.kind = Kind::pointwise,
                .x = s,
                .y = scores(),
                .b = hidden,
                .predicate = seen,
                .pointwise = CUDNN_POINTWISE_BINARY_SELECT});
  }

 private:
  int64_t tensor(const GraphTensor& added) {
    graph_.tensors.push_back(added);
    return added.id;
  }
  int64_t inner(cudnnDataType_t type, const std::array<int64_t, 4>& sizes, const std::array<int64_t, 4>& strides) {
    return tensor({next_inner_++, type, sizes, strides, Place::inner});
  }
  int64_t add(const GraphOperation& operation) {
    graph_.operations.push_back(operation);
    return operation.y;
  }

  int64_t B_, H_, T_, d_;
  int64_t next_inner_ = id_first_inner;
  OperationGraph graph_;
};

}  // namespace

OperationGraph forward_graph(const AttentionForwardArgs& args) {
  Builder g(args.shape);
  const int64_t q = g.rows(id_q, args.q), k = g.transposed(id_k, args.k), v = g.rows(id_v, args.v);
  const int64_t scale = g.number(id_scale), hidden = g.number(id_hidden);
  const int64_t product = g.multiply(q, k, g.scores());
  const int64_t s = g.causal(g.combine(CUDNN_POINTWISE_MUL, product, scale, g.scores()), hidden);
  const int64_t m = g.reduce(CUDNN_REDUCE_TENSOR_MAX, s, g.inner_column());
  const int64_t e = g.map(CUDNN_POINTWISE_EXP, g.combine(CUDNN_POINTWISE_SUB, s, m, g.scores()), g.scores());
  const int64_t l = g.reduce(CUDNN_REDUCE_TENSOR_ADD, e, g.inner_column());
  g.combine(CUDNN_POINTWISE_ADD, m, g.map(CUDNN_POINTWISE_LOG, l, g.inner_column()), g.column(id_lse));
  const int64_t p = g.combine(CUDNN_POINTWISE_DIV, e, l, g.scores(kElement));
  g.multiply(p, v, g.rows(id_out, operand_of(args.out)));
  return g.graph();
}

OperationGraph backward_graph(const AttentionBackwardArgs& args) {
  Builder g(args.shape);
  const int64_t q = g.rows(id_q, args.q), k = g.transposed(id_k, args.k), v = g.transposed(id_v, args.v);
  const int64_t out = g.rows(id_out, args.out), grad = g.rows(id_grad_out, args.grad_out);
  const int64_t scale = g.number(id_scale), hidden = g.number(id_hidden), lse = g.column(id_lse);

  const int64_t both = g.combine(CUDNN_POINTWISE_MUL, grad, out, g.products_of_rows());
  const int64_t sums = g.reduce(CUDNN_REDUCE_TENSOR_ADD, both, g.inner_column());
  const int64_t delta = g.combine(CUDNN_POINTWISE_MUL, sums, g.number(id_one), g.column(id_delta));

  const int64_t s = g.combine(CUDNN_POINTWISE_MUL, g.multiply(q, k, g.scores()), scale, g.scores());
  const int64_t p =
      g.map(CUDNN_POINTWISE_EXP, g.causal(g.combine(CUDNN_POINTWISE_SUB, s, lse, g.scores()), hidden), g.scores());
  g.multiply(g.reshape(p, g.columns_of_scores()), grad, g.rows(id_grad_v, operand_of(args.grad_v)));

  const int64_t slope = g.combine(CUDNN_POINTWISE_SUB, g.multiply(grad, v, g.scores()), delta, g.scores());
  const int64_t weighted = g.combine(CUDNN_POINTWISE_MUL, slope, p, g.scores());
  const int64_t ds = g.combine(CUDNN_POINTWISE_MUL, weighted, scale, g.scores(kElement));
  g.multiply(g.reshape(ds, g.columns_of_scores()), q, g.rows(id_grad_k, operand_of(args.grad_k)));
  g.multiply(ds, g.reshape(k, g.inner_rows(kElement, args.k)), g.rows(id_grad_q, operand_of(args.grad_q)));
  return g.graph();
}

}  // namespace ratel::cuda::cudnn
