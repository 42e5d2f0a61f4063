// recurrent_attention over a cache on a GPU: decoding takes a token a sequence at a time (cached_decode.cu), a piece of
// a prompt goes through in tiles of queries (cached_prefill.cu). Heads of top-k blocks take all new tokens up before
// they attend (cached_blocks.cu).

#include "cuda/cached_attention_parts.h"

namespace ratel::cuda {

void cached_attention(const CachedAttentionArgs& args, Stream stream) {
  constexpr int64_t kFewTokens = 4;  // that cost less one after the other than the pieces' eight kernels
  if (args.n <= kFewTokens) {
    for (int64_t t = 0; t < args.n; ++t) cached_decode(args, t, stream);
    cached_blocks_append(args, stream);
    cached_blocks_attend(args, {}, stream);
  } else {
    cached_prefill(args, stream);
  }
}

}  // namespace ratel::cuda
