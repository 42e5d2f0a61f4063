#include "ops/matmul.h"

#include <array>

#include "autograd/gradient.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/cpu/gemm.h"
#include "ops/create.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"
#include "test/support/gradcheck.h"

using ratel::DType;
using ratel::Shape;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

struct Case {
  const char* path;
  int64_t M, N, K;
};

// Up to 16 rows times rows of b are dot products, the rest is packed: panels hold 14 rows (6 on AVX2) and 32, 16 or 8
// columns (16, 8, 4), half as many columns for f64; a depth is 256 (352). A few rows of nn and tn are packed as well.
const Case kCases[] = {
    {"one element", 1, 1, 1},
    {"one row: groups of 4 columns and a rest, lanes and a rest", 1, 37, 67},
    {"5 rows: groups of 3", 5, 7, 20},
    {"8 rows at once", 8, 6, 33},
    {"9 rows in two parts", 9, 5, 40},
    {"few rows, the most", 16, 9, 130},
    {"one past few rows; a quarter panel of columns", 17, 3, 20},
    {"one short of a panel", 13, 31, 15},
    {"one panel", 14, 32, 16},
    {"one past a panel of rows and of columns", 15, 33, 17},
    {"half panel of columns", 6, 45, 8},
    {"panels of unequal heights, several tasks of rows", 90, 40, 33},
    {"columns cut into strips", 20, 300, 5},
    {"one past a depth: two parts", 17, 34, 353},
    {"K of one", 20, 40, 1},
    {"ragged", 67, 71, 359},
};

struct Variant {
  const char* name;
  Tensor (*op)(const Tensor&, const Tensor&);
  bool ta, tb;
};
const Variant kVariants[] = {
    {"nn", ratel::matmul, false, false}, {"nt", ratel::matmul_nt, false, true}, {"tn", ratel::matmul_tn, true, false}};

Tensor swapped(const Tensor& x, bool transposed) { return transposed ? ratel::transpose(x, -1, -2) : x; }

/// The definition for a variant: its operands turned back, then mul and sum.
test::TensorFunction reference_of(const Variant& v) {
  return [v](const auto& x) { return ratel::matmul_reference(swapped(x[0], v.ta), swapped(x[1], v.tb)); };
}
test::TensorFunction op_of(const Variant& v) {
  return [v](const auto& x) { return v.op(x[0], x[1]); };
}

/// a b as one chain of f32 additions per element: the plain version of low precision.
Tensor chain(const Tensor& a, const Tensor& b) {
  const auto x = ratel::to_vector<float>(a), y = ratel::to_vector<float>(b);
  const auto M = static_cast<size_t>(a.dim(0)), K = static_cast<size_t>(a.dim(1)), N = static_cast<size_t>(b.dim(1));
  std::vector<float> out(M * N, 0.0F);
  for (size_t i = 0; i < M; ++i)
    for (size_t k = 0; k < K; ++k)
      for (size_t j = 0; j < N; ++j) out[i * N + j] += x[i * K + k] * y[k * N + j];
  return ratel::from_vector(out, {a.dim(0), b.dim(1)}, a.dtype());
}

Shape sizes(int64_t rows, int64_t columns, bool transposed) {
  return transposed ? Shape{columns, rows} : Shape{rows, columns};
}

/// The same values with the last two axes exchanged in memory.
Tensor columns_first(const Tensor& x) {
  return ratel::transpose(ratel::contiguous(ratel::transpose(x, -1, -2)), -1, -2);
}

Shape batched(const Shape& batch, const Shape& matrix) {
  Shape shape = batch;
  for (const int64_t size : matrix) shape.push_back(size);
  return shape;
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_variant_equals_the_reference_with_all_gradients) {
  for (const Case& c : kCases)
    for (const Variant& v : kVariants) {
      const std::string what = std::string(c.path) + ' ' + v.name;
      const std::vector<Tensor> inputs{test::randn(sizes(c.M, c.K, v.ta), 1), test::randn(sizes(c.K, c.N, v.tb), 2)};
      const auto exact = test::gradients(reference_of(v), inputs);
      for (const ratel::Device device : test::devices()) {
        const auto ours = test::gradients(op_of(v), inputs, {}, device);
        const std::string where = ratel::concat_text(what, " on ", device);
        test::check_close(ours.out, exact.out, 1e-13, where);
        for (const size_t i : {0U, 1U}) test::check_close(ours.grads[i], exact.grads[i], 1e-13, where + " gradient");
      }
    }
}

