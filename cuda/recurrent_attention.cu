// The fused core of a RAT+ layer on a GPU, from the kernels of its parts (recurrent_attention_stages.h, attention.h):
//
//   forward    q rotated; k and v through the recurrence, k rotated; attention, whose epilogue multiplies by
//              sigmoid(o)
//   backward   the same again up to attention, with the recurrence's carries; attention's backward, which begins with
//              the output gate where takes_layer() (elsewhere a kernel of its own, below) and turns q's gradient back;
//              k's and v's gradients through the recurrence, which makes those itself that come of a key's own query
//
// Where the attention's kernels take it (takes_turns(), takes_layer()) they rotate q as well.
//
// Output gate, with s = sigmoid(o) and out = a s: da = grad s, do = grad out (1 - s), and a = out / s for attention's
// backward, which meets it beside da alone; a block has a token, its threads 16 bytes of channels at a time where rows
// allow it. 12 bytes a token and channel in bf16; bound by memory.
// Working memory in numbers of the op's dtype: forward 2 T C where attention rotates q, 3 T C elsewhere and 4 T C with
// cuDNN; backward 6 T C where it takes_layer(), 7 T C elsewhere; and the carries, and some numbers a token and head.

#include "ops/recurrent_attention.h"

#include <algorithm>

#include "cuda/attention.h"
#include "cuda/device.h"
#include "cuda/recurrent_attention_stages.h"
#include "cuda/scratch.h"
#include "cuda/sigmoid.h"

namespace ratel::cuda {
namespace {

constexpr int kThreads = 256;

using Part = ProjectionPart;

/// The sizes of a layer, and where its parts are in the projection.
struct Layer {
  int64_t B, T, C, H, d, width;
  DType dtype;
  Recurrence recurrence;

  template <class Args>
  explicit Layer(const Args& args)
      : B(args.B),
        T(args.T),
        C(args.C),
        H(args.H),
        d(args.C / args.H),
        width(args.C * (args.recurrence == Recurrence::gated ? 5 : 4)),
        dtype(args.dtype),
        recurrence(args.recurrence) {}

  [[nodiscard]] int64_t bytes() const { return B * T * C * static_cast<int64_t>(size_of(dtype)); }
  [[nodiscard]] int64_t offset_bytes(Part part) const {
    return static_cast<int64_t>(part) * C * static_cast<int64_t>(size_of(dtype));
  }
  /// A part of a projection as operand or result.
  [[nodiscard]] AttentionOperand in(const void* projection, Part part) const {
    return {static_cast<const unsigned char*>(projection) + offset_bytes(part), T * width, d, width};
  }
  [[nodiscard]] AttentionRows in(void* projection, Part part) const {
    return {static_cast<unsigned char*>(projection) + offset_bytes(part), T * width, d, width};
  }
  /// A (B, T, C) tensor.
  [[nodiscard]] AttentionRows by_token(void* data) const { return rows_by_token(data, H, T, d); }
  [[nodiscard]] AttentionOperand by_token(const void* data) const { return {data, T * C, d, C}; }

  void rotate(const RopeTable& table, const AttentionOperand& x, const AttentionRows& y, Rotation rotation,
              Stream stream) const {
    rotate_heads({B, T, H, d, dtype, table.data(), x.data, x.batch, x.time, y.data, y.batch, y.time, rotation}, stream);
  }
};

/// What attention reads: queries, which its kernels may rotate themselves, keys rotated, values; and, for backward, the
/// recurrence's carries.
enum class Carries { none, kept };

class Operands {
 public:
  Operands(const Layer& layer, const void* projection, const RopeTable& table, Carries carries, bool rotates_queries,
           Stream stream)
      : gated_(layer.recurrence == Recurrence::gated),
        queries_(rotates_queries ? layer.bytes() : 0, stream),
        keys_(layer.bytes(), stream),
        values_(gated_ ? layer.bytes() : 0, stream),
        carries_(gated_ && carries == Carries::kept
                     ? static_cast<int64_t>(recurrence_carries(layer.B, layer.T, layer.C, layer.dtype))
                     : 0,
                 stream),
        q(rotates_queries ? layer.by_token(static_cast<const void*>(queries_.get()))
                          : layer.in(projection, Part::query)),
        k(layer.by_token(static_cast<const void*>(keys_.get()))),
        v(gated_ ? layer.by_token(static_cast<const void*>(values_.get())) : layer.in(projection, Part::value)) {
    if (rotates_queries)
      layer.rotate(table, layer.in(projection, Part::query), layer.by_token(queries_.get()), Rotation::forward, stream);
    if (gated_)
      recurrence_stage_forward({layer.B, layer.T, layer.C, layer.H, layer.dtype, projection, table.data(), keys_.get(),
                                values_.get(), carries == Carries::kept ? carries_.get() : nullptr},
                               stream);
    else
      layer.rotate(table, layer.in(projection, Part::key), layer.by_token(keys_.get()), Rotation::forward, stream);
  }
  [[nodiscard]] const void* carries() const { return carries_.get(); }

