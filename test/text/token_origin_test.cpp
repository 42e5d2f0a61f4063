#include "text/token_origin.h"

#include <boost/test/unit_test.hpp>

#include "test/io/support.h"

using ratel::check_origin;
using ratel::ErrorKind;
using ratel::Tokenizer;
using ratel::io::TokenSidecar;
using ratel::test::check_error;

BOOST_AUTO_TEST_CASE(tokens_are_read_by_the_tokenizer_that_made_them) {
  const ratel::test::TemporaryFolder folder;
  const std::string file = folder / "t.bin", models = RATEL_SOURCE_DIR "/test/golden/tokenizers/";
  const auto llama = Tokenizer::open(models + "llama.model"), unigram = Tokenizer::open(models + "unigram.model");
  check_origin(file, llama, 7);  // nobody knows where it comes from
  TokenSidecar sidecar{.vocab_size = 700, .tokens = 1, .eos = 2};
  const auto write = [&] { (void)folder.file("t.bin.json", to_text(sidecar)); };
  write();
  check_origin(file, llama, 2);
  check_origin(file, Tokenizer::bytes(), -1);
  check_error(ErrorKind::input, "t.bin: documents end in another token; expected 256, found 2 in ",
              [&] { check_origin(file, {}, 256); });
  sidecar.tokenizer = identity_of(llama);
  write();
  check_origin(file, llama, 2);
  check_origin(file, {}, 2);
  check_error(ErrorKind::input, "expected bytes, found llama.model (SHA-256 " + llama.hash().substr(0, 16) + "...)",
              [&] { check_origin(file, Tokenizer::bytes(), 2); });
  check_error(ErrorKind::input, "tokens of another tokenizer; expected unigram.model (SHA-256 ",
              [&] { check_origin(file, unigram, 2); });
  sidecar.tokenizer->hash.clear();  // written by hand
  write();
  check_origin(file, unigram, 2);
  sidecar.tokenizer = identity_of(Tokenizer::bytes());
  write();
  check_origin(file, Tokenizer::bytes(), 2);
  check_error(ErrorKind::input, "found bytes in ", [&] { check_origin(file, llama, 2); });
}
