#pragma once

#include "ops/cpu/blocks.h"
#include "ops/cpu/math.h"
#include "ops/cpu/scan.h"
#include "ops/recurrent_attention.h"

namespace ratel::cpu {

/// The input projection (B, T, 5C) of a RAT+ layer, or (B, T, 4C) without recurrence, by part, token and head
/// (head = b * H + h), and one step of the recurrence over it.
template <class T>
struct Projection {
  using A = accumulate_t<T>;
  using Part = ProjectionPart;
  const T* data;
  int64_t T_, C, H, d, width;
  bool gated;

  Projection(const void* projection, int64_t tokens, int64_t channels, int64_t heads, Recurrence recurrence)
      : data(static_cast<const T*>(projection)),
        T_(tokens),
        C(channels),
        H(heads),
        d(channels / heads),
        width(channels * (recurrence == Recurrence::gated ? 5 : 4)),
        gated(recurrence == Recurrence::gated) {}

  /// Element offset of a part of token t of a head.
  [[nodiscard]] int64_t offset(int64_t head, Part part, int64_t t) const {
    return ((head / H) * T_ + t) * width + static_cast<int64_t>(part) * C + head % H * d;
  }
  [[nodiscard]] const T* row(int64_t head, Part part, int64_t t) const { return data + offset(head, part, t); }
  [[nodiscard]] Loaded<T> load(int64_t head, Part part, int64_t t) const { return {row(head, part, t), d}; }
  /// Element offset of a head's token in a (B, T, C) tensor.
  [[nodiscard]] int64_t out_offset(int64_t head, int64_t t) const { return ((head / H) * T_ + t) * C + head % H * d; }

  /// state = (key state, value state), 2 d numbers, of token t from the one before it, which may be the same memory;
  /// gate is written where there is one.
  void step(int64_t head, int64_t t, A* gate, const A* before, A* state) const {
    const T *k = row(head, Part::key, t), *v = row(head, Part::value, t);
    if (!gated) {
      cpu::load(k, state, d);
      cpu::load(v, state + d, d);
      return;
    }
    Array<A>(gate, d) = sigmoid(*load(head, Part::gate, t));
    scan_step(d, gate, k, before, state);
    scan_step(d, gate, v, before + d, state + d);
  }
};

}  // namespace ratel::cpu
