#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/enum_names.h"
#include "io/json.h"
#include "tasks/text_scores.h"

namespace ratel::tasks {

/// What is asked for in the rows of a file. docs/formats.md has their members.
enum class TaskKind {
  multiple_choice,  ///< which of several texts goes on
  last_word,        ///< the last word of a text
  generation,       ///< what the model says to a prompt
};
EnumNames<TaskKind> names_of(TaskKind);  ///< "multiple_choice", "last_word", "generation"

/// A line of a file.
struct TaskRow {
  std::string where;  ///< "path:line", for messages
  io::Json object;
};

/// The rows of a file of JSON lines, .gz and .zst read too: `limit` of them at most, or all for 0. Empty lines are no
/// rows. Throws Error(input) "path:line: ..." for a line that is no JSON object, and for a file without a row. None
/// where `stop` interrupted it.
std::vector<TaskRow> read_task_rows(const std::string& path, int64_t limit = 0, const std::function<bool()>& stop = {});

/// By the members a row has. Throws Error(input) where they are those of no kind.
TaskKind kind_of(const TaskRow& row);

/// A text and how it may go on.
struct Choice {
  std::string context, continuation;
  int64_t length = 0;  ///< characters (code points) of what was to be chosen, without the delimiter
};

struct MultipleChoiceRow {
  std::string where;
  io::Json id;  ///< null where there is none
  std::vector<Choice> choices;
  int64_t gold = 0;  ///< the right one
};
/// Each reads a row of its kind, and throws Error(input) "path:line: member: ..." for what is missing, of a wrong type
/// or cannot work. Members that a kind does not know are left alone.
MultipleChoiceRow multiple_choice_row(const TaskRow& row);

struct LastWordRow {
  std::string where;
  io::Json id;
  std::string context, continuation;  ///< all but the last word, and a space with the last word
};
LastWordRow last_word_row(const TaskRow& row);

struct GenerationRow {
  std::string where;
  io::Json id;
  std::string prompt;
  std::vector<std::string> answers, classes;
  std::string completion;  ///< a right answer as it follows the prompt; empty where none is given
  std::optional<TextMetric> metric;
  std::optional<int64_t> max_new_tokens;
};
/// More than any model says, few enough that no size of a cache overflows.
inline constexpr int64_t kMostNewTokens = 1'000'000;
/// `prompt_template` makes the prompt of a row that has none: {context} and {input} in it stand for these members.
GenerationRow generation_row(const TaskRow& row, std::string_view prompt_template);

}  // namespace ratel::tasks
