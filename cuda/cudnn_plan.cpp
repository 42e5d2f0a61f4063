#include "cuda/cudnn_plan.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/error.h"
#include "cuda/cudnn_graph.h"

namespace ratel::cuda::cudnn {
namespace {

/// Tells cuDNN a graph, part by part.
class Translation {
 public:
  explicit Translation(const OperationGraph& graph) {
    for (const GraphTensor& tensor : graph.tensors) tensors_[tensor.id] = &translate(tensor);
    std::vector<cudnnBackendDescriptor_t> operations;
    for (const GraphOperation& operation : graph.operations)
      operations.push_back(translate(operation).finalize().get());
    part(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR).set_descriptors(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations).finalize();
  }
  /// The graph last.
  DescriptorList parts() && { return std::move(parts_); }

 private:
  const Descriptor& translate(const GraphTensor& tensor) {
    constexpr int64_t kAlignment = 16;
    Descriptor& made = part(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    made.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, tensor.id)
        .set(CUDNN_ATTR_TENSOR_DATA_TYPE, tensor.type)
        .set_all<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS, tensor.sizes)
        .set_all<int64_t>(CUDNN_ATTR_TENSOR_STRIDES, tensor.strides)
        .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, kAlignment)
        .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, tensor.place == GraphTensor::Place::inner)
        .set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, tensor.place == GraphTensor::Place::host);
    return made.finalize();
  }

  Descriptor& translate(const GraphOperation& operation) {
    const auto tensor = [&](int64_t id) -> const Descriptor& { return *tensors_.at(id); };
    switch (operation.kind) {
      case GraphOperation::Kind::multiply: {
        const Descriptor& how =
            part(CUDNN_BACKEND_MATMUL_DESCRIPTOR).set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT).finalize();
        return part(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR)
            .set(CUDNN_ATTR_OPERATION_MATMUL_DESC, how)
            .set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, tensor(operation.x))
            .set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, tensor(operation.b))
            .set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, tensor(operation.y));
      }
      case GraphOperation::Kind::reshape:
        return part(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR)
            .set(CUDNN_ATTR_OPERATION_RESHAPE_XDESC, tensor(operation.x))
            .set(CUDNN_ATTR_OPERATION_RESHAPE_YDESC, tensor(operation.y));
      case GraphOperation::Kind::reduce: {
        const Descriptor& how = part(CUDNN_BACKEND_REDUCTION_DESCRIPTOR)
                                    .set(CUDNN_ATTR_REDUCTION_OPERATOR, operation.reduction)
                                    .set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT)
                                    .finalize();
        return part(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR)
            .set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, how)
            .set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, tensor(operation.x))
            .set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, tensor(operation.y));
      }
      case GraphOperation::Kind::pointwise: break;
    }
    Descriptor& how = part(CUDNN_BACKEND_POINTWISE_DESCRIPTOR)
                          .set(CUDNN_ATTR_POINTWISE_MODE, operation.pointwise)
                          .set(CUDNN_ATTR_POINTWISE_MATH_PREC, operation.precision);
    if (operation.axis) how.set(CUDNN_ATTR_POINTWISE_AXIS, *operation.axis);
    Descriptor& made = part(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
                           .set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how.finalize())
                           .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, tensor(operation.x))
                           .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, tensor(operation.y));
    if (operation.b != 0) made.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, tensor(operation.b));
    if (operation.predicate != 0) made.set(CUDNN_ATTR_OPERATION_POINTWISE_TDESC, tensor(operation.predicate));
    return made;
  }

  Descriptor& part(cudnnBackendDescriptorType_t type) { return parts_.add(Descriptor(type)); }

  DescriptorList parts_;
  std::map<int64_t, const Descriptor*> tensors_;
};

bool is_deterministic(const Descriptor& engine) {
  const auto notes =
      engine.values<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
  return std::find(notes.begin(), notes.end(), CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) == notes.end();
}

