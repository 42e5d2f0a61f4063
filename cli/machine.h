#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ratel::cli {

/// What /proc and /etc say of this machine; empty or 0 where they do not.
struct Machine {
  std::string system;                   ///< "Debian GNU/Linux 12 (bookworm)"
  std::string processor;                ///< the CPU's model name
  int64_t cores = 0;                    ///< that this process may use
  int64_t memory = 0, free_memory = 0;  ///< bytes
  std::vector<std::string> gpus;        ///< model names, as far as an NVIDIA driver lists them
  int64_t nvidia_devices = 0;  ///< NVIDIA's display and compute devices on the PCI bus, with or without a driver
  std::string nvcc;            ///< path of the CUDA compiler
};
Machine this_machine();

/// A Debian package and what ratel needs it for.
struct Package {
  std::string name, purpose;
};

/// Those of the packages that build, test or demonstrate ratel which are not installed here. `known` tells whether
/// there is a Debian package database to ask.
struct MissingPackages {
  bool known = false;
  std::vector<std::string> purposes;  ///< all there are, whether something is missing for them or not
  std::vector<Package> packages;
};
MissingPackages missing_packages();

/// The line that installs them. As root, or through sudo.
std::string apt_line(const std::vector<Package>& packages);
/// "build: nothing is missing", "tests: missing are a, b", a line for each purpose.
std::string purposes_text(const MissingPackages& missing);

/// The names whose paragraph in the text of a dpkg status file says that they are installed.
std::vector<std::string> installed_packages(const std::string& status_text);

}  // namespace ratel::cli
