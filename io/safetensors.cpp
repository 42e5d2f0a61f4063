#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>
#include <numeric>
#include <optional>
#include <set>
#include <tuple>

#include "io/file.h"
#include "io/half.h"
#include "io/json.h"
#include "io/limits.h"
#include "io/report.h"

namespace ratel::io {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

constexpr uint64_t kLengthBytes = 8;
constexpr std::string_view kMetadataKey = "__metadata__";

struct NamedDType {
  std::string_view name;
  DType dtype;  // as it is read
  bool is_half = false;
};
constexpr std::array<NamedDType, 8> kDTypes{{{"F64", DType::f64},
                                             {"F32", DType::f32},
                                             {"F16", DType::f32, true},
                                             {"BF16", DType::bf16},
                                             {"I64", DType::i64},
                                             {"I32", DType::i32},
                                             {"U16", DType::u16},
                                             {"U8", DType::u8}}};

size_t stored_size(DType dtype, bool is_half) { return is_half ? sizeof(uint16_t) : size_of(dtype); }

/// Bytes of a tensor in the file, or nothing where it would overflow once read. Axes of size 0 count as 1 in the check,
/// so that strides cannot overflow.
std::optional<uint64_t> byte_count(const Shape& shape, const NamedDType& type) {
  auto bound = static_cast<int64_t>(size_of(type.dtype));
  for (int64_t size : shape.dims())
    if (__builtin_mul_overflow(bound, std::max<int64_t>(size, 1), &bound)) return std::nullopt;
  return static_cast<uint64_t>(shape.numel()) * stored_size(type.dtype, type.is_half);
}

Tensor widened(const std::byte* halves, const Shape& shape) {
  Tensor wide = empty(shape, DType::f32);
  auto* out = wide.data<float>();
  for (int64_t i = 0; i < wide.numel(); ++i) {
    uint16_t bits = 0;  // may lie anywhere
    std::memcpy(&bits, halves + static_cast<size_t>(i) * sizeof bits, sizeof bits);
    out[i] = half_to_float(bits);
  }
  return wide;
}

/// Reads one member of the header. Texts for errors are put together only where there is one: headers may be long.
class EntryReader {
 public:
  EntryReader(std::string_view name, const Json& value, std::string_view path, size_t offset)
      : name_(name), value_(value), path_(path), offset_(offset) {}

  /// The entry, its range still relative to the data.
  [[nodiscard]] SafetensorsEntry read() const {
    if (!value_.is_object()) wrong("", value_, "an object");
    for (const auto& [key, value] : value_.as_object())
      if (key != "dtype" && key != "shape" && key != "data_offsets")
        refuse("unknown member; expected dtype, shape and data_offsets, found ", in_quotes(key));
    const NamedDType& type = dtype();
    SafetensorsEntry entry{std::string(name_), type.dtype, shape()};
    entry.is_half = type.is_half;
    const auto& offsets = list("data_offsets");
    if (offsets.size() != 2) refuse("data_offsets; expected 2, found ", offsets.size());
    entry.begin = size(offsets[0], "data_offsets");
    entry.end = size(offsets[1], "data_offsets");
    if (entry.begin > entry.end)
      refuse("data_offsets go backwards; expected begin <= end, found ", entry.begin, " and ", entry.end);
    const auto expected = byte_count(entry.shape, type);
    if (!expected) refuse("shape ", entry.shape, " has more bytes than 63 bits can count");
    if (entry.end - entry.begin != *expected)
      refuse("size disagrees with shape ", entry.shape, " of ", type.is_half ? "f16" : name_of(type.dtype),
             "; expected ", *expected, " bytes, found ", entry.end - entry.begin);
    return entry;
  }

