#pragma once

#include <string>

#include "cuda/attention.h"

namespace ratel::cuda::cudnn {

/// What stands behind cuda/dense_attention.h, of args that dense::takes(): cuDNN (cudnn_attention.cpp), nothing, where
/// the build found no cuDNN (cudnn_absent.cpp), or the twin's stand-in (twin/cudnn_attention.cpp).
bool forward(const AttentionForwardArgs& args, Stream stream);
bool backward(const AttentionBackwardArgs& args, Stream stream);
std::string refusal();
std::string library_version();

}  // namespace ratel::cuda::cudnn
