#include "cli/needle_options.h"

#include <vector>

#include "cli/output.h"
#include "core/error.h"
#include "core/text.h"
#include "io/file.h"
#include "io/report.h"

namespace ratel::cli {

std::string suggested_task(std::string_view name) {
  std::vector<std::string_view> names;
  for (const auto& [task, each] : names_of(tasks::NeedleTask{})) names.push_back(each);
  return suggestion(name, names);
}

std::string read_haystack(const std::string& path) {
  std::string text(io::MappedFile::open(path).text());
  for (size_t at = 0; at < text.size();) {
    const size_t size = io::utf8_length(text, at);
    if (size == 0)
      io::fail_at(path, at, "invalid UTF-8; expected text, found the byte ", io::in_quotes(text.substr(at, 1)));
    at += size;
  }
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  if (text.find_first_not_of(kSpaces) == std::string::npos)
    io::fail_at(path, 0, "expected text, found ", text.empty() ? "an empty file" : "white space alone");
  return text;
}

void check_needles(const tasks::NeedleOptions& how, int64_t examples, bool has_haystack) {
  check(examples >= 1, "--examples: expected 1 or more, found ", examples);
  check(how.length >= 1 && how.length <= tasks::kLongestNeedles, "--length: expected 1 to ", tasks::kLongestNeedles,
        ", found ", how.length);
  check(how.seed >= 0, "--seed: expected 0 or more, found ", how.seed);
  check(how.max_new_tokens >= 0, "--max-new-tokens: expected 0 or more, found ", how.max_new_tokens);
  check(!has_haystack || tasks::takes_haystack(how.task), "--haystack: the haystack of ",
        name_in(names_of(how.task), how.task), " is made of needles and takes no text");
}

void note_noise(const tasks::NeedleOptions& how) {
  if (how.task == tasks::NeedleTask::single_1 || !tasks::takes_haystack(how.task) || !how.haystack.empty()) return;
  note("ratel: ", name_in(names_of(how.task), how.task),
       " without --haystack hides its needles in noise; RULER's own hides them in essays");
}

}  // namespace ratel::cli
