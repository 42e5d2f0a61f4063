#include "io/toml.h"

#include <boost/test/unit_test.hpp>
#include <string>

#include "io/limits.h"
#include "test/io/support.h"

using ratel::ErrorKind;
using ratel::io::kTomlBytes;
using ratel::io::kTomlDepth;
using ratel::io::parse_toml;
using ratel::io::read_toml_file;
using ratel::io::TomlEntry;
using ratel::test::check_error;

namespace {

std::vector<TomlEntry> parse(std::string_view text) {
  const auto copy = ratel::test::exact_copy(text);
  return parse_toml({copy.data(), copy.size()}, "f.toml");
}

std::string listed(std::string_view text) {
  std::string result;
  for (const auto& entry : parse(text))
    result += std::to_string(entry.line) + " " + entry.key + "=" + entry.value.dump() + "\n";
  return result;
}

void check_refused(std::string_view text, std::string_view part) {
  BOOST_TEST_CONTEXT("text: " << text.substr(0, 200)) {
    check_error(ErrorKind::input, part, [&] { parse(text); });
    check_error(ErrorKind::input, "f.toml:", [&] { parse(text); });
  }
}

constexpr std::string_view kSample =
    R"(# a comment ... with dots . . . . . . . . . . . . . . . . . . . . . . . . . . . .
seed = 1_234
[train]
lr = 6e-4         # peak
betas = [0.9,
         0.95]
name = "a.b.c \"quoted\" #no comment"
on = true
[model.attention]
dilations = [1, 4, 8]
names = ['x', "y"]
nested = [[1, 0], [4, 5]]
window = { local = 3, sinks.first = 2 }
text = """
a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z = ""quotes""
"""
[empty]
[data]
path = 'c:\x'
)";

}  // namespace

BOOST_AUTO_TEST_CASE(entries_in_the_order_of_the_text) {
  BOOST_TEST(listed(kSample) == R"(2 seed=1234
4 train.lr=6e-04
5 train.betas=[0.9,0.95]
7 train.name="a.b.c \"quoted\" #no comment"
8 train.on=true
10 model.attention.dilations=[1,4,8]
11 model.attention.names=["x","y"]
12 model.attention.nested=[[1,0],[4,5]]
13 model.attention.window.local=3
13 model.attention.window.sinks.first=2
14 model.attention.text="a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z = \"\"quotes\"\"\n"
19 data.path="c:\\x"
)");
  BOOST_TEST(listed("").empty());
  BOOST_TEST(listed("b = 1\na.c = 2\na.b = 3") == "1 b=1\n2 a.c=2\n3 a.b=3\n");
}

BOOST_AUTO_TEST_CASE(arrays_of_tables_are_numbered) {
  BOOST_TEST(listed("x = 1\n[[layer]]\na = 2\n[[layer]]\n[[layer]]\na = 3\n[layer.in]\nb = 4\n[[layer.of]]\n") ==
             "1 x=1\n2 layer[0]=null\n3 layer[0].a=2\n4 layer[1]=null\n5 layer[2]=null\n6 layer[2].a=3\n"
             "8 layer[2].in.b=4\n9 layer[2].of[0]=null\n");
  BOOST_TEST(listed("a = [{b = 1}, {},\n {b = 2}]") ==
             "1 a[0]=null\n1 a[0].b=1\n1 a[1]=null\n2 a[2]=null\n2 a[2].b=2\n");
  BOOST_TEST(listed("a = []") == "1 a=[]\n");
}

