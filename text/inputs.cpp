#include "text/inputs.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "io/file.h"
#include "io/report.h"

namespace ratel {
namespace {

namespace fs = std::filesystem;

constexpr std::pair<std::string_view, io::Compression> kCompressions[] = {{".gz", io::Compression::gzip},
                                                                          {".zst", io::Compression::zstd}};

/// Takes the compression off the end of a name.
io::Compression take_compression(std::string_view& name) {
  for (const auto& [suffix, compression] : kCompressions)
    if (name.ends_with(suffix)) {
      name.remove_suffix(suffix.size());
      return compression;
    }
  return io::Compression::none;
}

bool has_known_name(std::string_view name) {
  take_compression(name);
  return name.ends_with(".txt") || name.ends_with(".jsonl");
}

InputFile describe(const std::string& path, std::optional<InputFormat> format) {
  InputFile file{path, format_of(path), {}};
  if (format) {
    file.format.documents = format->documents;
    if (format->compression != io::Compression::none) file.format.compression = format->compression;
  }
  std::error_code error;
  if (path != "-" && fs::is_regular_file(path, error))
    if (const auto bytes = fs::file_size(path, error); !error) file.bytes = bytes;
  return file;
}

void list_folder(const std::string& folder, std::optional<InputFormat> format,
                 const std::function<void(const std::string&)>& note, std::vector<InputFile>& files) {
  std::vector<std::string> paths;
  int64_t others = 0, links = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename();
    const auto status = at->symlink_status(error);
    if (error) break;
    if (name.starts_with('.'))
      at.disable_recursion_pending();
    else if (fs::is_symlink(status))
      ++links;
    else if (fs::is_regular_file(status) && (format || has_known_name(name)))
      paths.push_back(at->path());
    else if (!fs::is_directory(status))
      ++others;
  }
  if (error) fail_input(folder, "the folder is not read: ", error.message());
  if (paths.empty())
    fail_input(folder, "expected files named .txt or .jsonl in this folder, found none",
               others > 0 ? "\nhint: --input-format txt takes files of any name" : "");
  if (note && others > 0)
    note(
        concat_text(folder, ": left out ", counted(others, "file"), " not named .txt, .jsonl, or these and .gz, .zst"));
  if (note && links > 0) note(concat_text(folder, ": did not follow ", counted(links, "symbolic link")));
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) files.push_back(describe(path, format));
}

}  // namespace

InputFormat format_of(std::string_view path) {
  const io::Compression compression = take_compression(path);
  return {path.ends_with(".jsonl") ? Documents::rows : Documents::whole, compression};
}

InputFormat parse_input_format(std::string_view text) {
  std::string_view name = text;
  const io::Compression compression = take_compression(name);
  check(name == "txt" || name == "jsonl", "expected an input format txt or jsonl, and .gz or .zst after it, found ",
        io::in_quotes(text));
  return {name == "jsonl" ? Documents::rows : Documents::whole, compression};
}

std::vector<InputFile> list_inputs(std::span<const std::string> paths, std::optional<InputFormat> format,
                                   const std::function<void(const std::string&)>& note) {
  std::vector<InputFile> files;
  for (const std::string& path : paths) {
    if (path != "-" && !io::path_exists(path)) fail_input(path, "no such file or folder");
    if (path != "-" && io::is_folder(path))
      list_folder(path, format, note, files);
    else
      files.push_back(describe(path, format));
  }
  return files;
}

}  // namespace ratel
