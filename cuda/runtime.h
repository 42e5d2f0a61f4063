#pragma once

#include <cstddef>
#include <string>

#include "core/device_memory.h"

namespace ratel::cuda {

/// What differs between a GPU and its twin below memory and streams; cuda/memory.cpp counts on top of it.

/// Bytes from the stream's pool, or null where there are none left.
void* raw_allocate(size_t bytes, Stream stream);
void raw_release(void* pointer, Stream stream) noexcept;
/// Bytes the device could still give.
size_t free_bytes_on(int device);
/// Bytes that are kept for the runs of graphs, which share them.
size_t graph_bytes_on(int device);

/// To be called where graph_bytes_on() may have changed: takes it up into what memory_use() and errors tell.
void count_graph_bytes(int device);

/// Of a GPU: its multiprocessors, and the most shared memory that a block can have.
int multiprocessors_of(int device);
size_t shared_bytes_of(int device);

/// Copies from page-locked memory of the host, which must stay as it is until the stream was there.
void start_copy_to_device(void* into, const void* from, size_t bytes, Stream stream);

/// A stream of one's own: destroyed with this object, which must outlive the work in it.
class OwnedStream {
 public:
  explicit OwnedStream(int device);
  ~OwnedStream();
  OwnedStream(const OwnedStream&) = delete;
  OwnedStream& operator=(const OwnedStream&) = delete;
  [[nodiscard]] Stream get() const { return stream_; }

 private:
  Stream stream_;
};

/// A mark in a stream that another stream can wait for.
class Event {
 public:
  explicit Event(int device);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(Stream stream);
  /// What is put into `stream` from now on waits for the mark.
  void wait(Stream stream) const;
  /// The host waits for the mark.
  void synchronize() const;
  /// Milliseconds of the device between two marks that both were reached; waits for them.
  [[nodiscard]] float milliseconds_since(const Event& earlier) const;

 private:
  void* handle_ = nullptr;
};

}  // namespace ratel::cuda
