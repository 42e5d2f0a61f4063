// Streams, memory and launches on real GPUs.

#include "cuda/runtime.h"

#include <cuda_runtime.h>
#include <nvtx3/nvToolsExt.h>

#include <mutex>
#include <vector>

#include "cuda/architectures.h"
#include "cuda/check.h"
#include "cuda/graph_memory.h"
#include "cuda/launch.h"
#include "cuda/recording.h"

namespace ratel::cuda {
namespace {

cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }

/// The pool keeps what is given back to it, up to all of the memory: a training step asks for the same blocks again.
void keep_pool(int device) {
  static std::mutex guard;
  static std::vector<bool> kept(64);
  const std::scoped_lock lock(guard);
  if (kept[static_cast<size_t>(device)]) return;
  uint64_t threshold = UINT64_MAX;
  require(cudaMemPoolSetAttribute(pool_of(device), cudaMemPoolAttrReleaseThreshold, &threshold),
          "cudaMemPoolSetAttribute");
  kept[static_cast<size_t>(device)] = true;
}

/// Programmatic dependent launch came with sm_90: what was compiled for less does not wait.
bool can_wait(const void* kernel) {
  cudaFuncAttributes attributes{};
  require(cudaFuncGetAttributes(&attributes, kernel), "cudaFuncGetAttributes");
  return attributes.ptxVersion >= 90;
}

int attribute_of(int device, cudaDeviceAttr attribute) {
  int value = 0;
  require(cudaDeviceGetAttribute(&value, attribute, device), "cudaDeviceGetAttribute");
  return value;
}

/// Too many bytes for the device whatever else it holds; said instead of cudaErrorMemoryAllocation for some sizes.
bool is_more_than_all(size_t bytes) {
  size_t available = 0, total = 0;
  require(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
  return bytes > total;
}

}  // namespace

int device_count() {
  static const int count = [] {
    int found = 0;
    // Any failure means that there is no GPU: without a driver the runtime answers cudaErrorInsufficientDriver.
    if (cudaGetDeviceCount(&found) == cudaSuccess) return found;
    cudaGetLastError();
    return 0;
  }();
  return count;
}

std::string no_code_for(int device) {
  const int major = attribute_of(device, cudaDevAttrComputeCapabilityMajor),
            minor = attribute_of(device, cudaDevAttrComputeCapabilityMinor);
  if (architectures_run_on(RATEL_CUDA_ARCHITECTURES, major, minor)) return {};
  return concat_text("this build has code for ", RATEL_CUDA_ARCHITECTURES, " alone, the GPU has compute capability ",
                     major, '.', minor,
                     major < 8 ? "; ratel needs 8.0"
                               : concat_text("\nhint: build with -DCMAKE_CUDA_ARCHITECTURES=", major, minor,
                                             major == 9 ? "a-real" : "-real"));
}

int multiprocessors_of(int device) { return attribute_of(device, cudaDevAttrMultiProcessorCount); }
size_t shared_bytes_of(int device) {
  return static_cast<size_t>(attribute_of(device, cudaDevAttrMaxSharedMemoryPerBlockOptin));
}

void* raw_allocate(size_t bytes, Stream stream) {
  use_device(stream.device);
  return is_recorded(stream) ? take_graph_memory(bytes, stream.device) : pool_allocate(bytes, stream);
}

void* pool_allocate(size_t bytes, Stream stream) {
  const OutsideCapture outside;
  use_device(stream.device);
  keep_pool(stream.device);
  void* pointer = nullptr;
  const cudaError_t answer = cudaMallocAsync(&pointer, bytes, native(stream));
  if (answer == cudaErrorMemoryAllocation || (answer == cudaErrorInvalidValue && is_more_than_all(bytes))) {
    cudaGetLastError();
    return nullptr;
  }
  require(answer, "cudaMallocAsync");
  return pointer;
}

void raw_release(void* pointer, Stream stream) noexcept {
  if (give_back_graph_memory(pointer, stream.device)) return;
  // Where this fails the device is lost or the program is ending: the next call that can throw says so.
  cudaSetDevice(stream.device);  // whose default stream the null handle means
  if (cudaFreeAsync(pointer, native(stream)) != cudaSuccess) cudaGetLastError();
}

size_t free_bytes_on(int device) {
  const OutsideCapture outside;
  use_device(device);
  size_t available = 0, total = 0;
  require(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
  const cudaMemPool_t pool = pool_of(device);
  uint64_t reserved = 0, used = 0;
  require(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &reserved), "cudaMemPoolGetAttribute");
  require(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used), "cudaMemPoolGetAttribute");
  return available + reserved - used;
}

void copy_to_device(void* into, const void* from, size_t bytes, Stream stream) {
  use_device(stream.device);
  require(cudaMemcpyAsync(into, from, bytes, cudaMemcpyHostToDevice, native(stream)), "cudaMemcpyAsync");
  synchronize(stream);
}

