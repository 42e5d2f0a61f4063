#include "io/token_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "io/hash.h"
#include "io/report.h"

namespace ratel::io {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are little-endian");

constexpr size_t kPieceBytes = size_t{1} << 20;

int64_t checked_vocab_size(int64_t vocab_size) {
  check(vocab_size >= 1 && vocab_size <= int64_t{1} << 32, "token file: expected a vocabulary of 1 to 2^32, found ",
        vocab_size);
  return vocab_size;
}

template <class Id>
void widen(const std::byte* from, int64_t count, int64_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    Id id;
    std::memcpy(&id, from + static_cast<size_t>(i) * sizeof(Id), sizeof(Id));
    out[i] = id;
  }
}

template <class Id>
void narrow(std::span<const int64_t> ids, std::vector<std::byte>& out) {
  for (int64_t wide : ids) {
    const Id id = static_cast<Id>(wide);
    const auto* bytes = reinterpret_cast<const std::byte*>(&id);
    out.insert(out.end(), bytes, bytes + sizeof(Id));
  }
}

}  // namespace

TokenFile TokenFile::open(const std::string& path, int64_t vocab_size) {
  TokenFile result;
  result.vocab_size_ = checked_vocab_size(vocab_size);
  result.file_ = MappedFile::open(path);
  const size_t bytes = result.file_.bytes().size(), each = token_bytes(vocab_size);
  if (bytes == 0) fail_at(path, 0, "no tokens; expected at least one, found an empty file");
  if (bytes % each != 0)
    fail_at(path, bytes - bytes % each, "not a whole number of tokens; expected a multiple of ", each,
            " bytes for a vocabulary of ", vocab_size, ", found ", bytes);
  result.size_ = static_cast<int64_t>(bytes / each);
  return result;
}

void TokenFile::read(int64_t begin, int64_t count, int64_t* out) const {
  check(begin >= 0 && count >= 0 && begin <= size_ && count <= size_ - begin, path(), ": tokens [", begin, ", ", begin,
        " + ", count, ") were read; expected them in [0, ", size_, ")");
  const size_t each = token_bytes(vocab_size_);
  const std::byte* from = file_.bytes().data() + static_cast<size_t>(begin) * each;
  if (each == 2)
    widen<uint16_t>(from, count, out);
  else
    widen<uint32_t>(from, count, out);
  const auto* bad = std::find_if(out, out + count, [&](int64_t id) { return id >= vocab_size_; });
  if (bad != out + count)
    fail_at(path(), static_cast<uint64_t>(begin + (bad - out)) * each, "token ", begin + (bad - out),
            " is outside the vocabulary; expected an id below ", vocab_size_, ", found ", *bad);
}

int64_t TokenFile::token(int64_t position) const {
  int64_t id = 0;
  read(position, 1, &id);
  return id;
}

void TokenFile::validate(const std::function<bool()>& stop) const {
  if (vocab_size_ == int64_t{1} << 8 * token_bytes(vocab_size_)) return;  // every id there can be
  std::vector<int64_t> ids(kPieceBytes / sizeof(int64_t));
  for (int64_t begin = 0; begin < size_ && !(begin > 0 && stop && stop()); begin += static_cast<int64_t>(ids.size()))
    read(begin, std::min(static_cast<int64_t>(ids.size()), size_ - begin), ids.data());
}

std::string TokenFile::fingerprint() const {
  constexpr size_t kBlocks = 64, kBlockBytes = 65536;
  const auto bytes = file_.bytes();
  const uint64_t length = bytes.size();
  Sha256 hash;
  hash.update(std::as_bytes(std::span(&length, 1)));
  if (length <= kBlocks * kBlockBytes) {
    hash.update(bytes);
    return hash.hex();
  }
  const size_t last = length - kBlockBytes;
  for (size_t block = 0; block < kBlocks; ++block)
    hash.update(
        bytes.subspan(last / (kBlocks - 1) * block + last % (kBlocks - 1) * block / (kBlocks - 1), kBlockBytes));
  return hash.hex();
}

TokenFileWriter::TokenFileWriter(std::string path, int64_t vocab_size)
    : path_(std::move(path)), vocab_size_(checked_vocab_size(vocab_size)), file_(path_) {}

void TokenFileWriter::append(std::span<const int64_t> ids) {
  for (int64_t id : ids)
    check(id >= 0 && id < vocab_size_, path_, ": expected token ids in [0, ", vocab_size_, "), found ", id);
  if (token_bytes(vocab_size_) == 2)
    narrow<uint16_t>(ids, pending_);
  else
    narrow<uint32_t>(ids, pending_);
  size_ += static_cast<int64_t>(ids.size());
  if (pending_.size() < kPieceBytes) return;
  file_.write(pending_);
  pending_.clear();
}

void TokenFileWriter::close() {
  check(size_ > 0, path_, ": expected at least one token, found none");
  file_.write(std::exchange(pending_, {}));
  file_.commit();
}

}  // namespace ratel::io