BOOST_AUTO_TEST_CASE(what_is_refused) {
  check_refused("a = 1\nb = ", "f.toml:2: ");
  check_refused("a = 1\na = 2", "f.toml:2: ");
  check_refused("[a]\nb = 1\n[a]", "f.toml:3: ");
  check_refused("[a]\nb = 1\nc = 2020-01-01", "f.toml:3: a.c: expected a number");
  check_refused("a = [1, 12:00:00]", "a date or time");
  check_refused("\na = [{b = 1}, 2]",
                "f.toml:2: a: expected a number, a string, a bool or an array of these, found a table");
  check_refused("a = [[{b = 1}]]", "found a table");
  check_refused("a = 1\n[[a]]", "f.toml:2: ");
  check_refused("\"a.b\" = 1", "f.toml:1: expected a key of letters, digits, - and _, found \"a.b\"");
  check_refused("\n\"\" = 1", "f.toml:2: expected a key");
  check_refused(R"("a\nb" = 1)", R"("a\x0ab")");
  check_refused("a = \"\xff\"", "f.toml:1: ");
  check_refused({"a = 1\0b", 7}, "f.toml:1: ");
  check_refused("a = 99999999999999999999", "f.toml:1: ");
  check_refused("just words", "f.toml:1: ");
  for (const char* header : {"[[[1]]]", "[[=", "x = 1\n[[[a]]]", "[[\n", "[[#", "[", "[[", "[]", "[[]]", "[a", "[[a]"})
    check_refused(header, "f.toml:");
  check_refused("x = 1\n[y]\n[[[a]]]\nz = 2\n", "f.toml:3: expected TOML");
}

BOOST_AUTO_TEST_CASE(characters_beyond_ascii) {
  BOOST_TEST(listed("a = \"é\" # ü\nb = 'ƚ'\nc = \"\"\"é \\\"é\"\"\"") == "1 a=\"é\"\n2 b=\"ƚ\"\n3 c=\"é \\\"é\"\n");
  BOOST_TEST(listed("a = \"\"\"\n\\\n ƚ\"\"\"") == "1 a=\"ƚ\"\n");
  for (const char* text : {"a = [1, 2.ƚ3]", "é = 1", "a = \"\"\"\\ƚ\"\"\"", "a = 5\"κ\"", "a = 1 é", "[é]"})
    check_refused(text, "f.toml:1: ");
}

BOOST_AUTO_TEST_CASE(depth) {
  const auto dotted = [](size_t parts) {
    std::string key = "a";
    for (size_t i = 1; i < parts; ++i) key += ".a";
    return key;
  };
  BOOST_TEST(parse(dotted(kTomlDepth) + " = 1").size() == 1u);
  check_refused(ratel::concat_text("\n", dotted(kTomlDepth + 1), " = 1"), "f.toml:2: a key of too many parts");
  check_refused(ratel::concat_text("[", dotted(kTomlDepth + 1), "]"), "too many parts");
  check_refused(ratel::concat_text("x = {", dotted(100'000), " = 1}"), "too many parts");
  // Behind each kind of string, of which the end must be found.
  for (const std::string before :
       {R"(x = "\"")", R"(x = '\')", "x = \"\"\"\n\\\"\"\"\"\"\"", "x = ''' ''''", R"(x = "")", "x = ''", "x = 1 # '"})
    check_refused(before + "\n" + dotted(400'000) + " = 1", "too many parts");
  check_refused("a = " + std::string(1000, '['), "f.toml:1: ");
  check_refused("a = " + std::string(400'000, '{'), "f.toml:1: ");
  check_refused("a = " + std::string(kTomlBytes, ' '), "too long");
}

BOOST_AUTO_TEST_CASE(every_prefix_is_read_or_refused) {
  for (size_t length = 0; length < kSample.size(); ++length)
    ratel::test::succeeds_or_refuses([&] { parse(kSample.substr(0, length)); });
}

BOOST_AUTO_TEST_CASE(flipped_bits_never_crash) {
  for (size_t bit = 0; bit < kSample.size() * 8; ++bit) {
    std::string text(kSample);
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ 1 << bit % 8);
    ratel::test::succeeds_or_refuses([&] { parse(text); });
  }
}

BOOST_AUTO_TEST_CASE(files) {
  const ratel::test::TemporaryFolder folder;
  BOOST_TEST(read_toml_file(folder.file("a.toml", "x = 1")).front().key == "x");
  check_error(ErrorKind::input, "No such file", [&] { read_toml_file(folder / "none"); });
}
