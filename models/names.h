#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ratel {

/// The names of a RAT+ model's tensors in the authors' checkpoints, and the paths of ours:
///   embedding.wte.weight                                          embedding.weight
///   backbone.layers.N.seq_layer.{input_norm,in_proj,out_proj}.weight   layers.N.mixer.{norm,in_proj,out_proj}.weight
///   backbone.layers.N.hidden_layer.{ln,fc1,fc2}.weight            layers.N.feed_forward.{norm,fc1,fc2}.weight
///   backbone.ln.weight                                            norm.weight
///
/// `_orig_mod` and `module`, which torch.compile and its parallel wrappers put into names wherever they wrap, are left
/// out of account. The output head, head.lm_head.weight, is tied to the embedding and leads to embedding.weight too.
/// Nothing for a name that is not known.
std::optional<std::string> path_of_authors_name(std::string_view name);

/// The reverse, without prefixes; of the two names of the embedding the first. Nothing for what is no path of a RAT+
/// model.
std::optional<std::string> authors_name_of_path(std::string_view path);

/// A name without `_orig_mod` and `module`.
std::string without_wrappers(std::string_view name);

inline constexpr std::string_view kAuthorsEmbedding = "embedding.wte.weight", kAuthorsHead = "head.lm_head.weight";

}  // namespace ratel
