#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace ratel::io {

// The format: 8 bytes little-endian n, n bytes of JSON {name: {"dtype", "shape", "data_offsets": [begin, end]}, ...,
// "__metadata__": {string: string}}, then the data, to which the offsets refer.
// Source: https://github.com/huggingface/safetensors

using Metadata = std::map<std::string, std::string>;

struct SafetensorsEntry {
  std::string name;
  DType dtype;
  Shape shape;
  uint64_t begin = 0, end = 0;  ///< bytes from the start of the file
  bool is_half = false;         ///< stored as F16, which every f32 holds: read as f32
};

struct SafetensorsIndex {
  std::vector<SafetensorsEntry> tensors;  ///< in the header's order
  Metadata metadata;
};

/// Reads and checks the header of a whole safetensors file. Every entry's range lies in the file and has the size of
/// its shape and stored dtype; together they cover the data once. Throws Error(input) "path:offset: what; expected X,
/// found Y".
SafetensorsIndex parse_safetensors(std::span<const std::byte> file, std::string_view path);

/// A safetensors file, mapped into memory. Copies share it. Safe to read from several threads.
class SafetensorsFile {
 public:
  /// Throws Error(input) where the file is missing or anything in it is wrong, before any tensor is touched.
  static SafetensorsFile open(const std::string& path);

  [[nodiscard]] const std::string& path() const;
  [[nodiscard]] const Metadata& metadata() const { return index().metadata; }
  /// In the header's order.
  [[nodiscard]] std::vector<std::string> names() const;
  [[nodiscard]] const std::vector<SafetensorsEntry>& entries() const { return index().tensors; }
  [[nodiscard]] bool contains(std::string_view name) const { return find(name) != nullptr; }
  /// Nothing but the entry: dtype and shape without the data. nullptr where there is none of that name.
  [[nodiscard]] const SafetensorsEntry* find(std::string_view name) const;

  /// A contiguous CPU tensor that keeps the mapping alive. It lies in the mapping where the file aligns it to its
  /// element size, and is a copy elsewhere and of F16. Mapped tensors of one name share their bytes; writing to them
  /// changes this process's pages and never the file. Throws Error(input) where there is none of that name.
  [[nodiscard]] Tensor tensor(std::string_view name) const;
  /// All of them, in the header's order: what ParamStore::load takes.
  [[nodiscard]] std::vector<NamedTensor> tensors() const;

 private:
  struct Impl;
  [[nodiscard]] const SafetensorsIndex& index() const;
  std::shared_ptr<const Impl> impl_;
};

/// A tensor that is to be written: what a header says of it, and a function that gives it when its turn comes, so that
/// no more than one has to be in memory.
struct TensorSource {
  std::string name;
  DType dtype;
  Shape shape;
  std::function<Tensor()> read;
  [[nodiscard]] uint64_t bytes() const;
};
/// A tensor that is there already.
TensorSource source_of(std::string name, const Tensor& tensor);

/// Writes tensors of any layout and device, listed in this order, so that every one is aligned to its element size. The
/// data is streamed; a tensor that is not contiguous is gathered a piece at a time, one on a GPU copied to the CPU when
/// its turn comes. The file appears under its name only when it is complete and on the disk. Throws Error(usage) for a
/// name that appears twice, is "__metadata__" or could not be read back, and for a source that gives another dtype or
/// shape than it says; Error(disk); what a source throws.
void stream_safetensors(const std::string& path, const std::vector<TensorSource>& tensors,
                        const Metadata& metadata = {});
void save_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors, const Metadata& metadata = {});

}  // namespace ratel::io
