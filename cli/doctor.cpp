#include "cli/commands.h"
#include "cli/gpu.h"
#include "cli/machine.h"
#include "cli/options.h"
#include "cli/output.h"
#include "core/build.h"
#include "core/text.h"
#include "io/file.h"
#include "ops/threads.h"

namespace ratel::cli {
namespace {

using io::Json;

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : std::string(separator)) + part;
  return text;
}

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") != 0) names.emplace_back("avx2");
  if (__builtin_cpu_supports("fma") != 0) names.emplace_back("fma");
  if (__builtin_cpu_supports("avx512f") != 0) names.emplace_back("avx512f");
#endif
  return names;
}

constexpr int64_t kBuildBytes = int64_t{512} << 20;  // that a build with its tests takes, and somewhat more

/// What no package list of ours decides: the GPU's driver, the disk, and the Python packages of some tests.
std::vector<std::string> advice(const Machine& machine, const GpuStatus& gpu, int64_t free_disk) {
  std::vector<std::string> lines;
  if (machine.nvidia_devices > 0 && machine.gpus.empty() && !gpu.usable)
    lines.push_back(concat_text(machine.nvidia_devices,
                                machine.nvidia_devices == 1 ? " NVIDIA GPU is" : " NVIDIA GPUs are",
                                " here without a driver: apt-get install nvidia-driver, of Debian's non-free section"));
  if (machine.nvidia_devices > 0 && machine.nvcc.empty() && !kHasCuda)
    lines.emplace_back("no CUDA compiler: NVIDIA's package cuda-toolkit-13-0, then cmake --preset cuda");
  if (free_disk < kBuildBytes)
    lines.push_back("little disk: a build takes about " + human_bytes(kBuildBytes) +
                    ", a checkpoint 12 bytes a parameter");
  if (io::path_exists("scripts/install_peers.sh") && !io::path_exists("build/peers/packages"))
    lines.emplace_back(
        "optional: scripts/install_peers.sh, for the tests against other programs; they are skipped without it");
  return lines;
}

Json as_json(const Machine& machine, const MissingPackages& missing, const GpuStatus& gpu, int64_t free_disk) {
  std::vector<std::string> names;
  for (const Package& package : missing.packages) names.push_back(package.name);
  return Json::object(
      {{"version", kVersion},
       {"build", Json::object({{"cuda", kHasCuda},
                               {"arch", RATEL_CLI_ARCH},
                               {"compiler", RATEL_CLI_COMPILER},
                               {"type", RATEL_CLI_BUILD_TYPE}})},
       {"threads", num_threads()},
       {"machine", Json::object({{"system", machine.system},
                                 {"processor", machine.processor},
                                 {"cores", machine.cores},
                                 {"instruction_sets", Json::array_of(instruction_sets())},
                                 {"memory_bytes", machine.memory},
                                 {"free_memory_bytes", machine.free_memory},
                                 {"free_disk_bytes", free_disk}})},
       {"gpu", Json::object({{"usable", gpu.usable}, {"note", gpu.note}, {"devices", Json::array_of(gpu.devices)}})},
       {"missing", Json::array_of(names)},
       {"advice", Json::array_of(advice(machine, gpu, free_disk))},
       {"fix", names.empty() ? Json() : Json(apt_line(missing.packages))}});
}

std::string as_text(const Machine& machine, const MissingPackages& missing, const GpuStatus& gpu, int64_t free_disk) {
  std::string text = concat_text(
      "ratel      ", kVersion, ", ", RATEL_CLI_BUILD_TYPE, " by ", RATEL_CLI_COMPILER, " for ", RATEL_CLI_ARCH,
      "\nCUDA       ", kHasCuda ? "built in" : "built without", "\nthreads    ", num_threads(), " of ", machine.cores,
      machine.cores == 1 ? " core\n" : " cores\n", "system     ", machine.system, "\nprocessor  ", machine.processor,
      " (", joined(instruction_sets(), " "), ")\nmemory     ", human_bytes(machine.free_memory), " free of ",
      human_bytes(machine.memory), "\ndisk       ", human_bytes(free_disk), " free here\nGPU        ",
      gpu.usable ? "yes: " : "no: ", gpu.note, "\n");
  if (!missing.known) text += "packages   unknown: this is not a Debian-like system\n";
  const std::string purposes = purposes_text(missing);
  for (const std::string_view line : split(purposes, '\n'))
    if (!line.empty()) text += concat_text("packages   ", line, "\n");
  if (!missing.packages.empty()) text += "to mend    " + apt_line(missing.packages) + "\n";
  for (const std::string& line : advice(machine, gpu, free_disk)) text += "advice     " + line + "\n";
  return text;
}

}  // namespace

int run_doctor(Arguments args) {
  bool json = false;
  Options options("doctor",
                  "Says what this build and this machine can do, what is missing, and the line that mends it.");
  options.flag("--json", json, "Print one JSON object");
  options.example("ratel doctor");
  if (options.parse(args) == Options::Parsed::help) return 0;

  const Machine machine = this_machine();
  const MissingPackages missing = missing_packages();
  const GpuStatus gpu = gpu_status(machine);
  const auto free_disk = static_cast<int64_t>(io::free_space("."));
  if (json)
    print_json(as_json(machine, missing, gpu, free_disk));
  else
    print(as_text(machine, missing, gpu, free_disk));
  return 0;
}

}  // namespace ratel::cli
