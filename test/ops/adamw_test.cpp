#include "ops/adamw.h"

#include "test/support/compare.h"
#include "test/support/gradcheck.h"

using ratel::Tensor;
namespace test = ratel::test;

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const Tensor x = test::randn({3}, 1);
  test::check_error([&] { adamw(x, x, x, x, {.1, .9, .95, 1e-8, .1, 0}); }, "steps count from 1");
}
