#include "autograd/engine.h"

#include <optional>
#include <queue>
#include <unordered_map>
#include <utility>

#include "autograd/grad_mode.h"
#include "core/op_scope.h"

namespace ratel {
namespace {

class Engine {
 public:
  /// Of a nested backward `outer` is the engine that runs the op it is part of, and has what was recorded before it.
  Engine(Tape tape, const GradientOps& ops, Engine* outer = nullptr)
      : tape_(tape), ops_(ops), outer_(outer), first_(outer == nullptr ? 0 : outer->at_work_) {}
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine() = default;

  [[nodiscard]] const GradientOps& ops() const { return ops_; }

  void seed(const Tensor& root, const Tensor& grad) {
    check(needs_grad(root), "backward: the tensor of shape ", root.shape(), " needs no gradient");
    check(grad.shape() == root.shape() && grad.dtype() == root.dtype(), "backward: expected a gradient of ",
          root.dtype(), ' ', root.shape(), ", found ", grad.dtype(), ' ', grad.shape());
    check(grad.device() == root.device(), "backward: expected a gradient on ", root.device(), ", found one on ",
          grad.device());
    const auto& meta = root.impl().autograd;
    if (meta->node == nullptr)
      add_to_leaf(*meta, root.dtype(), grad);
    else
      deliver(meta->node, meta->output, grad);
  }

  void run() {
    while (!ready_.empty()) {
      const std::shared_ptr<Node> node = ready_.top();
      ready_.pop();
      auto pending = pending_.extract(node);
      visit(*node, pending.mapped());
    }
  }

 private:
  using Version = std::optional<uint64_t>;
  struct BySequence {
    bool operator()(const std::shared_ptr<Node>& a, const std::shared_ptr<Node>& b) const {
      return a->sequence < b->sequence;
    }
  };

  /// slot += grad. In place only where nobody else can see the slot's storage: an op may hand out one tensor twice.
  void accumulate(Tensor& slot, Tensor grad) const {
    if (!slot.defined())
      slot = std::move(grad);
    else if (slot.solely_owned() && slot.is_contiguous())
      ops_.add_in_place(slot, grad);
    else
      slot = ops_.add(slot, ops_.contiguous(grad, slot.dtype()));
  }

  void add_to_leaf(AutogradMeta& leaf, DType dtype, Tensor grad) const {
    if (leaf.grad.defined()) return accumulate(leaf.grad, std::move(grad));
    Tensor own = ops_.contiguous(grad, accumulate_dtype(dtype));
    grad = {};
    leaf.grad = own.solely_owned() ? std::move(own) : ops_.clone(own);  // not the caller's, nor another leaf's
  }

  static void check_not_consumed(const Node& node) {
    check(node.backward != nullptr, "backward: the tape of op ", node.name,
          " was consumed by an earlier backward; run the forward again, or detach() what was carried over from it, "
          "or keep it with Tape::keep");
  }

  void deliver(const std::shared_ptr<Node>& node, size_t output, Tensor grad) {
    if (node->sequence < first_) return outer_->deliver(node, output, std::move(grad));
    auto [entry, fresh] = pending_.try_emplace(node);
    if (fresh) {
      check_not_consumed(*node);
      entry->second.resize(node->outputs.size());
      ready_.push(node);
    }
    accumulate(entry->second[output], std::move(grad));
  }

  void visit(Node& node, std::vector<Tensor>& grads) {
    for (size_t i = 0; i < grads.size(); ++i)
      if (const auto meta = node.outputs[i].lock(); meta != nullptr && meta->retain_grad && grads[i].defined())
        accumulate(meta->grad, grads[i]);
    at_work_ = node.sequence;
    check_not_consumed(node);  // by a backward of its own that an op ran meanwhile
    const auto backward = tape_ == Tape::consume ? std::exchange(node.backward, nullptr) : node.backward;
    const std::vector<const Tensor*> sums = sums_of_inputs(node);
    const Needs needs(node, sums);
    const std::vector<Version> versions = versions_of_sums(needs, sums.size());
    Grads results = call(node, backward, grads, needs);
    grads.clear();
    check(results.size() == node.inputs.size(), "backward of ", node.name, ": expected ", node.inputs.size(),
          " gradients, found ", results.size());
    settle_sums(node, sums, versions, results);
    for (size_t i = 0; i < results.size(); ++i) {
      const auto& input = node.inputs[i];
      if (!input.needed() || !results[i].defined()) continue;
      check_result(node, i, results[i]);
      if (input.node != nullptr)
        deliver(input.node, input.output, std::move(results[i]));
      else
        add_to_leaf(*input.leaf, input.dtype, std::move(results[i]));
    }
  }

