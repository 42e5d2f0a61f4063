#pragma once

// cuda/warpgroup.h on the host twin: each warp multiplies its 16 rows when it waits for them, reading both matrices as
// the hardware finds their elements, so that sums which are used and matrices which are written before that go wrong.
// Checked are what a GPU would not say: matrices that do not begin where the swizzle does, products that were not begun
// or waited for, and shared memory that was written and not published.

#include "cuda/twin/block.h"
#include "cuda/warpgroup.h"

namespace ratel::cuda {

inline constexpr bool kHasWarpgroups = true;

struct SharedMatrix {
  twin::Stretch within;
  int64_t at;
  int stretch_bytes;
  [[nodiscard]] SharedMatrix behind(int elements) const { return {within, at + elements * 2, stretch_bytes}; }
};
inline SharedMatrix shared_matrix(const Shared<bfloat16>& in, int index, int elements_of_stretch) {
  return {in.within(), in.byte_of(index), elements_of_stretch * 2};
}

inline void publish_shared() { twin::publish_shared(); }
template <class... Fragments>
void begin_products(Fragments&...) {
  twin::begin_products();
}
inline void commit_products() { twin::commit_products(); }
template <int kPending>
void wait_products() {
  twin::wait_products(kPending);
}
template <class Fragments>
void keep(Fragments&) {}

namespace twin {

/// The element that lies at that byte of eight rows of 128 bytes each, were they not swizzled.
inline uint32_t element_of(const SharedMatrix& matrix, int64_t at) {
  uint16_t bits = 0;
  read_published(matrix.within, at ^ (at / 128 % 8 * 16), &bits, 2);
  return bits;
}
/// Element (row, column) of a matrix whose rows are read, and of its transpose.
inline uint32_t by_rows(const SharedMatrix& matrix, int row, int column) {
  if (matrix.at % 1024 >= 128 || matrix.at % 32 != 0) fail_here("a matrix by rows that begins amid eight rows");
  return element_of(matrix, matrix.at + row / 8 * 1024 + row % 8 * 128 + column * 2);
}
inline uint32_t by_columns(const SharedMatrix& matrix, int row, int column) {
  if (matrix.at % 1024 != 0) fail_here("a matrix by columns that begins amid eight rows");
  return element_of(matrix, matrix.at + column / kStretch * matrix.stretch_bytes + row / 8 * 1024 + row % 8 * 128 +
                                column % kStretch * 2);
}

/// c += a b, where right(k, n) is an element of b.
template <int N, class Right>
void multiply_now(FragmentC (&c)[N / 8], const FragmentA& a, Right&& right, const Place& place) {
  const int group = lane() / 4, pair = 2 * (lane() % 4);
  for (int eight = 0; eight < N / 8; ++eight) {
    FragmentB b{};
    for (int i = 0; i < 4; ++i) b.at[i / 2] |= right(pair + i % 2 + i / 2 * 8, eight * 8 + group) << i % 2 * 16;
    multiply_16x8x16(c[eight], a, b, place);
  }
}

}  // namespace twin

template <int N>
void add_products_by_rows(FragmentC (&c)[N / 8], const SharedMatrix& a, const SharedMatrix& b,
                          twin::Place place = twin::Place::current()) {
  static_assert(N == 32 || N == 64);
  twin::add_product([&c, a, b, place] {
    const int row = twin::position().thread / kWarp % 4 * 16 + twin::lane() / 4, pair = 2 * (twin::lane() % 4);
    for (int i = 0; i < 4; ++i)  // the rows of other warps too, of each 16 bytes an element: it is one product of all
      twin::by_rows(a, i * 16 + twin::lane() / 2, twin::lane() % 2 * 8);
    FragmentA left{};
    for (int i = 0; i < 8; ++i)
      left.at[i / 2] |= twin::by_rows(a, row + i / 2 % 2 * 8, pair + i % 2 + i / 4 * 8) << i % 2 * 16;
    twin::multiply_now<N>(
        c, left, [&](int k, int n) { return twin::by_rows(b, n, k); }, place);
  });
}
template <int N>
void set_products_by_rows(FragmentC (&c)[N / 8], const SharedMatrix& a, const SharedMatrix& b,
                          twin::Place place = twin::Place::current()) {
  twin::add_product([&c] {
    for (FragmentC& eight : c) eight = {};
  });
  add_products_by_rows<N>(c, a, b, place);
}
template <int N>
void add_products_by_columns(FragmentC (&c)[N / 8], const FragmentA& a, const SharedMatrix& b,
                             twin::Place place = twin::Place::current()) {
  static_assert(N == 64 || N == 128);
  twin::add_product([&c, &a, b, place] {
    twin::multiply_now<N>(
        c, a, [&](int k, int n) { return twin::by_columns(b, k, n); }, place);
  });
}

}  // namespace ratel::cuda
