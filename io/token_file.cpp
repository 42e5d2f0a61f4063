#include "io/token_file.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/error.h"
#include "io/hash.h"
#include "io/report.h"

namespace ratel::io {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are little-endian");

constexpr size_t kPieceBytes = size_t{1} << 20;
constexpr int64_t kScanned = int64_t{1} << 14;  // ids looked at together: in the nearest cache

constexpr size_t kHeaderBytes = 1024;
constexpr uint32_t kTwoByteMagic = 20240520, kFourByteMagic = 20240801, kEvaluationMagic = 20240522;

int64_t checked_vocab_size(int64_t vocab_size) {
  check(vocab_size >= 1 && vocab_size <= int64_t{1} << 32, "token file: expected a vocabulary of 1 to 2^32, found ",
        vocab_size);
  return vocab_size;
}

template <class Id>
Id load(const std::byte* from, int64_t index = 0) {
  Id id;
  std::memcpy(&id, from + static_cast<size_t>(index) * sizeof(Id), sizeof(Id));
  return id;
}

template <class Id>
void widen(const std::byte* from, int64_t count, int64_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = load<Id>(from, i);
}

/// Whether one of the ids is above `last`. Rows of a constant length without a branch: the compiler makes vectors of
/// it.
template <class Id>
bool any_above(const std::byte* from, int64_t count, Id last) {
  constexpr int64_t kRow = 64;
  Id excess = 0;
  const auto add = [&](int64_t i) {
    const Id id = load<Id>(from, i);
    excess = static_cast<Id>(excess | (id > last ? id : Id{0}));
  };
  int64_t at = 0;
  for (; at + kRow <= count; at += kRow)
    for (int64_t i = 0; i < kRow; ++i) add(at + i);
  for (; at < count; ++at) add(at);
  return excess != 0;
}

/// f(Id()) with the integer of that width.
template <class F>
auto with_id_type(TokenWidth width, F&& f) {
  return width == TokenWidth::two ? f(uint16_t{}) : f(uint32_t{});
}

int64_t ids_of(TokenWidth width) { return int64_t{1} << 8 * static_cast<size_t>(width); }

}  // namespace

std::optional<TokenHeader> parse_token_header(std::span<const std::byte> file, std::string_view path) {
  if (file.size() < sizeof(uint32_t)) return {};
  const auto magic = load<uint32_t>(file.data());
  if (magic == kEvaluationMagic) fail_at(path, 0, "expected tokens, found llm.c's examples of an evaluation");
  if (magic != kTwoByteMagic && magic != kFourByteMagic) return {};
  if (file.size() < kHeaderBytes)
    fail_at(path, file.size(), "llm.c's header ends early; expected ", kHeaderBytes, " bytes, found ", file.size());
  const TokenWidth width = magic == kTwoByteMagic ? TokenWidth::two : TokenWidth::four;
  const auto version = load<int32_t>(file.data(), 1), count = load<int32_t>(file.data(), 2);
  const int32_t known = magic == kTwoByteMagic ? 1 : 7;
  if (version != known) fail_at(path, 4, "llm.c's header; expected version ", known, ", found ", version);
  if (count < 1) fail_at(path, 8, "llm.c's header; expected at least one token, found ", count);
  const uint64_t expected = kHeaderBytes + static_cast<uint64_t>(count) * static_cast<size_t>(width);
  if (file.size() != expected)
    fail_at(path, std::min<uint64_t>(expected, file.size()), "llm.c's header counts ", count, " tokens; expected ",
            expected, " bytes, found ", file.size());
  return TokenHeader{kHeaderBytes, width, count};
}

