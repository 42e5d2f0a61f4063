#include "text/sentencepiece_file.h"

#include <cstdint>
#include <optional>
#include <unordered_set>
#include <utility>

#include "core/text.h"
#include "io/limits.h"
#include "io/report.h"

namespace ratel {
namespace {

using Piece = SentencePieceFile::Piece;
using PieceType = SentencePieceFile::PieceType;

enum class Wire : uint32_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

std::string_view name_of(Wire wire) {
  switch (wire) {
    case Wire::varint: return "a varint";
    case Wire::fixed64: return "8 bytes";
    case Wire::bytes: return "a length and bytes";
    case Wire::fixed32: return "4 bytes";
  }
  return "";
}

struct Field {
  uint64_t number = 0;
  Wire wire = Wire::varint;
  uint64_t value = 0;      // of a varint
  std::string_view bytes;  // of a length and bytes
  size_t offset = 0;       // where it begins in the file
};

/// The fields of one message, one after the other.
class Message {
 public:
  Message(std::string_view file, std::string_view part, std::string_view path)
      : file_(file), path_(path), at_(static_cast<size_t>(part.data() - file.data())), end_(at_ + part.size()) {}

  /// The next field, or nothing at the end. Throws Error(input).
  std::optional<Field> next() {
    if (at_ == end_) return {};
    Field field;
    field.offset = at_;
    const uint64_t tag = varint("a field's tag");
    field.number = tag >> 3u;
    const auto wire = static_cast<uint32_t>(tag & 7u);
    constexpr uint64_t kMostFields = (uint64_t{1} << 29) - 1;
    if (field.number == 0 || field.number > kMostFields || wire == 3 || wire == 4 || wire > 5)
      io::fail_at(path_, field.offset, "expected a field of a SentencePiece model, found a tag of number ",
                  field.number, " and wire type ", wire);
    field.wire = static_cast<Wire>(wire);
    if (field.wire == Wire::varint) field.value = varint("a number");
    if (field.wire == Wire::fixed32) take(4, "a number", field.offset);
    if (field.wire == Wire::fixed64) take(8, "a number", field.offset);
    if (field.wire == Wire::bytes) {
      const uint64_t size = varint("a length");
      field.bytes = take(size, concat_text("field ", field.number), field.offset);
    }
    return field;
  }

 private:
  std::string_view take(uint64_t size, std::string_view what, size_t offset) {
    if (size > end_ - at_)
      io::fail_at(path_, offset, what, ": expected ", size, " bytes, found ", end_ - at_, " before ",
                  end_ == file_.size() ? "the end of the file" : "its message ends");
    const std::string_view taken = file_.substr(at_, size);
    at_ += size;
    return taken;
  }

  uint64_t varint(std::string_view what) {
    const size_t begin = at_;
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1, what, begin)[0]);
      if (shift == 63 && byte > 1) break;
      value |= uint64_t{byte & 127u} << shift;
      if (byte < 128) return value;
    }
    io::fail_at(path_, begin, what, ": expected a varint of 64 bits, found a longer one");
  }

  std::string_view file_, path_;
  size_t at_, end_;
};

class Reader {
 public:
  Reader(std::string_view file, std::string_view path) : file_(file), path_(path) {}

  SentencePieceFile read() {
    if (file_.size() > io::kTokenizerBytes)
      io::fail_at(path_, io::kTokenizerBytes, "expected a tokenizer of at most ", io::kTokenizerBytes, " bytes, found ",
                  file_.size());
    bool has_trainer = false, has_normalizer = false;
    Message message(file_, file_, path_);
    while (const auto field = message.next()) {
      if (field->number >= 1 && field->number <= 5) expect(*field, Wire::bytes);
      if (field->number == 1) read_piece(*field);
      if (field->number == 2) has_trainer = true, read_trainer(field->bytes);
      if (field->number == 3) has_normalizer = true, read_normalizer(field->bytes);
      if (field->number == 5) result_.has_denormalizer = read_denormalizer(field->bytes) || result_.has_denormalizer;
    }
    const auto expect_part = [&](bool is_there, std::string_view what) {
      if (!is_there) io::fail_at(path_, file_.size(), "expected ", what, ", found the end of the file");
    };
    expect_part(!result_.pieces.empty(), "the pieces of a SentencePiece model");
    expect_part(has_trainer, "the trainer_spec of a SentencePiece model");
    expect_part(has_normalizer, "the normalizer_spec of a SentencePiece model");
    check_whole();
    return std::move(result_);
  }

