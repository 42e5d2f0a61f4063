#include "ops/rope.h"

#include "test/support/compare.h"
#include "test/support/gradcheck.h"

using ratel::Tensor;
namespace test = ratel::test;

BOOST_AUTO_TEST_CASE(equals_its_reference) {
  test::check_against_reference([](const auto& x) { return rope(x[0], 3); },
                                [](const auto& x) { return rope_reference(x[0], 3); }, {test::randn({2, 3, 17, 6}, 1)},
                                "rope", 1e-14);
}
