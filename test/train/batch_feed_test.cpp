#include "train/batch_feed.h"

#include "ops/copy.h"
#include "ops/create.h"
#include "test/support/compare.h"
#include "test/support/devices.h"

namespace test = ratel::test;
namespace train = ratel::train;
using ratel::Device;
using ratel::DType;

namespace {

constexpr int64_t kVocab = 1000, kT = 3, kPartSize = 2, kParts = 2, kBatch = kParts * kPartSize;

/// Sample s has the tokens 10 s, 10 s + 1, ... and labels one higher, of which s % 3 are ignored.
train::Batch batch_of(int64_t first, int64_t count) {
  train::Batch batch{ratel::empty({count, kT}, DType::i64), ratel::empty({count, kT}, DType::i64)};
  for (int64_t b = 0; b < count; ++b)
    for (int64_t t = 0; t < kT; ++t) {
      const int64_t sample = first + b, token = 10 * sample + t;
      const bool counts = t >= sample % 3;
      batch.tokens.data<int64_t>()[b * kT + t] = token;
      batch.labels.data<int64_t>()[b * kT + t] = counts ? token + 1 : ratel::kIgnoreIndex;
      batch.counted += counts ? 1 : 0;
    }
  return batch;
}

void check_batch(std::span<const train::BatchPart> parts, int64_t first, const std::string& what) {
  BOOST_TEST_CONTEXT(what) {
    BOOST_REQUIRE(parts.size() == static_cast<size_t>(kParts));
    const int64_t counted = batch_of(first, kBatch).counted;
    for (size_t i = 0; i < parts.size(); ++i) {
      const train::Batch expected = batch_of(first + static_cast<int64_t>(i) * kPartSize, kPartSize);
      test::check_identical(to(parts[i].tokens, ratel::kCpu), expected.tokens, "tokens");
      test::check_identical(to(parts[i].labels.labels, ratel::kCpu), expected.labels, "labels");
      BOOST_TEST(parts[i].labels.share.item() == 1.0 / static_cast<double>(expected.counted));
      const double share = static_cast<double>(expected.counted) / static_cast<double>(counted);
      BOOST_TEST(parts[i].share_value == share);
      BOOST_TEST((parts[i].share.dtype() == DType::f32));
      BOOST_TEST(parts[i].share.item() == static_cast<double>(static_cast<float>(share)));
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(batches_come_as_asked_for_prefetched_or_not) {
  for (const Device device : test::devices()) {
    std::vector<int64_t> reads;
    train::BatchFeed feed(
        [&](int64_t first, int64_t count) {
          if (first % kBatch == 0) reads.push_back(first);
          return batch_of(first, count);
        },
        kParts, kPartSize, kVocab, device, DType::f32);
    check_batch(feed.take(0), 0, "the first");
    feed.prefetch(4);
    check_batch(feed.take(4), 4, "prefetched");
    check_batch(feed.take(8), 8, "not prefetched");
    feed.prefetch(12);
    check_batch(feed.take(40), 40, "another than was prefetched");
    feed.prefetch(44);
    feed.prefetch(48);
    check_batch(feed.take(48), 48, "prefetched twice");
    check_batch(feed.take(48), 48, "once more");
    const std::vector<int64_t> on_cpu{0, 4, 8, 40, 48, 48}, on_gpu{0, 4, 8, 12, 40, 44, 48, 48};
    BOOST_TEST(reads == (device.is_cuda() ? on_gpu : on_cpu), boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(a_batch_stays_while_the_next_one_is_fetched) {
  for (const Device device : test::devices()) {
    train::BatchFeed feed(batch_of, kParts, kPartSize, kVocab, device, DType::f32);
    for (int64_t first = 0; first < 40; first += kBatch) {
      const auto parts = feed.take(first);
      feed.prefetch(first + kBatch);
      check_batch(parts, first, "while the next one is fetched");
    }
  }
}

BOOST_AUTO_TEST_CASE(an_error_of_the_data_is_thrown_by_who_takes_it) {
  for (const Device device : test::devices()) {
    bool broken = true;
    train::BatchFeed feed(
        [&](int64_t first, int64_t count) {
          if (broken && first + count > 6) ratel::fail_input("data.bin", "a bad token");
          return batch_of(first, count);
        },
        kParts, kPartSize, kVocab, device, DType::f32);
    check_batch(feed.take(0), 0, "before");
    feed.prefetch(4);
    for (int again = 0; again < 2; ++again) {
      test::check_error([&] { feed.take(4); }, "data.bin: a bad token");
      check_batch(feed.take(0), 0, "what was whole");
    }
    broken = false;
    check_batch(feed.take(4), 4, "mended");
  }
}

BOOST_AUTO_TEST_CASE(parts_without_a_label_weigh_nothing) {
  for (const Device device : test::devices()) {
    train::BatchFeed feed(
        [&](int64_t first, int64_t count) {
          train::Batch batch = batch_of(first, count);
          if (first >= 2) batch = {batch.tokens, ratel::full({count, kT}, ratel::kIgnoreIndex, DType::i64), 0};
          return batch;
        },
        kParts, kPartSize, kVocab, device, DType::f64);
    const auto parts = feed.take(0);
    BOOST_TEST(parts[0].share.item() == 1);
    BOOST_TEST(parts[1].share.item() == 0);
    BOOST_TEST(parts[1].labels.share.item() == 0);
    for (const auto& part : feed.take(8)) BOOST_TEST(part.share_value == 0);
  }
}

BOOST_AUTO_TEST_CASE(what_kernels_would_index_by_is_checked) {
  for (const Device device : test::devices()) {
    train::Batch given = batch_of(0, kPartSize);
    train::BatchFeed feed([&](int64_t, int64_t) { return given; }, kParts, kPartSize, kVocab, device, DType::f32);
    given.tokens.data<int64_t>()[1] = kVocab;
    test::check_error([&] { feed.take(0); }, "id 1000 at position 1 is not in [0, 1000)");
    given = batch_of(0, kPartSize);
    given.labels.data<int64_t>()[0] = -7;
    test::check_error([&] { feed.take(0); }, "batch: label -7 at (0, 0) is neither in [0, 1000) nor");
    given = batch_of(0, kPartSize);
    ++given.counted;
    test::check_error([&] { feed.take(0); }, "batch: 6 labels were said to count, of sample 0 and on, which is not so");
  }
}
