#pragma once

#include <cstddef>
#include <functional>
#include <utility>

namespace ratel::cuda::twin {

bool is_recording();
/// While a graph is recorded: `step` happens in each of its runs.
void record(std::function<void()> step);
/// Does it now, or records it.
template <class Step>
void run_or_record(Step&& step) {
  if (is_recording())
    record(std::forward<Step>(step));
  else
    step();
}

/// Throws Error saying that `what` cannot be part of a graph, while one is recorded.
void check_not_recording(const char* what);

/// While a graph is recorded: memory that is taken is NaN in each run from there on, and what is given back stays with
/// the graph, and is NaN from there on.
void record_allocation(void* pointer, size_t bytes);
void record_release(void* pointer, size_t bytes);

/// Whether anybody may touch the memory that was taken while the graph that runs now was recorded, if its maker said
/// Weights::constant. Nothing where none runs.
enum class Access { none, all };
void set_recorded_access(Access access);
bool is_recorded_memory(const void* address);

/// Of one allocation (memory.cpp).
void set_access(const void* pointer, Access access);
bool is_within(const void* pointer, const void* address);

}  // namespace ratel::cuda::twin
