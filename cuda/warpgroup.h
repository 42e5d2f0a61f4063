#pragma once

// Products of a warpgroup on the tensor cores of sm_90a (wgmma): four warps multiply 64 rows, 16 of each warp, by a
// matrix that all of them read from shared memory by themselves, without loads. nvcc takes warpgroup_gpu.h, the host
// twin twin/warpgroup.h, where the products of the warps are those of multiply_16x8x16.
//
//   begin_products(c, a)                   behind the last change of what is added to, and of rows in registers
//   set_products_by_rows<N>(c, a, b)       c (64, N) = a (64, 16) b (N, 16) transposed, both in shared memory
//   add_products_by_rows<N>(c, a, b)       c (64, N) += the same
//   add_products_by_columns<N>(c, a, b)    c (64, N) += a (64, 16) b (16, N), a in registers
//   commit_products()                      what was added since the last one is a group
//   wait_products<kPending>()              until no more groups than so many are under way; the first ones end first
//   keep(c), keep(a)                       behind the wait for them; until then they may be neither read nor changed
//
// c and a lie in a warp's registers as FragmentC and FragmentA say. All threads of the four warps make every call.
// Shared memory that they wrote, by copies they waited for too, is read behind publish_shared() and then a barrier.

#include "cuda/device.h"

namespace ratel::cuda {

/// Columns of a matrix in shared memory lie in stretches of so many: a row's are 128 bytes, rows follow one another.
/// Of those 128 bytes piece p, 16 bytes, of row r lies in the place p ^ r % 8. Eight rows begin at a multiple of 1024
/// bytes.
inline constexpr int kStretch = 64;

}  // namespace ratel::cuda

#ifdef RATEL_HOST_TWIN
#include "cuda/twin/warpgroup.h"
#else
#include "cuda/warpgroup_gpu.h"
#endif
