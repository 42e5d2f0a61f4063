#include "core/upload.h"

#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "test/support/compare.h"
#include "test/support/devices.h"

using ratel::Device;
using ratel::DType;
using ratel::Tensor;
namespace test = ratel::test;

BOOST_AUTO_TEST_CASE(what_was_uploaded_is_there_once_it_arrived) {
  test::on_gpus([](Device device) {
    // Two places, as a loop has them that fills one while the other is read.
    const int64_t n = 100'000;
    struct Place {
      Tensor host, there;
      ratel::Upload upload;
      explicit Place(Device device)
          : host(ratel::empty_pinned({n}, DType::f32, device)),
            there(ratel::empty({n}, DType::f32, device)),
            upload(device) {}
      void fill(int round) const {
        upload.wait();
        for (int64_t i = 0; i < n; ++i) host.data<float>()[i] = static_cast<float>(i + round);
        upload.copy(there, host);
      }
    };
    const Place places[]{Place(device), Place(device)};
    places[0].fill(0);
    Tensor sum = ratel::zeros({n}, DType::f32, device);
    for (int round = 0; round < 6; ++round) {
      const Place &place = places[round % 2], &next = places[(round + 1) % 2];
      place.upload.arrive();
      add_into(sum, place.there);
      place.upload.release();
      next.fill(round + 1);
    }
    Tensor expected = ratel::zeros({n});
    for (int round = 0; round < 6; ++round) add_into(expected, ratel::arange(n, DType::f32) + round);
    test::check_identical(to(sum, ratel::kCpu), expected, "the sum of six uploads");
  });
}

BOOST_AUTO_TEST_CASE(the_host_has_to_wait_before_it_writes_again) {
  // Which the twin shows every time: it copies at the last moment.
  test::on_gpus([](Device device) {
    if (!test::is_imitated(device)) return;
    const Tensor host = ratel::empty_pinned({1}, DType::f32, device), there = ratel::empty({1}, DType::f32, device);
    const ratel::Upload upload(device);
    *host.data<float>() = 1;
    upload.copy(there, host);
    *host.data<float>() = 2;
    BOOST_TEST(std::isnan(there.item()));
    upload.arrive();
    BOOST_TEST(there.item() == 2);
  });
}

BOOST_AUTO_TEST_CASE(what_cannot_be_uploaded_is_refused) {
  test::on_gpus([](Device device) {
    const Tensor host = ratel::empty_pinned({3}, DType::f32, device), there = ratel::empty({3}, DType::f32, device);
    const ratel::Upload upload(device);
    const auto version = there.storage()->version();
    upload.copy(there, host);
    BOOST_TEST(there.storage()->version() == version + 1);
    test::check_error([&] { upload.copy(host, host); },
                      ratel::concat_text("upload: expected contiguous tensors alike, to ", device));
    test::check_error([&] { upload.copy(there, ratel::empty_pinned({4}, DType::f32, device)); }, "f32 (4) on cpu");
    test::check_error([&] { upload.copy(there, ratel::empty_pinned({3}, DType::i32, device)); }, "i32 (3) on cpu");
  });
  test::check_error([] { ratel::Upload{ratel::kCpu}; }, "an upload brings tensors to a GPU, not to cpu");
  test::check_error([] { ratel::empty_pinned({1}, DType::f32, ratel::kCpu); }, "is read by a GPU, not by cpu");
}