namespace {

void check_low_precision(ratel::Device device) {
  for (const Case& c : kCases)
    for (const Variant& v : kVariants)
      for (const DType dtype : {DType::f32, DType::bf16}) {
        const std::string what = ratel::concat_text(c.path, ' ', v.name, ' ', dtype, " on ", device);
        // Gradients of leaves are in f32, also where tensor cores sum them, which cut off what does not fit.
        const int half_ulps = device.is_cuda() && !test::is_imitated(device) && dtype == DType::bf16 ? 2 : 1;
        test::RoundingErrors out, grad_a(half_ulps), grad_b(half_ulps);
        const uint64_t draws = c.M * c.N * c.K > 100000 ? 1 : 32;
        for (uint64_t draw = 0; draw < draws; ++draw) {
          const std::vector<Tensor> x{test::randn(sizes(c.M, c.K, v.ta), 3 * draw + 1, dtype),
                                      test::randn(sizes(c.K, c.N, v.tb), 3 * draw + 2, dtype)};
          const Tensor g = test::randn({c.M, c.N}, 3 * draw + 3, dtype);
          const auto exact =
              test::gradients(reference_of(v), {to(x[0], DType::f64), to(x[1], DType::f64)}, to(g, DType::f64));
          const auto ours = test::gradients(op_of(v), x, g, device);
          const Tensor a = swapped(x[0], v.ta), b = swapped(x[1], v.tb), wide = to(g, DType::f32);
          // The inputs are leaves: their gradients stay in f32.
          const Tensor da = chain(wide, ratel::transpose(b, 0, 1)),
                       db = chain(to(ratel::transpose(a, 0, 1), DType::f32), g);
          out.add(ours.out, chain(a, b), exact.out);
          grad_a.add(ours.grads[0], swapped(da, v.ta), exact.grads[0]);
          grad_b.add(ours.grads[1], swapped(db, v.tb), exact.grads[1]);
        }
        out.check(what);
        grad_a.check(what + " gradient of a");
        grad_b.check(what + " gradient of b");
      }
}

}  // namespace

BOOST_AUTO_TEST_CASE(low_precision_errs_no_more_than_twice_a_plain_chain_of_sums) {
  for (const ratel::Device device : test::devices()) check_low_precision(device);
}

BOOST_AUTO_TEST_CASE(the_quickest_algorithm_errs_no_more_either) {
  using ratel::cuda::GemmChoice;
  test::on_gpus([](ratel::Device device) {
    test::RoundingErrors errors;
    for (const auto& [M, N, K] : {std::array<int64_t, 3>{64, 96, 256}, {200, 40, 72}, {16, 512, 2048}}) {
      const Tensor a = to(test::randn({M, K}, 1), DType::bf16), b = to(test::randn({N, K}, 2), DType::bf16);
      const Tensor wide = matmul_nt(to(a, DType::f64), to(b, DType::f64));
      const auto product = [&](GemmChoice choice) {
        const ratel::cuda::GemmChoiceGuard guard(choice);
        return to(matmul_nt(to(a, device), to(b, device)), ratel::kCpu);
      };
      const Tensor before = product(GemmChoice::heuristic), tried = product(GemmChoice::timed);
      errors.add(tried, to(wide, DType::bf16), wide);
      test::check_identical(product(GemmChoice::timed), tried, "remembered");
      test::check_identical(product(GemmChoice::heuristic), before, "without a trial");
    }
    errors.check(ratel::concat_text("timed on ", device));
  });
}

BOOST_AUTO_TEST_CASE(gradients) {
  for (const Variant& v : kVariants) {
    test::gradcheck(op_of(v), {test::randn(sizes(5, 4, v.ta), 1), test::randn(sizes(4, 3, v.tb), 2)}, v.name);
    test::gradcheck(op_of(v), {test::randn(batched({2, 3}, sizes(5, 4, v.ta)), 1), test::randn(sizes(4, 3, v.tb), 2)},
                    std::string(v.name) + " shared b");
  }
  test::gradcheck([](const auto& x) { return ratel::matmul(x[0], x[0]); }, {test::randn({4, 4}, 1)}, "the same twice");
}

