#include "cli/run_log.h"

#include <array>
#include <ctime>

#include "cli/output.h"

namespace ratel::cli {
namespace {

std::string stamped(std::string_view text) {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  std::array<char, 32> stamp{};
  gmtime_r(&now, &parts);
  std::strftime(stamp.data(), stamp.size(), "%Y-%m-%dT%H:%M:%SZ ", &parts);
  return concat_text(stamp.data(), text, "\n");
}

}  // namespace

void RunLog::open(const std::string& path) {
  try {
    file_ = std::make_unique<io::OutputFile>(path, io::OutputFile::Mode::append);
    for (const std::string& line : waiting_) file_->write(line);
  } catch (const Error& error) {
    failed_ = true;
    note("ratel: ", error.what(), "; the run goes on without its log");
  }
  waiting_.clear();
}

void RunLog::line(std::string_view text) {
  if (failed_) return;
  if (file_ == nullptr) {
    waiting_.push_back(stamped(text));
    return;
  }
  try {
    file_->write(stamped(text));
  } catch (const Error& error) {
    failed_ = true;
    note("ratel: ", error.what(), "; the run goes on without its log");
  }
}

}  // namespace ratel::cli
