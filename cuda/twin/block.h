#pragma once

// A block of the twin: its threads are fibers of one CPU thread, which are let run one after the other until each waits
// at a barrier or has ended. Blocks run one after the other.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>
#include <string>

namespace ratel::cuda::twin {

using Place = std::source_location;

/// Where a thread is in its launch.
struct Position {
  int thread = 0, block_size = 0;
  int block[3] = {}, grid[3] = {};
};
inline Position running;  // set by block.cpp alone
inline const Position& position() { return running; }

/// Throws Error: "kernel, block (0, 0, 0), thread 5: what".
[[noreturn]] void fail_here(const std::string& what);

/// Waits until all threads of the block are at this very barrier.
void wait_for_block(const Place& place);

/// In a kernel that may start early waits until all threads of the block are at this very call; up to there the first
/// block may not touch what is made while a graph of Weights::constant runs.
void wait_for_previous(const Place& place);

/// What a lane hands to the others.
struct Word4 {
  uint64_t at[4];
};
/// Waits until all lanes of the warp are at this very call, and returns what each brought; valid until the next call.
enum class Memory { unordered, ordered };
const Word4* exchange(const char* what, const Word4& mine, const Place& place, Memory memory = Memory::unordered);

/// The moments of the running thread, for telling whether another's access was before a barrier that both passed.
struct Moment {
  int thread, warp;
  uint32_t block_epoch, warp_epoch;
};
Moment now();

/// A stretch of shared memory, in bytes from its start.
struct Stretch {
  int begin = 0, end = 0;
};
/// Cuts `bytes` from `used` on, in multiples of 16.
Stretch cut_shared(int& used, int64_t bytes);
/// Reads or writes what lies at `at`, which must be inside the stretch and a multiple of `bytes`.
void read_shared(Stretch within, int64_t at, void* into, int bytes);
void write_shared(Stretch within, int64_t at, const void* from, int bytes);
/// 4 or 16 bytes that arrive when the running thread waits for them; zeros where `from` is not valid.
void begin_copy(Stretch within, int64_t at, const void* from, int bytes, bool valid);
void commit_copies();
void wait_copies(int pending);

/// What the running thread wrote to shared memory becomes readable by products of warpgroups, behind a barrier, and
/// such a read; Throws where it was not.
void publish_shared();
void read_published(Stretch within, int64_t at, void* into, int bytes);
/// Products of a warpgroup that the running thread adds between begin_products() and commit_products(): they are
/// computed where it waits for them.
void begin_products();
void add_product(std::function<void()> product);
void commit_products();
void wait_products(int pending);
bool has_products();

/// Of the block about to run, with that much shared memory; nothing in it was written yet.
void reset_shared(size_t bytes, int threads);

/// Counts what twin.h's launches() tells.
void count_launch(const std::string& name);

/// Throws Error naming the kernel where one wrote past the end of an allocation, into the bytes before its guard page.
void check_memory(const std::string& kernel);

}  // namespace ratel::cuda::twin
