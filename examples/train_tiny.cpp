// Trains a small RAT+ to remember: a sequence is blank but for one of eight symbols somewhere, and its last token asks
// which. Every batch makes two steps, one that sees every 16th key only and one that sees all (RAT+'s joint training).
// Then the same weights answer through both patterns, beside a model that has attention alone.
#include <iomanip>
#include <iostream>

#include "autograd/grad_mode.h"
#include "ops/backward.h"
#include "ops/cross_entropy.h"
#include "ops/reduce.h"
#include "ops/view.h"
#include "train/optimizer.h"
#include "train/schedule.h"

namespace {

constexpr int64_t kSymbols = 8, kBlank = 8, kQuestion = 9, kWords = 10;
constexpr int64_t kBatch = 16, kTokens = 32, kSteps = 300;

const auto kDense = ratel::ModelPattern::uniform({.dilation = 1});
const auto kSparse = ratel::ModelPattern::uniform({.dilation = 16});

struct Batch {
  ratel::Tensor tokens, labels;  // (B, T): the answer is the last token's label, the others do not count
  std::vector<int64_t> answers;
};

Batch draw(ratel::Rng& rng) {
  std::vector<int64_t> tokens, labels, answers;
  for (int64_t b = 0; b < kBatch; ++b) {
    answers.push_back(static_cast<int64_t>(rng.below(kSymbols)));
    const auto place = static_cast<int64_t>(rng.below(kTokens - 1));
    for (int64_t t = 0; t < kTokens; ++t) {
      const bool is_last = t == kTokens - 1;
      tokens.push_back(t == place ? answers.back() : is_last ? kQuestion : kBlank);
      labels.push_back(is_last ? answers.back() : ratel::kIgnoreIndex);
    }
  }
  return {ratel::from_vector(tokens, {kBatch, kTokens}), ratel::from_vector(labels, {kBatch, kTokens}), answers};
}

ratel::RatPlus trained(ratel::Recurrence recurrence) {
  ratel::nn::ParamStore store(ratel::DType::f32, /*seed=*/1);
  const ratel::RatPlusConfig config{.vocab_size = kWords, .layers = 2, .channels = 32, .recurrence = recurrence};
  ratel::RatPlus model(store, config);
  ratel::train::Optimizer optimizer(store, {});
  ratel::Rng rng(/*seed=*/2);
  for (int64_t step = 0; step < kSteps; ++step) {
    const Batch batch = draw(rng);
    const double rate = ratel::train::learning_rate(step, kSteps, /*peak=*/5e-3, /*warmup_fraction=*/0.05, 1e-6);
    for (const auto& pattern : {kSparse, kDense}) {
      optimizer.zero_grad();
      backward(model.loss(batch.tokens, batch.labels, pattern));
      optimizer.step(rate);
    }
  }
  return model;  // its layers hold the parameters: the store may go
}

double accuracy(const ratel::RatPlus& model, const ratel::ModelPattern& pattern) {
  const ratel::NoGrad no_grad;
  ratel::Rng rng(/*seed=*/3);
  int64_t right = 0;
  for (int i = 0; i < 10; ++i) {
    const Batch batch = draw(rng);
    const auto logits = slice(model(batch.tokens, pattern), 1, kTokens - 1, kTokens);  // (B, 1, V)
    const auto answers = ratel::to_vector<int64_t>(argmax(logits));
    for (size_t b = 0; b < answers.size(); ++b) right += answers[b] == batch.answers[b] ? 1 : 0;
  }
  return 100.0 * static_cast<double>(right) / (10 * kBatch);
}

}  // namespace

int main() {
  const auto rat_plus = trained(ratel::Recurrence::gated), attention = trained(ratel::Recurrence::none);
  const double dense = accuracy(rat_plus, kDense), sparse = accuracy(rat_plus, kSparse);
  std::cout << std::fixed << std::setprecision(1) << "right answers, %         D=1    D=16\n"
            << "RAT+                  " << std::setw(7) << dense << std::setw(8) << sparse << '\n'
            << "attention alone       " << std::setw(7) << accuracy(attention, kDense) << std::setw(8)
            << accuracy(attention, kSparse) << '\n';
  return dense > 90 && sparse > 90 ? 0 : 1;  // chance is 12.5
}
