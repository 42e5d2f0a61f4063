#include "cuda/block_tiles.h"

#include "core/rng.h"
#include "ops/block_attention.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"

using ratel::BlockScore;
using ratel::DType;
using ratel::Tensor;
namespace cuda = ratel::cuda;
namespace test = ratel::test;

// Lists of all queries need more than the memory that is theirs: tiles are taken one, two, or all at a time. Two heads
// of three sequences are twelve tiles.
BOOST_AUTO_TEST_CASE(tiles_taken_a_few_at_a_time_are_those_taken_at_once) {
  constexpr int64_t B = 3, H = 2, T = 100, d = 64, D = 4, kMost = 5;
  for (const ratel::Device device : test::devices()) {
    if (!device.is_cuda()) continue;
    const auto stream = ratel::current_stream(device);
    const Tensor q = ratel::moved_to(test::randn({B, H, T, d}, 1, DType::bf16), device),
                 k = ratel::moved_to(test::randn({B, H, T, d}, 2, DType::bf16), device),
                 v = ratel::moved_to(test::randn({B, H, T, d}, 3, DType::bf16), device);
    const auto attend = [&](int64_t most_entries) {
      const Tensor out = ratel::full({B, H, T, d}, -7, DType::bf16, device);
      cuda::BlockTiles tiles{.B = B,
                             .n = T,
                             .d = d,
                             .q = attention_operand(q),
                             .out = cuda::rows_by_head(out.data(), H, T, d),
                             .keys = k.data(),
                             .values = v.data(),
                             .keys_batch = H * T * d,
                             .keys_time = d,
                             .values_batch = H * T * d,
                             .values_time = d,
                             .summaries = nullptr,
                             .most_keys = T,
                             .count = H};
      for (int64_t h = 0; h < H; ++h) tiles.heads[h] = {h, h * T * d, h * T * d, 0, 0, D, kMost, BlockScore::last};
      BOOST_REQUIRE(cuda::tensor_core::takes(tiles, DType::bf16));
      cuda::tensor_core::attend_blocks(tiles, stream, most_entries);
      return ratel::moved_to(out, ratel::kCpu);
    };
    const int64_t entries_of_a_tile = int64_t{64} * 26;  // (T - 1) / D + 2
    const Tensor at_once = attend(12 * entries_of_a_tile);
    test::check_close(to(at_once, DType::f64),
                      to(block_attention(ratel::moved_to(q, ratel::kCpu), ratel::moved_to(k, ratel::kCpu),
                                         ratel::moved_to(v, ratel::kCpu),
                                         {{.dilation = D, .top_blocks = kMost, .score = BlockScore::last}}),
                         DType::f64),
                      0.02, "at once");
    for (const int64_t most : {int64_t{1}, 2 * entries_of_a_tile, 5 * entries_of_a_tile})
      test::check_identical(attend(most), at_once, ratel::concat_text(most, " entries at a time"));
  }
}
