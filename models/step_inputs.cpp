#include "models/step_inputs.h"

#include <algorithm>

#include "ops/create.h"
#include "ops/view.h"

namespace ratel {
namespace {

constexpr int64_t kLengths = 0, kCounts = 1, kTokens = 2, kRows = 3;

}  // namespace

StepInputs::StepInputs(int64_t batch, Device device)
    : there_(zeros({kRows, batch}, DType::i64, device)),
      host_(device.is_cuda() ? empty_pinned(there_.shape(), DType::i64, device) : there_) {
  const auto row = [&](int64_t i) { return reshape(slice(there_, 0, i, i + 1), {batch}); };
  positions_ = {row(kLengths), row(kCounts)};
  tokens_ = reshape(row(kTokens), {batch, 1});
  if (device.is_cuda()) upload_ = std::make_unique<Upload>(device);
}

void StepInputs::send(std::span<const int64_t> lengths, std::span<const int64_t> counts,
                      std::span<const int64_t> tokens) {
  if (upload_ != nullptr) upload_->wait();
  const int64_t batch = there_.dim(1);
  const auto put = [&](int64_t row, std::span<const int64_t> values) {
    int64_t* const to = host_.data<int64_t>() + row * batch;
    std::fill(std::ranges::copy(values, to).out, to + batch, 0);
  };
  put(kLengths, lengths);
  put(kCounts, counts);
  put(kTokens, tokens);
  if (upload_ == nullptr) return;
  upload_->release();
  upload_->copy(there_, host_);
  upload_->arrive();
}

}  // namespace ratel
