#include "tasks/task_rows.h"

#include <algorithm>
#include <array>
#include <span>

#include "core/error.h"
#include "core/text.h"
#include "io/byte_stream.h"
#include "io/file.h"
#include "io/report.h"
#include "models/generate.h"
#include "text/documents.h"
#include "text/inputs.h"

namespace ratel::tasks {
namespace {

using io::Json;
using io::JsonCursor;

constexpr std::pair<TaskKind, std::string_view> kKinds[] = {{TaskKind::multiple_choice, "multiple_choice"},
                                                            {TaskKind::last_word, "last_word"},
                                                            {TaskKind::generation, "generation"}};

bool has(const TaskRow& row, std::string_view member) {
  const Json* value = row.object.find(member);
  return value != nullptr && !value->is_null();
}

JsonCursor cursor_of(const TaskRow& row) { return {row.object, row.where}; }

std::vector<std::string> strings(const JsonCursor& list) {
  std::vector<std::string> result;
  for (size_t i = 0; i < list.size(); ++i) result.push_back(list[i].as_string());
  return result;
}

/// "_id" or "id", whatever it is.
Json id_of(const TaskRow& row) {
  for (const std::string_view name : {"_id", "id"})
    if (const Json* value = row.object.find(name)) return *value;
  return {};
}

/// The one member of several names that a row has.
JsonCursor one_of(const TaskRow& row, std::span<const std::string_view> names) {
  std::string found;
  for (const std::string_view name : names) {
    if (!has(row, name)) continue;
    if (!found.empty())
      fail_input(row.where, "expected one of ", io::in_quotes(found), " and ", io::in_quotes(name), ", found both");
    found = name;
  }
  return cursor_of(row)[found.empty() ? names.front() : std::string_view(found)];
}

int64_t characters_in(std::string_view utf8) {
  return std::ranges::count_if(utf8, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

/// Adds a choice. A space parts the two texts unless the context ends in one already.
void add_choice(MultipleChoiceRow& row, size_t context, const JsonCursor& text, const std::string& chosen) {
  const std::string& continuation = text.as_string();
  if (continuation.empty()) fail_input(text.where(), "expected at least one character, found an empty text");
  const std::string& before = row.contexts[context];
  const bool is_parted = !before.empty() && is_space(before.back());
  row.choices.push_back({context, is_parted ? continuation : " " + continuation, characters_in(chosen)});
}

void check_size(const MultipleChoiceRow& row) {
  size_t bytes = 0;
  for (const Choice& choice : row.choices) bytes += row.contexts[choice.context].size() + choice.continuation.size();
  if (bytes > kMostChoiceBytes)
    fail_input(row.where, "expected choices of at most ", kMostChoiceBytes,
               " bytes, each with its context before it, found ", row.choices.size(), " of ", bytes);
}

/// An index, or the text of exactly one choice.
int64_t gold_of(const TaskRow& row, std::span<const std::string> names) {
  static constexpr std::array<std::string_view, 3> kMembers{"gold", "label", "answer"};
  const JsonCursor gold = one_of(row, kMembers);
  const auto count = static_cast<int64_t>(names.size());
  if (gold.value().is_string()) {
    const std::string& text = gold.as_string();
    const auto same = std::ranges::count(names, text);
    if (same == 1) return std::ranges::find(names, text) - names.begin();
    const auto index = to_number<int64_t>(text);  // "3", as HellaSwag has it
    if (same == 0 && index && *index >= 0 && *index < count) return *index;
    fail_input(gold.where(), "expected an index from 0 to ", count - 1, " or the text of one of the choices, found ",
               io::in_quotes(text));
  }
  const int64_t index = gold.as_int();
  if (index < 0 || index >= count)
    fail_input(gold.where(), "expected 0 to ", count - 1, " for ", count, " choices, found ", index);
  return index;
}

constexpr std::array<std::string_view, 2> kTemplateMembers{"context", "input"};

/// The name in braces that a text begins with, in letters, digits and underscores; empty where there is none.
std::string_view name_in_braces(std::string_view text) {
  if (!text.starts_with('{')) return {};
  const auto is_part = [](char c) {
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  const std::string_view rest = text.substr(1);
  const auto size = std::ranges::find_if_not(rest, is_part) - rest.begin();
  const std::string_view name = rest.substr(0, static_cast<size_t>(size));
  return rest.substr(name.size()).starts_with('}') ? name : std::string_view();
}

/// Calls on_text(a part) and on_member(a name in braces) for what a template consists of.
template <class OnText, class OnMember>
void read_template(std::string_view prompt_template, OnText&& on_text, OnMember&& on_member) {
  while (!prompt_template.empty()) {
    const std::string_view name = name_in_braces(prompt_template);
    const size_t size = name.empty() ? std::min(prompt_template.find('{', 1), prompt_template.size()) : name.size() + 2;
    if (name.empty())
      on_text(prompt_template.substr(0, size));
    else
      on_member(name);
    prompt_template.remove_prefix(size);
  }
}

std::string filled(const TaskRow& row, std::string_view prompt_template) {
  std::string prompt;
  read_template(
      prompt_template, [&](std::string_view text) { prompt += text; },
      [&](std::string_view name) { prompt += cursor_of(row)[name].as_string(); });
  return prompt;
}

/// Passes on the rows of a block until there were `limit`.
void take_rows(const Block& block, const std::string& name, int64_t limit, int64_t& count,
               const std::function<void(const TaskRow&)>& take) {
  for (const DocumentPart& part : block.parts) {
    if (limit > 0 && count == limit) return;
    if (!part.problem.empty()) throw Error(part.problem, ErrorKind::input);
    std::string where = concat_text(name, ":", part.place);
    Json object = io::parse_json(std::string_view(block.bytes).substr(part.begin, part.size), where);
    if (!object.is_object()) fail_input(where, "expected an object, found ", object.described());
    ++count;
    take({std::move(where), std::move(object)});
  }
}

}  // namespace

EnumNames<TaskKind> names_of(TaskKind) { return kKinds; }

bool for_each_task_row(const std::string& path, int64_t limit, const std::function<bool()>& stop,
                       const std::function<void(const TaskRow&)>& take) {
  check(limit >= 0, "for_each_task_row: expected a limit of 0 or more, found ", limit);
  if (path != "-" && io::is_folder(path)) fail_input(path, "expected a file, found a folder");
  const auto files = list_inputs(std::vector{path}, InputFormat{Documents::rows, io::Compression::none});
  DocumentReader reader(files, Tokenizer::bytes(), [&](const InputFile& file) {
    return io::decompressed(io::open_stream(file.path, stop), file.format.compression);
  });
  int64_t count = 0;
  for (Block block; (limit == 0 || count < limit) && reader.next(block);) {
    if (stop && stop()) return false;
    take_rows(block, files[0].name(), limit, count, take);
  }
  if (reader.interrupted()) return false;
  if (count == 0) fail_input(files[0].name(), "expected at least one row, found none");
  return true;
}

std::vector<TaskRow> read_task_rows(const std::string& path, int64_t limit) {
  std::vector<TaskRow> rows;
  for_each_task_row(path, limit, {}, [&](const TaskRow& row) { rows.push_back(row); });
  return rows;
}

TaskKind kind_of(const TaskRow& row) {
  if (has(row, "choices") || has(row, "contexts")) return TaskKind::multiple_choice;
  if (has(row, "answers") || has(row, "prompt")) return TaskKind::generation;
  if (has(row, "text")) return TaskKind::last_word;
  fail_input(row.where, R"(expected a row with "choices", "contexts", "answers" or "text", found )",
             row.object.described());
}

MultipleChoiceRow multiple_choice_row(const TaskRow& row) {
  MultipleChoiceRow result{row.where, id_of(row), {}, {}, 0};
  std::vector<std::string> names;
  if (has(row, "contexts")) {
    if (has(row, "choices")) fail_input(row.where, R"(expected one of "contexts" and "choices", found both)");
    names = result.contexts = strings(cursor_of(row)["contexts"]);
    const JsonCursor continuation = cursor_of(row)["continuation"];
    for (size_t i = 0; i < names.size(); ++i) add_choice(result, i, continuation, names[i]);
  } else {
    static constexpr std::array<std::string_view, 2> kMembers{"context", "query"};
    result.contexts = {one_of(row, kMembers).as_string()};
    const JsonCursor choices = cursor_of(row)["choices"];
    names = strings(choices);
    for (size_t i = 0; i < names.size(); ++i) add_choice(result, 0, choices[i], names[i]);
  }
  if (names.size() < 2) fail_input(row.where, "expected at least 2 choices, found ", names.size());
  check_size(result);
  result.gold = gold_of(row, names);
  return result;
}

LastWordRow last_word_row(const TaskRow& row) {
  const JsonCursor member = cursor_of(row)["text"];
  std::string_view text = member.as_string();
  text = text.substr(0, text.find_last_not_of(kSpaces) + 1);
  const size_t space = text.find_last_of(' ');
  if (space == std::string_view::npos || text.find_first_not_of(kSpaces) > space)
    fail_input(member.where(), "expected at least two words with a space between the last ones, found ",
               io::in_quotes(text));
  return {row.where, id_of(row), std::string(text.substr(0, space)), std::string(text.substr(space))};
}

void check_template(std::string_view prompt_template, std::string_view name) {
  bool has_member = false;
  read_template(
      prompt_template, [](std::string_view) {},
      [&](std::string_view member) {
        has_member = true;
        if (std::ranges::find(kTemplateMembers, member) != kTemplateMembers.end()) return;
        fail(name, ": expected {context} and {input} in braces, found {", member, "}",
             suggestion(member, kTemplateMembers));
      });
  check(has_member, name, ": expected {context} or {input} in it, found ", io::in_quotes(prompt_template));
}

bool takes_template(const TaskRow& row) { return !has(row, "prompt"); }

GenerationRow generation_row(const TaskRow& row, std::string_view prompt_template) {
  const JsonCursor all = cursor_of(row);
  GenerationRow result{row.where, id_of(row), {}, {}, {}, {}, {}, {}};
  result.prompt = takes_template(row) ? filled(row, prompt_template) : all["prompt"].as_string();
  if (result.prompt.empty()) fail_input(row.where, "expected a prompt, found an empty text");
  const JsonCursor answers = all["answers"];
  result.answers = answers.value().is_string() ? std::vector{answers.as_string()} : strings(answers);
  if (result.answers.empty()) fail_input(answers.where(), "expected at least one answer, found none");
  if (const auto classes = all.find("all_classes")) result.classes = strings(*classes);
  if (const auto completion = all.find("completion")) result.completion = completion->as_string();
  if (const auto metric = all.find("metric")) {
    result.metric = value_in(names_of(TextMetric{}), metric->as_string());
    if (!result.metric)
      fail_input(metric->where(), "expected ", choices_of(names_of(TextMetric{}), ", "), ", found ",
                 io::in_quotes(metric->as_string()));
  }
  if (const auto most = all.find("max_new_tokens")) {
    result.max_new_tokens = most->as_int();
    if (*result.max_new_tokens < 1 || *result.max_new_tokens > kMostNewTokens)
      fail_input(most->where(), "expected 1 to ", kMostNewTokens, ", found ", *result.max_new_tokens);
  }
  return result;
}

}  // namespace ratel::tasks
