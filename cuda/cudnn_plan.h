#pragma once

#include <string>

#include "cuda/attention.h"
#include "cuda/cudnn.h"

namespace ratel::cuda::cudnn {

/// One of cuDNN's ways to compute dense causal attention of `batches` sequences and `heads` heads each, run with the
/// tensors that TensorId names.
struct Plan {
  int64_t batches, heads;
  int64_t workspace;     ///< bytes it needs beside its tensors
  DescriptorList parts;  ///< what it refers to
  Descriptor descriptor;
};

/// The GPU that plans are for: that of a handle, or one described by JSON as cuDNN writes it.
Descriptor gpu_of(cudnnHandle_t handle);
Descriptor gpu_described_by(const std::string& json);

/// What backward may take to work in: ds, of four sequences of 16 heads and 4096 tokens, and smaller tables. Measured
/// on an H100 at 8 x 16 x 4096 x 128, forward and backward: 5.18 ms where ds has a quarter of this, 4.75 where
/// half, 4.56, and 4.43 where twice as much.
inline constexpr int64_t kMostScores = int64_t{2} << 30, kMostWorkspace = kMostScores + (int64_t{1} << 20);

/// The first of cuDNN's proposals for args whose engine is deterministic and whose working memory stays below
/// kMostWorkspace: the same one every time on one kind of GPU and one version of cuDNN. Of args only sizes and strides
/// are read. Throws Error, saying why, where there is none.
///
/// cuDNN's deterministic backward keeps ds, 2 T^2 bytes a head: it is planned for as many whole sequences, or heads of
/// one, as divide theirs and fit; fewer where parts of so many begin at odd addresses of lse, which has 4 bytes a row
/// and is read 16 at a time. Longer sequences than 32768 have no plan, nor have odd lengths whose parts all begin so.
Plan plan_forward(const AttentionForwardArgs& args, const Descriptor& gpu);
Plan plan_backward(const AttentionBackwardArgs& args, const Descriptor& gpu);

}  // namespace ratel::cuda::cudnn
