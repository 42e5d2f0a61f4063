#include <filesystem>
#include <utility>

#include "io/file.h"
#include "io/report.h"
#include "train/config.h"

namespace ratel::train {
namespace {

namespace fs = std::filesystem;

/// One file of a chain, and what the one that is based on it says of that.
struct Link {
  std::string path;
  std::string from_path;  // empty of the first
  size_t from_line = 0;
  std::vector<io::TomlEntry> entries;
};

/// The assignments of a file but `base`, which goes to `next`.
void read_link(Link& link, Link& next) {
  for (io::TomlEntry& entry : io::read_toml_file(link.path)) {
    if (entry.key != "base") {
      link.entries.push_back(std::move(entry));
      continue;
    }
    if (!entry.value.is_string() || entry.value.as_string().empty())
      io::fail_at(link.path, entry.line, "base: expected the name of a file, found ", entry.value.described());
    const fs::path base = fs::path(link.path).parent_path() / entry.value.as_string();
    next = {base.lexically_normal(), link.path, entry.line, {}};
  }
}

bool is_same_file(const std::string& a, const std::string& b) {
  std::error_code error;
  return fs::equivalent(a, b, error);
}

}  // namespace

void apply_toml_file(TrainConfig& config, const std::string& path, Origins* origins) {
  std::vector<Link> chain{{path, {}, 0, {}}};
  for (;;) {
    Link next;
    read_link(chain.back(), next);
    if (next.path.empty()) break;
    for (const Link& above : chain)
      if (is_same_file(above.path, next.path))
        io::fail_at(next.from_path, next.from_line, "base: ", io::in_quotes(next.path),
                    " is based on this file itself");
    if (chain.size() == kBaseDepth)
      io::fail_at(next.from_path, next.from_line, "base: expected at most ", kBaseDepth,
                  " files, each based on the next; found more");
    if (!io::path_exists(next.path))
      io::fail_at(next.from_path, next.from_line, "base: expected a file, found none at ", io::in_quotes(next.path));
    chain.push_back(std::move(next));
  }
  for (auto link = chain.rbegin(); link != chain.rend(); ++link) apply_toml(config, link->entries, link->path, origins);
}

}  // namespace ratel::train
