#include "io/pickle.h"

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "io/limits.h"
#include "test/io/pickle_maker.h"
#include "test/io/support.h"

using ratel::ErrorKind;
using ratel::io::Pickle;
using ratel::io::PickleKind;
using ratel::test::check_error;
using ratel::test::PickleMaker;

namespace {

/// Keeps the bytes alive: texts of a pickle lie in them.
struct Read {
  std::vector<char> bytes;
  Pickle pickle;
  explicit Read(std::string_view text)
      : bytes(ratel::test::exact_copy(text)), pickle(Pickle::parse(std::as_bytes(std::span(bytes)), "f", 0)) {}
  [[nodiscard]] std::string json() const {
    size_t left = ratel::io::kPickleJsonValues;
    const auto written = pickle.to_json(pickle.root(), left);
    return written ? written->dump() : "too much";
  }
};

std::string json_of(const PickleMaker& maker) { return Read(maker.done()).json(); }

void check_refused(std::string_view pickle, std::string_view part) {
  check_error(ErrorKind::input, part, [&] { Read read(pickle); });
  check_error(ErrorKind::input, "f:", [&] { Read read(pickle); });
}
void check_refused(const PickleMaker& maker, std::string_view part) { check_refused(maker.done(), part); }

std::string_view bytes(const char* text, size_t size) { return {text, size}; }

}  // namespace

BOOST_AUTO_TEST_CASE(values) {
  BOOST_TEST(json_of(PickleMaker().op('N')) == "null");
  BOOST_TEST(json_of(PickleMaker().op('\x88')) == "true");
  BOOST_TEST(json_of(PickleMaker().op('\x89')) == "false");
  BOOST_TEST(json_of(PickleMaker().op('K').raw("\xff")) == "255");
  BOOST_TEST(json_of(PickleMaker().op('M').number(uint16_t{65535})) == "65535");
  BOOST_TEST(json_of(PickleMaker().op('J').number(int32_t{-7})) == "-7");
  BOOST_TEST(json_of(PickleMaker().integer(INT64_MIN)) == "-9223372036854775808");
  BOOST_TEST(json_of(PickleMaker().op('\x8a').raw(bytes("\2\xff\x7f", 3))) == "32767");
  BOOST_TEST(json_of(PickleMaker().op('\x8a').raw(bytes("\1\xff", 2))) == "-1");
  BOOST_TEST(json_of(PickleMaker().op('\x8a').raw(bytes("\0", 1))) == "0");
  BOOST_TEST(json_of(PickleMaker().op('\x8b').number(int32_t{9}).raw("123456789")) == "null");  // beyond 64 bits
  BOOST_TEST(json_of(PickleMaker().op('G').raw(bytes("\x3f\xf8\0\0\0\0\0\0", 8))) == "1.5");
  BOOST_TEST(json_of(PickleMaker().text("aé")) == "\"aé\"");
  BOOST_TEST(json_of(PickleMaker(4).op('\x8c').raw("\2ab")) == "\"ab\"");
  BOOST_TEST(json_of(PickleMaker(4).op('\x8d').number(uint64_t{2}).raw("ab")) == "\"ab\"");
  BOOST_TEST(json_of(PickleMaker().op('U').raw("\2ab")) == "\"ab\"");
  BOOST_TEST(json_of(PickleMaker().op('T').number(int32_t{2}).raw("ab")) == "\"ab\"");
  for (const auto& maker : {PickleMaker(3).op('B').number(uint32_t{2}).raw("ab"), PickleMaker(3).op('C').raw("\2ab"),
                            PickleMaker(4).op('\x8e').number(uint64_t{2}).raw("ab"),
                            PickleMaker(5).op('\x96').number(uint64_t{2}).raw("ab")}) {
    const Read read(maker.done());
    BOOST_TEST((read.pickle[read.pickle.root()].kind == PickleKind::bytes));
    BOOST_TEST(read.pickle[read.pickle.root()].text == "ab");
  }
}

