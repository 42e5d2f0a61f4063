#include "text/corpus.h"

#include <tbb/enumerable_thread_specific.h>
#include <tbb/info.h>
#include <tbb/parallel_pipeline.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "core/error.h"
#include "core/rng.h"
#include "core/text.h"
#include "io/distinct_files.h"
#include "io/file.h"
#include "io/limits.h"
#include "io/token_file.h"
#include "text/rows.h"
#include "text/token_origin.h"

namespace ratel {
namespace {

constexpr int kBlocksPerThread = 4;
constexpr size_t kEncodedBytes = size_t{1} << 16;  // of text at once: what is made of them stays in the cache
constexpr uint64_t kSplitStream = 0x73706c6974;    // sets these random numbers apart from those of weights and order

/// What libtbb orders anyway; ThreadSanitizer does not see into it and is told here.
class Handover {
 public:
  void take() { static_cast<void>(mark_.load(std::memory_order_acquire)); }
  void pass() { mark_.fetch_add(1, std::memory_order_release); }

 private:
  std::atomic<uint32_t> mark_{0};
};

/// Whether to stop: asked by one thread at a time, and once true always.
class Stop {
 public:
  explicit Stop(const std::function<bool()>& ask) : ask_(ask) {}
  bool asked() {
    if (seen_ || !ask_) return seen_;
    const std::scoped_lock lock(mutex_);
    if (!seen_ && ask_()) seen_ = true;
    return seen_;
  }
  void set() { seen_ = true; }
  [[nodiscard]] bool seen() const { return seen_; }

 private:
  const std::function<bool()>& ask_;
  std::mutex mutex_;
  std::atomic<bool> seen_{false};
};

/// One block on its way from the reader to the writer.
struct Work {
  Block block;
  std::vector<std::byte> tokens;
  struct Encoded {
    size_t end = 0;  // of the part's tokens
    size_t text_bytes = 0;
  };
  std::vector<Encoded> encoded;  // one a part
  Handover handover;
};

/// What a thread keeps from block to block.
struct Worker {
  explicit Worker(const Tokenizer& tokenizer) : encoder(tokenizer) {}
  Encoder encoder;
  std::vector<int64_t> ids = {};
};

/// Bytes of the beginning of a text that are to be encoded at once: few, or all where it is short. Throws Error(input)
/// where it is long and cannot be cut.
size_t piece_of(const Tokenizer& tokenizer, std::string_view text, std::string_view where) {
  for (size_t piece = kEncodedBytes; piece < text.size(); piece *= 2) {
    if (const size_t cut = tokenizer.last_cut(text.substr(0, piece)); cut > 0) return cut;
    if (piece >= io::kUncutBytes) throw Error(uncut_problem(where), ErrorKind::input);
  }
  return text.size();
}

/// Appends the tokens of a document, or of a part of one, piece by piece; not all of them where it is told to stop.
void encode(Worker& worker, std::string_view text, Part part, std::string_view where, Stop& stop,
            std::vector<std::byte>& out) {
  const Tokenizer& tokenizer = worker.encoder.tokenizer();
  while (!text.empty() && !stop.asked()) {
    const size_t size = piece_of(tokenizer, text, where);
    worker.ids.clear();
    worker.encoder.encode(text.substr(0, size), worker.ids, part);
    io::append_tokens(worker.ids, tokenizer.vocab_size(), out);
    text.remove_prefix(size);
    part = Part::rest;
  }
}

void encode(Worker& worker, const std::vector<InputFile>& files, const std::string& field, Stop& stop, Work& work) {
  work.tokens.clear();
  work.encoded.clear();
  for (DocumentPart& part : work.block.parts) {
    const std::string_view bytes = std::string_view(work.block.bytes).substr(part.begin, part.size);
    const InputFile& file = files[part.input];
    const std::string where = concat_text(file.name(), ":", part.place);
    size_t text_bytes = bytes.size();
    if (!part.problem.empty()) {
      text_bytes = 0;
    } else if (file.format.documents == Documents::whole) {
      encode(worker, bytes, part.is_first ? Part::first : Part::rest, where, stop, work.tokens);
    } else {
      try {
        const std::string text = text_of_row(bytes, field, where);
        encode(worker, text, Part::first, where, stop, work.tokens);
        text_bytes = text.size();
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::input) throw;
        part.problem = error.what();
      }
    }
    work.encoded.push_back({work.tokens.size(), text_bytes});
  }
}

/// A token file that grows, and what is in it.
class Output {
 public:
  Output(const std::string& path, const Tokenizer& tokenizer)
      : path_(path), tokenizer_(tokenizer), writer_(path, tokenizer.vocab_size()) {
    if (const auto eos = tokenizer.eos()) io::append_tokens(std::span(&*eos, 1), tokenizer.vocab_size(), end_);
  }