 private:
  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    fail_at(path_, offset_, "tensor ", in_quotes(name_), ": ", parts...);
  }
  [[noreturn]] void wrong(std::string_view member, const Json& value, std::string_view expected) const {
    refuse(member, member.empty() ? "expected " : ": expected ", expected, ", found ", value.described());
  }
  [[nodiscard]] const Json& member(std::string_view key) const {
    const Json* found = value_.find(key);
    if (found == nullptr) refuse("expected a member ", in_quotes(key), ", found none");
    return *found;
  }
  [[nodiscard]] const Json::Array& list(std::string_view key) const {
    const Json& value = member(key);
    if (!value.is_array()) wrong(key, value, "an array");
    return value.as_array();
  }
  [[nodiscard]] const NamedDType& dtype() const {
    const Json& value = member("dtype");
    if (!value.is_string()) wrong("dtype", value, "a string");
    const auto* found = std::ranges::find(kDTypes, value.as_string(), &NamedDType::name);
    if (found == kDTypes.end())
      refuse("unknown dtype; expected F64, F32, F16, BF16, I64, I32, U16 or U8, found ", in_quotes(value.as_string()));
    return *found;
  }
  [[nodiscard]] Shape shape() const {
    const auto& sizes = list("shape");
    if (sizes.size() > kSafetensorsRank)
      refuse("too many axes; expected at most ", kSafetensorsRank, ", found ", sizes.size());
    Shape result;
    for (const Json& axis : sizes) result.push_back(static_cast<int64_t>(size(axis, "shape")));
    return result;
  }
  [[nodiscard]] uint64_t size(const Json& value, std::string_view member) const {
    if (!value.is_int()) wrong(member, value, "an integer");
    if (value.as_int() < 0) refuse(member, "; expected sizes of at least 0, found ", value.as_int());
    return static_cast<uint64_t>(value.as_int());
  }

  std::string_view name_;
  const Json& value_;
  std::string_view path_;
  size_t offset_;
};

Metadata read_metadata(const Json& value, const std::string& where) {
  Metadata metadata;
  for (const auto& [key, text] : value.as_object(where + ": __metadata__"))
    metadata.emplace(key, text.as_string(where + ": __metadata__." + one_line(key)));
  return metadata;
}

/// The ranges, sorted, must follow each other from 0 to the end of the data.
void check_coverage(const std::vector<SafetensorsEntry>& tensors, uint64_t data_begin, uint64_t file_size,
                    std::string_view path) {
  std::vector<const SafetensorsEntry*> sorted;
  sorted.reserve(tensors.size());
  for (const auto& entry : tensors) sorted.push_back(&entry);
  std::ranges::sort(sorted, {}, [](const SafetensorsEntry* e) { return std::tuple(e->begin, e->end); });
  uint64_t covered = data_begin;
  for (const SafetensorsEntry* entry : sorted) {
    if (entry->begin != covered)
      fail_at(path, entry->begin, "tensor ", in_quotes(entry->name),
              entry->begin < covered ? " overlaps the one before" : " leaves a hole", "; expected its data at ",
              covered, ", found ", entry->begin);
    covered = entry->end;
  }
  if (covered != file_size)
    fail_at(path, covered, "bytes after the last tensor; expected a file of ", covered, " bytes, found ", file_size);
}

}  // namespace

SafetensorsIndex parse_safetensors(std::span<const std::byte> file, std::string_view path) {
  if (file.size() < kLengthBytes)
    fail_at(path, 0, "no room for the header's length; expected at least 8 bytes, found ", file.size());
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), kLengthBytes);
  if (header_bytes > kSafetensorsHeaderBytes)
    fail_at(path, 0, "header too long; expected at most ", kSafetensorsHeaderBytes, " bytes, found ", header_bytes);
  if (header_bytes > file.size() - kLengthBytes)
    fail_at(path, 0, "file ends inside its header; expected ", header_bytes, " bytes of it, found ",
            file.size() - kLengthBytes);
  const std::string_view header(reinterpret_cast<const char*>(file.data()) + kLengthBytes, header_bytes);
  if (!header.starts_with('{'))
    fail_at(path, kLengthBytes, "expected a header that begins with {, found ", in_quotes(header.substr(0, 1)));

  const uint64_t data_begin = kLengthBytes + header_bytes, data_bytes = file.size() - data_begin;
  SafetensorsIndex index;
  parse_json_members(header, path, kLengthBytes, [&](const std::string& key, const Json& value, size_t at) {
    if (key == kMetadataKey) {
      index.metadata = read_metadata(value, concat_text(path, ":", at));
      return;
    }
    if (index.tensors.size() == kSafetensorsTensors)
      fail_at(path, at, "too many tensors; expected at most ", kSafetensorsTensors, ", found more");
    if (const auto objection = objection_to(key))
      fail_at(path, at, "the tensor name ", in_quotes(key), " ", *objection);
    SafetensorsEntry entry = EntryReader(key, value, path, at).read();
    if (entry.end > data_bytes)
      fail_at(path, at, "tensor ", in_quotes(key), " reaches beyond the file; expected data up to ", data_bytes,
              ", found ", entry.end);
    entry.begin += data_begin;
    entry.end += data_begin;
    index.tensors.push_back(std::move(entry));
  });
  check_coverage(index.tensors, data_begin, file.size(), path);
  return index;
}

