#include "test/support/golden.h"

#include "ops/copy.h"

namespace ratel::test {

Golden::Golden(const std::string& name)
    : file_(io::SafetensorsFile::open(std::string(RATEL_SOURCE_DIR "/test/golden/") + name + ".safetensors")) {}

Tensor Golden::operator[](std::string_view name) const { return clone(file_.tensor(name)); }

std::vector<std::string> Golden::names(std::string_view prefix) const {
  std::vector<std::string> result;
  for (const auto& entry : file_.entries())
    if (entry.name.starts_with(prefix)) result.push_back(entry.name.substr(prefix.size()));
  return result;
}

io::Json Golden::about(const std::string& key) const {
  const auto found = file_.metadata().find(key);
  if (found == file_.metadata().end()) fail_input(file_.path(), "no metadata of the name \"", key, '"');
  return io::parse_json(found->second, file_.path() + ": " + key);
}

}  // namespace ratel::test
