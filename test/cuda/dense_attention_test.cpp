// cuda/dense_attention.h: what cuDNN, or the twin's stand-in, is asked for, that it is asked, and what it computes.

#include "cuda/dense_attention.h"

#include <optional>

#include "core/device_graph.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/recurrent_attention.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"
#include "test/support/gradcheck.h"

using ratel::Device;
using ratel::DeviceGraph;
using ratel::DType;
using ratel::HeadPatterns;
using ratel::Tensor;
namespace cuda = ratel::cuda;
namespace dense = ratel::cuda::dense;
namespace test = ratel::test;

namespace {

// Stands for memory that nobody reads.
alignas(16) unsigned char memory[64];

struct Case {
  const char* what;
  bool taken;
  int64_t B = 2, H = 3, T = 100, d = 64;
  HeadPatterns patterns = {{}};
  DType dtype = DType::bf16;
  int64_t offset = 0, time = 0;  // bytes before, and elements from one row of q to the next where they are not H d
};

const Case kCases[] = {
    {"dense heads", true},
    {"one token", false, 2, 3, 1},
    {"two tokens", true, 2, 3, 2},
    {"the narrowest head", true, 2, 3, 100, 8},
    {"the widest head", true, 2, 3, 100, 128},
    {"a wider head", false, 2, 3, 100, 136},
    {"a head that is no multiple of 8", false, 2, 3, 100, 60},
    {"f32", false, 2, 3, 100, 64, {{}}, DType::f32},
    {"a window and initial tokens beside all keys", true, 2, 3, 100, 64, {{1, 5, 7}}},
    {"a dilated head", false, 2, 3, 100, 64, {{2, 0, 0}}},
    {"a dilated head among dense ones", false, 2, 3, 100, 64, {{}, {}, {2, 0, 0}}},
    {"no dilated keys", false, 2, 3, 100, 64, {{-1, 0, 0}}},
    {"a window over all keys", true, 2, 3, 100, 64, {{-1, 99, 0}}},
    {"a window over all keys but one", false, 2, 3, 100, 64, {{-1, 98, 0}}},
    {"initial tokens over all keys", true, 2, 3, 100, 64, {{-1, 0, 99}}},
    {"initial tokens over all keys but one", false, 2, 3, 100, 64, {{-1, 0, 98}}},
    {"top-k blocks over all keys", false, 2, 3, 100, 64, {{.dilation = 50, .top_blocks = 2}}},
    {"rows in a projection", true, 2, 3, 100, 64, {{}}, DType::bf16, 0, 960},
    {"rows at odd addresses", false, 2, 3, 100, 64, {{}}, DType::bf16, 2},
    {"rows an odd number of elements apart", false, 2, 3, 100, 64, {{}}, DType::bf16, 0, 193},
    {"an operand over 2^31 elements", false, 2, 1, 100, 64, {{}}, DType::bf16, 0, int64_t{1} << 24},
};

/// Rows of a (B, T, H d) tensor, or others `time` elements apart.
cuda::AttentionRows rows_of(const Case& c, void* data) {
  const int64_t time = c.time == 0 ? c.H * c.d : c.time;
  return {data, c.T * time, c.d, time};
}

cuda::AttentionForwardArgs forward_args(const Case& c, const HeadPatterns& patterns, void* q, void* other, void* lse) {
  const Case plain{c.what, c.taken, c.B, c.H, c.T, c.d};
  const cuda::AttentionRows rows = rows_of(plain, other);
  return {.shape = {c.B, c.H, c.T, c.d, c.dtype, patterns.data()},
          .q = operand_of(rows_of(c, q)),
          .k = operand_of(rows),
          .v = operand_of(rows),
          .out = rows,
          .lse = lse};
}

/// (B, H, T, d) inputs on a GPU.
std::vector<Tensor> inputs_on(Device device, int64_t T) {
  std::vector<Tensor> x;
  for (const uint64_t seed : {1, 2, 3}) x.push_back(to(test::randn({2, 3, T, 64}, seed, DType::bf16), device));
  return x;
}

Tensor attend(const std::vector<Tensor>& x) { return dilated_attention(x[0], x[1], x[2], {{}}).out; }

Tensor on_host(const Tensor& x) { return to(x, ratel::kCpu); }

/// Calls f for every GPU where cuDNN is there; elsewhere the case is counted as skipped.
void on_gpus_with_cudnn(const std::function<void(Device)>& f) {
  test::on_gpus([&](Device device) {
    const std::string version = dense::library_version();
    if (version.starts_with("no cuDNN"))
      test::note_skipped(version);
    else
      f(device);
  });
}

}  // namespace

