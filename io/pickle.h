#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace ratel::io {

// Python's pickle as data. A pickle is a program for a stack machine whose instructions may name any function and call
// it; here nothing is looked up and nothing is called: a name stays a name, and a call or an object becomes a node that
// says what would have been called with what.
// Source: https://docs.python.org/3/library/pickle.html and Lib/pickletools.py, which lists the opcodes.

enum class PickleKind : uint8_t {
  none,
  boolean,
  integer,
  long_integer,  ///< beyond 64 bits: its bytes
  real,
  text,
  bytes,
  tuple,
  list,
  set,
  dict,       ///< children: key, value, key, value, ...
  global,     ///< a class or function: text is its name, and Pickle::module_of tells its module
  object,     ///< what a call of a global gives; children: PicklePart, then elements, or pairs as of a dict
  persistent  ///< what a persistent id stands for; children: the id
};
std::string_view name_of(PickleKind kind);

/// A value: the place of its node. Two of the same place are one value, which Python would have made once.
using PickleRef = uint32_t;

struct PickleNode {
  PickleKind kind = PickleKind::none;
  bool has_pairs = false;  ///< of an object: its elements are pairs, because it is a dict of some class
  uint16_t depth = 0;      ///< values inside it, inside one another, when they were put there
  uint32_t offset = 0;     ///< of the opcode that made it
  union {
    int64_t integer = 0;  ///< of an integer or boolean; of a global where its module's name lies
    double real;
  };
  std::string_view text;  ///< of a text, bytes or long_integer; of a global its name
  std::vector<PickleRef> children;
};

/// A pickle that has been read. Texts refer to the bytes it was read from, which must outlive it. Values may contain
/// themselves: whoever walks through them bounds the walk.
class Pickle {
 public:
  /// Of an object: the places of its parts among its children.
  enum Part : size_t { callable = 0, arguments = 1, state = 2, elements = 3 };

  /// Reads one pickle of protocol 2 to 5 that fills the bytes. Throws Error(input) "path:offset: what; expected X,
  /// found Y" for an opcode that is not in the table (those of protocol 0 and 1, the extension registry, buffers beside
  /// the file), an argument that does not end, a stack or memo that does not have what an opcode takes, bytes after the
  /// end, and what io/limits.h does not allow. Offsets count from `start`. Memory is at most about 50 bytes an opcode:
  /// what is named again is not made again.
  static Pickle parse(std::span<const std::byte> bytes, std::string_view path, uint64_t start = 0);

  [[nodiscard]] PickleRef root() const { return root_; }
  [[nodiscard]] const PickleNode& operator[](PickleRef ref) const { return nodes_[ref]; }
  [[nodiscard]] size_t size() const { return nodes_.size(); }

  [[nodiscard]] std::string_view module_of(PickleRef global) const;
  [[nodiscard]] bool is_global(PickleRef ref, std::string_view module, std::string_view name) const;
  /// True for an object made by calling that function or class.
  [[nodiscard]] bool is_call_of(PickleRef ref, std::string_view module, std::string_view name) const;
  /// The elements of a list, tuple or set, the positional arguments of a call, the pairs of a dict or of an object that
  /// is one (an OrderedDict); empty for others.
  [[nodiscard]] std::span<const PickleRef> children_of(PickleRef ref) const;
  [[nodiscard]] std::span<const PickleRef> arguments_of(PickleRef object) const;
  /// A dict, or an object with pairs or no elements: what a mapping may be.
  [[nodiscard]] bool is_mapping(PickleRef ref) const;
  /// The value of a mapping's key that is this text; of several the last, as in Python.
  [[nodiscard]] std::optional<PickleRef> find(PickleRef mapping, std::string_view key) const;
  /// For a message: "an integer", "a call of torch._utils._rebuild_tensor_v2".
  [[nodiscard]] std::string described(PickleRef ref) const;

  /// What the value would be if classes were plain: mappings become objects, an object of an unknown class one with its
  /// pairs and then the members of its state, as they are named; the wrappers of OmegaConf are taken off (_content,
  /// _val). Tensors, functions, and what contains itself become null. Shared values are written out each time, so that
  /// a small pickle may have very many: nothing where there are more than `left`, which counts down by cost_of() for
  /// every value and every pair looked at, written or not. That bounds time and memory.
  [[nodiscard]] std::optional<Json> to_json(PickleRef ref, size_t& left) const;
  /// What a value or key with that text counts for: long texts too are written out each time.
  static size_t cost_of(std::string_view text) { return 1 + text.size() / 64; }

 private:
  friend class PickleMachine;
  std::string_view text_;  // all of it
  std::vector<PickleNode> nodes_;
  PickleRef root_ = 0;
};

}  // namespace ratel::io
