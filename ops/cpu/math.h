#pragma once

#include <Eigen/Core>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <type_traits>

namespace ratel::cpu {

/// Functions of one number, or of a SIMD register of f32 (any vector type of the compiler, Eigen's packets among them):
/// one definition serves both, branch-free, so that the last elements of a row cost no second formula. f64 comes from
/// the C library, one number at a time: it is there for the oracles.
///
/// Largest errors found over the f32 numbers: exp 1.0 ulp, sigmoid 2.3 ulp, the normal mass 1.5e-7 (absolute; relative
/// 8e-6 at x = -11, where e^(-x^2/2) magnifies the rounding of its argument), gelu 4e-7 on [-6, 10], where x times the
/// C library's 1 + erf is 4.5e-7 off. NaN stays NaN; nothing overflows on the way.
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
V abs(V x) {
  return std::bit_cast<V>(std::bit_cast<bits_t<V>>(x) & 0x7fffffff);
}

/// e^x: x = n ln 2 + r, |r| <= ln 2 / 2, and a polynomial of r. Denormal results are exact to a denormal's spacing.
/// Source of the polynomial: S. Moshier, Cephes, expf.
template <class V>
V exp(V x) {
  constexpr float kMagic = 0x1.8p23F;  // adding it rounds to an integer, which is then in the low bits
  x = x < -104.0F ? V{} - 104.0F : x;
  x = x > 89.0F ? V{} + 89.0F : x;
  const V shifted = x * std::numbers::log2e_v<float> + kMagic;
  const V n = shifted - kMagic;
  const V r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
  V p = 1.9875691500e-4F * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + r + 1.0F;
  // 2^n in two factors: one alone does not reach below 2^-126.
  const bits_t<V> whole = std::bit_cast<bits_t<V>>(shifted) - std::bit_cast<int32_t>(kMagic), half = whole >> 1;
  return p * std::bit_cast<V>((half + 127) << 23) * std::bit_cast<V>((whole - half + 127) << 23);
}
inline double exp(double x) { return std::exp(x); }

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

/// The normal distribution at x: its density without the factor 1/sqrt(2 pi), and the mass below x.
template <class V>
struct Normal {
  V exponential, cdf;
};

/// The mass beyond t = |x| is e^(-t^2/2) R(t), R a quotient of polynomials that meets erfcx(t / sqrt 2) / 2 at the ten
/// Chebyshev points of t / (t + 3) on [0, 14.5]: relative error below 1e-8; all coefficients are positive, so that
/// rounding adds little.
template <class V>
Normal<V> normal(V x) {
  V t = abs(x);
  t = t > 14.5F ? V{} + 14.5F : t;
  const V z = exp(t * t * -0.5F);
  V above = 4.082358525e-3F * t + 4.042960577e-2F;
  above = above * t + 0.1826702276F;
  above = above * t + 0.4375937008F;
  above = above * t + 0.5F;
  V below = 1.023283496e-2F * t + 0.1013484917F;
  below = below * t + 0.4679680461F;
  below = below * t + 1.200255082F;
  below = below * t + 1.673072281F;
  below = below * t + 1.0F;
  const V tail = z * above / below;
  return {z, x < 0.0F ? tail : 1.0F - tail};
}
inline Normal<double> normal(double x) {
  return {std::exp(-0.5 * x * x), 0.5 * std::erfc(-x * (std::numbers::sqrt2 / 2))};
}

/// x Phi(x), and its derivative Phi(x) + x phi(x).
template <class V>
V gelu(V x) {
  return x * normal(x).cdf;
}
template <class V>
V gelu_gradient(V x) {
  constexpr double kDensity = std::numbers::inv_sqrtpi / std::numbers::sqrt2;
  const auto at = normal(x);
  using Scalar = std::conditional_t<std::is_same_v<V, double>, double, float>;
  return at.cdf + x * at.exponential * static_cast<Scalar>(kDensity);
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
  Packet packetOp(const Packet& x) const {
    return f(x);
  }
  template <class Packet>
  Packet packetOp(const Packet& x, const Packet& y) const {
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
