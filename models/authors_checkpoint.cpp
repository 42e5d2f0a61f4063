#include "models/authors_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "core/text.h"
#include "io/report.h"
#include "models/names.h"
#include "nn/param_store.h"
#include "ops/copy.h"

namespace ratel {
namespace {

using io::TensorSource;
using std::string_view;

constexpr string_view kInProjection = ".mixer.in_proj.weight";
// The gate's projection by itself, in checkpoints of before it was joined to the others.
constexpr string_view kGateTheirs = ".seq_layer.fgate_proj.weight", kInProjectionTheirs = ".seq_layer.in_proj.weight";

/// The tensors of a checkpoint under our names.
struct Found {
  std::map<std::string, const TensorSource*> parameters, gates;  // by path; the gates by that of their in_proj
  const TensorSource* head = nullptr;
  std::string unknown, repeated;
};

void append(std::string& list, string_view name) { list += (list.empty() ? "" : ", ") + io::one_line(name); }

Found sort_out(const std::vector<TensorSource>& tensors) {
  Found found;
  for (const TensorSource& tensor : tensors) {
    std::string plain = without_wrappers(tensor.name);
    if (plain == kAuthorsHead) {
      if (std::exchange(found.head, &tensor) != nullptr) append(found.repeated, tensor.name);
      continue;
    }
    const bool is_gate = plain.ends_with(kGateTheirs);
    if (is_gate) plain.replace(plain.size() - kGateTheirs.size(), kGateTheirs.size(), kInProjectionTheirs);
    const auto path = path_of_authors_name(plain);
    if (!path)
      append(found.unknown, tensor.name);
    else if (!(is_gate ? found.gates : found.parameters).emplace(*path, &tensor).second)
      append(found.repeated, tensor.name);
  }
  return found;
}

/// Layers are counted by what there is; a gap shows as missing tensors.
int64_t count_layers(const Found& found, string_view path) {
  int64_t layers = 0;
  constexpr string_view kPrefix = "layers.";
  for (const auto& [name, tensor] : found.parameters) {
    if (!name.starts_with(kPrefix)) continue;
    const string_view rest = string_view(name).substr(kPrefix.size());
    const auto number = to_number<int64_t>(rest.substr(0, rest.find('.')));
    // A number far beyond the tensors would ask for the names of all that are missing.
    if (!number || std::cmp_greater_equal(*number, found.parameters.size()))
      fail_input(path, io::one_line(tensor->name), ": expected layers numbered from 0 without gaps");
    layers = std::max(layers, *number + 1);
  }
  if (layers == 0) fail_input(path, "expected tensors backbone.layers.N..., found none");
  return layers;
}

RatPlusConfig sizes_of(const Found& found, string_view path) {
  const auto embedding = found.parameters.find("embedding.weight");
  if (embedding == found.parameters.end()) fail_input(path, "expected a tensor ", kAuthorsEmbedding, ", found none");
  const Shape& shape = embedding->second->shape;
  if (shape.rank() != 2) fail_input(path, kAuthorsEmbedding, ": expected shape (words, channels), found ", shape);
  RatPlusConfig config;
  config.vocab_size = shape[0];
  config.channels = shape[1];
  if (const auto heads = plausible_heads(config.channels); !heads.empty()) config.heads = heads.front();
  config.layers = count_layers(found, path);
  config.recurrence = Recurrence::gated;
  if (const auto first = found.parameters.find(concat_text("layers.0", kInProjection));
      first != found.parameters.end() && first->second->shape.rank() == 2 && found.gates.empty() &&
      first->second->shape[0] == 4 * config.channels)
    config.recurrence = Recurrence::none;
  try {
    config.validate();
  } catch (const Error& error) {
    fail_input(path, error.what());
  }
  return config;
}

/// in_proj above the gate's rows: (4C, C) and (C, C) to (5C, C).
Tensor joined(const TensorSource& upper, const TensorSource& lower, const Shape& shape, DType dtype) {
  Tensor whole = empty(shape, dtype);
  const int64_t rows = upper.shape[0];
  copy_into(view_of(whole, whole.layout().sliced(0, 0, rows)), upper.read());
  copy_into(view_of(whole, whole.layout().sliced(0, rows, shape[0])), lower.read());
  return whole;
}

/// A source of a parameter, and the shape it will have.
TensorSource parameter_of(const std::string& path, const TensorSource& tensor, const TensorSource* gate, DType dtype) {
  if (gate == nullptr) return {path, dtype, tensor.shape, [tensor, dtype] { return to(tensor.read(), dtype); }};
  const bool fits = tensor.shape.rank() == 2 && gate->shape.rank() == 2 && tensor.shape[1] == gate->shape[1];
  Shape shape = tensor.shape;
  if (fits) shape.set(0, tensor.shape[0] + gate->shape[0]);
  return {path, dtype, shape, [tensor, gate = *gate, shape, dtype] { return joined(tensor, gate, shape, dtype); }};
}

bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.storage() == b.storage() && a.layout().offset == b.layout().offset &&
      a.layout().strides == b.layout().strides && a.shape() == b.shape())
    return true;
  const Tensor x = contiguous(a), y = contiguous(b);
  return std::memcmp(x.data(), y.data(), static_cast<size_t>(x.numel()) * size_of(x.dtype())) == 0;
}

