// Of a build that found no cuDNN: dense attention is left to the kernels of this tree.

#include "cuda/cudnn_attention.h"

namespace ratel::cuda::cudnn {
namespace {

constexpr const char* kReason = "no cuDNN: none was found when this was built";

}  // namespace

bool forward(const AttentionForwardArgs&, Stream) { return false; }
bool backward(const AttentionBackwardArgs&, Stream) { return false; }
std::string refusal() { return kReason; }
std::string library_version() { return kReason; }

}  // namespace ratel::cuda::cudnn
