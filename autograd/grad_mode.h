#pragma once

namespace ratel {

/// True where ops record themselves on the tape. Per thread; true at the start.
bool grad_enabled();

/// True there, and where checkpoint() computes for the first time what it records when it computes it again. Ops that
/// compute otherwise where nobody wants a gradient go by this, so that both times have the same bits.
bool grad_expected();

/// Sets both for a scope and restores them, exceptions included.
class GradMode {
 public:
  explicit GradMode(bool enabled) : GradMode(enabled, enabled) {}
  ~GradMode();
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 protected:
  GradMode(bool enabled, bool expected);

 private:
  bool previous_, expected_before_;
};

/// `NoGrad guard;` — nothing in the scope is recorded: evaluation, generation, optimizer steps.
class NoGrad : public GradMode {
 public:
  NoGrad() : GradMode(false) {}
};

/// Nothing in the scope is recorded yet, but all of it will be.
class GradLater : public GradMode {
 public:
  GradLater() : GradMode(false, true) {}
};

}  // namespace ratel
