#include "io/distinct_files.h"

#include <filesystem>
#include <system_error>
#include <vector>

#include "core/error.h"

namespace ratel::io {
namespace {

namespace fs = std::filesystem;

/// A file with what tells it from others.
struct Identity {
  FileRole role;
  fs::path canonical;  // links and dots resolved, as far as the path leads anywhere
  bool exists = false;

  explicit Identity(FileRole of) : role(std::move(of)) {
    std::error_code error;
    const fs::path absolute = fs::absolute(role.path, error);
    canonical = fs::weakly_canonical(absolute, error);
    if (error) canonical = absolute.lexically_normal();
    exists = fs::exists(role.path, error);
  }
  [[nodiscard]] bool is_same(const Identity& other) const {
    std::error_code error;
    return canonical == other.canonical ||
           (exists && other.exists && fs::equivalent(role.path, other.role.path, error));
  }
};

void check_not_same(const Identity& a, const Identity& b) {
  if (a.is_same(b)) fail(a.role.what, " ", a.role.path, " and ", b.role.what, " ", b.role.path, " are the same file");
}

}  // namespace

void check_distinct(std::span<const FileRole> written, std::span<const FileRole> read) {
  std::vector<Identity> outputs;
  for (const FileRole& role : written) outputs.emplace_back(role);
  for (const FileRole& role : written)
    outputs.emplace_back(FileRole{"the temporary file of " + role.what, role.path + ".tmp"});
  for (size_t i = 0; i < outputs.size(); ++i)
    for (size_t j = 0; j < i; ++j) check_not_same(outputs[j], outputs[i]);
  for (const FileRole& role : read) {
    if (role.path == "-") continue;
    const Identity input(role);
    for (const Identity& output : outputs) check_not_same(input, output);
  }
}

}  // namespace ratel::io
