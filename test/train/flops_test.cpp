#include "train/flops.h"

#include <boost/test/unit_test.hpp>

using ratel::ModelPattern;
using ratel::RatPlusConfig;
using ratel::train::training_flops;

BOOST_AUTO_TEST_CASE(what_is_counted_by_hand) {
  // 2 layers, 8 channels, 2 heads of 4, 10 words; T = 3.
  const RatPlusConfig config{.vocab_size = 10, .layers = 2, .channels = 8, .heads = 2};
  const double matrices = 2 * (5 + 1 + 4 + 4) * 64 + 10 * 8;
  // Dense: 1 + 2 + 3 keys in each of 4 heads.
  BOOST_TEST(training_flops(config, {}, 3) == 3 * (2 * 3 * matrices + 4 * 4 * (4 * 6)));
  // D = 2: self, self and the second, the second and self; layers and heads may differ.
  const double sparse_keys = 1 + 1 + 2;
  const ModelPattern mixed{{{{1}, {2}}, {{2}}}};
  BOOST_TEST(training_flops(config, mixed, 3) == 3 * (2 * 3 * matrices + 4 * 4 * (6 + 3 * sparse_keys)));
}

BOOST_AUTO_TEST_CASE(without_a_recurrence_there_is_no_gate_projection) {
  const RatPlusConfig with{.vocab_size = 10, .layers = 1, .channels = 8, .heads = 2};
  RatPlusConfig without = with;
  without.recurrence = ratel::Recurrence::none;
  BOOST_TEST(training_flops(with, {}, 5) - training_flops(without, {}, 5) == 3 * 2 * 5 * 64.0);
}