 private:
  bool gated_;
  Scratch<unsigned char> queries_, keys_, values_, carries_;

 public:
  AttentionOperand q, k, v;
};

/// attention and grad_attention (B, T, C), before the gate, and o's part of grad_projection. Where the gate is 0
/// nothing is left of the attention, nor of its gradient.
template <class T, int N>
__global__ __launch_bounds__(kThreads) void ungate(RecurrentAttentionBackwardArgs args, int64_t width, void* attention,
                                                   void* grad_attention) {
  using A = accumulate_t<T>;
  const int64_t token = block_index().x, C = args.C;
  const T *o = static_cast<const T*>(args.projection) + token * width,
          *out = static_cast<const T*>(args.out) + token * C, *grad = static_cast<const T*>(args.grad) + token * C;
  T *grad_o = static_cast<T*>(args.grad_projection) + token * width, *a = static_cast<T*>(attention) + token * C,
    *grad_a = static_cast<T*>(grad_attention) + token * C;
  for (int64_t c = int64_t{thread_index().x} * N; c < C; c += int64_t{kThreads} * N) {
    const auto o_c = load_vec<N>(o + c), out_c = load_vec<N>(out + c), grad_c = load_vec<N>(grad + c);
    Vec<T, N> a_c, da, d_o;
    for (int i = 0; i < N; ++i) {
      const A s = sigmoid(convert_element<A>(o_c.at[i])), y = convert_element<A>(out_c.at[i]),
              slope = convert_element<A>(grad_c.at[i]);
      a_c.at[i] = round_to<T>(s > 0 ? y / s : A{0});
      da.at[i] = round_to<T>(slope * s);
      d_o.at[i] = round_to<T>(slope * y * (1 - s));
    }
    store_vec(a + c, a_c);
    store_vec(grad_a + c, da);
    store_vec(grad_o + c, d_o);
  }
}

void run_ungate(const RecurrentAttentionBackwardArgs& args, const Layer& layer, void* attention, void* grad_attention,
                Stream stream) {
  visit_float(args.dtype, "recurrent_attention", [&]<class T>() {
    const Launch how{"recurrent_attention_ungate", layer.B * layer.T, kThreads, 0, stream};
    if (is_vectorisable<T>(layer.C, args.projection, args.out, args.grad, args.grad_projection))
      launch(how, ungate<T, kPerVec<T>>, args, layer.width, attention, grad_attention);
    else
      launch(how, ungate<T, 1>, args, layer.width, attention, grad_attention);
  });
}

/// Are there keys whose gradients the recurrence's backward makes itself, of what its kernel takes?
bool leaves_own_terms(const RecurrentAttentionBackwardArgs& args) {
  return args.H <= kMostHeadsOfOwnTerms &&
         std::all_of(args.patterns, args.patterns + args.H, [](const Pattern& pattern) { return pattern.window == 0; });
}

}  // namespace

void recurrent_attention_forward(const RecurrentAttentionArgs& args, Stream stream) {
  const Layer layer(args);
  if (layer.B == 0) return;
  const RopeTable table(layer.dtype, 0, layer.T, layer.d, args.rope_base, stream);
  AttentionForwardArgs attention{.shape = {layer.B, layer.H, layer.T, layer.d, layer.dtype, args.patterns},
                                 .q = layer.in(args.projection, Part::query),
                                 .k = {},
                                 .v = {},
                                 .out = {},
                                 .lse = args.lse,
                                 .gate = layer.in(args.projection, Part::output_gate),
                                 .gated = layer.by_token(args.out)};
  // Keys and values are rows like queries, and aligned at least as these are.
  const bool turns = takes_turns(attention);
  const Operands operands(layer, args.projection, table, Carries::none, !turns, stream);
  attention.q = operands.q;
  attention.k = operands.k;
  attention.v = operands.v;
  if (turns) attention.turns = {table.data()};
  attention_forward(attention, stream);
}

void recurrent_attention_backward(const RecurrentAttentionBackwardArgs& args, Stream stream) {
  const Layer layer(args);
  if (layer.B == 0) return;
  const bool gated = layer.recurrence == Recurrence::gated;
  const RopeTable table(layer.dtype, 0, layer.T, layer.d, args.rope_base, stream);
  const Scratch<unsigned char> grad_attention(layer.bytes(), stream);

  // Without recurrence, gradients of rotated keys are turned back where they are to lie.
  const Scratch<unsigned char> grad_keys(gated ? layer.bytes() : 0, stream),
      grad_values(gated ? layer.bytes() : 0, stream);
  const AttentionRows grad_q = layer.in(args.grad_projection, Part::query),
                      grad_k = gated ? layer.by_token(grad_keys.get()) : layer.in(args.grad_projection, Part::key),
                      grad_v = gated ? layer.by_token(grad_values.get()) : layer.in(args.grad_projection, Part::value);
  AttentionBackwardArgs attention{.shape = {layer.B, layer.H, layer.T, layer.d, layer.dtype, args.patterns},
                                  .q = layer.in(args.projection, Part::query),
                                  .k = {},
                                  .v = {},
                                  .out = layer.by_token(args.out),
                                  .grad_out = layer.by_token(args.grad),
                                  .lse = args.lse,
                                  .grad_lse = nullptr,
                                  .grad_q = grad_q,
                                  .grad_k = grad_k,
                                  .grad_v = grad_v,
                                  .turns = {table.data()},
                                  .gate = layer.in(args.projection, Part::output_gate),
                                  .grad_gate = layer.in(args.grad_projection, Part::output_gate),
                                  .ungated = layer.by_token(static_cast<void*>(grad_attention.get()))};
  const bool whole = takes_layer(attention);
  const Operands operands(layer, args.projection, table, Carries::kept, !whole, stream);
  attention.q = operands.q;
  attention.k = operands.k;
  attention.v = operands.v;
  const Scratch<unsigned char> apart(layer.bytes(), stream);  // the rotated queries, or the attention before its gate
  const bool leaves_own = whole && gated && leaves_own_terms(args);
  const int64_t rows = leaves_own ? layer.B * layer.H * layer.T : 0;
  const Scratch<float> own_p(rows, stream), own_ds(rows, stream);
  if (whole) {
    attention.rotated = layer.by_token(static_cast<void*>(apart.get()));
    if (leaves_own) attention.own = {own_p.get(), own_ds.get()};
  } else {
    run_ungate(args, layer, apart.get(), grad_attention.get(), stream);
    attention.out = layer.by_token(static_cast<const void*>(apart.get()));
    attention.grad_out = operand_of(attention.ungated);
    attention.gate = {};
    attention.grad_gate = attention.ungated = {};
  }
  attention_backward(attention, stream);
  if (gated)
    recurrence_stage_backward({layer.B,
                               layer.T,
                               layer.C,
                               layer.H,
                               layer.dtype,
                               args.projection,
                               table.data(),
                               operands.carries(),
                               grad_keys.get(),
                               grad_values.get(),
                               args.grad_projection,
                               {attention.own, grad_attention.get(), args.patterns}},
                              stream);
  else
    layer.rotate(table, operand_of(grad_k), grad_k, Rotation::backward, stream);
}

}  // namespace ratel::cuda
