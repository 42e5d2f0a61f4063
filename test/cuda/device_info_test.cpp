#include "cuda/device_info.h"

#include <boost/test/unit_test.hpp>

BOOST_AUTO_TEST_CASE(a_machine_without_a_gpu_is_described_not_refused) {
  const auto report = ratel::cuda::gpu_report();
  BOOST_TEST(report.gpus.empty() == !report.problem.empty());
  for (const auto& gpu : report.gpus) {
    BOOST_TEST(!gpu.name.empty());
    BOOST_TEST(gpu.major >= 7);
    BOOST_TEST(gpu.memory_bytes > 0);
  }
}

BOOST_AUTO_TEST_CASE(the_runtime_has_a_version) {
  BOOST_TEST(ratel::cuda::runtime_version().find('.') != std::string::npos);
}