struct SafetensorsFile::Impl {
  MappedFile file;
  SafetensorsIndex index;
  std::vector<size_t> by_name;                     // positions in index.tensors, sorted by name
  std::vector<std::shared_ptr<Storage>> storages;  // of the tensors that lie aligned in the mapping, else null
};

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  auto impl = std::make_shared<Impl>();
  impl->file = MappedFile::open(path, Mapping::private_copy);
  impl->index = parse_safetensors(impl->file.bytes(), path);
  const auto& tensors = impl->index.tensors;
  impl->by_name.resize(tensors.size());
  std::iota(impl->by_name.begin(), impl->by_name.end(), size_t{0});
  std::ranges::sort(impl->by_name, {}, [&](size_t i) -> const std::string& { return tensors[i].name; });
  impl->storages.reserve(tensors.size());
  for (const auto& entry : tensors) {
    auto* data = const_cast<std::byte*>(impl->file.bytes().data()) + entry.begin;
    const bool lies_well = !entry.is_half && entry.end > entry.begin && entry.begin % size_of(entry.dtype) == 0;
    impl->storages.push_back(lies_well ? std::make_shared<Storage>(data, entry.end - entry.begin, impl->file.owner())
                                       : nullptr);
  }
  SafetensorsFile result;
  result.impl_ = std::move(impl);
  return result;
}

const std::string& SafetensorsFile::path() const { return impl_->file.path(); }

const SafetensorsIndex& SafetensorsFile::index() const { return impl_->index; }

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> result;
  result.reserve(entries().size());
  for (const auto& entry : entries()) result.push_back(entry.name);
  return result;
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto name_at = [&](size_t i) -> std::string_view { return entries()[i].name; };
  const auto found = std::ranges::lower_bound(impl_->by_name, name, {}, name_at);
  return found == impl_->by_name.end() || name_at(*found) != name ? nullptr : &entries()[*found];
}

Tensor SafetensorsFile::tensor(std::string_view name) const {
  const SafetensorsEntry* entry = find(name);
  if (entry == nullptr) fail_input(path(), "no tensor ", in_quotes(name), " among its ", entries().size());
  if (entry->is_half) return widened(impl_->file.bytes().data() + entry->begin, entry->shape);
  const auto& storage = impl_->storages[static_cast<size_t>(entry - entries().data())];
  if (storage == nullptr) {
    Tensor copy = empty(entry->shape, entry->dtype);
    if (entry->end > entry->begin)
      std::memcpy(copy.data(), impl_->file.bytes().data() + entry->begin, entry->end - entry->begin);
    return copy;
  }
  auto tensor = std::make_shared<TensorImpl>();
  tensor->storage = storage;
  tensor->layout = Layout::contiguous(entry->shape);
  tensor->dtype = entry->dtype;
  return Tensor(std::move(tensor));
}

std::vector<NamedTensor> SafetensorsFile::tensors() const {
  std::vector<NamedTensor> result;
  result.reserve(entries().size());
  for (const auto& entry : entries()) result.push_back({entry.name, tensor(entry.name)});
  return result;
}

