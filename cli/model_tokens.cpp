#include "cli/model_tokens.h"

#include "core/text.h"
#include "io/file.h"
#include "io/token_sidecar.h"
#include "text/token_origin.h"
#include "train/checkpoint.h"

namespace ratel::cli {

void EndOfText::add_to(Options& options) {
  options.text("--eos", "ID", text,
               "Do not count what follows this token; -1: count everything [as the model was trained, else that of its "
               "tokenizer, else of the data]");
}

std::optional<int64_t> EndOfText::given() const {
  if (text.empty()) return {};
  const auto id = to_number<int64_t>(text);
  check(id.has_value(), "--eos: expected an integer, found '", text, "'");
  check(*id >= -1, "--eos: expected a token id, or -1 to count everything, found ", *id);
  return id;
}

int64_t end_of_text(std::optional<int64_t> given, const OpenedModel& model, const std::string& data) {
  if (given) return *given;
  if (io::path_exists(model.folder + "/state.json")) return train::read_checkpoint_state(model.folder).config.data.eos;
  if (const auto& tokenizer = model.loaded.description.tokenizer) return tokenizer->eos().value_or(-1);
  if (data.empty()) return -1;
  const auto sidecar = io::read_token_sidecar(data);
  return sidecar ? sidecar->eos : -1;
}

io::TokenFile open_tokens(const OpenedModel& model, const std::string& data, int64_t eos) {
  check_origin(data, model.loaded.description.tokenizer, eos);
  return io::TokenFile::open(data, model.loaded.model.config.vocab_size);
}

}  // namespace ratel::cli
