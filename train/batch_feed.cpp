#include "train/batch_feed.h"

#include <numeric>
#include <utility>

#include "core/upload.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/embedding.h"
#include "ops/view.h"

namespace ratel::train {

/// A place for a batch: page-locked memory, the same on the GPU, and the copy between them.
struct BatchFeed::Slot {
  struct Tensors {
    Tensor tokens, labels;        // (parts, B, T) i64
    Tensor label_shares, shares;  // (parts) f64, loss dtype
  };
  Tensors host, there;
  Upload upload;  // destroyed before the tensors, whose copies its end waits for
  std::vector<BatchPart> parts;
  int64_t first = -1;  // the sample it begins with; -1: none

  Slot(const Shape& shape, DType loss_dtype, Device device)
      : host(made(shape, loss_dtype, [&](const Shape& s, DType d) { return empty_pinned(s, d, device); })),
        there(made(shape, loss_dtype, [&](const Shape& s, DType d) { return empty(s, d, device); })),
        upload(device) {
    const auto part_of = [](const Tensor& all, int64_t part) {
      Shape one(all.shape().dims().subspan(1));
      return reshape(slice(all, 0, part, part + 1), one);
    };
    for (int64_t part = 0; part < shape[0]; ++part)
      parts.push_back({part_of(there.tokens, part),
                       {part_of(there.labels, part), part_of(there.label_shares, part)},
                       part_of(there.shares, part),
                       0});
  }

  void fill(const Sources& sources) {
    upload.wait();
    for (size_t i = 0; i < parts.size(); ++i) {
      const auto part = static_cast<int64_t>(i);
      const auto put = [&](const Tensor& all, const Tensor& one) {
        copy_into(slice(all, 0, part, part + 1), reshape(one, slice(all, 0, part, part + 1).shape()));
      };
      put(host.tokens, sources.tokens[i]);
      put(host.labels, sources.labels[i].labels);
      put(host.label_shares, sources.labels[i].share);
      put(host.shares, scalar(sources.shares[i], DType::f64));
      parts[i].share_value = sources.shares[i];
    }
    upload.copy(there.tokens, host.tokens);
    upload.copy(there.labels, host.labels);
    upload.copy(there.label_shares, host.label_shares);
    upload.copy(there.shares, host.shares);
  }

 private:
  template <class Make>
  static Tensors made(const Shape& shape, DType loss_dtype, Make&& make) {
    return {make(shape, DType::i64), make(shape, DType::i64), make({shape[0]}, DType::f64),
            make({shape[0]}, loss_dtype)};
  }
};

BatchFeed::BatchFeed(BatchSource source, int64_t parts, int64_t part_size, int64_t V, Device device, DType loss_dtype)
    : source_(std::move(source)),
      count_(parts),
      part_size_(part_size),
      V_(V),
      device_(device),
      loss_dtype_(loss_dtype) {}
BatchFeed::~BatchFeed() = default;

BatchFeed::Sources BatchFeed::read(int64_t first) const {
  Sources sources;
  std::vector<int64_t> counts;
  for (int64_t part = 0; part < count_; ++part) {
    const int64_t sample = first + part * part_size_;
    const Batch batch = source_(sample, part_size_);
    check_ids(batch.tokens, V_);
    sources.tokens.push_back(batch.tokens);
    sources.labels.push_back(count_labels("batch", batch.labels, V_, kCpu));
    check(sources.labels.back().share.item() == label_share(batch.counted), "batch: ", batch.counted,
          " labels were said to count, of sample ", sample, " and on, which is not so");
    counts.push_back(batch.counted);
  }
  const int64_t counted = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  for (const int64_t count : counts)
    sources.shares.push_back(counted > 0 ? static_cast<double>(count) / static_cast<double>(counted) : 0);
  return sources;
}

void BatchFeed::load(int64_t first, const Sources& sources) {
  if (slots_.empty()) {
    Shape shape = sources.tokens[0].shape();
    shape = {count_, shape[0], shape[1]};
    std::vector<std::unique_ptr<Slot>> made;  // both or none
    for (int slot = 0; slot < 2; ++slot) made.push_back(std::make_unique<Slot>(shape, loss_dtype_, device_));
    slots_ = std::move(made);
  }
  Slot& slot = *slots_[1];
  slot.first = -1;  // until it is whole
  slot.fill(sources);
  slot.first = first;
}

std::span<const BatchPart> BatchFeed::take(int64_t first) {
  if (!device_.is_cuda()) {
    const Sources sources = read(first);
    parts_.clear();
    for (size_t i = 0; i < sources.tokens.size(); ++i)
      parts_.push_back({to(sources.tokens[i], DType::i64), sources.labels[i], scalar(sources.shares[i], loss_dtype_),
                        sources.shares[i]});
    return parts_;
  }
  if (slots_.empty() || slots_[1]->first != first) load(first, read(first));
  slots_[0]->upload.release();
  std::swap(slots_[0], slots_[1]);
  slots_[0]->upload.arrive();
  return slots_[0]->parts;
}

void BatchFeed::prefetch(int64_t first) {
  if (!device_.is_cuda()) return;
  Sources sources;
  try {
    sources = read(first);
  } catch (...) {
    return;  // whoever takes this batch reads it again, and is told
  }
  load(first, sources);
}

}  // namespace ratel::train
