// Dilated attention on the CPU: tiles of 64 queries by runs of at most 256 keys (attention_tile.h).
//
// Forward: every tile of queries is a task. Backward: a task owns a stretch of the queries of one head, walks its tiles
// in order and adds to key and value gradients of its own, which are summed in order afterwards. How many stretches
// there are depends on the shapes alone, so that the number of threads changes no bit.
// bf16 operands are converted a head at a time. Memory: O(T d) a task.

#include "ops/dilated_attention.h"

#include "ops/cpu/attention_tile.h"
#include "ops/cpu/stretches.h"

namespace ratel::cpu {
namespace {

/// Tokens [begin, end) of one head of an operand in the type they are computed in: the memory itself, or a converted
/// copy.
template <class T>
class HeadRows {
  using A = accumulate_t<T>;

 public:
  HeadRows(const AttentionOperand& x, int64_t b, int64_t h, int64_t begin, int64_t end, int64_t d) : begin_(begin) {
    const T* data = static_cast<const T*>(x.data) + b * x.batch + h * x.head + begin * x.time;
    if constexpr (std::is_same_v<T, A>) {
      rows_ = {data, x.time};
    } else {
      copy_ = Scratch<A>((end - begin) * d);
      for (int64_t t = 0; t < end - begin; ++t) load(data + t * x.time, copy_.get() + t * d, d);
      rows_ = {copy_.get(), d};
    }
  }
  /// The rows from token t on.
  [[nodiscard]] Rows<const A> from(int64_t t) const { return {rows_[t - begin_], rows_.step}; }

 private:
  int64_t begin_;
  Scratch<A> copy_;
  Rows<const A> rows_{};
};

template <class T>
void forward(const DilatedAttentionArgs& args) {
  using A = accumulate_t<T>;
  const int64_t N = args.T, d = args.d;
  // bf16 converts a head's keys once a stretch of queries, not once a tile.
  const Stretches stretches(args.B * args.H, N, std::is_same_v<T, A> ? kQueryTile : 16 * kQueryTile);
  stretches.for_each([&](int64_t head_index, int64_t begin, int64_t end) {
    const int64_t b = head_index / args.H, h = head_index % args.H;
    const HeadRows<T> q(args.q, b, h, begin, end, d), k(args.k, b, h, 0, end, d), v(args.v, b, h, 0, end, d);
    const Head<A> head{k.from(0), v.from(0), d, args.patterns[h]};
    AttentionTile<A> tile(d);
    const Scratch<A> out(kQueryTile * d);
    for (int64_t i = begin; i < end; i += kQueryTile) {
      const int64_t n = std::min(kQueryTile, end - i);
      tile.forward(head, q.from(i), i, n, {out.get(), d}, static_cast<A*>(args.lse) + head_index * N + i);
      store(out.get(), static_cast<T*>(args.out) + (head_index * N + i) * d, n * d);
    }
  });
}

template <class T>
void backward(const DilatedAttentionBackwardArgs& args) {
  using A = accumulate_t<T>;
  const int64_t N = args.T, d = args.d;
  const Stretches stretches = Stretches::for_backward(args.B * args.H, N);
  KeyGradients<A> key_grads(stretches, d);
  stretches.for_each([&](int64_t head_index, int64_t begin, int64_t end) {
    const int64_t b = head_index / args.H, h = head_index % args.H;
    const HeadRows<T> q(args.q, b, h, begin, end, d), k(args.k, b, h, 0, end, d), v(args.v, b, h, 0, end, d);
    const Head<A> head{k.from(0), v.from(0), d, args.patterns[h]};
    const auto [grad_k, grad_v] = key_grads.of(head_index, begin);
    AttentionTile<A> tile(d);
    const Scratch<A> grad_out(kQueryTile * d), out(kQueryTile * d), grad_q(kQueryTile * d);
    std::array<A, kQueryTile> delta;
    for (int64_t i = begin; i < end; i += kQueryTile) {
      const int64_t n = std::min(kQueryTile, end - i), at = head_index * N + i;
      load(static_cast<const T*>(args.grad_out) + at * d, grad_out.get(), n * d);
      load(static_cast<const T*>(args.out) + at * d, out.get(), n * d);
      for (int64_t r = 0; r < n; ++r) {
        const A from_lse = args.grad_lse == nullptr ? A{0} : static_cast<const A*>(args.grad_lse)[at + r];
        delta[static_cast<size_t>(r)] = tile.dot(grad_out.get() + r * d, out.get() + r * d) - from_lse;
      }
      tile.backward(head, q.from(i), i, n, {grad_out.get(), d}, static_cast<const A*>(args.lse) + at, delta.data(),
                    {grad_q.get(), d}, grad_k, grad_v);
      store(grad_q.get(), static_cast<T*>(args.grad_q) + at * d, n * d);
    }
  });
  parallel_for(args.B * args.H, 1, [&](int64_t first, int64_t last) {
    for (int64_t head_index = first; head_index < last; ++head_index) {
      const auto [grad_k, grad_v] = key_grads.total(head_index);
      store(grad_k.data, static_cast<T*>(args.grad_k) + head_index * N * d, N * d);
      store(grad_v.data, static_cast<T*>(args.grad_v) + head_index * N * d, N * d);
    }
  });
}

}  // namespace

void dilated_attention_forward(const DilatedAttentionArgs& args) {
  visit_float(args.dtype, "dilated_attention", [&]<class T>() { forward<T>(args); });
}

void dilated_attention_backward(const DilatedAttentionBackwardArgs& args) {
  visit_float(args.dtype, "dilated_attention", [&]<class T>() { backward<T>(args); });
}

}  // namespace ratel::cpu
