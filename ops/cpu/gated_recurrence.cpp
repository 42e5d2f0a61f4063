// Gated recurrence along time on the CPU.
//
// A task owns one batch entry and a strip of channels, and walks time with the strip's state in the first-level cache:
// rows are read and written once, in time order. Channels are independent, so results do not depend on the tasks.
//   forward   reads gate and x, writes h:                        12 B an f32 element
//   backward  reads gate and x twice, grad_h; writes both grads:  20 B (the second read of a chunk comes from cache)
// Bound by memory bandwidth: the arithmetic is 4 flops an element, 11 backward.

#include "ops/gated_recurrence.h"

#include "ops/cpu/blocks.h"
#include "ops/cpu/scan.h"
#include "ops/cpu/scratch.h"

namespace ratel::cpu {
namespace {

constexpr int64_t kStrip = 128;  // channels of a task: two or more cache lines of every row

template <class T>
const T* at(const void* data, int64_t offset) {
  return data == nullptr ? nullptr : static_cast<const T*>(data) + offset;
}
template <class T>
T* at(void* data, int64_t offset) {
  return data == nullptr ? nullptr : static_cast<T*>(data) + offset;
}

/// Calls f(b, c, n) for every batch entry and strip of n channels from c.
template <class F>
void for_each_strip(int64_t B, int64_t C, F&& f) {
  const int64_t strips = (C + kStrip - 1) / kStrip;
  parallel_for(B * strips, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t c = task % strips * kStrip;
      f(task / strips, c, std::min(kStrip, C - c));
    }
  });
}

template <class A>
void start_state(const void* initial, int64_t offset, int64_t n, A* state) {
  if (initial == nullptr)
    std::fill_n(state, n, A{0});
  else
    std::copy_n(static_cast<const A*>(initial) + offset, n, state);
}

template <class T>
void forward(const GatedRecurrenceArgs& args) {
  using A = accumulate_t<T>;
  for_each_strip(args.B, args.C, [&](int64_t b, int64_t c, int64_t n) {
    alignas(64) std::array<A, kStrip> state;
    start_state(args.initial, b * args.C + c, n, state.data());
    const T* gate = at<T>(args.gate, b * args.gate_batch_stride + c);
    const T* x = at<T>(args.x, b * args.x_batch_stride + c);
    T* h = at<T>(args.h, b * args.T * args.C + c);
    for (int64_t t = 0; t < args.T; ++t) {
      const Loaded<T> g(gate + t * args.gate_time_stride, n);
      scan_step(n, (*g).data(), x + t * args.x_time_stride, state.data());
      store(state.data(), h + t * args.C, n);
    }
    std::copy_n(state.data(), n, at<A>(args.last, b * args.C + c));
  });
}

template <class T>
void backward(const GatedRecurrenceBackwardArgs& args) {
  using A = accumulate_t<T>;
  const int64_t chunks = (args.T + kScanChunk - 1) / kScanChunk;
  for_each_strip(args.B, args.C, [&](int64_t b, int64_t c, int64_t n) {
    const T* gate = at<T>(args.gate, b * args.gate_batch_stride + c);
    const T* x = at<T>(args.x, b * args.x_batch_stride + c);
    const int64_t row = b * args.T * args.C + c;
    const T* grad_h = at<T>(args.grad_h, row);
    T* grad_gate = at<T>(args.grad_gate, row);
    T* grad_x = at<T>(args.grad_x, row);
    const auto step = [&](int64_t t, A* state) {
      const Loaded<T> g(gate + t * args.gate_time_stride, n);
      scan_step(n, (*g).data(), x + t * args.x_time_stride, state);
    };
    // The state before every chunk,
    const Scratch<A> carries(chunks * n);
    alignas(64) std::array<A, kStrip> state;
    start_state(args.initial, b * args.C + c, n, state.data());
    for (int64_t t = 0; t < args.T; ++t) {
      if (t % kScanChunk == 0) std::copy_n(state.data(), n, carries.get() + t / kScanChunk * n);
      step(t, state.data());
    }
    // then chunk by chunk from the last: the states before every token, and the gradients in falling order of time.
    const Scratch<A> before(kScanChunk * n);
    alignas(64) std::array<A, kStrip> dh{}, dx, dgate, grad{};
    if (args.grad_last != nullptr) std::copy_n(at<A>(args.grad_last, b * args.C + c), n, dh.data());
    for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
      const int64_t first = chunk * kScanChunk, end = std::min(args.T, first + kScanChunk);
      std::copy_n(carries.get() + chunk * n, n, before.get());
      for (int64_t t = first; t + 1 < end; ++t) {
        A* next = before.get() + (t + 1 - first) * n;
        std::copy_n(next - n, n, next);
        step(t, next);
      }
      for (int64_t t = end - 1; t >= first; --t) {
        if (grad_h != nullptr) load(grad_h + t * args.C, grad.data(), n);
        const Loaded<T> g(gate + t * args.gate_time_stride, n);
        dgate.fill(0);
        scan_step_backward(n, (*g).data(), x + t * args.x_time_stride, before.get() + (t - first) * n, grad.data(),
                           dh.data(), dx.data(), dgate.data());
        if (grad_x != nullptr) store(dx.data(), grad_x + t * args.C, n);
        if (grad_gate != nullptr) store(dgate.data(), grad_gate + t * args.C, n);
      }
    }
    if (args.grad_initial != nullptr) std::copy_n(dh.data(), n, at<A>(args.grad_initial, b * args.C + c));
  });
}

}  // namespace

void gated_recurrence_forward(const GatedRecurrenceArgs& args) {
  visit_float(args.dtype, "gated_recurrence", [&]<class T>() { forward<T>(args); });
}

void gated_recurrence_backward(const GatedRecurrenceBackwardArgs& args) {
  visit_float(args.dtype, "gated_recurrence", [&]<class T>() { backward<T>(args); });
}

}  // namespace ratel::cpu