BOOST_AUTO_TEST_CASE(containers) {
  BOOST_TEST(json_of(PickleMaker().op(']')) == "[]");
  BOOST_TEST(json_of(PickleMaker().op(')')) == "[]");
  BOOST_TEST(json_of(PickleMaker().op('}')) == "{}");
  BOOST_TEST(json_of(PickleMaker(4).op('\x8f').op('(').op('N').op('\x90')) == "[null]");
  BOOST_TEST(json_of(PickleMaker(4).op('(').op('N').op('\x91')) == "[null]");
  BOOST_TEST(json_of(PickleMaker().op(']').op('N').op('a').op('(').op('\x88').op('\x89').op('e')) ==
             "[null,true,false]");
  BOOST_TEST(json_of(PickleMaker().integer(1).integer(2).integer(3).op('\x87')) == "[1,2,3]");
  BOOST_TEST(json_of(PickleMaker().integer(1).integer(2).op('\x86')) == "[1,2]");
  BOOST_TEST(json_of(PickleMaker().integer(1).op('\x85')) == "[1]");
  BOOST_TEST(json_of(PickleMaker().op('(').integer(1).op('t')) == "[1]");
  BOOST_TEST(
      json_of(PickleMaker().op('}').text("a").integer(1).op('s').op('(').text("b").integer(2).integer(3).integer(4).op(
          'u')) == R"({"a":1,"b":2,"3":4})");
  BOOST_TEST(json_of(PickleMaker().op('N').op('N').op('0').op('2').op('\x86')) == "[null,null]");
  BOOST_TEST(json_of(PickleMaker().op(']').op('(').op('N').op('1')) == "[]");
  BOOST_TEST(json_of(PickleMaker().op(']').op('(').op('0')) == "[]");
}

BOOST_AUTO_TEST_CASE(the_memo) {
  BOOST_TEST(json_of(PickleMaker().text("a").op('q').raw(bytes("\0", 1)).op('h').raw(bytes("\0", 1)).op('\x86')) ==
             R"(["a","a"])");
  BOOST_TEST(json_of(PickleMaker(4).text("a").op('\x94').op('j').number(uint32_t{0}).op('\x86')) == R"(["a","a"])");
  BOOST_TEST(json_of(PickleMaker()
                         .text("a")
                         .op('r')
                         .number(uint32_t{0})
                         .op('0')
                         .text("b")
                         .op('r')
                         .number(uint32_t{0})
                         .op('0')
                         .op('h')
                         .raw(bytes("\0", 1))) == R"("b")");
  // A list that contains itself.
  BOOST_TEST(json_of(PickleMaker().op(']').op('q').raw(bytes("\0", 1)).op('h').raw(bytes("\0", 1)).op('a')) ==
             "[null]");
}

BOOST_AUTO_TEST_CASE(classes_and_calls_are_data) {
  const Read call(PickleMaker().global("os", "system").text("touch marker").op('\x85').op('R').done());
  const auto root = call.pickle.root();
  BOOST_TEST((call.pickle[root].kind == PickleKind::object));
  BOOST_TEST(call.pickle.is_call_of(root, "os", "system"));
  BOOST_TEST(!call.pickle.is_call_of(root, "os", "syste"));
  BOOST_TEST(!call.pickle.is_call_of(root, "o", "system"));
  BOOST_TEST(call.pickle.arguments_of(root).size() == 1u);
  BOOST_TEST(call.pickle.described(root) == "what a call of os.system gives");
  const Read named(PickleMaker(4).text("builtins").text("eval").op('\x93').done());
  BOOST_TEST(named.pickle.is_global(named.pickle.root(), "builtins", "eval"));
  BOOST_TEST(named.pickle.described(named.pickle.root()) == "the global builtins.eval");
  // An object with a state, one with pairs and a state, one with elements; keyword arguments.
  const PickleMaker object = PickleMaker().global("m", "C").op(')').op('\x81');
  BOOST_TEST(json_of(object) == "null");
  BOOST_TEST(json_of(PickleMaker(object).op('}').text("n").integer(3).op('s').op('b')) == R"({"n":3})");
  BOOST_TEST(json_of(PickleMaker(object)
                         .text("k")
                         .integer(1)
                         .op('s')
                         .op('}')
                         .text("k")
                         .integer(2)
                         .op('s')
                         .text("n")
                         .integer(3)
                         .op('s')
                         .op('b')) == R"({"k":1,"n":3})");
  BOOST_TEST(json_of(PickleMaker(object).integer(1).op('a')) == "[1]");
  BOOST_TEST(json_of(PickleMaker(4).global("m", "C").op(')').op('}').op('\x92')) == "null");
  BOOST_TEST(json_of(PickleMaker(object).op('}').text("_val").integer(3).op('s').op('b')) == "3");
  BOOST_TEST(json_of(PickleMaker().text("x").op('Q')) == "null");
}

