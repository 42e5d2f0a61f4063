#include "ops/copy.h"

#include <cstring>

#include "ops/cpu/parallel.h"
#include "ops/cpu/rows.h"

namespace ratel::cpu {
namespace {

template <class To, class From>
void copy_as(const CopyArgs& args) {
  To* into = static_cast<To*>(args.into);
  const From* from = static_cast<const From*>(args.from);
  const Shape& shape = args.into_layout.shape;
  const int64_t n = shape.numel();
  if (n == 0) return;
  if (args.into_layout.is_contiguous() && args.from_layout.is_contiguous()) {
    into += args.into_layout.offset;
    from += args.from_layout.offset;
    parallel_for(n, 1 << 16, [&](int64_t begin, int64_t end) {
      if constexpr (std::is_same_v<To, From>)
        std::memcpy(into + begin, from + begin, static_cast<size_t>(end - begin) * sizeof(To));
      else
        for (int64_t i = begin; i < end; ++i) into[i] = convert_element<To>(from[i]);
    });
    return;
  }
  const RowWalk into_rows(args.into_layout), from_rows(args.from_layout);
  const int64_t width = into_rows.width(), into_step = into_rows.step(), from_step = from_rows.step();
  parallel_for(n / width, rows_per_piece(width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      To* to_row = into + into_rows.position(row);
      const From* from_row = from + from_rows.position(row);
      if (into_step == 1 && from_step == 1)
        for (int64_t i = 0; i < width; ++i) to_row[i] = convert_element<To>(from_row[i]);
      else
        for (int64_t i = 0; i < width; ++i) to_row[i * into_step] = convert_element<To>(from_row[i * from_step]);
    }
  });
}

}  // namespace

void copy(const CopyArgs& args) {
  visit_any(args.into_dtype,
            [&]<class To>() { visit_any(args.from_dtype, [&]<class From>() { copy_as<To, From>(args); }); });
}

}  // namespace ratel::cpu
