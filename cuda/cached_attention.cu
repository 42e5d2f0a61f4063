// recurrent_attention over a cache on a GPU: decoding takes a token a sequence at a time (cached_decode.cu), a piece of
// a prompt goes through in tiles of queries (cached_prefill.cu).

#include "cuda/cached_attention_parts.h"

namespace ratel::cuda {

void cached_attention(const CachedAttentionArgs& args, Stream stream) {
  constexpr int64_t kFewTokens = 4;  // that cost less one after the other than the pieces' eight kernels
  for (int64_t h = 0; h < args.H; ++h)
    check(args.patterns[h].top_blocks == 0, "cached_attention: top-k blocks over a cache are computed on the CPU only");
  if (args.n > kFewTokens) return cached_prefill(args, stream);
  for (int64_t t = 0; t < args.n; ++t) cached_decode(args, t, stream);
}

}  // namespace ratel::cuda
