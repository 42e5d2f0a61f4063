#include "ops/matmul.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "ops/cpu/gemm_few_rows.h"
#include "ops/cpu/gemm_pack.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/scratch.h"

// c = a b on all threads: a block of b, all of K deep, is packed once by all threads together; then each task packs its
// rows of a, a depth at a time, unless they are read as they lie, and multiplies them with the block. Next to few rows
// each task packs its own columns of b. bf16 becomes f32 while it is packed, and c is kept in an f32 tile until it is
// complete, unless c is in f32 itself. An addend that is not c is copied there first. 2 M N K FLOPs over M K + K N + 2
// M N elements; packing reads b once and a once for every block of columns. Bound by FMAs, for a few rows by reading b.
// Tasks follow from the sizes alone.

namespace ratel::cpu {
namespace {

/// The product of operands in E, summed in T = accumulate_t<E>, as a c in C: E or T.
template <class E, class C>
struct Product {
  int64_t M, N, K;
  const E* a;
  int64_t a_row, a_k;  // distances of neighbours along M and K
  const E* b;
  int64_t b_column, b_k;
  C* c;
  int64_t ldc;
  bool accumulate;  ///< c += instead of c =
};

/// Stands in for parallel_for where the caller is one of many tasks already.
struct Serial {
  template <class F>
  void operator()(int64_t n, int64_t grain, F&& f) const {
    for (int64_t i = 0; i < n; i += grain) f(i, std::min(n, i + grain));
  }
};
struct Parallel {
  template <class F>
  void operator()(int64_t n, int64_t grain, F&& f) const {
    parallel_for(n, grain, std::forward<F>(f));
  }
};

/// Cuts n into `parts` ranges that begin at multiples of `unit` and returns the length of each but the last.
int64_t even_part(int64_t n, int64_t parts, int64_t unit) {
  const int64_t part = (n + parts - 1) / parts;
  return (part + unit - 1) / unit * unit;
}

/// Into how many tasks the rows are cut: about 128 rows each, of which a depth of a stays in the second-level cache; a
/// power of two or a multiple of 8, so that 2, 4 or 8 threads end together. So few rows that they make one task are cut
/// in two unless the columns alone make `enough`.
int64_t count_row_parts(int64_t M, bool enough) {
  const int64_t parts = (M + 127) / 128;
  if (parts > 4) return (parts + 7) / 8 * 8;
  return parts == 1 && M >= int64_t{2} * kPanelRows && !enough ? 2 : parts == 3 ? 4 : parts;
}

/// How a product is cut: b into blocks of columns, c into tasks of some rows and some columns of a block. From the
/// sizes alone.
template <class E>
struct Cut {
  using T = accumulate_t<E>;
  static constexpr bool kConverts = !std::is_same_v<E, T>;
  static constexpr int64_t kUnit = kPanelColumns<T>, kStrip = 8 * kUnit;  // of columns that are packed at a time
  static constexpr int64_t kPacked = int64_t{1} << 23;                    // elements of a block of b
  static constexpr int64_t kWidest = kConverts ? 1024 : 2048;             // its columns

  int64_t depth, depths;                   ///< how many k are packed at a time, and how many times
  int64_t block;                           ///< columns of a block
  int64_t row_panels, row_parts;           ///< the rows in panels of a, and into how many tasks they are cut
  int64_t column_parts = 1, columns_each;  ///< into how many tasks a block's columns are cut, and how many each has
  bool direct;                             ///< a is read as it lies, where few columns would not repay the packing
  bool share_a;                            ///< else it is packed by each task or, if several of them need it, before
  bool own_b;                              ///< each task packs its columns of b, which are of use to no other

  template <class C>
  explicit Cut(const Product<E, C>& p) {
    depth = gemm_depth(p.K);
    depths = (p.K + depth - 1) / depth;
    const int64_t widest = std::clamp(kPacked / p.K / kUnit * kUnit, int64_t{256}, kWidest);
    block = even_part(p.N, (p.N + widest - 1) / widest, kUnit);
    row_panels = (p.M + kPanelRows - 1) / kPanelRows;
    row_parts = count_row_parts(p.M, block >= 32 * kUnit);
    own_b = row_parts == 1;
    const int64_t narrowest = (own_b ? 8 : 16) * kUnit;
    while (row_parts * column_parts < 8 && block / column_parts >= narrowest) column_parts *= 2;
    columns_each = even_part(block, column_parts, kUnit);
    direct = !kConverts && p.a_k == 1 && columns_each <= 256;
    share_a = !direct && column_parts > 1;
  }
};

/// One product, a block of columns after the other.
template <class E, class C>
class Multiplication {
  using T = accumulate_t<E>;
  static constexpr bool kRounds = !std::is_same_v<C, T>;  ///< c cannot hold the sums until they are complete

