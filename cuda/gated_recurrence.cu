// Gated recurrence on a GPU: one stream of recurrence_scan.h, where algorithm, threads and bytes are told.

#include "ops/gated_recurrence.h"

#include "cuda/recurrence_scan.h"

namespace ratel::cuda {
namespace {

constexpr const char* kForward = "gated_recurrence";
constexpr const char* kBackward = "gated_recurrence_backward";

template <class T, class Args>
TokenRows<const T> gate_rows(const Args& args) {
  return {static_cast<const T*>(args.gate), args.gate_batch_stride, args.gate_time_stride};
}
template <class T, class Args>
TokenRows<const T> x_rows(const Args& args) {
  return {static_cast<const T*>(args.x), args.x_batch_stride, args.x_time_stride};
}

/// Calls f with how many elements may be copied at a time: 16 bytes where all rows begin at multiples of them.
template <class T, class Args, class F>
void with_vectors(const Args& args, F&& f, const void* grad_h = nullptr) {
  constexpr int N = kPerVec<T>;
  const bool aligned = is_vectorisable<T>(args.C, args.gate, args.x, grad_h) && args.gate_batch_stride % N == 0 &&
                       args.gate_time_stride % N == 0 && args.x_batch_stride % N == 0 && args.x_time_stride % N == 0;
  if (aligned)
    f.template operator()<N>();
  else
    f.template operator()<1>();
}

}  // namespace

int64_t gated_recurrence_carries(int64_t B, int64_t T, int64_t C, DType dtype) {
  return visit_float(dtype, kForward, [&]<class E>() { return scan_carries<E>(B, T, C, 1); });
}

void gated_recurrence_forward(const GatedRecurrenceArgs& args, Stream stream) {
  visit_float(args.dtype, kForward, [&]<class T>() {
    using A = accumulate_t<T>;
    ScanForward<T, 1> scan{.shape = cut_scan(args.B, args.T, args.C), .parts = {gate_rows<T>(args), x_rows<T>(args)}};
    scan.initial = static_cast<const A*>(args.initial);
    scan.out[0] = static_cast<T*>(args.h);
    scan.last = static_cast<A*>(args.last);
    scan.carries = static_cast<A*>(args.carries);
    with_vectors<T>(args, [&]<int N>() { run_scan<N>(kForward, scan, stream); });
  });
}

void gated_recurrence_backward(const GatedRecurrenceBackwardArgs& args, Stream stream) {
  visit_float(args.dtype, kForward, [&]<class T>() {
    using A = accumulate_t<T>;
    const int64_t batch = args.T * args.C;
    ScanBackward<T, 1> scan{
        .shape = cut_scan(args.B, args.T, args.C),
        .parts = {gate_rows<T>(args), x_rows<T>(args), {static_cast<const T*>(args.grad_h), batch, args.C}},
        .carries = static_cast<const A*>(args.carries)};
    scan.grad_last = static_cast<const A*>(args.grad_last);
    scan.grads[0] = static_cast<T*>(args.grad_gate);
    scan.grads[1] = static_cast<T*>(args.grad_x);
    scan.grad_batch = batch;
    scan.grad_time = args.C;
    scan.grad_initial = static_cast<A*>(args.grad_initial);
    with_vectors<T>(
        args, [&]<int N>() { run_scan<N>(kBackward, scan, stream); }, args.grad_h);
  });
}

}  // namespace ratel::cuda
