// What an adapted model keeps of its source: tokenizer, vocabulary, end-of-text; and that its run can do without it.
#include "io/token_sidecar.h"
#include "models/model_folder.h"
#include "models/tokenizer_file.h"
#include "test/train/tiny_run.h"

namespace fs = std::filesystem;
namespace io = ratel::io;
namespace test = ratel::test;
namespace train = ratel::train;
using test::check_error;
using train::AdaptOptions;

namespace {

const std::string kGolden = RATEL_SOURCE_DIR "/test/golden/tokenizers/";
constexpr int64_t kVocab = 704, kEos = 2;  // four ids more than llama.model has

struct Fixture {
  test::TemporaryFolder folder;
  const std::string source = folder / "source", data = folder / "data.bin";
  train::TrainConfig config = test::tiny_config();

  Fixture() {
    test::write_tokens(data, test::tiny_tokens(300, 1));
    config.train.steps = 1;
  }
  /// Trains the source: with llama.model, or with the config's own tokenizer.
  void train_source() {
    train::TrainOptions o;
    o.config = test::write_config(folder / "train.toml", config);
    o.data = data;
    o.out = source;
    train::train_run(o);
  }
  void train_source_with_tokenizer() {
    config.data.tokenizer = kGolden + "llama.model";
    config.model.vocab_size = kVocab;
    config.data.eos = kEos;
    train_source();
  }
  /// Adapting by a file that has the sizes but the vocabulary, and `more` lines of [data].
  [[nodiscard]] AdaptOptions by_file(const std::string& more, const std::string& out = "adapted") const {
    AdaptOptions o;
    o.config = folder / "adapt.toml";
    io::write_file_atomically(o.config,
                              "[model]\nlayers = 2\nchannels = 8\nheads = 2\n[train]\nsteps = 1\njoint = \"off\"\n"
                              "dilation = 4\nthreads = 1\n[data]\nseq_len = 12\nbatch_size = 2\n" +
                                  more);
    o.from = source;
    o.data = data;
    o.out = folder / out;
    return o;
  }
  /// The model of the source without its run.
  [[nodiscard]] std::string bare_model(const std::optional<ratel::Tokenizer>& tokenizer) const {
    auto loaded = ratel::load_model(train::resolve_model_dir(source));
    loaded.description.tokenizer = tokenizer;
    ratel::save_model(folder / "bare", loaded.description, loaded.store);
    return folder / "bare";
  }
};

}  // namespace

BOOST_FIXTURE_TEST_CASE(by_a_file_that_names_no_tokenizer_the_source_s_stays, Fixture) {
  train_source_with_tokenizer();
  const ratel::Tokenizer tokenizer = ratel::Tokenizer::open(kGolden + "llama.model");
  for (const char* more : {"", "tokenizer = \"none\"\n"}) {
    const AdaptOptions o = by_file(more, ratel::concat_text("adapted", *more == 0 ? "" : " none"));
    train::Origins origins;
    const train::TrainConfig adapted = train::resolve_adapt_config(o, &origins);
    BOOST_TEST(adapted.model.vocab_size == kVocab);
    BOOST_TEST(adapted.data.eos == kEos);
    BOOST_TEST(origins["data.tokenizer"] == source);
    BOOST_TEST((ratel::load_tokenizer(train::adapt_run(o).checkpoint) == tokenizer));
  }
  BOOST_TEST(train::resolve_adapt_config(by_file("eos = -1\n")).data.eos == -1);

  AdaptOptions without = by_file("");
  without.config.clear();
  without.dilation = {2};
  without.overrides = {"data.tokenizer=none"};
  without.out = folder / "without";
  BOOST_TEST((ratel::load_tokenizer(train::adapt_run(without).checkpoint) == tokenizer));
}

BOOST_FIXTURE_TEST_CASE(overrides_count_before_sizes_are_compared, Fixture) {
  config.data.tokenizer = kGolden + "llama.model";
  config.model.vocab_size = kVocab;
  config.data.eos = kEos;
  train_source();
  AdaptOptions o = by_file("tokenizer = \"bytes\"\n");
  check_error([&] { train::adapt_run(o); }, "data.tokenizer: expected that of ");
  o.overrides = {"data.tokenizer=" + kGolden + "llama.model"};
  const train::TrainConfig adapted = train::resolve_adapt_config(o);
  BOOST_TEST(adapted.model.vocab_size == kVocab);
  BOOST_TEST(adapted.data.eos == kEos);
  BOOST_TEST(
      (ratel::load_tokenizer(train::adapt_run(o).checkpoint) == ratel::Tokenizer::open(kGolden + "llama.model")));
  o.overrides.emplace_back("model.layers=3");
  check_error([&] { train::resolve_adapt_config(o); }, "model.layers is 3 in the configuration, and 2 in ");
  o.overrides.back() = "model.vocab_size=703";
  check_error([&] { train::resolve_adapt_config(o); }, "model.vocab_size is 703 in the configuration, and 704 in ");
  // The lists of the options come before overrides of the pattern.
  o = by_file("");
  o.dilation = {2};
  o.window = {3};
  o.overrides = {"--train.dilation=8"};
  BOOST_TEST((train::resolve_adapt_config(o).pattern() == ratel::ModelPattern::uniform({8, 3, 0})));
}

BOOST_FIXTURE_TEST_CASE(an_adaptation_resumes_without_its_source, Fixture) {
  train_source_with_tokenizer();
  AdaptOptions o = by_file("tokenizer = \"none\"\n");
  o.overrides = {"train.steps=3", "train.checkpoint_every=1"};
  o.stop = [] { return true; };
  BOOST_TEST(train::adapt_run(o).step == 1);
  fs::remove_all(source);
  o.start = train::Start::resume;
  BOOST_TEST(train::adapt_run(o).step == 2);  // by the file, and a source that is gone
  AdaptOptions alone;
  alone.data = data;
  alone.out = o.out;
  alone.start = train::Start::resume;
  const train::RunResult last = train::adapt_run(alone);
  BOOST_TEST(last.step == 3);
  BOOST_TEST((ratel::load_tokenizer(last.checkpoint) == ratel::Tokenizer::open(kGolden + "llama.model")));
  alone.out = folder / "nothing";
  check_error([&] { train::adapt_run(alone); }, "adapt: expected a model folder, a checkpoint or a run folder");
}

BOOST_FIXTURE_TEST_CASE(the_end_of_text_of_a_bare_model_is_the_tokenizer_s_or_the_data_s, Fixture) {
  train_source_with_tokenizer();
  AdaptOptions o;
  o.dilation = {2};
  o.from = bare_model(ratel::Tokenizer::open(kGolden + "llama.model"));
  BOOST_TEST(train::resolve_adapt_config(o).data.eos == kEos);
  o.from = bare_model({});
  BOOST_TEST(train::resolve_adapt_config(o).data.eos == -1);
  io::TokenFileWriter writer(folder / "told.bin", kVocab);
  writer.append(test::tiny_tokens(300, 1));
  io::TokenSidecar about;
  about.eos = 16;
  writer.close(about);
  o.data = folder / "told.bin";
  train::Origins origins;
  BOOST_TEST(train::resolve_adapt_config(o, &origins).data.eos == 16);
  BOOST_TEST(origins["data.eos"] == "the sidecar of the data");
  o.overrides = {"data.eos=-1"};
  BOOST_TEST(train::resolve_adapt_config(o).data.eos == -1);
  o.overrides.clear();
  o.from = source;  // what its run was trained with
  BOOST_TEST(train::resolve_adapt_config(o).data.eos == kEos);
}
