#include "models/step_inputs.h"

#include "ops/copy.h"
#include "ops/create.h"
#include "test/support/compare.h"
#include "test/support/devices.h"

using ratel::Device;
using ratel::DType;
using ratel::StepInputs;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

using Numbers = std::vector<int64_t>;

Numbers numbers_of(const Tensor& x) { return to_vector<int64_t>(x); }

}  // namespace

BOOST_AUTO_TEST_CASE(later_work_finds_what_was_sent_and_earlier_work_what_was_there) {
  for (const Device device : test::devices()) {
    StepInputs inputs(3, device);
    const void* const place = inputs.tokens().data();
    BOOST_TEST(inputs.tokens().shape() == (ratel::Shape{3, 1}));
    BOOST_TEST(inputs.positions().lengths.shape() == ratel::Shape{3});
    BOOST_TEST(numbers_of(inputs.positions().counts) == (Numbers{0, 0, 0}));
    inputs.send(Numbers{7, 8, 9}, Numbers{1, 0, 1}, Numbers{30, 31, 32});
    const Tensor copy = empty_like(inputs.tokens());
    copy_into(copy, inputs.tokens());
    BOOST_TEST(numbers_of(inputs.positions().lengths) == (Numbers{7, 8, 9}));
    inputs.send(Numbers{10, 11, 12}, Numbers{1, 1, 1});
    inputs.send(Numbers{13, 14, 15}, Numbers{0, 1, 0}, Numbers{33, 34, 35});
    BOOST_TEST(numbers_of(inputs.positions().lengths) == (Numbers{13, 14, 15}));
    BOOST_TEST(numbers_of(inputs.positions().counts) == (Numbers{0, 1, 0}));
    BOOST_TEST(numbers_of(inputs.tokens()) == (Numbers{33, 34, 35}));
    BOOST_TEST(numbers_of(copy) == (Numbers{30, 31, 32}));
    BOOST_TEST(inputs.tokens().data() == place);
  }
}

BOOST_AUTO_TEST_CASE(may_be_moved) {
  for (const Device device : test::devices()) {
    StepInputs inputs(1, device);
    inputs.send(Numbers{5}, Numbers{1}, Numbers{2});
    StepInputs moved = std::move(inputs);
    BOOST_TEST(numbers_of(moved.positions().lengths) == Numbers{5});
    moved.send(Numbers{6}, Numbers{1}, Numbers{3});
    BOOST_TEST(numbers_of(moved.tokens()) == Numbers{3});
  }
}
