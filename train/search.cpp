#include "train/search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>

#include "core/text.h"
#include "ops/cache_slots.h"
#include "train/evaluate.h"
#include "train/knapsack.h"

namespace ratel::train {
namespace {

/// Of every group (a layer, or a head of one) which of the dilations it gets.
using Assignment = std::vector<size_t>;

void check_options(const SearchOptions& o) {
  check(o.budget > 0 && o.budget <= 1, "search: expected a budget above 0, at most 1, found ", o.budget);
  constexpr int64_t kLongestContext = int64_t{1} << 32, kMostRounds = 1000;  // products of them fit
  check(o.context >= 1 && o.context <= kLongestContext, "search: expected a context from 1 to ", kLongestContext,
        ", found ", o.context);
  check(o.seq_len >= 1, "search: expected a seq_len of at least 1, found ", o.seq_len);
  for (const int64_t tokens : {o.tokens, o.verify_tokens})
    check(tokens >= o.seq_len, "search: expected tokens for a window of ", o.seq_len, " at least, found ", tokens);
  check(o.rounds >= 1 && o.rounds <= kMostRounds, "search: expected 1 to ", kMostRounds, " rounds, found ", o.rounds);
  check(!o.dilations.empty(), "search: expected a dilation to choose from at least, found none");
  std::set<int64_t> seen;
  for (const int64_t dilation : o.dilations) {
    check_patterns({{dilation, o.window, o.initial}}, 1, "search");
    check(seen.insert(dilation).second, "search: expected different dilations, found ", dilation, " twice");
  }
}

class Searcher {
 public:
  Searcher(const RatPlus& model, const io::TokenFile& file, const SearchOptions& options)
      : model_(model), file_(file), o_(options), groups_(model.config.layers * groups_a_layer()) {
    check_options(o_);
    const int64_t windows = (file.size() - 1) / o_.seq_len;
    if (windows < 2)
      fail_input(file.path(), "expected two windows of ", o_.seq_len,
                 " tokens, one to search on and one to verify with; found ", file.size(), " tokens");
    search_half_ = spread_windows(0, windows / 2, o_.seq_len, o_.tokens);
    verification_half_ = spread_windows(windows / 2, windows, o_.seq_len, o_.verify_tokens);
    for (const auto& half : {search_half_, verification_half_}) check_counts(file, half, o_.seq_len, o_.eos);
    const auto most = static_cast<int64_t>(std::max(search_half_.size(), verification_half_.size()));
    require_memory_for(model, std::min(o_.batch_size, most), o_.seq_len);
    for (const int64_t dilation : o_.dilations)
      costs_.push_back(cache_slots({dilation, o_.window, o_.initial}, o_.context) * model.config.heads /
                       groups_a_layer());
    const int64_t dense = model.config.layers * model.config.heads * o_.context;
    result_.dense_keys = dense;
    // A share such as 1/3 is rounded; it is to mean what it says.
    result_.budget_keys = static_cast<int64_t>(o_.budget * static_cast<double>(dense) * (1 + 1e-12));
    const auto sparsest = std::ranges::min_element(costs_);
    if (*sparsest * groups_ > result_.budget_keys)
      fail("search: the sparsest of the patterns, ",
           Pattern{o_.dilations[static_cast<size_t>(sparsest - costs_.begin())], o_.window, o_.initial}, ", keeps ",
           static_cast<double>(*sparsest * groups_) / static_cast<double>(dense), " of the keys of a dense cache of ",
           o_.context, " tokens, more than the budget of ", o_.budget,
           "\nhint: a larger dilation or budget, a smaller window, or fewer initial tokens");
  }

  SearchResult run() {
    const auto on_half = static_cast<int64_t>(search_half_.size());
    const int64_t a_round = (groups_ * (choices() - 1) + 1) * on_half;
    const int64_t to_verify = (std::ranges::count_if(costs_, [this](int64_t cost) { return fits(cost); }) + 2) *
                              static_cast<int64_t>(verification_half_.size());
    planned_ = on_half + o_.rounds * a_round + to_verify;

    Assignment current(static_cast<size_t>(groups_), start());
    double current_loss = loss_on(search_half_, current);
    for (int64_t round = 0; round < o_.rounds && !stopped_; ++round) {
      const bool base_fits = fits_all(current);
      const auto next = improve(current, current_loss);
      planned_ -= next && next->assignment == current ? on_half : 0;
      if (!next || (base_fits && next->loss >= current_loss)) break;
      current = next->assignment;
      current_loss = next->loss;
    }
    planned_ = done_ + to_verify;
    if (!stopped_) verify(current);
    result_.complete = !stopped_;
    return std::move(result_);
  }