  void begin_document() {
    begin_ = writer_.size();
    text_bytes_ = 0;
  }
  void append(std::span<const std::byte> tokens, size_t text_bytes) {
    writer_.append_encoded(tokens);
    text_bytes_ += static_cast<int64_t>(text_bytes);
  }
  void drop_document() {
    writer_.shorten_to(begin_);
    text_bytes_ = 0;
  }
  /// False where it has no token, and is none.
  bool end_document() {
    if (writer_.size() == begin_) return false;
    writer_.append_encoded(end_);
    counts_.text_bytes += std::exchange(text_bytes_, 0);
    ++counts_.documents;
    counts_.tokens = writer_.size();
    return true;
  }

  void prepare() {
    io::TokenSidecar about;
    about.eos = tokenizer_.eos().value_or(-1);
    about.documents = counts_.documents;
    about.text_bytes = counts_.text_bytes;
    about.tokenizer = identity_of(tokenizer_);
    writer_.prepare(std::move(about));
  }
  void remove_sidecar() const { io::remove_file(io::token_sidecar_path(path_)); }
  void commit() { writer_.commit(); }
  /// Of the documents that have ended.
  [[nodiscard]] const TokenCounts& counts() const { return counts_; }
  /// The same and what there is of the next one.
  [[nodiscard]] TokenCounts so_far() const {
    return {writer_.size(), counts_.documents, counts_.text_bytes + text_bytes_};
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
  const Tokenizer& tokenizer_;
  io::TokenFileWriter writer_;
  std::vector<std::byte> end_;  // end-of-text
  TokenCounts counts_;
  int64_t begin_ = 0, text_bytes_ = 0;
};

/// The last stage: takes the blocks in order.
class Sink {
 public:
  Sink(const Tokenizer& tokenizer, const CorpusOptions& options)
      : options_(options), train_(options.output, tokenizer) {
    if (!options.validation.empty()) validation_.emplace(options.validation, tokenizer);
  }

  void add(const Work& work) {
    size_t begin = 0;
    for (size_t i = 0; i < work.block.parts.size(); ++i) {
      const auto& [end, text_bytes] = work.encoded[i];
      add_part(work.block.parts[i], std::span(work.tokens).subspan(begin, end - begin), text_bytes);
      begin = end;
    }
  }

  void finish() {
    if (documents() == 0)
      throw Error(concat_text("expected text, found none: ", counted(empty_, "document"), " without a token, ",
                              counted(bad_, "bad row")),
                  ErrorKind::input);
    if (validation_)
      for (const Output* output : {&train_, &*validation_})
        check(output->counts().documents > 0, output->path(), ": expected a document, found none: all ", documents(),
              " are in the other file\nhint: another --validation-fraction or --seed, or more documents");
    train_.prepare();
    if (validation_) validation_->prepare();
    // Whatever ends the process between the two: new tokens never stand beside an older file that still counts.
    train_.remove_sidecar();
    if (validation_) validation_->remove_sidecar();
    train_.commit();
    if (validation_) validation_->commit();
  }

  [[nodiscard]] CorpusResult result(CorpusResult::Status status) const {
    return {status, train_.counts(), validation_ ? validation_->counts() : TokenCounts(), bad_, empty_};
  }
  [[nodiscard]] CorpusProgress progress() const {
    const TokenCounts train = train_.so_far(), other = validation_ ? validation_->so_far() : TokenCounts();
    return {0, {}, train.text_bytes + other.text_bytes, train.tokens + other.tokens, documents(), bad_};
  }

 private:
  [[nodiscard]] int64_t documents() const {
    return train_.counts().documents + (validation_ ? validation_->counts().documents : 0);
  }

  void add_part(const DocumentPart& part, std::span<const std::byte> tokens, size_t text_bytes) {
    if (part.is_first) {
      const auto index = static_cast<uint64_t>(documents());
      const bool apart = validation_ && is_validation(index, options_.seed, options_.validation_fraction);
      output_ = apart ? &*validation_ : &train_;
      output_->begin_document();
    }
    if (!part.problem.empty()) {
      output_->drop_document();
      refuse(part.problem);
      return;
    }
    output_->append(tokens, text_bytes);
    if (part.is_last && !output_->end_document()) ++empty_;
  }

