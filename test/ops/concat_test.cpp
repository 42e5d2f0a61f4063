#include "ops/concat.h"

#include "test/support/compare.h"
#include "test/support/gradcheck.h"

using ratel::Tensor;
namespace test = ratel::test;

BOOST_AUTO_TEST_CASE(gradients) {
  test::gradcheck(
      [](const auto& x) {
        return concat({x[0], x[1]}, 1);
      },
      {test::randn({2, 3}, 1), test::randn({2, 1}, 2)}, "concat");
}
