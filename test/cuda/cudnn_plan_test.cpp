// cuDNN makes plans for GPUs that are described to it, so that it is known without one which of our graphs it accepts.
// What its kernels compute, and how fast, only a GPU can tell.

#include "cuda/cudnn_plan.h"

#include <boost/test/unit_test.hpp>

#include "core/error.h"
#include "cuda/cudnn_attention.h"
#include "test/cuda/gpu_descriptions.h"
#include "test/support/compare.h"
#include "test/support/devices.h"

namespace cuda = ratel::cuda;
namespace cudnn = ratel::cuda::cudnn;
namespace test = ratel::test;

namespace {

const std::string kH100 = test::h100(), kA100 = test::a100();

struct Case {
  const char* what;
  const std::string* gpu;
  int64_t B, H, T, d;
  int64_t batches, heads;  // that backward takes at once
};

/// As recurrent_attention calls it: q, k, v and gradients by token, the values and q's gradient in the projection.
cuda::AttentionForwardArgs forward_of(int64_t B, int64_t H, int64_t T, int64_t d) {
  const cuda::AttentionRows rows = cuda::rows_by_token(nullptr, H, T, d);
  const int64_t width = 5 * H * d;
  return {.shape = {B, H, T, d, ratel::DType::bf16, nullptr},
          .q = operand_of(rows),
          .k = operand_of(rows),
          .v = {nullptr, T * width, d, width},
          .out = rows,
          .lse = nullptr};
}

cuda::AttentionBackwardArgs backward_of(int64_t B, int64_t H, int64_t T, int64_t d) {
  const auto forward = forward_of(B, H, T, d);
  return {.shape = forward.shape,
          .q = forward.q,
          .k = forward.k,
          .v = forward.v,
          .out = operand_of(forward.out),
          .grad_out = operand_of(forward.out),
          .lse = nullptr,
          .grad_lse = nullptr,
          .grad_q = {nullptr, forward.v.batch, forward.v.head, forward.v.time},
          .grad_k = forward.out,
          .grad_v = forward.out};
}

/// False, and counted as skipped, where there is no cuDNN to ask.
bool has_cudnn() {
  const std::string version = cudnn::library_version();
  const bool found = version.find("no cuDNN") == std::string::npos;
  if (!found) test::note_skipped(version);
  return found;
}

}  // namespace

BOOST_AUTO_TEST_CASE(both_generations_have_plans) {
  if (!has_cudnn()) return;
  const Case cases[] = {
      {"a layer of 1.5B, four sequences at once", &kH100, 8, 16, 4096, 128, 4, 16},
      {"ragged, sequences together, a narrow head", &kH100, 2, 3, 257, 8, 2, 3},
      {"half of a sequence's heads at once", &kA100, 8, 12, 10000, 128, 1, 6},
      {"half would begin at odd addresses of lse", &kH100, 8, 12, 10001, 128, 1, 4},
      {"ten sequences would begin at odd addresses of lse", &kA100, 40, 1, 8001, 64, 8, 1},
      {"the longest, a head at once", &kA100, 1, 16, 32768, 64, 1, 1},
  };
  for (const Case& c : cases) BOOST_TEST_CONTEXT(c.what) {
      const cudnn::Descriptor gpu = cudnn::gpu_described_by(*c.gpu);
      const cudnn::Plan forward = cudnn::plan_forward(forward_of(c.B, c.H, c.T, c.d), gpu);
      BOOST_TEST(forward.batches == c.B);
      BOOST_TEST(forward.heads == c.H);
      BOOST_TEST(forward.workspace < 1 << 20, "forward is linear in time");
      const cudnn::Plan backward = cudnn::plan_backward(backward_of(c.B, c.H, c.T, c.d), gpu);
      BOOST_TEST(backward.batches == c.batches);
      BOOST_TEST(backward.heads == c.heads);
      BOOST_TEST(backward.workspace <= cudnn::kMostWorkspace);
      // What tells the deterministic kernels from the others: ds is kept.
      BOOST_TEST(backward.workspace >= 2 * c.batches * c.heads * c.T * c.T);
    }
}

BOOST_AUTO_TEST_CASE(what_has_no_plan_says_why) {
  if (!has_cudnn()) return;
  const cudnn::Descriptor gpu = cudnn::gpu_described_by(kH100);
  test::check_error([&] { cudnn::plan_backward(backward_of(1, 1, 33000, 64), gpu); },
                    "no plan for dense attention: ds of one head of 33000 tokens is too large to be kept");
  test::check_error([&] { cudnn::plan_backward(backward_of(8, 6, 10001, 128), gpu); },
                    "no plan for dense attention: parts of 6 heads of 10001 tokens begin at odd addresses of lse");
  test::check_error([&] { cudnn::plan_forward(forward_of(1, 2, 100, 60), gpu); }, "no plan for dense attention: ");
  test::check_error([&] { cudnn::gpu_described_by("{}"); }, "cudnnBackendFinalize at ");
}
