#include "nn/param_store.h"

#include <algorithm>
#include <array>

#include "autograd/gradient.h"
#include "core/text.h"
#include "ops/copy.h"
#include "ops/create.h"

namespace ratel::nn {
namespace {

/// 64-bit FNV-1a: the random stream of a path.
uint64_t stream_of(std::string_view path) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : path) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

bool is_path(std::string_view path) {
  return !path.empty() && path.front() != '.' && path.back() != '.' && path.find("..") == std::string_view::npos;
}

/// "2 missing: a, b; 1 unexpected: c", leaving out kinds of which there is none.
class Problems {
 public:
  enum Kind : size_t { missing, unexpected, misshaped, repeated };
  void add(Kind kind, const std::string& what) {
    auto& [count, text] = found_[kind];
    text += (count++ == 0 ? "" : ", ") + what;
  }
  void throw_if_any(std::string_view source) const {
    constexpr std::array<std::string_view, 4> kNames{"missing", "unexpected", "misshaped", "repeated"};
    std::string all;
    for (size_t kind = 0; kind < found_.size(); ++kind)
      if (const auto& [count, text] = found_[kind]; count > 0)
        all += concat_text(all.empty() ? "" : "; ", count, ' ', kNames[kind], ": ", text);
    if (!all.empty()) fail_input(source, "the tensors are not the model's: ", all);
  }

 private:
  std::array<std::pair<int64_t, std::string>, 4> found_{};
};

}  // namespace

Init normal(double std) {
  return [std](const Shape& shape, DType dtype, Rng& rng) { return random_normal(shape, rng, 0, std, dtype); };
}

Init constant(double value) {
  return [value](const Shape& shape, DType dtype, Rng&) { return full(shape, value, dtype); };
}

ParamStore::ParamStore(DType dtype, uint64_t seed, Start start, Device device)
    : dtype_(dtype), seed_(seed), start_(start), device_(device) {
  check(is_float(dtype), "ParamStore: expected a float dtype, found ", dtype);
}

Tensor ParamStore::add(const std::string& path, const Shape& shape, const Init& init) {
  check(is_path(path), "ParamStore: \"", path, "\" is no path of a parameter");
  check(!contains(path), "ParamStore: there already is a parameter \"", path, '"');
  Tensor value;
  switch (start_) {
    case Start::init: {
      Rng rng(seed_, stream_of(path));
      value = moved_to(init(shape, dtype_, rng), device_);
      if (!value.solely_owned() || !value.is_contiguous() || !is_leaf(value)) value = clone(detach(value));
      break;
    }
    case Start::empty: value = ratel::empty(shape, dtype_, device_); break;
    case Start::shapes_only:
      value = view_of(zeros({}, dtype_, device_), Layout::contiguous({}).broadcast_to(shape, "ParamStore"));
      break;
  }
  check(value.shape() == shape && value.dtype() == dtype_, "ParamStore: the start of \"", path, "\" is ", value.dtype(),
        ' ', value.shape(), ", expected ", dtype_, ' ', shape);
  requires_grad(value);
  index_.emplace(path, parameters_.size());
  parameters_.push_back({path, value});
  return value;
}

const Tensor* ParamStore::find(std::string_view path) const {
  const auto found = index_.find(std::string(path));
  return found == index_.end() ? nullptr : &parameters_[found->second].tensor;
}

const Tensor& ParamStore::at(std::string_view path) const {
  if (const Tensor* found = find(path)) return *found;
  std::vector<std::string_view> paths;
  for (const auto& parameter : parameters_) paths.emplace_back(parameter.name);
  fail("ParamStore: no parameter \"", path, '"', suggestion(path, paths));
}

int64_t ParamStore::numel() const {
  int64_t total = 0;
  for (const auto& parameter : parameters_) total += parameter.tensor.numel();
  return total;
}

void ParamStore::check_shapes(const std::vector<NamedShape>& shapes, std::string_view source) const {
  Problems problems;
  std::unordered_map<std::string_view, const Shape*> given;
  for (const auto& [name, shape] : shapes)
    if (!given.emplace(name, &shape).second) problems.add(Problems::repeated, name);
  for (const auto& [name, tensor] : parameters_) {
    const auto found = given.find(name);
    if (found == given.end())
      problems.add(Problems::missing, name);
    else if (*found->second != tensor.shape())
      problems.add(Problems::misshaped,
                   concat_text(name, " (expected ", tensor.shape(), ", found ", *found->second, ')'));
  }
  for (const auto& [name, shape] : shapes)
    if (!contains(name)) problems.add(Problems::unexpected, name);
  problems.throw_if_any(source);
}

void ParamStore::load(const std::vector<NamedTensor>& tensors, std::string_view source) const {
  check(start_ != Start::shapes_only, "ParamStore: a store of shapes alone holds no values");
  std::vector<NamedShape> shapes;
  for (const auto& [name, tensor] : tensors) shapes.push_back({name, tensor.shape()});
  check_shapes(shapes, source);
  for (const auto& [name, tensor] : tensors)
    if (!is_float(tensor.dtype())) fail_input(source, name, ": expected a float dtype, found ", tensor.dtype());
  for (const auto& [name, tensor] : tensors) copy_into(at(name), tensor);
}

void ParamStore::zero_grad() const {
  for (const auto& parameter : parameters_) ratel::zero_grad(parameter.tensor);
}

std::string Scope::below(std::string_view name) const {
  return path_.empty() ? std::string(name) : path_ + '.' + std::string(name);
}

Scope Scope::operator/(std::string_view name) const { return Scope(*store_, below(name)); }

Tensor Scope::param(std::string_view name, const Shape& shape, const Init& init) const {
  return store_->add(below(name), shape, init);
}

}  // namespace ratel::nn
