#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "io/json.h"
#include "io/token_sidecar.h"
#include "io/toml.h"
#include "models/description.h"

namespace ratel::train {

/// A number of a pattern: one for all layers, or one a layer; each for all heads, or a list of one a head. As TOML 16,
/// [1, 16, 16, 64], or [[1, 16], 64].
struct LayerValues {
  std::vector<std::vector<int64_t>> layers;

  LayerValues(std::initializer_list<int64_t> one_a_layer) : LayerValues(std::vector<int64_t>(one_a_layer)) {}
  LayerValues(const std::vector<int64_t>& one_a_layer) {
    for (const int64_t value : one_a_layer) layers.push_back({value});
  }
  friend bool operator==(const LayerValues&, const LayerValues&) = default;
};

/// How a batch is trained on. `alternate`: two optimizer steps, first through the sparse pattern, then through the
/// run's own. `sum`: one step on the sum of both losses. `off`: the run's own pattern alone.
enum class Joint { alternate, sum, off };

/// Everything that decides what a run computes, and how it runs. Reading, overriding, printing and comparing go by the
/// one table of fields in config_fields.cpp.
struct TrainConfig {
  std::string preset = "tiny";  ///< [model] preset: where the sizes come from that are not given
  RatPlusConfig model;          ///< [model]

  struct Data {
    int64_t seq_len = 256;            ///< tokens of a training window
    int64_t batch_size = 8;           ///< windows of a batch
    int64_t accumulate = 1;           ///< equal parts a batch is computed in; divides batch_size
    int64_t seed = 0;                 ///< of the order of the windows
    std::string tokenizer = "bytes";  ///< what made the tokens: bytes, none, or the path of a .model file
    int64_t eos = 256;                ///< the end-of-text id, after which nothing is predicted; -1: there is none
    std::string validation = {};      ///< a token file that is not trained on, to validate with; empty: no validation
    friend bool operator==(const Data&, const Data&) = default;
  } data;

  struct Optimizer {
    double peak_rate = 3e-3;
    double final_rate = 1e-6;
    double warmup_fraction = 0.05;
    double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
    double weight_decay = 0.1;
    double clip = 1.0;  ///< the largest gradient norm; 0: any
    friend bool operator==(const Optimizer&, const Optimizer&) = default;
  } optimizer;

  struct Run {            // [train]
    int64_t steps = 500;  ///< batches
    Joint joint = Joint::alternate;
    int64_t sparse_dilation = 64;                    ///< of the sparse pattern of joint training
    LayerValues dilation{1}, window{0}, initial{0};  ///< the run's own pattern
    int64_t checkpoint_every = 100;                  ///< steps; the last step always makes one
    int64_t keep_checkpoints = 2;
    int64_t seed = 0;            ///< of the weights
    std::string device = "cpu";  ///< cpu, cuda or cuda:N
    DType dtype = DType::f32;    ///< what the model computes in; bf16 has f32 master weights and moments
    int64_t threads = 0;         ///< 0: all cores
    bool recompute = false;      ///< forget what blocks computed and compute it again in backward: slower, less memory
    bool graph = true;           ///< on a GPU: record a step once and run the recording from then on
    bool autotune = false;       ///< on a GPU: matrix products by the quickest algorithm, cuda::GemmChoice::timed
    int64_t validate_every = 100;      ///< steps between validations; the last step always makes one
    int64_t validate_tokens = 65'536;  ///< of each, spread over the file; 0: all of it
    bool keep_best = false;            ///< a checkpoint of every lowest validation loss so far, and the best one stays
    friend bool operator==(const Run&, const Run&) = default;
  } train;

