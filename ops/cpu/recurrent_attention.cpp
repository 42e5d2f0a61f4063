// The fused core of a RAT+ layer on the CPU, in three passes over heads:
//   1. recurrence (a task: one head): walks time, reads k, v and g of the projection once, and writes that head's
//      rope(k~) and v~, (T, d) each; the gate and the two states stay in the first-level cache
//   2. attention (a task: a tile of queries forward, a stretch of them backward): rotates q, attention_tile.h, gate
//   3. backward only (a task: one head): sums key and value gradients, turns them back, and walks time down through the
//      recurrence, whose states are computed again by chunks from those that pass 1 kept every kScanChunk tokens
// Bytes of an f32 token and channel: 20 read of the projection, 8 + 8 for k~ and v~, 4 written; attention is bound by
// gemm, the rest by memory. Scratch: 2 T d a head forward, 4 T d and the stretches' backward: linear in T.

#include "ops/recurrent_attention.h"

#include "ops/cpu/attention_tile.h"
#include "ops/cpu/projection.h"
#include "ops/cpu/rope_table.h"
#include "ops/cpu/stretches.h"

namespace ratel::cpu {
namespace {

using Part = ProjectionPart;

template <class T, class Args>
Projection<T> projection_of(const Args& args) {
  return {args.projection, args.T, args.C, args.H, args.recurrence};
}

/// Pass 1. Keys (turned) and values of every head, and, for backward, the key and value states before every chunk.
template <class T>
class Scanned {
  using A = accumulate_t<T>;

 public:
  template <class Args>
  Scanned(const Args& args, const RopeTable<A>& rope, bool keep_carries)
      : p_(projection_of<T>(args)), chunks_((args.T + kScanChunk - 1) / kScanChunk) {
    const int64_t heads = args.B * args.H, d = p_.d;
    keys_ = Scratch<A>(heads * p_.T_ * d);
    values_ = Scratch<A>(heads * p_.T_ * d);
    if (keep_carries && p_.gated) carries_ = Scratch<A>(heads * chunks_ * 2 * d);
    parallel_for(heads, 1, [&](int64_t first, int64_t last) {
      const Scratch<A> gate(d), state(2 * d);
      for (int64_t head = first; head < last; ++head) {
        std::fill_n(state.get(), 2 * d, A{0});
        for (int64_t t = 0; t < p_.T_; ++t) {
          if (carries_ && t % kScanChunk == 0) std::copy_n(state.get(), 2 * d, carry(head, t));
          p_.step(head, t, gate.get(), state.get(), state.get());
          rope.rotate(t, state.get(), keys(head) + t * d, 1);
          std::copy_n(state.get() + d, d, values(head) + t * d);
        }
      }
    });
  }

  [[nodiscard]] A* keys(int64_t head) const { return keys_.get() + head * p_.T_ * p_.d; }
  [[nodiscard]] A* values(int64_t head) const { return values_.get() + head * p_.T_ * p_.d; }
  [[nodiscard]] A* carry(int64_t head, int64_t t) const {
    return carries_.get() + (head * chunks_ + t / kScanChunk) * 2 * p_.d;
  }
  [[nodiscard]] Head<A> head(int64_t head, const Pattern* patterns) const {
    return {{keys(head), p_.d}, {values(head), p_.d}, p_.d, patterns[head % p_.H]};
  }

