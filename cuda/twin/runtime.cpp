// One device, whose work is done when a call returns.

#include "cuda/runtime.h"

#include <cstring>

#include "cuda/twin/graph.h"

namespace ratel::cuda {

int device_count() { return 1; }

void copy_to_device(void* into, const void* from, size_t bytes, Stream) {
  twin::check_not_recording("a copy from the host");
  std::memcpy(into, from, bytes);
}
void copy_to_host(void* into, const void* from, size_t bytes, Stream) {
  twin::check_not_recording("a copy to the host");
  std::memcpy(into, from, bytes);
}
void copy_on_device(void* into, int, const void* from, size_t bytes, Stream) {
  twin::check_not_recording("a copy between devices");
  std::memcpy(into, from, bytes);
}
void synchronize(Stream) { twin::check_not_recording("a wait for the device"); }
void open_range(const char*) {}
void close_range() {}

OwnedStream::OwnedStream(int device) : stream_{this, device} {}
OwnedStream::~OwnedStream() = default;

Event::Event(int) {}
Event::~Event() = default;
void Event::record(Stream) { handle_ = this; }
void Event::wait(Stream) const {}
float Event::milliseconds_since(const Event&) const { return 0; }

}  // namespace ratel::cuda