BOOST_AUTO_TEST_CASE(batches_and_layouts) {
  const Shape batches[] = {{3}, {2, 3}, {1}, {0}, {20}};
  for (const Shape& batch : batches)
    for (const Variant& v : kVariants)
      for (const bool shared : {false, true})
        for (const int64_t M : {1, 9, 19}) {  // one row; two parts of few; packed
          const Tensor a = test::randn(batched(batch, sizes(M, 6, v.ta)), 1);
          const Tensor b = test::randn(shared ? sizes(6, 9, v.tb) : batched(batch, sizes(6, 9, v.tb)), 2);
          const std::string what = ratel::concat_text(v.name, " batch ", batch, shared ? " shared b" : "", " M ", M);
          const auto expected = test::gradients(reference_of(v), {a, b});
          const auto check = [&](const Tensor& x, const Tensor& y, const std::string& layout) {
            const auto ours = test::gradients(op_of(v), {x, y});
            test::check_close(ours.out, expected.out, 1e-13, what + layout);
            for (const size_t i : {0U, 1U})
              test::check_close(ours.grads[i], expected.grads[i], 1e-13, what + layout + " gradient");
          };
          check(a, b, "");
          check(test::scattered(a), test::scattered(b), " scattered");
          check(columns_first(a), columns_first(b), " columns first");
          test::on_gpus([&](ratel::Device device) {  // of leaves on the GPU, whose layout is kept
            const std::string where = ratel::concat_text(what, " on ", device);
            const Tensor on = to(a, device), beside = to(b, device);
            test::check_close(op_of(v)({on, beside}), expected.out, 1e-13, where);
            test::check_close(op_of(v)({test::scattered(on), test::scattered(beside)}), expected.out, 1e-13, where);
            test::check_close(op_of(v)({columns_first(on), columns_first(beside)}), expected.out, 1e-13, where);
          });
        }
  // Rows of a wider matrix, read in place: heads of a packed projection, the last token of each sequence.
  for (const ratel::Device device : test::devices()) {
    const Tensor wide = to(test::randn({4, 10, 30}, 3), device), w = to(test::randn({7, 10}, 4), device);
    for (const Tensor& part : {ratel::slice(wide, 2, 10, 20), ratel::slice(ratel::slice(wide, 1, 9, 10), 2, 20, 30),
                               ratel::slice(wide, 2, 0, 30, 3)})
      test::check_close(ratel::matmul_nt(part, w), ratel::matmul_nt(ratel::clone(part), w), 1e-15, "a slice");
    const Tensor stretched = ratel::broadcast_to(to(test::randn({1, 1, 10}, 5), device), {4, 10, 10});
    test::check_close(ratel::matmul(stretched, ratel::transpose(w, 0, 1)),
                      ratel::matmul(ratel::clone(stretched), ratel::transpose(w, 0, 1)), 1e-15, "stretched rows");
  }
}

BOOST_AUTO_TEST_CASE(empty_sizes) {
  for (const Variant& v : kVariants)
    for (const auto& [M, N, K] : {std::array<int64_t, 3>{3, 4, 0}, {0, 4, 5}, {3, 0, 5}, {0, 0, 0}}) {
      const auto result =
          test::gradients(op_of(v), {test::randn(sizes(M, K, v.ta), 1), test::randn(sizes(K, N, v.tb), 2)});
      test::check_identical(result.out, ratel::zeros({M, N}, DType::f64), ratel::concat_text(v.name, " empty"));
      test::check_identical(result.grads[0], ratel::zeros(sizes(M, K, v.ta), DType::f64), "gradient of a");
      test::check_identical(result.grads[1], ratel::zeros(sizes(K, N, v.tb), DType::f64), "gradient of b");
    }
}

BOOST_AUTO_TEST_CASE(the_result_does_not_depend_on_threads_or_on_the_cut) {
  constexpr int64_t K = 403;  // two depths, the second with a few steps after the last eight
  for (const Variant& v : kVariants)
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      const Tensor a = test::randn(sizes(200, K, v.ta), 1, dtype), b = test::randn(sizes(K, 530, v.tb), 2, dtype);
      test::check_thread_independent([&] { return v.op(a, b); }, v.name);
      // An element is the same chain of sums wherever the tiles end: a part of the rows gives a part of the result.
      const Tensor all = v.op(a, b);
      struct Part {
        int64_t row, rows_end, column, columns_end;
      };
      // Full blocks and rests; one row at the end of a task's, next to the narrowest panel, a sum in one register.
      for (const Part& p : {Part{10, 60, 7, 100}, {10, 77, 7, 14}, {10, 77, 7, 10}, {3, 40, 100, 171}}) {
        const Tensor part = v.op(ratel::slice(a, v.ta ? 1 : 0, p.row, p.rows_end),
                                 ratel::slice(b, v.tb ? 0 : 1, p.column, p.columns_end));
        test::check_identical(part, ratel::slice(ratel::slice(all, 0, p.row, p.rows_end), 1, p.column, p.columns_end),
                              ratel::concat_text(v.name, " of rows ", p.row, ", columns ", p.column));
      }
    }
  const Tensor a = test::randn({20, 30, 40}, 1, DType::f32), b = test::randn({20, 40, 50}, 2, DType::f32);
  test::check_thread_independent([&] { return ratel::matmul(a, b); }, "batch");
}

