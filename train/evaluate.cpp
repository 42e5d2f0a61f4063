#include "train/evaluate.h"

#include <algorithm>
#include <cmath>

#include "autograd/grad_mode.h"
#include "ops/cross_entropy.h"
#include "train/data.h"

namespace ratel::train {
namespace {

struct Total {
  double loss = 0;
  int64_t tokens = 0;
};

void add_batch(const RatPlus& model, const Batch& windows, const ModelPattern& pattern, Total& total) {
  const Batch batch = moved_to(windows, model.device());
  for (const double loss : to_vector<double>(token_losses(model(batch.tokens, pattern), batch.labels)))
    total.loss += loss;  // ignored positions are zeros
  total.tokens += batch.counted;
}

}  // namespace

EvalResult evaluate(const RatPlus& model, const io::TokenFile& file, const EvalOptions& options) {
  const int64_t T = options.seq_len;
  check(T >= 1, "evaluate: expected a seq_len of at least 1, found ", T);
  check(options.batch_size >= 1, "evaluate: expected a batch_size of at least 1, found ", options.batch_size);
  options.pattern.check_fits(model.config);
  if (file.size() < 2) fail_input(file.path(), "expected at least 2 tokens to predict one, found ", file.size());

  const NoGrad no_grad;
  const int64_t targets = file.size() - 1;
  Total total;
  bool complete = true;
  for (int64_t begin = 0; begin < targets;) {
    if (options.stop && options.stop()) {
      complete = false;
      break;
    }
    const int64_t length = std::min(T, targets - begin);
    const int64_t count = std::min(options.batch_size, (targets - begin) / length);
    add_batch(model, consecutive_windows(file, begin, count, length, options.eos), options.pattern, total);
    begin += count * length;
    if (options.progress) options.progress(begin, targets);
  }
  const double loss = total.tokens > 0 ? total.loss / static_cast<double>(total.tokens) : 0;
  return {loss, std::exp(loss), total.tokens, complete};
}

}  // namespace ratel::train
