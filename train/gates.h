#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "models/rat_plus.h"
#include "train/data.h"

namespace ratel::train {

/// What the gates of one layer's recurrence do, h[t] = g[t] h[t-1] + (1 - g[t]) x[t]: a number for each of its C
/// channels, over all tokens that were looked at.
struct LayerGates {
  std::vector<double> gate;  ///< the mean of g
  /// Tokens: 1 / (1 - the mean of g), the time constant of the channel's mean gate. Not the mean of 1 / (1 - g), which
  /// one token with a gate of nearly 1 decides. 1 - g is computed as such, so that a g that rounds to 1 is no division
  /// by zero; at most kLongestTimeConstant.
  std::vector<double> time_constant;
  /// What is left of a state after `span` tokens: the mean of the product of g over windows of that many.
  std::vector<double> kept;
  /// How large the gradient of the loss is, as the square root of a sum of squares: of the gate's rows of
  /// in_proj.weight, and of all weights of the layer. Were all elements alike, the first would be sqrt(1/14) = 0.27 of
  /// the second. Not there where the pattern has top-k blocks, which have no gradient.
  struct Gradient {
    double of_gate = 0, of_layer = 0;
    /// The recurrence's share: of_gate / of_layer; 0 where there is no gradient at all.
    [[nodiscard]] double share() const { return of_layer > 0 ? of_gate / of_layer : 0; }
  };
  std::optional<Gradient> gradient;
};

inline constexpr double kLongestTimeConstant = 1e9;
/// A channel carries `span` tokens where it keeps this much of a state or more: 1/e, what is left after one time
/// constant.
inline constexpr double kCarried = 0.36787944117144233;
/// How many of them do.
int64_t carrying_channels(const LayerGates& layer);

struct Gates {
  std::vector<LayerGates> layers;
  double loss = 0;       ///< nats a token, the mean over labels that count
  int64_t tokens = 0;    ///< whose gates were looked at
  bool complete = true;  ///< false where `stop` ended it early, and the numbers are not to be used
};

struct GateOptions {
  ModelPattern pattern = {};        ///< of attention: what enters the layers above, and the gradient, depend on it
  int64_t span = 64;                ///< tokens that a channel is to carry
  std::function<bool()> stop = {};  ///< polled between batches
  std::function<void(int64_t done, int64_t total)> progress = {};  ///< in tokens
};

/// Runs a model over batches of windows, all of T tokens, forwards and backwards: one batch is in memory at a time. The
/// loss is the mean over all labels that count, and the gradient that of this mean. Windows of `span` tokens follow one
/// another from the beginning of a sequence; what is left at its end is in none. Gradients that the parameters had are
/// lost. On any device.
/// Throws Error for an attention-only model, no batches, T below `span`, a span below 1, labels of which none counts
/// and a pattern that does not fit; Error(numerical) naming the layer whose gates are not finite.
Gates measure_gates(const RatPlus& model, std::span<const Batch> batches, const GateOptions& options);

struct SampleOptions {
  ModelPattern pattern = {};
  int64_t seq_len = 256;
  int64_t windows = 1;
  int64_t batch_size = 8;
  int64_t eos = -1;  ///< what the texts begin with. Throws Error where it is no token of the model
  uint64_t seed = 0;
  std::function<bool()> stop = {};                                 ///< true ends it: what is returned is not to be used
  std::function<void(int64_t done, int64_t total)> progress = {};  ///< in tokens
};
/// Windows of text that the model says by itself at temperature 1, each from `eos` on and past further ones. As in
/// training, what follows an `eos` is no label that counts. A batch is said at once; a window does not depend on it. On
/// the CPU's side, whatever the model's device.
std::vector<Batch> sampled_batches(const RatPlus& model, const SampleOptions& options);

/// The value below which the part q in [0, 1] of the values lies, between neighbours in proportion. Throws Error for no
/// values.
double quantile(std::vector<double> values, double q);

}  // namespace ratel::train
