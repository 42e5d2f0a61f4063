#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/rng.h"
#include "core/tensor.h"

namespace ratel::nn {

struct NamedShape {
  std::string name;
  Shape shape;
};

/// How a parameter starts. Gets the random numbers set aside for that parameter. A tensor that others hold, that an op
/// made, or whose elements are not neighbours is copied.
using Init = std::function<Tensor(const Shape& shape, DType dtype, Rng& rng)>;
Init normal(double std);
Init constant(double value);

/// What add() puts into a parameter.
enum class Start {
  init,         ///< what its Init says
  empty,        ///< nothing: for a store that load() fills next
  shapes_only,  ///< one element stretched to the shape: no memory, to be asked for names, shapes and sizes alone
};

/// All parameters of a model by their paths ("layers.0.mixer.in_proj.weight"), in the order they were made: it IS the
/// state dict. Layers hold handles on the same tensors, so that load() and an optimizer change them everywhere.
/// A parameter's start depends on (seed, its path, its shape) alone: the numbers are drawn on the CPU, and a store on a
/// GPU holds the same bits.
class ParamStore {
 public:
  explicit ParamStore(DType dtype = DType::f32, uint64_t seed = 0, Start start = Start::init, Device device = kCpu);

  /// Makes a leaf that wants a gradient. Throws Error where the path is taken or has an empty part.
  Tensor add(const std::string& path, const Shape& shape, const Init& init);
  /// Throws Error naming the path and the nearest one there is.
  [[nodiscard]] const Tensor& at(std::string_view path) const;
  [[nodiscard]] bool contains(std::string_view path) const { return find(path) != nullptr; }
  [[nodiscard]] const std::vector<NamedTensor>& parameters() const { return parameters_; }
  [[nodiscard]] int64_t numel() const;  ///< elements of all parameters
  [[nodiscard]] DType dtype() const { return dtype_; }
  [[nodiscard]] Device device() const { return device_; }

  /// Throws ONE Error (input) "source: ..." that lists ALL missing, unexpected, misshaped and repeated paths.
  void check_shapes(const std::vector<NamedShape>& shapes, std::string_view source) const;
  /// Copies values in by path, from any device, converting float dtypes. Throws as check_shapes does, and for tensors
  /// that are not of a float dtype; nothing is changed then.
  void load(const std::vector<NamedTensor>& tensors, std::string_view source) const;
  void zero_grad() const;

 private:
  [[nodiscard]] const Tensor* find(std::string_view path) const;

  DType dtype_;
  uint64_t seed_;
  Start start_;
  Device device_;
  std::vector<NamedTensor> parameters_;
  std::unordered_map<std::string, size_t> index_;  // path -> place in parameters_
};

/// A place in the tree of paths, handed to a layer's constructor. A store stands for its root, as in
/// `RatPlus model(store, config)`, and must outlive the constructor only.
class Scope {
 public:
  Scope(ParamStore& store, std::string path = {}) : store_(&store), path_(std::move(path)) {}
  /// The place below: scope / "mixer", scope / 3.
  Scope operator/(std::string_view name) const;
  Scope operator/(int64_t index) const { return *this / std::to_string(index); }
  /// ParamStore::add below this place.
  [[nodiscard]] Tensor param(std::string_view name, const Shape& shape, const Init& init) const;

 private:
  [[nodiscard]] std::string below(std::string_view name) const;

  ParamStore* store_;
  std::string path_;
};

inline Scope operator/(ParamStore& store, std::string_view name) { return Scope(store) / name; }
inline Scope operator/(ParamStore& store, int64_t index) { return Scope(store) / index; }

}  // namespace ratel::nn
