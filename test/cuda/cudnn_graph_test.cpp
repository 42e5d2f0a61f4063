// What our graphs of cuDNN's operations compute, each operation evaluated in f64 by its definition: a mask, a sign or a
// stride that is wrong is found where no GPU can run them.

#include "cuda/cudnn_graph.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <vector>

#include "ops/dilated_attention.h"
#include "test/support/compare.h"
#include "test/support/gradcheck.h"

using ratel::Tensor;
namespace cuda = ratel::cuda;
namespace cudnn = ratel::cuda::cudnn;
namespace test = ratel::test;
using cudnn::GraphOperation;
using cudnn::GraphTensor;

namespace {

using Index = std::array<int64_t, 4>;
using Values = std::vector<double>;
using Memory = std::map<int64_t, Values>;  // of tensors in memory, by id

/// Where an element lies; of an axis of one element it is that one.
size_t place_of(const GraphTensor& tensor, const Index& index) {
  int64_t offset = 0;
  for (size_t axis = 0; axis < 4; ++axis)
    offset += std::min(index[axis], tensor.sizes[axis] - 1) * tensor.strides[axis];
  return static_cast<size_t>(offset);
}

size_t extent_of(const GraphTensor& tensor) {
  return place_of(tensor, {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX}) + 1;
}

template <class F>
void for_each(const GraphTensor& tensor, F&& f) {
  Index i{};
  for (i[0] = 0; i[0] < tensor.sizes[0]; ++i[0])
    for (i[1] = 0; i[1] < tensor.sizes[1]; ++i[1])
      for (i[2] = 0; i[2] < tensor.sizes[2]; ++i[2])
        for (i[3] = 0; i[3] < tensor.sizes[3]; ++i[3]) f(i);
}

double apply(cudnnPointwiseMode_t mode, double x, double b, double predicate) {
  switch (mode) {
    case CUDNN_POINTWISE_ADD: return x + b;
    case CUDNN_POINTWISE_SUB: return x - b;
    case CUDNN_POINTWISE_MUL: return x * b;
    case CUDNN_POINTWISE_DIV: return x / b;
    case CUDNN_POINTWISE_EXP: return std::exp(x);
    case CUDNN_POINTWISE_LOG: return std::log(x);
    case CUDNN_POINTWISE_CMP_GE: return x >= b ? 1 : 0;
    case CUDNN_POINTWISE_BINARY_SELECT: return predicate != 0 ? x : b;
    default: ratel::fail("no definition of pointwise mode ", static_cast<int>(mode));
  }
}

/// Evaluates the operations of a graph one after the other.
class Evaluation {
 public:
  Evaluation(const cudnn::OperationGraph& graph, Memory& memory) : memory_(memory) {
    for (const GraphTensor& tensor : graph.tensors) tensors_.emplace(tensor.id, tensor);
    for (const GraphOperation& operation : graph.operations) run(operation);
  }

 private:
  void run(const GraphOperation& operation) {
    const GraphTensor &x = tensors_.at(operation.x), &y = tensors_.at(operation.y);
    Values& result = memory_[y.id];
    result.resize(std::max(result.size(), extent_of(y)));
    switch (operation.kind) {
      case GraphOperation::Kind::multiply: return multiply(x, tensors_.at(operation.b), y, result);
      case GraphOperation::Kind::reduce: return reduce(operation.reduction, x, y, result);
      case GraphOperation::Kind::reshape:
        return for_each(y, [&](const Index& i) { result[place_of(y, i)] = memory_.at(x.id).at(place_of(y, i)); });
      case GraphOperation::Kind::pointwise: break;
    }
    if (operation.pointwise == CUDNN_POINTWISE_GEN_INDEX)
      return for_each(y, [&](const Index& i) {
        result[place_of(y, i)] = static_cast<double>(i[static_cast<size_t>(operation.axis.value())]);
      });
    const auto value = [&](int64_t id, const Index& i) { return id == 0 ? NAN : element(tensors_.at(id), i); };
    for_each(y, [&](const Index& i) {
      result[place_of(y, i)] =
          apply(operation.pointwise, element(x, i), value(operation.b, i), value(operation.predicate, i));
    });
  }

  [[nodiscard]] double element(const GraphTensor& tensor, const Index& i) const {
    return memory_.at(tensor.id).at(place_of(tensor, i));
  }

  void multiply(const GraphTensor& a, const GraphTensor& b, const GraphTensor& c, Values& result) {
    BOOST_TEST(a.sizes[3] == b.sizes[2]);
    BOOST_TEST(a.sizes[2] == c.sizes[2]);
    BOOST_TEST(b.sizes[3] == c.sizes[3]);
    for_each(c, [&](const Index& i) {
      double sum = 0;
      for (int64_t k = 0; k < a.sizes[3]; ++k)
        sum += element(a, {i[0], i[1], i[2], k}) * element(b, {i[0], i[1], k, i[3]});
      result[place_of(c, i)] = sum;
    });
  }

