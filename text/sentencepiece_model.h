#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/boundaries.h"
#include "text/sentencepiece_file.h"

namespace ratel {

/// A SentencePiece model that libsentencepiece has loaded. It does not change: for any number of threads.
class SentencePieceModel {
 public:
  /// Throws Error(input) for what read_sentencepiece() or the library refuse, and for a denormalizer.
  SentencePieceModel(std::string bytes, std::string path);
  ~SentencePieceModel();
  SentencePieceModel(const SentencePieceModel&) = delete;
  SentencePieceModel& operator=(const SentencePieceModel&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }
  [[nodiscard]] const std::string& hash() const { return hash_; }
  [[nodiscard]] const SentencePieceFile& file() const { return file_; }
  [[nodiscard]] std::optional<int64_t> eos() const { return eos_; }

  /// Whether every text comes back from its ids as it was. Then it is encoded by the segments of boundaries().
  [[nodiscard]] bool is_lossless() const { return lossless_; }
  [[nodiscard]] const Boundaries& boundaries() const { return boundaries_; }

  /// Appends the ids of a text: of a lossless model those of a segment, with no space put before it; of another those
  /// of a whole document, as the library has them.
  void encode(std::string_view text, std::vector<int64_t>& ids) const;
  /// Appends the ids of bytes, which a lossless model has.
  void encode_bytes(std::string_view bytes, std::vector<int64_t>& ids) const;

  /// What a token adds to a text in which something stands already.
  [[nodiscard]] const std::string& text_of(int64_t id) const { return texts_[static_cast<size_t>(id)]; }
  /// Whether a token at a text's beginning loses its space, which was put there.
  [[nodiscard]] bool loses_space(int64_t id) const { return loses_space_[static_cast<size_t>(id)]; }

 private:
  struct Library;

  std::string path_, bytes_, hash_;
  SentencePieceFile file_;
  std::unique_ptr<const Library> library_;
  std::optional<int64_t> eos_;
  bool lossless_;
  Boundaries boundaries_;
  std::vector<int64_t> byte_ids_;   // of the 256 bytes
  std::vector<std::string> texts_;  // of every id
  std::vector<bool> loses_space_;   // of every id
};

}  // namespace ratel
