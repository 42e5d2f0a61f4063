#include "cuda/cudnn.h"

#include <dlfcn.h>

#include <array>
#include <utility>

#include "core/error.h"

namespace ratel::cuda::cudnn {
namespace {

constexpr size_t kOldest = 91600;

struct Opened {
  Library functions{};
  std::string problem;
};

Opened open(const char* name) {
  Opened opened;
  void* const file = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (file == nullptr) {
    opened.problem = dlerror();
    return opened;
  }
  const auto find = [&]<class Function>(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(file, name));
    if (function == nullptr) opened.problem = concat_text("the one there has no ", name);
  };
  Library& functions = opened.functions;
  find(functions.version, "cudnnGetVersion");
  find(functions.error_string, "cudnnGetErrorString");
  find(functions.last_error, "cudnnGetLastErrorString");
  find(functions.create, "cudnnCreate");
  find(functions.set_stream, "cudnnSetStream");
  find(functions.create_descriptor, "cudnnBackendCreateDescriptor");
  find(functions.destroy_descriptor, "cudnnBackendDestroyDescriptor");
  find(functions.set_attribute, "cudnnBackendSetAttribute");
  find(functions.get_attribute, "cudnnBackendGetAttribute");
  find(functions.finalize, "cudnnBackendFinalize");
  find(functions.execute, "cudnnBackendExecute");
  if (opened.problem.empty() && functions.version() < kOldest)
    opened.problem = concat_text("expected cuDNN ", kOldest, " or newer, found ", functions.version());
  if (!opened.problem.empty()) dlclose(file);
  return opened;
}

/// By its name as the system finds it, or else where it lay when this was built.
Opened open() {
  std::string problem;
  for (const char* name : {"libcudnn.so.9", RATEL_CUDNN_LIBRARY}) {
    if (*name == '\0') continue;
    Opened opened = open(name);
    if (opened.problem.empty()) return opened;
    if (problem.empty()) problem = "no cuDNN: " + opened.problem;
  }
  return {{}, problem};
}

}  // namespace

const Library& library() {
  static const Opened opened = open();
  check(opened.problem.empty(), opened.problem);
  return opened.functions;
}

void require(cudnnStatus_t answer, const char* call, const std::source_location& place) {
  if (answer == CUDNN_STATUS_SUCCESS) [[likely]]
    return;
  std::array<char, 1024> message{};
  library().last_error(message.data(), message.size());
  const bool lacks_memory = answer == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ||
                            answer == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
  throw Error(concat_text(call, " at ", place.file_name(), ':', place.line(), ": ", library().error_string(answer),
                          ", ", message.data()),
              lacks_memory ? ErrorKind::memory : ErrorKind::usage);
}

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  require(library().create_descriptor(type, &handle_), "cudnnBackendCreateDescriptor");
}

Descriptor::Descriptor(Descriptor&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}

Descriptor::~Descriptor() {
  if (handle_ != nullptr) library().destroy_descriptor(handle_);
}

Descriptor& Descriptor::finalize() {
  require(library().finalize(handle_), "cudnnBackendFinalize");
  return *this;
}

int64_t Descriptor::number(cudnnBackendAttributeName_t name) const {
  int64_t value = 0;
  get_values(name, CUDNN_TYPE_INT64, 1, &value);
  return value;
}

std::vector<Descriptor> Descriptor::descriptors(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type,
                                                int64_t most) const {
  std::vector<Descriptor> found;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (int64_t i = 0; i < most; ++i) handles.push_back(found.emplace_back(type).get());
  if (most == 0) return found;
  const int64_t held = get_values(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, most, handles.data());
  while (static_cast<int64_t>(found.size()) > held) found.pop_back();
  return found;
}

int64_t Descriptor::count(cudnnBackendAttributeName_t name) const {
  return get_values(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, nullptr);
}

Descriptor& Descriptor::set_values(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                                   const void* values) {
  require(library().set_attribute(handle_, name, type, count, values), "cudnnBackendSetAttribute");
  return *this;
}

int64_t Descriptor::get_values(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                               void* values) const {
  int64_t found = 0;
  require(library().get_attribute(handle_, name, type, count, &found, values), "cudnnBackendGetAttribute");
  return found;
}

}  // namespace ratel::cuda::cudnn
