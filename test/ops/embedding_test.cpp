#include "ops/embedding.h"

#include "test/support/compare.h"
#include "test/support/gradcheck.h"

using ratel::Tensor;
namespace test = ratel::test;

BOOST_AUTO_TEST_CASE(equals_its_reference) {
  const Tensor ids = ratel::from_vector<int64_t>({0, 4, 4, 1, 2, 4}, {2, 3});
  test::check_against_reference([&](const auto& x) { return embedding(x[0], ids); },
                                [&](const auto& x) { return embedding_reference(x[0], ids); },
                                {test::randn({5, 70}, 1)}, "embedding", 1e-14);
}
