#pragma once

#include <cudnn_graph.h>

#include <cstdint>
#include <deque>
#include <source_location>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace ratel::cuda::cudnn {

/// The functions of cuDNN that are used. They are looked up in libcudnn.so.9 when they are first wanted, not linked: a
/// program runs where there is none, and whoever links ratel needs to know nothing of it.
struct Library {
  decltype(&cudnnGetVersion) version;
  decltype(&cudnnGetErrorString) error_string;
  decltype(&cudnnGetLastErrorString) last_error;
  decltype(&cudnnCreate) create;
  decltype(&cudnnSetStream) set_stream;
  decltype(&cudnnBackendCreateDescriptor) create_descriptor;
  decltype(&cudnnBackendDestroyDescriptor) destroy_descriptor;
  decltype(&cudnnBackendSetAttribute) set_attribute;
  decltype(&cudnnBackendGetAttribute) get_attribute;
  decltype(&cudnnBackendFinalize) finalize;
  decltype(&cudnnBackendExecute) execute;
};

/// Throws Error, saying why, where there is no cuDNN of version 9.16 or newer: older ones compute wrong gradients of
/// sequences that are no multiple of 128 tokens, some wrong ones of any.
const Library& library();

/// Throws Error naming the call, its place and what cuDNN said of it, unless that is success.
void require(cudnnStatus_t answer, const char* call,
             const std::source_location& place = std::source_location::current());

/// The name that the backend has for a C++ type; there is one for these alone.
template <class T>
inline constexpr cudnnBackendAttributeType_t kTypeOf = T::has_none;
template <>
inline constexpr cudnnBackendAttributeType_t kTypeOf<int64_t> = CUDNN_TYPE_INT64;
template <>
inline constexpr cudnnBackendAttributeType_t kTypeOf<int32_t> = CUDNN_TYPE_INT32;
template <>
inline constexpr cudnnBackendAttributeType_t kTypeOf<bool> = CUDNN_TYPE_BOOLEAN;
template <>
inline constexpr cudnnBackendAttributeType_t kTypeOf<char> = CUDNN_TYPE_CHAR;
template <>
inline constexpr cudnnBackendAttributeType_t kTypeOf<void*> = CUDNN_TYPE_VOID_PTR;
template <>
inline constexpr cudnnBackendAttributeType_t kTypeOf<cudnnHandle_t> = CUDNN_TYPE_HANDLE;
template <>
inline constexpr cudnnBackendAttributeType_t kTypeOf<cudnnDataType_t> = CUDNN_TYPE_DATA_TYPE;
template <>
inline constexpr cudnnBackendAttributeType_t kTypeOf<cudnnPointwiseMode_t> = CUDNN_TYPE_POINTWISE_MODE;
template <>
inline constexpr cudnnBackendAttributeType_t kTypeOf<cudnnReduceTensorOp_t> = CUDNN_TYPE_REDUCTION_OPERATOR_TYPE;
template <>
inline constexpr cudnnBackendAttributeType_t kTypeOf<cudnnBackendHeurMode_t> = CUDNN_TYPE_HEUR_MODE;
template <>
inline constexpr cudnnBackendAttributeType_t kTypeOf<cudnnBackendNumericalNote_t> = CUDNN_TYPE_NUMERICAL_NOTE;

/// One object of the backend: attributes are set, then it is finalized, then it can be used and read. What another one
/// refers to must live as long as that one. All throw Error where cuDNN refuses.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type);
  Descriptor(Descriptor&& other) noexcept;
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor& operator=(Descriptor&&) = delete;

  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, const T& value) {
    return set_values(name, kTypeOf<T>, 1, &value);
  }
  template <class T>
  Descriptor& set_all(cudnnBackendAttributeName_t name, std::span<const T> values) {
    return set_values(name, kTypeOf<T>, static_cast<int64_t>(values.size()), values.data());
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& other) {
    return set_values(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &other.handle_);
  }
  Descriptor& set_descriptors(cudnnBackendAttributeName_t name, std::span<const cudnnBackendDescriptor_t> others) {
    return set_values(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(others.size()), others.data());
  }
  Descriptor& finalize();

  [[nodiscard]] int64_t number(cudnnBackendAttributeName_t name) const;
  /// Up to `most` values.
  template <class T>
  [[nodiscard]] std::vector<T> values(cudnnBackendAttributeName_t name, int64_t most) const {
    std::vector<T> found(static_cast<size_t>(most));
    found.resize(static_cast<size_t>(get_values(name, kTypeOf<T>, most, found.data())));
    return found;
  }
  /// The descriptors that an attribute holds, up to `most` of one type; and how many a list of them has.
  [[nodiscard]] std::vector<Descriptor> descriptors(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type,
                                                    int64_t most = 1) const;
  [[nodiscard]] int64_t count(cudnnBackendAttributeName_t name) const;
  [[nodiscard]] cudnnBackendDescriptor_t get() const { return handle_; }

 private:
  Descriptor& set_values(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                         const void* values);
  int64_t get_values(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                     void* values) const;
  cudnnBackendDescriptor_t handle_ = nullptr;
};

/// Descriptors that may refer to those added before them, and are destroyed after they are. They stay where they are.
class DescriptorList {
 public:
  DescriptorList() = default;
  DescriptorList(DescriptorList&&) = default;
  ~DescriptorList() {
    while (!all_.empty()) all_.pop_back();
  }
  DescriptorList(const DescriptorList&) = delete;
  DescriptorList& operator=(const DescriptorList&) = delete;
  DescriptorList& operator=(DescriptorList&&) = delete;
  Descriptor& add(Descriptor descriptor) { return all_.emplace_back(std::move(descriptor)); }
  [[nodiscard]] const Descriptor& last() const { return all_.back(); }

 private:
  std::deque<Descriptor> all_;
};

}  // namespace ratel::cuda::cudnn
