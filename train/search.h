#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "io/token_file.h"
#include "models/rat_plus.h"

namespace ratel::train {

/// What gets a dilation of its own.
enum class Grain { layers, heads };
/// The uniform pattern around which one layer (or head) at a time is changed: the one of the list that uses most of the
/// budget, or the least sparse of the list.
enum class Around { budget, dense };

struct SearchOptions {
  double budget = 1.0 / 16;  ///< keys and values that may be kept, as a share of all of a dense cache
  int64_t context = 4096;    ///< tokens of the sequence that the cache is counted for
  std::vector<int64_t> dilations{1, 2, 4, 8, 16, 32, 64, 128};  ///< to choose from; -1: no dilated keys
  int64_t window = 0, initial = 0;                              ///< of all layers and heads
  Grain grain = Grain::layers;
  Around around = Around::budget;
  int64_t rounds = 2;               ///< of measuring all changes around what was found so far, and choosing anew
  int64_t seq_len = 256;            ///< tokens of a window
  int64_t tokens = 65'536;          ///< of each evaluation on the search half, at most
  int64_t verify_tokens = 262'144;  ///< and on the verification half, where they are few and decide
  int64_t batch_size = 8;           ///< windows computed at once
  int64_t eos = -1;                 ///< as in EvalOptions
  std::function<bool()> stop = {};  ///< polled between batches
  std::function<void(int64_t done, int64_t total)> progress = {};  ///< in tokens; fewer in all where a round is spared
};

/// The loss of one pattern, in nats a token, and its cache.
struct Measured {
  ModelPattern pattern;
  double loss = 0;
  int64_t kv_bytes = 0;  ///< of `context` tokens: keys, values and recurrent state
};

/// One layer (head -1) or head, and how much the loss changes where it alone gets each of the dilations.
struct Sensitivity {
  int64_t layer = 0, head = -1;
  std::vector<double> change;
};

/// One round: the pattern it was measured around, with its loss, and the pattern that the changes, added up, promise
/// the least loss of, with that and the measured loss. All on the search half.
struct SearchRound {
  Measured base;
  std::vector<Sensitivity> sensitivities;
  double predicted_loss = 0;
  Measured chosen;
};

/// How the pattern found compares with the best uniform one in the verification half: better or worse by more than two
/// standard errors of the difference, or not.
enum class Verdict { better, tie, worse };

struct SearchResult {
  bool complete = false;  ///< false where `stop` ended it: all that follows is then unfinished
  std::vector<SearchRound> rounds;
  int64_t keys = 0, budget_keys = 0, dense_keys = 0;  ///< slots of all heads: of `found`, allowed, of a dense cache

  // In the verification half:
  int64_t tokens = 0;  ///< that counted
  Measured found;
  std::vector<Measured> uniform;  ///< those of the list within the budget, in its order
  Measured dense;                 ///< for comparison
  size_t best_uniform = 0;        ///< the one of least loss
  double difference = 0;          ///< loss of `found` less that of the best uniform one
  double standard_error = 0;      ///< of that, from the differences of windows
  Verdict verdict = Verdict::tie;
  /// The better of the two.
  [[nodiscard]] const Measured& best() const { return difference <= 0 ? found : uniform[best_uniform]; }
};

/// Assigns a dilation to every layer, or head, such that the keys and values of a context stay within the budget and
/// the loss is least, as far as evaluations of one change at a time tell:
///   1. the loss of a uniform pattern, and of it with one layer (head) changed to each dilation, on windows spread over
///      the first half of the file;
///   2. the assignment of least loss within the budget, were these changes to add up: choose() of train/knapsack.h. It
///      is measured, and where it is better than what it came from, the next round starts from it;
///   3. what was found, every uniform pattern within the budget and the dense one, on windows of the second half.
/// The recurrent state, which is the same for all patterns, is not counted in the budget; the bytes reported have it.
///
/// Costs at most 1 + rounds * (groups * (dilations - 1) + 1) evaluations of `tokens` tokens, and uniform patterns + 2
/// of verify_tokens. Deterministic. Throws Error for options that cannot work; where no pattern of the list is within
/// the budget, naming the smallest share that is; Error(input) for a file with no window in each half.
SearchResult search(const RatPlus& model, const io::TokenFile& file, const SearchOptions& options);

/// "1/16" or "0.0625" as a share above 0, at most 1. Throws Error naming `what` otherwise.
double parse_share(const std::string& text, const std::string& what);

/// Slots that the cache of `context` tokens has in all layers and heads: what the budget is counted in.
int64_t cache_keys(const RatPlusConfig& config, const ModelPattern& pattern, int64_t context);

}  // namespace ratel::train