 private:
  Projection<T> p_;
  int64_t chunks_;
  Scratch<A> keys_, values_, carries_;
};

/// The turned queries of a tile, (n, d).
template <class T, class A>
void load_queries(const Projection<T>& p, const RopeTable<A>& rope, int64_t head, int64_t begin, int64_t n, A* q) {
  for (int64_t r = 0; r < n; ++r) {
    const auto row = p.load(head, Part::query, begin + r);
    rope.rotate(begin + r, (*row).data(), q + r * p.d, 1);
  }
}

template <class T>
void forward(const RecurrentAttentionArgs& args) {
  using A = accumulate_t<T>;
  const auto p = projection_of<T>(args);
  const auto rope = rope_table<A>(0, p.T_, p.d, args.rope_base);
  const Scanned<T> scanned(args, *rope, false);
  const Stretches tiles(args.B * args.H, p.T_, kQueryTile);
  tiles.for_each([&](int64_t head, int64_t begin, int64_t end) {
    const int64_t n = end - begin, d = p.d;
    AttentionTile<A> tile(d);
    const auto q = Scratch<A>(2 * n * d);
    A* a = q.get() + n * d;
    load_queries(p, *rope, head, begin, n, q.get());
    tile.forward(scanned.head(head, args.patterns), {q.get(), d}, begin, n, {a, d},
                 static_cast<A*>(args.lse) + head * p.T_ + begin);
    for (int64_t r = 0; r < n; ++r) {
      Array<A> row(a + r * d, d);
      row *= sigmoid(*p.load(head, Part::output_gate, begin + r));
      store(row.data(), static_cast<T*>(args.out) + p.out_offset(head, begin + r), d);
    }
  });
}

/// Pass 2 backward of one tile: grad_out of the attention from the gated gradient, delta, and the output gate's
/// gradient. The attention itself is not needed:
///   out = a s, s = sigmoid(o):   da = grad s;   do = grad out (1 - s);   delta = da . a = grad . out
template <class T, class A>
void ungate(const Projection<T>& p, const RecurrentAttentionBackwardArgs& args, int64_t head, int64_t begin, int64_t n,
            A* grad_attention, A* delta) {
  const int64_t d = p.d;
  const Scratch<A> grad_gate(d);
  for (int64_t r = 0; r < n; ++r) {
    const int64_t at = p.out_offset(head, begin + r);
    const Loaded<T> grad(static_cast<const T*>(args.grad) + at, d), out(static_cast<const T*>(args.out) + at, d);
    Array<A> da(grad_attention + r * d, d), ds(grad_gate.get(), d);
    ds = sigmoid(*p.load(head, Part::output_gate, begin + r));
    da = *grad * ds;
    const auto terms = *grad * *out;
    delta[r] = terms.sum();
    ds = terms * (1 - ds);
    store(ds.data(), static_cast<T*>(args.grad_projection) + p.offset(head, Part::output_gate, begin + r), d);
  }
}

/// One token of one head on the way back, both scans in one sweep. dk and dv come as g[t+1] dh[t+1] and leave as
/// g[t] dh[t]; the gate's gradient goes on through its sigmoid.
template <class T, class A>
struct ScanBackward {
  const A *gate, *before, *grad_k, *grad_v;  // before: key and value state of the token before
  const T *k, *v;
  A *dk, *dv;
  T *grad_k_out, *grad_v_out, *grad_gate_out;