  void refuse(const std::string& problem) {
    ++bad_;
    if (bad_ > options_.max_bad)
      throw Error(concat_text(problem,
                              options_.max_bad > 0
                                  ? concat_text("; expected at most ", options_.max_bad, " bad rows, found ", bad_)
                                  : "",
                              "\nhint: --max-bad N leaves out up to N bad rows"),
                  ErrorKind::input);
    if (options_.bad && bad_ <= kBadShown) options_.bad(problem);
  }

  const CorpusOptions& options_;
  Output train_;
  std::optional<Output> validation_;
  Output* output_ = nullptr;  // of the document that is being written
  int64_t bad_ = 0, empty_ = 0;
};

std::optional<uint64_t> total_bytes(const std::vector<InputFile>& files) {
  uint64_t sum = 0;
  for (const InputFile& file : files) {
    if (!file.bytes) return {};
    sum += *file.bytes;
  }
  return sum;
}

}  // namespace

bool is_validation(uint64_t document, uint64_t seed, double fraction) {
  return Rng(seed, kSplitStream).uniform_at(document) < fraction;
}

void check_files(const Tokenizer& tokenizer, const std::vector<InputFile>& files, const CorpusOptions& options) {
  std::vector<io::FileRole> written = {{"the output", options.output},
                                       {"the sidecar of the output", io::token_sidecar_path(options.output)}};
  if (!options.validation.empty()) {
    written.push_back({"the validation file", options.validation});
    written.push_back({"the sidecar of the validation file", io::token_sidecar_path(options.validation)});
  }
  std::vector<io::FileRole> read;
  for (const InputFile& file : files) read.push_back({"the input", file.path});
  if (tokenizer.model() != nullptr) read.push_back({"the tokenizer", tokenizer.name()});
  io::check_distinct(written, read);
}

CorpusResult tokenize_corpus(const Tokenizer& tokenizer, const std::vector<InputFile>& files,
                             const CorpusOptions& options) {
  check(options.max_bad >= 0, "max_bad: expected 0 or more, found ", options.max_bad);
  check(options.threads >= 0, "threads: expected 0 or more, found ", options.threads);
  check(options.validation.empty() || (options.validation_fraction > 0 && options.validation_fraction < 1),
        "validation_fraction: expected a number between 0 and 1, found ", options.validation_fraction);
  check_files(tokenizer, files, options);
  Stop stop(options.stop);
  const int processors = tbb::info::default_concurrency();
  tbb::task_arena arena(options.threads == 0 ? processors : std::min(options.threads, processors));
  // In flight are always the last `works.size()` blocks: a place is free when its turn comes again.
  std::vector<Work> works(static_cast<size_t>(kBlocksPerThread * arena.max_concurrency()));
  DocumentReader reader(files, tokenizer, [&](const InputFile& file) {
    return io::decompressed(io::open_stream(file.path, [&] { return stop.asked(); }), file.format.compression);
  });
  Sink sink(tokenizer, options);
  tbb::enumerable_thread_specific<Worker> workers(tokenizer);
  Handover reading, writing;
  size_t next = 0;
  const std::optional<uint64_t> total = total_bytes(files);

  const auto read = [&](tbb::flow_control& flow) -> Work* {
    reading.take();
    Work& work = works[next];
    work.handover.take();
    const bool is_one = !stop.asked() && reader.next(work.block);
    if (reader.interrupted()) stop.set();
    next = (next + 1) % works.size();
    work.handover.pass();
    reading.pass();
    if (!is_one) flow.stop();
    return is_one ? &work : nullptr;
  };
  const auto encode_block = [&](Work* work) {
    work->handover.take();
    if (!stop.seen()) encode(workers.local(), files, options.text_field, stop, *work);
    work->handover.pass();
    return work;
  };
  const auto write = [&](Work* work) {
    writing.take();
    work->handover.take();
    if (!stop.seen()) sink.add(*work);
    if (options.progress && !stop.seen()) {
      CorpusProgress progress = sink.progress();
      progress.used = work->block.used;
      progress.total = total;
      options.progress(progress);
    }
    work->handover.pass();
    writing.pass();
  };
  arena.execute([&] {
    using Mode = tbb::filter_mode;
    tbb::parallel_pipeline(works.size(), tbb::make_filter<void, Work*>(Mode::serial_in_order, read) &
                                             tbb::make_filter<Work*, Work*>(Mode::parallel, encode_block) &
                                             tbb::make_filter<Work*, void>(Mode::serial_in_order, write));
  });
  reading.take();
  writing.take();
  if (stop.asked()) return sink.result(CorpusResult::Status::stopped);
  sink.finish();
  return sink.result(CorpusResult::Status::finished);
}

}  // namespace ratel
