// Dilated attention on the CPU: tiles of 64 queries by runs of at most 256 keys (attention_tile.h).
//
// Forward: every tile of queries is a task. Backward: a task owns a stretch of the queries of one head, walks its tiles
// in order and adds to key and value gradients of its own, which are summed in order afterwards. How many stretches
// there are depends on the shapes alone, so that the number of threads changes no bit.
// bf16 keys and values are converted once, queries a tile or stretch at a time. Memory: O(T d) a task, and for bf16
// keys and values in f32.

#include "ops/dilated_attention.h"

#include "ops/cpu/attention_operand.h"
#include "ops/cpu/attention_tile.h"
#include "ops/cpu/stretches.h"

namespace ratel::cpu {
namespace {

template <class T>
void forward(const DilatedAttentionArgs& args) {
  using A = accumulate_t<T>;
  const int64_t N = args.T, d = args.d, heads = args.B * args.H;
  const Operand<T> k(args.k, args.H, 0, heads, 0, N, d), v(args.v, args.H, 0, heads, 0, N, d);
  const Stretches tiles(heads, N, kQueryTile);
  tiles.for_each([&](int64_t head_index, int64_t begin, int64_t end) {
    const Operand<T> q(args.q, args.H, head_index, head_index + 1, begin, end, d);
    const Head<A> head{k.rows(head_index), v.rows(head_index), d, args.patterns[head_index % args.H]};
    AttentionTile<A> tile(d);
    const Scratch<A> out(kQueryTile * d);
    const int64_t at = head_index * N + begin;
    tile.forward(head, q.rows(head_index, begin), begin, end - begin, {out.get(), d}, static_cast<A*>(args.lse) + at);
    store(out.get(), static_cast<T*>(args.out) + at * d, (end - begin) * d);
  });
}

template <class T>
void backward(const DilatedAttentionBackwardArgs& args) {
  using A = accumulate_t<T>;
  const int64_t N = args.T, d = args.d, heads = args.B * args.H;
  const Operand<T> k(args.k, args.H, 0, heads, 0, N, d), v(args.v, args.H, 0, heads, 0, N, d);
  const Stretches stretches = Stretches::for_backward(heads, N);
  KeyGradients<A> key_grads(stretches, d);
  stretches.for_each([&](int64_t head_index, int64_t begin, int64_t end) {
    const Operand<T> q(args.q, args.H, head_index, head_index + 1, begin, end, d);
    const Head<A> head{k.rows(head_index), v.rows(head_index), d, args.patterns[head_index % args.H]};
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
      tile.backward(head, q.rows(head_index, i), i, n, {grad_out.get(), d}, static_cast<const A*>(args.lse) + at,
                    delta.data(), {grad_q.get(), d}, grad_k, grad_v);
      store(grad_q.get(), static_cast<T*>(args.grad_q) + at * d, n * d);
    }
  });
  parallel_for(heads, 1, [&](int64_t first, int64_t last) {
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
