#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.h"
#include "io/json.h"

namespace ratel::io {

/// A metrics.jsonl: one JSON object a line, added to at the end. A last line without a line break is a write that was
/// cut short; everything here leaves it out.
class MetricsFile {
 public:
  /// Creates the file or opens it for more, a torn last line removed. Throws Error(disk) or Error(input).
  explicit MetricsFile(std::string path);
  /// Adds a row with one write(2), so that a reader sees all of it or nothing. Throws Error(disk).
  void append(const Json& row);
  /// Returns once the rows are on the disk. Throws Error(disk).
  void sync() { file_.sync(); }

 private:
  OutputFile file_;
};

/// The rows of the file. Throws Error(input) "path:line: what" for one that is not a JSON object.
std::vector<Json> read_metrics(const std::string& path);
/// Hands them over one after the other: a run of months has more of them than memory should hold.
void visit_metrics(const std::string& path, const std::function<void(const Json& row)>& visit);
std::vector<Json> parse_metrics(std::string_view text, std::string_view path);

/// Keeps only the rows whose integer "step" is at most `step`, for a run that resumes from there. The file is replaced
/// atomically; nothing happens where there is none. Once a row of that step or a later one has been read, a line that
/// is no row ends the file, and is named to `warn`: a crash may leave anything there. Before it Error(input) is thrown
/// as above. Error(disk). Returns the last step up to `step` without a row, 0 where each has one.
int64_t truncate_after(const std::string& path, int64_t step,
                       const std::function<void(const std::string& message)>& warn = {});

}  // namespace ratel::io
