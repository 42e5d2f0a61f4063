#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "io/token_file.h"

namespace ratel::io {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

template <class Id>
void narrow(std::span<const int64_t> ids, std::byte* to) {
  for (size_t i = 0; i < ids.size(); ++i) {
    const Id id = static_cast<Id>(ids[i]);
    std::memcpy(to + i * sizeof(Id), &id, sizeof(Id));
  }
}

}  // namespace

void append_tokens(std::span<const int64_t> ids, int64_t vocab_size, std::vector<std::byte>& out) {
  uint64_t largest = 0;  // a negative id is a very large one
  for (const int64_t id : ids) largest = std::max(largest, static_cast<uint64_t>(id));
  if (largest >= static_cast<uint64_t>(vocab_size))
    for (const int64_t id : ids)
      check(id >= 0 && id < vocab_size, "expected token ids in [0, ", vocab_size, "), found ", id);
  const size_t before = out.size(), each = static_cast<size_t>(token_width(vocab_size));
  out.resize(before + ids.size() * each);
  std::byte* to = out.data() + before;
  if (token_width(vocab_size) == TokenWidth::two)
    narrow<uint16_t>(ids, to);
  else
    narrow<uint32_t>(ids, to);
}

TokenFileWriter::TokenFileWriter(std::string path, int64_t vocab_size)
    : path_(std::move(path)), vocab_size_(vocab_size), file_(path_) {
  check(vocab_size >= 1 && vocab_size <= int64_t{1} << 32, path_, ": expected a vocabulary of 1 to 2^32, found ",
        vocab_size);
}

void TokenFileWriter::append(std::span<const int64_t> ids) {
  try {
    append_tokens(ids, vocab_size_, pending_);
  } catch (const Error& error) {
    fail(path_, ": ", error.what());
  }
  if (pending_.size() >= kPieceBytes) flush();
}

void TokenFileWriter::append_encoded(std::span<const std::byte> tokens) {
  pending_.insert(pending_.end(), tokens.begin(), tokens.end());
  if (pending_.size() >= kPieceBytes) flush();
}

void TokenFileWriter::flush() {
  file_.write(pending_);
  written_ += pending_.size();
  pending_.clear();
}

int64_t TokenFileWriter::size() const {
  return static_cast<int64_t>((written_ + pending_.size()) / static_cast<size_t>(token_width(vocab_size_)));
}

void TokenFileWriter::shorten_to(int64_t size) {
  check(size >= 0 && size <= this->size(), path_, ": expected at most ", this->size(), " tokens, found ", size);
  const uint64_t bytes = static_cast<uint64_t>(size) * static_cast<size_t>(token_width(vocab_size_));
  if (bytes >= written_) {
    pending_.resize(bytes - written_);
    return;
  }
  pending_.clear();
  file_.truncate(bytes);
  written_ = bytes;
}

void TokenFileWriter::close() {
  check(size() > 0, path_, ": expected at least one token, found none");
  flush();
  file_.prepare();
  commit();
}

void TokenFileWriter::close(TokenSidecar about) {
  prepare(std::move(about));
  commit();
}

void TokenFileWriter::prepare(TokenSidecar about) {
  check(size() > 0, path_, ": expected at least one token, found none");
  about.tokens = size();
  about.vocab_size = vocab_size_;
  about.width = token_width(vocab_size_);
  flush();
  file_.prepare();
  about.fingerprint = token_fingerprint(MappedFile::open(file_.temporary_path()).bytes());
  sidecar_.emplace(token_sidecar_path(path_));
  sidecar_->write(to_text(about));
  sidecar_->prepare();
}

void TokenFileWriter::commit() {
  // Between these lines a file without a sidecar may be found, never one with another's.
  remove_file(token_sidecar_path(path_));
  file_.commit();
  if (sidecar_) sidecar_->commit();
}

}  // namespace ratel::io
