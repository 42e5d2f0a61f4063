#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/byte_stream.h"

namespace ratel {

/// How documents lie in a file.
enum class Documents {
  whole,  ///< the file is one document
  rows,   ///< a line is a JSON object, and one of its members a document
};

struct InputFormat {
  Documents documents = Documents::whole;
  io::Compression compression = io::Compression::none;
  friend bool operator==(const InputFormat&, const InputFormat&) = default;
};

/// By the ends of its name: .jsonl are rows, everything else is a document; then .gz or .zst.
InputFormat format_of(std::string_view path);
/// "txt" or "jsonl", and ".gz" or ".zst" after it. Throws Error(usage) for anything else.
InputFormat parse_input_format(std::string_view text);

struct InputFile {
  std::string path;  ///< "-": stdin
  InputFormat format;
  [[nodiscard]] std::string name() const { return path == "-" ? "stdin" : path; }  ///< for messages
  std::optional<uint64_t> bytes;  ///< of the file; nothing where that is not known before it is read
};

/// The files that paths name, in their order. Of a folder: those at any depth whose names end in .txt or .jsonl, and
/// .gz or .zst after it, sorted by path; names that begin with a dot and symbolic links are left out.
///   format  of all of them, whatever their names: stdin and folders of other names need it. Without a compression in
///           it that of the name counts.
///   note    is told what of a folder was left out
/// Throws Error(input) where a path leads nowhere, or a folder has no such file.
std::vector<InputFile> list_inputs(std::span<const std::string> paths, std::optional<InputFormat> format = {},
                                   const std::function<void(const std::string&)>& note = {});

}  // namespace ratel