// Attention's scores: a key's score must not tell where its panel ended.
BOOST_AUTO_TEST_CASE(a_scaled_product_of_one_thread_rounds_alike_wherever_it_is_cut) {
  const auto check = [&]<class T>(T alpha) {
    constexpr int64_t M = 41, N = 75, K = 403;
    const DType dtype = std::is_same_v<T, float> ? DType::f32 : DType::f64;
    const Tensor a = test::randn({M, K}, 1, dtype), b = test::randn({N, K}, 2, dtype);
    const auto product = [&](int64_t rows, int64_t columns, T beta) {
      Tensor c = test::randn({M, N}, 3, dtype);
      ratel::cpu::gemm<T>(ratel::Transpose::no, ratel::Transpose::yes, rows, columns, K, alpha, a.data<T>(), K,
                          b.data<T>(), K, beta, c.data<T>(), N);
      return c;
    };
    for (const T beta : {T{0}, T{1}}) {
      const Tensor all = product(M, N, beta);
      for (const int64_t rows : {17, 24, 37, 41})
        for (const int64_t columns : {1, 4, 5, 8, 9, 21, 64, 75})
          test::check_identical(ratel::slice(ratel::slice(product(rows, columns, beta), 0, 0, rows), 1, 0, columns),
                                ratel::slice(ratel::slice(all, 0, 0, rows), 1, 0, columns),
                                ratel::concat_text(dtype, " ", rows, " x ", columns));
    }
  };
  check(0.3F);
  check(0.3);
}

BOOST_AUTO_TEST_CASE(the_kernel_accumulates_where_asked) {
  for (const auto& [dtype, c_dtype] : {std::pair{DType::f64, DType::f64},
                                       {DType::f32, DType::f32},
                                       {DType::bf16, DType::bf16},
                                       {DType::bf16, DType::f32}})
    for (const int64_t M : {3, 40})  // dot products; packed
      for (const int64_t K : {0, 400}) {
        const int64_t N = 50;
        const Tensor a = test::randn({M, K}, 1, dtype), b = test::randn({N, K}, 2, dtype),
                     c = test::randn({M, N}, 3, c_dtype);
        const Tensor expected = to(c, DType::f64) + ratel::matmul_nt(to(a, DType::f64), to(b, DType::f64));
        ratel::cpu::matmul({ratel::Transpose::no, ratel::Transpose::yes, 1, M, N, K, dtype, c_dtype, a.data(), b.data(),
                            c.data(), K, K, N, 0, 0, 0, c.data()});
        test::check_close(c, to(expected, c_dtype), c_dtype == DType::bf16 ? 0x1p-7 : 1e-5, "accumulate");
      }
}

