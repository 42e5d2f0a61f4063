#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <ostream>
#include <string_view>
#include <type_traits>

#include "core/error.h"

namespace ratel {

/// Element types. f64, f32 and bf16 are "floats"; the others index and count.
enum class DType : uint8_t { f64, f32, bf16, i64, i32, u16, u8 };

/// bfloat16: the upper half of a float. Converting from float rounds to nearest even; NaN stays NaN. Constexpr, as
/// convert_element is: that lets device code call them (cmake/cuda.cmake).
struct bfloat16 {
  uint16_t bits = 0;

  constexpr bfloat16() = default;
  constexpr explicit bfloat16(float value) {
    const auto word = std::bit_cast<uint32_t>(value);
    const bool is_nan = (word & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<uint16_t>(is_nan ? (word >> 16 | 0x40u) : ((word + 0x7fffu + (word >> 16 & 1u)) >> 16));
  }
  constexpr explicit bfloat16(double value) : bfloat16(static_cast<float>(value)) {}
  constexpr explicit operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
  constexpr explicit operator double() const { return static_cast<double>(static_cast<float>(*this)); }
};

/// Bytes of one element.
constexpr size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64: return 8;
    case DType::f32:
    case DType::i32: return 4;
    case DType::bf16:
    case DType::u16: return 2;
    case DType::u8: return 1;
  }
  return 0;
}

/// "f64", "f32", "bf16", "i64", "i32", "u16", "u8".
constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f64: return "f64";
    case DType::f32: return "f32";
    case DType::bf16: return "bf16";
    case DType::i64: return "i64";
    case DType::i32: return "i32";
    case DType::u16: return "u16";
    case DType::u8: return "u8";
  }
  return "?";
}

inline std::ostream& operator<<(std::ostream& out, DType dtype) { return out << name_of(dtype); }

/// The dtype of that name, or nothing.
constexpr std::optional<DType> dtype_named(std::string_view name) {
  for (DType dtype : {DType::f64, DType::f32, DType::bf16, DType::i64, DType::i32, DType::u16, DType::u8})
    if (name_of(dtype) == name) return dtype;
  return std::nullopt;
}

constexpr bool is_float(DType dtype) { return dtype == DType::f64 || dtype == DType::f32 || dtype == DType::bf16; }

/// The type sums, states and statistics of a dtype are kept in: f64 for f64, f32 for f32 and bf16.
constexpr DType accumulate_dtype(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

template <class T>
using accumulate_t = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, double>)
    return DType::f64;
  else if constexpr (std::is_same_v<T, float>)
    return DType::f32;
  else if constexpr (std::is_same_v<T, bfloat16>)
    return DType::bf16;
  else if constexpr (std::is_same_v<T, int64_t>)
    return DType::i64;
  else if constexpr (std::is_same_v<T, int32_t>)
    return DType::i32;
  else if constexpr (std::is_same_v<T, uint16_t>)
    return DType::u16;
  else {
    static_assert(std::is_same_v<T, uint8_t>,
                  "elements are double, float, ratel::bfloat16, int64_t, int32_t, uint16_t or uint8_t");
    return DType::u8;
  }
}

/// One element as another type. To bf16 through float, rounding to nearest even. From a float to an integer truncating;
/// what lies beyond the integer's range becomes its nearest end, and NaN 0. Between integers modulo 2^bits.
template <class To, class From>
constexpr To convert_element(From value) {
  if constexpr (std::is_same_v<To, From>)
    return value;
  else if constexpr (std::is_same_v<From, bfloat16>)
    return convert_element<To>(static_cast<float>(value));
  else if constexpr (std::is_same_v<To, bfloat16>)
    return bfloat16(static_cast<float>(value));
  else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    using Range = std::numeric_limits<To>;
    if (std::isnan(value)) return 0;
    // The upper end may round up to one past it, which is out of range as well.
    if (value <= static_cast<From>(Range::min())) return Range::min();
    if (value >= static_cast<From>(Range::max())) return Range::max();
    return static_cast<To>(value);
  } else
    return static_cast<To>(value);
}

/// Calls `f.template operator()<T>()` with the C++ type of a float dtype.
/// Throws Error naming `op` where the dtype is not a float.
template <class F>
decltype(auto) visit_float(DType dtype, std::string_view op, F&& f) {
  switch (dtype) {
    case DType::f64: return f.template operator()<double>();
    case DType::f32: return f.template operator()<float>();
    case DType::bf16: return f.template operator()<bfloat16>();
    default: fail(op, ": expected f64, f32 or bf16, found ", dtype);
  }
}

/// The same for integer dtypes.
template <class F>
decltype(auto) visit_integer(DType dtype, std::string_view op, F&& f) {
  switch (dtype) {
    case DType::i64: return f.template operator()<int64_t>();
    case DType::i32: return f.template operator()<int32_t>();
    case DType::u16: return f.template operator()<uint16_t>();
    case DType::u8: return f.template operator()<uint8_t>();
    default: fail(op, ": expected i64, i32, u16 or u8, found ", dtype);
  }
}

/// The same for every dtype.
template <class F>
decltype(auto) visit_any(DType dtype, F&& f) {
  if (is_float(dtype)) return visit_float(dtype, "visit_any", static_cast<F&&>(f));
  return visit_integer(dtype, "visit_any", static_cast<F&&>(f));
}

}  // namespace ratel
