// Who may include whom, read off every #include of the tree. The tables are the house's rules; the last two cases plant
// violations and see them caught.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace {

using std::string_view;
using Names = std::vector<string_view>;

/// A folder and those its files may include, itself among them.
struct Folder {
  string_view name;
  Names may_include;
};

const std::vector<Folder> kFolders = {
    {"core", {"core"}},
    {"autograd", {"autograd", "core"}},
    {"ops", {"ops", "autograd", "core"}},
    {"ops/cpu", {"ops/cpu", "ops", "core"}},  // an op's header is plain declarations
    {"cuda", {"cuda", "ops", "core"}},
    {"nn", {"nn", "ops", "autograd", "core"}},
    {"io", {"io", "core"}},
    {"text", {"text", "io", "core"}},
    {"models", {"models", "text", "io", "nn", "ops", "autograd", "core"}},
    {"tasks", {"tasks", "models", "text", "io", "nn", "ops", "autograd", "core"}},
    {"train", {"train", "models", "text", "io", "nn", "ops", "autograd", "core"}},
    {"cli", {"cli", "train", "tasks", "models", "text", "io", "nn", "cuda", "ops/cpu", "ops", "autograd", "core"}},
    {"test",
     {"test", "cli", "train", "tasks", "models", "text", "io", "nn", "cuda", "ops/cpu", "ops", "autograd", "core"}},
    {"bench",
     {"bench", "cli", "train", "tasks", "models", "text", "io", "nn", "cuda", "ops/cpu", "ops", "autograd", "core"}},
    {"examples",
     {"examples", "cli", "train", "tasks", "models", "text", "io", "nn", "cuda", "ops/cpu", "ops", "autograd", "core"}},
};

/// Headers that are not ours, by the start of their names, and the files or folders that may include them. The first
/// row that fits counts.
struct Library {
  Names headers;
  Names homes;
};

const std::vector<Library> kLibraries = {
    {{"tbb/scalable_allocator.h"}, {"core/memory.cpp", "ops/cpu/"}},
    {{"tbb/", "oneapi/"}, {"ops/cpu/", "text/corpus.cpp"}},
    {{"Eigen/", "unsupported/Eigen/", "cblas", "openblas"}, {"ops/cpu/"}},
    {{"immintrin.h", "x86intrin.h"}, {"ops/cpu/"}},
    {{"boost/context/"}, {"cuda/twin/"}},
    {{"cudnn"}, {"cuda/cudnn.h"}},
    {{"dlfcn.h"}, {"cuda/cudnn.cpp"}},
    {{"cuda", "cublas", "nccl", "nv", "cub/", "thrust/", "cooperative_groups", "mma.h"}, {"cuda/"}},
    {{"sentencepiece_processor.h"}, {"text/sentencepiece_model.cpp"}},
    {{"sentencepiece_"}, {"text/sentencepiece_training.cpp"}},
    {{"nlohmann/"}, {"io/json.cpp"}},
    {{"toml++/"}, {"io/toml.cpp"}},
    {{"CLI/"}, {"cli/"}},
    {{"zlib.h"}, {"io/gzip.cpp", "io/zip.cpp", "test/io/zip_test.cpp"}},
    {{"zstd.h"}, {"io/zstd.cpp"}},
    {{"boost/test/"}, {"test/"}},
    {{"benchmark/"}, {"bench/"}},
};

/// The operating system's, for sources.
const Names kPlatform = {"sys/",      "linux/", "unistd.h", "fcntl.h",   "signal.h",
                         "termios.h", "poll.h", "dirent.h", "pthread.h", "sched.h"};

constexpr std::ptrdiff_t kMostLines = 500;

bool starts_with_any(string_view text, const Names& starts) {
  return std::any_of(starts.begin(), starts.end(), [&](string_view start) { return text.starts_with(start); });
}

bool has_extension(string_view path, const Names& extensions) {
  return std::any_of(extensions.begin(), extensions.end(), [&](string_view end) { return path.ends_with(end); });
}

bool is_header(string_view path) { return has_extension(path, {".h", ".hpp", ".cuh"}); }
bool is_source(string_view path) { return has_extension(path, {".cpp", ".cc", ".cu"}); }

/// Nobody outside the tree sees the headers of kernels, tests and benchmarks.
bool is_public_header(string_view path) {
  return is_header(path) && !starts_with_any(path, {"ops/cpu/", "cuda/", "test/", "bench/"});
}

string_view folder_of(string_view path) {
  if (path.starts_with("ops/cpu/")) return "ops/cpu";
  return path.find('/') == string_view::npos ? "" : path.substr(0, path.find('/'));
}