 public:
  explicit Multiplication(const Product<E, C>& product)
      : p_(product),
        cut_(product),
        packed_b_(cut_.own_b ? 0 : padded_columns<T>(std::min(cut_.block, p_.N)) * p_.K),
        shared_a_(cut_.share_a ? p_.M * p_.K : 0) {}

  template <class For>
  void run(For parallel) {
    for (first_ = 0; first_ < p_.N; first_ += cut_.block) {
      columns_ = std::min(cut_.block, p_.N - first_);
      const int64_t strips = cut_.own_b ? 0 : (columns_ + cut_.kStrip - 1) / cut_.kStrip;
      const int64_t shared_parts = cut_.share_a && first_ == 0 ? cut_.row_parts : 0;
      parallel((strips + shared_parts) * cut_.depths, 1, [&](int64_t task, int64_t) {
        const int64_t part = task / cut_.depths, k = task % cut_.depths * cut_.depth;
        if (part < strips)
          pack_strip(part * cut_.kStrip, k);
        else
          pack_shared_rows(rows_of(part - strips), k);
      });
      parallel(cut_.row_parts * cut_.column_parts, 1, [&](int64_t task, int64_t) {
        const Rows rows = rows_of(task / cut_.column_parts);
        const int64_t j = task % cut_.column_parts * cut_.columns_each,
                      width = std::min(cut_.columns_each, columns_ - j);
        if (width > 0) multiply_tile(rows, j, width);
      });
    }
  }

 private:
  struct Rows {
    int64_t begin, count;
  };
  [[nodiscard]] Rows rows_of(int64_t part) const {
    const auto begin = [&](int64_t i) { return std::min(i * cut_.row_panels / cut_.row_parts * kPanelRows, p_.M); };
    return {begin(part), begin(part + 1) - begin(part)};
  }
  [[nodiscard]] int64_t deep(int64_t k) const { return std::min(cut_.depth, p_.K - k); }
  /// Where columns of the block from j on begin in b, and in the packed block.
  [[nodiscard]] const E* b_at(int64_t j, int64_t k) const { return p_.b + (first_ + j) * p_.b_column + k * p_.b_k; }
  [[nodiscard]] T* packed_b_at(int64_t j, int64_t k) const {
    return packed_b_.get() + padded_columns<T>(columns_) * k + j * deep(k);
  }
  [[nodiscard]] const E* a_at(int64_t row, int64_t k) const { return p_.a + row * p_.a_row + k * p_.a_k; }
  [[nodiscard]] T* shared_a_at(int64_t row, int64_t k) const { return shared_a_.get() + p_.M * k + row * deep(k); }

  void pack_strip(int64_t j, int64_t k) const {
    pack_b(b_at(j, k), p_.b_column, p_.b_k, std::min(cut_.kStrip, columns_ - j), deep(k), packed_b_at(j, k));
  }
  void pack_shared_rows(Rows rows, int64_t k) const {
    pack_a(a_at(rows.begin, k), p_.a_row, p_.a_k, rows.count, deep(k), shared_a_at(rows.begin, k));
  }

  /// The rows of one task at one depth, packed into `own` unless they are read as they lie or already packed.
  [[nodiscard]] RowsOfA<T> ready_a(Rows rows, int64_t k, T* own) const {
    if constexpr (!Cut<E>::kConverts)
      if (cut_.direct) return {a_at(rows.begin, k), RowsOfA<T>::Order::rows, p_.a_row};
    if (cut_.share_a) return packed_a(shared_a_at(rows.begin, k), p_.a_k, deep(k));
    pack_a(a_at(rows.begin, k), p_.a_row, p_.a_k, rows.count, deep(k), own);
    return packed_a(own, p_.a_k, deep(k));
  }
  /// Its columns of b, packed into `own` unless all tasks share them.
  [[nodiscard]] const T* ready_b(int64_t j, int64_t width, int64_t k, T* own) const {
    if (!cut_.own_b) return packed_b_at(j, k);
    pack_b(b_at(j, k), p_.b_column, p_.b_k, width, deep(k), own);
    return own;
  }

