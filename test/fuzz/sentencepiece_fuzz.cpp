// Whatever the bytes: a SentencePiece model whose pieces are all there, or one Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "text/sentencepiece_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    const auto file = ratel::read_sentencepiece(bytes, "fuzz");
    size_t length = 0;
    for (const auto& piece : file.pieces) length += piece.text.empty() ? size + 1 : piece.text.size();
    if (file.pieces.empty() || length > size) std::abort();
  } catch (const ratel::Error&) {
  }
  return 0;
}
