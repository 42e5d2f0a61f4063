#include "io/pth_tensors.h"

#include <algorithm>
#include <array>
#include <set>
#include <unordered_set>

#include "io/limits.h"
#include "io/report.h"

namespace ratel::io {
namespace {

using std::string_view;

struct TorchType {
  string_view storage, dtype;  // "FloatStorage", and "float32" where storages have no type
  DType read_as;
  bool is_half;
};
constexpr std::array<TorchType, 8> kTypes{{{"DoubleStorage", "float64", DType::f64, false},
                                           {"FloatStorage", "float32", DType::f32, false},
                                           {"HalfStorage", "float16", DType::f32, true},
                                           {"BFloat16Storage", "bfloat16", DType::bf16, false},
                                           {"LongStorage", "int64", DType::i64, false},
                                           {"IntStorage", "int32", DType::i32, false},
                                           {"UInt16Storage", "uint16", DType::u16, false},
                                           {"ByteStorage", "uint8", DType::u8, false}}};

class StateDictReader {
 public:
  StateDictReader(const Pickle& pickle, const FindStorage& find_storage, string_view path, uint64_t start)
      : pickle_(pickle), find_storage_(find_storage), path_(path), start_(start) {}

  StateDict read() {
    const PickleRef root = pickle_.root();
    if (!pickle_.is_mapping(root))
      refuse(root, "expected a checkpoint that is a dict, found ", pickle_.described(root));
    StateDict result;
    PickleRef dict = root;
    for (const string_view member : {"task", "model", "state_dict"})
      if (const auto found = pickle_.find(root, member); found && holds_tensors(*found)) {
        result.member = member;
        dict = *found;
        break;
      }
    if (!holds_tensors(dict))
      refuse(root, "expected a state dict, as the whole or as the member task, model or state_dict; found none");
    read_dict(dict, {}, result.tensors);
    return result;
  }

 private:
  template <class... Parts>
  [[noreturn]] void refuse(PickleRef at, const Parts&... parts) const {
    fail_at(path_, start_ + pickle_[at].offset, parts...);
  }

  /// The call that makes the tensor which `ref` is: parameters, and tensors with attributes, wrap it in another.
  [[nodiscard]] std::optional<PickleRef> tensor_call(PickleRef ref) const {
    for (int wrapped = 0; wrapped < 4; ++wrapped) {
      for (const string_view name : {"_rebuild_tensor_v2", "_rebuild_tensor", "_rebuild_tensor_v3"})
        if (pickle_.is_call_of(ref, "torch._utils", name)) return ref;
      const bool is_parameter = pickle_.is_call_of(ref, "torch._utils", "_rebuild_parameter") ||
                                pickle_.is_call_of(ref, "torch._utils", "_rebuild_parameter_with_state");
      if (!is_parameter || pickle_.arguments_of(ref).empty()) return std::nullopt;
      ref = pickle_.arguments_of(ref)[0];
    }
    return std::nullopt;
  }
  /// The function and arguments that make the tensor, or nothing.
  struct Made {
    PickleRef function;
    std::span<const PickleRef> arguments;
  };
  [[nodiscard]] std::optional<Made> made_by(PickleRef ref) const {
    if (const auto call = tensor_call(ref))
      return Made{pickle_[*call].children[Pickle::callable], pickle_.arguments_of(*call)};
    // _rebuild_from_type_v2(function, type, arguments, state)
    if (!pickle_.is_call_of(ref, "torch._tensor", "_rebuild_from_type_v2")) return std::nullopt;
    const auto outer = pickle_.arguments_of(ref);
    if (outer.size() != 4 || pickle_[outer[2]].kind != PickleKind::tuple) return std::nullopt;
    if (!pickle_.is_global(outer[0], "torch._utils", "_rebuild_tensor_v2") &&
        !pickle_.is_global(outer[0], "torch._utils", "_rebuild_tensor_v3"))
      return std::nullopt;
    return Made{outer[0], pickle_[outer[2]].children};
  }

  /// One level of nested dicts is enough to tell.
  [[nodiscard]] bool holds_tensors(PickleRef ref) {
    if (!pickle_.is_mapping(ref)) return false;
    const auto pairs = pickle_.children_of(ref);
    for (size_t i = 1; i < pairs.size(); i += 2)
      if (made_by(pairs[i]) || is_nested(pairs[i])) return true;
    return false;
  }
  /// A dict with tensors or dicts in it. One that is not is looked through once, however often it is named.
  [[nodiscard]] bool is_nested(PickleRef ref) {
    if (!pickle_.is_mapping(ref) || flat_.contains(ref)) return false;
    const auto pairs = pickle_.children_of(ref);
    for (size_t i = 1; i < pairs.size(); i += 2)
      if (made_by(pairs[i]) || pickle_.is_mapping(pairs[i])) return true;
    flat_.insert(ref);
    return false;
  }

