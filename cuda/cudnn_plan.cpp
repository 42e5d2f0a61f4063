// Attention as graphs of cuDNN's operations, in the form that its fused kernels recognise: tensors between operations
// are virtual, nothing of them is stored. With s = scale q k^T where j <= i, -inf elsewhere:
//
//   forward    m = max s; e = exp(s - m); l = sum e; lse = m + log l; out = (e / l) v
//   backward   delta = sum grad_out out; p = exp(s - lse); grad_v = p^T grad_out;
//              ds = scale p (grad_out v^T - delta); grad_k = ds^T q; grad_q = ds k
//
// grad_q is the product's own result. Through an f32 sum beside it, the other form that is recognised, blocks would add
// their shares to grad_q in whatever order they come.
// Source: "Attention", documentation of NVIDIA's cuDNN frontend, and its choice for deterministic gradients.

#include "cuda/cudnn_plan.h"

#include <algorithm>
#include <array>
#include <optional>

#include "core/error.h"

namespace ratel::cuda::cudnn {
namespace {

using Sizes = std::array<int64_t, 4>;

constexpr cudnnDataType_t kElement = CUDNN_DATA_BFLOAT16, kSum = CUDNN_DATA_FLOAT;

/// Operations and their tensors, all of four axes.
class Graph {
 public:
  explicit Graph(const AttentionShape& shape) : B_(shape.B), H_(shape.H), T_(shape.T), d_(shape.d) {}

  // Tensors in memory: rows (B, H, T, d); the same as the right operand of a product, (B, H, d, T); a number a row.
  const Descriptor& rows(TensorId id, const AttentionOperand& x) {
    return tensor(id, kElement, {B_, H_, T_, d_}, {x.batch, x.head, x.time, 1});
  }
  const Descriptor& transposed(TensorId id, const AttentionOperand& x) {
    return tensor(id, kElement, {B_, H_, d_, T_}, {x.batch, x.head, 1, x.time});
  }
  const Descriptor& column(TensorId id) { return tensor(id, kSum, {B_, H_, T_, 1}, {H_ * T_, T_, 1, 1}); }
  const Descriptor& host_number(TensorId id) {
    return tensor(id, kSum, {1, 1, 1, 1}, {1, 1, 1, 1}, CUDNN_ATTR_TENSOR_IS_BY_VALUE);
  }

  // Tensors between operations.
  const Descriptor& scores(cudnnDataType_t type = kSum) {
    return inner(type, {B_, H_, T_, T_}, {H_ * T_ * T_, T_ * T_, T_, 1});
  }
  const Descriptor& columns_of_scores() { return inner(kElement, {B_, H_, T_, T_}, {H_ * T_ * T_, T_ * T_, 1, T_}); }
  const Descriptor& inner_column() { return inner(kSum, {B_, H_, T_, 1}, {H_ * T_, T_, 1, 1}); }
  const Descriptor& inner_rows(cudnnDataType_t type, const AttentionOperand& x) {
    return inner(type, {B_, H_, T_, d_}, {x.batch, x.head, x.time, 1});
  }

