#include "io/hash.h"

#include <boost/test/unit_test.hpp>
#include <string>
#include <string_view>

namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

}  // namespace

// The examples of FIPS 180-4 and of NIST's byte test vectors, at the edges of the padding.
BOOST_AUTO_TEST_CASE(known_digests) {
  using ratel::io::sha256_hex;
  BOOST_TEST(sha256_hex({}) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  BOOST_TEST(sha256_hex(bytes_of("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  BOOST_TEST(sha256_hex(bytes_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")) ==
             "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  BOOST_TEST(sha256_hex(bytes_of(std::string(55, 'a'))) ==
             "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
  BOOST_TEST(sha256_hex(bytes_of(std::string(56, 'a'))) ==
             "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a");
  BOOST_TEST(sha256_hex(bytes_of(std::string(64, 'a'))) ==
             "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
  BOOST_TEST(sha256_hex(bytes_of(std::string(1'000'000, 'a'))) ==
             "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

BOOST_AUTO_TEST_CASE(pieces_of_any_size_give_the_same_digest) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 7);
  const std::string whole = ratel::io::sha256_hex(bytes_of(text));
  for (size_t piece = 1; piece <= 130; ++piece) {
    ratel::io::Sha256 hash;
    for (size_t at = 0; at < text.size(); at += piece) hash.update(bytes_of(std::string_view(text).substr(at, piece)));
    BOOST_TEST(hash.hex() == whole);
  }
}

BOOST_AUTO_TEST_CASE(hex_does_not_end_the_stream) {
  ratel::io::Sha256 hash;
  hash.update(bytes_of("a"));
  BOOST_TEST(hash.hex() == ratel::io::sha256_hex(bytes_of("a")));
  hash.update(bytes_of("bc"));
  BOOST_TEST(hash.hex() == ratel::io::sha256_hex(bytes_of("abc")));
}
