// Dilated attention on a GPU: which kernels take part, and the terms of each query's own key for backward.
//
//   forward    one kernel: a tile of queries begins its softmax with the queries' own keys and walks the tiles of the
//              others (attention_keys.h)
//   backward   a query-stationary kernel for grad_q, then a key-stationary one for grad_k and grad_v of keys that other
//              queries see; no atomics. The terms of each query's own key come first (attention_own.h), in a kernel of
//              their own (below) or as the query-stationary one's beginning
//
// The kernels themselves are in attention_tensor_core*.cu (bf16, d = 64 and 128) and attention_plain.cu (anything
// else). Where every head is dense and the dtype bf16, cuDNN's stand in for all of them (dense_attention.h), and the
// output gate is a kernel of its own:
//
// Output gate: gated = out sigmoid(gate); a block has a token, a thread 16 bytes of its channels at a time. 6 bytes a
// token and channel; bound by memory.
//
// Own terms: a warp takes a row and reads q, k, v, grad_out and out of it, 16 bytes a lane at a time where rows allow
// it. Where a pattern has no window, a key that is neither dilated nor initial is seen by its own query alone, and its
// gradients are written here. Bytes a token and channel: 20 read and 8 written in f32; bound by memory.

#include "ops/dilated_attention.h"

#include <atomic>
#include <string>

#include "cuda/attention.h"
#include "cuda/attention_own.h"
#include "cuda/dense_attention.h"
#include "cuda/device_info.h"
#include "cuda/recurrent_attention_stages.h"
#include "cuda/scratch.h"
#include "cuda/sigmoid.h"

