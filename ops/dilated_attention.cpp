#include "ops/dilated_attention.h"

#include <cmath>
#include <limits>

#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/concat.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "ops/unary.h"
#include "ops/view.h"

namespace ratel {
namespace {

constexpr const char* kName = "dilated_attention";

void check_arguments(const Tensor& q, const Tensor& k, const Tensor& v, const HeadPatterns& patterns) {
  check_attention_operands(q, k, v, patterns, kName);
  check(!selects_blocks(patterns), kName,
        ": expected dilated patterns, found top-k blocks\nhint: block_attention takes both");
}

void run_forward(const DilatedAttentionArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::dilated_attention_forward(args, current_stream(device));
  cpu::dilated_attention_forward(args);
}

void run_backward(const DilatedAttentionBackwardArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::dilated_attention_backward(args, current_stream(device));
  cpu::dilated_attention_backward(args);
}

}  // namespace

void check_attention_operands(const Tensor& q, const Tensor& k, const Tensor& v, const HeadPatterns& patterns,
                              const char* op) {
  check(q.rank() == 4 && k.shape() == q.shape() && v.shape() == q.shape(), op,
        ": expected q, k and v of one shape (B, H, T, d), found ", q.shape(), ", ", k.shape(), " and ", v.shape());
  check(is_float(q.dtype()) && k.dtype() == q.dtype() && v.dtype() == q.dtype(), op,
        ": expected q, k and v of one float dtype, found ", q.dtype(), ", ", k.dtype(), " and ", v.dtype());
  check(k.device() == q.device() && v.device() == q.device(), op, ": q, k and v are on different devices");
  check(q.dim(2) >= 1 && q.dim(3) >= 1, op, ": expected at least one token and channel, found shape ", q.shape());
  for (const Tensor* x : {&q, &k, &v})
    check(x->layout().has_contiguous_rows(), op, ": the last axes of q, k and v must be contiguous");
  check_patterns(patterns, q.dim(1), op);
}

AttentionOperand attention_operand(const Tensor& x) { return {x.data(), x.stride(0), x.stride(1), x.stride(2)}; }

AttentionResult dilated_attention(const Tensor& q, const Tensor& k, const Tensor& v, const HeadPatterns& patterns) {
  const OpScope scope(kName);
  check_arguments(q, k, v, patterns);
  const int64_t B = q.dim(0), H = q.dim(1), T = q.dim(2), d = q.dim(3);
  const HeadPatterns per_head = one_a_head(patterns, H);
  Tensor outputs[] = {empty(q.shape(), q.dtype(), q.device()),
                      empty({B, H, T}, accumulate_dtype(q.dtype()), q.device())};
  run_forward({B, H, T, d, q.dtype(), attention_operand(q), attention_operand(k), attention_operand(v), per_head.data(),
               outputs[0].data(), outputs[1].data()},
              q.device());
  // p = exp(s - lse);  dv_j = sum_i p_ij do_i;  ds_ij = p_ij (do_i . v_j - do_i . out_i + dlse_i);  dq, dk from ds
  record(outputs, kName, {q, k, v},
         [q = Saved(q), k = Saved(k), v = Saved(v), out = Saved(outputs[0]), lse = Saved(outputs[1]), per_head](
             std::span<const Tensor> grads, const Needs&) -> Grads {
           const Tensor grad_out = grads[0].defined() ? contiguous(grads[0]) : zeros_like(*out);
           const Tensor grad_lse = grads[1].defined() ? contiguous(grads[1]) : Tensor();
           Grads results{empty_like(*q), empty_like(*k), empty_like(*v)};
           run_backward({q->dim(0), q->dim(1), q->dim(2), q->dim(3), q->dtype(), attention_operand(*q),
                         attention_operand(*k), attention_operand(*v), per_head.data(), out->data(), lse->data(),
                         grad_out.data(), grad_lse.defined() ? grad_lse.data() : nullptr, results[0].data(),
                         results[1].data(), results[2].data()},
                        q->device());
           return results;
         });
  return {outputs[0], outputs[1]};
}

namespace {

/// (T, T): 0 where a query sees a key, -inf elsewhere.
Tensor mask_of(const Pattern& pattern, int64_t T, DType dtype) {
  std::vector<double> values;
  for (int64_t i = 0; i < T; ++i)
    for (int64_t j = 0; j < T; ++j)
      values.push_back(sees(pattern, i, j) ? 0 : -std::numeric_limits<double>::infinity());
  return from_vector(values, {T, T}, dtype);
}

}  // namespace

AttentionResult dilated_attention_reference(const Tensor& q, const Tensor& k, const Tensor& v,
                                            const HeadPatterns& patterns) {
  check_arguments(q, k, v, patterns);
  const int64_t B = q.dim(0), H = q.dim(1), T = q.dim(2);
  std::vector<Tensor> masks;
  for (const Pattern& pattern : one_a_head(patterns, H)) masks.push_back(mask_of(pattern, T, q.dtype()));
  const Tensor scores = matmul_nt(q, k) * (1 / std::sqrt(static_cast<double>(q.dim(3)))) + stack(masks, 0);
  // The largest score is a constant here: its gradients through both terms cancel.
  const Tensor largest = max(detach(scores), {-1}, KeepDims::yes);
  const Tensor lse = log(sum(exp(scores - largest), {-1})) + reshape(largest, {B, H, T});
  return {matmul(softmax_reference(scores), v), to(lse, accumulate_dtype(q.dtype()))};
}

}  // namespace ratel