 private:
  struct Found {
    Assignment assignment;
    double loss;
  };

  [[nodiscard]] int64_t groups_a_layer() const { return o_.grain == Grain::heads ? model_.config.heads : 1; }
  [[nodiscard]] int64_t choices() const { return static_cast<int64_t>(o_.dilations.size()); }
  [[nodiscard]] bool fits(int64_t cost) const { return cost * groups_ <= result_.budget_keys; }
  [[nodiscard]] bool fits_all(const Assignment& assignment) const {
    int64_t cost = 0;
    for (const size_t choice : assignment) cost += costs_[choice];
    return cost <= result_.budget_keys;
  }

  /// The dilation of the uniform pattern that the search starts from.
  [[nodiscard]] size_t start() const {
    std::optional<size_t> best;
    for (size_t i = 0; i < costs_.size(); ++i)
      if ((o_.around == Around::dense || fits(costs_[i])) && (!best || costs_[i] > costs_[*best])) best = i;
    return best.value();  // the constructor saw that one fits
  }

  [[nodiscard]] ModelPattern pattern_of(const Assignment& assignment) const {
    ModelPattern pattern{{}};
    const auto a_layer = static_cast<size_t>(groups_a_layer());
    for (size_t at = 0; at < assignment.size(); at += a_layer) {
      HeadPatterns heads;
      for (size_t head = 0; head < a_layer; ++head)
        heads.push_back({o_.dilations[assignment[at + head]], o_.window, o_.initial});
      pattern.layers.push_back(std::move(heads));
    }
    return simplified(std::move(pattern));
  }

  [[nodiscard]] Measured measured(const ModelPattern& pattern, double loss) const {
    return {pattern, loss, kv_cache_bytes(model_.config, pattern, o_.context, model_.dtype())};
  }
  [[nodiscard]] Measured measured(const Assignment& assignment, double loss) const {
    return measured(pattern_of(assignment), loss);
  }

  /// Empty where it was stopped.
  std::vector<WindowLoss> losses_on(const std::vector<int64_t>& windows, const ModelPattern& pattern) {
    if (stopped_) return {};
    EvalOptions how{.seq_len = o_.seq_len, .pattern = pattern, .batch_size = o_.batch_size, .eos = o_.eos};
    how.stop = o_.stop;
    if (o_.progress)
      how.progress = [this](int64_t done, int64_t) { o_.progress(done_ * o_.seq_len + done, planned_ * o_.seq_len); };
    std::vector<WindowLoss> losses = window_losses(model_, file_, windows, how);
    done_ += static_cast<int64_t>(windows.size());
    stopped_ = losses.size() < windows.size();
    if (stopped_) return {};
    if (!std::isfinite(mean_of(losses).loss))
      throw Error(concat_text("search: the loss through ", pattern, " is not finite"), ErrorKind::numerical);
    return losses;
  }
  double loss_on(const std::vector<int64_t>& windows, const Assignment& assignment) {
    return mean_of(losses_on(windows, pattern_of(assignment))).loss;
  }

  /// One round around `base`. Nothing where it was stopped.
  std::optional<Found> improve(const Assignment& base, double base_loss) {
    SearchRound round;
    round.base = measured(base, base_loss);
    std::vector<Choices> groups;
    for (size_t group = 0; group < base.size(); ++group) {
      const auto at = static_cast<int64_t>(group);
      Sensitivity sensitivity{at / groups_a_layer(), o_.grain == Grain::heads ? at % groups_a_layer() : -1, {}};
      Choices& choices = groups.emplace_back();
      for (size_t choice = 0; choice < costs_.size(); ++choice) {
        Assignment changed = base;
        changed[group] = choice;
        const double change = choice == base[group] ? 0 : loss_on(search_half_, changed) - base_loss;
        if (stopped_) return {};
        sensitivity.change.push_back(change);
        choices.push_back({costs_[choice], change});
      }
      round.sensitivities.push_back(std::move(sensitivity));
    }
    Found found{choose(groups, result_.budget_keys), 0};
    round.predicted_loss = base_loss;
    for (size_t group = 0; group < base.size(); ++group)
      round.predicted_loss += groups[group][found.assignment[group]].loss;
    found.loss = found.assignment == base ? base_loss : loss_on(search_half_, found.assignment);
    if (stopped_) return {};
    round.chosen = measured(found.assignment, found.loss);
    result_.rounds.push_back(std::move(round));
    return found;
  }

