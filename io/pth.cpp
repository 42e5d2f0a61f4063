#include "io/pth.h"

#include <cstring>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "io/file.h"
#include "io/half.h"
#include "io/limits.h"
#include "io/pickle.h"
#include "io/pth_tensors.h"
#include "io/report.h"
#include "io/zip.h"

namespace ratel::io {
namespace {

using std::string_view;

constexpr string_view kZipMagic = "PK\3\4";
// The number that the format before 1.6 begins with, as a pickle of protocol 2: LONG1 of 10 bytes.
constexpr string_view kLegacyMagic("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14);
constexpr size_t kTarMagicAt = 257;

bool looks_like_tar(string_view text) { return text.size() > kTarMagicAt && text.substr(kTarMagicAt, 5) == "ustar"; }

[[noreturn]] void refuse_kind(string_view path, string_view text) {
  const auto hint = [&] {
    return concat_text("\nhint: where PyTorch is at hand: torch.save(torch.load(", in_quotes(path),
                       R"(, map_location="cpu", weights_only=True), "new.pth"))");
  };
  if (text.starts_with(kLegacyMagic))
    fail_at(path, 0, "expected the zip format of PyTorch 1.6 and later, found the one before it", hint());
  if (looks_like_tar(text))
    fail_at(path, 0, "expected the zip format of PyTorch 1.6 and later, found a .tar of PyTorch before 0.2", hint());
  fail_at(path, 0, "expected a zip archive, as torch.save writes it, found ", in_quotes(text.substr(0, 4)));
}

}  // namespace

struct PthFile::Impl {
  MappedFile file;
  std::vector<ZipEntry> entries;
  std::vector<std::byte> unpacked_pickle;  // where it is deflated
  std::unique_ptr<Pickle> pickle;
  StateDict state;
  std::vector<std::weak_ptr<Storage>> storages;  // of entries that are in use
  std::vector<bool> is_checked;                  // of entries, by their CRC
  std::shared_ptr<Storage> last_copy;            // all tensors may be views of one, which is costly to unpack

