// The recurrence stage of recurrent_attention on a GPU: keys and values as two streams of recurrence_scan.h, where
// algorithm, threads and bytes are told. Reads the projection in place and writes into its gradient in place.

#include "cuda/recurrence_scan.h"
#include "cuda/recurrent_attention_stages.h"
#include "ops/recurrent_attention.h"

namespace ratel::cuda {
namespace {

constexpr const char* kName = "recurrence_stage";

using Part = ProjectionPart;

/// A part of (B, T, 5C).
template <class T>
TokenRows<T> part_of(T* projection, Part part, int64_t T_, int64_t C) {
  return {projection + static_cast<int64_t>(part) * C, T_ * 5 * C, 5 * C};
}

template <class Args>
ScanShape shape_of(const Args& args) {
  ScanShape shape = cut_scan(args.B, args.T, args.C);
  shape.half = args.C / args.H / 2;
  shape.table = args.table;
  return shape;
}

/// Calls f with how many elements may be copied at a time: 16 bytes where halves of heads begin at multiples of them.
template <class T, class F>
void with_vectors(int64_t half, F&& f, const void* projection, const void* grad_keys, const void* grad_values) {
  if (is_vectorisable<T>(half, projection, grad_keys, grad_values))
    f.template operator()<kPerVec<T>>();
  else
    f.template operator()<1>();
}

}  // namespace

size_t recurrence_carries(int64_t B, int64_t T, int64_t C, DType dtype) {
  return visit_float(dtype, kName, [&]<class E>() {
    return static_cast<size_t>(scan_carries<E>(B, T, C, 2)) * sizeof(accumulate_t<E>);
  });
}

void recurrence_stage_forward(const RecurrenceStageArgs& args, Stream stream) {
  visit_float(args.dtype, kName, [&]<class T>() {
    const auto* projection = static_cast<const T*>(args.projection);
    const auto part = [&](Part p) { return part_of(projection, p, args.T, args.C); };
    ScanForward<T, 2> scan{.shape = shape_of(args), .parts = {part(Part::gate), part(Part::key), part(Part::value)}};
    scan.carries = static_cast<accumulate_t<T>*>(args.carries);
    scan.out[0] = static_cast<T*>(args.keys);
    scan.out[1] = static_cast<T*>(args.values);
    scan.initial = static_cast<const accumulate_t<T>*>(args.initial);
    scan.last = static_cast<accumulate_t<T>*>(args.last);
    scan.shape.counts = args.counts;
    scan.shape.table_batch = args.table_batch_stride;
    with_vectors<T>(
        scan.shape.half, [&]<int N>() { run_scan<T, 2, N>(kName, scan, stream); }, projection, nullptr, nullptr);
  });
}

void recurrence_stage_backward(const RecurrenceStageBackwardArgs& args, Stream stream) {
  visit_float(args.dtype, kName, [&]<class T>() {
    const auto* projection = static_cast<const T*>(args.projection);
    const auto part = [&](Part p) { return part_of(projection, p, args.T, args.C); };
    const auto gradient = [&](const void* data) {
      return TokenRows<const T>{static_cast<const T*>(data), args.T * args.C, args.C};
    };
    ScanBackward<T, 2> scan{.shape = shape_of(args),
                            .parts = {part(Part::gate), part(Part::key), part(Part::value), gradient(args.grad_keys),
                                      gradient(args.grad_values)},
                            .carries = static_cast<const accumulate_t<T>*>(args.carries)};
    auto* grad_projection = static_cast<T*>(args.grad_projection);
    const auto written = [&](Part p) { return part_of(grad_projection, p, args.T, args.C); };
    scan.grads[0] = written(Part::gate).data;
    scan.grads[1] = written(Part::key).data;
    scan.grads[2] = written(Part::value).data;
    scan.grad_batch = written(Part::gate).batch;
    scan.grad_time = written(Part::gate).time;
    with_vectors<T>(
        scan.shape.half, [&]<int N>() { run_scan<T, 2, N>("recurrence_stage_backward", scan, stream); }, projection,
        args.grad_keys, args.grad_values);
  });
}

}  // namespace ratel::cuda
