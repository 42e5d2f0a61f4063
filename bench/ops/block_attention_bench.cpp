// Elements moved for one of an operand: four (q, k, v, out). FLOPs: two products of 2 d a visible pair, and 2 d a query
// and earlier block for its score (4 d for minmax). Dense and dilated attention of the same sizes stand in
// dilated_attention_bench. The reference holds T x T scores, so that it runs at T = 1024.

#include "ops/block_attention.h"

#include "bench/support/attention_work.h"
#include "bench/support/passes.h"

namespace ratel::bench {
namespace {

using Op = Tensor (*)(const Tensor&, const Tensor&, const Tensor&, const HeadPatterns&);

void add_attention(const std::string& name, Op op, const Shape& shape, const Pattern& pattern) {
  const int64_t heads = shape[0] * shape[1], T = shape[2], d = shape[3];
  const double width = pattern.score == BlockScore::minmax ? 2 : 1;
  const int64_t blocks = T / pattern.dilation;
  const double earlier_blocks = static_cast<double>(T * blocks) / 2;  // of all queries
  const Work work{.bytes = 4 * element_bytes() * static_cast<double>(shape.numel()),
                  .flops = attention_flops(pattern, heads, T, d, Pass::forward) +
                           2 * width * static_cast<double>(heads * d) * earlier_blocks};
  add(name + "/forward/" + text_of(shape) + '/' + name_of(pattern), work, [=]() -> std::function<void()> {
    const Tensor q = normals(shape, 1), k = normals(shape, 2), v = normals(shape, 3);
    return [=] { op(q, k, v, {pattern}); };
  });
}

}  // namespace

void declare() {
  const auto top = [](int64_t block, int64_t blocks, BlockScore score) {
    return Pattern{.dilation = block, .top_blocks = blocks, .score = score};
  };
  if (on_gpu()) {
    for (const BlockScore score : {BlockScore::last, BlockScore::mean, BlockScore::minmax})
      add_attention("block_attention", block_attention, {8, 16, 4096, 128}, top(64, 8, score));
    return;
  }
  const Shape large{1, 8, 4096, 64}, small{1, 8, 1024, 64};
  for (const BlockScore score : {BlockScore::last, BlockScore::mean, BlockScore::minmax})
    add_attention("block_attention", block_attention, large, top(64, 8, score));
  add_attention("block_attention", block_attention, large, top(16, 8, BlockScore::last));
  add_attention("block_attention", block_attention, large, top(64, 64, BlockScore::last));  // all of them: dense
  add_attention("block_attention", block_attention, small, top(64, 4, BlockScore::last));
  add_attention("block_attention_reference", block_attention_reference, small, top(64, 4, BlockScore::last));
}

}  // namespace ratel::bench