void check_tied(const Found& found, string_view path) {
  if (found.head == nullptr) return;
  const TensorSource &head = *found.head, &embedding = *found.parameters.at("embedding.weight");
  if (head.shape != embedding.shape || head.dtype != embedding.dtype)
    fail_input(path, kAuthorsHead, ": expected ", embedding.dtype, ' ', embedding.shape, " as of ", kAuthorsEmbedding,
               ", to which it is tied, found ", head.dtype, ' ', head.shape);
  if (!same_bits(head.read(), embedding.read()))
    fail_input(path, kAuthorsHead, ": expected the values of ", kAuthorsEmbedding,
               ", to which it is tied, found others\nhint: ratel's models have one tensor for both");
}

DType widest(const std::vector<TensorSource>& tensors, string_view path) {
  DType dtype = DType::bf16;
  for (const TensorSource& tensor : tensors) {
    if (!is_float(tensor.dtype))
      fail_input(path, io::one_line(tensor.name), ": expected f64, f32, bf16 or f16, found ", tensor.dtype);
    if (size_of(tensor.dtype) > size_of(dtype)) dtype = tensor.dtype;
  }
  return dtype;
}

}  // namespace

AuthorsModel read_authors_model(const std::vector<TensorSource>& tensors, string_view path,
                                std::optional<DType> dtype) {
  const Found found = sort_out(tensors);
  std::string wrong;
  for (const auto& [what, names] : {std::pair{"unknown", &found.unknown}, {"repeated", &found.repeated}})
    if (!names->empty()) wrong += concat_text(wrong.empty() ? "" : "; ", what, ": ", *names);
  for (const auto& [name, gate] : found.gates)
    if (!found.parameters.contains(name))
      wrong += concat_text(wrong.empty() ? "" : "; ", gate->name, " without in_proj");
  if (!wrong.empty()) fail_input(path, "the tensors are not those of a RAT+ model: ", wrong);

  AuthorsModel model;
  const DType wide = widest(tensors, path);  // throws unless all are floats
  const DType target = dtype.value_or(wide);
  model.config = sizes_of(found, path);
  nn::ParamStore shapes(DType::f32, 0, nn::Start::shapes_only);
  const RatPlus ours(shapes, model.config);
  std::vector<nn::NamedShape> given;
  std::map<std::string, TensorSource> sources;
  for (const auto& [name, tensor] : found.parameters) {
    const auto gate = found.gates.find(name);
    auto source = parameter_of(name, *tensor, gate == found.gates.end() ? nullptr : gate->second, target);
    given.push_back({name, source.shape});
    sources.emplace(name, std::move(source));
  }
  shapes.check_shapes(given, path);
  check_tied(found, path);
  for (const auto& [name, tensor] : shapes.parameters()) model.parameters.push_back(std::move(sources.at(name)));
  return model;
}

std::vector<TensorSource> authors_tensors(const std::vector<TensorSource>& parameters) {
  std::vector<TensorSource> theirs;
  std::optional<TensorSource> head;
  for (const TensorSource& parameter : parameters) {
    const auto name = authors_name_of_path(parameter.name);
    check(name.has_value(), "authors_tensors: ", io::in_quotes(parameter.name), " is no parameter of a RAT+ model");
    theirs.push_back(parameter);
    theirs.back().name = *name;
    if (*name == kAuthorsEmbedding) {
      head = parameter;
      head->name = kAuthorsHead;
    }
  }
  if (head) theirs.push_back(*std::move(head));
  return theirs;
}

}  // namespace ratel
