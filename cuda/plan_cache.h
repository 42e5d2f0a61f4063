#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"

namespace ratel::cuda {

/// What a library compiles for each shape (cudnn_attention.cpp): found once, and kept. Not thread-safe.
template <class Key, class Plan>
class PlanCache {
 public:
  /// Of work that is recorded nothing is decided: what never computed may not be part of a graph.
  enum class Call { computes, recorded };

  /// Was the plan of this key asked for before?
  [[nodiscard]] bool knows(const Key& key) const { return plans_.contains(key); }

  /// Whether compute(plan) did, of the plan that find() found at the key's first call. What find() throws, or a plan
  /// that never computed, decides that there is none for this key; but where either throws Error(memory) the next call,
  /// which may find more of it, asks again. Of a plan that has computed, all other errors are thrown.
  template <class Find, class Compute>
  bool run(const Key& key, Call call, Find&& find, Compute&& compute) {
    auto known = plans_.find(key);
    if (call == Call::recorded && (known == plans_.end() || !known->second.has_computed)) return false;
    if (known == plans_.end()) {
      Entry found;
      try {
        found.plan.emplace(find());
      } catch (const Error& error) {
        refusal_ = error.what();
        if (error.kind() == ErrorKind::memory) return false;
      }
      known = plans_.emplace(key, std::move(found)).first;
    }
    Entry& entry = known->second;
    if (!entry.plan) return false;
    try {
      compute(*entry.plan);
      entry.has_computed = true;
      return true;
    } catch (const Error& error) {
      const bool lacks_memory = error.kind() == ErrorKind::memory;
      if (entry.has_computed && !lacks_memory) throw;
      refusal_ = error.what();
      if (!lacks_memory) {
        retired_.push_back(std::move(*entry.plan));
        entry.plan.reset();
      }
      return false;
    }
  }

  /// The last error that was not thrown.
  [[nodiscard]] const std::string& refusal() const { return refusal_; }
  void note_refusal(std::string why) { refusal_ = std::move(why); }

 private:
  struct Entry {
    std::optional<Plan> plan;  // nothing where there is none
    bool has_computed = false;
  };
  std::map<Key, Entry> plans_;
  std::vector<Plan> retired_;  // whose kernels runs under way may hold
  std::string refusal_;
};

}  // namespace ratel::cuda
