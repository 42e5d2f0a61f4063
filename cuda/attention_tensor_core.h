#pragma once

// What the files of attention on the tensor cores share: which calls they take, and which tiles their kernels are made
// of.

#include <algorithm>
#include <initializer_list>

#include "cuda/attention_keys.h"
#include "cuda/attention_tile_parts.h"

namespace ratel::cuda::tensor_core {

/// Tokens are counted in 32 bits, with room for what is added to them, and so are the elements from one to the next.
inline bool takes(const AttentionShape& shape, std::initializer_list<AttentionOperand> all_rows) {
  const auto fits = [&](const AttentionOperand& rows) {
    return rows_are_vectorisable<bfloat16>(shape.d, rows) && rows.time < int64_t{1} << 31;
  };
  return shape.dtype == DType::bf16 && (shape.d == 64 || shape.d == 128) && shape.T < int64_t{1} << 29 &&
         std::ranges::all_of(all_rows, fits);
}

/// Calls f.template operator()<Tile>() for the width and the products.
template <class F>
inline void visit_tile(int64_t d, F&& f) {
  const bool of_warp = attention_products() == AttentionProducts::of_warp;
  if (d == 64)
    of_warp ? f.template operator()<RowTile<64>>() : f.template operator()<SwizzledTile<64>>();
  else
    of_warp ? f.template operator()<RowTile<128>>() : f.template operator()<SwizzledTile<128>>();
}

}  // namespace ratel::cuda::tensor_core
