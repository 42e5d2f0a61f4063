#include "cli/options.h"

#include <boost/test/unit_test.hpp>

#include "core/error.h"

namespace {

using ratel::cli::Options;
using ratel::cli::Override;
using ratel::cli::Presence;

/// A command with an option of every kind.
struct Command {
  Options options{"test", "A command for this test."};
  std::string name = "default";
  int64_t count = 3;
  double ratio = 0.5;
  bool loud = false;
  std::vector<int64_t> list;
  std::vector<std::string> files, words;
  std::vector<Override> overrides;

  Command() {
    options.text("--name", "TEXT", name, "a text", Presence::required);
    options.integer("--count", "N", count, "an integer");
    options.real("--ratio", "X", ratio, "a number");
    options.flag("--loud", loud, "a flag");
    options.texts("--word", "TEXT", words, "texts");
    options.integers("--list", "N[,N...]", list, "integers");
    options.positional("FILE", files, "files");
    options.overrides(overrides);
  }
  void parse(std::vector<std::string> args) { BOOST_TEST((options.parse(args) == Options::Parsed::run)); }
};

/// The message of the Error that these arguments lead to.
std::string error_of(std::vector<std::string> args) {
  Command command;
  try {
    command.options.parse(args);
  } catch (const ratel::Error& error) {
    BOOST_TEST((error.kind() == ratel::ErrorKind::usage));
    return error.what();
  }
  return "no error";
}

void check_error(const std::vector<std::string>& args, const std::string& part) {
  const std::string message = error_of(args);
  BOOST_TEST(message.find(part) != std::string::npos, "found '" << message << "', expected '" << part << "'");
}

}  // namespace

BOOST_AUTO_TEST_CASE(what_is_not_given_keeps_its_default) {
  Command command;
  command.parse({"a.txt", "--name", "x"});
  BOOST_TEST(command.name == "x");
  BOOST_TEST(command.count == 3);
  BOOST_TEST(command.ratio == 0.5);
  BOOST_TEST(!command.loud);
  BOOST_TEST(command.list.empty());
  BOOST_TEST(command.files == std::vector<std::string>{"a.txt"});
  BOOST_TEST(command.options.given("--name"));
  BOOST_TEST(!command.options.given("--count"));
}

BOOST_AUTO_TEST_CASE(values_are_read_in_both_spellings_negative_ones_too) {
  Command command;
  command.parse({"a", "--name=x y", "--count", "-1", "--ratio=1e-3", "--loud", "--list", "-1,16,64", "b"});
  BOOST_TEST(command.name == "x y");
  BOOST_TEST(command.count == -1);
  BOOST_TEST(command.ratio == 1e-3);
  BOOST_TEST(command.loud);
  BOOST_TEST((command.list == std::vector<int64_t>{-1, 16, 64}));
  BOOST_TEST((command.files == std::vector<std::string>{"a", "b"}));
}

BOOST_AUTO_TEST_CASE(a_text_may_be_given_again_where_it_says_so) {
  Command command;
  command.parse({"--word", "x, y", "a", "--name=n", "--word=-z", "b"});
  BOOST_TEST((command.words == std::vector<std::string>{"x, y", "-z"}));
  BOOST_TEST((command.files == std::vector<std::string>{"a", "b"}));
  BOOST_TEST(command.options.given("--word"));
}

BOOST_AUTO_TEST_CASE(overrides_are_collected_in_order_and_anywhere) {
  Command command;
  command.parse({"--train.steps=5", "a", "--name=x.y=z", "--data.path=/a b/c.d", "--train.steps=6"});
  BOOST_TEST(command.name == "x.y=z");
  BOOST_TEST_REQUIRE(command.overrides.size() == 3u);
  BOOST_TEST(command.overrides[0].key == "train.steps");
  BOOST_TEST(command.overrides[0].value == "5");
  BOOST_TEST(command.overrides[1].key == "data.path");
  BOOST_TEST(command.overrides[1].value == "/a b/c.d");
  BOOST_TEST(command.overrides[2].value == "6");
}

BOOST_AUTO_TEST_CASE(a_wrong_command_line_is_one_clear_error) {
  check_error({"a", "--name=x", "--cuont", "4"}, "unknown option --cuont\nhint: the nearest option is --count");
  check_error({"a", "--name=x", "--zzzzzzzzzzz"}, "unknown option --zzzzzzzzzzz\nhint: ratel test --help");
  check_error({"a"}, "--name is missing");
  check_error({"--name=x"}, "FILE is missing");
  check_error({"a", "--name"}, "--name: expected a value, found none\nhint: ratel test --help");
  check_error({"a", "--name=x", "--name=y"}, "--name: expected once, found again");
  check_error({"a", "--name=x", "--count=3x"}, "--count: expected an integer, found '3x'");
  check_error({"a", "--name=x", "--count=99999999999999999999"}, "--count: expected an integer");
  check_error({"a", "--name=x", "--ratio=big"}, "--ratio: expected a number, found 'big'");
  check_error({"a", "--name=x", "--list=1,,2"}, "--list: expected integers separated by commas, found ''");
  check_error({"a", "--name=x", "--train.steps"}, "--train.steps: expected --train.steps=VALUE");
}
