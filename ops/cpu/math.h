#pragma once

#include <Eigen/Core>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <type_traits>

namespace ratel::cpu {

/// Functions of one number, or of a SIMD register of f32 (any vector type of the compiler, Eigen's packets among them):
/// one definition serves both, branch-free, so that the last elements of a row cost no second formula. f64 comes from
/// the C library, one number at a time: it is there for the oracles.
///
/// Largest errors over the f32 numbers: exp 1.0 ulp; log 0.9 ulp; tanh 1.4 ulp; sigmoid 2.3 ulp; gelu 3.9e-7 and its
/// derivative 1.7e-7 on [-6, 10], where the formulas with the C library's erf and exp reach 4.5e-7 and 1.5e-7. NaN
/// stays NaN; nothing overflows on the way.
namespace lanes {

template <class V>
struct Bits {
  using type = decltype(V{} < V{});  // of a vector: as many integers of the same width
};
template <>
struct Bits<float> {
  using type = int32_t;
};
template <class V>
using bits_t = typename Bits<V>::type;

template <class V>
V to_float(bits_t<V> n) {
  if constexpr (std::is_same_v<V, float>)
    return static_cast<float>(n);
  else
    return __builtin_convertvector(n, V);
}

template <class V>
V abs(V x) {
  return std::bit_cast<V>(std::bit_cast<bits_t<V>>(x) & 0x7fffffff);
}

// GCC 12 warns falsely inside its own AVX-512 headers (PR 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
/// NaN stays NaN.
template <class V>
V clamped(V x, float low, float high) {
  return Eigen::internal::pmin(Eigen::internal::pmax(x, V(V{} + low)), V(V{} + high));
}
#pragma GCC diagnostic pop

/// e^x: x = n ln 2 + r, |r| <= ln 2 / 2, and a polynomial of r. Results below 1.7e-38 are 0.
/// Source of the polynomial: S. Moshier, Cephes, expf; all of it doubled, so that n reaches from the smallest normal
/// number to overflow.
template <class V>
V exp(V x) {
  // Adding this rounds to an integer and leaves n + 126 in the low bits, which shifted up are the number 2^(n - 1).
  constexpr float kMagic = 0x1.8p23F + 126.0F;
  x = clamped(x, -87.5F, 89.0F);
  const V shifted = x * std::numbers::log2e_v<float> + kMagic;
  const V n = shifted - kMagic;
  const V r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
  V p = 3.9751383000e-4F * r + 2.7962803998e-3F;
  p = p * r + 1.66669038146e-2F;
  p = p * r + 8.3331591788e-2F;
  p = p * r + 3.3333332918e-1F;
  p = p * r + 1.00000002402F;
  p = p * (r * r) + (r + r) + 2.0F;
  return p * std::bit_cast<V>(std::bit_cast<bits_t<V>>(shifted) << 23);
}
inline double exp(double x) { return std::exp(x); }

/// ln x: x = 2^n m, m within sqrt 2 of 1, and a polynomial of m - 1. NaN below 0, -inf at 0.
/// Source of the polynomial: S. Moshier, Cephes, logf. No sum is of two products: which of them was fused with it would
/// be the compiler's choice, and another one for vectors.
template <class V>
V log(V x) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr int32_t kHalfRoot = 0x3f3504f3;  // the bits of sqrt(1/2)
  const V size = abs(x);
  const auto is_denormal = size < std::numeric_limits<float>::min();
  const auto bits = std::bit_cast<bits_t<V>>(V(is_denormal ? size * 0x1p23F : size));
  const bits_t<V> exponent = (bits - kHalfRoot) >> 23;
  const V f = std::bit_cast<V>(bits_t<V>(bits - (exponent << 23))) - 1.0F;
  const V n = to_float<V>(exponent) - (is_denormal ? V{} + 23.0F : V{});
  V p = 7.0376836292e-2F * f - 1.1514610310e-1F;
  p = p * f + 1.1676998740e-1F;
  p = p * f - 1.2420140846e-1F;
  p = p * f + 1.4249322787e-1F;
  p = p * f - 1.6668057665e-1F;
  p = p * f + 2.0000714765e-1F;
  p = p * f - 2.4999993993e-1F;
  p = p * f + 3.3333331174e-1F;
  p = p * f - 0.5F;
  const V of_m = f * f * p + f;
  const V finite = n * 0.693359375F + (n * -2.12194440e-4F + of_m);
  const V at_edges = x == 0.0F ? V{} - kInfinity : x < 0.0F ? V{} + std::numeric_limits<float>::quiet_NaN() : x;
  return x > 0.0F && x < kInfinity ? finite : at_edges;
}
inline double log(double x) { return std::log(x); }

/// A polynomial of x where |x| < 0.625, and 1 - 2 / (e^2|x| + 1) with the sign of x beyond.
/// Source of the polynomial: S. Moshier, Cephes, tanhf.
template <class V>
V tanh(V x) {
  const V t = abs(x), square = x * x;
  V p = -5.70498872745e-3F * square + 2.06390887954e-2F;
  p = p * square - 5.37397155531e-2F;
  p = p * square + 1.33314422036e-1F;
  p = p * square - 3.33332819422e-1F;
  const V near = x * (p * square + 1.0F);
  const V beyond = 1.0F - 2.0F / (exp(t + t) + 1.0F);
  return t < 0.625F ? near : x < 0.0F ? -beyond : beyond;
}
inline double tanh(double x) { return std::tanh(x); }
/// 1 / cosh^2 x, which 1 - tanh^2 x is but for its cancellation.
template <class V>
V tanh_gradient(V x) {
  const V z = exp(-2.0F * abs(x));
  const V inverse = 1.0F / (1.0F + z);
  return 4.0F * z * inverse * inverse;
}
inline double tanh_gradient(double x) {
  const double z = std::exp(-2 * std::abs(x)), inverse = 1 / (1 + z);
  return 4 * z * inverse * inverse;
}

/// 1 / (1 + e^-x), relative accuracy for negative x too.
template <class V>
V sigmoid(V x) {
  const V z = exp(-abs(x));
  return (x < 0.0F ? z : V{} + 1.0F) / (1.0F + z);
}
inline double sigmoid(double x) {
  const double z = std::exp(-std::abs(x));
  return (x < 0 ? z : 1) / (1 + z);
}

/// s (1 - s) and s + x s (1 - s) for s = sigmoid(x), without the cancellation in 1 - s.
template <class V>
V sigmoid_gradient(V x) {
  const V z = exp(-abs(x));
  const V inverse = 1.0F / (1.0F + z);
  return z * inverse * inverse;
}
template <class V>
V silu_gradient(V x) {
  const V z = exp(-abs(x));
  const V inverse = 1.0F / (1.0F + z);
  return (x < 0.0F ? z : V{} + 1.0F) * inverse + x * (z * inverse * inverse);
}
inline double sigmoid_gradient(double x) { return sigmoid(x) * sigmoid(-x); }
inline double silu_gradient(double x) { return sigmoid(x) + x * sigmoid_gradient(x); }

/// The normal distribution at x: its density phi, and what its mass Phi(x) below x is made of. Phi is 1/2 + x centre
/// where |x| < 1.5; else it is the tail beyond |x|, or 1 minus that.
template <class V>
struct Normal {
  V density, centre, tail;
};

/// With t = |x|: for t < 1.5 centre is the polynomial of x^2 that meets (Phi - 1/2) / x at the seven
/// Chebyshev points of x^2 on [0, 2.25] (error 1e-9); beyond, the tail is e^(-t^2/2) times the quotient of
/// polynomials that meets erfcx(t / sqrt 2) / 2 at the eight Chebyshev points of t / (t + 2) on [1.5, 14.5] (relative
/// error 1.3e-8). The tail, with its several roundings, is below 0.07 there.
template <class V>
Normal<V> normal(V x) {
  constexpr float kInvSqrt2Pi = std::numbers::inv_sqrtpi_v<float> / std::numbers::sqrt2_v<float>;
  const V t = clamped(abs(x), 0.0F, 14.5F);
  const V square = t * t;
  const V z = exp(square * -0.5F);
  V above = 2.81069274e-2F * t + 0.1532116082F;
  above = above * t + 0.4148674834F;
  above = above * t + 0.4993779529F;
  V below = 7.045460792e-2F * t + 0.3839936814F;
  below = below * t + 1.111477746F;
  below = below * t + 1.622373416F;
  below = below * t + 1.0F;
  const V tail = z * above / below;
  V centre = 4.12977726e-7F * square - 8.728008719e-6F;
  centre = centre * square + 1.143812951e-4F;
  centre = centre * square - 1.186518053e-3F;
  centre = centre * square + 9.973257251e-3F;
  centre = centre * square - 6.64903382e-2F;
  centre = centre * square + 0.3989422794F;
  return {z * kInvSqrt2Pi, centre, tail};
}

/// x Phi(x), and its derivative Phi(x) + x phi(x): added so that one rounding near 1 is all there is.
template <class V>
V gelu(V x) {
  const auto at = normal(x);
  const V beyond = x < 0.0F ? at.tail : 1.0F - at.tail;
  return x * (abs(x) < 1.5F ? at.centre * x + 0.5F : beyond);
}
template <class V>
V gelu_gradient(V x) {
  const auto at = normal(x);
  const V slope = x * at.density;
  const V beyond = x < 0.0F ? slope + at.tail : 1.0F + (slope - at.tail);
  return abs(x) < 1.5F ? (at.centre + at.density) * x + 0.5F : beyond;
}
inline double gelu(double x) { return x * 0.5 * std::erfc(-x * (std::numbers::sqrt2 / 2)); }
inline double gelu_gradient(double x) {
  constexpr double kInvSqrt2Pi = std::numbers::inv_sqrtpi / std::numbers::sqrt2;
  return 0.5 * std::erfc(-x * (std::numbers::sqrt2 / 2)) + x * (std::exp(-0.5 * x * x) * kInvSqrt2Pi);
}

}  // namespace lanes