  void read_dict(PickleRef dict, const std::string& prefix, std::vector<PthTensor>& tensors) {
    if (!seen_.insert(dict).second) refuse(dict, "a dict of the state dict is in it twice");
    if (++depth_ > kJsonDepth) refuse(dict, "dicts too deep inside one another; expected at most ", kJsonDepth);
    const auto pairs = pickle_.children_of(dict);
    for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
      const PickleNode& key = pickle_[pairs[i]];
      if (key.kind != PickleKind::text)
        refuse(pairs[i], "state dict; expected keys that are texts, found ", pickle_.described(pairs[i]));
      if (const auto objection = objection_to(key.text))
        refuse(pairs[i], "the tensor name ", in_quotes(key.text), " ", *objection);
      const std::string name = prefix + std::string(key.text);
      // A long name of a dict is in front of all its tensors' names.
      if ((name_bytes_ += name.size()) > kPickleBytes)
        refuse(pairs[i], "names too long; expected at most ", kPickleBytes, " bytes together, found more");
      const PickleRef value = pairs[i + 1];
      if (!made_by(value) && pickle_.is_mapping(value) && pickle_[value].kind == PickleKind::dict) {
        read_dict(value, name + '.', tensors);
        continue;
      }
      if (!made_by(value) && pickle_.is_call_of(value, "collections", "OrderedDict")) {
        read_dict(value, name + '.', tensors);
        continue;
      }
      if (!names_.insert(name).second) refuse(pairs[i], "the tensor ", in_quotes(name), " appears twice");
      if (tensors.size() == kSafetensorsTensors)
        refuse(pairs[i], "too many tensors; expected at most ", kSafetensorsTensors, ", found more");
      tensors.push_back(read_tensor(name, value));
    }
    --depth_;
  }

  [[nodiscard]] PthTensor read_tensor(const std::string& name, PickleRef value) const {
    const auto made = made_by(value);
    if (!made) refuse(value, in_quotes(name), ": expected a tensor, found ", pickle_.described(value));
    const auto arguments = made->arguments;
    if (arguments.size() < 4)
      refuse(value, in_quotes(name), ": expected a tensor of a storage, an offset, sizes and strides, found ",
             arguments.size(), " arguments");
    PthTensor tensor;
    tensor.name = name;
    const Storage storage = read_storage(name, arguments[0]);
    string_view type = storage.type;
    const bool has_dtype = pickle_.is_global(made->function, "torch._utils", "_rebuild_tensor_v3");
    if (const size_t metadata = has_dtype ? 7 : 6; arguments.size() > metadata)
      check_metadata(name, arguments[metadata]);
    if (has_dtype) {
      if (arguments.size() < 7 || pickle_[arguments[6]].kind != PickleKind::global ||
          pickle_.module_of(arguments[6]) != "torch")
        refuse(value, in_quotes(name), ": expected a dtype of torch as the seventh argument");
      type = pickle_[arguments[6]].text;
    }
    const auto* known =
        std::ranges::find_if(kTypes, [&](const TorchType& t) { return t.storage == type || t.dtype == type; });
    if (known == kTypes.end())
      refuse(value, in_quotes(name), ": dtype; expected f64, f32, f16, bf16, i64, i32, u16 or u8, found ",
             one_line(type));
    tensor.dtype = known->read_as;
    tensor.is_half = known->is_half;
    const uint64_t element = known->is_half ? 2 : size_of(known->read_as);
    const auto found = find_storage_(storage.key);
    if (!found) refuse(value, in_quotes(name), ": its storage ", in_quotes(storage.key), " is not in the archive");
    tensor.storage = found->place;
    // Without a type a storage counts bytes.
    const uint64_t unit = storage.type == "UntypedStorage" ? 1 : element;
    if (found->bytes / unit != storage.elements || found->bytes % element != 0)
      refuse(value, in_quotes(name), ": storage ", in_quotes(storage.key), "; expected ", storage.elements,
             " elements of ", unit, " bytes, found ", found->bytes, " bytes");
    tensor.layout = read_layout(name, arguments, static_cast<int64_t>(found->bytes / element));
    return tensor;
  }

  /// Tensors whose elements are not those of their storage have a mapping: {"neg": True}, {"conj": True}.
  void check_metadata(const std::string& name, PickleRef ref) const {
    if (pickle_[ref].kind == PickleKind::none) return;
    if (pickle_.is_mapping(ref) && pickle_.children_of(ref).empty()) return;
    refuse(ref, in_quotes(name), ": metadata; expected a tensor as it is stored, found a negated or conjugated view");
  }

