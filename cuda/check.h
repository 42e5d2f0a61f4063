#pragma once

#include <cuda_runtime.h>

#include <source_location>

#include "core/error.h"
#include "core/stream.h"

namespace ratel::cuda {

/// Of an answer that is no success. Memory is wanting not only where it was asked for: contexts, streams, kernels as
/// they are loaded and graphs take of the device's what the pool has left.
inline ErrorKind kind_of(cudaError_t answer) {
  return answer == cudaErrorMemoryAllocation ? ErrorKind::memory : ErrorKind::usage;
}

/// Throws Error naming the call, its place and what CUDA said of it, unless that is success.
inline void require(cudaError_t answer, const char* call,
                    const std::source_location& place = std::source_location::current()) {
  if (answer == cudaSuccess) [[likely]]
    return;
  cudaGetLastError();  // this failure is told of: the next call starts clean
  throw Error(concat_text(call, " at ", place.file_name(), ':', place.line(), ": ", cudaGetErrorName(answer), ", ",
                          cudaGetErrorString(answer)),
              kind_of(answer));
}

/// Makes `device` the one that this thread's CUDA calls mean.
inline void use_device(int device) { require(cudaSetDevice(device), "cudaSetDevice"); }

/// The stream-ordered pool that all memory of the device comes from.
inline cudaMemPool_t pool_of(int device) {
  cudaMemPool_t pool = nullptr;
  require(cudaDeviceGetDefaultMemPool(&pool, device), "cudaDeviceGetDefaultMemPool");
  return pool;
}

/// Whether what is put into the stream becomes part of a graph, and computes nothing now.
inline bool is_recorded(Stream stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  require(cudaStreamIsCapturing(static_cast<cudaStream_t>(stream.handle), &status), "cudaStreamIsCapturing");
  return status != cudaStreamCaptureStatusNone;
}

/// Calls of the runtime that are no part of the graph that this thread records, and that CUDA would refuse there, for a
/// scope.
class OutsideCapture {
 public:
  OutsideCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~OutsideCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  OutsideCapture(const OutsideCapture&) = delete;
  OutsideCapture& operator=(const OutsideCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

}  // namespace ratel::cuda
