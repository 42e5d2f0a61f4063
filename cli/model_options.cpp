#include "cli/model_options.h"

#include "cli/output.h"
#include "io/file.h"
#include "ops/threads.h"
#include "train/checkpoint.h"
#include "train/run_folder.h"

namespace ratel::cli {

std::string model_dir(const std::string& path) {
  return train::resolve_model_dir(path, [](const std::string& what) { note("ratel: ", what); });
}

void ModelOptions::add_to(Options& options, Presence model) {
  options.text("--model", "DIR", path, "Model folder, checkpoint, run folder (its newest checkpoint), or RUN/best",
               model);
  add_place_to(options);
}

void ModelOptions::add_place_to(Options& options) {
  options.integer("--threads", "N", threads, "Threads to compute with; 0: all cores. Results do not depend on it");
  options.text("--dtype", "f32|bf16|f64", dtype, "What to compute in");
  options.text("--device", "DEVICE", device, "Where: cpu, cuda or cuda:N");
}

ModelOptions::Place ModelOptions::prepare() const {
  check(threads >= 0 && threads <= 4096, "--threads: expected 0 to 4096, found ", threads);
  const auto precision = dtype_named(dtype);
  check(precision && is_float(*precision), "--dtype: expected f32, bf16 or f64, found '", dtype, "'");
  const auto place = device_named(device);
  check(place.has_value(), "--device: expected cpu, cuda or cuda:N, found '", device, "'");
  check_present(*place);
  set_num_threads(static_cast<int>(threads));
  return {*precision, *place};
}

OpenedModel ModelOptions::open() const {
  const Place where = prepare();
  const std::string folder = model_dir(path);
  const bool is_checkpoint = io::path_exists(folder + "/state.json");
  const int64_t seq_len = is_checkpoint ? train::read_checkpoint_state(folder).config.data.seq_len : 256;
  return {folder, load_model(folder, where.dtype, where.device), seq_len};
}

}  // namespace ratel::cli
