#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ratel::io {

enum class Mapping {
  read_only,
  private_copy,  ///< may be written to: the process then gets pages of its own, and the file stays as it is
};

/// The bytes of a regular file, mapped into memory; copies share the mapping. A file that somebody shortens while it
/// is mapped ends the process when the missing part is touched, as with every mapping: replace files by renaming.
class MappedFile {
 public:
  /// Throws Error(input) where the file is missing, unreadable or not a regular file, and Error(memory) where the
  /// system has no memory or no descriptor for it.
  static MappedFile open(const std::string& path, Mapping mapping = Mapping::read_only);

  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
  [[nodiscard]] std::string_view text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// Keeps the mapping alive. Not null, even for an empty file.
  [[nodiscard]] const std::shared_ptr<void>& owner() const { return owner_; }

 private:
  std::string path_;
  std::shared_ptr<void> owner_;
  std::span<const std::byte> bytes_;
};

/// Hands the bytes of a regular file over, piece by piece. They are read: a disk that fails is an Error(input), where a
/// mapped file would end the process. Throws as MappedFile::open does besides.
void read_file(const std::string& path, const std::function<void(std::span<const std::byte> piece)>& f);

/// A descriptor open for writing. Every call throws Error(disk) with the system's reason where it does not succeed.
class OutputFile {
 public:
  enum class Mode {
    append,
    exclusive,  ///< empty, and no other OutputFile, of any process, writes it so until this is destroyed: Error(disk)
  };
  OutputFile(std::string path, Mode mode);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Writes all bytes, in one write(2) unless the system takes fewer.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  /// Returns once the bytes are on the disk.
  void sync();
  /// Shortens the file to its first `size` bytes; writing goes on from there.
  void truncate(uint64_t size);
  void close();
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  bool lock_it();
  void close_all();

  std::string path_;
  int descriptor_ = -1;
  int lock_ = -1;  // the same file, for as long as it is exclusive
};

/// A file that appears under its name only when it is complete: bytes go to `path`.tmp, which commit() brings to the
/// disk and renames. Without commit() the destructor removes it, and what was at `path` stays. Throws Error(disk), also
/// where another one writes the same file.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes) { file_.write(bytes); }
  void write(std::string_view text) { file_.write(text); }
  void truncate(uint64_t size) { file_.truncate(size); }
  /// Brings the bytes to the disk, still under the other name: after it commit() needs no more space. For files that
  /// are to appear together. Nothing may be written after it.
  void prepare();
  void commit();
  /// Where the bytes are until then.
  [[nodiscard]] const std::string& temporary_path() const { return file_.path(); }

 private:
  enum class State { open, prepared, committed };
  std::string path_;
  OutputFile file_;
  State state_ = State::open;
};

/// Whether anything, or a folder, is at a path, symbolic links followed. Throws Error(input) where the system does not
/// tell: a folder above it may not be read, a name is too long, links lead in a circle.
bool path_exists(const std::string& path);
bool is_folder(const std::string& path);
/// Whether the open file or folder is the one at the path.
bool is_same_file(int descriptor, const std::string& path);
/// The paths of what is in a folder, in no order; none where there is no folder. Throws Error(input) where it may not
/// be read.
std::vector<std::string> paths_in(const std::string& folder);

/// folder/name, for reading. Throws Error(input) where that is a symbolic link which leads out of the folder: a model
/// that somebody sent must not name other files of this machine.
std::string path_inside(const std::string& folder, std::string_view name);

/// The whole file. Throws Error(input) where it is missing, unreadable or longer than `limit` bytes.
std::string read_text_file(const std::string& path, size_t limit);

/// The file then holds exactly these bytes, or, where Error(disk) is thrown, what it held before; or these bytes, where
/// it was in place already and only the folder could not be brought to the disk.
void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);
void write_file_atomically(const std::string& path, std::string_view text);

/// There is no file of this name afterwards. Throws Error(disk).
void remove_file(const std::string& path);

/// Returns once the folder's names are on the disk. Throws Error(disk).
void fsync_directory(const std::string& path);

/// Bytes that may still be written to the file system of `path`; where that does not exist yet, of the nearest folder
/// above it that does. Throws Error(input).
uint64_t free_space(const std::string& path);
/// Throws Error(disk) where `bytes` and 1 MiB for headers, N in all, are more than that: "path: `need` N bytes, found M
/// free".
void require_free_space(const std::string& path, uint64_t bytes, std::string_view need, std::string_view hint = {});

}  // namespace ratel::io
