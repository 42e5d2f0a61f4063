#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ratel {

/// Ends a text before the first stop string in it, while the text comes in pieces: what may turn out to be the
/// beginning of one is held back. Where the text is cut does not depend on how it was cut into pieces: before the stop
/// string that is complete first, the longest of several.
class StopStrings {
 public:
  /// Throws Error where one of them is empty.
  explicit StopStrings(std::vector<std::string> strings);

  /// Takes the next piece, and returns what of the text can no longer be part of a stop string. Once one was found, it
  /// takes nothing more.
  std::string push(std::string_view piece);
  [[nodiscard]] bool found() const { return found_; }
  /// What was held back, of a text that ends here without a stop string.
  std::string finish();

 private:
  std::vector<std::string> strings_;
  std::string held_;
  bool found_ = false;
};

}  // namespace ratel
