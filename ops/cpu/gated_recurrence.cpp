// Gated recurrence along time on the CPU.
//
// A task owns one batch entry and a strip of channels, and walks time with the strip's state in the first-level cache:
// rows are read and written once, in time order. A strip is a whole row where the batch alone keeps the threads busy:
// memory is then read from end to end, about twice as fast as in pieces of rows. Channels are independent, so results
// do not depend on the tasks.
//   forward   reads gate and x, writes h:                        12 B an f32 element
//   backward  reads gate and x for the states before the chunks, and again with grad_h (a third reading of a chunk comes
//             from cache); writes both grads:  28 B
// Bound by memory bandwidth: the arithmetic is 4 flops an element, 15 backward.

#include "ops/gated_recurrence.h"

#include <utility>

#include "ops/cpu/blocks.h"
#include "ops/cpu/scan.h"
#include "ops/cpu/scratch.h"
#include "ops/threads.h"

namespace ratel::cpu {
namespace {

constexpr int64_t kNarrowest = 128;  // channels of a task: several cache lines of every row,
constexpr int64_t kWidest = 1024;    // and a chunk of backward's states still fits the second-level cache

template <class T>
const T* at(const void* data, int64_t offset) {
  return data == nullptr ? nullptr : static_cast<const T*>(data) + offset;
}
template <class T>
T* at(void* data, int64_t offset) {
  return data == nullptr ? nullptr : static_cast<T*>(data) + offset;
}

/// Calls f(b, c, n) for every batch entry and strip of n channels from c, two or more of them a thread.
template <class F>
void for_each_strip(int64_t B, int64_t C, F&& f) {
  const int64_t wanted = std::max<int64_t>(1, (int64_t{2} * num_threads() + B - 1) / std::max<int64_t>(1, B));
  const int64_t lines = (C + 16 * wanted - 1) / (16 * wanted);
  const int64_t width = std::clamp(16 * lines, kNarrowest, kWidest), strips = (C + width - 1) / width;
  parallel_for(B * strips, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t c = task % strips * width;
      f(task / strips, c, std::min(width, C - c));
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
    const Scratch<A> state(n);
    start_state(args.initial, b * args.C + c, n, state.get());
    const T* gate = at<T>(args.gate, b * args.gate_batch_stride + c);
    const T* x = at<T>(args.x, b * args.x_batch_stride + c);
    T* h = at<T>(args.h, b * args.T * args.C + c);
    for (int64_t t = 0; t < args.T; ++t) {
      scan_step(n, gate + t * args.gate_time_stride, x + t * args.x_time_stride, state.get(), state.get());
      store(state.get(), h + t * args.C, n);
    }
    std::copy_n(state.get(), n, at<A>(args.last, b * args.C + c));
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
    const auto step = [&](int64_t t, const A* from, A* to) {
      scan_step(n, gate + t * args.gate_time_stride, x + t * args.x_time_stride, from, to);
    };
    // The state before every chunk,
    const Scratch<A> carries(chunks * n), dh(n);
    start_state(args.initial, b * args.C + c, n, carries.get());
    for (int64_t chunk = 0; chunk + 1 < chunks; ++chunk) {
      const A* before = carries.get() + chunk * n;
      A* state = carries.get() + (chunk + 1) * n;
      for (int64_t t = chunk * kScanChunk; t < (chunk + 1) * kScanChunk; ++t)
        step(t, std::exchange(before, state), state);
    }
    // then chunk by chunk from the last: the states before every token, and the gradients in falling order of time.
    const Scratch<A> states(kScanChunk * n);
    const Scratch<T> no_grad(n), unwanted(n);
    std::fill_n(no_grad.get(), n, T{});
    if (args.grad_last == nullptr)
      std::fill_n(dh.get(), n, A{0});
    else
      std::copy_n(at<A>(args.grad_last, b * args.C + c), n, dh.get());
    for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
      const int64_t first = chunk * kScanChunk, end = std::min(args.T, first + kScanChunk);
      const auto before = [&](int64_t t) {
        return (t == first ? carries.get() + chunk * n : states.get() + (t - first) * n);
      };
      for (int64_t t = first; t + 1 < end; ++t) step(t, before(t), before(t + 1));
      for (int64_t t = end - 1; t >= first; --t)
        scan_step_backward(n, gate + t * args.gate_time_stride, x + t * args.x_time_stride, before(t),
                           grad_h == nullptr ? no_grad.get() : grad_h + t * args.C, dh.get(),
                           grad_x == nullptr ? unwanted.get() : grad_x + t * args.C,
                           grad_gate == nullptr ? unwanted.get() : grad_gate + t * args.C);
    }
    if (args.grad_initial != nullptr) std::copy_n(dh.get(), n, at<A>(args.grad_initial, b * args.C + c));
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