  // Operations; each returns what it writes.
  struct With {
    const Descriptor *b = nullptr, *predicate = nullptr;
    std::optional<int64_t> axis = {};
    cudnnDataType_t precision = kSum;
  };
  const Descriptor& pointwise(cudnnPointwiseMode_t mode, const Descriptor& x, const With& with, const Descriptor& y) {
    Descriptor& how = parts_.emplace_back(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    how.set(CUDNN_ATTR_POINTWISE_MODE, mode).set(CUDNN_ATTR_POINTWISE_MATH_PREC, with.precision);
    if (with.axis) how.set(CUDNN_ATTR_POINTWISE_AXIS, *with.axis);
    Descriptor& operation = parts_.emplace_back(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how.finalize())
        .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    if (with.b != nullptr) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *with.b);
    if (with.predicate != nullptr) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_TDESC, *with.predicate);
    return add(operation, y);
  }
  const Descriptor& multiply(const Descriptor& a, const Descriptor& b, const Descriptor& c) {
    Descriptor& how = parts_.emplace_back(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    how.set(CUDNN_ATTR_MATMUL_COMP_TYPE, kSum).finalize();
    Descriptor& operation = parts_.emplace_back(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, how)
        .set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, a)
        .set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, b)
        .set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
    return add(operation, c);
  }
  const Descriptor& reduce(cudnnReduceTensorOp_t what, const Descriptor& x, const Descriptor& y) {
    Descriptor& how = parts_.emplace_back(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    how.set(CUDNN_ATTR_REDUCTION_OPERATOR, what).set(CUDNN_ATTR_REDUCTION_COMP_TYPE, kSum).finalize();
    Descriptor& operation = parts_.emplace_back(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, how)
        .set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x)
        .set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    return add(operation, y);
  }
  const Descriptor& reshape(const Descriptor& x, const Descriptor& y) {
    Descriptor& operation = parts_.emplace_back(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x).set(CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    return add(operation, y);
  }

  /// Scores of keys behind their queries become those of keys that are not seen.
  const Descriptor& causal(const Descriptor& s, const Descriptor& hidden) {
    const Descriptor& i = pointwise(CUDNN_POINTWISE_GEN_INDEX, s, {.axis = 2}, scores(CUDNN_DATA_INT32));
    const Descriptor& j = pointwise(CUDNN_POINTWISE_GEN_INDEX, s, {.axis = 3}, scores(CUDNN_DATA_INT32));
    const Descriptor& seen =
        pointwise(CUDNN_POINTWISE_CMP_GE, i, {.b = &j, .precision = CUDNN_DATA_BOOLEAN}, scores(CUDNN_DATA_BOOLEAN));
    return pointwise(CUDNN_POINTWISE_BINARY_SELECT, s, {.b = &hidden, .predicate = &seen}, scores());
  }

  /// Of the whole graph; its parts go to `parts`.
  Descriptor finished(std::deque<Descriptor>& parts) {
    Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    graph.set_descriptors(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations_).finalize();
    parts = std::move(parts_);
    return graph;
  }

 private:
  const Descriptor& add(Descriptor& operation, const Descriptor& result) {
    operations_.push_back(operation.finalize().get());
    return result;
  }
  const Descriptor& tensor(int64_t id, cudnnDataType_t type, const Sizes& sizes, const Sizes& strides,
                           std::optional<cudnnBackendAttributeName_t> kind = {}) {
    constexpr int64_t kAlignment = 16;
    Descriptor& made = parts_.emplace_back(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    made.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id)
        .set(CUDNN_ATTR_TENSOR_DATA_TYPE, type)
        .set_all<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS, sizes)
        .set_all<int64_t>(CUDNN_ATTR_TENSOR_STRIDES, strides)
        .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, kAlignment);
    if (kind) made.set(*kind, true);
    return made.finalize();
  }
  const Descriptor& inner(cudnnDataType_t type, const Sizes& sizes, const Sizes& strides) {
    return tensor(next_inner_++, type, sizes, strides, CUDNN_ATTR_TENSOR_IS_VIRTUAL);
  }

  int64_t B_, H_, T_, d_;
  int64_t next_inner_ = id_first_inner;
  std::deque<Descriptor> parts_;
  std::vector<cudnnBackendDescriptor_t> operations_;
};

void add_forward(Graph& g, const AttentionForwardArgs& args) {
  const Descriptor &q = g.rows(id_q, args.q), &k = g.transposed(id_k, args.k), &v = g.rows(id_v, args.v);
  const Descriptor &scale = g.host_number(id_scale), &hidden = g.host_number(id_hidden);
  const Descriptor& product = g.multiply(q, k, g.scores());
  const Descriptor& s = g.causal(g.pointwise(CUDNN_POINTWISE_MUL, product, {.b = &scale}, g.scores()), hidden);
  const Descriptor& m = g.reduce(CUDNN_REDUCE_TENSOR_MAX, s, g.inner_column());
  const Descriptor& less = g.pointwise(CUDNN_POINTWISE_SUB, s, {.b = &m}, g.scores());
  const Descriptor& e = g.pointwise(CUDNN_POINTWISE_EXP, less, {}, g.scores());
  const Descriptor& l = g.reduce(CUDNN_REDUCE_TENSOR_ADD, e, g.inner_column());
  const Descriptor& log_l = g.pointwise(CUDNN_POINTWISE_LOG, l, {}, g.inner_column());
  g.pointwise(CUDNN_POINTWISE_ADD, m, {.b = &log_l}, g.column(id_lse));
  const Descriptor& p = g.pointwise(CUDNN_POINTWISE_DIV, e, {.b = &l}, g.scores(kElement));
  g.multiply(p, v, g.rows(id_out, operand_of(args.out)));
}

