#include "bench/support/bench.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <memory>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/device_memory.h"
#include "core/error.h"
#include "core/memory.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/matmul.h"
#include "ops/threads.h"

namespace ratel::bench {
namespace {

struct Ceilings {
  double copy_bytes, gemm_flops;  // a second
};
Ceilings ceilings{1, 1};
Device chosen_device = kCpu;
bool wants_ceilings = true;

/// Seconds a call, of `calls` in a row: on a GPU, which works while the host goes on, enough of them hide the launches.
double seconds_of(const std::function<void()>& call, int calls = 1) {
  synchronize(device());
  const auto start = Clock::now();
  for (int i = 0; i < calls; ++i) call();
  synchronize(device());
  return seconds_since(start) / calls;
}

/// How many calls are timed as one: on a GPU as many as take 50 ms, so that the first launch and the wait for the last,
/// some 100 us, are lost among them, and two at least.
int calls_a_sample(const std::function<void()>& call) {
  return on_gpu() ? static_cast<int>(std::clamp(50e-3 / seconds_of(call), 2.0, 1000.0)) : 1;
}

double best_seconds(const std::function<void()>& call, int times) {
  double best = 1e300;
  call();
  const int calls = calls_a_sample(call);
  for (int i = 0; i < times; ++i) best = std::min(best, seconds_of(call, calls));
  return best;
}

Ceilings measure_ceilings() {
  const int64_t copied = on_gpu() ? 1 << 28 : 1 << 25, edge = on_gpu() ? 8192 : 2048;
  Rng rng(1);
  const Tensor from = full({copied}, 1, DType::f32, device()), into = full({copied}, 0, DType::f32, device());
  const Tensor a = random_normal({edge, edge}, rng, 0, 1, dtype(), device());
  const Tensor b = random_normal({edge, edge}, rng, 0, 1, dtype(), device());
  const double copy = best_seconds([&] { copy_into(into, from); }, 10);
  const double gemm = best_seconds([&] { matmul_nt(a, b); }, 10);
  return {2.0 * 4 * static_cast<double>(copied) / copy, 2.0 * static_cast<double>(edge * edge * edge) / gemm};
}

/// First line a command prints, or "unknown".
std::string first_line(const char* command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command, "r"), pclose);
  std::array<char, 256> buffer{};
  if (pipe == nullptr || std::fgets(buffer.data(), buffer.size(), pipe.get()) == nullptr) return "unknown";
  std::string line(buffer.data());
  while (!line.empty() && line.back() == '\n') line.pop_back();
  return line;
}

std::string machine() {
  if (on_gpu()) return first_line("nvidia-smi --query-gpu=name --format=csv,noheader");
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown";
}

/// The prepared call of the benchmark that runs. Google Benchmark runs one several times until it has lasted long
/// enough; what it is prepared with (a model of billions of bytes) is made once.
struct Prepared {
  std::string name;
  std::function<void()> call;
};
Prepared prepared;

void measure(benchmark::State& state, const std::string& name, const Work& work,
             const std::function<std::function<void()>()>& prepare) {
  if (prepared.name != name) {
    prepared = {};  // its memory first
    prepared = {name, prepare()};
    prepared.call();  // page faults and first-use initialisation
  }
  const std::function<void()>& call = prepared.call;
  if (on_gpu())
    reset_peak_memory(device());
  else
    reset_peak_memory();
  const int calls = calls_a_sample(call);
  std::vector<double> seconds;
  for ([[maybe_unused]] auto _ : state) {
    seconds.push_back(seconds_of(call, calls));
    state.SetIterationTime(seconds.back() * calls);  // of which there must be --benchmark_min_time
  }
  const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), middle, seconds.end());
  const double bytes = work.bytes / *middle, flops = work.flops / *middle;
  state.counters["median_us"] = *middle * 1e6;
  state.counters["min_us"] = *std::min_element(seconds.begin(), seconds.end()) * 1e6;
  state.counters["peak_MB"] = static_cast<double>(on_gpu() ? memory_use(device()).peak : memory_use().peak) / 1e6;
  if (work.tokens > 0) state.counters["tok/s"] = work.tokens / *middle;
  if (work.peak_flops > 0) state.counters["MFU%"] = 100 * flops / work.peak_flops;
  if (work.bytes > 0 && wants_ceilings) {
    state.counters["GB/s"] = bytes / 1e9;
    state.counters["%copy"] = 100 * bytes / ceilings.copy_bytes;
  }
  if (work.flops > 0 && wants_ceilings) {
    state.counters["GFLOP/s"] = flops / 1e9;
    state.counters["%gemm"] = 100 * flops / ceilings.gemm_flops;
  }
}

/// What does not fit into memory is a row that says so.
void run(benchmark::State& state, const std::string& name, const Work& work,
         const std::function<std::function<void()>()>& prepare) {
  try {
    measure(state, name, work, prepare);
  } catch (const Error& error) {
    prepared = {};
    if (error.kind() != ErrorKind::memory) throw;
    const std::string what = error.what();
    state.SkipWithError(what.substr(0, what.find('\n')).c_str());
  }
}

}  // namespace

Device device() { return chosen_device; }
DType dtype() { return on_gpu() ? DType::bf16 : DType::f32; }

/// Takes --device=cpu, --device=cuda and --ceilings=off, which leaves their seconds and shares out, from the arguments.
void read_own_options(int& argc, char** argv) {
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--device=cuda") {
      check(cuda_device_count() > 0, "--device=cuda: this machine has no GPU that this build can use");
      chosen_device = {DeviceType::cuda, 0};
    } else if (argument == "--ceilings=off") {
      wants_ceilings = false;
    } else if (argument != "--device=cpu") {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
}

std::string name_of(Pass pass) { return pass == Pass::forward ? "forward" : "forward_backward"; }

void add(const std::string& name, const Work& work, std::function<std::function<void()>()> prepare) {
  benchmark::RegisterBenchmark(name.c_str(), [name, work, prepare = std::move(prepare)](
                                                 benchmark::State& state) { run(state, name, work, prepare); })
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

}  // namespace ratel::bench

int main(int argc, char** argv) {
  namespace bench = ratel::bench;
  try {
    bench::read_own_options(argc, argv);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    if (bench::wants_ceilings) bench::ceilings = bench::measure_ceilings();
    const std::string git = std::string("git -C '") + RATEL_SOURCE_DIR + "' describe --always --dirty 2>/dev/null";
    benchmark::AddCustomContext("commit", bench::first_line(git.c_str()));
    benchmark::AddCustomContext("machine", bench::machine());
    benchmark::AddCustomContext("threads", std::to_string(ratel::num_threads()));
    if (bench::wants_ceilings) {
      benchmark::AddCustomContext("ceiling copy GB/s", std::to_string(bench::ceilings.copy_bytes / 1e9));
      benchmark::AddCustomContext("ceiling gemm GFLOP/s", std::to_string(bench::ceilings.gemm_flops / 1e9));
    }
    bench::declare();
    benchmark::RunSpecifiedBenchmarks();
    bench::prepared = {};  // before what its tensors lie in
  } catch (const ratel::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.kind());
  }
  benchmark::Shutdown();
  return 0;
}
