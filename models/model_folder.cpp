#include "models/model_folder.h"

#include <array>
#include <filesystem>
#include <system_error>

#include "core/free_memory.h"
#include "io/file.h"
#include "io/report.h"
#include "models/tokenizer_file.h"

namespace ratel {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kArchitecture = "rat_plus";
constexpr std::array<std::string_view, 6> kMembers{"format_version", "architecture", "dtype",
                                                   "tokenizer",      "model",        "adapted_pattern"};

constexpr std::string_view kConfigFile = "config.json";

/// The model's parameters without their memory.
nn::ParamStore shapes_of(const RatPlusConfig& config) {
  nn::ParamStore shapes(DType::f32, 0, nn::Start::shapes_only);
  const RatPlus model(shapes, config);
  return shapes;
}

struct Config {
  ModelDescription description;
  DType dtype;  // of the file's tensors
};

DType dtype_named(const io::JsonCursor& json) {
  const auto dtype = ratel::dtype_named(json.as_string());
  if (!dtype || !is_float(*dtype))
    fail_input(json.where(), R"(expected "f64", "f32" or "bf16", found )", io::in_quotes(json.as_string()));
  return *dtype;
}

Config read_config(const std::string& folder) {
  const std::string path = io::path_inside(folder, kConfigFile);
  if (!io::path_exists(path) && io::is_folder(folder + "/checkpoints"))
    fail_input(path, "expected a file, found none\nhint: a run's models are the folders in ", folder, "/checkpoints");
  const io::Json document = io::read_json_file(path);
  const io::JsonCursor json(document, path);
  // The version comes first: another one may have other members.
  if (const int64_t version = json["format_version"].as_int(); version != kModelFormatVersion)
    fail_input(path, "expected format_version ", kModelFormatVersion, ", found ", version);
  if (const std::string& architecture = json["architecture"].as_string(); architecture != kArchitecture)
    fail_input(path, "expected architecture \"", kArchitecture, "\", found ", io::in_quotes(architecture));
  check_members(json, kMembers);
  Config config{{rat_plus_config_from_json(json["model"]), read_tokenizer(json["tokenizer"], folder), {}},
                dtype_named(json["dtype"])};
  if (const auto adapted = json.find("adapted_pattern")) config.description.adapted = model_pattern_from_json(*adapted);
  try {
    config.description.validate();
  } catch (const Error& error) {
    fail_input(path, error.what());
  }
  return config;
}

/// A folder, made where there is none, with those above it; what was made goes again without keep().
class NewFolder {
 public:
  explicit NewFolder(const std::string& folder) {
    std::error_code problem;
    for (fs::path path = folder; !path.empty() && !fs::exists(path, problem); path = path.parent_path())
      made_.push_back(path);
    fs::create_directories(folder, problem);
    if (problem) {
      remove_made();
      fail_disk(folder, "the folder cannot be made: ", problem.message());
    }
  }
  ~NewFolder() { remove_made(); }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  void keep() { made_.clear(); }

 private:
  /// Only while they are empty.
  void remove_made() {
    std::error_code ignored;
    for (const fs::path& path : made_) fs::remove(path, ignored);
    made_.clear();
  }
  std::vector<fs::path> made_;
};

}  // namespace

void save_model(const std::string& folder, const ModelDescription& description, DType dtype,
                const std::vector<io::TensorSource>& parameters, uint64_t shard_bytes) {
  description.validate();
  std::vector<nn::NamedShape> given;
  for (const io::TensorSource& parameter : parameters) {
    check(parameter.dtype == dtype, "save_model: ", parameter.name, ": expected ", dtype, ", found ", parameter.dtype);
    given.push_back({parameter.name, parameter.shape});
  }
  try {
    shapes_of(description.config).check_shapes(given, "save_model");
  } catch (const Error& error) {
    fail(error.what());
  }
  io::Json config = io::Json::object({{"format_version", kModelFormatVersion},
                                      {"architecture", kArchitecture},
                                      {"dtype", name_of(dtype)},
                                      {"tokenizer", tokenizer_json(description.tokenizer)},
                                      {"model", to_json(description.config)}});
  if (description.adapted) config.set("adapted_pattern", to_json(*description.adapted));

  NewFolder made(folder);
  const std::string config_path = concat_text(folder, '/', kConfigFile);
  const auto tokenizer = prepare_tokenizer(folder, description.tokenizer);
  io::PreparedWeights weights(folder, parameters, shard_bytes);
  io::AtomicFile config_file(config_path);
  config_file.write(config.dump(2) + '\n');
  config_file.prepare();
  made.keep();
  // A folder without config.json is no model, so that files of two saves are never read together.
  io::remove_file(config_path);
  io::fsync_directory(folder);
  if (tokenizer) tokenizer->commit();
  weights.commit();
  config_file.commit();
}

void save_model(const std::string& folder, const ModelDescription& description, const nn::ParamStore& store,
                uint64_t shard_bytes) {
  std::vector<io::TensorSource> parameters;
  for (const auto& [name, tensor] : store.parameters()) parameters.push_back(io::source_of(name, detach(tensor)));
  save_model(folder, description, store.dtype(), parameters, shard_bytes);
}

ModelFolder open_model(const std::string& folder) {
  const Config config = read_config(folder);
  auto weights = io::ShardedSafetensors::open_folder(folder);
  std::vector<nn::NamedShape> found;
  for (const auto& entry : weights.entries()) found.push_back({entry.name, entry.shape});
  shapes_of(config.description.config).check_shapes(found, weights.path());
  for (const auto& entry : weights.entries())
    if (entry.dtype != config.dtype)
      fail_input(weights.path(), entry.name, ": expected ", config.dtype, " as in config.json, found ", entry.dtype);
  return {config.description, config.dtype, std::move(weights)};
}

LoadedModel load_model(const std::string& folder, DType dtype, Device device) {
  check(is_float(dtype), "load_model: expected a float dtype, found ", dtype);
  const ModelFolder opened = open_model(folder);
  const RatPlusConfig& config = opened.description.config;
  const int64_t parameters = config.parameter_count();
  if (!device.is_cuda())
    require_memory(parameters * static_cast<int64_t>(size_of(dtype)),
                   concat_text(folder, ": weights of ", parameters, " parameters"));
  nn::ParamStore store(dtype, 0, nn::Start::empty, device);
  RatPlus model(store, config);
  store.load(opened.weights.tensors(), opened.weights.path());
  return {opened.description, std::move(store), std::move(model)};
}

}  // namespace ratel