  void verify(const Assignment& assignment) {
    const auto found = losses_on(verification_half_, pattern_of(assignment));
    std::vector<std::vector<WindowLoss>> uniform;
    for (size_t choice = 0; choice < costs_.size(); ++choice) {
      if (!fits(costs_[choice])) continue;
      const ModelPattern pattern = ModelPattern::uniform({o_.dilations[choice], o_.window, o_.initial});
      uniform.push_back(losses_on(verification_half_, pattern));
      result_.uniform.push_back(measured(pattern, mean_of(uniform.back()).loss));
      if (result_.uniform.back().loss < result_.uniform[result_.best_uniform].loss)
        result_.best_uniform = result_.uniform.size() - 1;
    }
    result_.dense = measured(ModelPattern{}, mean_of(losses_on(verification_half_, ModelPattern{})).loss);
    if (stopped_) return;
    result_.found = measured(assignment, mean_of(found).loss);
    result_.tokens = mean_of(found).tokens;
    result_.keys = cache_keys(model_.config, result_.found.pattern, o_.context);
    compare(found, uniform[result_.best_uniform]);
  }

  /// The same windows through two patterns: what a window is like falls out of the difference.
  void compare(const std::vector<WindowLoss>& found, const std::vector<WindowLoss>& uniform) {
    const auto count = static_cast<double>(found.size()), tokens = static_cast<double>(result_.tokens);
    double difference = 0, squares = 0;
    for (size_t w = 0; w < found.size(); ++w) difference += found[w].loss - uniform[w].loss;
    difference /= tokens;
    for (size_t w = 0; w < found.size(); ++w)
      squares += std::pow(found[w].loss - uniform[w].loss - difference * static_cast<double>(found[w].tokens), 2);
    result_.difference = difference;
    result_.standard_error =
        count < 2 ? std::numeric_limits<double>::infinity() : std::sqrt(squares * count / (count - 1)) / tokens;
    if (std::abs(difference) > 2 * result_.standard_error)
      result_.verdict = difference < 0 ? Verdict::better : Verdict::worse;
  }

  const RatPlus& model_;
  const io::TokenFile& file_;
  const SearchOptions& o_;
  int64_t groups_;
  std::vector<int64_t> costs_;                            // of every dilation, for one group
  std::vector<int64_t> search_half_, verification_half_;  // begins of windows
  int64_t done_ = 0, planned_ = 0;                        // windows
  bool stopped_ = false;
  SearchResult result_;
};

}  // namespace

SearchResult search(const RatPlus& model, const io::TokenFile& file, const SearchOptions& options) {
  return Searcher(model, file, options).run();
}

double parse_share(const std::string& text, const std::string& what) {
  const auto parts = split(text, '/');
  const auto above = to_number<double>(parts[0]);
  const auto below = parts.size() == 2 ? to_number<double>(parts[1]) : std::optional<double>(1);
  const bool is_number = parts.size() <= 2 && above && below;
  const double share = is_number ? *above / *below : 0;
  check(share > 0 && share <= 1, what, ": expected a share of a dense cache, such as 1/16 or 0.0625, found '", text,
        "'");
  return share;
}

int64_t cache_keys(const RatPlusConfig& config, const ModelPattern& pattern, int64_t context) {
  int64_t keys = 0;
  for (int64_t layer = 0; layer < config.layers; ++layer)
    for (const Pattern& p : one_a_head(pattern.of_layer(layer, config.layers), config.heads))
      keys += cache_slots(p, context);
  return keys;
}

}  // namespace ratel::train
