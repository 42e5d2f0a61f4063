// Dense attention by cuDNN: a plan for each shape (cudnn_plan.h), found at its first call and kept.

#include "cuda/cudnn_attention.h"

#include <array>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "core/error.h"
#include "cuda/check.h"
#include "cuda/cudnn_graph.h"
#include "cuda/cudnn_plan.h"
#include "cuda/plan_cache.h"
#include "cuda/scratch.h"

namespace ratel::cuda::cudnn {
namespace {

// cuDNN compiles for every shape: about a second. A training run has a few; an evaluation of texts of all lengths has
// hundreds, each seen once or twice, and is better off with our own kernels.
constexpr int kMostPlans = 16;

/// cuDNN on one GPU.
struct Gpu {
  explicit Gpu(cudnnHandle_t created) : handle(created), properties(gpu_of(created)) {}
  cudnnHandle_t handle;
  Descriptor properties;
};

using Key = std::vector<int64_t>;

using Plans = PlanCache<Key, Plan>;

/// What all calls share. It lives as long as the program: the driver may be gone before it.
struct State {
  std::mutex guard;
  std::map<int, std::unique_ptr<Gpu>> gpus;
  std::map<int, int> made;  // plans, of each device
  std::set<int> closed;     // devices that get no more of them
  Plans plans;
};

State& state() {
  static State& only = *new State;
  return only;
}

Gpu& gpu_at(int device) {
  std::unique_ptr<Gpu>& gpu = state().gpus[device];
  if (gpu == nullptr) {
    cudnnHandle_t handle = nullptr;
    require(library().create(&handle), "cudnnCreate");
    gpu = std::make_unique<Gpu>(handle);
  }
  return *gpu;
}

/// Of forward and of backward; they differ in how many operands there are.
Key key_of(const AttentionShape& shape, int device, std::initializer_list<AttentionOperand> all_rows) {
  Key key{device, shape.B, shape.H, shape.T, shape.d};
  for (const AttentionOperand& rows : all_rows) key.insert(key.end(), {rows.batch, rows.head, rows.time});
  return key;
}

/// Throws Error where no more plans can be made for a device: where there is no cuDNN, its generation is not one whose
/// deterministic form of backward is known, or the most there are.
void check_open(int device) {
  library();
  int major = 0;
  cuda::require(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
  check(major == 8 || major == 9, "dense attention by cuDNN: compute capability ", major, " is not 8 or 9");
  check(state().made[device] < kMostPlans, "dense attention by cuDNN: ", kMostPlans, " shapes have plans already");
}

/// Whether check_open() throws nothing; what it throws once is so for good.
bool is_open(int device) {
  if (state().closed.contains(device)) return false;
  try {
    check_open(device);
    return true;
  } catch (const Error& error) {
    state().plans.note_refusal(error.what());
    state().closed.insert(device);
    return false;
  }
}

/// Runs compute(plan, gpu) with the plan of this key, which find(gpu) finds; false where there is none, where cuDNN
/// fails it at its first run, and where memory fails it at any.
template <class Find, class Compute>
bool run_planned(const Key& key, Stream stream, Find&& find, Compute&& compute) {
  use_device(stream.device);
  const std::scoped_lock lock(state().guard);
  Plans& plans = state().plans;
  const auto call = is_recorded(stream) ? Plans::Call::recorded : Plans::Call::computes;
  if (!plans.knows(key) && (call == Plans::Call::recorded || !is_open(stream.device))) return false;
  const auto make = [&] {
    Plan plan = find(gpu_at(stream.device));
    ++state().made[stream.device];
    return plan;
  };
  return plans.run(key, call, make, [&](const Plan& plan) {
    const Gpu& gpu = gpu_at(stream.device);
    require(library().set_stream(gpu.handle, static_cast<cudaStream_t>(stream.handle)), "cudnnSetStream");
    compute(plan, gpu);
  });
}

struct Binding {
  int64_t id;
  const void* data;
};

void run(const Plan& plan, const Gpu& gpu, std::initializer_list<Binding> bindings, void* workspace) {
  std::vector<int64_t> ids;
  std::vector<void*> data;
  for (const Binding& binding : bindings) {
    ids.push_back(binding.id);
    data.push_back(const_cast<void*>(binding.data));
  }
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set_all<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids)
      .set_all<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, data)
      .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace)
      .finalize();
  require(library().execute(gpu.handle, plan.descriptor.get(), pack.get()), "cudnnBackendExecute");
}

const float kHidden = -std::numeric_limits<float>::infinity(), kOne = 1;

/// Where the rows of sequence b and its head h begin.
const void* rows_of(const AttentionOperand& x, int64_t b, int64_t h) {
  return static_cast<const bfloat16*>(x.data) + b * x.batch + h * x.head;
}

}  // namespace

bool forward(const AttentionForwardArgs& args, Stream stream) {
  const float scale = 1 / std::sqrt(static_cast<float>(args.shape.d));
  return run_planned(
      key_of(args.shape, stream.device, {args.q, args.k, args.v, operand_of(args.out)}), stream,
      [&](const Gpu& gpu) { return plan_forward(args, gpu.properties); },
      [&](const Plan& plan, const Gpu& gpu) {
        const Scratch<unsigned char> workspace(plan.workspace, stream);
        run(plan, gpu,
            {{id_q, args.q.data},
             {id_k, args.k.data},
             {id_v, args.v.data},
             {id_out, args.out.data},
             {id_lse, args.lse},
             {id_scale, &scale},
             {id_hidden, &kHidden}},
            workspace.get());
      });
}

bool backward(const AttentionBackwardArgs& args, Stream stream) {
  const float scale = 1 / std::sqrt(static_cast<float>(args.shape.d));
  const AttentionOperand grad_q = operand_of(args.grad_q), grad_k = operand_of(args.grad_k),
                         grad_v = operand_of(args.grad_v);
  return run_planned(
      key_of(args.shape, stream.device, {args.q, args.k, args.v, args.out, args.grad_out, grad_q, grad_k, grad_v}),
      stream, [&](const Gpu& gpu) { return plan_backward(args, gpu.properties); },
      [&](const Plan& plan, const Gpu& gpu) {
        const auto [B, H, T, d, dtype, patterns] = args.shape;
        const Scratch<unsigned char> workspace(plan.workspace, stream);
        const Scratch<float> delta(plan.batches * plan.heads * T, stream);
        for (int64_t b = 0; b < B; b += plan.batches)
          for (int64_t h = 0; h < H; h += plan.heads)
            run(plan, gpu,
                {{id_q, rows_of(args.q, b, h)},
                 {id_k, rows_of(args.k, b, h)},
                 {id_v, rows_of(args.v, b, h)},
                 {id_out, rows_of(args.out, b, h)},
                 {id_lse, static_cast<const float*>(args.lse) + (b * H + h) * T},
                 {id_scale, &scale},
                 {id_hidden, &kHidden},
                 {id_one, &kOne},
                 {id_grad_out, rows_of(args.grad_out, b, h)},
                 {id_delta, delta.get()},
                 {id_grad_q, rows_of(grad_q, b, h)},
                 {id_grad_k, rows_of(grad_k, b, h)},
                 {id_grad_v, rows_of(grad_v, b, h)}},
                workspace.get());
      });
}

std::string refusal() {
  const std::scoped_lock lock(state().guard);
  return state().plans.refusal();
}

std::string library_version() {
  try {
    const size_t version = library().version();
    return concat_text(version / 10000, '.', version % 10000 / 100, '.', version % 100);
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace ratel::cuda::cudnn
