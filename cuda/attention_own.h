#pragma once

#include <cmath>

#include "cuda/attention_keys.h"

namespace ratel::cuda {

/// Backward, the term of a query's own key: delta = grad_out . out - grad_lse, p = exp(s_ii - lse) and
/// ds = p (grad_out . v_i - delta) / sqrt d.
template <class A>
struct OwnTerm {
  A delta, p, ds;
};

/// Computed by kLanes neighbouring lanes, N channels each at a time. grad . v and grad . out are added in one order: of
/// a query that sees itself alone both are the same bits, and ds is exactly 0 without grad_lse; where out is a gated
/// one divided by its gate (recurrent_attention), ds is what the rounding leaves.
template <int kLanes, int N, class T, class A = accumulate_t<T>>
__device__ OwnTerm<A> own_term(int64_t d, const T* q, const T* k, const T* v, const T* out, const T* grad, A lse,
                               A grad_lse) {
  A score = 0, grad_v = 0, grad_out = 0;
  for (int64_t c = lane_index() % kLanes * N; c < d; c += kLanes * N) {
    const auto q_c = load_vec<N>(q + c), k_c = load_vec<N>(k + c), v_c = load_vec<N>(v + c),
               out_c = load_vec<N>(out + c), grad_c = load_vec<N>(grad + c);
    for (int n = 0; n < N; ++n) {
      const A slope = convert_element<A>(grad_c.at[n]);
      score += convert_element<A>(q_c.at[n]) * convert_element<A>(k_c.at[n]);
      grad_v += slope * convert_element<A>(v_c.at[n]);
      grad_out += slope * convert_element<A>(out_c.at[n]);
    }
  }
  const A scale = 1 / std::sqrt(static_cast<A>(d));
  const A delta = lanes_sum<kLanes>(grad_out) - grad_lse;
  const A p = std::exp(scale * lanes_sum<kLanes>(score) - lse);
  return {delta, p, scale * p * (lanes_sum<kLanes>(grad_v) - delta)};
}

/// to = factor from, by the same lanes.
template <int kLanes, int N, class T>
__device__ void scale_row(int64_t d, accumulate_t<T> factor, const T* from, T* to) {
  using A = accumulate_t<T>;
  for (int64_t c = lane_index() % kLanes * N; c < d; c += kLanes * N) {
    const auto values = load_vec<N>(from + c);
    Vec<T, N> scaled;
    for (int i = 0; i < N; ++i) scaled.at[i] = round_to<T>(factor * convert_element<A>(values.at[i]));
    store_vec(to + c, scaled);
  }
}

/// Row i of a head: its statistics, and where no other query sees the key, the key's gradients.
template <int kLanes, int N, class T, class A = accumulate_t<T>>
__device__ void store_own_term(const AttentionBackwardArgs& args, const AttentionStatistics& statistics,
                               const BlockOfHead& block, int64_t i, const OwnTerm<A>& term, const T* q, const T* grad,
                               bool is_alone) {
  if (lane_index() % kLanes == 0) {
    static_cast<A*>(statistics.delta)[block.row + i] = term.delta;
    static_cast<A*>(statistics.p)[block.row + i] = term.p;
    static_cast<A*>(statistics.ds)[block.row + i] = term.ds;
  }
  if (!is_alone) return;
  scale_row<kLanes, N>(args.shape.d, term.ds, q, head_rows<T>(args.grad_k, block.b, block.h)[i]);
  scale_row<kLanes, N>(args.shape.d, term.p, grad, head_rows<T>(args.grad_v, block.b, block.h)[i]);
}

}  // namespace ratel::cuda
