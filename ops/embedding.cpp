#include "ops/embedding.h"

#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/matmul.h"
#include "ops/view.h"

namespace ratel {
namespace {

void run_forward(const EmbeddingArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::embedding_forward(args, current_stream(device));
  cpu::embedding_forward(args);
}

void run_backward(const EmbeddingBackwardArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::embedding_backward(args, current_stream(device));
  cpu::embedding_backward(args);
}

/// The ids as contiguous i64.
Tensor ids_in_order(const Tensor& weight, const Tensor& ids, IdCheck ids_are_checked) {
  check(weight.rank() == 2 && is_float(weight.dtype()) && weight.is_contiguous(),
        "embedding: expected a contiguous float table (V, C), found ", weight.dtype(), ' ', weight.shape());
  check(!is_float(ids.dtype()), "embedding: expected ids of an integer dtype, found ", ids.dtype());
  check(weight.device() == ids.device(), "embedding: table on ", weight.device(), ", ids on ", ids.device());
  Tensor in_order = contiguous(to(ids, DType::i64));
  if (ids_are_checked == IdCheck::by_op) check_ids(in_order, weight.dim(0));
  return in_order;
}

Shape shape_of_rows(const Tensor& ids, int64_t C) {
  Shape shape = ids.shape();
  shape.push_back(C);
  return shape;
}

}  // namespace

void check_ids(const Tensor& ids, int64_t V) {
  const Tensor host = to(contiguous(to(ids, DType::i64)), kCpu);
  const int64_t* values = host.data<int64_t>();
  for (int64_t i = 0; i < host.numel(); ++i)
    check(values[i] >= 0 && values[i] < V, "embedding: id ", values[i], " at position ", i, " is not in [0, ", V, ")");
}

Tensor embedding(const Tensor& weight, const Tensor& ids, IdCheck ids_are_checked) {
  const OpScope scope("embedding");
  const Tensor rows = ids_in_order(weight, ids, ids_are_checked);
  const int64_t V = weight.dim(0), C = weight.dim(1), n = rows.numel();
  Tensor out = empty(shape_of_rows(ids, C), weight.dtype(), weight.device());
  run_forward({n, V, C, weight.dtype(), weight.data(), static_cast<const int64_t*>(rows.data()), out.data()},
              weight.device());
  return record(out, "embedding", {weight},
                [rows = Saved(rows), V, C, n, dtype = weight.dtype()](const Tensor& grad, const Needs& needs) -> Grads {
                  const Tensor in = contiguous(grad);
                  Tensor grad_weight = empty({V, C}, accumulate_dtype(dtype), in.device());
                  run_backward(
                      {n, V, C, dtype, in.data(), static_cast<const int64_t*>(rows->data()), grad_weight.data()},
                      in.device());
                  return {to(grad_weight, needs.dtype(0))};
                });
}

Tensor embedding_reference(const Tensor& weight, const Tensor& ids) {
  const Tensor rows = ids_in_order(weight, ids, IdCheck::by_op);
  Tensor one_hot = zeros({rows.numel(), weight.dim(0)}, weight.dtype(), weight.device());
  const auto values = to_vector<int64_t>(rows);
  for (size_t i = 0; i < values.size(); ++i)
    copy_into(
        slice(slice(one_hot, 0, static_cast<int64_t>(i), static_cast<int64_t>(i) + 1), 1, values[i], values[i] + 1),
        ones({1, 1}, weight.dtype()));
  return reshape(matmul_reference(one_hot, weight), shape_of_rows(ids, weight.dim(1)));
}

}  // namespace ratel
