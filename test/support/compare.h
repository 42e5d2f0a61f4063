#pragma once

#include <boost/test/unit_test.hpp>
#include <functional>
#include <string>
#include <vector>

#include "core/rng.h"
#include "core/tensor.h"

namespace ratel::test {

/// Largest |a - b| over the largest |b| (over 1e-300 where b is all zeros); infinite where a holds a NaN or the shapes
/// differ.
double relative_error(const Tensor& a, const Tensor& b);

/// BOOST_CHECKs that relative_error(a, b) <= tolerance, printing both shapes and the worst element.
void check_close(const Tensor& a, const Tensor& b, double tolerance, const std::string& what);

enum class Tail { bounded, heavy };

/// The rule for low precision: a kernel may err against the f64 truth at most twice as much as `plain`, the composed
/// version in the same dtype, does: in its worst element, measured against the tensor's largest magnitude, and in the
/// rows of the last axis, each measured against its own: their median, and the 90th and 99th hundredth of them.
///
/// Rounding is chance: of a few rows the plain version's may all be lucky, and a row that happens to cancel has no size
/// to be measured by. So errors are collected over several draws of the inputs, rows of less than 16 numbers are joined
/// until they have them, and it is quantiles that are compared, not the worst of a heavy tail: one that would be the
/// worst row is left out. Where plain happens to be exact, rounding of the dtype itself is granted (one half
/// ulp).
class RoundingErrors {
 public:
  /// Where sums are truncated, as tensor cores do in f32, a whole ulp is what the dtype itself costs: two halves.
  explicit RoundingErrors(int half_ulps = 1) : half_ulps_(half_ulps) {}
  /// One draw. `computed` is the dtype the values were rounded to, where they are kept in a wider one (the gradient of
  /// a bf16 leaf).
  void add(const Tensor& fast, const Tensor& plain, const Tensor& exact, DType computed);
  void add(const Tensor& fast, const Tensor& plain, const Tensor& exact) { add(fast, plain, exact, plain.dtype()); }
  /// BOOST_CHECKs the rule; with a heavy tail without the 99th hundredth.
  void check(const std::string& what, Tail tail = Tail::bounded) const;

 private:
  struct Side {
    double worst = 0;
    std::vector<double> rows;
  };
  Side ours_, theirs_;
  int half_ulps_;
  /// Rows that do not have 16 numbers yet: how many, their largest magnitude, the errors.
  size_t width_ = 0;
  double size_ = 0, ours_so_far_ = 0, theirs_so_far_ = 0, ulp_ = 0;
};

/// The rule on a single draw, for tensors of many rows.
void check_within_twice(const Tensor& fast, const Tensor& plain, const Tensor& exact, const std::string& what);

/// BOOST_CHECKs that both hold the same bits.
void check_identical(const Tensor& a, const Tensor& b, const std::string& what);

/// BOOST_CHECKs that f throws ratel::Error and that its message contains `part`.
void check_error(const std::function<void()>& f, const std::string& part);

/// f64 normals, a function of (shape, seed).
Tensor randn(const Shape& shape, uint64_t seed, DType dtype = DType::f64);
/// The same values laid out so that no axis of size > 1 is contiguous, on the device of x.
Tensor scattered(const Tensor& x);

/// The seed of every RNG is fixed; thread counts under which a result must keep its bits.
inline constexpr int kThreadCounts[] = {1, 2};
/// Runs f once with each number of threads and checks that all results are the same bits.
void check_thread_independent(const std::function<Tensor()>& f, const std::string& what);

}  // namespace ratel::test
