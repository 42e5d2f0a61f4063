#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ratel::test {

/// An empty folder of one test, removed at the end with all in it. In memory where that is possible: bringing thousands
/// of small files to a disk takes minutes.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  /// A path in it; that of the folder itself for an empty name.
  std::string operator/(std::string_view name) const;
  /// A file of this content; returns its path.
  [[nodiscard]] std::string file(std::string_view name, std::string_view content) const;
  /// Files and folders directly inside.
  [[nodiscard]] int64_t count() const;

 private:
  std::string path_;
};

}  // namespace ratel::test
