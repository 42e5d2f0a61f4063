#pragma once

#include <Eigen/Core>
#include <cmath>
#include <limits>

#include "ops/cpu/blocks.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/key_runs.h"
#include "ops/cpu/scratch.h"

namespace ratel::cpu {

/// Rows of one operand of one head: row t starts at data + t * step.
template <class A>
struct Rows {
  A* data;
  int64_t step;
  [[nodiscard]] A* operator[](int64_t t) const { return data + t * step; }
};

/// One head's keys and values, row t of token t, and who sees them.
template <class A>
struct Head {
  Rows<const A> k, v;
  int64_t d;
  Pattern pattern;

  [[nodiscard]] const A* own_key(int64_t i) const { return k[i]; }
  [[nodiscard]] const A* own_value(int64_t i) const { return v[i]; }
  template <class F>
  void for_each_run(int64_t begin, int64_t end, F&& f) const {
    for_each_key_run(pattern, begin, end, std::forward<F>(f));
  }
  [[nodiscard]] Rows<const A> keys_of(const KeyRun& run) const { return {k[run.first], k.step * run.step}; }
  [[nodiscard]] Rows<const A> values_of(const KeyRun& run) const { return {v[run.first], v.step * run.step}; }
};

/// Attention of a tile of queries by the online softmax, and its backward. One object a task: it owns the scratch.
///
/// Forward: the SELF term is the softmax's initial state (m = q_i . k_i, l = 1, o = v_i); then every run of keys is one
/// block of scores: S = Q K^T by gemm, the row's maximum and sum are updated, O = O corr + P V by gemm. Dilated keys
/// are a strided matrix to gemm: nothing is gathered. Backward: with the saved log-sum-exp every block is recomputed on
/// its own: P = exp(S - lse), dP = dO V^T, dS = P (dP - delta), and dQ += dS K, dK += dS^T Q, dV += P^T dO. Cost: 4 d
/// flops a visible pair forward, 10 d backward. Bound by gemm on blocks that stay in the second-level cache.
template <class A>
class AttentionTile {
 public:
  explicit AttentionTile(int64_t d) : scores_(kQueryTile * kKeyTile), d_(d), scale_(1 / std::sqrt(static_cast<A>(d))) {}

  /// Queries [begin, begin + n), n <= kQueryTile; q[0] is query `begin`. Writes out (n, d), and lse (n) where it is not
  /// null. Keys is Head, or says as it does where the keys of a run are.
  template <class Keys>
  void forward(const Keys& head, Rows<const A> q, int64_t begin, int64_t n, Rows<A> out, A* lse) {
    std::array<A, kQueryTile> largest, total;
    for (int64_t r = 0; r < n; ++r) {
      largest[index(r)] = scale_ * row(q[r]).dot(row(head.own_key(begin + r)));
      total[index(r)] = 1;
      row(out[r]) = row(head.own_value(begin + r));
    }
    head.for_each_run(begin, begin + n, [&](const KeyRun& run) {
      const int64_t r0 = run.row_begin - begin, rows = run.row_end - run.row_begin;
      const Rows<const A> values = head.values_of(run);
      score_block(head.keys_of(run), run, q.data + r0 * q.step, q.step);
      for (int64_t r = 0; r < rows; ++r) {
        const auto s = visible(run, r);
        if (s.size() == 0) continue;
        A& m = largest[index(r0 + r)];
        const A next = std::max(m, s.maxCoeff());
        const A correction = std::exp(m - next);
        m = next;
        auto p = mutable_visible(run, r);
        p = (s - next).exp();
        total[index(r0 + r)] = total[index(r0 + r)] * correction + p.sum();
        if (correction != 1) row(out[r0 + r]) *= correction;
      }
      gemm<A>(Transpose::no, Transpose::no, rows, d_, run.count, 1, scores_.get(), run.count, values.data, values.step,
              1, out[r0], out.step);
    });
    for (int64_t r = 0; r < n; ++r) {
      row(out[r]) /= total[index(r)];
      if (lse != nullptr) lse[r] = largest[index(r)] + std::log(total[index(r)]);
    }
  }

  /// The sum of products of two rows, added in the order that backward uses: a query that sees itself alone then gets a
  /// score gradient of exactly 0.
  [[nodiscard]] A dot(const A* x, const A* y) const { return row(x).dot(row(y)); }