namespace ratel::cuda {
namespace {

constexpr int kThreads = 128, kGateThreads = 256;

template <class T, int N>
__global__ __launch_bounds__(kThreads, 4) void own_terms_kernel(AttentionBackwardArgs args,
                                                                AttentionStatistics statistics, HeadGroup group,
                                                                int64_t pieces) {
  using A = accumulate_t<T>;
  const BlockOfHead block(group, args.shape, pieces);
  const int64_t d = args.shape.d, i = block.piece * (kThreads / kWarp) + warp_index();
  if (i >= args.shape.T) return;
  const T *q = head_rows<T>(args.q, block.b, block.h)[i], *k = head_rows<T>(args.k, block.b, block.h)[i],
          *v = head_rows<T>(args.v, block.b, block.h)[i], *out = head_rows<T>(args.out, block.b, block.h)[i],
          *grad = head_rows<T>(args.grad_out, block.b, block.h)[i];
  const int64_t at = block.row + i;
  const auto term = own_term<kWarp, N>(d, q, k, v, out, grad, static_cast<const A*>(args.lse)[at],
                                       args.grad_lse == nullptr ? A{0} : static_cast<const A*>(args.grad_lse)[at]);
  const bool is_alone =
      block.pattern.window == 0 && KeyLists(PatternOf<int64_t>(block.pattern), args.shape.T).is_near(i);
  store_own_term<kWarp, N>(args, statistics, block, i, term, q, grad, is_alone);
}

void own_terms(const AttentionBackwardArgs& args, const AttentionStatistics& statistics, Stream stream) {
  visit_float(args.shape.dtype, "attention", [&]<class T>() {
    bool vectors = true;
    for (const AttentionOperand& rows :
         {args.q, args.k, args.v, args.out, args.grad_out, operand_of(args.grad_k), operand_of(args.grad_v)})
      vectors = vectors && rows_are_vectorisable<T>(args.shape.d, rows);
    const int64_t pieces = tiles_of(args.shape.T, kThreads / kWarp);
    for_each_head_group(args.shape, [&](const HeadGroup& group) {
      const Launch how{"attention_own_terms", args.shape.B * group.count * pieces, kThreads, 0, stream};
      if (vectors)
        launch(how, own_terms_kernel<T, kPerVec<T>>, args, statistics, group, pieces);
      else
        launch(how, own_terms_kernel<T, 1>, args, statistics, group, pieces);
    });
  });
}

/// Of what dense::takes().
__global__ __launch_bounds__(kGateThreads) void output_gate_kernel(AttentionForwardArgs args) {
  constexpr int N = kPerVec<bfloat16>;
  const int64_t b = block_index().x / args.shape.T, t = block_index().x % args.shape.T;
  const int d = static_cast<int>(args.shape.d), channels = static_cast<int>(args.shape.H) * d;
  for (int c = thread_index().x * N; c < channels; c += kGateThreads * N) {
    const int h = c / d, channel = c % d;
    const auto out = load_vec<N>(head_rows<bfloat16>(args.out, b, h)[t] + channel);
    const auto gate = load_vec<N>(head_rows<const bfloat16>(args.gate, b, h)[t] + channel);
    Vec<bfloat16, N> gated;
    for (int i = 0; i < N; ++i)
      gated.at[i] = round_to<bfloat16>(static_cast<float>(out.at[i]) * fast_sigmoid(static_cast<float>(gate.at[i])));
    store_vec(head_rows<bfloat16>(args.gated, b, h)[t] + channel, gated);
  }
}

/// Of grad_q as all kernels but the tensor cores' leave it.
void turn_queries_back(const AttentionBackwardArgs& args, Stream stream) {
  if (args.turns.data == nullptr) return;
  const AttentionShape& shape = args.shape;
  const AttentionRows& rows = args.grad_q;
  rotate_heads({shape.B, shape.T, shape.H, shape.d, shape.dtype, args.turns.data, rows.data, rows.batch, rows.time,
                rows.data, rows.batch, rows.time, Rotation::backward},
               stream);
}

/// For the kernels of any sizes, which rotate no queries. Where nobody wants the attention itself, they write it where
/// they then write the gated one.
AttentionForwardArgs for_plain(AttentionForwardArgs args) {
  check(args.turns.data == nullptr, "attention: queries to be rotated in a kernel that does not");
  if (args.out.data == nullptr) args.out = args.gated;
  return args;
}

/// Why products of warpgroups cannot be; empty where they can.
std::string no_warpgroups() {
#ifndef RATEL_CUDA_SM90A
  return "this program was not built for sm_90a";
#else
  const GpuReport report = gpu_report();
  for (const GpuInfo& gpu : report.gpus)
    if (gpu.major != 9 || gpu.minor != 0)
      return concat_text("they need compute capability 9.0, ", gpu.name, " has ", gpu.major, '.', gpu.minor);
  return report.gpus.empty() ? "there is no GPU" : "";
#endif
}

std::atomic<AttentionProducts>& products() {
  static std::atomic<AttentionProducts> chosen{no_warpgroups().empty() ? AttentionProducts::of_warpgroup
                                                                       : AttentionProducts::of_warp};
  return chosen;
}

}  // namespace

void set_attention_products(AttentionProducts wanted) {
  const std::string why_not = wanted == AttentionProducts::of_warpgroup ? no_warpgroups() : "";
  check(why_not.empty(), "set_attention_products: no products of warpgroups: ", why_not);
  products() = wanted;
}
AttentionProducts attention_products() { return products(); }

void attention_forward(const AttentionForwardArgs& args, Stream stream) {
  if (args.shape.B * args.shape.H == 0) return;
  const auto [B, H, T, d, dtype, patterns] = args.shape;
  AttentionForwardArgs by_cudnn = args;  // whose gate a kernel of its own applies
  const bool wants_rows = args.out.data == nullptr && dense::takes(args);
  const Scratch<bfloat16> attention(wants_rows ? B * H * T * d : 0, stream);
  if (wants_rows) by_cudnn.out = rows_by_token(attention.get(), H, T, d);
  if (dense::forward(by_cudnn, stream)) {
    if (args.gated.data == nullptr) return;
    return launch({"attention_output_gate", B * T, kGateThreads, 0, stream}, output_gate_kernel, by_cudnn);
  }
  if (tensor_core::takes(args)) return tensor_core::forward(args, stream);
  plain::forward(for_plain(args), stream);
}

void cached_attention_forward(const AttentionForwardArgs& args, const CachedAttentionArgs& cache, Stream stream) {
  if (tensor_core::takes(args, cache)) return tensor_core::cached_forward(args, cache, stream);
  plain::cached_forward(for_plain(args), cache, stream);
}

bool takes_turns(const AttentionForwardArgs& args) { return !dense::takes(args) && tensor_core::takes(args); }
bool takes_turns(const AttentionForwardArgs& args, const CachedAttentionArgs& cache) {
  return tensor_core::takes(args, cache);
}
bool takes_layer(const AttentionBackwardArgs& args) { return !dense::takes(args) && tensor_core::takes(args); }

void attention_backward(const AttentionBackwardArgs& args, Stream stream) {
  if (args.shape.B * args.shape.H == 0) return;
  if (dense::backward(args, stream)) return turn_queries_back(args, stream);
  const int64_t rows = args.shape.B * args.shape.H * args.shape.T;
  const auto bytes = static_cast<int64_t>(size_of(accumulate_dtype(args.shape.dtype)));
  const int64_t kept = args.own.p == nullptr ? rows * bytes : 0;
  const Scratch<unsigned char> delta(rows * bytes, stream), p(kept, stream), ds(kept, stream);
  const AttentionStatistics statistics = args.own.p == nullptr
                                             ? AttentionStatistics{delta.get(), p.get(), ds.get()}
                                             : AttentionStatistics{delta.get(), args.own.p, args.own.ds};
  if (tensor_core::takes(args)) {
    tensor_core::query_gradients(args, statistics, stream);
    AttentionBackwardArgs of_keys = args;
    if (args.gate.data != nullptr) of_keys.grad_out = operand_of(args.ungated);
    if (args.rotated.data != nullptr) of_keys.q = operand_of(args.rotated);
    tensor_core::key_gradients(of_keys, statistics, stream);
  } else {
    own_terms(args, statistics, stream);
    plain::query_gradients(args, statistics, stream);
    plain::key_gradients(args, statistics, stream);
    turn_queries_back(args, stream);
  }
}

void dilated_attention_forward(const DilatedAttentionArgs& args, Stream stream) {
  attention_forward({.shape = {args.B, args.H, args.T, args.d, args.dtype, args.patterns},
                     .q = args.q,
                     .k = args.k,
                     .v = args.v,
                     .out = rows_by_head(args.out, args.H, args.T, args.d),
                     .lse = args.lse},
                    stream);
}

void dilated_attention_backward(const DilatedAttentionBackwardArgs& args, Stream stream) {
  const auto contiguous = [&](void* data) { return rows_by_head(data, args.H, args.T, args.d); };
  const auto read = [&](const void* data) {
    return AttentionOperand{data, args.H * args.T * args.d, args.T * args.d, args.d};
  };
  attention_backward({.shape = {args.B, args.H, args.T, args.d, args.dtype, args.patterns},
                      .q = args.q,
                      .k = args.k,
                      .v = args.v,
                      .out = read(args.out),
                      .grad_out = read(args.grad_out),
                      .lse = args.lse,
                      .grad_lse = args.grad_lse,
                      .grad_q = contiguous(args.grad_q),
                      .grad_k = contiguous(args.grad_k),
                      .grad_v = contiguous(args.grad_v)},
                     stream);
}

}  // namespace ratel::cuda
