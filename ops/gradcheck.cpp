#include "ops/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "autograd/grad_mode.h"
#include "autograd/gradient.h"
#include "core/op_scope.h"
#include "core/rng.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/create.h"

namespace ratel {
namespace {

using Function = std::function<Tensor(const std::vector<Tensor>&)>;

bool is_checked(const Tensor& x) { return x.defined() && is_float(x.dtype()); }

void check_is_f64(const Tensor& x, const std::string& name) {
  check(x.dtype() == DType::f64, name, ": expected f64, found ", x.dtype(),
        "\nhint: differences of the others are rounding; compare them with a composed version in the same dtype");
}

/// The same elements in the same layout, in memory of their own.
Tensor copy_of(const Tensor& x, const std::string& name) {
  check_is_f64(x, name);
  check(x.layout().is_injective(), name, ": elements of shape ", x.shape(),
        " share their memory and cannot be moved one by one\nhint: contiguous(x) gives each its own");
  Layout layout = x.layout();
  layout.offset = 0;
  Tensor copy = view_of(empty({layout.extent()}, x.dtype(), x.device()), layout);
  copy_into(copy, detach(x));
  return copy;
}

/// The one element of that place in index order: a view.
Tensor element(const Tensor& x, int64_t index) {
  Layout layout = x.layout();
  for (int axis = x.rank() - 1; axis >= 0; --axis) {
    layout = layout.sliced(axis, index % x.dim(axis), index % x.dim(axis) + 1);
    index /= x.dim(axis);
  }
  return view_of(x, layout);
}

double dot(const Tensor& a, const Tensor& b) {
  const auto x = to_vector<double>(a), y = to_vector<double>(b);
  return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
}

Tensor random_like(const Tensor& out) {
  Rng rng(99);
  return random_normal(out.shape(), rng, 0, 1, out.dtype(), out.device());
}

/// The gradients of those inputs that `wants` picks; undefined where none arrived.
template <class Wants>
std::vector<Tensor> gradients(const Function& f, const std::vector<Tensor>& inputs, const Tensor& cotangent,
                              const Wants& wants) {
  std::vector<Tensor> leaves, grads;
  for (size_t i = 0; i < inputs.size(); ++i)
    leaves.push_back(is_checked(inputs[i]) ? requires_grad(detach(inputs[i]), wants(i)) : inputs[i]);
  if (const Tensor out = f(leaves); needs_grad(out)) backward(out, cotangent);
  for (const Tensor& leaf : leaves) grads.push_back(is_checked(leaf) ? grad(leaf) : Tensor());
  return grads;
}

/// (f(x + eps) - f(x - eps)) / 2 eps along one element of one input, which `value` depends on.
template <class Value>
double central_difference(const Tensor& moved, double eps, const Value& value) {
  const double before = moved.item();
  fill_into(moved, before + eps);
  const double above = value();
  fill_into(moved, before - eps);
  const double below = value();
  fill_into(moved, before);
  return (above - below) / (2 * eps);
}

/// The elements of an input that are checked: all of few, else some at random.
std::vector<int64_t> samples_of(int64_t numel, int64_t samples, Rng& rng) {
  std::vector<int64_t> chosen(static_cast<size_t>(std::min(numel, samples)));
  std::iota(chosen.begin(), chosen.end(), 0);
  if (numel > samples)
    for (int64_t& index : chosen) index = static_cast<int64_t>(rng.below(static_cast<uint64_t>(numel)));
  return chosen;
}

template <class Value>
void check_differences(const Tensor& x, const Tensor& gradient, const std::string& name, const Value& value, Rng& rng,
                       const GradcheckOptions& options) {
  const auto ours = to_vector<double>(gradient);
  const auto chosen = samples_of(x.numel(), options.samples, rng);
  struct {
    double off = 0, ours = 0, difference = 0;
    int64_t index = 0;
  } worst;
  int64_t wrong = 0;
  for (const int64_t index : chosen) {
    const double g = ours[static_cast<size_t>(index)];
    const double difference = central_difference(element(x, index), options.eps, value);
    const double off = std::abs(g - difference);
    if (off <= options.atol + options.rtol * std::abs(difference)) continue;  // never where one is NaN
    ++wrong;
    if (wrong == 1 || off > worst.off || std::isnan(off)) worst = {off, g, difference, index};
  }
  check(wrong == 0, name, ", element ", worst.index, " of shape ", x.shape(), ": the gradient is ", worst.ours,
        ", differences say ", worst.difference, "; ", wrong, " of ", chosen.size(), " elements differ");
}

/// The backward must not depend on which other gradients were asked for.
void check_alone(const Function& f, const std::vector<Tensor>& inputs, size_t only, const Tensor& together,
                 const Tensor& cotangent, const std::string& name) {
  const auto alone = gradients(f, inputs, cotangent, [only](size_t i) { return i == only; });
  for (size_t i = 0; i < alone.size(); ++i)
    check(i == only || !alone[i].defined(), "gradcheck: input ", i, " wants no gradient, but got one");
  check(alone[only].defined(), name, ": no gradient arrived where no other input wants one");
  const auto a = to_vector<double>(alone[only]), b = to_vector<double>(together);
  double largest = 0;
  for (const double value : b) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < a.size(); ++i)
    check(a[i] == b[i] || std::abs(a[i] - b[i]) <= 1e-12 * largest, name, ", element ", i, ": the gradient is ", b[i],
          ", and ", a[i], " where no other input wants one");
}

}  // namespace

void gradcheck(const Function& f, const std::vector<Tensor>& inputs, const GradcheckOptions& options) {
  const OpScope scope("gradcheck");
  check(std::ranges::any_of(inputs, is_checked), "gradcheck: expected an input of a float dtype, found none");
  check(options.eps > 0 && options.samples > 0 && options.atol >= 0 && options.rtol >= 0,
        "gradcheck: expected eps and samples above 0, atol and rtol not below, found ", options.eps, ", ",
        options.samples, ", ", options.atol, " and ", options.rtol);
  const auto name_of = [](size_t i) { return concat_text("gradcheck: input ", i); };
  std::vector<Tensor> own = inputs;
  for (size_t i = 0; i < own.size(); ++i)
    if (is_checked(own[i])) own[i] = copy_of(own[i], name_of(i));
  const auto out = [&] {
    const NoGrad no_grad;
    return f(own);
  };
  const Tensor first = out();
  check_is_f64(first, "gradcheck: what f returns");
  const Tensor cotangent = random_like(first);
  const auto grads = gradients(f, own, cotangent, [](size_t) { return true; });
  const auto value = [&] { return dot(out(), cotangent); };
  Rng rng(7);
  for (size_t i = 0; i < own.size(); ++i) {
    if (!is_checked(own[i])) continue;
    check(grads[i].defined(), name_of(i), ": no gradient arrived");
    check_differences(own[i], grads[i], name_of(i), value, rng, options);
    check_alone(f, own, i, grads[i], cotangent, name_of(i));
  }
}

}  // namespace ratel
