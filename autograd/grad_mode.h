#pragma once

namespace ratel {

/// True where ops record themselves on the tape. Per thread; true at the start.
bool grad_enabled();

/// Sets grad_enabled() for a scope and restores it, exceptions included.
class GradMode {
 public:
  explicit GradMode(bool enabled);
  ~GradMode();
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool previous_;
};

/// `NoGrad guard;` — nothing in the scope is recorded: evaluation, generation, optimizer steps.
class NoGrad : public GradMode {
 public:
  NoGrad() : GradMode(false) {}
};

}  // namespace ratel