const Folder* find_folder(string_view name) {
  const auto found =
      std::find_if(kFolders.begin(), kFolders.end(), [&](const Folder& folder) { return folder.name == name; });
  return found == kFolders.end() ? nullptr : &*found;
}

string_view trimmed(string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  return begin == string_view::npos ? "" : text.substr(begin, text.find_last_not_of(" \t\r") + 1 - begin);
}

/// What is wrong with #include "header" in `path`, or nothing.
std::string wrong_own_include(string_view path, string_view header) {
  // A program outside the tree, of which some examples are the likeness, has its own headers beside it.
  if (path.starts_with("examples/") && header.find('/') == string_view::npos) return {};
  const Folder* to = find_folder(folder_of(header));
  if (to == nullptr || header.find("..") != string_view::npos) return "is not a path from the root";
  const Names& allowed = find_folder(folder_of(path))->may_include;
  if (std::find(allowed.begin(), allowed.end(), to->name) != allowed.end()) return {};
  return ratel::concat_text("points upward: ", folder_of(path), " may not know ", to->name);
}

/// What is wrong with #include <header> in `path`, or nothing.
std::string wrong_foreign_include(string_view path, string_view header) {
  if (header.find_first_of("./") == string_view::npos) return {};  // the standard library
  if (is_public_header(path)) return "is not the standard library's, in a public header";
  for (const Library& library : kLibraries)
    if (starts_with_any(header, library.headers)) {
      const bool at_home = std::any_of(library.homes.begin(), library.homes.end(), [&](string_view home) {
        return home.ends_with('/') ? path.starts_with(home) : path == home;
      });
      return at_home ? "" : ratel::concat_text("belongs to ", library.homes.front(), " alone");
    }
  return starts_with_any(header, kPlatform) ? "" : "is of a library this test has no row for";
}

/// What is wrong with an #include line, or nothing.
std::string wrong_include(string_view path, string_view line) {
  line = trimmed(line.substr(line.find("include") + string_view("include").size()));
  const char open = line.empty() ? ' ' : line.front();
  const size_t end = open == '<' || open == '"' ? line.find(open == '<' ? '>' : '"', 1) : string_view::npos;
  if (end == string_view::npos) return "#include does not name its header";
  const string_view header = line.substr(1, end - 1);
  const std::string wrong = open == '<' ? wrong_foreign_include(path, header) : wrong_own_include(path, header);
  return wrong.empty() ? "" : ratel::concat_text(line.substr(0, end + 1), " ", wrong);
}

bool is_include(string_view line) { return line.starts_with('#') && trimmed(line.substr(1)).starts_with("include"); }

/// True where a statement of this line is a using-directive; comments and strings that speak of one are not.
bool opens_namespace(string_view line) {
  const size_t at = line.find("using namespace");
  if (at == string_view::npos) return false;
  const string_view before = trimmed(line.substr(0, at));
  return before.empty() || string_view(";{}").find(before.back()) != string_view::npos;
}

/// Every rule that `text`, as the file at `path` (from the root), breaks: "path:line: what".
std::vector<std::string> violations(string_view path, string_view text) {
  std::vector<std::string> found;
  const auto report = [&](std::ptrdiff_t line, const std::string& what) {
    found.push_back(ratel::concat_text(path, ":", line, ": ", what));
  };
  if (find_folder(folder_of(path)) == nullptr) {
    report(1, "lies in a folder this test has no row for");
    return found;
  }
  if (has_extension(path, {".cu", ".cuh"}) && !path.starts_with("cuda/")) report(1, "nvcc compiles nothing but cuda/");
  bool has_pragma_once = false;
  std::ptrdiff_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const string_view line = trimmed(text.substr(begin, end - begin));
    begin = end + 1;
    ++number;
    has_pragma_once = has_pragma_once || line == "#pragma once";
    if (opens_namespace(line)) report(number, "opens a namespace");
    if (!is_include(line)) continue;
    if (const std::string wrong = wrong_include(path, line); !wrong.empty()) report(number, wrong);
  }
  if (is_header(path) && !has_pragma_once) report(1, "has no #pragma once");
  if (number > kMostLines) report(number, ratel::concat_text("has more than ", kMostLines, " lines"));
  return found;
}

