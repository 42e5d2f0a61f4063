#include "core/free_memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>

#include "core/error.h"

namespace ratel {
namespace {

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The number that a text starts with, blanks left out.
std::optional<int64_t> number_at(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  int64_t number = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc()) return {};
  return number;
}

/// The number after `key` at the start of a line.
std::optional<int64_t> number_of(const std::string& text, std::string_view key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(key)) return number_at(std::string_view(line).substr(key.size()));
  return {};
}

/// What the two versions of control groups call the same files.
struct Names {
  const char *folder, *limit, *used;
};
constexpr Names kV1{"/sys/fs/cgroup/memory", "/memory.limit_in_bytes", "/memory.usage_in_bytes"};
constexpr Names kV2{"/sys/fs/cgroup", "/memory.max", "/memory.current"};

/// What one group still grants; nothing where it has no limit ("max").
std::optional<int64_t> granted_by(const std::string& group, const Names& names) {
  const auto limit = number_at(contents(group + names.limit)), used = number_at(contents(group + names.used));
  if (!limit || !used) return {};
  // Cached files count as used, but make room.
  const std::string stat = contents(group + "/memory.stat");
  const int64_t cached = number_of(stat, "active_file ").value_or(0) + number_of(stat, "inactive_file ").value_or(0);
  return std::max<int64_t>(0, *limit - *used + cached);
}

/// The least of two numbers that may both be unknown.
std::optional<int64_t> least(std::optional<int64_t> a, std::optional<int64_t> b) {
  if (!a || !b) return a ? a : b;
  return std::min(*a, *b);
}

/// What the group of a line of /proc/self/cgroup, "number:controllers:path", and all groups above it grant.
std::optional<int64_t> granted_to(const std::string& root, const std::string& line) {
  const size_t first = line.find(':'), second = line.find(':', first + 1);
  if (first == std::string::npos || second == std::string::npos) return {};
  const std::string controllers = concat_text(',', line.substr(first + 1, second - first - 1), ',');
  const bool unified = line.starts_with("0:");
  if (!unified && controllers.find(",memory,") == std::string::npos) return {};
  const Names& names = unified ? kV2 : kV1;
  std::optional<int64_t> granted;
  for (std::string path = line.substr(second + 1);; path.resize(path.rfind('/'))) {
    granted = least(granted, granted_by(concat_text(root, names.folder, path), names));
    if (path.find('/') == std::string::npos) return granted;
  }
}

}  // namespace

std::optional<int64_t> free_memory(const std::string& root) {
  std::optional<int64_t> free;
  if (const auto kibibytes = number_of(contents(root + "/proc/meminfo"), "MemAvailable:")) free = *kibibytes * 1024;
  std::istringstream groups(contents(root + "/proc/self/cgroup"));
  for (std::string line; std::getline(groups, line);) free = least(free, granted_to(root, line));
  return free;
}

int64_t bounded_product(std::initializer_list<int64_t> factors) {
  if (std::ranges::find(factors, 0) != factors.end()) return 0;
  int64_t product = 1;
  for (const int64_t factor : factors)
    if (__builtin_mul_overflow(product, factor, &product) || product > kMostBytes) return kMostBytes;
  return product;
}

void require_memory(int64_t bytes, std::string_view what, std::string_view hint) {
  const std::optional<int64_t> free = free_memory();
  if (free && *free < bytes)
    throw Error(concat_text(what, " need ", bytes >> 20, " MiB, found ", *free >> 20, " MiB free\nhint: ", hint),
                ErrorKind::memory);
}

}  // namespace ratel
