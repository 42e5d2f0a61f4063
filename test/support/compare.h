#pragma once

#include <boost/test/unit_test.hpp>
#include <functional>
#include <string>

#include "core/rng.h"
#include "core/tensor.h"

namespace ratel::test {

/// Largest |a - b| over the largest |b| (over 1e-300 where b is all zeros); infinite where a holds a NaN or the shapes
/// differ.
double relative_error(const Tensor& a, const Tensor& b);

/// BOOST_CHECKs that relative_error(a, b) <= tolerance, printing both shapes and the worst element.
void check_close(const Tensor& a, const Tensor& b, double tolerance, const std::string& what);

/// The rule for low precision: `fast` may err against the f64 `exact` at most twice as much as `plain`, the composed
/// version in the same dtype, does: over the whole tensor, and over the rows of the last axis, each measured against
/// its own largest magnitude: their worst, and their root mean square. Where plain happens to be exact, rounding of the
/// dtype itself is granted (one half ulp): `computed` is the dtype the values were rounded to, where they are kept in a
/// wider one (the gradient of a bf16 leaf).
void check_within_twice(const Tensor& fast, const Tensor& plain, const Tensor& exact, const std::string& what,
                        DType computed);
inline void check_within_twice(const Tensor& fast, const Tensor& plain, const Tensor& exact, const std::string& what) {
  check_within_twice(fast, plain, exact, what, plain.dtype());
}

/// BOOST_CHECKs that both hold the same bits.
void check_identical(const Tensor& a, const Tensor& b, const std::string& what);

/// BOOST_CHECKs that f throws ratel::Error and that its message contains `part`.
void check_error(const std::function<void()>& f, const std::string& part);

/// f64 normals, a function of (shape, seed).
Tensor randn(const Shape& shape, uint64_t seed, DType dtype = DType::f64);
/// The same values laid out so that no axis of size > 1 is contiguous.
Tensor scattered(const Tensor& x);

/// The seed of every RNG is fixed; thread counts under which a result must keep its bits.
inline constexpr int kThreadCounts[] = {1, 2};
/// Runs f once with each number of threads and checks that all results are the same bits.
void check_thread_independent(const std::function<Tensor()>& f, const std::string& what);

}  // namespace ratel::test
