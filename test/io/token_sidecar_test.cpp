#include "io/token_sidecar.h"

#include <boost/test/unit_test.hpp>
#include <string>

#include "test/io/support.h"

using ratel::ErrorKind;
using ratel::io::parse_token_sidecar;
using ratel::io::TokenizerIdentity;
using ratel::io::TokenSidecar;
using ratel::io::TokenWidth;
using ratel::test::check_error;

namespace {

const TokenSidecar kFull{.width = TokenWidth::four,
                         .vocab_size = 100'000,
                         .tokens = 12,
                         .eos = 2,
                         .documents = 3,
                         .text_bytes = 40,
                         .tokenizer = TokenizerIdentity{"sentencepiece", "sha256:00ff", "tok.model"},
                         .fingerprint = "0123456789abcdef"};

std::string without(const std::string& text, const std::string& part) {
  std::string rest = text;
  const size_t at = rest.find(part);
  BOOST_TEST_REQUIRE(at != std::string::npos);
  return rest.erase(at, part.size());
}

}  // namespace

BOOST_AUTO_TEST_CASE(what_is_written_reads_back) {
  const TokenSidecar bare{.width = TokenWidth::two, .vocab_size = 65536, .tokens = 1};
  for (const TokenSidecar& sidecar : {kFull, bare}) {
    const std::string text = to_text(sidecar);
    BOOST_TEST((parse_token_sidecar(text, "s") == sidecar), text);
    BOOST_TEST((parse_token_sidecar(without(text, "{").insert(0, "{\"more\": [1],"), "s") == sidecar));
  }
}

BOOST_AUTO_TEST_CASE(cut_at_any_byte_it_is_refused) {
  const std::string text = to_text(kFull);
  for (size_t size = 0; size + 2 < text.size(); ++size) {  // without the line break after it, it is whole
    const auto cut = ratel::test::exact_copy(text.substr(0, size));
    check_error(ErrorKind::input, "s.json:", [&] { parse_token_sidecar({cut.data(), cut.size()}, "s.json"); });
  }
}

BOOST_AUTO_TEST_CASE(members_that_cannot_be) {
  struct Case {
    const char *was, *is, *message;
  };
  const std::string text = to_text(kFull);
  for (const Case& one : {
           Case{"\"format_version\": 1", "\"format_version\": 2", "format_version: expected 1, found 2"},
           {"\"uint32\"", "\"int16\"", R"(dtype: expected "uint16" or "uint32", found "int16")"},
           {"\"uint32\"", "4", "dtype: expected a string, found 4"},
           {"\"uint32\"", "\"uint16\"", "vocab_size: expected an integer from 1 to 65536, found 100000"},
           {"100000", "0", "vocab_size: expected an integer from 1 to 4294967296, found 0"},
           {"100000", "1e5", "vocab_size: expected an integer, found 1e+05"},
           {"\"tokens\": 12", "\"tokens\": 0", "tokens: expected an integer from 1 to"},
           {"\"tokens\": 12", "\"tokens\": 9223372036854775807", "tokens: expected an integer from 1 to"},
           {"\"tokens\": 12", "\"token\": 12", "expected a member \"tokens\""},
           {"\"eos\": 2", "\"eos\": 100000", "eos: expected an integer from 0 to 99999, found 100000"},
           {"\"eos\": 2", "\"eos\": -1", "eos: expected an integer from 0 to 99999, found -1"},
           {"\"documents\": 3", "\"documents\": 13", "documents: expected an integer from 0 to 12, found 13"},
           {"\"text_bytes\": 40", "\"text_bytes\": -1", "text_bytes: expected an integer from 0"},
           {"\"kind\"", "\"kin\"", "tokenizer: expected a member \"kind\""},
           {"\"0123456789abcdef\"", "[]", "fingerprint: expected a string, found an array of 0"},
       }) {
    std::string bad = text;
    BOOST_TEST_REQUIRE(bad.find(one.was) != std::string::npos);
    bad.replace(bad.find(one.was), std::string(one.was).size(), one.is);
    BOOST_TEST_CONTEXT(one.is) check_error(ErrorKind::input, one.message, [&] { parse_token_sidecar(bad, "s"); });
  }
  check_error(ErrorKind::input, "s: expected a member", [&] { parse_token_sidecar("{}", "s"); });
  check_error(ErrorKind::input, "s: expected an object", [&] { parse_token_sidecar("[]", "s"); });
}

BOOST_AUTO_TEST_CASE(a_sidecar_is_looked_for_beside_its_file) {
  const ratel::test::TemporaryFolder folder;
  BOOST_TEST(!ratel::io::read_token_sidecar(folder / "t.bin").has_value());
  (void)folder.file("t.bin.json", to_text(kFull));
  BOOST_TEST((ratel::io::read_token_sidecar(folder / "t.bin") == kFull));
  (void)folder.file("t.bin.json", std::string(100'001, ' '));
  check_error(ErrorKind::input, "t.bin.json: too long; expected at most 100000 bytes",
              [&] { ratel::io::read_token_sidecar(folder / "t.bin"); });
}
