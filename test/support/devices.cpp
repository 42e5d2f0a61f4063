#include "test/support/devices.h"

#include <cstdlib>
#include <iostream>
#include <map>

#include "core/error.h"
#include "ops/dilated_attention.h"
#if RATEL_TEST_TWIN
#include "cuda/twin/twin.h"
#endif

namespace ratel::test {
namespace {

std::map<std::string, int>& skipped() {
  static std::map<std::string, int> counts;
  return counts;
}

void print_skipped() {
  for (const auto& [reason, count] : skipped())
    std::cout << "skipped on CUDA: " << count << (count == 1 ? " case, " : " cases, ") << reason << '\n';
}

void lift_memory_limit() {
#if RATEL_TEST_TWIN
  cuda::twin::set_memory_limit(cuda::twin::kMemory);
#endif
}

void choose(cuda::DenseAttention wanted) {
  if constexpr (kHasCuda) cuda::set_dense_attention(wanted);
}

}  // namespace

std::vector<Device> devices() {
  const char* const only = std::getenv("RATEL_TEST_DEVICES");
  std::vector<Device> present;
  if (only == nullptr || std::string(only) != "gpu" || cuda_device_count() == 0) present.push_back(kCpu);
  for (int index = 0; index < cuda_device_count(); ++index) present.push_back({DeviceType::cuda, index});
  return present;
}

bool is_imitated(Device device) { return RATEL_TEST_TWIN != 0 && device.is_cuda(); }

std::map<std::string, int64_t> twin_launches() {
#if RATEL_TEST_TWIN
  return cuda::twin::launches();
#else
  return {};
#endif
}

TwinMemory::TwinMemory([[maybe_unused]] size_t bytes) {
#if RATEL_TEST_TWIN
  cuda::twin::set_memory_left(bytes);
#endif
}

TwinMemory::~TwinMemory() { lift_memory_limit(); }

TwinSharedMemory::TwinSharedMemory([[maybe_unused]] size_t bytes) {
#if RATEL_TEST_TWIN
  cuda::twin::set_shared_limit(bytes);
#endif
}

TwinSharedMemory::~TwinSharedMemory() {
#if RATEL_TEST_TWIN
  cuda::twin::set_shared_limit(cuda::twin::kShared);
#endif
}

size_t twin_memory_given() {
#if RATEL_TEST_TWIN
  return cuda::twin::memory_given();
#else
  return 0;
#endif
}

OwnDenseAttention::OwnDenseAttention() { choose(cuda::DenseAttention::own); }
OwnDenseAttention::~OwnDenseAttention() { choose(cuda::DenseAttention::cudnn); }

void with_attention_products([[maybe_unused]] cuda::AttentionProducts products, const std::function<void()>& f) {
  if (!kHasCuda) return;
  if (cuda_device_count() == 0) return note_skipped("no GPU");
  if constexpr (kHasCuda) {
    const cuda::AttentionProducts before = cuda::attention_products();
    try {
      cuda::set_attention_products(products);
    } catch (const Error& error) {
      return note_skipped(error.what());
    }
    try {
      f();
    } catch (...) {
      cuda::set_attention_products(before);
      throw;
    }
    cuda::set_attention_products(before);
  }
}

void note_skipped(const std::string& reason) {
  if (skipped().empty()) std::atexit(print_skipped);
  ++skipped()[reason];
}

void on_gpus(const std::function<void(Device)>& f) {
  if (kHasCuda && cuda_device_count() == 0) note_skipped("no GPU");
  for (int index = 0; index < cuda_device_count(); ++index) f({DeviceType::cuda, index});
}

}  // namespace ratel::test
