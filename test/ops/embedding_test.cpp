#include "ops/embedding.h"

#include "autograd/gradient.h"
#include "ops/backward.h"
#include "ops/copy.h"
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
  int64_t V, C;
  Shape ids;
};

// The forward copies rows; the backward gives each task a strip of channels, at least 16 and at most 64 of them.
const Case kCases[] = {
    {"one id, one channel", 1, 1, {1}},
    {"a scalar id", 3, 5, {}},
    {"no ids", 4, 3, {0}},
    {"one strip", 7, 16, {2, 9}},
    {"one past a strip", 7, 17, {30}},
    {"ragged strips, ids repeated often", 5, 130, {3, 4, 5}},
    {"wide strips", 11, 520, {40}},
    // On a GPU: 256 ids a blockful, at most 64 chunks of blockfuls, 8 ids and 32 vectors of channels a block,
    // where more than 32 positions of an id are the whole block's.
    {"two chunks, the second ragged", 3, 2, {300}},
    {"ids that a chunk lacks", 300, 4, {257}},
    {"ids that a block adds, after those of a warp", 9, 130, {430}},
};

Tensor ids_for(const Case& c, DType dtype = DType::i64) {
  ratel::Rng rng(3);
  return ratel::random_integers(c.ids, rng, c.V, dtype);
}

}  // namespace

BOOST_AUTO_TEST_CASE(equals_its_reference) {
  for (const Case& c : kCases) {
    const Tensor ids = ids_for(c);
    test::check_against_reference([&](const auto& x) { return embedding(x[0], moved_to(ids, x[0].device())); },
                                  [&](const auto& x) { return embedding_reference(x[0], ids); },
                                  {test::randn({c.V, c.C}, 1)}, c.path, 1e-14);
  }
}

BOOST_AUTO_TEST_CASE(ids_of_every_integer_dtype_and_layout) {
  const Case c{"", 7, 5, {4, 3}};
  const Tensor weight = test::randn({c.V, c.C}, 1), expected = embedding(weight, ids_for(c));
  for (const DType dtype : {DType::i32, DType::u16, DType::u8})
    test::check_identical(embedding(weight, ids_for(c, dtype)), expected, "ids of another dtype");
  test::check_identical(embedding(weight, test::scattered(ids_for(c))), expected, "scattered ids");
  test::check_identical(embedding(weight, transpose(ids_for(c), 0, 1)), contiguous(transpose(expected, 0, 1)),
                        "transposed ids");
}

BOOST_AUTO_TEST_CASE(gradients) {
  const Tensor ids = ratel::from_vector<int64_t>({0, 4, 4, 1, 2, 4}, {2, 3});
  test::gradcheck([&](const auto& x) { return embedding(x[0], ids); }, {test::randn({5, 7}, 1)}, "embedding");
  // A table that an op made, as a tied or converted one.
  test::gradcheck([&](const auto& x) { return embedding(clone(x[0]), ids); }, {test::randn({5, 7}, 1)}, "of a result");
  const Tensor half = requires_grad(ratel::ones({5, 7}, DType::bf16));
  backward(embedding(to(half, DType::f32), ids), ratel::ones({2, 3, 7}));
  backward(embedding(clone(half), ids), ratel::ones({2, 3, 7}, DType::bf16));
}

BOOST_AUTO_TEST_CASE(a_bf16_table_gets_its_gradient_in_f32) {
  // 300 ones and a small one: bf16 sums would stop at 256.
  const Tensor weight = requires_grad(ratel::ones({2, 3}, DType::bf16));
  backward(embedding(weight, ratel::zeros({300}, DType::i64)), ratel::ones({300, 3}, DType::bf16));
  BOOST_TEST((grad(weight).dtype() == DType::f32));
  test::check_identical(grad(weight), ratel::from_vector<float>({300, 300, 300, 0, 0, 0}, {2, 3}), "counts");
}

BOOST_AUTO_TEST_CASE(chunks_of_several_blockfuls_keep_the_order) {
  // On a GPU 64 chunks of two blockfuls, most ids in each of them; integers have exact sums.
  const Tensor ids = ids_for({"", 7, 1, {16700}}), weight = test::randn({7, 1}, 1);
  ratel::Rng rng(4);
  const Tensor grad = to(ratel::random_integers({16700, 1}, rng, 1000), DType::f64);
  const auto op = [&](const auto& x) { return embedding(x[0], moved_to(ids, x[0].device())); };
  const Tensor expected = test::gradients(op, {weight}, grad).grads[0];
  test::on_gpus([&](ratel::Device device) {
    test::check_identical(test::gradients(op, {weight}, grad, device).grads[0], expected, "on cuda");
  });
}

BOOST_AUTO_TEST_CASE(a_gpu_sums_in_one_order) {
  const Tensor ids = ids_for({"", 3, 1, {900}}), weight = test::randn({3, 9}, 1, DType::f32);
  const auto op = [&](const auto& x) { return embedding(x[0], moved_to(ids, x[0].device())); };
  test::on_gpus([&](ratel::Device device) {
    const Tensor once = test::gradients(op, {weight}, {}, device).grads[0];
    test::check_identical(test::gradients(op, {weight}, {}, device).grads[0], once, "again");
  });
}

BOOST_AUTO_TEST_CASE(threads_do_not_matter) {
  const Case c{"", 50, 200, {4000}};
  const Tensor ids = ids_for(c), weight = test::randn({c.V, c.C}, 1, DType::f32);
  test::check_thread_independent([&] { return embedding(weight, ids); }, "forward");
  test::check_thread_independent(
      [&] { return test::gradients([&](const auto& x) { return embedding(x[0], ids); }, {weight}).grads[0]; },
      "backward");
}

BOOST_AUTO_TEST_CASE(ids_may_be_checked_by_the_caller) {
  const Tensor weight = test::randn({5, 7}, 1), ids = ratel::from_vector<int64_t>({4, 0, 2}, {3});
  for (const ratel::Device device : test::devices())
    test::check_identical(to(embedding(to(weight, device), to(ids, device), ratel::IdCheck::by_caller), ratel::kCpu),
                          embedding(weight, ids), "by the caller");
  ratel::check_ids(ids, 5);
  test::check_error([&] { ratel::check_ids(ids, 4); }, "embedding: id 4 at position 0 is not in [0, 4)");
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const Tensor weight = test::randn({5, 7}, 1);
  test::check_error(
      [&] {
        embedding(weight, ratel::from_vector<int64_t>({0, 1, 5}, {3}));
      },
      "embedding: id 5 at position 2 is not in [0, 5)");
  test::check_error([&] { embedding(weight, ratel::from_vector<int32_t>({0, -1}, {2})); }, "id -1 at position 1");
  test::check_error([&] { embedding(weight, ratel::ones({2})); }, "embedding: expected ids of an integer dtype");
  test::check_error([&] { embedding(transpose(weight, 0, 1), ratel::arange(2)); }, "expected a contiguous float table");
  test::check_error([&] { embedding(ratel::ones({3}), ratel::arange(2)); }, "expected a contiguous float table");
  test::check_error([&] { embedding(ratel::zeros({3, 2}, DType::i32), ratel::arange(2)); }, "float table");
}
