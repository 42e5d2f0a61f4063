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

/// Passes the rows of a file of JSON lines to `take`, one after the other, .gz and .zst read too: `limit` of them at
/// most, or all for 0. Empty lines are no rows. False where `stop` interrupted it. Throws Error(input) "path:line: ..."
/// for a line that is no JSON object, and for a file without a row.
bool for_each_task_row(const std::string& path, int64_t limit, const std::function<bool()>& stop,
                       const std::function<void(const TaskRow&)>& take);
/// All of them.
std::vector<TaskRow> read_task_rows(const std::string& path, int64_t limit = 0);

/// By the members a row has. Throws Error(input) where they are those of no kind.
TaskKind kind_of(const TaskRow& row);

/// A text and how it may go on.
struct Choice {
  size_t context = 0;        ///< the number of a text of the row's
  std::string continuation;  ///< with the delimiter before it
  int64_t length = 0;        ///< characters (code points) of what was to be chosen, without the delimiter
};

/// Bytes of the texts that a row makes of its choices at most, each with its context before it.
inline constexpr size_t kMostChoiceBytes = size_t{1} << 25;

struct MultipleChoiceRow {
  std::string where;
  io::Json id;                        ///< null where there is none
  std::vector<std::string> contexts;  ///< one of all choices, or one of each
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
/// Throws Error(usage) "name: ..." for a template with another {name} in it than {context} and {input}, and with none
/// of these.
void check_template(std::string_view prompt_template, std::string_view name);
/// Whether the prompt of a row is made of a template: it has none of its own.
bool takes_template(const TaskRow& row);
/// `prompt_template` makes the prompt of such a row: {context} and {input} in it stand for these members.
GenerationRow generation_row(const TaskRow& row, std::string_view prompt_template);

}  // namespace ratel::tasks
