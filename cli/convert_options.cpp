#include "cli/convert_options.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "cli/options.h"
#include "core/text.h"
#include "io/sharded_safetensors.h"

namespace ratel::cli {
namespace {

constexpr std::array<std::pair<std::string_view, double>, 9> kUnits{{{"", 1},
                                                                     {"b", 1},
                                                                     {"kb", 1e3},
                                                                     {"mb", 1e6},
                                                                     {"gb", 1e9},
                                                                     {"tb", 1e12},
                                                                     {"kib", 0x1p10},
                                                                     {"mib", 0x1p20},
                                                                     {"gib", 0x1p30}}};

}  // namespace

uint64_t parse_bytes(std::string_view text, std::string_view option) {
  const size_t end = std::min(text.find_first_not_of("0123456789.e+"), text.size());
  std::string unit;
  for (const char c : text.substr(end))
    if (c != ' ') unit += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const auto number = to_number<double>(text.substr(0, end));
  const auto* found = std::ranges::find(kUnits, unit, &std::pair<std::string_view, double>::first);
  const double bytes = number && found != kUnits.end() ? *number * found->second : 0;
  check(bytes >= 1 && bytes <= 0x1p62, option, ": expected bytes, such as 2GB, 500MB or 4GiB, found '", text, "'");
  return static_cast<uint64_t>(bytes);
}

std::optional<ConvertOptions> parse_convert_options(std::span<const std::string> args) {
  ConvertOptions result;
  std::vector<std::string> paths;
  std::string dtype, tokenizer, shard_size = "5GB", names = "ratel";
  int64_t heads = 0;
  Options options(
      "convert",
      "Turns a checkpoint of the authors' program (.pth, or .safetensors in their names) into a model folder, a model\n"
      "folder into another, or into one .safetensors file. Nothing in a .pth is ever executed.");
  options.positional("INPUT OUTPUT", paths,
                     "A .pth or .safetensors file, a model, run or checkpoint folder; and what to write");
  options.integer("--heads", "H", heads, "Heads of the model, where the checkpoint's configuration does not tell");
  options.text("--dtype", "f32|bf16|f64", dtype, "What to store; without it what the input has (f16 becomes f32)");
  options.text("--tokenizer", "none|bytes|FILE.model", tokenizer,
               "Of the model folder; without it the input's, or none");
  options.text("--shard-size", "SIZE", shard_size, "Weights of more than that become several files");
  options.text("--names", "ratel|authors", names, "Tensor names of a .safetensors output");
  options.flag("--force", result.force, "Replace what is at OUTPUT");
  options.flag("--json", result.json, "Print one JSON object: what was written");
  options.example("ratel convert authors.pth models/1b");
  options.example("ratel convert models/1b models/1b-bf16 --dtype bf16 --shard-size 2GB");
  options.example("ratel convert models/1b 1b.safetensors --names authors");
  if (options.parse(args) == Options::Parsed::help) return std::nullopt;

  check(paths.size() == 2, "convert: expected INPUT and OUTPUT, found ", paths.size(),
        paths.size() == 1 ? " path" : " paths");
  result.input = paths[0];
  result.output = paths[1];
  if (options.given("--heads")) {
    check(heads > 0, "--heads: expected 1 or more, found ", heads);
    result.heads = heads;
  }
  if (options.given("--dtype")) {
    result.dtype = dtype_named(dtype);
    check(result.dtype && is_float(*result.dtype), "--dtype: expected f32, bf16 or f64, found '", dtype, "'");
  }
  if (options.given("--tokenizer")) result.tokenizer = tokenizer;
  result.shard_bytes = parse_bytes(shard_size, "--shard-size");
  check(names == "ratel" || names == "authors", "--names: expected ratel or authors, found '", names, "'");
  if (names == "authors") result.names = TensorNames::authors;
  const bool is_file = result.writes_a_file();
  check(is_file || result.names == TensorNames::ours,
        "--names: a model folder has ratel's names\nhint: name an OUTPUT that ends in .safetensors");
  check(!is_file || !options.given("--shard-size"), "--shard-size: a .safetensors output is one file");
  check(!is_file || !options.given("--tokenizer"), "--tokenizer: a .safetensors output has none");
  return result;
}

}  // namespace ratel::cli