std::vector<Descriptor> proposals_for(const Descriptor& graph, cudnnBackendHeurMode_t mode, const Descriptor& gpu) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)
      .set(CUDNN_ATTR_ENGINEHEUR_MODE, mode)
      .set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, gpu)
      .finalize();
  return heuristics.descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR,
                                heuristics.count(CUDNN_ATTR_ENGINEHEUR_RESULTS));
}

/// Of one proposal.
struct Executable {
  int64_t workspace;
  Descriptor descriptor;
};

Executable executable_of(const Descriptor& proposal, const Descriptor& gpu) {
  const auto engines = proposal.descriptors(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  check(!engines.empty() && is_deterministic(engines.front()), "its engine is not deterministic");
  Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, proposal).set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, gpu).finalize();
  const int64_t workspace = plan.number(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
  check(workspace <= kMostWorkspace, "it wants ", workspace, " bytes to work in");
  return {workspace, std::move(plan)};
}

Plan first_plan(const OperationGraph& operations, const AttentionShape& shape, const Descriptor& gpu) {
  DescriptorList parts = Translation(operations).parts();
  std::string problem = "cuDNN proposes nothing";
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    std::vector<Descriptor> proposals;
    try {
      proposals = proposals_for(parts.last(), mode, gpu);
    } catch (const Error& error) {
      problem = error.what();
    }
    for (Descriptor& proposal : proposals) {
      try {
        Executable found = executable_of(proposal, gpu);
        parts.add(std::move(proposal));
        return {shape.B, shape.H, found.workspace, std::move(parts), std::move(found.descriptor)};
      } catch (const Error& error) {
        problem = error.what();
      }
    }
  }
  fail("no plan for dense attention: ", problem);
}

/// Rows of lse that begin as tensors are declared to.
constexpr int64_t kAlignedRows = 16 / sizeof(float);

/// The largest part of `whole` that divides it, is at most `most` and has whole multiples of kAlignedRows where each of
/// `whole` has `rows`; all of it needs none. 0 where there is no such part.
int64_t part_within(int64_t whole, int64_t most, int64_t rows) {
  if (whole <= most) return whole;
  int64_t part = most;
  while (part > 0 && (whole % part != 0 || part * rows % kAlignedRows != 0)) --part;
  return part;
}

}  // namespace

Descriptor gpu_of(cudnnHandle_t handle) {
  Descriptor gpu(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  gpu.set(CUDNN_ATTR_DEVICEPROP_HANDLE, handle).finalize();
  return gpu;
}

Descriptor gpu_described_by(const std::string& json) {
  Descriptor gpu(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  gpu.set_all<char>(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, json).finalize();
  return gpu;
}

Plan plan_forward(const AttentionForwardArgs& args, const Descriptor& gpu) {
  return first_plan(forward_graph(args), args.shape, gpu);
}

Plan plan_backward(const AttentionBackwardArgs& args, const Descriptor& gpu) {
  constexpr int64_t kTile = 128;  // to which cuDNN pads the rows and columns of ds
  const int64_t T = (args.shape.T + kTile - 1) / kTile * kTile, heads = kMostScores / (2 * T * T);
  check(heads >= 1, "no plan for dense attention: ds of one head of ", args.shape.T, " tokens is too large to be kept");
  AttentionBackwardArgs part = args;
  part.shape.H = part_within(args.shape.H, heads, args.shape.T);
  part.shape.B =
      part.shape.H < args.shape.H ? 1 : part_within(args.shape.B, heads / args.shape.H, part.shape.H * args.shape.T);
  check(part.shape.B * part.shape.H > 0, "no plan for dense attention: parts of ", args.shape.H, " heads of ",
        args.shape.T, " tokens begin at odd addresses of lse");
  return first_plan(backward_graph(part), part.shape, gpu);
}

}  // namespace ratel::cuda::cudnn
