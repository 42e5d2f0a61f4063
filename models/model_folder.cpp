#include "models/model_folder.h"

#include <array>
#include <filesystem>
#include <system_error>

#include "core/free_memory.h"
#include "io/file.h"
#include "io/report.h"
#include "io/safetensors.h"
#include "models/tokenizer_file.h"

namespace ratel {
namespace {

constexpr std::string_view kArchitecture = "rat_plus";
constexpr std::array<std::string_view, 6> kMembers{"format_version", "architecture", "dtype",
                                                   "tokenizer",      "model",        "adapted_pattern"};

constexpr std::string_view kConfigFile = "config.json", kWeightsFile = "model.safetensors";

/// The model's parameters without their memory.
nn::ParamStore shapes_of(const RatPlusConfig& config) {
  nn::ParamStore shapes(DType::f32, 0, nn::Start::shapes_only);
  const RatPlus model(nn::Scope(shapes), config);
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

}  // namespace

void save_model(const std::string& folder, const ModelDescription& description, const nn::ParamStore& store) {
  description.validate();
  std::vector<nn::NamedShape> given;
  for (const auto& [name, tensor] : store.parameters()) given.push_back({name, tensor.shape()});
  try {
    shapes_of(description.config).check_shapes(given, "save_model");
  } catch (const Error& error) {
    fail(error.what());
  }
  io::Json config = io::Json::object({{"format_version", kModelFormatVersion},
                                      {"architecture", kArchitecture},
                                      {"dtype", name_of(store.dtype())},
                                      {"tokenizer", tokenizer_json(description.tokenizer)},
                                      {"model", to_json(description.config)}});
  if (description.adapted) config.set("adapted_pattern", to_json(*description.adapted));

  std::error_code problem;
  std::filesystem::create_directories(folder, problem);
  if (problem) fail_disk(folder, "the folder cannot be made: ", problem.message());
  write_tokenizer(folder, description.tokenizer);
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const auto& [name, tensor] : store.parameters()) tensors.emplace_back(name, detach(tensor));
  io::save_safetensors(concat_text(folder, '/', kWeightsFile), tensors);
  io::write_file_atomically(concat_text(folder, '/', kConfigFile), config.dump(2) + '\n');
}

LoadedModel load_model(const std::string& folder, DType dtype, Device device) {
  check(is_float(dtype), "load_model: expected a float dtype, found ", dtype);
  const Config config = read_config(folder);
  const auto file = io::SafetensorsFile::open(io::path_inside(folder, kWeightsFile));
  std::vector<nn::NamedShape> found;
  for (const auto& entry : file.entries()) found.push_back({entry.name, entry.shape});
  shapes_of(config.description.config).check_shapes(found, file.path());
  for (const auto& entry : file.entries())
    if (entry.dtype != config.dtype)
      fail_input(file.path(), entry.name, ": expected ", config.dtype, " as in config.json, found ", entry.dtype);

  const int64_t parameters = config.description.config.parameter_count();
  if (!device.is_cuda())
    require_memory(parameters * static_cast<int64_t>(size_of(dtype)),
                   concat_text(folder, ": weights of ", parameters, " parameters"));
  nn::ParamStore store(dtype, 0, nn::Start::empty, device);
  RatPlus model(nn::Scope(store), config.description.config);
  std::vector<nn::NamedTensor> tensors;
  for (const auto& entry : file.entries()) tensors.push_back({entry.name, file.tensor(entry.name)});
  store.load(tensors, file.path());
  return {config.description, std::move(store), std::move(model)};
}

}  // namespace ratel
