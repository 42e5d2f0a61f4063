#include "test/support/temporary_folder.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "core/error.h"

namespace ratel::test {
namespace {

namespace fs = std::filesystem;

std::string made() {
  const fs::path memory = "/dev/shm";
  const fs::path parent = ::access(memory.c_str(), W_OK) == 0 ? memory : fs::temp_directory_path();
  std::string name = parent / "ratel_test_XXXXXX";
  check(::mkdtemp(name.data()) != nullptr, "no temporary folder can be made in ", parent.string());
  return name;
}

}  // namespace

TemporaryFolder::TemporaryFolder() : path_(made()) {}

TemporaryFolder::~TemporaryFolder() {
  std::error_code error;
  fs::remove_all(path_, error);
}

std::string TemporaryFolder::operator/(std::string_view name) const {
  return name.empty() ? path_ : path_ + '/' + std::string(name);
}

std::string TemporaryFolder::file(std::string_view name, std::string_view content) const {
  std::string path = *this / name;
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

int64_t TemporaryFolder::count() const {
  return std::distance(fs::directory_iterator(path_), fs::directory_iterator());
}

}  // namespace ratel::test
