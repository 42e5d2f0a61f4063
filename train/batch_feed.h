#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "ops/cross_entropy.h"
#include "train/data.h"

namespace ratel::train {

/// Samples [first, first + count) as a batch on the CPU: tokens in [0, V), labels in [0, V) or kIgnoreIndex, and
/// `counted` of these not ignored. Called more than once for the same samples it gives the same, or the same error.
using BatchSource = std::function<Batch(int64_t first, int64_t count)>;

/// A part of a batch where the model is. The mean loss over the batch is the sum of share * the part's mean loss.
struct BatchPart {
  Tensor tokens;           ///< (B, T) i64
  CountedLabels labels;    ///< (B, T)
  Tensor share;            ///< rank 0, in the dtype of the loss: the part's share of the batch's counted labels
  double share_value = 0;  ///< the same, before it was rounded
};

/// Brings the batches of a source to the device that trains, each in equal parts. On a GPU they are copied beside its
/// work, into one of two places in turn, so that the next batch arrives while one is trained on.
class BatchFeed {
 public:
  /// Parts of `part_size` samples; ids are below V, the loss is of `loss_dtype`.
  BatchFeed(BatchSource source, int64_t parts, int64_t part_size, int64_t V, Device device, DType loss_dtype);
  ~BatchFeed();
  BatchFeed(const BatchFeed&) = delete;
  BatchFeed& operator=(const BatchFeed&) = delete;

  /// The batch that begins with sample `first`, for work that is put into the device's current stream before the next
  /// call of take(); the parts are valid until then. Throws what the source throws, and Error where its tokens, labels
  /// or their count are not what a source promises: kernels index by them.
  std::span<const BatchPart> take(int64_t first);
  /// On a GPU: reads the batch that take() will be asked for next, which costs the host's time alone. It may be asked
  /// for another one all the same. Where the source throws, so will take(), which reads again.
  void prefetch(int64_t first);

 private:
  struct Slot;
  struct Sources {
    std::vector<Tensor> tokens;
    std::vector<CountedLabels> labels;
    std::vector<double> shares;
  };
  [[nodiscard]] Sources read(int64_t first) const;
  /// Fills the place that take() did not give out last.
  void load(int64_t first, const Sources& sources);

  BatchSource source_;
  int64_t count_, part_size_, V_;
  Device device_;
  DType loss_dtype_;
  std::vector<BatchPart> parts_;              // on the CPU
  std::vector<std::unique_ptr<Slot>> slots_;  // on a GPU: the one given out last, and the other
};

}  // namespace ratel::train
