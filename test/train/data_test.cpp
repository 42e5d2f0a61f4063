#include "train/data.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "ops/cross_entropy.h"
#include "test/train/tiny_run.h"

using ratel::test::check_error;
using ratel::test::check_identical;
using ratel::test::TemporaryFolder;
using ratel::test::write_tokens;
using ratel::train::Batch;
using ratel::train::permuted;
using ratel::train::TrainData;

namespace {

std::vector<int64_t> order(int64_t size, uint64_t seed, uint64_t epoch) {
  std::vector<int64_t> result;
  for (int64_t i = 0; i < size; ++i) result.push_back(permuted(i, size, seed, epoch));
  return result;
}

std::vector<int64_t> row(const ratel::Tensor& x, size_t b) {
  const auto all = ratel::to_vector<int64_t>(x);
  const auto T = static_cast<size_t>(x.dim(1));
  return {all.begin() + static_cast<std::ptrdiff_t>(b * T), all.begin() + static_cast<std::ptrdiff_t>((b + 1) * T)};
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_order_is_a_bijection_for_every_size) {
  std::vector<int64_t> sizes{1000, 1023, 1024, 1025, 4095, 4096, 4097, 70001};
  for (int64_t size = 1; size <= 130; ++size) sizes.push_back(size);
  for (const int64_t size : sizes) {
    auto all = order(size, 5, 2);
    std::sort(all.begin(), all.end());
    for (int64_t i = 0; i < size; ++i)
      BOOST_REQUIRE_MESSAGE(all[static_cast<size_t>(i)] == i, "size " << size << " misses " << i);
  }
}

BOOST_AUTO_TEST_CASE(the_order_differs_by_epoch_and_seed_and_is_pure) {
  const auto base = order(1000, 1, 0);
  BOOST_TEST(base == order(1000, 1, 0), boost::test_tools::per_element());
  // Two random permutations agree in about one place; the high words of seed and epoch count too.
  for (const auto& [seed, epoch] : std::initializer_list<std::pair<uint64_t, uint64_t>>{
           {1, 1}, {2, 0}, {uint64_t{1} << 32 | 1, 0}, {1, uint64_t{1} << 32}}) {
    const auto other = order(1000, seed, epoch);
    int agree = 0;
    for (size_t i = 0; i < base.size(); ++i) agree += base[i] == other[i] ? 1 : 0;
    BOOST_TEST(agree < 10, "seed " << seed << " epoch " << epoch);
  }
}

BOOST_AUTO_TEST_CASE(the_order_looks_random) {
  // Over many epochs each window comes about equally often into the first tenth; neighbours part.
  constexpr int64_t kSize = 50, kEpochs = 2000;
  std::vector<int> early(kSize, 0);
  int neighbours = 0;
  for (int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    const auto all = order(kSize, 9, static_cast<uint64_t>(epoch));
    for (size_t i = 0; i < 5; ++i) ++early[static_cast<size_t>(all[i])];
    for (size_t i = 1; i < all.size(); ++i) neighbours += all[i] == all[i - 1] + 1 ? 1 : 0;
  }
  for (const int count : early) BOOST_TEST((count > 130 && count < 270), count);  // 200 expected, sigma 13.4
  BOOST_TEST((neighbours > 1700 && neighbours < 2220), neighbours);               // 1960 expected, sigma about 44
}

BOOST_AUTO_TEST_CASE(huge_sizes_stay_inside) {
  const int64_t size = (int64_t{1} << 40) + 7;
  std::set<int64_t> seen;
  for (int64_t i = 0; i < 1000; ++i) {
    const int64_t to = permuted(size - 1 - i, size, 3, 4);
    BOOST_REQUIRE(to >= 0);
    BOOST_REQUIRE(to < size);
    seen.insert(to);
  }
  BOOST_TEST(seen.size() == 1000u);
  check_error([] { permuted(5, 5, 0, 0); }, "expected an index below 5, found 5");
}

BOOST_AUTO_TEST_CASE(windows_overlap_by_one_token_and_an_epoch_sees_each_once) {
  const TemporaryFolder folder;
  std::vector<int64_t> tokens;
  for (int64_t i = 0; i < 23; ++i) tokens.push_back(i);
  write_tokens(folder / "data.bin", tokens, 100);
  const TrainData data(ratel::io::TokenFile::open(folder / "data.bin", 100), 4, 1, -1);
  BOOST_TEST(data.windows() == 5);  // 4 * 5 + 1 <= 23
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    std::set<int64_t> windows;
    for (int64_t i = 0; i < 5; ++i) windows.insert(data.window_of(epoch * 5 + i));
    BOOST_TEST(windows.size() == 5u);
  }
  // A batch across the end of the epoch.
  const Batch batch = data.batch(3, 4);
  BOOST_TEST(batch.counted == 16);
  for (size_t b = 0; b < 4; ++b) {
    const int64_t first = data.window_of(3 + static_cast<int64_t>(b)) * 4;
    BOOST_TEST(row(batch.tokens, b) == (std::vector<int64_t>{first, first + 1, first + 2, first + 3}),
               boost::test_tools::per_element());
    BOOST_TEST(row(batch.labels, b) == (std::vector<int64_t>{first + 1, first + 2, first + 3, first + 4}),
               boost::test_tools::per_element());
  }
  // However a batch is cut, the samples are the same.
  const Batch tail = data.batch(5, 2);
  BOOST_TEST(row(batch.tokens, 2) == row(tail.tokens, 0), boost::test_tools::per_element());
  BOOST_TEST(row(batch.tokens, 3) == row(tail.tokens, 1), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(samples_go_through_the_windows_in_the_order_of_their_epoch_and_seed) {
  const TemporaryFolder folder;
  write_tokens(folder / "data.bin", std::vector<int64_t>(101, 1));
  const auto file = ratel::io::TokenFile::open(folder / "data.bin", 17);
  for (const uint64_t seed : {uint64_t{1}, uint64_t{2}}) {
    const TrainData data(file, 1, seed, -1);
    for (int64_t sample = 0; sample < 300; ++sample)
      BOOST_TEST(data.window_of(sample) == permuted(sample % 100, 100, seed, static_cast<uint64_t>(sample / 100)));
  }
}

BOOST_AUTO_TEST_CASE(the_label_of_an_end_of_text_input_is_ignored) {
  const TemporaryFolder folder;
  write_tokens(folder / "data.bin", {1, 9, 2, 9, 9, 3, 4});
  const TrainData data(ratel::io::TokenFile::open(folder / "data.bin", 17), 6, 0, 9);
  const Batch batch = data.batch(0, 1);
  constexpr int64_t kNone = ratel::kIgnoreIndex;
  BOOST_TEST(row(batch.labels, 0) == (std::vector<int64_t>{9, kNone, 9, kNone, kNone, 4}),
             boost::test_tools::per_element());
  BOOST_TEST(batch.counted == 3);
}

BOOST_AUTO_TEST_CASE(windows_in_memory_become_a_batch_like_those_of_a_file) {
  const TemporaryFolder folder;
  const std::vector<int64_t> tokens{1, 9, 2, 9, 9, 3, 4};
  write_tokens(folder / "data.bin", tokens);
  const auto file = ratel::io::TokenFile::open(folder / "data.bin", 17);
  const std::vector<int64_t> begins{0, 3};
  const Batch expected = ratel::train::windows_at(file, begins, 3, 9);
  const std::vector<std::vector<int64_t>> windows{{1, 9, 2, 9}, {9, 9, 3, 4}};
  const Batch batch = ratel::train::batch_of(windows, 9);
  check_identical(batch.tokens, expected.tokens, "tokens");
  check_identical(batch.labels, expected.labels, "labels");
  BOOST_TEST(batch.counted == expected.counted);
  using Windows = std::vector<std::vector<int64_t>>;
  check_error([] { ratel::train::batch_of(Windows{}, 9); }, "expected windows of 2 tokens or more");
  check_error([] { ratel::train::batch_of(Windows{{1}}, 9); }, "expected windows of 2 tokens or more");
  check_error([] { ratel::train::batch_of(Windows{{1, 2}, {1, 2, 3}}, 9); }, "windows of 2 tokens, found 3");
}

BOOST_AUTO_TEST_CASE(files_that_do_not_fit_are_named) {
  const TemporaryFolder folder;
  write_tokens(folder / "short.bin", {1, 2, 3, 4});
  const auto file = ratel::io::TokenFile::open(folder / "short.bin", 17);
  BOOST_TEST(TrainData(file, 3, 0, -1).windows() == 1);
  check_error([&] { TrainData(file, 4, 0, -1); }, "short.bin: expected at least 5 tokens");
  check_error([&] { TrainData(file, 4, 0, -1); }, "found 4\nhint: a smaller --data.seq_len");
  write_tokens(folder / "ends.bin", {9, 9, 9, 1});
  const auto ends = ratel::io::TokenFile::open(folder / "ends.bin", 17);
  check_error([&] { TrainData(ends, 3, 0, 9); }, "ends.bin: expected text, found end-of-text tokens alone");
  BOOST_TEST(TrainData(ends, 3, 0, 8).windows() == 1);
  write_tokens(folder / "begins.bin", {9, 9, 9, 1, 2, 3, 4});  // only its first window is of them
  BOOST_TEST(TrainData(ratel::io::TokenFile::open(folder / "begins.bin", 17), 3, 0, 9).windows() == 2);
  const auto narrow = ratel::io::TokenFile::open(folder / "short.bin", 3);
  check_error([&] { std::ignore = TrainData(narrow, 3, 0, -1).batch(0, 1); }, "short.bin:4: ");
}