/// The C++ and CUDA files of the tree, from its root; hidden folders and builds are left out.
std::vector<std::string> source_files(const std::filesystem::path& root) {
  std::vector<std::string> files;
  for (auto entry = std::filesystem::recursive_directory_iterator(root);
       entry != std::filesystem::recursive_directory_iterator(); ++entry) {
    const auto& path = entry->path();
    if (entry->is_directory() && (path.filename().string().starts_with('.') || path == root / "build" ||
                                  std::filesystem::exists(path / "CMakeCache.txt")))
      entry.disable_recursion_pending();
    const std::string name = path.lexically_relative(root).generic_string();
    if (entry->is_regular_file() && (is_header(name) || is_source(name))) files.push_back(name);
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_tree_keeps_its_rules) {
  const std::filesystem::path root = RATEL_SOURCE_DIR;
  const auto files = source_files(root);
  for (const std::string& file : files)
    for (const std::string& violation : violations(file, read(root / file))) BOOST_ERROR(violation);
  for (const string_view known : {"core/tensor.h", "core/tensor.cpp", "test/architecture/layers_test.cpp"})
    BOOST_TEST(std::count(files.begin(), files.end(), known) == 1, known << " was not scanned");
}

BOOST_AUTO_TEST_CASE(every_row_points_at_rows_and_nothing_points_back) {
  for (const Folder& folder : kFolders) {
    BOOST_TEST(folder.may_include.front() == folder.name);
    for (const string_view below : folder.may_include) {
      const Folder* other = find_folder(below);
      BOOST_TEST_REQUIRE((other != nullptr), below << " has no row");
      const Names& back = other->may_include;
      const bool is_cycle = below != folder.name && std::count(back.begin(), back.end(), folder.name) > 0;
      BOOST_TEST(!is_cycle, folder.name << " and " << below << " know each other");
    }
  }
}

BOOST_AUTO_TEST_CASE(planted_violations_are_caught) {
  struct Planted {
    string_view path, text, expected;
  };
  const std::string long_source(static_cast<size_t>(kMostLines) + 1, '\n');
  // In two parts, so that this line is not one itself.
  const std::string directive_in_braces = std::string("void f() { using ") + "namespace std; }";
  const Planted planted[] = {
      {"core/shape.cpp", "#include \"autograd/node.h\"\n", "core/shape.cpp:1: \"autograd/node.h\" points upward"},
      {"autograd/node.cpp", "\n  #  include \"ops/add.h\"", "autograd/node.cpp:2: \"ops/add.h\" points upward"},
      {"ops/add.cpp", "#include \"nn/linear.h\"", "points upward: ops may not know nn"},
      {"ops/add.cpp", "#include \"ops/cpu/parallel.h\"", "points upward: ops may not know ops/cpu"},
      {"ops/cpu/add.cpp", "#include \"autograd/node.h\"", "points upward: ops/cpu may not know autograd"},
      {"cuda/add.cu", "#include \"ops/cpu/parallel.h\"", "points upward: cuda may not know ops/cpu"},
      {"nn/linear.h", "#pragma once\n#include \"models/model.h\"", "nn/linear.h:2: \"models/model.h\" points upward"},
      {"io/json.cpp", "#include \"ops/add.h\"", "points upward: io may not know ops"},
      {"nn/linear.cpp", "#include \"io/json.h\"", "points upward: nn may not know io"},
      {"models/model.cpp", "#include \"train/trainer.h\"", "points upward: models may not know train"},
      {"tasks/needles.cpp", "#include \"train/trainer.h\"", "points upward: tasks may not know train"},
      {"train/trainer.cpp", "#include \"tasks/needles.h\"", "points upward: train may not know tasks"},
      {"train/trainer.cpp", "#include \"cli/train.h\"", "points upward: train may not know cli"},
      {"cli/train.cpp", "#include \"test/support/compare.h\"", "points upward: cli may not know test"},
      {"examples/hello.cpp", "#include \"test/support/compare.h\"", "points upward: examples may not know test"},
      {"core/shape.cpp", "#include \"shape.h\"", "is not a path from the root"},
      {"core/shape.cpp", "#include \"../ops/add.h\"", "is not a path from the root"},
      {"core/shape.cpp", "#include \"core/../ops/add.h\"", "is not a path from the root"},
      {"core/shape.cpp", "#include SHAPE_HEADER", "does not name its header"},
      {"core/shape.cpp", "#include <core/shape.h>", "is of a library this test has no row for"},
      {"ops/add.cpp", "#include <Eigen/Core>", "belongs to ops/cpu/ alone"},
      {"ops/add.cpp", "#include <tbb/parallel_for.h>", "belongs to ops/cpu/ alone"},
      {"core/tensor.cpp", "#include <tbb/scalable_allocator.h>", "belongs to core/memory.cpp alone"},
      {"core/memory.cpp", "#include <tbb/parallel_for.h>", "belongs to ops/cpu/ alone"},
      {"ops/matmul.cpp", "#include <cblas.h>", "belongs to ops/cpu/ alone"},
      {"ops/add.cpp", "#include <cuda_runtime.h>", "belongs to cuda/ alone"},
      {"ops/cpu/add.cpp", "#include <cublasLt.h>", "belongs to cuda/ alone"},
      {"cuda/add.cu", "#include <cudnn_graph.h>", "belongs to cuda/cudnn.h alone"},
      {"io/safetensors.cpp", "#include <nlohmann/json.hpp>", "belongs to io/json.cpp alone"},
      {"train/config.cpp", "#include <toml++/toml.h>", "belongs to io/toml.cpp alone"},
      {"text/tokenizer.cpp", "#include <sentencepiece_processor.h>", "belongs to text/sentencepiece_model.cpp alone"},
      {"io/file.cpp", "#include \"text/tokenizer.h\"", "points upward: io may not know text"},
      {"train/config.cpp", "#include <CLI/CLI.hpp>", "belongs to cli/ alone"},
      {"core/shape.cpp", "#include <fmt/format.h>", "is of a library this test has no row for"},
      {"cli/app.h", "#pragma once\n#include <CLI/CLI.hpp>", "cli/app.h:2: <CLI/CLI.hpp> is not the standard library's"},
      {"io/file.h", "#pragma once\n#include <sys/mman.h>", "<sys/mman.h> is not the standard library's"},
      {"core/shape.h", "#include <array>\n", "core/shape.h:1: has no #pragma once"},
      {"test/support/compare.h", "// #pragma once\n", "has no #pragma once"},
      {"core/shape.cpp", "using namespace std;", "core/shape.cpp:1: opens a namespace"},
      {"test/core/shape_test.cpp", "void f() {\n  using namespace ratel;", "test/core/shape_test.cpp:2: opens"},
      {"core/shape.cpp", directive_in_braces, "opens a namespace"},
      {"core/shape.cpp", long_source, "core/shape.cpp:501: has more than 500 lines"},
      {"ops/add.cu", "", "nvcc compiles nothing but cuda/"},
      {"util/strings.cpp", "", "lies in a folder this test has no row for"},
      {"main.cpp", "", "lies in a folder this test has no row for"},
  };
  for (const auto& [path, text, expected] : planted) {
    const auto found = violations(path, text);
    BOOST_TEST_CONTEXT(path << " with " << text.substr(0, 60)) {
      BOOST_TEST(found.size() == 1);
      for (const std::string& what : found)
        BOOST_TEST(what.find(expected) != std::string::npos, "found '" << what << "', expected '" << expected << "'");
    }
  }
}

BOOST_AUTO_TEST_CASE(what_is_allowed_passes) {
  struct Allowed {
    string_view path, text;
  };
  const std::string longest_source(static_cast<size_t>(kMostLines), '\n');
  const Allowed allowed[] = {
      {"core/shape.h", "#pragma once\n#include <array>\n#include \"core/error.h\"\n"},
      {"core/memory.cpp", "#include <tbb/scalable_allocator.h>"},
      {"ops/cpu/rows.h", "#pragma once\n#include <Eigen/Core>\n#include <tbb/parallel_for.h>\n#include \"ops/add.h\""},
      {"cuda/add.cu", "#include <cuda_runtime.h>\n#include \"ops/add.h\"\n#include \"cuda/stream.h\""},
      {"io/json.cpp", "#include <nlohmann/json.hpp>"},
      {"io/file.cpp", "#include <sys/mman.h>\n#include <unistd.h>"},
      {"models/weights.cpp", "#include \"io/safetensors.h\"\n#include \"autograd/grad_mode.h\""},
      {"cli/train.cpp", "#include <CLI/CLI.hpp>\n#include \"train/trainer.h\"\n#include \"core/tensor.h\""},
      {"test/support/compare.h", "#pragma once\n#include <boost/test/unit_test.hpp>\n#include \"cli/app.h\""},
      {"examples/custom_op/main.cpp", "#include \"swish.h\"\n#include \"ops/add.h\""},
      {"core/shape.cpp", "// #include \"ops/add.h\"\n// no using namespace here\nnamespace fs = std::filesystem;"},
      {"core/shape.cpp", longest_source},
  };
  for (const auto& [path, text] : allowed)
    for (const std::string& what : violations(path, text)) BOOST_ERROR(what);
}
