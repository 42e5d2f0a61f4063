#include "text/documents.h"

#include <optional>
#include <utility>

#include "core/error.h"
#include "core/text.h"

namespace ratel {
namespace {

constexpr size_t kReadBytes = size_t{1} << 18;

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

}  // namespace

DocumentReader::DocumentReader(std::vector<InputFile> files, Tokenizer tokenizer, Open open)
    : files_(std::move(files)), tokenizer_(std::move(tokenizer)), open_(std::move(open)) {}

bool DocumentReader::next(Block& block) {
  block.bytes.clear();
  block.parts.clear();
  while (block.bytes.size() < kBlockBytes && !interrupted_ && open_next()) {
    if (files_[next_file_ - 1].format.documents == Documents::rows)
      read_rows(block);
    else
      read_whole(block);
  }
  block.used = used_before_ + (stream_ ? stream_->position() : 0);
  return !interrupted_ && !block.parts.empty();
}

/// False after the last file.
bool DocumentReader::open_next() {
  if (stream_) return true;
  if (next_file_ == files_.size()) return false;
  const InputFile& file = files_[next_file_++];
  stream_ = open_(file);
  place_ = file.format.documents == Documents::rows ? 1 : 0;
  is_first_ = true;
  is_at_end_ = skips_ = false;
  pending_.clear();
  while (pending_.size() < kByteOrderMark.size() && fill()) continue;
  if (pending_.starts_with(kByteOrderMark)) {
    pending_.erase(0, kByteOrderMark.size());
    if (file.format.documents == Documents::whole) place_ = kByteOrderMark.size();
  }
  return !interrupted_;
}

/// Adds to what is pending; false at the end of the stream.
bool DocumentReader::fill() {
  if (is_at_end_) return false;
  buffer_.resize(kReadBytes);
  const size_t count = stream_->read(std::as_writable_bytes(std::span(buffer_)));
  interrupted_ = interrupted_ || (count == 0 && stream_->interrupted());
  is_at_end_ = count == 0;
  pending_.append(buffer_, 0, count);
  return count > 0;
}

void DocumentReader::close() {
  used_before_ += stream_->position();
  stream_.reset();
}

/// Gives out the first `size` bytes of what is pending; with a problem nothing of them.
void DocumentReader::add_part(Block& block, size_t size, std::string problem) {
  DocumentPart part{block.bytes.size(), problem.empty() ? size : 0, next_file_ - 1, place_, is_first_, true, {}};
  if (problem.empty()) block.bytes.append(pending_, 0, size);
  part.problem = std::move(problem);
  block.parts.push_back(std::move(part));
}

void DocumentReader::read_rows(Block& block) {
  size_t begin = 0, searched = 0;  // of the row, in pending_; what has no line break
  const auto drop = [&] {
    pending_.erase(0, begin);
    searched -= begin;
    begin = 0;
  };
  while (block.bytes.size() < kBlockBytes) {
    size_t end = pending_.find('\n', searched);
    const bool ended = end != std::string::npos;
    searched = end = ended ? end : pending_.size();
    const size_t length = end - begin;
    if (length > kMostBytes && !std::exchange(skips_, true)) {
      const InputFile& file = files_[next_file_ - 1];
      add_part(block, 0,
               concat_text(file.name(), ":", place_, ": too long; expected a row of at most ", kMostBytes,
                           " bytes, found more"));
    }
    if (!ended) {
      if (skips_) begin = end;  // nobody needs it
      drop();
      if (fill()) continue;
      if (interrupted_) return;
    }
    if (!skips_ && !is_blank(std::string_view(pending_).substr(begin, length))) {
      DocumentPart part{block.bytes.size(), length, next_file_ - 1, place_, true, true, {}};
      block.bytes.append(pending_, begin, length);
      block.parts.push_back(std::move(part));
    }
    if (!ended) return close();
    skips_ = false;
    ++place_;
    begin = searched = end + 1;
  }
  drop();
}

void DocumentReader::read_whole(Block& block) {
  const size_t room = kBlockBytes - block.bytes.size();
  while (pending_.size() <= room && fill()) continue;
  if (interrupted_) return;
  // What may still grow, or is long, is cut where its ids do not depend on what follows.
  std::optional<size_t> size;
  if (skips_) size = pending_.size();
  while (!size) {
    const std::string_view text = std::string_view(pending_).substr(0, io::kUncutBytes);
    if (is_at_end_ && text.size() == pending_.size())
      size = text.size();
    else if (const size_t cut = tokenizer_.last_cut(text); cut > 0)
      size = cut;
    else if (text.size() < pending_.size())
      break;
    else
      fill();
    if (interrupted_) return;
  }
  if (!size) {
    add_part(block, 0, uncut_problem(concat_text(files_[next_file_ - 1].name(), ":", place_)));
    skips_ = true;
    size = pending_.size();
  } else if (!skips_) {
    add_part(block, *size);
    block.parts.back().is_last = is_at_end_ && *size == pending_.size();
  }
  pending_.erase(0, *size);
  place_ += *size;
  is_first_ = false;
  if (is_at_end_ && pending_.empty()) close();
}

}  // namespace ratel
