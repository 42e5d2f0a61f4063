#include "models/authors_checkpoint.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "io/pth.h"
#include "models/model_folder.h"
#include "models/names.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "test/support/compare.h"
#include "test/support/golden.h"

using ratel::authors_tensors;
using ratel::AuthorsModel;
using ratel::DType;
using ratel::Error;
using ratel::ErrorKind;
using ratel::ModelPattern;
using ratel::RatPlusConfig;
using ratel::read_authors_config;
using ratel::read_authors_model;
using ratel::Recurrence;
using ratel::Shape;
using ratel::Tensor;
using ratel::io::Json;
using ratel::io::PthFile;
using ratel::io::SafetensorsFile;
using ratel::io::TensorSource;
namespace test = ratel::test;

namespace {

std::string golden(const std::string& name) { return RATEL_SOURCE_DIR "/test/golden/pth/" + name; }

/// A model of 2 layers, 13 words and 8 channels in the authors' names, its head tied.
struct Tensors {
  std::vector<TensorSource> list;
  explicit Tensors(int64_t projections = 5) {
    add("embedding.wte.weight", {13, 8});
    for (const char* layer : {"backbone.layers.0.", "backbone.layers.1."}) {
      const std::string at = layer;
      add(at + "seq_layer.in_proj.weight", {projections * 8, 8});
      add(at + "seq_layer.input_norm.weight", {8});
      add(at + "seq_layer.out_proj.weight", {8, 8});
      add(at + "hidden_layer.ln.weight", {8});
      add(at + "hidden_layer.fc1.weight", {32, 8});
      add(at + "hidden_layer.fc2.weight", {8, 32});
    }
    add("backbone.ln.weight", {8});
    list.push_back(list[0]);
    list.back().name = "head.lm_head.weight";
  }
  void add(const std::string& name, const Shape& shape, DType dtype = DType::f32) {
    list.push_back(ratel::io::source_of(name, ratel::full(shape, static_cast<double>(list.size()) / 3, dtype)));
  }
  TensorSource& at(const std::string& name) { return *std::ranges::find(list, name, &TensorSource::name); }
  void drop(const std::string& name) {
    std::erase_if(list, [&](const TensorSource& t) { return t.name == name; });
  }
};

void check_refused(const Tensors& tensors, const std::string& part) {
  try {
    (void)read_authors_model(tensors.list, "f");
    BOOST_ERROR("expected an error with \"" + part + '"');
  } catch (const Error& error) {
    const std::string message = error.what();
    BOOST_TEST((error.kind() == ErrorKind::input), message);
    BOOST_TEST(message.starts_with("f: "), message);
    BOOST_TEST(message.find(part) != std::string::npos, message + " lacks " + part);
  }
}

Json config(const std::string& text) { return ratel::io::parse_json(text, "config"); }

const RatPlusConfig kSizes{13, 2, 64, 1};

}  // namespace