BOOST_AUTO_TEST_CASE(what_cudnn_is_asked_for) {
  for (const Case& c : kCases) {
    const HeadPatterns patterns = one_a_head(c.patterns, c.H);
    const auto forward = forward_args(c, patterns, memory + c.offset, memory, memory);
    BOOST_TEST(dense::takes(forward) == c.taken, c.what << ", forward");
    cuda::AttentionBackwardArgs backward{
        .shape = forward.shape,
        .q = forward.q,
        .k = forward.k,
        .v = forward.v,
        .out = operand_of(forward.out),
        .grad_out = operand_of(forward.out),
        .lse = memory,
        .grad_lse = nullptr,
        .grad_q = rows_of(c, memory + c.offset),
        .grad_k = forward.out,
        .grad_v = forward.out,
    };
    BOOST_TEST(dense::takes(backward) == c.taken, c.what << ", backward");
    backward.grad_lse = memory;
    BOOST_TEST(!dense::takes(backward), c.what << ", backward with a gradient of lse");
  }
}

BOOST_AUTO_TEST_CASE(dense_attention_goes_to_cudnn_unless_it_is_not_to) {
  on_gpus_with_cudnn([](Device device) {
    const Case c{"", true, 2, 3, 90, 64};
    const Tensor q = to(test::randn({2, 90, 192}, 1, DType::bf16), device),
                 kv = to(test::randn({2, 90, 192}, 2, DType::bf16), device), out = empty_like(q);
    const Tensor lse = ratel::empty({2, 3, 90}, DType::f32, device);
    const HeadPatterns patterns(3);
    auto args = forward_args(c, patterns, q.data(), kv.data(), lse.data());
    args.out.data = out.data();
    BOOST_TEST(dense::forward(args, ratel::current_stream(device)), cuda::dense_attention_refusal());

    const auto heads = [](const Tensor& x) { return transpose(reshape(x, {2, 90, 3, 64}), 1, 2); };
    const auto by_op = [&] { return dilated_attention(heads(q), heads(kv), heads(kv), {{}}); };
    const auto result = by_op();
    test::check_identical(on_host(lse), on_host(result.lse), "lse of the op");
    test::check_identical(on_host(contiguous(heads(out))), on_host(result.out), "output of the op");

    const test::OwnDenseAttention own;
    BOOST_TEST(!dense::forward(args, ratel::current_stream(device)));
    const auto ours = by_op();
    test::check_close(on_host(result.lse), on_host(ours.lse), 1e-4, "lse of our own kernels");
    test::check_close(on_host(result.out), on_host(ours.out), 0.02, "output of our own kernels");
    BOOST_TEST(test::relative_error(on_host(to(result.out, DType::f64)), on_host(to(ours.out, DType::f64))) > 0,
               "both have the same bits: were there two kernels?");
  });
}

BOOST_AUTO_TEST_CASE(the_same_bits_every_time) {
  on_gpus_with_cudnn([](Device device) {
    const std::vector<Tensor> x{test::randn({2, 3, 300, 64}, 1, DType::bf16),
                                test::randn({2, 3, 300, 64}, 2, DType::bf16),
                                test::randn({2, 3, 300, 64}, 3, DType::bf16)};
    const auto first = test::gradients(attend, x, {}, device);
    for (int repeat = 0; repeat < 3; ++repeat) {
      const auto again = test::gradients(attend, x, {}, device);
      test::check_identical(again.out, first.out, "output");
      for (size_t i = 0; i < 3; ++i)
        test::check_identical(again.grads[i], first.grads[i], "gradient " + std::to_string(i));
    }
    BOOST_TEST(cuda::dense_attention_refusal() == "");
  });
}

BOOST_AUTO_TEST_CASE(a_graph_holds_what_ran_before_it) {
  on_gpus_with_cudnn([](Device device) {
    const auto x = inputs_on(device, 80);
    const Tensor y = empty_like(x[0]), expected = on_host(attend(x));
    const DeviceGraph graph(device, [&] { copy_into(y, attend(x)); });
    for (int run = 0; run < 2; ++run) {
      copy_into(y, zeros_like(y));
      graph.run();
      test::check_identical(on_host(y), expected, "a run");
    }
  });
}

BOOST_AUTO_TEST_CASE(a_graph_of_sizes_that_never_ran_is_ours) {
  on_gpus_with_cudnn([](Device device) {
    if (test::is_imitated(device)) return test::note_skipped("the twin needs no plan before a graph");
    const auto x = inputs_on(device, 81);
    const Tensor y = empty_like(x[0]);
    const DeviceGraph graph(device, [&] { copy_into(y, attend(x)); });
    graph.run();
    const Tensor recorded = on_host(y);
    {
      const test::OwnDenseAttention own;
      test::check_identical(recorded, on_host(attend(x)), "our own kernels");
    }
    attend(x);
    BOOST_TEST(cuda::dense_attention_refusal() == "", "the graph decided for what comes after it");
  });
}
