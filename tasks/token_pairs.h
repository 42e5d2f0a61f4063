#pragma once

#include <string_view>

#include "tasks/log_likelihood.h"
#include "text/tokenizer.h"

namespace ratel::tasks {

/// A context and its continuation in tokens, as lm-evaluation-harness makes them: white space at the end of the context
/// (ASCII) goes over to the continuation; both are encoded as one text, and what comes after as many tokens as the
/// context alone has is the continuation. An empty context is the end-of-text token.
/// Throws Error(input) "where: ..." where there is no context and the tokenizer has no end-of-text, and where the
/// continuation adds no token.
TokenPair token_pair(Encoder& encoder, std::string_view context, std::string_view continuation, std::string_view where);

/// A prompt and a text after it: the prompt in the tokens that it has alone, white space at its end too, which are what
/// a model goes on from. The completion is what the tokens of the whole have after these, or where they are no
/// beginning of the whole, since a token reaches across, its own tokens as the rest of a text.
/// Throws Error(input) "where: ..." where either has no token.
TokenPair completion_pair(Encoder& encoder, std::string_view prompt, std::string_view completion,
                          std::string_view where);

}  // namespace ratel::tasks
