#include "core/layout.h"

#include <algorithm>
#include <utility>

namespace ratel {

Layout Layout::contiguous(const Shape& shape) {
  Layout layout{shape, {}, 0};
  int64_t stride = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    layout.strides[static_cast<size_t>(axis)] = stride;
    // Of an empty shape, what does not fit need not: nobody steps there.
    if (__builtin_mul_overflow(stride, std::max<int64_t>(1, shape[axis]), &stride)) stride = 0;
  }
  return layout;
}

bool Layout::is_contiguous() const {
  if (shape.numel() == 0) return true;
  int64_t expected = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    if (shape[axis] != 1 && stride(axis) != expected) return false;
    expected *= shape[axis];
  }
  return true;
}

int64_t Layout::extent() const {
  int64_t last = offset;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] == 0) return 0;
    last += (shape[axis] - 1) * stride(axis);
  }
  return last + 1;
}

bool Layout::is_injective() const {
  if (shape.numel() == 0) return true;
  // Views are made by slicing, transposing and broadcasting: an axis steps over the whole of those with smaller
  // strides.
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] == 1) continue;
    int64_t reach = 0;
    for (int other = 0; other < shape.rank(); ++other)
      if (other != axis && stride(other) <= stride(axis)) reach += stride(other) * (shape[other] - 1);
    if (stride(axis) <= reach) return false;
  }
  return true;
}

Layout Layout::transposed(int a, int b) const {
  const auto i = static_cast<size_t>(shape.normalize_axis(a)), j = static_cast<size_t>(shape.normalize_axis(b));
  Layout result = *this;
  result.shape.set(a, shape[b]);
  result.shape.set(b, shape[a]);
  std::swap(result.strides[i], result.strides[j]);
  return result;
}

Layout Layout::sliced(int axis, int64_t begin, int64_t end, int64_t step) const {
  const int64_t size = shape[axis];
  check(step >= 1, "slice: step must be at least 1, found ", step);
  const int64_t given_begin = begin, given_end = end == kToEnd ? size : end;
  if (begin < 0) begin += size;
  end = given_end < 0 ? given_end + size : given_end;
  check(0 <= begin && begin <= end && end <= size, "slice: range [", given_begin, ", ", given_end,
        ") does not fit axis ", axis, " of size ", size);
  Layout result = *this;
  const auto a = static_cast<size_t>(shape.normalize_axis(axis));
  result.offset += begin * strides[a];
  const int64_t count = begin == end ? 0 : (end - begin - 1) / step + 1;
  if (count > 1) result.strides[a] = strides[a] * step;  // a longer step than the axis may not fit in 64 bits
  result.shape.set(axis, count);
  return result;
}

Layout Layout::broadcast_to(const Shape& target, std::string_view op) const {
  check(broadcast_shapes(shape, target, op) == target, op, ": shape ", shape, " does not broadcast to ", target);
  Layout result{target, {}, offset};
  const int lead = target.rank() - shape.rank();
  for (int axis = 0; axis < shape.rank(); ++axis)
    result.strides[static_cast<size_t>(lead + axis)] = shape[axis] == 1 ? 0 : stride(axis);
  return result;
}

namespace {

/// Strides of `target` over the elements of `layout`: source axes that lie as one are merged into runs, and each run
/// must be the product of consecutive target axes. False where that fails.
bool strides_for(const Layout& layout, const Shape& target, std::array<int64_t, kMaxRank>& strides) {
  strides = Layout::contiguous(target).strides;
  if (layout.shape.numel() == 0) return true;
  int to = target.rank() - 1;
  int from = layout.shape.rank() - 1;
  const auto skip_ones = [&] {
    while (from >= 0 && layout.shape[from] == 1) --from;
  };
  for (skip_ones(); from >= 0; skip_ones()) {
    const int64_t run_stride = layout.stride(from);
    int64_t run = layout.shape[from--];
    for (skip_ones(); from >= 0 && layout.stride(from) == run * run_stride; skip_ones()) run *= layout.shape[from--];
    int64_t filled = 1;
    for (; filled < run && to >= 0; --to) {
      strides[static_cast<size_t>(to)] = run_stride * filled;
      filled *= target[to];
    }
    if (filled != run) return false;
  }
  return true;
}

}  // namespace

bool Layout::can_view_as(const Shape& target) const {
  std::array<int64_t, kMaxRank> ignored{};
  return target.numel() == shape.numel() && strides_for(*this, target, ignored);
}

Layout Layout::viewed_as(const Shape& target) const {
  Layout result{target, {}, offset};
  check(target.numel() == shape.numel() && strides_for(*this, target, result.strides), "view: shape ", shape,
        " cannot be viewed as ", target, " without a copy");
  return result;
}

}  // namespace ratel
