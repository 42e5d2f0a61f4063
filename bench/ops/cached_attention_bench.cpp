// Decoding: one token a sequence over a cache of T tokens. Bytes: the visible keys and values once, the projection, the
// result, the state read and written; FLOPs of scores and sums; not what top-k blocks read to choose. Prefill: n tokens
// a sequence over a cache of T.

#include "ops/cached_attention.h"

#include "autograd/grad_mode.h"
#include "bench/support/attention_work.h"
#include "bench/support/passes.h"

namespace ratel::bench {
namespace {

void add_step(int64_t B, int64_t T, int64_t n, int64_t C, int64_t heads, const Pattern& pattern) {
  const auto rows = static_cast<double>(B * n), channels = static_cast<double>(C);
  const auto keys = static_cast<double>(visible_keys(pattern, T + 1)) - 1;
  const double state = 4.0 * 2 * 2 * static_cast<double>(B) * channels;
  const Work work{.bytes = element_bytes() * channels * (2 * keys * static_cast<double>(B) + 6 * rows) + state,
                  .flops = 4 * rows * channels * (keys + 1)};
  const std::string kind = n == 1 ? "decode" : "prefill" + std::to_string(n);
  add("cached_attention/" + kind + '/' + text_of({B, T, C}) + "/H=" + std::to_string(heads) + ',' + name_of(pattern),
      work, [=]() -> std::function<void()> {
        const NoGrad no_grad;
        auto cache = std::make_shared<AttentionCache>(B, T + n, C, heads, HeadPatterns{pattern}, Recurrence::gated,
                                                      dtype(), device());
        const CachePositions at{full({B}, static_cast<double>(T), DType::i64, device()),
                                full({B}, static_cast<double>(n), DType::i64, device())};
        const Tensor projection = normals({B, n, 5 * C}, 1);
        return [=] {
          const NoGrad quiet;
          cached_attention(projection, *cache, at);
        };
      });
}

}  // namespace

void declare() {
  if (on_gpu()) {
    for (const int64_t dilation : {1, 16, 64}) {
      for (const int64_t B : {1, 8, 64}) add_step(B, 4096, 1, 2048, 16, {.dilation = dilation});
      add_step(1, 32768, 1, 2048, 16, {.dilation = dilation});
      add_step(1, 4096, 512, 2048, 16, {.dilation = dilation});
    }
    for (const BlockScore score : {BlockScore::last, BlockScore::mean, BlockScore::minmax})
      for (const int64_t n : {1, 512})
        add_step(1, 32768, n, 2048, 16, {.dilation = 64, .top_blocks = 16, .score = score});
    return;
  }
  for (const int64_t dilation : {1, 16, 64}) {
    add_step(1, 8192, 1, 384, 6, {.dilation = dilation});
    add_step(1, 4096, 256, 384, 6, {.dilation = dilation});
  }
}

}  // namespace ratel::bench