  /// The run's own pattern. Throws Error where a list fits neither one value nor one a layer, or a value is wrong.
  [[nodiscard]] ModelPattern pattern() const;
  /// Makes `pattern` the run's own. Throws Error where it has top-k blocks, which have no gradient.
  void set_pattern(const ModelPattern& pattern);
  [[nodiscard]] ModelPattern sparse_pattern() const { return ModelPattern::uniform({train.sparse_dilation, 0, 0}); }
  /// train.device. Throws Error where it names none.
  [[nodiscard]] Device device() const;
  /// data.tokenizer, its file read; nothing for none. Throws Error(input).
  [[nodiscard]] std::optional<Tokenizer> open_tokenizer() const;
  /// What goes next to the weights. With joint training off they know one pattern, which is recorded as adapted to.
  [[nodiscard]] ModelDescription description(const std::optional<Tokenizer>& tokenizer) const;
  /// Throws Error naming the first field that is out of range or does not fit the others.
  void validate() const;
  friend bool operator==(const TrainConfig&, const TrainConfig&) = default;
};

/// Where the value of a field came from: "run.toml:3", "--train.steps=9", ...; what is not in it has its default.
using Origins = std::map<std::string, std::string, std::less<>>;

/// Puts the assignments into `config`: first model.preset, which sets the sizes, then the others. Throws Error(input)
/// "path:line: ..." for an unknown key (naming the nearest there is), a value of the wrong type or out of range.
void apply_toml(TrainConfig& config, const std::vector<io::TomlEntry>& entries, std::string_view path,
                Origins* origins = nullptr);
/// Reads a file over `config`. Its key `base`, above the sections, names another, relative to the folder it is in, that
/// is read before it, and so on for up to kBaseDepth files. Throws Error(input) "path:line: ..." as above, and for a
/// base that is missing, not a string, or based on the file itself.
void apply_toml_file(TrainConfig& config, const std::string& path, Origins* origins = nullptr);
inline constexpr size_t kBaseDepth = 8;
/// The same for "--section.key=value" or "section.key=value"; lists are separated by commas. Throws Error(usage).
void apply_overrides(TrainConfig& config, const std::vector<std::string>& overrides, Origins* origins = nullptr);

/// What is known of the tokens beside a config.
struct KnownTokens {
  std::optional<io::TokenSidecar> data = {};  ///< the sidecar of the data
  /// Of a model that is adapted.
  struct Source {
    std::string path;            ///< for origins
    std::string tokenizer;       ///< as data.tokenizer
    int64_t vocab_size;          ///< of the model
    std::optional<int64_t> eos;  ///< that it was trained with; nothing where the model does not tell
  };
  std::optional<Source> source = {};
};
/// Sets what neither a file nor an override gave, which origins tell. A source's vocabulary stays; its tokenizer, also
/// where the config says none, and with that its end-of-text. Without a source model.vocab_size, and else data.eos, are
/// the tokenizer's, whose file is read for that; of none they are what the sidecar says, and without one the preset's,
/// and -1. Throws Error(input) for the tokenizer's file.
void follow_tokens(TrainConfig& config, Origins& origins, const KnownTokens& known);

/// The file (none where the path is empty) over the defaults, then the overrides, then follow_tokens(); validated.
TrainConfig load_config(const std::string& path, const std::vector<std::string>& overrides,
                        const KnownTokens& known = {}, Origins* origins = nullptr);

/// All fields as TOML, section by section, which apply_toml reads back as the same config. With origins each has its
/// own as a comment.
std::string to_toml(const TrainConfig& config, const Origins* origins = nullptr);
/// One flat object {"model.layers": 4, ...}, and back; `where` names the document in errors.
io::Json to_json(const TrainConfig& config);
TrainConfig config_from_json(const io::Json& json, std::string_view where);

/// A field that two configs disagree on.
struct ConfigChange {
  std::string key, was, is;
};
/// The fields that change what a resumed run computes: all but those that config_fields.cpp marks as free to change.
std::vector<ConfigChange> changes_between(const TrainConfig& was, const TrainConfig& is);

/// "model.layers", "data.seq_len", ... with a line about each, for --help.
struct ConfigField {
  std::string key, about;
};
std::vector<ConfigField> config_fields();

}  // namespace ratel::train
