#pragma once

#include "core/stream.h"
#include "cuda/attention.h"

namespace ratel::cuda {

/// Attention over top-k blocks for many queries of a sequence at once: n tokens, whose own keys are among the keys, of
/// up to kHeadsPerLaunch heads. Row t of operands q, out and gate is that of the sequence's token length + t, row j of
/// the keys and values that of its token j. All rows are bf16, of d channels.
struct BlockTiles {
  int64_t B, n, d;
  AttentionOperand q;
  AttentionRows out;
  AttentionOperand gate = {};  // with data, out is multiplied by its sigmoid

  const void *keys, *values;
  int64_t keys_batch, keys_time, values_batch, values_time;  // elements between sequences, and between tokens
  const float* summaries;                                    // of d channels, or twice d; not read for BlockScore::last
  const int64_t *lengths = nullptr, *counts = nullptr;       // (B), on the device; null: 0 and n. Rows from counts[b]
                                                             // on become zeros
  int64_t most_keys;                                         // no length + count is above it

  int count = 0;
  struct Head {
    int64_t h;                                         // of q, out and gate
    int64_t keys, values, summaries, summaries_batch;  // elements before the head's, and between sequences
    int block, most;                                   // tokens a block, how many blocks a query sees at most
    BlockScore score;
  } heads[kHeadsPerLaunch] = {};
};

namespace tensor_core {
/// bf16, d = 64 or 128, rows that begin at multiples of 16 bytes, and queries that fill a quarter of a tile.
bool takes(const BlockTiles& tiles, DType dtype);
/// most_entries: of the queries' lists at once, 4 bytes each; as many tiles of queries are taken at a time.
void attend_blocks(const BlockTiles& tiles, Stream stream, int64_t most_entries = int64_t{1} << 26);
}  // namespace tensor_core

}  // namespace ratel::cuda