/// An Eigen functor from a generic lambda of the functions above.
template <class T, class F>
struct Lanewise {
  F f;
  template <class... X>
  T operator()(const X&... x) const {
    return f(x...);
  }
  template <class Packet>
  [[nodiscard]] Packet packetOp(const Packet& x) const {
    return f(x);
  }
  template <class Packet>
  [[nodiscard]] Packet packetOp(const Packet& x, const Packet& y) const {
    return f(x, y);
  }
};

/// The expression f(x[i]) or f(x[i], y[i]) of Eigen arrays, vectorised for f32: f is a generic lambda that takes
/// numbers and SIMD registers alike, for example [](auto gate, auto x) { return lanes::sigmoid(gate) * x; }.
template <class F, class X>
auto lanewise(F f, const Eigen::ArrayBase<X>& x) {
  return x.derived().unaryExpr(Lanewise<typename X::Scalar, F>{f});
}
template <class F, class X, class Y>
auto lanewise(F f, const Eigen::ArrayBase<X>& x, const Eigen::ArrayBase<Y>& y) {
  return x.derived().binaryExpr(y.derived(), Lanewise<typename X::Scalar, F>{f});
}

/// Expressions of whole arrays.
template <class X>
auto exponential(const Eigen::ArrayBase<X>& x) {
  return lanewise([](auto v) { return lanes::exp(v); }, x);
}
template <class X>
auto sigmoid(const Eigen::ArrayBase<X>& x) {
  return lanewise([](auto v) { return lanes::sigmoid(v); }, x);
}

}  // namespace ratel::cpu

template <class T, class F>
struct Eigen::internal::functor_traits<ratel::cpu::Lanewise<T, F>> {
  enum { Cost = 50, PacketAccess = std::is_same_v<T, float> };
};