  struct Storage {
    string_view type, key;
    uint64_t elements;
  };
  /// The persistent id ("storage", type, key, device, elements).
  [[nodiscard]] Storage read_storage(const std::string& name, PickleRef ref) const {
    const PickleNode& node = pickle_[ref];
    const bool is_id = node.kind == PickleKind::persistent && pickle_[node.children[0]].kind == PickleKind::tuple;
    const std::span<const PickleRef> id = is_id ? pickle_.children_of(node.children[0]) : std::span<const PickleRef>();
    const auto has = [&](size_t i, PickleKind kind) { return pickle_[id[i]].kind == kind; };
    if (id.size() != 5 || !has(0, PickleKind::text) || pickle_[id[0]].text != "storage" ||
        !has(1, PickleKind::global) || !has(2, PickleKind::text) || !has(4, PickleKind::integer) ||
        pickle_[id[4]].integer < 0)
      refuse(ref, in_quotes(name), ": expected the persistent id of a storage, found ", pickle_.described(ref));
    const string_view module = pickle_.module_of(id[1]);
    if (module != "torch" && module != "torch.storage" && module != "torch.cuda")
      refuse(ref, in_quotes(name), ": expected a storage of torch, found ", pickle_.described(id[1]));
    return {pickle_[id[1]].text, pickle_[id[2]].text, static_cast<uint64_t>(pickle_[id[4]].integer)};
  }

  [[nodiscard]] std::vector<int64_t> read_sizes(const std::string& name, PickleRef ref, string_view what) const {
    if (pickle_[ref].kind != PickleKind::tuple)
      refuse(ref, in_quotes(name), ": ", what, "; expected a tuple, found ", pickle_.described(ref));
    std::vector<int64_t> sizes;
    for (const PickleRef item : pickle_.children_of(ref)) {
      if (pickle_[item].kind != PickleKind::integer || pickle_[item].integer < 0)
        refuse(item, in_quotes(name), ": ", what, "; expected integers of at least 0, found ", pickle_.described(item));
      sizes.push_back(pickle_[item].integer);
    }
    if (sizes.size() > kSafetensorsRank)
      refuse(ref, in_quotes(name), ": too many axes; expected at most ", kSafetensorsRank, ", found ", sizes.size());
    return sizes;
  }

  [[nodiscard]] Layout read_layout(const std::string& name, std::span<const PickleRef> arguments,
                                   int64_t elements) const {
    const auto sizes = read_sizes(name, arguments[2], "sizes"), strides = read_sizes(name, arguments[3], "strides");
    if (strides.size() != sizes.size())
      refuse(arguments[3], in_quotes(name), ": expected ", sizes.size(), " strides, found ", strides.size());
    const PickleNode& offset = pickle_[arguments[1]];
    if (offset.kind != PickleKind::integer || offset.integer < 0)
      refuse(arguments[1], in_quotes(name), ": offset; expected an integer of at least 0, found ",
             pickle_.described(arguments[1]));
    Layout layout;
    layout.offset = offset.integer;
    int64_t count = 8, last = offset.integer;  // 8 bytes an element at most
    bool fits = true, is_empty = false;
    for (size_t i = 0; i < sizes.size(); ++i) {
      layout.shape.push_back(sizes[i]);
      layout.strides[i] = strides[i];
      is_empty = is_empty || sizes[i] == 0;
      int64_t reach = 0;
      fits = fits && !__builtin_mul_overflow(count, std::max<int64_t>(sizes[i], 1), &count) &&
             !__builtin_mul_overflow(std::max<int64_t>(sizes[i], 1) - 1, strides[i], &reach) &&
             !__builtin_add_overflow(last, reach, &last);
    }
    if (!fits) refuse(arguments[2], in_quotes(name), ": shape ", layout.shape, " is larger than 63 bits can count");
    if (is_empty) return Layout::contiguous(layout.shape);
    if (last >= elements)
      refuse(arguments[2], in_quotes(name), " reaches beyond its storage; expected ", elements,
             " elements, found one at ", last);
    return layout;
  }

  const Pickle& pickle_;
  const FindStorage& find_storage_;
  string_view path_;
  uint64_t start_;
  size_t depth_ = 0, name_bytes_ = 0;
  std::set<PickleRef> seen_;
  std::unordered_set<PickleRef> flat_;  // dicts without tensors
  std::set<std::string> names_;
};

}  // namespace

StateDict read_state_dict(const Pickle& pickle, const FindStorage& find_storage, string_view path, uint64_t start) {
  return StateDictReader(pickle, find_storage, path, start).read();
}

}  // namespace ratel::io
