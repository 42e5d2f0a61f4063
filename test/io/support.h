#pragma once

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "test/support/temporary_folder.h"

namespace ratel::test {

inline std::string content_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// f throws a one-line Error of that kind, `part` in its message.
template <class F>
void check_error(ErrorKind kind, std::string_view part, F&& f) {
  try {
    f();
    BOOST_ERROR("no error; expected one with: " << part);
  } catch (const Error& error) {
    const std::string_view message = error.what();
    BOOST_CHECK_MESSAGE(error.kind() == kind, "kind " << static_cast<int>(error.kind()) << ": " << message);
    BOOST_CHECK_MESSAGE(message.find(part) != std::string_view::npos, "no \"" << part << "\" in: " << message);
    BOOST_CHECK_MESSAGE(message.find('\n') == std::string_view::npos, "more than one line: " << message);
  }
}

/// Runs f, which may succeed or throw Error(input), and nothing else. Returns true where it succeeded.
template <class F>
bool succeeds_or_refuses(F&& f) {
  try {
    f();
    return true;
  } catch (const Error& error) {
    BOOST_CHECK_MESSAGE(error.kind() == ErrorKind::input,
                        "kind " << static_cast<int>(error.kind()) << ": " << error.what());
    return false;
  }
}

/// A copy on the heap without a terminating zero, so that a sanitizer sees every read beyond it.
inline std::vector<char> exact_copy(std::string_view text) { return {text.begin(), text.end()}; }

}  // namespace ratel::test