  /// The same queries. grad_out (n, d); delta[r] = grad_out . out - grad_lse. Writes grad_q (n, d), and adds to grad_k
  /// and grad_v, whose row t belongs to token t.
  void backward(const Head<A>& head, Rows<const A> q, int64_t begin, int64_t n, Rows<const A> grad_out, const A* lse,
                const A* delta, Rows<A> grad_q, Rows<A> grad_k, Rows<A> grad_v) {
    if (!grads_) grads_ = Scratch<A>(kQueryTile * kKeyTile);
    for (int64_t r = 0; r < n; ++r) {
      const auto k = row(head.own_key(begin + r)), v = row(head.own_value(begin + r)), grad = row(grad_out[r]);
      const A p = std::exp(scale_ * row(q[r]).dot(k) - lse[r]);
      const A ds = scale_ * p * (grad.dot(v) - delta[r]);
      row(grad_q[r]) = ds * k;
      row(grad_k[begin + r]) += ds * row(q[r]);
      row(grad_v[begin + r]) += p * grad;
    }
    head.for_each_run(begin, begin + n, [&](const KeyRun& run) {
      const int64_t r0 = run.row_begin - begin, rows = run.row_end - run.row_begin, count = run.count;
      const Rows<const A> keys = head.keys_of(run), values = head.values_of(run);
      const A *q0 = q.data + r0 * q.step, *grad0 = grad_out.data + r0 * grad_out.step;
      score_block(keys, run, q0, q.step);
      gemm<A>(Transpose::no, Transpose::yes, rows, count, d_, 1, grad0, grad_out.step, values.data, values.step, 0,
              grads_.get(), count);
      for (int64_t r = 0; r < rows; ++r) {
        visible(run, r);  // zeroes what the query does not see
        auto p = mutable_visible(run, r);
        p = (p - lse[r0 + r]).exp();
        Array<A> all(scores_.get() + r * count, count), ds(grads_.get() + r * count, count);
        ds = scale_ * all * (ds - delta[r0 + r]);
      }
      gemm<A>(Transpose::yes, Transpose::no, count, d_, rows, 1, scores_.get(), count, grad0, grad_out.step, 1,
              grad_v[run.first], grad_v.step * run.step);
      gemm<A>(Transpose::yes, Transpose::no, count, d_, rows, 1, grads_.get(), count, q0, q.step, 1, grad_k[run.first],
              grad_k.step * run.step);
      gemm<A>(Transpose::no, Transpose::no, rows, d_, count, 1, grads_.get(), count, keys.data, keys.step, 1,
              grad_q[r0], grad_q.step);
    });
  }

 private:
  static size_t index(int64_t r) { return static_cast<size_t>(r); }
  using Vector = Eigen::Matrix<A, Eigen::Dynamic, 1>;
  [[nodiscard]] Eigen::Map<const Vector> row(const A* data) const { return {data, d_}; }
  [[nodiscard]] Eigen::Map<Vector> row(A* data) const { return {data, d_}; }

  /// scores = scale Q K^T for the run's rows and keys.
  void score_block(Rows<const A> keys, const KeyRun& run, const A* q, int64_t q_step) {
    gemm<A>(Transpose::no, Transpose::yes, run.row_end - run.row_begin, run.count, d_, scale_, q, q_step, keys.data,
            keys.step, 0, scores_.get(), run.count);
  }

  [[nodiscard]] Array<A> mutable_visible(const KeyRun& run, int64_t r) const {
    const int64_t i = run.row_begin + r, low = run.low(i);
    return {scores_.get() + r * run.count + low, std::max<int64_t>(0, run.high(i) - low)};
  }

  /// The scores of the keys that row r sees; outside of them the block is made 0, skipped ones between them -inf.
  ConstArray<A> visible(const KeyRun& run, int64_t r) {
    const int64_t i = run.row_begin + r, low = run.low(i), high = std::max(low, run.high(i));
    A* scores = scores_.get() + r * run.count;
    std::fill(scores, scores + low, A{0});
    std::fill(scores + high, scores + run.count, A{0});
    if (run.skip != 0)
      for (int64_t c = run.next_skipped(low); c < high; c += run.skip) scores[c] = -std::numeric_limits<A>::infinity();
    return {scores + low, high - low};
  }

  Scratch<A> scores_, grads_;
  int64_t d_;
  A scale_;
};

}  // namespace ratel::cpu