  void step(int64_t d) const {
    const auto [gate_, before_, grad_k_, grad_v_, k_, v_, dk_, dv_, to_k, to_v, to_gate] = *this;
#pragma GCC ivdep
    for (int64_t c = 0; c < d; ++c) {
      const A g = gate_[c], key = grad_k_[c] + dk_[c], value = grad_v_[c] + dv_[c];
      const A of_gate = key * (before_[c] - static_cast<A>(k_[c])) + value * (before_[d + c] - static_cast<A>(v_[c]));
      dk_[c] = g * key;
      dv_[c] = g * value;
      to_k[c] = static_cast<T>((1 - g) * key);
      to_v[c] = static_cast<T>((1 - g) * value);
      to_gate[c] = static_cast<T>(of_gate * g * (1 - g));
    }
  }
};

/// Pass 3 of one head: gradients of the turned keys and of the values, (T, d), to those of k, v and g.
template <class T, class A>
void scan_backward(const Projection<T>& p, const Scanned<T>& scanned, const RopeTable<A>& rope,
                   const RecurrentAttentionBackwardArgs& args, int64_t head, A* grad_keys, A* grad_values) {
  const int64_t d = p.d;
  const auto to = [&](Part part, int64_t t) { return static_cast<T*>(args.grad_projection) + p.offset(head, part, t); };
  if (args.recurrence == Recurrence::none) {
    for (int64_t t = 0; t < p.T_; ++t) {
      rope.rotate(t, grad_keys + t * d, grad_keys + t * d, -1);
      store(grad_keys + t * d, to(Part::key, t), d);
      store(grad_values + t * d, to(Part::value, t), d);
    }
    return;
  }
  const Scratch<A> carried(2 * d), turned(d), gates(kScanChunk * d), states((kScanChunk + 1) * 2 * d);
  std::fill_n(carried.get(), 2 * d, A{0});
  for (int64_t first = (p.T_ - 1) / kScanChunk * kScanChunk; first >= 0; first -= kScanChunk) {
    const int64_t end = std::min(p.T_, first + kScanChunk);
    std::copy_n(scanned.carry(head, first), 2 * d, states.get());
    for (int64_t t = first; t < end; ++t) {
      A* before = states.get() + (t - first) * 2 * d;
      p.step(head, t, gates.get() + (t - first) * d, before, before + 2 * d);
    }
    for (int64_t t = end - 1; t >= first; --t) {
      rope.rotate(t, grad_keys + t * d, turned.get(), -1);
      ScanBackward<T, A>{.gate = gates.get() + (t - first) * d,
                         .before = states.get() + (t - first) * 2 * d,
                         .grad_k = turned.get(),
                         .grad_v = grad_values + t * d,
                         .k = p.row(head, Part::key, t),
                         .v = p.row(head, Part::value, t),
                         .dk = carried.get(),
                         .dv = carried.get() + d,
                         .grad_k_out = to(Part::key, t),
                         .grad_v_out = to(Part::value, t),
                         .grad_gate_out = to(Part::gate, t)}
          .step(d);
    }
  }
}

template <class T>
void backward(const RecurrentAttentionBackwardArgs& args) {
  using A = accumulate_t<T>;
  const auto p = projection_of<T>(args);
  const int64_t d = p.d, heads = args.B * args.H;
  const auto rope = rope_table<A>(0, p.T_, d, args.rope_base);
  const Scanned<T> scanned(args, *rope, true);
  const Stretches stretches = Stretches::for_backward(heads, p.T_);
  KeyGradients<A> key_grads(stretches, d);
  stretches.for_each([&](int64_t head, int64_t begin, int64_t end) {
    const auto [grad_k, grad_v] = key_grads.of(head, begin);
    AttentionTile<A> tile(d);
    const auto buffers = Scratch<A>(3 * kQueryTile * d);
    A *q = buffers.get(), *grad_a = q + kQueryTile * d, *grad_q = grad_a + kQueryTile * d;
    std::array<A, kQueryTile> delta;
    for (int64_t i = begin; i < end; i += kQueryTile) {
      const int64_t n = std::min(kQueryTile, end - i);
      load_queries(p, *rope, head, i, n, q);
      ungate(p, args, head, i, n, grad_a, delta.data());
      tile.backward(scanned.head(head, args.patterns), {q, d}, i, n, {grad_a, d},
                    static_cast<const A*>(args.lse) + head * p.T_ + i, delta.data(), {grad_q, d}, grad_k, grad_v);
      for (int64_t r = 0; r < n; ++r) {
        rope->rotate(i + r, grad_q + r * d, grad_q + r * d, -1);
        store(grad_q + r * d, static_cast<T*>(args.grad_projection) + p.offset(head, Part::query, i + r), d);
      }
    }
  });
  parallel_for(heads, 1, [&](int64_t first, int64_t last) {
    for (int64_t head = first; head < last; ++head) {
      const auto [grad_k, grad_v] = key_grads.total(head);
      scan_backward(p, scanned, *rope, args, head, grad_k.data, grad_v.data);
    }
  });
}

}  // namespace

void recurrent_attention_forward(const RecurrentAttentionArgs& args) {
  visit_float(args.dtype, "recurrent_attention", [&]<class T>() { forward<T>(args); });
}

void recurrent_attention_backward(const RecurrentAttentionBackwardArgs& args) {
  visit_float(args.dtype, "recurrent_attention", [&]<class T>() { backward<T>(args); });
}

}  // namespace ratel::cpu