BOOST_AUTO_TEST_CASE(a_product_is_written_where_it_belongs) {
  for (const ratel::Device device : test::devices())
    for (const auto& [dtype, c_dtype] : {std::pair{DType::f64, DType::f64},
                                         {DType::f32, DType::f32},
                                         {DType::bf16, DType::bf16},
                                         {DType::bf16, DType::f32}})
      for (const int64_t K : {0, 33}) {
        const std::string what = ratel::concat_text(dtype, " in ", c_dtype, " on ", device, ", K ", K);
        const Tensor a = test::randn({20, K}, 1, dtype), b = test::randn({K, 9}, 2, dtype),
                     c = test::randn({50, 9}, 3, c_dtype);
        const double tolerance = c_dtype == DType::bf16 ? 0x1p-7 : c_dtype == DType::f32 ? 1e-6 : 1e-14;
        const auto wide = [](const Tensor& x) { return to(x, DType::f64); };
        const auto is = [&](const Tensor& c, const Tensor& expected, const char* op) {
          test::check_close(to(c, ratel::kCpu), to(expected, c.dtype()), tolerance, what + op);
        };
        // A slice of rows: what lies around it stays.
        const Tensor whole = clone(to(c, device));
        const auto version = whole.storage()->version();
        matmul_into(ratel::slice(whole, 0, 10, 30), to(a, device), to(b, device));
        is(ratel::slice(whole, 0, 10, 30), ratel::matmul(wide(a), wide(b)), " replaced");
        is(ratel::slice(whole, 0, 0, 10), ratel::slice(c, 0, 0, 10), " before");
        is(ratel::slice(whole, 0, 30, 50), ratel::slice(c, 0, 30, 50), " behind");
        BOOST_TEST(whole.storage()->version() == version + 1);
        const Tensor sum = clone(to(ratel::slice(c, 0, 0, 20), device));
        add_matmul_tn_into(sum, to(ratel::contiguous(ratel::transpose(a, 0, 1)), device), to(b, device));
        is(sum, wide(ratel::slice(c, 0, 0, 20)) + ratel::matmul(wide(a), wide(b)), " added");
        BOOST_TEST(sum.storage()->version() == 1);
      }
}

BOOST_AUTO_TEST_CASE(an_addend_is_added_and_rounded_once) {
  const auto op = [](const std::vector<Tensor>& x) { return ratel::matmul_nt(x[0], x[1], x[2]); };
  const auto reference = [](const std::vector<Tensor>& x) { return ratel::matmul_nt(x[0], x[1]) + x[2]; };
  struct Product {
    const char* path;
    Shape batch;
    int64_t M, N, K;
  };
  for (const Product& p : {Product{"few rows", {}, 3, 5, 20},
                           {"packed", {}, 40, 33, 17},
                           {"two depths", {}, 20, 9, 400},
                           {"a batch", {2, 3}, 4, 5, 6}})
    test::check_against_reference(op, reference,
                                  {test::randn(batched(p.batch, {p.M, p.K}), 1), test::randn({p.N, p.K}, 2),
                                   test::randn(batched(p.batch, {p.M, p.N}), 3)},
                                  p.path);
  const std::vector<Tensor> inputs{test::randn({2, 20, 6}, 1), test::randn({6, 6}, 2),
                                   test::scattered(test::randn({2, 20, 6}, 3))};
  test::check_against_reference(op, reference, inputs, "a scattered addend");
  test::gradcheck(op, inputs, "all inputs");
  test::check_against_reference(op, reference, {inputs[0], test::randn({2, 6, 6}, 4), inputs[2]}, "a batch of both");
  // Rows of a that do not follow one another over the batch, next to a shared b.
  const Tensor rows = slice(inputs[0], 1, 2, 15);
  test::check_close(ratel::matmul_nt(rows, inputs[1]), ratel::matmul_nt(contiguous(rows), inputs[1]), 1e-14, "rows");
  test::gradcheck([](const auto& x) { return ratel::matmul_nt(x[0], x[1], x[0]); }, {inputs[0], inputs[1]},
                  "an operand is the addend");
  for (const ratel::Device device : test::devices()) {
    const Tensor none = to(ratel::zeros({3, 0}), device), addend = to(test::randn({3, 3}, 1, DType::f32), device);
    test::check_identical(to(ratel::matmul_nt(none, none, addend), ratel::kCpu), to(addend, ratel::kCpu), "K of none");
  }
  // The addend takes the result's gradient, not a copy of it.
  const Tensor x = test::randn({20, 3}, 1), w = test::randn({4, 3}, 2), g = test::randn({20, 4}, 3);
  const Tensor addend = requires_grad(test::randn({20, 4}, 4)) * 1;
  retain_grad(addend);
  backward(ratel::matmul_nt(x, w, addend), g);
  BOOST_TEST(grad(addend).data() == g.data());
}

