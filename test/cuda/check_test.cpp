// What answers of CUDA's become, which needs no GPU.

#include "cuda/check.h"

#include <boost/test/unit_test.hpp>

namespace {

ratel::ErrorKind kind_of_failure(cudaError_t answer) {
  try {
    ratel::cuda::require(answer, "cudaCall");
  } catch (const ratel::Error& error) {
    BOOST_TEST(std::string(error.what()).starts_with("cudaCall at "), error.what());
    BOOST_TEST(std::string(error.what()).find(cudaGetErrorName(answer)) != std::string::npos, error.what());
    return error.kind();
  }
  BOOST_ERROR("nothing was thrown");
  return {};
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_call_that_finds_no_memory_is_out_of_memory) {
  ratel::cuda::require(cudaSuccess, "cudaCall");
  BOOST_TEST((kind_of_failure(cudaErrorMemoryAllocation) == ratel::ErrorKind::memory));
  BOOST_TEST((kind_of_failure(cudaErrorIllegalAddress) == ratel::ErrorKind::usage));
}
