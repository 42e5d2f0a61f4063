#pragma once

#include <span>
#include <string>

namespace ratel::io {

/// A file, and what it is to the command: "the output".
struct FileRole {
  std::string what, path;
};

/// Throws Error(usage), which names both, where two of the files that are to be written are one file, or one of them is
/// to be read as well: by another spelling of its path or through a link too. AtomicFile's temporary files count as
/// written. A path "-" that is read is stdin, and no file.
void check_distinct(std::span<const FileRole> written, std::span<const FileRole> read);

}  // namespace ratel::io