BOOST_AUTO_TEST_CASE(a_laugh_of_a_billion_is_not_written_out) {
  PickleMaker maker;
  maker.op(']').op('q').raw(bytes("\0", 1));
  for (char level = 1; level < 60; ++level) {
    maker.op(']').op('q').op(level).op('(');
    for (int i = 0; i < 10; ++i) maker.op('h').op(static_cast<char>(level - 1));
    maker.op('e');
  }
  const std::string laugh = maker.op('(').op('t').op('0').done();
  PickleMaker last(maker);
  std::string pickle = last.done();
  check_refused(pickle, "expected one value at STOP");  // they all lie on the stack
  PickleMaker text;
  text.text(std::string(100'000, 'x')).op('q').raw(bytes("\0", 1)).op('0').op(']').op('(');
  for (int i = 0; i < 10'000; ++i) text.op('h').raw(bytes("\0", 1));
  BOOST_TEST(Read(text.op('e').done()).json() == "too much");
  PickleMaker nested;
  nested.op(']').op('q').raw(bytes("\0", 1));
  for (char level = 1; level < 60; ++level) {
    nested.op('0').op(']').op('q').op(level).op('(');
    for (int i = 0; i < 10; ++i) nested.op('h').op(static_cast<char>(level - 1));
    nested.op('e');
  }
  BOOST_TEST(Read(nested.done()).json() == "too much");
}

BOOST_AUTO_TEST_CASE(what_is_looked_at_again_counts_again) {
  const std::string put = std::string("q") + '\0', get = std::string("h") + '\0';
  PickleMaker key;  // a thousand times the same dict with a long key
  key.op(']').op('(').op('}').text(std::string(10'000, 'x')).op('N').op('s').raw(put);
  for (int i = 0; i < 1000; ++i) key.raw(get);
  BOOST_TEST(Read(key.op('e').done()).json() == "too much");
  PickleMaker keys;  // pairs that are not written
  keys.op(']').op('(').op('}').op('(').raw(std::string(2000, 'N')).op('u').raw(put);
  for (int i = 0; i < 1000; ++i) keys.raw(get);
  BOOST_TEST(Read(keys.op('e').done()).json() == "too much");
  PickleMaker twice;  // a key again and again, of which one is written
  twice.op(']').op('(').op('}').op('(').raw("K").op('\1').raw(put).op('N');
  for (int i = 0; i < 1000; ++i) twice.raw(get).op('N');
  twice.op('u').op('q').op('\1');
  for (int i = 0; i < 1000; ++i) twice.op('h').op('\1');
  BOOST_TEST(Read(twice.op('e').done()).json() == "too much");
  PickleMaker states;  // objects of one state, in which their wrappings are looked for
  states.op('}').op('(').raw(std::string(2000, 'N')).op('u').raw(put).op('0').op(']').op('(');
  for (int i = 0; i < 1000; ++i) states.global("m", "C").op(')').op('R').op('N').op('a').raw(get).op('b');
  BOOST_TEST(Read(states.op('e').done()).json() == "too much");
}

BOOST_AUTO_TEST_CASE(opcodes_that_are_not_read) {
  struct Row {
    unsigned char code;
    std::string_view name;
  };
  for (const auto& [code, name] : {Row{'P', "PERSID"},
                                   {'i', "INST"},
                                   {'o', "OBJ"},
                                   {0x82, "EXT1"},
                                   {0x83, "EXT2"},
                                   {0x84, "EXT4"},
                                   {0x97, "NEXT_BUFFER"},
                                   {0x98, "READONLY_BUFFER"},
                                   {'I', "INT"},
                                   {'L', "LONG"},
                                   {'F', "FLOAT"},
                                   {'S', "STRING"},
                                   {'V', "UNICODE"},
                                   {'p', "PUT"},
                                   {'g', "GET"},
                                   {'d', "DICT"},
                                   {'l', "LIST"}})
    check_refused(
        PickleMaker().op(static_cast<char>(code)).raw("os\nsystem\n"),
        ratel::concat_text("f:2: the opcode ", name, name.starts_with("EXT") || name.ends_with("R") ? "" : " of"));
  size_t read = 0;
  for (int code = 0; code < 256; ++code) {
    try {
      Read one(std::string("\x80\2", 2) + static_cast<char>(code));
    } catch (const ratel::Error& error) {
      if (std::string_view(error.what()).find("expected an opcode of protocol 2 to 5") != std::string_view::npos)
        continue;
    }
    ++read;
  }
  BOOST_TEST(read == 51 + 17);  // the table's rows, and those it names to refuse them
}

BOOST_AUTO_TEST_CASE(protocols) {
  check_refused(std::string_view(), "f:0: expected a pickle of protocol 2 to 5, which begins with byte 0x80");
  check_refused("(dp0\n.", "f:0: expected a pickle of protocol 2 to 5");
  check_refused(PickleMaker(1).op('N'), "f:0: expected a pickle of protocol 2 to 5, found 1");
  check_refused(PickleMaker(6).op('N'), "found 6");
  check_refused(PickleMaker().raw("\x80\x02").op('N'), "f:2: PROTO inside a pickle");
}

BOOST_AUTO_TEST_CASE(arguments_that_do_not_end) {
  check_refused(PickleMaker().op('X').number(UINT32_MAX),
                "f:2: BINUNICODE reaches beyond the pickle; expected 4294967295");
  check_refused(PickleMaker(4).op('\x8d').number(UINT64_MAX), "BINUNICODE8 reaches beyond the pickle");
  check_refused(PickleMaker(4).op('\x8e').number(uint64_t{1} << 63), "BINBYTES8 reaches beyond the pickle");
  check_refused(PickleMaker(5).op('\x96').number(UINT64_MAX - 7), "BYTEARRAY8 reaches beyond the pickle");
  check_refused(PickleMaker().op('\x8b').number(int32_t{-1}), "LONG4; expected a length of at least 0, found -1");
  check_refused(PickleMaker().op('\x8b').number(INT32_MAX), "LONG4 reaches beyond the pickle");
  check_refused(PickleMaker().op('T').number(int32_t{-5}), "BINSTRING; expected a length of at least 0, found -5");
  check_refused(PickleMaker(4).op('\x95').number(uint64_t{100}).op('N'),
                "FRAME reaches beyond the pickle; expected 100");
  check_refused(PickleMaker().raw("cos\nsystem"), "GLOBAL has no end of line");
  check_refused(std::string("\x80\2K", 3), "BININT1 reaches beyond the pickle");
}

BOOST_AUTO_TEST_CASE(stacks_that_do_not_have_it) {
  check_refused(PickleMaker(), "expected one value at STOP, found 0");
  check_refused(PickleMaker().op('N').op('N'), "expected one value at STOP, found 2");
  check_refused(PickleMaker().op('N').op('('), "and 1 marks");
  check_refused(PickleMaker().op('0'), "expected a value on the stack, found none");
  check_refused(PickleMaker().op('N').op('(').op('\x85'), "expected a value on the stack, found a mark");
  for (const char code : {'t', 'u', 'e', '1', '\x90', '\x91'})
    check_refused(PickleMaker().op('N').op(code), "expected a mark on the stack, found none");
  for (const char code : {'R', 'b', 'a', 's', 'Q', '2', '\x81', '\x86', '\x92', '\x93', '\x94'})
    check_refused(PickleMaker().op(code), "expected a value on the stack, found none");
  check_refused(PickleMaker().op('}').op('(').op('N').op('u'), "expected keys and values in pairs, found 1 values");
  check_refused(PickleMaker().op('h').raw("\7"), "expected a place of the memo below 0, found 7");
  check_refused(PickleMaker().op('j').number(UINT32_MAX), "expected a place of the memo below 0");
  check_refused(PickleMaker().op('N').op('r').number(UINT32_MAX), "the memo leaves out places");
  check_refused(PickleMaker().op('N').raw(".").op('N'), "f:4: bytes after STOP");
  check_refused(std::string_view("\x80\2N", 3), "f:3: the pickle ends without STOP");
}

BOOST_AUTO_TEST_CASE(operands_of_another_kind) {
  check_refused(PickleMaker().op('N').op('N').op('a'), "expected a list to add to, found a value of kind None");
  check_refused(PickleMaker().op('}').op('N').op('a'), "expected a list to add to");
  check_refused(PickleMaker().op(']').op('N').op('N').op('s'), "expected a dict to add to");
  check_refused(PickleMaker().op('N').op(')').op('R'), "expected a class or function to call");
  check_refused(PickleMaker().global("os", "system").text("id").op('R'), "expected a tuple of arguments");
  check_refused(PickleMaker().global("os", "system").op('}').op('b'), "expected an object to give a state");
  check_refused(PickleMaker().op('}').op('}').op('b'), "expected an object to give a state");
  check_refused(PickleMaker(4).integer(1).text("eval").op('\x93'), "STACK_GLOBAL; expected the text of a name");
  check_refused(PickleMaker(4).global("m", "C").op(')').op('N').op('\x92'), "expected a dict of arguments");
  const PickleMaker object = PickleMaker().global("m", "C").op(')').op('R');
  check_refused(PickleMaker(object).op('N').op('a').op('N').op('N').op('s'), "has elements is given pairs");
  check_refused(PickleMaker(object).op('N').op('N').op('s').op('N').op('a'), "has pairs is given elements");
}

BOOST_AUTO_TEST_CASE(depths) {
  using ratel::io::kPickleDepth;
  const auto tuples = [](size_t count) {
    PickleMaker maker;
    maker.op('N');
    for (size_t i = 0; i < count; ++i) maker.op('\x85');
    return maker;
  };
  (void)Read(tuples(kPickleDepth).done());
  check_refused(tuples(kPickleDepth + 1), "values too deep inside one another; expected at most 256");
  check_refused(PickleMaker().raw(std::string(kPickleDepth + 1, '(')), "too many marks inside one another");
  check_refused(PickleMaker().raw(std::string(100'000, ']')).raw(std::string(99'999, 'a')), "values too deep");
  PickleMaker calls;
  calls.global("m", "C");
  for (size_t i = 0; i < 1000; ++i) calls.op(')').op('R');
  check_refused(calls, "values too deep");
}

BOOST_AUTO_TEST_CASE(pickles_that_are_too_long) {
  check_refused(PickleMaker().raw(std::string(ratel::io::kPickleBytes, 'N')), "pickle too long; expected at most");
  check_refused(PickleMaker().raw(std::string(ratel::io::kPickleOpcodes, 'N')), "too many opcodes; expected at most");
  check_refused(PickleMaker().raw(std::string(ratel::io::kPickleNodes, ']')), "too many values; expected at most");
}

BOOST_AUTO_TEST_CASE(every_prefix_and_every_flipped_bit) {
  const std::string whole = PickleMaker(4)
                                .op('\x95')
                                .number(uint64_t{20})
                                .global("collections", "OrderedDict")
                                .op(')')
                                .op('R')
                                .op('q')
                                .raw(bytes("\0", 1))
                                .text("a")
                                .integer(-3)
                                .op('s')
                                .op('}')
                                .text("k")
                                .op('(')
                                .op('N')
                                .op('\x88')
                                .op('t')
                                .op('s')
                                .op('b')
                                .done();
  BOOST_TEST(Read(whole).json() == R"({"a":-3,"k":[null,true]})");
  for (size_t length = 0; length < whole.size(); ++length) check_refused(whole.substr(0, length), "f:");
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    ratel::test::succeeds_or_refuses([&] { (void)Read(flipped).json(); });
  }
}