BOOST_AUTO_TEST_CASE(checkpoints_of_pytorch_are_read_bit_for_bit) {
  for (const char* name : {"torch1_model", "torch2_model", "torch2_baseline_bf16"}) {
    BOOST_TEST_CONTEXT(name) {
      const PthFile file = PthFile::open(golden(std::string(name) + ".pth"));
      const SafetensorsFile expected = SafetensorsFile::open(golden(std::string(name) + ".safetensors"));
      const AuthorsModel model = read_authors_model(file.sources(), "f");
      BOOST_TEST(model.config.vocab_size == 13);
      BOOST_TEST(model.config.layers == 2);
      BOOST_TEST(model.config.channels == 8);
      BOOST_TEST((model.config.recurrence == Recurrence::none) == std::string(name).ends_with("bf16"));
      std::map<std::string, Tensor> by_path;
      for (const auto& entry : expected.names())
        by_path[ratel::path_of_authors_name(entry).value()] = expected.tensor(entry);
      BOOST_REQUIRE(model.parameters.size() == by_path.size());
      for (const TensorSource& parameter : model.parameters)
        test::check_identical(contiguous(parameter.read()), by_path.at(parameter.name), parameter.name);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_gate_apart_is_joined) {
  const PthFile file = PthFile::open(golden("torch2_gate_apart_f16.pth"));
  const AuthorsModel model = read_authors_model(file.sources(), "f");
  BOOST_TEST((model.config.recurrence == Recurrence::gated));
  const SafetensorsFile expected = SafetensorsFile::open(golden("torch2_gate_apart_f16.safetensors"));
  const auto found = std::ranges::find(model.parameters, "layers.1.mixer.in_proj.weight", &TensorSource::name);
  const Tensor whole = found->read();
  BOOST_TEST(whole.shape() == (Shape{40, 8}));
  BOOST_TEST(whole.dtype() == DType::f32);
  const auto part = [&](int64_t begin, int64_t end) {
    return contiguous(view_of(whole, whole.layout().sliced(0, begin, end)));
  };
  test::check_identical(part(0, 32), expected.tensor("backbone.layers.1.seq_layer.in_proj.weight"), "in_proj");
  test::check_identical(part(32, 40), expected.tensor("backbone.layers.1.seq_layer.fgate_proj.weight"), "gate");
}

BOOST_AUTO_TEST_CASE(dtypes) {
  const PthFile file = PthFile::open(golden("torch2_model.pth"));
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    const AuthorsModel model = read_authors_model(file.sources(), "f", dtype);
    for (const TensorSource& parameter : model.parameters) {
      BOOST_TEST(parameter.dtype == dtype);
      BOOST_TEST(parameter.read().dtype() == dtype);
    }
  }
  Tensors mixed;
  mixed.drop("backbone.ln.weight");
  mixed.add("backbone.ln.weight", {8}, DType::bf16);
  BOOST_TEST(read_authors_model(mixed.list, "f").parameters.back().dtype == DType::f32);
  mixed.drop("backbone.ln.weight");
  mixed.add("backbone.ln.weight", {8}, DType::i64);
  check_refused(mixed, "backbone.ln.weight: expected f64, f32, bf16 or f16, found i64");
}

BOOST_AUTO_TEST_CASE(the_names_of_authors_there_and_back) {
  const Tensors tensors;
  const AuthorsModel model = read_authors_model(tensors.list, "f");
  const auto theirs = authors_tensors(model.parameters);
  BOOST_REQUIRE(theirs.size() == tensors.list.size());
  BOOST_TEST(theirs.front().name == "embedding.wte.weight");
  BOOST_TEST(theirs.back().name == "head.lm_head.weight");
  for (const TensorSource& tensor : tensors.list) {
    const auto found = std::ranges::find(theirs, tensor.name, &TensorSource::name);
    BOOST_REQUIRE((found != theirs.end()));
    test::check_identical(found->read(), tensor.read(), tensor.name);
  }
  test::check_error([&] { (void)authors_tensors({ratel::io::source_of("x", ratel::zeros({1}))}); },
                    "\"x\" is no parameter");
}

BOOST_AUTO_TEST_CASE(all_tensors_that_do_not_fit_are_in_one_error) {
  Tensors tensors;
  tensors.add("head.bias", {13});
  tensors.add("module.embedding.wte.weight", {13, 8});
  tensors.add("extra", {1});
  check_refused(tensors, "unknown: head.bias, extra; repeated: module.embedding.wte.weight");
  Tensors shapes;
  shapes.drop("backbone.layers.0.seq_layer.out_proj.weight");
  shapes.drop("backbone.layers.1.hidden_layer.fc1.weight");
  shapes.add("backbone.layers.1.hidden_layer.fc1.weight", {31, 8});
  check_refused(
      shapes,
      "1 missing: layers.0.mixer.out_proj.weight; 1 misshaped: layers.1.feed_forward.fc1.weight (expected (32, "
      "8), found (31, 8))");
  Tensors no_gate;
  no_gate.drop("backbone.layers.1.seq_layer.in_proj.weight");
  no_gate.add("backbone.layers.1.seq_layer.fgate_proj.weight", {8, 8});
  check_refused(no_gate, "backbone.layers.1.seq_layer.fgate_proj.weight without in_proj");
  Tensors half_gate(4);
  half_gate.add("backbone.layers.1.seq_layer.fgate_proj.weight", {8, 8});
  check_refused(half_gate, "1 misshaped: layers.0.mixer.in_proj.weight (expected (40, 8), found (32, 8))");
  Tensors wrong_gate(4);
  wrong_gate.add("backbone.layers.0.seq_layer.fgate_proj.weight", {8, 7});
  wrong_gate.add("backbone.layers.1.seq_layer.fgate_proj.weight", {8, 8});
  check_refused(wrong_gate, "layers.0.mixer.in_proj.weight");
}

BOOST_AUTO_TEST_CASE(tensors_that_are_no_model) {
  Tensors tensors;
  tensors.drop("embedding.wte.weight");
  check_refused(tensors, "expected a tensor embedding.wte.weight, found none");
  tensors.add("embedding.wte.weight", {13});
  check_refused(tensors, "embedding.wte.weight: expected shape (words, channels), found (13)");
  Tensors far;
  far.add("backbone.layers.9999.hidden_layer.ln.weight", {8});
  check_refused(far, "backbone.layers.9999.hidden_layer.ln.weight: expected layers numbered from 0 without gaps");
  Tensors gap;
  gap.add("backbone.layers.3.hidden_layer.ln.weight", {8});
  check_refused(gap, "11 missing: layers.2.mixer.norm.weight");
  Tensors none;
  none.list.erase(none.list.begin() + 1, none.list.end());
  check_refused(none, "expected tensors backbone.layers.N..., found none");
  Tensors odd;
  odd.drop("embedding.wte.weight");
  odd.add("embedding.wte.weight", {13, 7});
  check_refused(odd, "channels");
}

BOOST_AUTO_TEST_CASE(wide_models_have_several_heads_from_the_start) {
  std::vector<TensorSource> tensors;
  const auto add = [&](const std::string& name, const Shape& shape) {
    tensors.push_back({name, DType::f32, shape, [shape] { return ratel::zeros(shape); }});
  };
  add("embedding.wte.weight", {13, 2048});
  add("backbone.layers.0.seq_layer.in_proj.weight", {int64_t{5} * 2048, 2048});
  add("backbone.layers.0.seq_layer.input_norm.weight", {2048});
  add("backbone.layers.0.seq_layer.out_proj.weight", {2048, 2048});
  add("backbone.layers.0.hidden_layer.ln.weight", {2048});
  add("backbone.layers.0.hidden_layer.fc1.weight", {int64_t{4} * 2048, 2048});
  add("backbone.layers.0.hidden_layer.fc2.weight", {2048, int64_t{4} * 2048});
  add("backbone.ln.weight", {2048});
  BOOST_TEST(read_authors_model(tensors, "f").config.channels == 2048);  // one head would be wider than kernels take
}

BOOST_AUTO_TEST_CASE(heads_that_are_not_tied) {
  Tensors tensors;
  auto& head = tensors.at("head.lm_head.weight");
  head = ratel::io::source_of(head.name, clone(tensors.at("embedding.wte.weight").read()));
  (void)read_authors_model(tensors.list, "f");  // another tensor of the same values
  const Tensor other = clone(head.read());
  other.data<float>()[103] += 1;
  head = ratel::io::source_of(head.name, other);
  check_refused(tensors, "head.lm_head.weight: expected the values of embedding.wte.weight, to which it is tied");
  head = ratel::io::source_of(head.name, ratel::zeros({12, 8}));
  check_refused(tensors, "head.lm_head.weight: expected f32 (13, 8)");
  tensors.drop("head.lm_head.weight");
  BOOST_TEST(read_authors_model(tensors.list, "f").parameters.size() == 14u);
}

BOOST_AUTO_TEST_CASE(heads_of_a_configuration) {
  const auto heads = [](const std::string& text) { return read_authors_config(config(text), kSizes).heads; };
  using Numbers = std::vector<int64_t>;
  BOOST_TEST(heads("{}").empty());
  BOOST_TEST(heads(R"({"a": [{"b": {"num_head": 4}}]})") == Numbers{4});
  BOOST_TEST(heads(R"({"n_head": 4, "d_head": 16})") == Numbers{4});
  BOOST_TEST(heads(R"({"k_channel": 8})") == Numbers{8});
  BOOST_TEST(heads(R"({"num_head": 4, "other": {"nhead": 8}})") == (Numbers{4, 8}));
  BOOST_TEST(heads(R"({"num_head": 3, "n_head": 0, "head_dim": 0, "d_head": -8, "num_heads": 64})").empty());
  BOOST_TEST(heads(R"({"num_head": "4"})").empty());
  BOOST_TEST(ratel::plausible_heads(2048) == (Numbers{8, 16, 32, 64}));
  BOOST_TEST(ratel::plausible_heads(8) == (Numbers{1, 2, 4}));
  BOOST_TEST(ratel::plausible_heads(7).empty());
}

BOOST_AUTO_TEST_CASE(patterns_of_a_configuration) {
  const auto adapted = [](const std::string& text) { return read_authors_config(config(text), kSizes).adapted; };
  const std::string other = R"("local_size": 4, "initial_size": 1})";
  BOOST_TEST((adapted(R"({"x": {"joint_train": false, "dilation_size": 16, )" + other + "}").value() ==
              ModelPattern::uniform({16, 4, 1})));
  BOOST_TEST((adapted(R"({"joint_train": false, "dilation_size": [16, -1], )" + other).value() ==
              ModelPattern{{{{16, 4, 1}}, {{-1, 4, 1}}}}));
  BOOST_TEST(!adapted(R"({"joint_train": true, "dilation_size": 16, )" + other));
  BOOST_TEST(!adapted(R"({"joint_train": false, "dilation_size": 1, )" + other));
  BOOST_TEST(!adapted(R"({"joint_train": false, "dilation_size": 0, )" + other));
  BOOST_TEST(!adapted(R"({"joint_train": false, "dilation_size": [16, 16, 16], )" + other));
  BOOST_TEST(!adapted(R"({"joint_train": false, )" + other));
  BOOST_TEST(read_authors_config(config(R"({"pe": {"base": 500000}})"), kSizes).rope_base.value() == 500000);
  BOOST_TEST(!read_authors_config(config(R"({"base": 500000, "pe": {"base": -1}})"), kSizes).rope_base);
  for (const double base : {HUGE_VAL, std::nan("")})  // a pickle may hold them
    BOOST_TEST(!read_authors_config(Json::object({{"pe", Json::object({{"base", base}})}}), kSizes).rope_base);
}

BOOST_AUTO_TEST_CASE(a_golden_model_computes_the_same_after_the_way_through_a_folder) {
  const test::Golden golden_model("model_0");
  std::vector<TensorSource> tensors;
  for (const std::string& name : golden_model.names("grad."))
    tensors.push_back(ratel::io::source_of(name, golden_model[name]));
  AuthorsModel model = read_authors_model(tensors, "f");
  BOOST_TEST(model.parameters.front().dtype == DType::f64);
  model.config.heads = golden_model.about("heads").as_int();
  const std::string folder = RATEL_BINARY_DIR "/test_authors_checkpoint";
  save_model(folder, {model.config, std::nullopt, {}}, DType::f64, model.parameters, 1000);
  const auto loaded = ratel::load_model(folder, DType::f64);
  for (const auto& [path, tensor] : loaded.store.parameters()) {
    const auto found = std::ranges::find(model.parameters, path, &TensorSource::name);
    test::check_identical(detach(tensor), found->read(), path);
  }
}
