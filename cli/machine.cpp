#include "cli/machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>

#include "core/free_memory.h"

namespace ratel::cli {
namespace {

namespace fs = std::filesystem;

std::string contents(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// What follows `key` and its separator on the first line that starts with it, quotes and blanks taken off.
std::string value_of(const std::string& text, std::string_view key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key)) continue;
    const size_t begin = line.find_first_not_of(" \t:=\"", key.size());
    if (begin == std::string::npos) return {};
    return line.substr(begin, line.find_last_not_of(" \t\"") + 1 - begin);
  }
  return {};
}

int64_t kibibytes_of(const std::string& meminfo, std::string_view key) {
  return std::strtoll(value_of(meminfo, key).c_str(), nullptr, 10) * 1024;
}

/// The driver's list of its GPUs: one folder each.
std::vector<std::string> listed_gpus() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc/driver/nvidia/gpus", error))
    names.push_back(value_of(contents(entry.path() / "information"), "Model"));
  std::sort(names.begin(), names.end());
  return names;
}

int64_t count_nvidia_devices() {
  int64_t count = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/sys/bus/pci/devices", error)) {
    const bool is_nvidia = contents(entry.path() / "vendor").starts_with("0x10de");
    if (is_nvidia && contents(entry.path() / "class").starts_with("0x03")) ++count;
  }
  return count;
}

std::string find_nvcc() {
  std::vector<std::string> folders;
  if (const char* path = std::getenv("PATH"); path != nullptr) {
    std::istringstream parts(path);
    for (std::string folder; std::getline(parts, folder, ':');) folders.push_back(folder);
  }
  if (const char* root = std::getenv("CUDA_PATH"); root != nullptr) folders.push_back(std::string(root) + "/bin");
  folders.emplace_back("/usr/local/cuda/bin");
  for (const std::string& folder : folders)
    if (std::string path = folder + "/nvcc"; access(path.c_str(), X_OK) == 0) return path;
  return {};
}

int64_t usable_cores() {
  cpu_set_t cores;
  return sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 0;
}

}  // namespace

Machine this_machine() {
  Machine machine;
  machine.system = value_of(contents("/etc/os-release"), "PRETTY_NAME");
  machine.processor = value_of(contents("/proc/cpuinfo"), "model name");
  machine.cores = usable_cores();
  machine.memory = kibibytes_of(contents("/proc/meminfo"), "MemTotal");
  machine.free_memory = free_memory().value_or(0);
  machine.gpus = listed_gpus();
  machine.nvidia_devices = count_nvidia_devices();
  machine.nvcc = find_nvcc();
  return machine;
}

std::vector<std::string> installed_packages(const std::string& status_text) {
  std::vector<std::string> names;
  std::istringstream lines(status_text);
  std::string name;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("Package: ")) name = line.substr(9);
    if (line.starts_with("Status: ") && line.ends_with(" installed")) names.push_back(name);
  }
  return names;
}

MissingPackages missing_packages() {
  const std::vector<Package> wanted = {
      {"g++", "build"},
      {"cmake", "build"},
      {"ninja-build", "build"},
      {"pkg-config", "build"},
      {"libeigen3-dev", "build"},
      {"libtbb-dev", "build"},
      {"libcli11-dev", "build"},
      {"libtomlplusplus-dev", "build"},
      {"nlohmann-json3-dev", "build"},
      {"libsentencepiece-dev", "build"},
      {"zlib1g-dev", "build"},
      {"libzstd-dev", "build"},
      {"ccache", "faster rebuilds"},
      {"libboost-test-dev", "tests"},
      {"libboost-context-dev", "tests"},
      {"python3-venv", "tests"},
      {"libbenchmark-dev", "benchmarks"},
      {"python3", "scripts/demo.sh"},
      {"clang", "fuzzers"},
      {"libclang-rt-14-dev", "fuzzers"},
      {"doxygen", "API reference"},
      {"dpkg-dev", "Debian packages"},
      {"file", "Debian packages"},
  };
  const std::string status = contents("/var/lib/dpkg/status");
  MissingPackages missing{!status.empty(), {}, {}};
  for (const Package& package : wanted)
    if (std::ranges::find(missing.purposes, package.purpose) == missing.purposes.end())
      missing.purposes.push_back(package.purpose);
  if (!missing.known) return missing;
  const std::vector<std::string> installed = installed_packages(status);
  for (const Package& package : wanted)
    if (std::find(installed.begin(), installed.end(), package.name) == installed.end())
      missing.packages.push_back(package);
  return missing;
}

std::string apt_line(const std::vector<Package>& packages) {
  std::string line = geteuid() == 0 ? "apt-get" : "sudo apt-get";
  line += " install -y --no-install-recommends";
  for (const Package& package : packages) line += " " + package.name;
  return line;
}

std::string purposes_text(const MissingPackages& missing) {
  std::string text;
  for (const std::string& purpose : missing.purposes) {
    std::string names;
    for (const Package& package : missing.packages)
      if (package.purpose == purpose) names += (names.empty() ? "" : ", ") + package.name;
    text.append(purpose).append(names.empty() ? ": nothing is missing" : ": missing " + names).append(1, '\n');
  }
  return text;
}

}  // namespace ratel::cli
