#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "autograd/gradient.h"
#include "core/tensor.h"

namespace ratel {

struct Node;

/// The autograd half of a tensor. Handles share it; views and detached tensors have their own or none.
struct AutogradMeta {
  AutogradMeta() = default;
  ~AutogradMeta();
  AutogradMeta(const AutogradMeta&) = delete;
  AutogradMeta& operator=(const AutogradMeta&) = delete;

  bool requires_grad = false;
  bool retain_grad = false;
  Tensor grad;                 // accumulated, for leaves and retained tensors
  std::shared_ptr<Node> node;  // the op that made it; null for leaves
  size_t output = 0;           // which output of that op
};

/// The gradients a backward function returns: one an input, in order; undefined means zero.
using Grads = std::vector<Tensor>;

/// What a backward function is asked for. Refers to the node: good while that function runs.
class Needs {
 public:
  /// sums: of each input, where its gradients are added up; null where there is none yet.
  Needs(const Node& node, std::span<const Tensor* const> sums) : node_(&node), sums_(sums) {}
  /// Whether that input wants a gradient: a backward function skips the others.
  bool operator[](size_t input) const;
  /// The dtype its gradient is best in: the input's own, which is always right, or the wider one that a leaf sums in.
  [[nodiscard]] DType dtype(size_t input) const;
  /// The gradient that a leaf has gathered so far, to be added to in place: contiguous, of that dtype, and nobody
  /// else's. Undefined where there is none. A function that adds to it, which must count as a change of it as
  /// add_into's does, returns it in place of a gradient of its own. No backward of its own runs while it holds it.
  [[nodiscard]] Tensor gathered(size_t input) const;
  /// The same of any input, also of what an op made, which sums in its own dtype: for a gradient that is zero but in a
  /// part, as a slice's is.
  [[nodiscard]] Tensor sum_so_far(size_t input) const;

 private:
  const Node* node_;
  std::span<const Tensor* const> sums_;
};

/// A tensor kept for backward. It shares the storage but not the graph (an output may be saved by the op that made it),
/// and get() throws Error where the storage was written to in between.
class Saved {
 public:
  Saved() = default;
  explicit Saved(const Tensor& x)
      : tensor_(x.defined() ? detach(x) : x), version_(x.defined() ? x.storage()->version() : 0) {}
  [[nodiscard]] const Tensor& get() const;
  const Tensor& operator*() const { return get(); }
  const Tensor* operator->() const { return &get(); }

 private:
  Tensor tensor_;
  uint64_t version_ = 0;
};

/// One recorded op: where its inputs came from and how to turn the outputs' gradients into theirs.
struct Node {
  struct Input {
    std::shared_ptr<Node> node;          // the op that made it,
    size_t output = 0;                   // and which of that op's outputs it is;
    std::shared_ptr<AutogradMeta> leaf;  // or the leaf it is; neither where no gradient is wanted
    Shape shape;
    DType dtype = DType::f32;
    Device device;
    [[nodiscard]] bool needed() const { return node != nullptr || leaf != nullptr; }
  };
  using Backward = std::function<Grads(std::span<const Tensor> grads, const Needs& needs)>;

  std::string name;
  uint64_t sequence = 0;  // ops are numbered as they run: a larger number never feeds a smaller one
  std::vector<Input> inputs;
  std::vector<std::weak_ptr<AutogradMeta>> outputs;
  Backward backward;  // emptied when the tape is consumed, which frees what it saved

  Node() = default;
  ~Node();  // iterative, with ~AutogradMeta(): a chain of a million ops needs no deep stack
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
};

/// Puts one op with one output on the tape and returns that output. `backward(grad, needs)` gets the gradient of the
/// output and returns one gradient an input. Nothing is recorded where gradients are off or no input wants one.
/// `out` must be a fresh tensor; inputs may be undefined (optional arguments).
Tensor record(Tensor out, const char* name, const std::vector<Tensor>& inputs,
              std::function<Grads(const Tensor& grad, const Needs& needs)> backward);

/// The same for an op with several outputs: `backward(grads, needs)` gets one gradient an output, undefined where
/// nothing downstream used it.
void record(std::span<Tensor> outputs, const char* name, const std::vector<Tensor>& inputs, Node::Backward backward);

}  // namespace ratel
