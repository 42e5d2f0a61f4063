#include "train/knapsack.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>

#include "core/error.h"

namespace ratel::train {
namespace {

/// A choice that is worth considering: of its group, no other costs no more and loses no more.
struct Candidate {
  int64_t cost;
  double loss;
  size_t index;  // among the group's choices
};
using Candidates = std::vector<Candidate>;

void check_choices(std::span<const Choices> groups) {
  for (const Choices& choices : groups) {
    check(!choices.empty(), "knapsack: expected a choice in every group, found none in one");
    for (const Choice& choice : choices)
      check(choice.cost >= 0 && std::isfinite(choice.loss),
            "knapsack: expected a cost of 0 or more and a finite loss, found ", choice.cost, " and ", choice.loss);
  }
}

/// By rising cost, and so by falling loss.
Candidates undominated(const Choices& choices) {
  Candidates all;
  for (size_t i = 0; i < choices.size(); ++i) all.push_back({choices[i].cost, choices[i].loss, i});
  std::ranges::stable_sort(
      all, [](const Candidate& a, const Candidate& b) { return a.cost != b.cost ? a.cost < b.cost : a.loss < b.loss; });
  Candidates kept;
  for (const Candidate& one : all)
    if (kept.empty() || one.loss < kept.back().loss) kept.push_back(one);
  return kept;
}

/// Loss saved a unit of cost between two candidates of rising cost.
double gain(const Candidate& from, const Candidate& to) {
  return (from.loss - to.loss) / static_cast<double>(to.cost - from.cost);
}

/// The lower convex hull: gains fall from each candidate to the next.
Candidates hull_of(const Candidates& candidates) {
  Candidates hull;
  for (const Candidate& one : candidates) {
    while (hull.size() >= 2 && gain(hull[hull.size() - 2], hull.back()) <= gain(hull.back(), one)) hull.pop_back();
    hull.push_back(one);
  }
  return hull;
}

/// What the relaxation to fractions of choices says.
struct Relaxation {
  double multiplier = 0;  // the loss that a unit of budget is worth
  double loss = 0;        // of a selection within the budget, which is near the best
};

/// From the cheapest selection on, takes the step of the greatest gain as long as there is budget. The first step that
/// is too large tells the multiplier; later ones of other groups may still fit.
Relaxation relax(const std::vector<Candidates>& groups, int64_t budget) {
  struct Step {
    double gain;
    size_t group, to;
    bool operator<(const Step& other) const {
      return gain != other.gain ? gain < other.gain : group > other.group;  // a heap has its greatest on top
    }
  };
  std::vector<Candidates> hulls;
  std::priority_queue<Step> steps;
  Relaxation result;
  for (const Candidates& candidates : groups) {
    const Candidates& hull = hulls.emplace_back(hull_of(candidates));
    budget -= hull[0].cost;
    result.loss += hull[0].loss;
    if (hull.size() > 1) steps.push({gain(hull[0], hull[1]), hulls.size() - 1, 1});
  }
  bool all_fit = true;
  while (!steps.empty()) {
    const Step step = steps.top();
    steps.pop();
    const Candidates& hull = hulls[step.group];
    const Candidate &from = hull[step.to - 1], &to = hull[step.to];
    if (to.cost - from.cost > budget) {
      if (all_fit) result.multiplier = step.gain;
      all_fit = false;
      continue;
    }
    budget -= to.cost - from.cost;
    result.loss += to.loss - from.loss;
    if (step.to + 1 < hull.size()) steps.push({gain(to, hull[step.to + 1]), step.group, step.to + 1});
  }
  return result;
}

/// Candidates of the groups so far: what they cost and lose, and which selection of the groups before they extend.
struct State {
  int64_t cost;
  double loss;
  size_t before, index;
};

/// Drops what costs no less and loses no less than another; by rising cost then.
void drop_dominated(std::vector<State>& states) {
  std::ranges::stable_sort(
      states, [](const State& a, const State& b) { return a.cost != b.cost ? a.cost < b.cost : a.loss < b.loss; });
  double least = std::numeric_limits<double>::infinity();
  std::erase_if(states, [&least](const State& state) {
    if (state.loss >= least) return true;
    least = state.loss;
    return false;
  });
}

/// What the groups from each one on can reach at best: the least cost, and the least loss + multiplier * cost.
struct Rest {
  int64_t cost = 0;
  double bound = 0;
};

std::vector<Rest> rests_of(const std::vector<Candidates>& groups, double multiplier) {
  std::vector<Rest> rests(groups.size() + 1);
  for (size_t g = groups.size(); g-- > 0;) {
    double least = std::numeric_limits<double>::infinity();
    for (const Candidate& one : groups[g])
      least = std::min(least, one.loss + multiplier * static_cast<double>(one.cost));
    rests[g] = {rests[g + 1].cost + groups[g][0].cost, rests[g + 1].bound + least};
  }
  return rests;
}

}  // namespace

// Group by group, all undominated (cost, loss) of selections so far. A selection is given up where the Lagrangian bound
// of what the other groups can still save says that it ends above a selection that is known to fit. The multiplier of
// the relaxation makes that bound so tight that few survive, however large the budget is.
std::vector<size_t> choose(std::span<const Choices> groups, int64_t budget) {
  check_choices(groups);
  std::vector<Candidates> candidates;
  double magnitude = 0;
  for (const Choices& choices : groups) {
    candidates.push_back(undominated(choices));
    magnitude += std::max(std::abs(candidates.back().front().loss), std::abs(candidates.back().back().loss));
  }
  const int64_t cheapest = rests_of(candidates, 0)[0].cost;
  check(cheapest <= budget, "knapsack: the cheapest choices cost ", cheapest, ", more than the budget of ", budget);
  const Relaxation relaxation = relax(candidates, budget);
  const std::vector<Rest> rests = rests_of(candidates, relaxation.multiplier);
  // Sums are rounded: what a bound is made of tells by how much.
  const double limit = relaxation.loss + 1e-12 * (magnitude + 2 * relaxation.multiplier * static_cast<double>(budget));

  std::vector<std::vector<State>> stages{{State{0, 0, 0, 0}}};
  for (size_t g = 0; g < candidates.size(); ++g) {
    std::vector<State> next;
    for (size_t before = 0; before < stages.back().size(); ++before)
      for (const Candidate& one : candidates[g]) {
        const State state{stages.back()[before].cost + one.cost, stages.back()[before].loss + one.loss, before,
                          one.index};
        const int64_t left = budget - state.cost;
        if (rests[g + 1].cost > left) break;  // the next ones cost more
        const double bound = state.loss + rests[g + 1].bound - relaxation.multiplier * static_cast<double>(left);
        if (bound <= limit) next.push_back(state);
      }
    drop_dominated(next);
    stages.push_back(std::move(next));
  }

  std::vector<size_t> chosen(candidates.size());
  size_t at = stages.back().size() - 1;  // the least loss
  for (size_t g = candidates.size(); g-- > 0;) {
    const State& state = stages[g + 1][at];
    chosen[g] = state.index;
    at = state.before;
  }
  return chosen;
}

}  // namespace ratel::train