namespace {

/// Streams the elements in row-major order, by pieces where they are not neighbours already.
void write_elements(AtomicFile& file, const Tensor& tensor) {
  const size_t size = size_of(tensor.dtype());
  if (tensor.numel() == 0) return;
  if (tensor.is_contiguous()) {
    file.write(std::span(static_cast<const std::byte*>(tensor.data()), static_cast<size_t>(tensor.numel()) * size));
    return;
  }
  constexpr size_t kPieceBytes = size_t{1} << 20;
  const auto* base = static_cast<const std::byte*>(tensor.storage()->data());
  std::vector<std::byte> piece;
  piece.reserve(kPieceBytes);
  for_each_position(tensor.layout(), [&](int64_t position) {
    const std::byte* element = base + static_cast<size_t>(position) * size;
    piece.insert(piece.end(), element, element + size);
    if (piece.size() < kPieceBytes) return;
    file.write(piece);
    piece.clear();
  });
  file.write(piece);
}

void check_savable(const std::string& path, const std::vector<TensorSource>& tensors) {
  check(tensors.size() <= kSafetensorsTensors, path, ": too many tensors; expected at most ", kSafetensorsTensors,
        ", found ", tensors.size());
  std::set<std::string_view> names;
  for (const TensorSource& tensor : tensors) {
    const auto objection = objection_to(tensor.name);
    check(!objection, path, ": the tensor name ", in_quotes(tensor.name), " ", objection.value_or(""));
    check(tensor.name != kMetadataKey, path, ": the tensor name ", in_quotes(tensor.name), " is taken by the format");
    check(names.insert(tensor.name).second, path, ": the tensor name ", in_quotes(tensor.name), " appears twice");
  }
}

std::string_view name_in_file(DType dtype) { return std::ranges::find(kDTypes, dtype, &NamedDType::dtype)->name; }

}  // namespace

uint64_t TensorSource::bytes() const { return static_cast<uint64_t>(shape.numel()) * size_of(dtype); }

TensorSource source_of(std::string name, const Tensor& tensor) {
  check(tensor.defined(), "tensor ", in_quotes(name), " is undefined");
  return {std::move(name), tensor.dtype(), tensor.shape(), [tensor] { return tensor; }};
}

void stream_safetensors(const std::string& path, const std::vector<TensorSource>& tensors, const Metadata& metadata) {
  check_savable(path, tensors);
  // The widest elements come first in the data: then each tensor begins at a multiple of its element size.
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater<>{}, [&](size_t i) { return size_of(tensors[i].dtype); });
  std::vector<uint64_t> begins(tensors.size());
  uint64_t end = 0;
  for (size_t i : order) end = (begins[i] = end) + tensors[i].bytes();

  Json header = Json::object();
  if (!metadata.empty()) {
    Json texts = Json::object();
    for (const auto& [key, text] : metadata) texts.append(key, text);
    header.append(std::string(kMetadataKey), std::move(texts));
  }
  for (size_t i = 0; i < tensors.size(); ++i)
    header.append(tensors[i].name,
                  Json::object({{"dtype", name_in_file(tensors[i].dtype)},
                                {"shape", Json::array_of(tensors[i].shape)},
                                {"data_offsets", Json::array({begins[i], begins[i] + tensors[i].bytes()})}}));
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  check(length <= kSafetensorsHeaderBytes, path, ": header too long; expected at most ", kSafetensorsHeaderBytes,
        " bytes, found ", length);

  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(text);
  for (size_t i : order) {
    const TensorSource& source = tensors[i];
    const Tensor tensor = moved_to(source.read(), kCpu);
    check(tensor.dtype() == source.dtype && tensor.shape() == source.shape, path, ": tensor ", in_quotes(source.name),
          ": expected ", source.dtype, ' ', source.shape, ", its source gave ", tensor.dtype(), ' ', tensor.shape());
    write_elements(file, tensor);
  }
  file.commit();
}

void save_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors, const Metadata& metadata) {
  std::vector<TensorSource> sources;
  sources.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    check(tensor.defined(), path, ": tensor ", in_quotes(name), " is undefined");
    sources.push_back(source_of(name, tensor));
  }
  stream_safetensors(path, sources, metadata);
}

}  // namespace ratel::io