  /// One task: columns [j, j + width) of the block.
  void multiply_tile(Rows rows, int64_t j, int64_t width) const {
    const Scratch<T> own_a(cut_.direct || cut_.share_a ? 0 : rows.count * cut_.depth);
    const Scratch<T> own_b(cut_.own_b ? padded_columns<T>(width) * cut_.depth : 0);
    const Scratch<T> tile(kRounds ? rows.count * width : 0);
    C* c = p_.c + rows.begin * p_.ldc + first_ + j;
    for (int64_t k = 0; k < p_.K; k += cut_.depth) {
      const RowsOfA<T> a = ready_a(rows, k, own_a.get());
      const T* b = ready_b(j, width, k, own_b.get());
      if constexpr (kRounds)
        multiply_packed(rows.count, width, deep(k), T{1}, a, b, tile.get(), width, k > 0);
      else
        multiply_packed(rows.count, width, deep(k), T{1}, a, b, c, p_.ldc, k > 0 || p_.accumulate);
    }
    if constexpr (kRounds) store(tile.get(), rows.count, width, c);
  }
  void store(const T* tile, int64_t rows, int64_t width, C* c) const {
    for (int64_t row = 0; row < rows; ++row, tile += width, c += p_.ldc)
      if (p_.accumulate)
        for (int64_t n = 0; n < width; ++n) c[n] = convert_element<C>(tile[n] + convert_element<T>(c[n]));
      else
        for (int64_t n = 0; n < width; ++n) c[n] = convert_element<C>(tile[n]);
  }

  const Product<E, C> p_;
  const Cut<E> cut_;
  const Scratch<T> packed_b_;        ///< a block of b, depth after depth
  const Scratch<T> shared_a_;        ///< all of a, depth after depth
  int64_t first_ = 0, columns_ = 0;  ///< of the block that is multiplied
};

template <class E, class C, class For>
void one_entry(const Product<E, C>& p, For parallel) {
  if (p.M <= kFewRows && p.b_k == 1)
    parallel(p.N, rows_per_piece(p.K, 1 << 16), [&](int64_t begin, int64_t end) {
      dot_rows(p.M, end - begin, p.K, accumulate_t<E>{1}, p.a, p.a_row, p.a_k, p.b + begin * p.b_column, p.b_column,
               p.c + begin, p.ldc, p.accumulate);
    });
  else
    Multiplication<E, C>(p).run(parallel);
}

template <class E, class C>
void run(const MatmulArgs& args) {
  const bool ta = args.transpose_a == Transpose::yes, tb = args.transpose_b == Transpose::yes;
  const auto entry = [&](int64_t i) {
    return Product<E, C>{args.M,
                         args.N,
                         args.K,
                         static_cast<const E*>(args.a) + i * args.a_batch,
                         ta ? 1 : args.lda,
                         ta ? args.lda : 1,
                         static_cast<const E*>(args.b) + i * args.b_batch,
                         tb ? args.ldb : 1,
                         tb ? 1 : args.ldb,
                         static_cast<C*>(args.c) + i * args.c_batch,
                         args.ldc,
                         args.addend != nullptr};
  };
  const int64_t work = args.M * args.N * args.K;  // of one entry
  constexpr int64_t kSmall = 1 << 17, kLarge = 1 << 25;
  if (args.batch > 1 && (args.batch >= 16 || work < kLarge))
    parallel_for(args.batch, std::max<int64_t>(1, kSmall / work), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) one_entry(entry(i), Serial{});
    });
  else
    for (int64_t i = 0; i < args.batch; ++i)
      work < kSmall ? one_entry(entry(i), Serial{}) : one_entry(entry(i), Parallel{});
}

/// c = addend, or zeros where there is none.
template <class C>
void begin_sums(const MatmulArgs& args) {
  parallel_for(args.batch * args.M, rows_per_piece(args.N), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row / args.M * args.c_batch + row % args.M * args.ldc;
      C* c = static_cast<C*>(args.c) + at;
      if (args.addend == nullptr)
        std::fill_n(c, args.N, C{});
      else
        std::copy_n(static_cast<const C*>(args.addend) + at, args.N, c);
    }
  });
}

template <class E, class C>
void multiply(MatmulArgs args) {
  if (args.addend != args.c && (args.addend != nullptr || args.K == 0)) {
    begin_sums<C>(args);
    args.addend = args.c;
  }
  if (args.K > 0) run<E, C>(args);
}

}  // namespace

void matmul(const MatmulArgs& args) {
  if (args.batch == 0 || args.M == 0 || args.N == 0) return;
  visit_float(args.dtype, "matmul", [&]<class E>() {
    args.c_dtype == args.dtype ? multiply<E, E>(args) : multiply<E, accumulate_t<E>>(args);
  });
}

}  // namespace ratel::cpu
