#include "tasks/token_pairs.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "io/report.h"

namespace ratel::tasks {

TokenPair token_pair(Encoder& encoder, std::string_view context, std::string_view continuation,
                     std::string_view where) {
  const size_t end = context.find_last_not_of(kSpaces) + 1;
  const std::string text = std::string(context).append(continuation);
  TokenPair pair;
  std::vector<int64_t> whole;
  encoder.encode(text, whole);
  encoder.encode(context.substr(0, end), pair.context);
  if (whole.size() <= pair.context.size())
    fail_input(where, "the tokenizer ", encoder.tokenizer().name(), " makes no token of ", io::in_quotes(continuation),
               " after its context");
  pair.continuation.assign(whole.begin() + static_cast<std::ptrdiff_t>(pair.context.size()), whole.end());
  if (!pair.context.empty()) return pair;
  const auto eos = encoder.tokenizer().eos();
  if (!eos) fail_input(where, "expected a context, since the tokenizer has no end-of-text; found an empty one");
  pair.context.push_back(*eos);
  return pair;
}

TokenPair completion_pair(Encoder& encoder, std::string_view prompt, std::string_view completion,
                          std::string_view where) {
  TokenPair pair;
  std::vector<int64_t> whole;
  encoder.encode(prompt, pair.context);
  encoder.encode(std::string(prompt).append(completion), whole);
  const auto [left, rest] = std::ranges::mismatch(pair.context, whole);
  if (left == pair.context.end())
    pair.continuation.assign(rest, whole.end());
  else
    encoder.encode(completion, pair.continuation, Part::rest);
  for (const auto& [tokens, text] : {std::pair(&pair.context, prompt), std::pair(&pair.continuation, completion)})
    if (tokens->empty())
      fail_input(where, "the tokenizer ", encoder.tokenizer().name(), " makes no token of ", io::in_quotes(text));
  return pair;
}

}  // namespace ratel::tasks
