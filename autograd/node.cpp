#include "autograd/node.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "autograd/grad_mode.h"

namespace ratel {
namespace {

std::atomic<uint64_t> next_sequence{1};

AutogradMeta& meta_of(const Tensor& x) {
  auto& meta = x.impl().autograd;
  if (meta == nullptr) meta = std::make_shared<AutogradMeta>();
  return *meta;
}

Node::Input input_of(const Tensor& x) {
  if (!x.defined()) return {};
  Node::Input input{{}, 0, {}, x.shape(), x.dtype(), x.device()};
  if (!needs_grad(x)) return input;
  const auto& meta = x.impl().autograd;
  input.node = meta->node;
  input.output = meta->output;
  if (input.node == nullptr) input.leaf = meta;
  return input;
}

}  // namespace

Tensor requires_grad(Tensor leaf, bool wanted) {
  check(!wanted || is_float(leaf.dtype()), "requires_grad: only float tensors have gradients, found ", leaf.dtype());
  check(is_leaf(leaf), "requires_grad: the tensor of shape ", leaf.shape(),
        " was made by an op; use retain_grad to keep its gradient");
  meta_of(leaf).requires_grad = wanted;
  return leaf;
}

bool needs_grad(const Tensor& x) {
  const auto& meta = x.impl().autograd;
  return meta != nullptr && meta->requires_grad;
}

bool is_leaf(const Tensor& x) {
  const auto& meta = x.impl().autograd;
  return meta == nullptr || meta->node == nullptr;
}

Tensor grad(const Tensor& x) {
  const auto& meta = x.impl().autograd;
  return meta == nullptr ? Tensor() : meta->grad;
}

void set_grad(const Tensor& x, Tensor value) {
  if (!value.defined() && x.impl().autograd == nullptr) return;
  if (value.defined()) {
    check(value.shape() == x.shape(), "set_grad: expected shape ", x.shape(), ", found ", value.shape());
    check(value.dtype() == x.dtype() || value.dtype() == accumulate_dtype(x.dtype()), "set_grad: expected dtype ",
          accumulate_dtype(x.dtype()), ", found ", value.dtype());
    check(value.device() == x.device(), "set_grad: expected a tensor on ", x.device(), ", found one on ",
          value.device());
    check(!needs_grad(value), "set_grad: expected a plain tensor, found one that needs a gradient itself; detach() it");
  }
  meta_of(x).grad = std::move(value);
}

void retain_grad(const Tensor& x) {
  check(needs_grad(x), "retain_grad: the tensor of shape ", x.shape(), " needs no gradient");
  meta_of(x).retain_grad = true;
}

const Tensor& Saved::get() const {
  check(!tensor_.defined() || tensor_.storage()->version() == version_,
        "a tensor saved for backward was changed in place since; change it after backward(), or a copy of it");
  return tensor_;
}

bool Needs::operator[](size_t input) const { return node_->inputs[input].needed(); }

DType Needs::dtype(size_t input) const {
  const Node::Input& of = node_->inputs[input];
  return of.leaf != nullptr ? accumulate_dtype(of.dtype) : of.dtype;
}

Tensor Needs::gathered(size_t input) const {
  return node_->inputs[input].leaf != nullptr ? sum_so_far(input) : Tensor();
}

Tensor Needs::sum_so_far(size_t input) const {
  const Tensor* const sum = sums_[input];
  const bool is_free = sum != nullptr && sum->defined() && sum->solely_owned() && sum->is_contiguous();
  return is_free && sum->dtype() == dtype(input) ? *sum : Tensor();
}

namespace {

/// Lets go of an op, and of all that only it held, which are its inputs' ops and those of what its backward function
/// captured: one after the other, not one inside the other.
void release(std::shared_ptr<Node> node) {
  thread_local std::vector<std::shared_ptr<Node>>* waiting = nullptr;
  if (node == nullptr) return;
  if (waiting != nullptr) return waiting->push_back(std::move(node));
  std::vector<std::shared_ptr<Node>> queue;
  waiting = &queue;
  queue.push_back(std::move(node));
  while (!queue.empty()) {
    const std::shared_ptr<Node> last = std::move(queue.back());
    queue.pop_back();
  }
  waiting = nullptr;
}

}  // namespace

AutogradMeta::~AutogradMeta() { release(std::move(node)); }

Node::~Node() {
  for (Input& input : inputs) release(std::move(input.node));
}

void record(std::span<Tensor> outputs, const char* name, const std::vector<Tensor>& inputs, Node::Backward backward) {
  if (!grad_enabled()) return;
  auto node = std::make_shared<Node>();
  node->inputs.reserve(inputs.size());
  for (const Tensor& input : inputs) node->inputs.push_back(input_of(input));
  if (std::none_of(node->inputs.begin(), node->inputs.end(), [](const auto& input) { return input.needed(); })) return;
  node->name = name;
  node->sequence = next_sequence.fetch_add(1);
  node->backward = std::move(backward);
  for (size_t i = 0; i < outputs.size(); ++i) {
    auto& slot = outputs[i].impl().autograd;
    check(slot == nullptr, name, ": an op must return fresh tensors, output ", i, " is already on the tape");
    slot = std::make_shared<AutogradMeta>();
    slot->requires_grad = true;
    slot->node = node;
    slot->output = i;
    node->outputs.push_back(slot);
  }
}

Tensor record(Tensor out, const char* name, const std::vector<Tensor>& inputs,
              std::function<Grads(const Tensor&, const Needs&)> backward) {
  record(std::span<Tensor>(&out, 1), name, inputs,
         [backward = std::move(backward)](std::span<const Tensor> grads, const Needs& needs) {
           return backward(grads[0], needs);
         });
  return out;
}

}  // namespace ratel
