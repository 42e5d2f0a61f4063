#include "cli/options.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <functional>

#include "cli/output.h"
#include "core/error.h"
#include "core/text.h"

namespace ratel::cli {
namespace {

template <class T>
T parse_number(const std::string& name, std::string_view text, std::string_view expected) {
  const auto value = to_number<T>(text);
  check(value.has_value(), name, ": expected ", expected, ", found '", text, "'");
  return *value;
}

/// --SECTION.KEY, with or without a value; a dot in the value makes none.
bool is_override(const std::string& argument) {
  return argument.starts_with("--") && argument.substr(0, argument.find('=')).find('.') != std::string::npos;
}

std::string real_text(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

/// What CLI11 says, as the commands say it. Its words: "--a: 1 required N missing", "--a: At Most 1 required but
/// received 2", and of a flag "Could not convert: --a = x".
std::string described(const CLI::ParseError& error) {
  std::string text = error.what();
  const std::string name = text.substr(0, text.find(':'));
  if (text.ends_with(" missing")) return name + ": expected a value, found none";
  if (text.starts_with(name + ": At Most 1 ")) return name + ": expected once, found again";
  constexpr std::string_view kOfFlags = "Could not convert: ";
  if (const size_t equals = text.find(" = "); text.starts_with(kOfFlags) && equals != std::string::npos)
    return concat_text(text.substr(kOfFlags.size(), equals - kOfFlags.size()),
                       ": expected no value, or true or false, found '", text.substr(equals + 3), "'");
  return text;
}

}  // namespace

struct Options::Impl {
  CLI::App app;
  std::string command, notes, examples;
  std::vector<std::string> names, required;
  std::vector<std::function<void()>> readers;  // run after CLI11 has split the line
  std::vector<std::unique_ptr<std::string>> raw;
  std::vector<std::string>* positional = nullptr;
  std::string positional_value;
  std::vector<Override>* overrides = nullptr;

  /// An option whose text `read` turns into its value where it was given.
  void add(const std::string& name, const std::string& value, const std::string& shown_default, const std::string& help,
           std::function<void(const std::string&)> read) {
    std::string* text = raw.emplace_back(std::make_unique<std::string>()).get();
    CLI::Option* option = app.add_option(name, *text, help)->type_name(value);
    if (!shown_default.empty()) option->default_str(shown_default);
    names.push_back(name);
    readers.emplace_back([option, text, read = std::move(read)] {
      if (option->count() > 0) read(*text);
    });
  }
};

Options::Options(std::string_view command, std::string_view summary) : impl_(std::make_unique<Impl>()) {
  impl_->command = command;
  impl_->app.description(std::string(summary) + "\n");
  impl_->app.name("ratel " + impl_->command);
  impl_->app.allow_extras();
  impl_->app.set_help_flag("-h,--help", "Print this and exit");
  impl_->names = {"--help"};
}
Options::~Options() = default;

void Options::flag(const std::string& name, bool& target, const std::string& help) {
  impl_->app.add_flag(name, target, help);
  impl_->names.push_back(name);
}

void Options::text(const std::string& name, const std::string& value, std::string& target, const std::string& help,
                   Presence presence) {
  const bool needed = presence == Presence::required;
  if (needed) impl_->required.push_back(name);
  impl_->add(name, needed ? value + " (required)" : value, target, help,
             [&target](const std::string& text) { target = text; });
}

void Options::texts(const std::string& name, const std::string& value, std::vector<std::string>& target,
                    const std::string& help) {
  impl_->app.add_option(name, target, help)->type_name(value)->allow_extra_args(false);
  impl_->names.push_back(name);
}

void Options::integer(const std::string& name, const std::string& value, int64_t& target, const std::string& help) {
  impl_->add(name, value, std::to_string(target), help,
             [name, &target](const std::string& text) { target = parse_number<int64_t>(name, text, "an integer"); });
}

void Options::integers(const std::string& name, const std::string& value, std::vector<int64_t>& target,
                       const std::string& help) {
  impl_->add(name, value, "", help, [name, &target](const std::string& text) {
    target.clear();
    for (const std::string_view part : split(text, ','))
      target.push_back(parse_number<int64_t>(name, part, "integers separated by commas"));
  });
}

void Options::real(const std::string& name, const std::string& value, double& target, const std::string& help) {
  impl_->add(name, value, real_text(target), help,
             [name, &target](const std::string& text) { target = parse_number<double>(name, text, "a number"); });
}

void Options::positional(const std::string& value, std::vector<std::string>& target, const std::string& help,
                         Presence presence) {
  impl_->app.add_option(value, target, help)->type_name("");
  if (presence == Presence::required) impl_->positional = &target;
  impl_->positional_value = value;
}

void Options::overrides(std::vector<Override>& target) { impl_->overrides = &target; }

void Options::note(std::string_view text) { impl_->notes.append(text).append("\n"); }

void Options::example(std::string_view line) { impl_->examples.append("\n  ").append(line); }

Options::Parsed Options::parse(std::span<const std::string> args) {
  impl_->app.footer(concat_text(
      impl_->overrides == nullptr ? "" : "  --SECTION.KEY=VALUE         Change one value of the configuration\n\n",
      impl_->notes, "Examples:", impl_->examples));
  std::vector<std::string> rest;  // CLI11 wants them last first
  for (const std::string& argument : args) {
    if (impl_->overrides != nullptr && is_override(argument)) {
      const size_t equals = argument.find('=');
      check(equals != std::string::npos, argument, ": expected ", argument, "=VALUE");
      impl_->overrides->push_back({argument.substr(2, equals - 2), argument.substr(equals + 1)});
    } else {
      rest.insert(rest.begin(), argument);
    }
  }
  try {
    impl_->app.parse(rest);
  } catch (const CLI::CallForHelp&) {
    print(impl_->app.help());
    return Parsed::help;
  } catch (const CLI::ParseError& error) {
    fail(described(error), "\nhint: ratel ", impl_->command, " --help");
  }
  for (const std::string& extra : impl_->app.remaining()) {
    const std::string name = extra.substr(0, extra.find('='));
    const std::string near = nearest(name, impl_->names);
    const std::string hint = near.empty() ? "ratel " + impl_->command + " --help" : "the nearest option is " + near;
    fail(name.starts_with('-') ? "unknown option " : "unexpected argument ", name, "\nhint: ", hint);
  }
  for (const std::string& name : impl_->required)
    check(given(name), name, " is missing\nhint: ratel ", impl_->command, " --help");
  check(impl_->positional == nullptr || !impl_->positional->empty(), impl_->positional_value,
        " is missing\nhint: ratel ", impl_->command, " --help");
  for (const auto& read : impl_->readers) read();
  return Parsed::run;
}

bool Options::given(const std::string& name) const { return impl_->app.count(name) > 0; }

}  // namespace ratel::cli
