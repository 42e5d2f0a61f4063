#include "ops/recurrent_attention.h"

#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/block_attention.h"
#include "ops/copy.h"
#include "ops/dilated_attention.h"
#include "ops/gated_recurrence.h"
#include "ops/rope.h"
#include "ops/unary.h"
#include "ops/view.h"

namespace ratel {
namespace {

constexpr const char* kName = "recurrent_attention";

/// Throws where the arguments do not fit; returns C.
int64_t check_arguments(const Tensor& projection, int64_t heads, const HeadPatterns& patterns, Recurrence recurrence) {
  const int64_t parts = recurrence == Recurrence::gated ? 5 : 4;
  check(is_float(projection.dtype()), kName, ": expected a float dtype, found ", projection.dtype());
  check(projection.rank() == 3 && projection.dim(2) % parts == 0 && projection.dim(1) >= 1, kName,
        ": expected a projection (B, T, ", parts, "C) with T >= 1, found ", projection.shape());
  check(projection.is_contiguous(), kName, ": the projection must be contiguous");
  const int64_t C = projection.dim(2) / parts;
  check_heads(heads, C, kName);
  check_patterns(patterns, heads, kName);
  return C;
}

void run_forward(const RecurrentAttentionArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::recurrent_attention_forward(args, current_stream(device));
  cpu::recurrent_attention_forward(args);
}

void run_backward(const RecurrentAttentionBackwardArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::recurrent_attention_backward(args, current_stream(device));
  cpu::recurrent_attention_backward(args);
}

/// The op from its parts: attend(q, k, v) on (B, H, T, d).
template <class Recur, class Rope, class Attend>
Tensor composed(const Tensor& projection, int64_t heads, Recurrence recurrence, Recur&& recur, Rope&& turn,
                Attend&& attend) {
  const auto parts = split(projection, 2, recurrence == Recurrence::gated ? 5 : 4);
  const int64_t B = projection.dim(0), T = projection.dim(1), C = parts[0].dim(2);
  Tensor k = parts[2], v = parts[3];
  if (recurrence == Recurrence::gated) {
    const Tensor gate = sigmoid(parts[4]);
    k = recur(gate, k).h;
    v = recur(gate, v).h;
  }
  const auto split_heads = [&](const Tensor& x) { return transpose(reshape(x, {B, T, heads, C / heads}), 1, 2); };
  const Tensor a = attend(turn(split_heads(parts[1])), turn(split_heads(k)), split_heads(v));
  return reshape(transpose(a, 1, 2), {B, T, C}) * sigmoid(parts[0]);
}

}  // namespace

Tensor recurrent_attention(const Tensor& projection, int64_t heads, const HeadPatterns& patterns, Recurrence recurrence,
                           double rope_base) {
  const OpScope scope(kName);
  const int64_t C = check_arguments(projection, heads, patterns, recurrence);
  if (selects_blocks(patterns)) {
    check_wants_no_gradient(projection, kName);
    return composed(
        projection, heads, recurrence, [](const Tensor& gate, const Tensor& x) { return gated_recurrence(gate, x); },
        [&](const Tensor& x) { return rope(x, 0, rope_base); },
        [&](const Tensor& q, const Tensor& k, const Tensor& v) { return block_attention(q, k, v, patterns); });
  }
  const int64_t B = projection.dim(0), T = projection.dim(1);
  const DType dtype = projection.dtype();
  const HeadPatterns per_head = one_a_head(patterns, heads);
  const Device device = projection.device();
  Tensor out = empty({B, T, C}, dtype, device), lse = empty({B, heads, T}, accumulate_dtype(dtype), device);
  run_forward(
      {B, T, C, heads, dtype, recurrence, rope_base, per_head.data(), projection.data(), out.data(), lse.data()},
      device);
  // The parts one after the other: gate, attention, rope, recurrence. Derived in
  // docs/derivations/recurrent_attention.md.
  return record(out, kName, {projection},
                [projection = Saved(projection), out = Saved(out), lse = Saved(lse), per_head, heads, recurrence,
                 rope_base](const Tensor& grad, const Needs&) -> Grads {
                  const Tensor grad_out = contiguous(grad);
                  Tensor grad_projection = empty_like(*projection);
                  run_backward({grad.dim(0), grad.dim(1), grad.dim(2), heads, grad.dtype(), recurrence, rope_base,
                                per_head.data(), projection->data(), out->data(), lse->data(), grad_out.data(),
                                grad_projection.data()},
                               grad.device());
                  return {grad_projection};
                });
}

Tensor recurrent_attention_reference(const Tensor& projection, int64_t heads, const HeadPatterns& patterns,
                                     Recurrence recurrence, double rope_base) {
  check_arguments(projection, heads, patterns, recurrence);
  return composed(
      projection, heads, recurrence,
      [](const Tensor& gate, const Tensor& x) { return gated_recurrence_reference(gate, x); },
      [&](const Tensor& x) { return rope_reference(x, 0, rope_base); },
      [&](const Tensor& q, const Tensor& k, const Tensor& v) {
        return selects_blocks(patterns) ? block_attention_reference(q, k, v, patterns)
                                        : dilated_attention_reference(q, k, v, patterns).out;
      });
}

}  // namespace ratel
