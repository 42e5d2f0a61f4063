// One device, whose work is done when a call returns; but a copy that the host does not wait for happens at the last
// moment, when somebody waits for a mark behind it: so that who forgot to wait, or wrote to its source too early, finds
// other numbers.

#include "cuda/runtime.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "cuda/twin/graph.h"
#include "cuda/twin/twin.h"

namespace ratel::cuda {
namespace {

struct Copy {
  void* into;
  const void* from;
  size_t bytes;
};
// By stream. Streams that end with the program ask for it.
auto& started = *new std::map<const void*, std::vector<Copy>>;

size_t shared_limit = twin::kShared;

void finish_copies(const void* stream) {
  for (const Copy& copy : started[stream]) std::memcpy(copy.into, copy.from, copy.bytes);
  started.erase(stream);
}

}  // namespace

int device_count() { return 1; }
std::string no_code_for(int) { return {}; }
int multiprocessors_of(int) { return 3; }
size_t shared_bytes_of(int) { return shared_limit; }
void twin::set_shared_limit(size_t bytes) { shared_limit = bytes; }

void copy_to_device(void* into, const void* from, size_t bytes, Stream) {
  twin::check_not_recording("a copy from the host");
  std::memcpy(into, from, bytes);
}
void copy_to_host(void* into, const void* from, size_t bytes, Stream) {
  twin::check_not_recording("a copy to the host");
  std::memcpy(into, from, bytes);
}
void start_copy_to_device(void* into, const void* from, size_t bytes, Stream stream) {
  twin::check_not_recording("a copy from the host");
  started[stream.handle].push_back({into, from, bytes});
}
void* allocate_pinned(size_t bytes, int) { return std::malloc(bytes); }
void release_pinned(void* pointer) noexcept { std::free(pointer); }
void copy_on_device(void* into, int, const void* from, size_t bytes, Stream) {
  twin::check_not_recording("a copy between devices");
  std::memcpy(into, from, bytes);
}
void synchronize(Stream) { twin::check_not_recording("a wait for the device"); }
void open_range(const char*) {}
void close_range() {}

OwnedStream::OwnedStream(int device) : stream_{this, device} {}
OwnedStream::~OwnedStream() { finish_copies(this); }

Event::Event(int) {}
Event::~Event() = default;
void Event::record(Stream stream) { handle_ = stream.handle; }
void Event::wait(Stream) const { finish_copies(handle_); }
void Event::synchronize() const { finish_copies(handle_); }
float Event::milliseconds_since(const Event&) const { return 0; }

}  // namespace ratel::cuda
