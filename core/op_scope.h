#pragma once

namespace ratel {

/// Names the op at work in this thread, for a scope: the owner of the memory it asks for, in out-of-memory errors, who
/// asked for an axis or a tensor that is not there, and a range in a GPU's profile. The innermost scope counts. `name`
/// must outlive the scope.
class OpScope {
 public:
  explicit OpScope(const char* name);
  ~OpScope();
  OpScope(const OpScope&) = delete;
  OpScope& operator=(const OpScope&) = delete;

  /// "tensor" outside any scope.
  static const char* current();

 private:
  const char* previous_;
};

}  // namespace ratel
