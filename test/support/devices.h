#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/device.h"
#include "ops/dilated_attention.h"

namespace ratel::test {

/// The devices of this machine that this build can compute on: the CPU, then the GPUs (the twin counts as one). With
/// RATEL_TEST_DEVICES=gpu in the environment the GPUs alone, where there are any: for tools that watch them and are
/// slow, and for the twin's tests, whose cases on the CPU other builds run.
std::vector<Device> devices();

/// True for the twin: a GPU imitated on the CPU, on which large cases take too long.
bool is_imitated(Device device);

/// How often the kernels of the twin ran so far, by name (cuda/twin/twin.h); nothing in other builds.
std::map<std::string, int64_t> twin_launches();

/// For a scope, the twin has so many bytes of memory left; nothing in other builds.
class TwinMemory {
 public:
  explicit TwinMemory(size_t bytes);
  ~TwinMemory();
  TwinMemory(const TwinMemory&) = delete;
  TwinMemory& operator=(const TwinMemory&) = delete;
};

/// For a scope, a block on the twin can have so many bytes of shared memory; nothing in other builds.
class TwinSharedMemory {
 public:
  explicit TwinSharedMemory(size_t bytes);
  ~TwinSharedMemory();
  TwinSharedMemory(const TwinSharedMemory&) = delete;
  TwinSharedMemory& operator=(const TwinSharedMemory&) = delete;
};

/// Bytes that the twin has given out, to graphs too (cuda/twin/twin.h); 0 in other builds.
size_t twin_memory_given();

/// For a scope, dense attention on a GPU is computed by the kernels of this tree (ops/dilated_attention.h), and by
/// cuDNN's where there is one afterwards.
class OwnDenseAttention {
 public:
  OwnDenseAttention();
  ~OwnDenseAttention();
  OwnDenseAttention(const OwnDenseAttention&) = delete;
  OwnDenseAttention& operator=(const OwnDenseAttention&) = delete;
};

/// Calls f while the attention kernels of bf16 are made of such products (ops/dilated_attention.h). Where the GPUs of
/// this machine have none, or there is no GPU, the case is counted as skipped.
void with_attention_products(cuda::AttentionProducts products, const std::function<void()>& f);

/// Counts a case that could not run on a GPU, and why; the reasons and their counts are printed as the program ends.
void note_skipped(const std::string& reason);

/// Calls f for every GPU. Where there is none in a build with CUDA, the case is counted as skipped.
void on_gpus(const std::function<void(Device)>& f);

}  // namespace ratel::test
