#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <tuple>
#include <type_traits>
#include <utility>

#include "core/stream.h"

namespace ratel::cuda {

inline constexpr int kWarp = 32;

/// When a kernel begins.
enum class Start {
  in_order,  ///< when all that the stream holds before it has ended
  early,     ///< see below: before that, where a recording allows it
};

// Start::early is programmatic dependent launch: the kernel may begin as soon as every block of the one before it has
// called let_next_begin() or ended (cuda/device.h), so that its beginning lies beside that one's end. All its threads
// call wait_for_previous(), behind which all earlier kernels have ended and what they wrote is seen: as each kernel
// waits so, a graph's results are those of kernels in order. Before that call a kernel writes no global memory, and
// reads only what its op's contract names and no kernel of the recording writes: weights, and what a cache held before.
// That nobody can know of a kernel's arguments: an early start is one in order but while a graph is recorded whose
// maker vouches for it (Weights::constant, core/device_graph.h), and in code for GPUs before sm_90. Started in order, a
// kernel finds nothing to wait for.

/// How a multiprocessor is divided while a kernel runs that starts early. Blocks of two kernels are on one at once
/// where both ask for the same, so that those of a chain do.
enum class Division {
  cache,   ///< 64 KB of shared memory, enough for as many blocks as registers allow, and the rest cache
  shared,  ///< as much shared memory as there is, for the rings of two products
};

/// How a kernel is started: its name for errors and profiles, its grid and block, and the shared memory its SharedArena
/// cuts.
struct Launch {
  const char* kernel;
  int64_t grid_x = 1;
  int block_x = 1;
  size_t shared_bytes = 0;
  Stream stream = {};
  int64_t grid_y = 1, grid_z = 1;
  Start start = Start::in_order;
  Division division = Division::cache;
  std::source_location place = std::source_location::current();
};

/// Bytes that SharedArena::take<T>(count) cuts off.
template <class T>
constexpr size_t shared_size(int64_t count) {
  return (static_cast<size_t>(count) * sizeof(T) + 15) / 16 * 16;
}

/// Throws Error where no GPU could start this: one-dimensional blocks of 32 to 1024 threads in whole warps.
inline void check_launch(const Launch& how) {
  const bool fits = how.grid_x >= 1 && how.grid_x < int64_t{1} << 31 && how.grid_y >= 1 && how.grid_y < 65536 &&
                    how.grid_z >= 1 && how.grid_z < 65536 && how.block_x >= kWarp && how.block_x <= 1024 &&
                    how.block_x % kWarp == 0;
  check(fits, how.kernel, ", launched at ", how.place.file_name(), ':', how.place.line(), ": no GPU has a grid of ",
        how.grid_x, " x ", how.grid_y, " x ", how.grid_z, " blocks of ", how.block_x, " threads");
}

/// Starts a kernel whose arguments, plain data of these sizes, are at `arguments`; both lists end with a zero. In the
/// twin runs it to its end. Throws Error naming the kernel and the place of the call where the grid or block is
/// impossible, or CUDA says no; in the twin also where a thread does what it may not, or does not wait after an early
/// start.
void launch_kernel(const Launch& how, const void* kernel, void (*call)(const void* kernel, void** arguments),
                   void** arguments, const size_t* sizes);

/// launch({"scale", blocks, 256, 0, stream}, scale<T>, n, x, y): no more blocks than none is no launch at all.
template <class... Parameters, class... Arguments>
void launch(const Launch& how, void (*kernel)(Parameters...), Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments));
  static_assert((std::is_trivially_copyable_v<Parameters> && ...));
  std::tuple<std::remove_cv_t<Parameters>...> values(std::forward<Arguments>(arguments)...);
  std::apply(
      [&](auto&... value) {
        void* addresses[] = {static_cast<void*>(&value)..., nullptr};
        // The twin calls the kernel as the function it is; a GPU never does.
        const auto call = [](const void* function, void** at) {
          [&]<size_t... I>(std::index_sequence<I...>) {
            reinterpret_cast<void (*)(Parameters...)>(const_cast<void*>(function))(
                *static_cast<std::remove_cv_t<Parameters>*>(at[I])...);
          }
          (std::index_sequence_for<Parameters...>{});
        };
        const size_t sizes[] = {sizeof(Parameters)..., 0};
        launch_kernel(how, reinterpret_cast<const void*>(kernel), call, addresses, sizes);
      },
      values);
}

/// Blocks of `threads` that give each of n elements a thread, and at most `most` blocks: the kernel strides on.
constexpr int64_t blocks_for(int64_t n, int64_t threads, int64_t most = int64_t{1} << 20) {
  const int64_t blocks = (n + threads - 1) / threads;
  return blocks < most ? blocks : most;
}

}  // namespace ratel::cuda
