#include "ops/copy.h"

#include <cstring>

#include "ops/cpu/parallel.h"
#include "ops/cpu/rows.h"

// Bound by memory where both sides lie in order. How a row is copied is a function for each pair of dtypes; the walk
// over the rows is one for all.

namespace ratel::cpu {
namespace {

/// Copies n elements that lie into_step and from_step apart.
using CopyRow = void (*)(void* into, int64_t into_step, const void* from, int64_t from_step, int64_t n);

template <class To, class From>
void copy_row(void* into, int64_t into_step, const void* from, int64_t from_step, int64_t n) {
  auto* to = static_cast<To*>(into);
  const auto* at = static_cast<const From*>(from);
  if (into_step == 1 && from_step == 1) {
    if constexpr (std::is_same_v<To, From>)
      std::memcpy(to, at, static_cast<size_t>(n) * sizeof(To));
    else
      for (int64_t i = 0; i < n; ++i) to[i] = convert_element<To>(at[i]);
  } else
    for (int64_t i = 0; i < n; ++i) to[i * into_step] = convert_element<To>(at[i * from_step]);
}

CopyRow row_copier(DType into, DType from) {
  return visit_any(
      into, [&]<class To>() { return visit_any(from, []<class From>() -> CopyRow { return copy_row<To, From>; }); });
}

}  // namespace

void copy(const CopyArgs& args) {
  const int64_t n = args.into_layout.shape.numel();
  if (n == 0) return;
  const CopyRow copy_row = row_copier(args.into_dtype, args.from_dtype);
  const auto into = [&](int64_t position) {
    return static_cast<char*>(args.into) + position * static_cast<int64_t>(size_of(args.into_dtype));
  };
  const auto from = [&](int64_t position) {
    return static_cast<const char*>(args.from) + position * static_cast<int64_t>(size_of(args.from_dtype));
  };
  if (args.into_layout.is_contiguous() && args.from_layout.is_contiguous())  // one long row, in pieces
    return parallel_for(n, 1 << 16, [&](int64_t begin, int64_t end) {
      copy_row(into(args.into_layout.offset + begin), 1, from(args.from_layout.offset + begin), 1, end - begin);
    });
  const RowWalk into_rows(args.into_layout), from_rows(args.from_layout);
  const int64_t width = into_rows.width();
  parallel_for(n / width, rows_per_piece(width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      copy_row(into(into_rows.position(row)), into_rows.step(), from(from_rows.position(row)), from_rows.step(), width);
  });
}

}  // namespace ratel::cpu
