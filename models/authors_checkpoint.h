#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "io/safetensors.h"
#include "models/rat_plus.h"

namespace ratel {

// Checkpoints of the authors' own program, in their names (models/names.h). Sizes are read off the tensors; the number
// of heads cannot be, and comes from the configuration that lies beside them, or from the user.
// Source: https://github.com/wimh966/rat-plus (names, configuration, the gate's projection apart in older files).

struct AuthorsModel {
  RatPlusConfig config;  ///< sizes and recurrence; heads are a number that fits, until somebody knows
  std::vector<io::TensorSource> parameters;  ///< in our names, in the order of a ParamStore, of one dtype
};

/// The model that the tensors are, its parameters read as `dtype`, or where that is not given as the widest dtype among
/// them. `_orig_mod` and `module` in names do not count; hidden_layer and seq_layer parts are as in models/names.h;
/// seq_layer.fgate_proj, where the gate's C rows lie apart, is put below in_proj's 4C. A model whose in_proj has 4C
/// rows and no gate is the attention-only baseline. Throws Error(input) "path: ..." with ALL tensors that are unknown,
/// missing, misshaped or repeated, in one error; for tensors that are not of a float dtype; for an output head that is
/// not the embedding bit for bit, since ours is tied. Compares the head at once; reads nothing else.
AuthorsModel read_authors_model(const std::vector<io::TensorSource>& tensors, std::string_view path,
                                std::optional<DType> dtype = {});

/// What a configuration beside a checkpoint says, wherever in it that stands.
struct AuthorsConfig {
  std::vector<int64_t> heads;           ///< each number that some field says and that fits the model, rising
  std::optional<double> rope_base;      ///< of a member "pe" or "rope"
  std::optional<ModelPattern> adapted;  ///< of the layer, where it was trained through one pattern that is not dense
};
/// Looks for num_head, n_head, num_heads, nhead, num_attention_heads, and for d_head, head_dim, head_size, k_channel
/// (their quotient counts); for dilation_size, local_size and initial_size beside joint_train: false.
AuthorsConfig read_authors_config(const io::Json& others, const RatPlusConfig& sizes);

/// Numbers of heads that divide the channels into even widths: those of widths 32 to 256, or where there are none, all
/// that heads_divide.
std::vector<int64_t> plausible_heads(int64_t channels);

/// A model's parameters in the authors' names and order, with their tied head at the end.
std::vector<io::TensorSource> authors_tensors(const std::vector<io::TensorSource>& parameters);

}  // namespace ratel
