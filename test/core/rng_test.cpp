#include "core/rng.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <thread>
#include <vector>

#include "test/support/compare.h"

using ratel::Rng;
using Words = std::array<uint32_t, 4>;

BOOST_AUTO_TEST_CASE(philox_gives_the_published_vectors) {
  // Random123, kat_vectors, philox4x32 of 10 rounds.
  BOOST_TEST((ratel::philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  BOOST_TEST((ratel::philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}) ==
              Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  BOOST_TEST((ratel::philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
              Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

BOOST_AUTO_TEST_CASE(a_number_is_a_function_of_seed_stream_and_index) {
  Rng rng(5, 3);
  std::vector<uint64_t> drawn;
  for (int i = 0; i < 10; ++i) drawn.push_back(rng.bits());
  BOOST_TEST(rng.next() == 10U);
  for (size_t i = 10; i-- > 0;) BOOST_TEST(Rng(5, 3).bits_at(i) == drawn[i]);
  Rng resumed(5, 3, 4);
  BOOST_TEST(resumed.bits() == drawn[4]);
  BOOST_TEST(resumed.reserve(3) == 5U);
  BOOST_TEST(resumed.bits() == drawn[8]);
  // Every part of seed, stream and index counts, the upper halves too.
  std::set<uint64_t> seen{drawn[0]};
  for (const uint64_t one : {uint64_t{1}, uint64_t{1} << 32, uint64_t{1} << 63}) {
    seen.insert(Rng(5 ^ one, 3).bits_at(0));
    seen.insert(Rng(5, 3 ^ one).bits_at(0));
    seen.insert(Rng(5, 3).bits_at(one));
  }
  BOOST_TEST(seen.size() == 10U);
}

BOOST_AUTO_TEST_CASE(threads_do_not_influence_one_another) {
  std::vector<std::vector<double>> drawn(4);
  {
    std::vector<std::thread> threads;
    for (auto& values : drawn)
      threads.emplace_back([&] {
        Rng rng(1);
        for (int i = 0; i < 1000; ++i) values.push_back(rng.normal());
      });
    for (auto& thread : threads) thread.join();
  }
  for (const auto& values : drawn) BOOST_TEST((values == drawn[0]));
}

BOOST_AUTO_TEST_CASE(uniform_has_the_moments_of_its_distribution) {
  constexpr int kCount = 1 << 18;
  Rng rng(2);
  double sum = 0, squares = 0, product = 0, previous = 0.5, lowest = 1, highest = 0;
  std::vector<int> bins(16);
  for (int i = 0; i < kCount; ++i) {
    const double u = rng.uniform();
    sum += u, squares += u * u, product += (u - 0.5) * (previous - 0.5);
    lowest = std::min(lowest, u), highest = std::max(highest, u), previous = u;
    ++bins[static_cast<size_t>(u * 16)];
  }
  const double noise = 5 / std::sqrt(kCount);  // five standard errors of a unit-variance mean
  BOOST_TEST(std::abs(sum / kCount - 0.5) < noise * std::sqrt(1.0 / 12));
  BOOST_TEST(std::abs(squares / kCount - 1.0 / 3) < noise * std::sqrt(4.0 / 45));
  BOOST_TEST(std::abs(product / kCount) < noise / 12);  // neighbours are uncorrelated
  BOOST_TEST(lowest >= 0);
  BOOST_TEST(highest < 1);
  double chi2 = 0;
  for (const int bin : bins) chi2 += std::pow(bin - kCount / 16.0, 2) / (kCount / 16.0);
  BOOST_TEST(chi2 < 45);  // 15 degrees of freedom: p about 1e-4
}

BOOST_AUTO_TEST_CASE(normal_has_the_moments_of_its_distribution) {
  constexpr int kCount = 1 << 18;
  Rng rng(3), other(3, 1);
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0, cross = 0;
  int tail = 0;
  for (int i = 0; i < kCount; ++i) {
    const double x = rng.normal();
    BOOST_REQUIRE(std::isfinite(x));
    m1 += x, m2 += x * x, m3 += x * x * x, m4 += x * x * x * x;
    cross += x * other.normal();
    tail += std::abs(x) > 2.5758293035489;
  }
  const double noise = 5 / std::sqrt(kCount);
  BOOST_TEST(std::abs(m1 / kCount) < noise);
  BOOST_TEST(std::abs(m2 / kCount - 1) < noise * std::sqrt(2));
  BOOST_TEST(std::abs(m3 / kCount) < noise * std::sqrt(15));
  BOOST_TEST(std::abs(m4 / kCount - 3) < noise * std::sqrt(96));
  BOOST_TEST(std::abs(cross / kCount) < noise);  // streams are independent
  BOOST_TEST(std::abs(tail / static_cast<double>(kCount) - 0.01) < noise * 0.1);
}

BOOST_AUTO_TEST_CASE(below_is_unbiased_and_bounded) {
  Rng rng(4);
  for (const uint64_t bound : {uint64_t{1}, uint64_t{2}, uint64_t{7}, uint64_t{1} << 33}) {
    for (int i = 0; i < 1000; ++i) BOOST_REQUIRE(rng.below(bound) < bound);
  }
  // Three quarters of 2^64: without rejection the first third would come twice as often.
  constexpr uint64_t kBound = 3ULL << 62;
  int first = 0;
  for (int i = 0; i < 30000; ++i) first += rng.below(kBound) < kBound / 3;
  BOOST_TEST(std::abs(first - 10000) < 5 * std::sqrt(30000 * 2.0 / 9));
  ratel::test::check_error([&] { rng.below(0); }, "bound must be at least 1");
}
