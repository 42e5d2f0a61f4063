// recurrent_attention over a cache on a GPU: one new token a sequence is decoding (cached_decode.cu), several are a
// piece of a prompt (cached_prefill.cu).

#include "cuda/cached_attention_parts.h"

namespace ratel::cuda {

void cached_attention(const CachedAttentionArgs& args, Stream stream) {
  if (args.n == 1)
    cached_decode(args, stream);
  else
    cached_prefill(args, stream);
}

}  // namespace ratel::cuda
