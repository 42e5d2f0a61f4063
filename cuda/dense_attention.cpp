// Which attention is cuDNN's to compute, on a GPU and on the twin.

#include "cuda/dense_attention.h"

#include <algorithm>
#include <atomic>
#include <initializer_list>

#include "cuda/cudnn_attention.h"

namespace ratel::cuda {
namespace {

std::atomic<DenseAttention> choice{DenseAttention::cudnn};

constexpr int64_t kWidest = 128, kLongest = int64_t{1} << 31;

bool is_dense(const Pattern& pattern, int64_t T) {
  return pattern.top_blocks == 0 && (pattern.dilation == 1 || pattern.window >= T - 1 || pattern.initial >= T - 1);
}

bool takes(const AttentionShape& shape, std::initializer_list<AttentionOperand> all_rows) {
  const int64_t B = shape.B, H = shape.H, T = shape.T, d = shape.d;
  if (shape.dtype != DType::bf16 || d % 8 != 0 || d > kWidest || T < 2) return false;
  for (int64_t h = 0; h < H; ++h)
    if (!is_dense(shape.patterns[h], T)) return false;
  return std::all_of(all_rows.begin(), all_rows.end(), [&](const AttentionOperand& rows) {
    const bool is_aligned = reinterpret_cast<uintptr_t>(rows.data) % 16 == 0 && rows.batch % 8 == 0 &&
                            rows.head % 8 == 0 && rows.time % 8 == 0;
    return is_aligned && (B - 1) * rows.batch + (H - 1) * rows.head + (T - 1) * rows.time + d <= kLongest;
  });
}

}  // namespace

void set_dense_attention(DenseAttention wanted) { choice = wanted; }

std::string dense_attention_refusal() { return cudnn::refusal(); }

namespace dense {

bool takes(const AttentionForwardArgs& args) {
  return choice == DenseAttention::cudnn &&
         cuda::takes(args.shape, {args.q, args.k, args.v, operand_of(args.out), args.gate, operand_of(args.gated)});
}

bool takes(const AttentionBackwardArgs& args) {
  return choice == DenseAttention::cudnn && args.grad_lse == nullptr &&
         cuda::takes(args.shape, {args.q, args.k, args.v, args.out, args.grad_out, operand_of(args.grad_q),
                                  operand_of(args.grad_k), operand_of(args.grad_v)});
}

bool forward(const AttentionForwardArgs& args, Stream stream) { return takes(args) && cudnn::forward(args, stream); }

bool backward(const AttentionBackwardArgs& args, Stream stream) { return takes(args) && cudnn::backward(args, stream); }

std::string library_version() { return cudnn::library_version(); }

}  // namespace dense
}  // namespace ratel::cuda
