// The recurrence stage of recurrent_attention on a GPU: keys and values as two streams of recurrence_scan.h, where
// algorithm, threads and bytes are told. Reads the projection in place and writes into its gradient in place.

#include "cuda/attention_keys.h"
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

template <class T>
TokenRows<const T> rows_of(const void* data, int64_t T_, int64_t C) {
  return {static_cast<const T*>(data), T_ * C, C};
}

NearRows<bfloat16> near_rows(const RecurrenceStageBackwardArgs& args) {
  static_assert(NearRows<bfloat16>::kMostHeads == kMostHeadsOfOwnTerms);
  NearRows<bfloat16> near;
  near.rows[0] = part_of(static_cast<const bfloat16*>(args.projection), Part::query, args.T, args.C);
  near.rows[1] = rows_of<bfloat16>(args.own.grad_attention, args.T, args.C);
  near.factors[0] = args.own.factors.ds;
  near.factors[1] = args.own.factors.p;
  near.heads = static_cast<int>(args.H);
  for (int64_t h = 0; h < args.H; ++h) {
    const Pattern pattern = within(args.own.patterns[h], args.T);
    const int64_t none = args.T + 1;  // every so many tokens: none is
    near.dilation[h] = static_cast<int>(pattern.dilation == kNoDilatedKeys ? none : pattern.dilation);
    near.initial[h] = static_cast<int>(pattern.initial);
  }
  return near;
}

template <class T, class Near>
ScanBackward<T, 2, Near> backward_of(const RecurrenceStageBackwardArgs& args, const Near& near) {
  const auto* projection = static_cast<const T*>(args.projection);
  const auto part = [&](Part p) { return part_of(projection, p, args.T, args.C); };
  ScanBackward<T, 2, Near> scan{
      .shape = shape_of(args),
      .parts = {part(Part::gate), part(Part::key), part(Part::value), rows_of<T>(args.grad_keys, args.T, args.C),
                rows_of<T>(args.grad_values, args.T, args.C)},
      .near = near,
      .carries = static_cast<const accumulate_t<T>*>(args.carries)};
  auto* grad_projection = static_cast<T*>(args.grad_projection);
  const auto written = [&](Part p) { return part_of(grad_projection, p, args.T, args.C); };
  scan.grads[0] = written(Part::gate).data;
  scan.grads[1] = written(Part::key).data;
  scan.grads[2] = written(Part::value).data;
  scan.grad_batch = written(Part::gate).batch;
  scan.grad_time = written(Part::gate).time;
  return scan;
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
        scan.shape.half, [&]<int N>() { run_scan<N>(kName, scan, stream); }, projection, nullptr, nullptr);
  });
}

void recurrence_stage_backward(const RecurrenceStageBackwardArgs& args, Stream stream) {
  constexpr const char* kBackward = "recurrence_stage_backward";
  if (args.own.factors.p != nullptr)
    return run_scan<kPerVec<bfloat16>>(kBackward, backward_of<bfloat16>(args, near_rows(args)), stream);
  visit_float(args.dtype, kName, [&]<class T>() {
    with_vectors<T>(
        args.C / args.H / 2, [&]<int N>() { run_scan<N>(kBackward, backward_of<T>(args, NoNearRows()), stream); },
        args.projection, args.grad_keys, args.grad_values);
  });
}

}  // namespace ratel::cuda
