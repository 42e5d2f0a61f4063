#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace ratel::io {

// What torch.save writes since PyTorch 1.6: a zip archive with NAME/data.pkl, a pickle in which storages are persistent
// ids, NAME/data/KEY for the bytes of each storage, and NAME/byteorder.
// Source: torch/serialization.py and torch/_utils.py of PyTorch 1.13 and 2.x, and what they write.

/// A tensor of a state dict, as it is stored.
struct PthTensor {
  std::string name;  ///< its key, after those of the dicts around it, joined by points
  DType dtype = DType::f32;
  bool is_half = false;  ///< stored as f16, which every f32 holds: read as f32
  Layout layout;         ///< in elements of its storage; all of them lie in it
  size_t storage = 0;    ///< two tensors of one storage share their bytes
};

/// A PyTorch checkpoint, mapped into memory. Nothing in it is ever called or executed: its pickle is read as data (see
/// io/pickle.h), and of its classes only tensors, parameters and ordered dicts mean anything here. Copies share the
/// mapping. Not safe to read from several threads.
class PthFile {
 public:
  /// The state dict is the member "task", "model" or "state_dict" of the checkpoint, where that is a dict with a tensor
  /// in it, or the whole. Throws Error(input) "path:offset: what; expected X, found Y": a file of another kind (with
  /// the way out for the format of PyTorch before 1.6, and for .tar), anything parse_zip or Pickle::parse refuse, no
  /// data.pkl or two, another byte order, no state dict; in it a value that is no tensor, a key twice, a tensor of a
  /// dtype that is not read, that is a negated or conjugated view, whose storage is not there or has another size, or
  /// with an element outside of it.
  static PthFile open(const std::string& path);
  /// True where the file begins as a zip archive, or as a checkpoint of before PyTorch 1.6: what open() knows to speak
  /// of. Throws Error(input) where it cannot be opened.
  static bool looks_like_one(const std::string& path);

  [[nodiscard]] const std::string& path() const;
  /// In the state dict's order.
  [[nodiscard]] const std::vector<PthTensor>& tensors() const;
  /// Of which member the state dict is: "task", ..., or empty for the whole.
  [[nodiscard]] const std::string& member() const;
  /// What else the checkpoint holds, as Pickle::to_json shows it, the state dict and the optimizer's left out: its
  /// configuration, its step. Members come in their order until kPickleJsonValues values are used up.
  [[nodiscard]] Json others() const;

  /// The elements on the CPU, as they lie: views share their storage. They lie in the mapping where they are stored,
  /// aligned and not f16, and are copies elsewhere, of which the last storage's is kept; writing to them never changes
  /// the file. The first use of a storage compares its CRC-32. Throws Error(input) where that is another or the data
  /// does not unpack, Error(memory).
  [[nodiscard]] Tensor tensor(const PthTensor& tensor) const;
  /// All of them, to be written elsewhere. Throws Error(input) where one has more elements than its storage, as a
  /// stretched view does: written out, a small file could fill a disk.
  [[nodiscard]] std::vector<TensorSource> sources() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace ratel::io
