#pragma once

#include <functional>
#include <string>

#include "core/device.h"
#include "core/dtype.h"

// A benchmark executable is one file that defines ratel::bench::declare(); main() is in this library.
//
//   void ratel::bench::declare() {
//     add("softmax/forward/4096x2048", {.bytes = 4.0 * 2 * 4096 * 2048}, [] {
//       Rng rng(1);
//       const Tensor x = random_normal({4096, 2048}, rng);
//       return [=] { softmax(x); };
//     });
//   }
//
// main() first measures the ceilings of this machine: `copy`, GB/s of a large contiguous copy (bytes read + written),
// and `gemm`, GFLOP/s of one large f32 product. Each line then reports GB/s, GFLOP/s and the percentage of both.
// With --device=cuda all of it happens on the first GPU, in bf16 and at shapes that fill one; the ceilings are the
// GPU's. All of Google Benchmark's options work: --benchmark_filter=, --benchmark_out=FILE (JSON, with commit and
// machine).
//
// Names are OP/PASS/SHAPE[/...]; the composed version of an op is OP_reference/ with the same rest, and PyTorch's
// figures (bench/peer) carry the same name as the kernel they stand beside. bench/merge.py joins the three.

namespace ratel::bench {

/// Where the benchmarks compute and in what: the CPU in f32, or the GPU in bf16.
Device device();
DType dtype();
inline bool on_gpu() { return device().is_cuda(); }
/// Bytes of an element of dtype().
inline double element_bytes() { return static_cast<double>(size_of(dtype())); }

/// What one call must move and compute, whatever the kernel really does: each input read once, each output written
/// once.
struct Work {
  double bytes = 0;
  double flops = 0;
  double tokens = 0;  ///< that it trains on: tok/s
  double peak_flops =
      0;  ///< a second, that the device is specified for: MFU, flops a second as a share of it; 0: unknown
};

enum class Pass { forward, forward_backward };
/// "forward" or "forward_backward".
std::string name_of(Pass pass);

/// Declares one benchmark. `prepare` runs once, untimed, only if the benchmark is selected, and returns what is timed.
/// Rates are those of the median call, so that a busy neighbour does not change them. Each line also tells the most
/// memory that tensors held at once, the inputs included (peak_MB). One that runs out of memory becomes a row that says
/// so.
void add(const std::string& name, const Work& work, std::function<std::function<void()>()> prepare);

/// Defined by each benchmark executable: its calls of add().
void declare();

}  // namespace ratel::bench
