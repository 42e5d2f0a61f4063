#include "models/decoder.h"

#include <vector>

#include "autograd/grad_mode.h"
#include "ops/copy.h"
#include "ops/create.h"

namespace ratel {

Decoder::Decoder(const RatPlus& model, KvCache& cache)
    : model_(model),
      cache_(cache),
      logits_(empty({cache.batch(), model.config.vocab_size}, model.dtype(), model.device())) {}

void Decoder::step() { copy_into(logits_, cache_.logits_of_one(model_, cache_.inputs_.tokens())); }

const Tensor& Decoder::operator()(std::span<const int64_t> tokens, std::span<const int64_t> counts) {
  const NoGrad no_grad;
  const int64_t B = cache_.batch(), V = model_.config.vocab_size;
  check(static_cast<int64_t>(tokens.size()) == B, "decoder: expected a token for each of ", B, " sequences, found ",
        tokens.size());
  for (size_t b = 0; b < tokens.size(); ++b)
    check(tokens[b] >= 0 && tokens[b] < V, "decoder: token ", tokens[b], " of sequence ", b, " is not in [0, ", V, ")");
  const std::vector<int64_t> new_tokens =
      counts.empty() ? std::vector<int64_t>(tokens.size(), 1) : std::vector<int64_t>(counts.begin(), counts.end());
  if (model_.device().is_cuda() && graph_ == nullptr) {
    // Once without a token and without a graph: what libraries set up at their first call cannot be recorded.
    const std::vector<int64_t> none(tokens.size(), 0);
    cache_.begin_step(model_, none, 1);
    step();
    cache_.end_step(none);
    graph_ = std::make_unique<DeviceGraph>(
        model_.device(), [this] { step(); }, Weights::constant);
  }
  cache_.begin_step(model_, new_tokens, 1, tokens);
  if (graph_ != nullptr)
    graph_->run();
  else
    step();
  cache_.end_step(new_tokens);
  return logits_;
}

}  // namespace ratel