TokenFile TokenFile::open(const std::string& path, std::optional<int64_t> vocab_size) {
  TokenFile result;
  if (vocab_size) checked_vocab_size(*vocab_size);
  result.file_ = MappedFile::open(path);
  const size_t bytes = result.file_.bytes().size();
  if (bytes == 0) fail_at(path, 0, "no tokens; expected at least one, found an empty file");
  result.sidecar_ = read_token_sidecar(path);
  if (result.sidecar_) {
    result.width_ = result.sidecar_->width;
  } else if (const auto header = parse_token_header(result.file_.bytes(), path)) {
    result.width_ = header->width;
    result.begin_ = header->bytes;
  }
  const bool tells = result.sidecar_ || result.begin_ > 0;
  check(tells || vocab_size, path, ": expected a vocabulary size, found neither ", token_sidecar_path(path),
        " nor a header");
  if (!tells) result.width_ = token_width(*vocab_size);
  const size_t each = static_cast<size_t>(result.width_), found = bytes - result.begin_;
  if (found % each != 0)
    fail_at(path, bytes - found % each, "not a whole number of tokens; expected a multiple of ", each,
            tells ? " bytes" : concat_text(" bytes for a vocabulary of ", *vocab_size), ", found ", found);
  result.size_ = static_cast<int64_t>(found / each);
  if (result.sidecar_) result.check_sidecar();
  const int64_t own = result.sidecar_ ? result.sidecar_->vocab_size : ids_of(result.width_);
  if (result.sidecar_ && vocab_size && own > *vocab_size)
    fail_input(path, "tokens of a larger vocabulary; expected one of at most ", *vocab_size, ", found ", own, " in ",
               token_sidecar_path(path));
  result.vocab_size_ = vocab_size.value_or(own);
  return result;
}

void TokenFile::check_sidecar() const {
  const std::string about = token_sidecar_path(path());
  if (sidecar_->tokens != size_)
    fail_input(about, "tokens: disagrees with ", path(), "; expected ", size_, ", found ", sidecar_->tokens);
  if (sidecar_->fingerprint.empty()) return;
  if (const std::string found = fingerprint(); found != sidecar_->fingerprint)
    fail_input(about, "fingerprint: belongs to another file than ", path(), "; expected ", found.substr(0, 16),
               ", found ", one_line(sidecar_->fingerprint, 16), "\nhint: tokenize again, or remove ", about);
}

size_t TokenFile::offset_of(int64_t token) const {
  return begin_ + static_cast<size_t>(token) * static_cast<size_t>(width_);
}

void TokenFile::fail_outside(int64_t position, int64_t id) const {
  fail_at(path(), offset_of(position), "token ", position, " is outside the vocabulary; expected an id below ",
          vocab_size_, ", found ", id);
}

void TokenFile::read(int64_t begin, int64_t count, int64_t* out) const {
  check(begin >= 0 && count >= 0 && begin <= size_ && count <= size_ - begin, path(), ": tokens [", begin, ", ", begin,
        " + ", count, ") were read; expected them in [0, ", size_, ")");
  const std::byte* from = file_.bytes().data() + offset_of(begin);
  with_id_type(width_, [&]<class Id>(Id) { widen<Id>(from, count, out); });
  const auto* bad = std::find_if(out, out + count, [&](int64_t id) { return id >= vocab_size_; });
  if (bad != out + count) fail_outside(begin + (bad - out), *bad);
}

int64_t TokenFile::token(int64_t position) const {
  int64_t id = 0;
  read(position, 1, &id);
  return id;
}

void TokenFile::validate(const std::function<bool()>& stop) const {
  if (vocab_size_ >= ids_of(width_)) return;  // every id there can be
  const int64_t polled = static_cast<int64_t>(kPieceBytes) / kScanned * kScanned;
  for (int64_t begin = 0; begin < size_; begin += kScanned) {
    if (begin > 0 && begin % polled == 0 && stop && stop()) return;
    const std::byte* from = file_.bytes().data() + offset_of(begin);
    const int64_t count = std::min(kScanned, size_ - begin);
    with_id_type(width_, [&]<class Id>(Id) {
      if (!any_above(from, count, static_cast<Id>(vocab_size_ - 1))) return;
      for (int64_t i = 0; i < count; ++i)
        if (const int64_t id = load<Id>(from, i); id >= vocab_size_) fail_outside(begin + i, id);
    });
  }
}

std::string token_fingerprint(std::span<const std::byte> file) {
  constexpr size_t kBlocks = 64, kBlockBytes = 65536;
  const uint64_t size = file.size();
  Sha256 hash;
  hash.update(std::as_bytes(std::span(&size, 1)));
  if (size <= kBlocks * kBlockBytes) {
    hash.update(file);
    return hash.hex();
  }
  const size_t last = size - kBlockBytes;
  for (size_t block = 0; block < kBlocks; ++block)
    hash.update(file.subspan(last / (kBlocks - 1) * block + last % (kBlocks - 1) * block / (kBlocks - 1), kBlockBytes));
  return hash.hex();
}

}  // namespace ratel::io
