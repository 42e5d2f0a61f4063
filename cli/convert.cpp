#include <algorithm>
#include <filesystem>
#include <utility>

#include "cli/commands.h"
#include "cli/convert_options.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "io/file.h"
#include "io/pth.h"
#include "io/report.h"
#include "io/sharded_safetensors.h"
#include "models/authors_checkpoint.h"
#include "models/model_folder.h"
#include "models/tokenizer_file.h"
#include "ops/copy.h"
#include "train/run_folder.h"

namespace ratel::cli {
namespace {

namespace fs = std::filesystem;
using io::Json;
using io::TensorSource;

constexpr uint64_t kQuietBytes = 256 << 20;  // are written before anybody asks what takes so long

/// A signal came between two tensors.
struct Stopped {};

/// A model that is to be written: what it is, and its parameters under our names, of one dtype.
struct Model {
  ModelDescription description;
  DType dtype;
  std::vector<TensorSource> parameters;
  std::string source, heads_from;
};

/// "16, 32 or 64", of many the first.
std::string choices(const std::vector<int64_t>& values) {
  constexpr size_t kShown = 8;
  std::string text;
  const size_t count = std::min(values.size(), kShown);
  for (size_t i = 0; i < count; ++i)
    text += concat_text(i == 0 ? "" : i + 1 == count && count == values.size() ? " or " : ", ", values[i]);
  return count < values.size() ? text + ", ..." : text;
}

/// The number of heads: the option's, or the configuration's where it says one.
int64_t heads_of(const ConvertOptions& options, const AuthorsConfig& config, const RatPlusConfig& sizes,
                 std::string& from) {
  from = options.heads ? "--heads" : "config";
  if (options.heads) {
    RatPlusConfig with_heads = sizes;
    with_heads.heads = *options.heads;
    with_heads.validate();
    if (!config.heads.empty() && std::ranges::find(config.heads, *options.heads) == config.heads.end())
      note("ratel: --heads ", *options.heads, " is taken, the checkpoint's configuration says ", choices(config.heads));
    return *options.heads;
  }
  if (config.heads.size() == 1) return config.heads[0];
  const std::string found = config.heads.empty() ? "does not tell" : "says " + choices(config.heads);
  fail(options.input, ": how many heads the model has cannot be seen in its tensors, and its configuration ", found,
       "\nhint: --heads H; of ", sizes.channels, " channels ", choices(plausible_heads(sizes.channels)), " is usual");
}

Model model_of_authors(const ConvertOptions& options, const std::vector<TensorSource>& tensors, const Json& others) {
  AuthorsModel found = read_authors_model(tensors, options.input, options.dtype);
  const AuthorsConfig config = read_authors_config(others, found.config);
  Model model;
  model.description.config = found.config;
  model.description.config.heads = heads_of(options, config, found.config, model.heads_from);
  if (config.rope_base) model.description.config.rope_base = *config.rope_base;
  model.description.adapted = config.adapted;
  model.description.tokenizer.reset();
  try {
    model.description.validate();
  } catch (const Error& error) {  // the checkpoint says so, nobody's option
    fail_input(options.input, error.what());
  }
  model.description.tokenizer = tokenizer_named(options.tokenizer.value_or("none"));
  model.description.validate();
  model.dtype = found.parameters.front().dtype;
  model.parameters = std::move(found.parameters);
  return model;
}

std::vector<TensorSource> sources_of(const io::ShardedSafetensors& weights) {
  std::vector<TensorSource> sources;
  for (const io::SafetensorsEntry& entry : weights.entries())
    sources.push_back(
        {entry.name, entry.dtype, entry.shape, [weights, name = entry.name] { return weights.tensor(name); }});
  return sources;
}

/// What beside the tensors of a .safetensors in the authors' names tells: numbers in its metadata.
Json numbers_in(const io::Metadata& metadata) {
  Json result = Json::object();
  for (const auto& [key, text] : metadata) try {
      Json value = io::parse_json(text, key);
      if (!value.is_string()) result.append(key, std::move(value));
    } catch (const Error&) {  // a text
    }
  return result;
}

Model read_folder(const ConvertOptions& options) {
  check(!options.heads, "--heads: a model folder says how many it has");
  const std::string folder = model_dir(options.input);
  const ModelFolder opened = open_model(folder);
  Model model{opened.description, options.dtype.value_or(opened.dtype), {}, "model folder", "config.json"};
  if (options.tokenizer) model.description.tokenizer = tokenizer_named(*options.tokenizer);
  model.description.validate();
  for (TensorSource& source : sources_of(opened.weights))
    model.parameters.push_back({source.name, model.dtype, source.shape,
                                [read = source.read, dtype = model.dtype] { return to(read(), dtype); }});
  return model;
}

Model read_model(const ConvertOptions& options) {
  if (io::is_folder(options.input) || train::run_of_best(options.input)) return read_folder(options);
  if (!io::path_exists(options.input)) fail_input(options.input, "no such file or folder");
  Model model;
  if (options.input.ends_with(".safetensors")) {
    const auto weights = io::ShardedSafetensors::open_file(options.input);
    model = model_of_authors(options, sources_of(weights), numbers_in(weights.files()[0].metadata()));
    model.source = "safetensors";
  } else {
    const auto file = io::PthFile::open(options.input);
    model = model_of_authors(options, file.sources(), file.others());
    model.source = "pytorch";
  }
  return model;
}

/// Whether a folder is the input, or a checkpoint in it.
bool is_of_input(const fs::path& folder, const std::string& input) {
  std::error_code error;
  if (fs::equivalent(folder, input, error)) return true;
  const fs::path above = fs::weakly_canonical(input, error), below = fs::weakly_canonical(folder, error);
  return std::mismatch(above.begin(), above.end(), below.begin(), below.end()).first == above.end() &&
         io::path_exists(below / "MANIFEST.json");
}

void check_output(const ConvertOptions& options) {
  const std::string input = train::run_of_best(options.input).value_or(options.input);
  check(!is_of_input(options.output, input), "convert: ", options.output, " is the input and the output");
  if (options.writes_a_file()) {
    check_output_path(options.output);
    // A file there may be one of those that are read, and a folder with another file of weights is another model.
    const fs::path parent = fs::path(options.output).parent_path();
    check(!is_of_input(parent.empty() ? "." : parent, input), "convert: ", options.output,
          " would be among the files of the input\nhint: write it to another folder");
  }
  for (const std::string& part : {train::config_path(options.output), train::checkpoints_path(options.output)})
    if (io::path_exists(part))  // model files beside a run would be read in its place
      fail(options.output, ": is the folder of a run\nhint: write the model to another folder");
  if (const auto run = train::run_of_best(options.output); run && io::path_exists(train::checkpoints_path(*run)))
    fail(options.output, ": names the best checkpoint of a run\nhint: write the model to another folder");
  if (options.force || !io::path_exists(options.output)) return;
  if (io::is_folder(options.output) && io::paths_in(options.output).empty()) return;
  fail(options.output, ": is there already\nhint: --force replaces it");
}

/// Tensors that say what is being done when they are read, and stop where a signal came.
std::vector<TensorSource> shown(std::vector<TensorSource> tensors, ProgressLine& line) {
  struct Done {
    size_t tensors = 0;
    uint64_t bytes = 0;
  };
  auto done = std::make_shared<Done>();
  uint64_t total = 0;
  for (const TensorSource& tensor : tensors) total += tensor.bytes();
  const size_t count = tensors.size();
  for (TensorSource& tensor : tensors)
    tensor.read = [read = std::move(tensor.read), bytes = tensor.bytes(), done, total, count, &line] {
      if (stop_requested()) throw Stopped{};
      if (done->bytes >= kQuietBytes && line.is_due())
        line.show(concat_text("tensor ", done->tensors + 1, " of ", count, ", ",
                              human_bytes(static_cast<int64_t>(done->bytes)), " of ",
                              human_bytes(static_cast<int64_t>(total))));
      Tensor tensor = read();
      ++done->tensors;
      done->bytes += bytes;
      return tensor;
    };
  return tensors;
}

/// One file. Its metadata says what a reader of the tensors alone would have to ask for.
void write_file(const ConvertOptions& options, const Model& model, ProgressLine& line) {
  const bool is_theirs = options.names == TensorNames::authors;
  const auto tensors = is_theirs ? authors_tensors(model.parameters) : model.parameters;
  uint64_t bytes = 0;
  for (const TensorSource& tensor : tensors) bytes += tensor.bytes();
  io::require_free_space(options.output, bytes, "needs");
  io::Metadata metadata{{"format", "pt"}, {"num_head", std::to_string(model.description.config.heads)}};
  metadata["pe"] = Json::object({{"base", model.description.config.rope_base}}).dump();
  io::stream_safetensors(options.output, shown(tensors, line), metadata);
}

Json summary(const ConvertOptions& options, const Model& model) {
  int64_t bytes = 0;
  for (const TensorSource& tensor : model.parameters) bytes += static_cast<int64_t>(tensor.bytes());
  Json result = Json::object({{"output", options.output},
                              {"source", model.source},
                              {"parameters", model.description.config.parameter_count()},
                              {"bytes", bytes},
                              {"dtype", name_of(model.dtype)},
                              {"heads_from", model.heads_from},
                              {"model", to_json(model.description.config)}});
  if (model.description.adapted) result.set("adapted_pattern", to_json(*model.description.adapted));
  return result;
}

}  // namespace

int run_convert(Arguments args) {
  const auto options = parse_convert_options(args);
  if (!options) return 0;
  check_output(*options);
  catch_signals();
  const Model model = read_model(*options);
  ProgressLine line;
  try {
    if (options->writes_a_file())
      write_file(*options, model, line);
    else
      save_model(options->output, model.description, model.dtype, shown(model.parameters, line), options->shard_bytes);
  } catch (const Stopped&) {
    line.finish();
    note("ratel: stopped; ", options->output, " was not written");
    return signal_exit_code();
  }
  line.finish();
  const RatPlusConfig& config = model.description.config;
  if (options->json)
    print_json(summary(*options, model));
  else
    print(concat_text(options->output, ": ", with_commas(config.parameter_count()), " parameters in ", model.dtype,
                      ", ", config.layers, " layers, ", config.channels, " channels, ", config.heads, " heads (",
                      model.heads_from, "), ", with_commas(config.vocab_size), " tokens to choose from",
                      config.recurrence == Recurrence::none ? ", no recurrence" : "", "\n"));
  return 0;
}

}  // namespace ratel::cli