  /// Where each input's gradients are added up: a leaf's own, or what waits for the op that made it.
  std::vector<const Tensor*> sums_of_inputs(const Node& node) const {
    std::vector<const Tensor*> sums;
    sums.reserve(node.inputs.size());
    for (const auto& input : node.inputs)
      sums.push_back(input.leaf != nullptr   ? &input.leaf->grad
                     : input.node != nullptr ? waiting_for(input.node, input.output)
                                             : nullptr);
    return sums;
  }

  const Tensor* waiting_for(const std::shared_ptr<Node>& node, size_t output) const {
    if (node->sequence < first_) return outer_->waiting_for(node, output);
    const auto found = pending_.find(node);
    return found == pending_.end() ? nullptr : &found->second[output];
  }

  /// Drops the results that are such a sum, added to in place. Before any other reaches one: that could be the same, as
  /// another input, and replace what such a result is told by.
  static void settle_sums(const Node& node, const std::vector<const Tensor*>& sums,
                          const std::vector<Version>& versions, Grads& results) {
    for (size_t i = 0; i < results.size(); ++i) {
      if (!versions[i] || !results[i].defined() || !is_same_tensor(results[i], *sums[i])) continue;
      check(results[i].storage()->version() != *versions[i], "backward of ", node.name, ": gradient of input ", i,
            ": what was gathered so far came back as it was");
      results[i] = {};
    }
  }

  /// The versions of the sums that the backward function may add to in place: nobody else has a handle on them, so that
  /// one of them among its results says that it did.
  static std::vector<Version> versions_of_sums(const Needs& needs, size_t inputs) {
    std::vector<Version> versions(inputs);
    for (size_t i = 0; i < inputs; ++i)
      if (const Tensor sum = needs.sum_so_far(i); sum.defined()) versions[i] = sum.storage()->version();
    return versions;
  }

  static Grads call(const Node& node, const Node::Backward& backward, std::span<const Tensor> grads,
                    const Needs& needs) {
    try {
      const OpScope scope(node.name.c_str());
      return backward(grads, needs);
    } catch (const Error& error) {
      throw Error(concat_text("backward of ", node.name, ": ", error.what()), error.kind());
    }
  }

  static void check_result(const Node& node, size_t i, const Tensor& result) {
    const auto& input = node.inputs[i];
    const bool wide_leaf = input.leaf != nullptr && result.dtype() == accumulate_dtype(input.dtype);
    check(result.shape() == input.shape && (result.dtype() == input.dtype || wide_leaf) &&
              result.device() == input.device,
          "backward of ", node.name, ": gradient of input ", i, ": expected ", input.dtype, ' ', input.shape, " on ",
          input.device, ", found ", result.dtype(), ' ', result.shape(), " on ", result.device());
  }

  Tape tape_;
  const GradientOps& ops_;
  Engine* outer_;
  uint64_t first_;        // ops of smaller numbers are the outer engine's, and still before it
  uint64_t at_work_ = 0;  // the number of the op whose backward function runs
  // Held: what a checkpoint captured may have no other holder than the backward function that just ran.
  std::priority_queue<std::shared_ptr<Node>, std::vector<std::shared_ptr<Node>>, BySequence> ready_;
  std::unordered_map<std::shared_ptr<Node>, std::vector<Tensor>> pending_;
};

thread_local Engine* running_engine = nullptr;

/// Seeds the engine and runs it, as the thread's running one.
void run(Engine& engine, std::span<const Tensor> roots, std::span<const Tensor> grads) {
  struct Running {
    Engine* previous;
    explicit Running(Engine* now) : previous(std::exchange(running_engine, now)) {}
    ~Running() { running_engine = previous; }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
  };
  const NoGrad no_grad;
  const Running running(&engine);
  for (size_t i = 0; i < roots.size(); ++i) engine.seed(roots[i], grads[i]);
  engine.run();
}

}  // namespace

void run_backward(std::span<const Tensor> roots, std::span<const Tensor> grads, Tape tape, const GradientOps& ops) {
  check(roots.size() == grads.size(), "backward: ", roots.size(), " tensors, but ", grads.size(), " gradients");
  Engine engine(tape, ops);
  run(engine, roots, grads);
}

Grads run_nested_backward(const Tensor& root, const Tensor& grad_root, std::span<const Tensor> leaves) {
  check(running_engine != nullptr, "run_nested_backward: no backward is running");
  const GradientOps& ops = running_engine->ops();
  if (needs_grad(root)) {
    Engine nested(Tape::consume, ops, running_engine);
    run(nested, {&root, 1}, {&grad_root, 1});
  }
  Grads grads;
  for (const Tensor& leaf : leaves) {
    const Tensor found = leaf.defined() ? grad(leaf) : Tensor();
    grads.push_back(found.defined() ? ops.contiguous(found, leaf.dtype()) : found);
  }
  return grads;
}

}  // namespace ratel