void add_backward(Graph& g, const AttentionBackwardArgs& args) {
  const Descriptor &q = g.rows(id_q, args.q), &k = g.transposed(id_k, args.k), &v = g.transposed(id_v, args.v);
  const Descriptor &out = g.rows(id_out, args.out), &grad = g.rows(id_grad_out, args.grad_out);
  const Descriptor &scale = g.host_number(id_scale), &hidden = g.host_number(id_hidden), &one = g.host_number(id_one);
  const Descriptor &lse = g.column(id_lse), &delta = g.column(id_delta);

  const Descriptor& both =
      g.pointwise(CUDNN_POINTWISE_MUL, grad, {.b = &out},
                  g.inner_rows(kSum, operand_of(rows_by_head(nullptr, args.shape.H, args.shape.T, args.shape.d))));
  const Descriptor& sums = g.reduce(CUDNN_REDUCE_TENSOR_ADD, both, g.inner_column());
  g.pointwise(CUDNN_POINTWISE_MUL, sums, {.b = &one}, delta);

  const Descriptor& product = g.multiply(q, k, g.scores());
  const Descriptor& s = g.pointwise(CUDNN_POINTWISE_MUL, product, {.b = &scale}, g.scores());
  const Descriptor& less = g.causal(g.pointwise(CUDNN_POINTWISE_SUB, s, {.b = &lse}, g.scores()), hidden);
  const Descriptor& p = g.pointwise(CUDNN_POINTWISE_EXP, less, {}, g.scores());
  g.multiply(g.reshape(p, g.columns_of_scores()), grad, g.rows(id_grad_v, operand_of(args.grad_v)));

  const Descriptor& dp = g.multiply(grad, v, g.scores());
  const Descriptor& change = g.pointwise(CUDNN_POINTWISE_SUB, dp, {.b = &delta}, g.scores());
  const Descriptor& weighted = g.pointwise(CUDNN_POINTWISE_MUL, change, {.b = &p}, g.scores());
  const Descriptor& ds = g.pointwise(CUDNN_POINTWISE_MUL, weighted, {.b = &scale}, g.scores(kElement));
  g.multiply(g.reshape(ds, g.columns_of_scores()), q, g.rows(id_grad_k, operand_of(args.grad_k)));
  g.multiply(ds, g.reshape(k, g.inner_rows(kElement, args.k)), g.rows(id_grad_q, operand_of(args.grad_q)));
}

bool is_deterministic(const Descriptor& engine) {
  const auto notes =
      engine.values<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
  return std::find(notes.begin(), notes.end(), CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) == notes.end();
}

Plan first_plan(Graph& operations, int64_t batches, int64_t heads, const Descriptor& gpu) {
  std::deque<Descriptor> parts;
  parts.push_back(operations.finished(parts));
  const Descriptor& graph = parts.back();
  std::string problem = "cuDNN proposes nothing";
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)
        .set(CUDNN_ATTR_ENGINEHEUR_MODE, mode)
        .set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, gpu)
        .finalize();
    for (Descriptor& proposal :
         heuristics.descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)) {
      try {
        const auto engines = proposal.descriptors(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
        check(!engines.empty() && is_deterministic(engines.front()), "its engine is not deterministic");
        Descriptor descriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
        descriptor.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, proposal)
            .set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, gpu)
            .finalize();
        const int64_t workspace = descriptor.number(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
        check(workspace <= kMostWorkspace, "it wants ", workspace, " bytes to work in");
        parts.push_back(std::move(proposal));
        return {batches, heads, workspace, std::move(parts), std::move(descriptor)};
      } catch (const Error& error) {
        problem = error.what();
      }
    }
  }
  fail("no plan for dense attention: ", problem);
}

/// The largest divisor of `whole` that is at most `most`.
int64_t divisor_within(int64_t whole, int64_t most) {
  int64_t part = std::min(whole, most);
  while (whole % part != 0) --part;
  return part;
}

}  // namespace

Descriptor gpu_of(cudnnHandle_t handle) {
  Descriptor gpu(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  gpu.set(CUDNN_ATTR_DEVICEPROP_HANDLE, handle).finalize();
  return gpu;
}

Descriptor gpu_described_by(const std::string& json) {
  Descriptor gpu(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  gpu.set_all<char>(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, json).finalize();
  return gpu;
}

Plan plan_forward(const AttentionForwardArgs& args, const Descriptor& gpu) {
  Graph graph(args.shape);
  add_forward(graph, args);
  return first_plan(graph, args.shape.B, args.shape.H, gpu);
}

Plan plan_backward(const AttentionBackwardArgs& args, const Descriptor& gpu) {
  constexpr int64_t kTile = 128;  // to which cuDNN pads the rows and columns of ds
  const int64_t T = (args.shape.T + kTile - 1) / kTile * kTile, heads = kMostWorkspace / (2 * T * T);
  check(heads >= 1, "no plan for dense attention: ds of one head of ", args.shape.T, " tokens is too large to be kept");
  AttentionBackwardArgs part = args;
  part.shape.H = divisor_within(args.shape.H, heads);
  part.shape.B = part.shape.H < args.shape.H ? 1 : divisor_within(args.shape.B, heads / args.shape.H);
  Graph graph(part.shape);
  add_backward(graph, part);
  return first_plan(graph, part.shape.B, part.shape.H, gpu);
}

}  // namespace ratel::cuda::cudnn
