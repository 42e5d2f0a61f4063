#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.h"

namespace ratel::cli {

/// log.txt of a run: what its command printed, every line with the time in UTC. Added to when the run resumes.
class RunLog {
 public:
  /// Lines that come before open() are kept and written then: until a run starts, its folder is none of its business.
  void open(const std::string& path);
  /// A log that cannot be written ends with a line on stderr, and the run goes on.
  void line(std::string_view text);

 private:
  std::unique_ptr<io::OutputFile> file_;
  std::vector<std::string> waiting_;
  bool failed_ = false;
};

}  // namespace ratel::cli
