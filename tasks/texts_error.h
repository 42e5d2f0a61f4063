#pragma once

#include <algorithm>
#include <cstddef>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"

namespace ratel::tasks {

/// An error while the model computed texts side by side, and the numbers of these texts.
class TextsError : public Error {
 public:
  TextsError(const Error& error, std::vector<size_t> texts) : Error(error), texts_(std::move(texts)) {}
  [[nodiscard]] const std::vector<size_t>& texts() const { return texts_; }
  /// The same of what the texts belong to: owners[text] in place of each text.
  [[nodiscard]] TextsError of(std::span<const size_t> owners) const {
    std::vector<size_t> of_owners;
    for (const size_t text : texts_) of_owners.push_back(owners[text]);
    return {*this, std::move(of_owners)};
  }

 private:
  std::vector<size_t> texts_;
};

/// What compute() returns. An Error of it becomes a TextsError of these texts, and so does std::bad_alloc; Error(usage)
/// stays what it is: a call that cannot work is the caller's, not that of some texts.
template <class Compute>
auto computed(std::span<const size_t> texts, Compute&& compute) {
  try {
    return compute();
  } catch (const TextsError&) {
    throw;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::usage) throw;
    throw TextsError(error, {texts.begin(), texts.end()});
  } catch (const std::bad_alloc&) {
    throw TextsError(Error("out of memory", ErrorKind::memory), {texts.begin(), texts.end()});
  }
}

/// "rows.jsonl:7: what", or "rows.jsonl:7 or one of 3 computed with it: what", for texts that are numbers of rows.
template <class Row>
Error error_in_rows(const TextsError& error, std::span<const Row> rows) {
  std::vector<size_t> texts = error.texts();
  std::ranges::sort(texts);
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  const std::string others =
      texts.size() > 1 ? concat_text(" or one of ", texts.size() - 1, " computed with it") : std::string();
  return Error(concat_text(rows[texts.front()].where, others, ": ", error.what()), error.kind());
}

}  // namespace ratel::tasks
