#include "test/support/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/copy.h"
#include "ops/create.h"
#include "ops/threads.h"

namespace ratel::test {
namespace {

double largest(const std::vector<double>& values, size_t begin, size_t end) {
  double result = 0;
  for (size_t i = begin; i < end; ++i) result = std::max(result, std::abs(values[i]));
  return result;
}

/// Largest |a - b| in a range; NaN counts as infinite.
double largest_difference(const std::vector<double>& a, const std::vector<double>& b, size_t begin, size_t end) {
  double result = 0;
  for (size_t i = begin; i < end; ++i) {
    const double difference = a[i] == b[i] ? 0 : std::abs(a[i] - b[i]);
    if (std::isnan(difference)) return std::numeric_limits<double>::infinity();
    result = std::max(result, difference);
  }
  return result;
}

double half_ulp(DType dtype) {
  switch (dtype) {
    case DType::f64: return 0x1p-53;
    case DType::f32: return 0x1p-24;
    default: return 0x1p-8;
  }
}

}  // namespace

double relative_error(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape()) return std::numeric_limits<double>::infinity();
  const auto x = to_vector<double>(a), y = to_vector<double>(b);
  return largest_difference(x, y, 0, x.size()) / std::max(largest(y, 0, y.size()), 1e-300);
}

void check_close(const Tensor& a, const Tensor& b, double tolerance, const std::string& what) {
  BOOST_REQUIRE_MESSAGE(a.defined() && b.defined(), what << ": an undefined tensor");
  BOOST_REQUIRE_MESSAGE(a.shape() == b.shape(), what << ": shapes " << a.shape() << " and " << b.shape());
  if (largest(to_vector<double>(b), 0, static_cast<size_t>(b.numel())) == 0) {
    BOOST_CHECK_MESSAGE(largest(to_vector<double>(a), 0, static_cast<size_t>(a.numel())) == 0,
                        what << ": expected zeros");
    return;
  }
  const double error = relative_error(a, b);
  BOOST_CHECK_MESSAGE(error <= tolerance, what << ": relative error " << error << " > " << tolerance);
}

void RoundingErrors::add(const Tensor& fast, const Tensor& plain, const Tensor& exact, DType computed) {
  BOOST_REQUIRE_MESSAGE(fast.shape() == exact.shape() && plain.shape() == exact.shape(),
                        "shapes " << fast.shape() << ", " << plain.shape() << ", " << exact.shape());
  BOOST_REQUIRE_MESSAGE(fast.dtype() == plain.dtype() || accumulate_dtype(plain.dtype()) == fast.dtype(),
                        "dtypes " << fast.dtype() << " and " << plain.dtype());
  const auto f = to_vector<double>(fast), p = to_vector<double>(plain), e = to_vector<double>(exact);
  ulp_ = half_ulps_ * half_ulp(computed);
  const double size = largest(e, 0, e.size());
  if (e.size() >= 16 && size > 0) {
    ours_.worst = std::max(ours_.worst, largest_difference(f, e, 0, e.size()) / size);
    theirs_.worst = std::max({theirs_.worst, largest_difference(p, e, 0, e.size()) / size, ulp_});
  }
  const size_t width = exact.rank() == 0 || exact.dim(-1) == 0 ? 1 : static_cast<size_t>(exact.dim(-1));
  for (size_t begin = 0; begin < e.size(); begin += width) {
    width_ += width;
    size_ = std::max({size_, largest(e, begin, begin + width), 1e-300});
    ours_so_far_ = std::max(ours_so_far_, largest_difference(f, e, begin, begin + width));
    theirs_so_far_ = std::max(theirs_so_far_, largest_difference(p, e, begin, begin + width));
    if (width_ < 16) continue;
    ours_.rows.push_back(ours_so_far_ / size_);
    theirs_.rows.push_back(std::max(theirs_so_far_ / size_, ulp_));
    width_ = 0;
    size_ = ours_so_far_ = theirs_so_far_ = 0;
  }
}

void RoundingErrors::check(const std::string& what, Tail tail) const {
  const auto report = [&](double ours, double theirs, const std::string& where) {
    BOOST_CHECK_MESSAGE(ours <= 2 * theirs,
                        what << ", " << where << ": error " << ours << " > twice the plain version's " << theirs);
  };
  report(ours_.worst, theirs_.worst, "worst element");
  std::vector<double> ours = ours_.rows, theirs = theirs_.rows;
  if (width_ > 0) {  // a last row that is not full
    ours.push_back(ours_so_far_ / size_);
    theirs.push_back(std::max(theirs_so_far_ / size_, ulp_));
  }
  std::sort(ours.begin(), ours.end());
  std::sort(theirs.begin(), theirs.end());
  for (const size_t percent : {50U, 90U, 99U}) {
    const size_t at = ours.size() * percent / 100;
    const bool is_worst = percent > 50 && at + 1 == ours.size();
    if (at >= ours.size() || is_worst || (percent == 99 && tail == Tail::heavy)) continue;
    report(ours[at], theirs[at], std::to_string(percent) + "% of " + std::to_string(ours.size()) + " rows");
  }
}

void check_within_twice(const Tensor& fast, const Tensor& plain, const Tensor& exact, const std::string& what) {
  RoundingErrors errors;
  errors.add(fast, plain, exact);
  errors.check(what);
}

void check_identical(const Tensor& a, const Tensor& b, const std::string& what) {
  BOOST_REQUIRE_MESSAGE(a.shape() == b.shape() && a.dtype() == b.dtype(), what << ": shapes or dtypes differ");
  const auto x = to_vector<double>(a), y = to_vector<double>(b);
  const bool same = x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(double)) == 0;
  BOOST_CHECK_MESSAGE(same, what << ": the bits differ");
}

void check_error(const std::function<void()>& f, const std::string& part) {
  try {
    f();
  } catch (const Error& error) {
    BOOST_CHECK_MESSAGE(std::string(error.what()).find(part) != std::string::npos,
                        "expected an error with \"" << part << "\", found \"" << error.what() << '"');
    return;
  }
  BOOST_CHECK_MESSAGE(false, "expected an error with \"" << part << "\", none was thrown");
}

Tensor randn(const Shape& shape, uint64_t seed, DType dtype) {
  Rng rng(seed);
  return random_normal(shape, rng, 0, 1, dtype);
}

Tensor scattered(const Tensor& x) {
  Shape wide;
  for (const int64_t size : x.shape()) wide.push_back(2 * size + 1);
  const Tensor host = full(wide, 1e30, x.dtype());
  Layout layout = host.layout();
  for (int axis = 0; axis < x.rank(); ++axis) layout = layout.sliced(axis, 1, 2 * x.dim(axis) + 1, 2);
  Tensor view = view_of(host, layout);
  const auto values = to_vector<double>(x);
  size_t next = 0;
  visit_any(x.dtype(), [&]<class T>() {
    T* base = static_cast<T*>(view.storage()->data());
    for_each_position(view.layout(), [&](int64_t position) { base[position] = convert_element<T>(values[next++]); });
  });
  return x.device().is_cuda() ? view_of(to(host, x.device()), layout) : view;
}

void check_thread_independent(const std::function<Tensor()>& f, const std::string& what) {
  Tensor first;
  for (const int threads : kThreadCounts) {
    set_num_threads(threads);
    const Tensor result = f();
    if (first.defined())
      check_identical(result, first, what + " with " + std::to_string(threads) + " threads");
    else
      first = result;
  }
  set_num_threads(0);
}

}  // namespace ratel::test
