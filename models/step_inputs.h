#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/upload.h"
#include "ops/cached_attention.h"

namespace ratel {

/// What kernels read of a step over a cache that changes from step to step: where each of B sequences stands, and the
/// token that follows where it is one. On a GPU all of it is one copy, for which nobody waits.
class StepInputs {
 public:
  StepInputs(int64_t batch, Device device);

  /// Work that is put into the current stream from now on finds these numbers; what is in it already found those
  /// before. Of each B, or no tokens, which then mean nothing.
  void send(std::span<const int64_t> lengths, std::span<const int64_t> counts, std::span<const int64_t> tokens = {});

  /// Where they are found, always the same tensors on the device.
  [[nodiscard]] const CachePositions& positions() const { return positions_; }
  [[nodiscard]] const Tensor& tokens() const { return tokens_; }  ///< (B, 1)

 private:
  Tensor there_, host_;  // (3, B): lengths, counts, tokens; one and the same on the CPU
  CachePositions positions_;
  Tensor tokens_;
  std::unique_ptr<Upload> upload_;  // of a GPU; destroyed before the tensors, whose copies its end waits for
};

}  // namespace ratel
