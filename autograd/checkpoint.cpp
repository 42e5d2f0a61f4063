#include "autograd/checkpoint.h"

#include "autograd/engine.h"
#include "autograd/grad_mode.h"
#include "autograd/node.h"

namespace ratel {
namespace {

/// An input of the second run. Its gradient is kept as that of an op's output, not as a leaf's: a bf16 one is then
/// rounded after every sum, as it is where nothing is recomputed.
Tensor entry_of(const Tensor& x) {
  Tensor entry = record(detach(x), "checkpoint", {requires_grad(detach(x))},
                        [](const Tensor&, const Needs&) -> Grads { return {Tensor()}; });
  retain_grad(entry);
  return entry;
}

}  // namespace

Tensor checkpoint(const std::function<Tensor(const std::vector<Tensor>&)>& f, const std::vector<Tensor>& inputs) {
  const auto run_copy = [f](const std::vector<Tensor>& x) {
    const auto copy = f;  // a run may change what f holds, as that of a mutable lambda with an Rng does
    return copy(x);
  };
  if (!grad_enabled()) return run_copy(inputs);
  Tensor out;
  {
    const GradLater recorded_later;
    out = detach(run_copy(inputs));
  }
  // An input of our own that wants a gradient: f may capture parameters though none of its inputs needs one.
  const Tensor anchor = requires_grad(empty({}, DType::f32));
  std::vector<Tensor> recorded{anchor};
  recorded.insert(recorded.end(), inputs.begin(), inputs.end());
  std::vector<Saved> saved;
  for (const Tensor& input : inputs) saved.emplace_back(input);
  return record(out, "checkpoint", recorded, [run_copy, saved](const Tensor& grad_out, const Needs& needs) -> Grads {
    const GradMode recording(true);
    std::vector<Tensor> again;
    for (size_t i = 0; i < saved.size(); ++i) {
      if (needs[i + 1])
        again.push_back(entry_of(*saved[i]));
      else
        again.push_back(saved[i]->defined() ? detach(*saved[i]) : Tensor());
    }
    Grads grads = run_nested_backward(run_copy(again), grad_out, again);
    grads.insert(grads.begin(), Tensor());  // the anchor's
    return grads;
  });
}

}  // namespace ratel