  void reduce(cudnnReduceTensorOp_t what, const GraphTensor& x, const GraphTensor& y, Values& result) {
    const bool adds = what == CUDNN_REDUCE_TENSOR_ADD;
    ratel::check(adds || what == CUDNN_REDUCE_TENSOR_MAX, "no definition of a reduction");
    std::fill(result.begin(), result.end(), adds ? 0 : -INFINITY);
    for_each(x, [&](const Index& i) {
      double& into = result[place_of(y, i)];
      into = adds ? into + element(x, i) : std::max(into, element(x, i));
    });
  }

  Memory& memory_;
  std::map<int64_t, GraphTensor> tensors_;
};

void evaluate(const cudnn::OperationGraph& graph, Memory& memory) { const Evaluation all(graph, memory); }

constexpr int64_t kB = 2, kH = 3, kT = 9, kD = 8;

/// A (B, H, T, d) tensor as rows by token, each `width` numbers long, and back.
Values by_token(const Tensor& x, int64_t width) {
  const auto values = ratel::to_vector<double>(x);
  Values memory(static_cast<size_t>(kB * kT * width), NAN);
  for (size_t n = 0; n < values.size(); ++n) {
    const auto at = static_cast<int64_t>(n), c = at % kD, t = at / kD % kT, h = at / (kD * kT) % kH,
               b = at / (kD * kT * kH);
    memory[static_cast<size_t>((b * kT + t) * width + h * kD + c)] = values[n];
  }
  return memory;
}

void check_rows(const Values& memory, const Tensor& expected, int64_t width, const std::string& what) {
  const Values all = by_token(expected, width);
  BOOST_TEST_REQUIRE(memory.size() <= all.size(), what);
  for (size_t n = 0; n < all.size(); ++n)
    if (!std::isnan(all[n])) BOOST_TEST(std::abs(memory.at(n) - all[n]) < 1e-12, what << ", number " << n);
}

}  // namespace

BOOST_AUTO_TEST_CASE(graphs_compute_causal_attention_and_its_gradients) {
  const int64_t C = kH * kD, width = 5 * C;
  const std::vector<Tensor> x{test::randn({kB, kH, kT, kD}, 1), test::randn({kB, kH, kT, kD}, 2),
                              test::randn({kB, kH, kT, kD}, 3)};
  const Tensor grad = test::randn({kB, kH, kT, kD}, 4);
  const auto expected = test::gradients(
      [](const auto& in) { return dilated_attention_reference(in[0], in[1], in[2], {{}}).out; }, x, grad);
  const auto lse = ratel::to_vector<double>(dilated_attention_reference(x[0], x[1], x[2], {{}}).lse);

  const cuda::AttentionRows rows = cuda::rows_by_token(nullptr, kH, kT, kD), wide{nullptr, kT * width, kD, width};
  const cuda::AttentionShape shape{kB, kH, kT, kD, ratel::DType::bf16, nullptr};
  Memory memory{{cudnn::id_q, by_token(x[0], C)},       {cudnn::id_k, by_token(x[1], C)},
                {cudnn::id_v, by_token(x[2], width)},   {cudnn::id_scale, {1 / std::sqrt(static_cast<double>(kD))}},
                {cudnn::id_hidden, {-INFINITY}},        {cudnn::id_one, {1}},
                {cudnn::id_grad_out, by_token(grad, C)}};
  evaluate(cudnn::forward_graph({.shape = shape,
                                 .q = operand_of(rows),
                                 .k = operand_of(rows),
                                 .v = operand_of(wide),
                                 .out = rows,
                                 .lse = nullptr}),
           memory);
  check_rows(memory.at(cudnn::id_out), expected.out, C, "out");
  BOOST_TEST_REQUIRE(memory.at(cudnn::id_lse).size() == lse.size());
  for (size_t n = 0; n < lse.size(); ++n) BOOST_TEST(std::abs(memory.at(cudnn::id_lse)[n] - lse[n]) < 1e-12);

  evaluate(cudnn::backward_graph({.shape = shape,
                                  .q = operand_of(rows),
                                  .k = operand_of(rows),
                                  .v = operand_of(wide),
                                  .out = operand_of(rows),
                                  .grad_out = operand_of(rows),
                                  .lse = nullptr,
                                  .grad_lse = nullptr,
                                  .grad_q = wide,
                                  .grad_k = rows,
                                  .grad_v = rows}),
           memory);
  check_rows(memory.at(cudnn::id_grad_q), expected.grads[0], width, "gradient of q");
  check_rows(memory.at(cudnn::id_grad_k), expected.grads[1], C, "gradient of k");
  check_rows(memory.at(cudnn::id_grad_v), expected.grads[2], C, "gradient of v");
}