void start_copy_to_device(void* into, const void* from, size_t bytes, Stream stream) {
  use_device(stream.device);
  require(cudaMemcpyAsync(into, from, bytes, cudaMemcpyHostToDevice, native(stream)), "cudaMemcpyAsync");
}

void* allocate_pinned(size_t bytes, int device) {
  if (bytes == 0) return nullptr;
  use_device(device);
  void* pointer = nullptr;
  const cudaError_t answer = cudaHostAlloc(&pointer, bytes, cudaHostAllocDefault);
  if (answer == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  require(answer, "cudaHostAlloc");
  return pointer;
}

void release_pinned(void* pointer) noexcept { cudaFreeHost(pointer); }

void copy_to_host(void* into, const void* from, size_t bytes, Stream stream) {
  use_device(stream.device);
  require(cudaMemcpyAsync(into, from, bytes, cudaMemcpyDeviceToHost, native(stream)), "cudaMemcpyAsync");
  synchronize(stream);
}

void copy_on_device(void* into, int into_device, const void* from, size_t bytes, Stream stream) {
  // The target may have been taken from what earlier work on its device still uses.
  synchronize(current_stream({DeviceType::cuda, into_device}));
  use_device(stream.device);
  require(cudaMemcpyPeerAsync(into, into_device, from, stream.device, bytes, native(stream)), "cudaMemcpyPeerAsync");
  synchronize(stream);
}

void synchronize(Stream stream) {
  use_device(stream.device);
  require(cudaStreamSynchronize(native(stream)), "cudaStreamSynchronize");
}

void open_range(const char* name) { nvtxRangePushA(name); }
void close_range() { nvtxRangePop(); }

OwnedStream::OwnedStream(int device) {
  use_device(device);
  cudaStream_t stream = nullptr;
  require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  stream_ = {stream, device};
}

OwnedStream::~OwnedStream() { cudaStreamDestroy(native(stream_)); }

Event::Event(int device) {
  use_device(device);
  cudaEvent_t event = nullptr;
  require(cudaEventCreate(&event), "cudaEventCreate");
  handle_ = event;
}

Event::~Event() { cudaEventDestroy(static_cast<cudaEvent_t>(handle_)); }

void Event::record(Stream stream) {
  use_device(stream.device);  // whose default stream the null handle means
  require(cudaEventRecord(static_cast<cudaEvent_t>(handle_), native(stream)), "cudaEventRecord");
}

void Event::wait(Stream stream) const {
  use_device(stream.device);
  require(cudaStreamWaitEvent(native(stream), static_cast<cudaEvent_t>(handle_), 0), "cudaStreamWaitEvent");
}

void Event::synchronize() const {
  require(cudaEventSynchronize(static_cast<cudaEvent_t>(handle_)), "cudaEventSynchronize");
}

float Event::milliseconds_since(const Event& earlier) const {
  synchronize();
  float elapsed = 0;
  require(cudaEventElapsedTime(&elapsed, static_cast<cudaEvent_t>(earlier.handle_), static_cast<cudaEvent_t>(handle_)),
          "cudaEventElapsedTime");
  return elapsed;
}

void launch_kernel(const Launch& how, const void* kernel, void (*)(const void*, void**), void** arguments,
                   const size_t*) {
  if (how.grid_x == 0 || how.grid_y == 0 || how.grid_z == 0) return;
  check_launch(how);
  use_device(how.stream.device);
  constexpr size_t kWithoutAsking = 48 << 10;
  const auto require_launch = [&](cudaError_t answer) {
    if (answer == cudaSuccess) [[likely]]
      return;
    cudaGetLastError();
    throw Error(concat_text(how.kernel, ", launched at ", how.place.file_name(), ':', how.place.line(), ": ",
                            cudaGetErrorName(answer), ", ", cudaGetErrorString(answer)),
                kind_of(answer));
  };
  // All that a block can have, not what this launch takes: another thread may be about to launch it with more.
  if (how.shared_bytes > kWithoutAsking)
    require_launch(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        static_cast<int>(shared_bytes_of(how.stream.device))));
  const dim3 grid(static_cast<unsigned>(how.grid_x), static_cast<unsigned>(how.grid_y),
                  static_cast<unsigned>(how.grid_z));
  constexpr int kPercentFor64KB = 28;
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributePreferredSharedMemoryCarveout;
  attributes[1].val.sharedMemCarveout =
      how.division == Division::shared ? static_cast<unsigned>(cudaSharedmemCarveoutMaxShared) : kPercentFor64KB;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(how.block_x));
  config.dynamicSmemBytes = how.shared_bytes;
  config.stream = native(how.stream);
  config.attrs = attributes;
  if (how.start == Start::early && early_starts_are_allowed() && is_recorded(how.stream) && can_wait(kernel))
    config.numAttrs = 2;
  require_launch(cudaLaunchKernelExC(&config, kernel, arguments));
}

}  // namespace ratel::cuda