  /// The bytes of a storage's file, checked.
  std::shared_ptr<Storage> storage(size_t place) {
    const ZipEntry& entry = entries[place];
    if (auto known = storages[place].lock()) return known;
    std::shared_ptr<Storage> made;
    auto* data = const_cast<std::byte*>(file.bytes().data()) + entry.begin;
    // For the widest elements: views of one storage may be of several types.
    const bool lies_well = reinterpret_cast<uintptr_t>(data) % sizeof(double) == 0;
    if (entry.method == ZipMethod::stored && !is_checked[place]) check_crc(file.bytes(), entry, file.path());
    if (entry.method == ZipMethod::stored && lies_well && entry.size > 0) {
      made = std::make_shared<Storage>(data, entry.size, file.owner());
    } else {
      last_copy = nullptr;
      made = std::make_shared<Storage>(entry.size, kCpu);
      if (entry.method == ZipMethod::deflated)
        inflate(file.bytes(), entry, {static_cast<std::byte*>(made->data()), entry.size}, file.path());
      else if (entry.size > 0)
        std::memcpy(made->data(), data, entry.size);
      last_copy = made;
    }
    is_checked[place] = true;
    storages[place] = made;
    return made;
  }
};

bool PthFile::looks_like_one(const std::string& path) {
  const MappedFile file = MappedFile::open(path);
  return file.text().starts_with(kZipMagic) || file.text().starts_with(kLegacyMagic) || looks_like_tar(file.text());
}

PthFile PthFile::open(const std::string& path) {
  auto impl = std::make_shared<Impl>();
  impl->file = MappedFile::open(path, Mapping::private_copy);
  if (!impl->file.text().starts_with(kZipMagic)) refuse_kind(path, impl->file.text());
  const auto archive = impl->file.bytes();
  impl->entries = parse_zip(archive, path);
  impl->storages.resize(impl->entries.size());
  impl->is_checked.resize(impl->entries.size());

  constexpr string_view kPickleName = "/data.pkl";
  const ZipEntry* data = nullptr;
  std::unordered_map<string_view, size_t> places;
  for (size_t i = 0; i < impl->entries.size(); ++i) {
    const ZipEntry& entry = impl->entries[i];
    places.emplace(entry.name, i);
    if (!entry.name.ends_with(kPickleName)) continue;
    if (data != nullptr)
      fail_at(path, entry.header, "expected one data.pkl, found ", in_quotes(data->name), " and ",
              in_quotes(entry.name));
    data = &entry;
  }
  if (data == nullptr)
    fail_at(path, 0, "expected a checkpoint with a file data.pkl, found none among ", impl->entries.size());
  const std::string root(data->name.substr(0, data->name.size() - kPickleName.size()));
  if (data->size > kPickleBytes)
    fail_at(path, data->begin, "data.pkl too long; expected at most ", kPickleBytes, " bytes, found ", data->size);

  const auto content_of = [&](const ZipEntry& entry, std::vector<std::byte>& unpacked) {
    if (entry.method == ZipMethod::stored) {
      check_crc(archive, entry, path);
      return archive.subspan(entry.begin, entry.size);
    }
    unpacked.resize(entry.size);
    inflate(archive, entry, unpacked, path);
    return std::span<const std::byte>(unpacked);
  };
  if (const auto order = places.find(root + "/byteorder"); order != places.end()) {
    std::vector<std::byte> unpacked;
    const ZipEntry& entry = impl->entries[order->second];
    const auto bytes = entry.size > 64 ? std::span<const std::byte>() : content_of(entry, unpacked);
    const string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (text != "little") fail_at(path, entry.begin, "byteorder; expected little, found ", in_quotes(text));
  }
  const auto bytes = content_of(*data, impl->unpacked_pickle);
  // Offsets of what is stored are those of the file; of what is packed they can only be its own.
  const bool is_stored = data->method == ZipMethod::stored;
  const std::string where = is_stored ? path : concat_text(path, "(", data->name, ")");
  const uint64_t start = is_stored ? data->begin : 0;
  impl->pickle = std::make_unique<Pickle>(Pickle::parse(bytes, where, start));
  const auto find_storage = [&](string_view key) -> std::optional<PthStorage> {
    const auto found = places.find(concat_text(root, "/data/", key));
    if (found == places.end()) return std::nullopt;
    return PthStorage{found->second, impl->entries[found->second].size};
  };
  impl->state = read_state_dict(*impl->pickle, find_storage, where, start);
  PthFile result;
  result.impl_ = std::move(impl);
  return result;
}

const std::string& PthFile::path() const { return impl_->file.path(); }
const std::vector<PthTensor>& PthFile::tensors() const { return impl_->state.tensors; }
const std::string& PthFile::member() const { return impl_->state.member; }

Json PthFile::others() const {
  constexpr size_t kMembers = 1000;
  const Pickle& pickle = *impl_->pickle;
  size_t left = kPickleJsonValues;
  Json result = Json::object();
  if (impl_->state.member.empty()) return result;
  std::unordered_set<string_view> keys;
  const auto pairs = pickle.children_of(pickle.root());
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    const PickleNode& key = pickle[pairs[i]];
    const size_t cost = Pickle::cost_of(key.text);
    if (left <= cost) return result;
    left -= cost;
    if (key.kind != PickleKind::text || key.text == impl_->state.member || key.text == "optimizer") continue;
    if (!keys.insert(key.text).second) continue;
    auto value = pickle.to_json(pairs[i + 1], left);
    if (!value || result.as_object().size() == kMembers) return result;
    result.append(std::string(key.text), std::move(*value));
  }
  return result;
}

std::vector<TensorSource> PthFile::sources() const {
  std::vector<TensorSource> result;
  result.reserve(tensors().size());
  for (const PthTensor& tensor : tensors()) {
    const size_t element = tensor.is_half ? sizeof(uint16_t) : size_of(tensor.dtype);
    const auto elements = static_cast<uint64_t>(tensor.layout.shape.numel());
    if (const uint64_t stored = impl_->entries[tensor.storage].size / element; elements > stored)
      fail_input(path(), in_quotes(tensor.name), ": expected a tensor of its own elements, found ", elements,
                 " in a storage of ", stored);
    result.push_back(
        {tensor.name, tensor.dtype, tensor.layout.shape, [file = *this, tensor] { return file.tensor(tensor); }});
  }
  return result;
}

Tensor PthFile::tensor(const PthTensor& tensor) const {
  const auto storage = impl_->storage(tensor.storage);
  auto made = std::make_shared<TensorImpl>();
  made->storage = storage;
  made->layout = tensor.layout;
  made->dtype = tensor.is_half ? DType::u16 : tensor.dtype;
  if (!tensor.is_half) return Tensor(std::move(made));
  Tensor wide = empty(tensor.layout.shape, DType::f32);
  const auto* halves = static_cast<const uint16_t*>(storage->data());
  auto* out = wide.data<float>();
  for_each_position(tensor.layout, [&](int64_t position) { *out++ = half_to_float(halves[position]); });
  return wide;
}

}  // namespace ratel::io
