#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ratel::train {

/// What one of a group's choices costs, in units of the budget, and the loss it adds.
struct Choice {
  int64_t cost = 0;
  double loss = 0;
};
using Choices = std::vector<Choice>;

/// The multiple-choice knapsack: one choice of every group, as an index each, such that they cost at most `budget`
/// together and add the least loss; of several such selections one that costs least. Exact up to the rounding of sums,
/// and deterministic. A thousand groups of ten choices take milliseconds to seconds.
/// Throws Error for a group without choices, a negative cost, a loss that is not finite, and where even the cheapest
/// choices cost more than the budget, naming both.
/// Source: the pruning of dynamic programming by Lagrangian bounds, Pisinger, EJOR 83 (1995).
std::vector<size_t> choose(std::span<const Choices> groups, int64_t budget);

}  // namespace ratel::train
