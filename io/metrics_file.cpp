#include "io/metrics_file.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "io/report.h"

namespace ratel::io {
namespace {

/// Calls f(line without its break, row) for every whole line.
template <class F>
void for_each_row(std::string_view text, std::string_view path, F&& f) {
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return;
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    Json row = parse_json(line, concat_text(path, ":", number));
    if (!row.is_object()) fail_at(path, number, "expected an object, found ", row.described());
    f(line, std::move(row));
  }
}

/// The path, once the file there ends in a line break.
std::string without_torn_line(std::string path) {
  if (std::error_code error; !std::filesystem::is_regular_file(path, error)) return path;
  const MappedFile file = MappedFile::open(path);
  const std::string_view text = file.text();
  const size_t whole = text.rfind('\n') + 1;  // npos + 1 is 0
  if (whole != text.size()) {
    std::error_code error;
    std::filesystem::resize_file(path, whole, error);
    if (error) fail_disk(path, "not shortened: ", error.message());
  }
  return path;
}

}  // namespace

MetricsFile::MetricsFile(std::string path) : file_(without_torn_line(std::move(path)), OutputFile::Mode::append) {}

void MetricsFile::append(const Json& row) { file_.write(row.dump() + '\n'); }

std::vector<Json> parse_metrics(std::string_view text, std::string_view path) {
  std::vector<Json> rows;
  for_each_row(text, path, [&](std::string_view, Json row) { rows.push_back(std::move(row)); });
  return rows;
}

std::vector<Json> read_metrics(const std::string& path) {
  const MappedFile file = MappedFile::open(path);
  return parse_metrics(file.text(), path);
}

void visit_metrics(const std::string& path, const std::function<void(const Json& row)>& visit) {
  const MappedFile file = MappedFile::open(path);
  for_each_row(file.text(), path, [&](std::string_view, const Json& row) { visit(row); });
}

int64_t truncate_after(const std::string& path, int64_t step,
                       const std::function<void(const std::string& message)>& warn) {
  if (!path_exists(path)) return step;
  int64_t missing = 0, next = 1;  // steps count from 1, and their rows lie in order
  const MappedFile file = MappedFile::open(path);
  AtomicFile kept(path);
  std::string buffer;
  constexpr size_t kBufferBytes = size_t{1} << 20;
  bool passed = step < 1;  // steps count from 1: nothing is kept then
  try {
    for_each_row(file.text(), path, [&](std::string_view line, const Json& row) {
      const Json* at = row.find("step");
      if (at == nullptr || !at->is_int()) return;
      if (at->as_int() <= step) {
        buffer.append(line).append(1, '\n');
        if (at->as_int() > next) missing = at->as_int() - 1;
        next = std::max(next, at->as_int() + 1);
      }
      if (buffer.size() >= kBufferBytes) {
        kept.write(buffer);
        buffer.clear();
      }
      passed = passed || at->as_int() >= step;
    });
  } catch (const Error& error) {
    // A row that the run would keep must be readable; what a crash left after them goes anyway.
    if (!passed || error.kind() != ErrorKind::input) throw;
    if (warn) warn(concat_text(error.what(), "; it is after step ", step, ", and dropped with all that follows"));
  }
  kept.write(buffer);
  kept.commit();
  return next <= step ? step : missing;
}

}  // namespace ratel::io