BOOST_AUTO_TEST_CASE(a_weights_gradient_is_as_wide_as_its_leaf_wants_and_grows_in_place) {
  for (const ratel::Device device : test::devices())
    for (const Variant& v : kVariants)
      for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        const std::string what = ratel::concat_text(v.name, ' ', dtype, " on ", device);
        const Tensor x = to(test::randn(batched({2}, sizes(5, 6, v.ta)), 1, dtype), device);
        const Tensor weight = requires_grad(to(test::randn(sizes(6, 7, v.tb), 2, dtype), device));
        const Tensor g = to(test::randn({2, 5, 7}, 3, dtype), device);
        const double tolerance = dtype == DType::f64 ? 1e-14 : 1e-6;  // f32 sums of bf16 operands too
        const auto once =
            to(test::gradients(op_of(v),
                               {to(to(x, ratel::kCpu), DType::f64), to(to(detach(weight), ratel::kCpu), DType::f64)},
                               to(to(g, ratel::kCpu), DType::f64))
                   .grads[1],
               accumulate_dtype(dtype));
        const auto is_times = [&](const Tensor& grad, double times) {
          test::check_close(to(grad, ratel::kCpu), once * times, tolerance, what);
        };
        backward(v.op(x, weight), g);
        is_times(grad(weight), 1);
        const void* place = grad(weight).data();
        backward(v.op(x, weight) + v.op(x, weight), g);  // a weight used twice
        is_times(grad(weight), 3);
        BOOST_TEST(grad(weight).data() == place);
        // A handle of somebody's keeps what it saw.
        const Tensor held = grad(weight);
        backward(v.op(x, weight), g);
        is_times(grad(weight), 4);
        is_times(held, 3);
        // What an op made takes a gradient of its own dtype, or the engine would complain.
        backward(v.op(x, weight * 1), g);
        test::check_close(to(grad(weight), ratel::kCpu), once * 5, dtype == DType::bf16 ? 0x1p-8 : tolerance, what);
      }
  // One leaf on both sides: both gradients reach it, where it is.
  for (const Variant& v : kVariants) {
    const Tensor square = requires_grad(test::randn({4, 4}, 1)), g = test::randn({4, 4}, 2);
    const Tensor once = test::gradients([&](const auto& x) { return v.op(x[0], x[0]); }, {square}, g).grads[0];
    const void* place = nullptr;
    for (const double times : {1.0, 2.0, 3.0}) {
      backward(v.op(square, square), g);
      test::check_close(grad(square), once * times, 1e-14, ratel::concat_text(v.name, ", both sides"));
      BOOST_TEST((place == nullptr || grad(square).data() == place));
      place = grad(square).data();
    }
  }
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const Tensor a = test::randn({2, 3}, 1), b = test::randn({4, 5}, 2);
  test::check_error([&] { ratel::matmul(a, b); }, "matmul: shapes (2, 3) and (4, 5) do not fit");
  test::check_error([&] { ratel::matmul_nt(a, b); }, "matmul_nt: shapes (2, 3) and (4, 5) do not fit");
  test::check_error([&] { ratel::matmul_tn(a, b); }, "matmul_tn: shapes (2, 3) and (4, 5) do not fit");
  test::check_error([&] { ratel::matmul(test::randn({2, 2, 3}, 1), test::randn({3, 3, 4}, 2)); }, "do not fit");
  test::check_error([&] { ratel::matmul(a, test::randn({3, 3, 4}, 2)); }, "do not fit");
  test::check_error([&] { ratel::matmul(a, test::randn({3}, 1)); }, "matmul: expected ranks of at least 2");
  test::check_error([&] { ratel::matmul(a, to(b, DType::f32)); }, "found f64 and f32");
  test::check_error([&] { ratel::matmul(a, Tensor()); }, "matmul: an undefined tensor");
  test::check_error([&] { ratel::matmul_nt(a, a, a); },
                    "matmul_nt: expected an addend (2, 2) in f64 on cpu, found (2, 3) in f64 on cpu");
  test::check_error([&] { ratel::matmul_nt(a, a, test::randn({2, 2}, 1, DType::f32)); }, "found (2, 2) in f32 on cpu");
  const Tensor c = test::randn({3, 5}, 3), fits = test::randn({3, 3}, 4), other = test::randn({3, 5}, 5);
  test::check_error(
      [&] {
        matmul_into(test::randn({5, 5}, 1), fits, other);
      },
      "matmul: expected a contiguous leaf (3, 5) to write to, found (5, 5)");
  test::check_error([&] { matmul_into(test::scattered(c), fits, other); }, "expected a contiguous leaf");
  test::check_error([&] { matmul_into(requires_grad(c) * 1, fits, other); }, "expected a contiguous leaf");
  test::check_error(
      [&] {
        add_matmul_tn_into(test::randn({3, 5}, 3, DType::bf16), fits, other);
      },
      "matmul_tn: a product in f64 on cpu was to be written in bf16 on cpu");
}