 private:
  void expect(const Field& field, Wire wire) const {
    if (field.wire != wire)
      io::fail_at(path_, field.offset, "field ", field.number, ": expected ", name_of(wire), ", found ",
                  name_of(field.wire));
  }
  [[nodiscard]] uint64_t number(const Field& field) const {
    expect(field, Wire::varint);
    return field.value;
  }
  [[nodiscard]] bool flag(const Field& field) const { return number(field) != 0; }

  void read_piece(const Field& outer) {
    Piece piece;
    std::string_view name;
    Message message(file_, outer.bytes, path_);
    while (const auto field = message.next()) {
      if (field->number == 1) {
        expect(*field, Wire::bytes);
        name = field->bytes;
      } else if (field->number == 2) {
        expect(*field, Wire::fixed32);
      } else if (field->number == 3) {
        const uint64_t type = number(*field);
        if (type < 1 || type > 6) io::fail_at(path_, field->offset, "expected a piece of type 1 to 6, found ", type);
        piece.type = static_cast<PieceType>(type);
      }
    }
    const auto fail_piece = [&](const auto&... parts) {
      io::fail_at(path_, outer.offset, "piece ", result_.pieces.size(), ": ", parts...);
    };
    if (name.empty()) fail_piece("expected a text, found none");
    for (size_t at = 0, length = 0; at < name.size(); at += length) {
      length = io::utf8_length(name, at);
      if (length == 0 || name[at] == '\0') fail_piece("expected UTF-8, found ", io::in_quotes(name));
    }
    piece.text = name;
    if (result_.pieces.size() == io::kTokenizerPieces)
      fail_piece("expected at most ", io::kTokenizerPieces, " pieces, found more");
    const bool in_text =
        piece.type == PieceType::normal || piece.type == PieceType::user_defined || piece.type == PieceType::unused;
    if (!(in_text ? texts_ : reserved_).insert(name).second)
      fail_piece("expected a new one, found ", io::in_quotes(piece.text), " again");
    if (piece.type == PieceType::unknown && std::exchange(has_unknown_, true))
      fail_piece("expected one unknown piece, found a second");
    result_.pieces.push_back(std::move(piece));
  }

  void read_trainer(std::string_view bytes) {
    Message message(file_, bytes, path_);
    while (const auto field = message.next()) {
      if (field->number == 3) {
        const uint64_t type = number(*field);
        if (type < 1 || type > 4) io::fail_at(path_, field->offset, "expected a model_type from 1 to 4, found ", type);
        result_.algorithm = static_cast<SentencePieceFile::Algorithm>(type);
      } else if (field->number == 24) {
        result_.whitespace_suffix = flag(*field);
      } else if (field->number == 35) {
        result_.byte_fallback = flag(*field);
      } else if (field->number == 44) {
        expect(*field, Wire::bytes);
        result_.unk_surface = field->bytes;
      }
    }
  }

  void read_normalizer(std::string_view bytes) {
    Message message(file_, bytes, path_);
    while (const auto field = message.next()) {
      if (field->number == 2) {
        expect(*field, Wire::bytes);
        result_.has_charsmap = !field->bytes.empty();
      } else if (field->number == 3) {
        result_.add_dummy_prefix = flag(*field);
      } else if (field->number == 4) {
        result_.remove_extra_whitespaces = flag(*field);
      } else if (field->number == 5) {
        result_.escape_whitespaces = flag(*field);
      }
    }
  }

  /// Whether it does anything.
  [[nodiscard]] bool read_denormalizer(std::string_view bytes) const {
    bool acts = false;
    Message message(file_, bytes, path_);
    while (const auto field = message.next()) acts = acts || (field->number == 2 && !field->bytes.empty());
    return acts;
  }

  /// What pieces there must be.
  void check_whole() const {
    if (!has_unknown_) io::fail_at(path_, file_.size(), "expected an unknown piece, found none");
    size_t bytes = 0;
    for (const Piece& piece : result_.pieces) bytes += piece.type == PieceType::byte;
    const size_t expected = result_.byte_fallback ? 256 : 0;
    if (bytes != expected) io::fail_at(path_, file_.size(), "expected ", expected, " byte pieces, found ", bytes);
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    for (size_t byte = 0; byte < expected; ++byte) {
      const std::string text{'<', '0', 'x', kDigits[byte / 16], kDigits[byte % 16], '>'};
      if (!reserved_.contains(text)) io::fail_at(path_, file_.size(), "expected a byte piece ", text, ", found none");
    }
  }

  std::string_view file_, path_;
  SentencePieceFile result_;
  std::unordered_set<std::string_view> texts_, reserved_;  // each has a name only once
  bool has_unknown_ = false;
};

}  // namespace

SentencePieceFile read_sentencepiece(std::string_view bytes, std::string_view path) {
  return Reader(bytes, path).read();
}

}  // namespace ratel
