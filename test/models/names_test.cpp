#include "models/names.h"

#include "models/rat_plus.h"
#include "test/support/golden.h"

#include <boost/test/unit_test.hpp>
#include <set>

using ratel::authors_name_of_path;
using ratel::path_of_authors_name;

BOOST_AUTO_TEST_CASE(the_names_of_a_golden_model_lead_to_all_paths_of_ours) {
  for (const char* name : {"model_0", "model_9"}) {
    const ratel::test::Golden golden(name);
    ratel::nn::ParamStore store(ratel::DType::f32, 0, ratel::nn::Start::shapes_only);
    const auto& words = golden["embedding.wte.weight"];
    const ratel::RatPlus model(ratel::nn::Scope(store), {words.dim(0), golden.about("layers").as_int(), words.dim(1),
                                                         golden.about("heads").as_int()});
    std::set<std::string> paths, ours;
    for (const std::string& authors_name : golden.names("grad."))
      paths.insert(path_of_authors_name(authors_name).value());
    for (const auto& [path, tensor] : store.parameters()) ours.insert(path);
    BOOST_TEST(paths == ours, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(layers_and_their_parts) {
  BOOST_TEST(path_of_authors_name("backbone.layers.0.seq_layer.input_norm.weight").value() ==
             "layers.0.mixer.norm.weight");
  BOOST_TEST(path_of_authors_name("backbone.layers.31.hidden_layer.ln.weight").value() ==
             "layers.31.feed_forward.norm.weight");
  BOOST_TEST(path_of_authors_name("backbone.ln.weight").value() == "norm.weight");
}

BOOST_AUTO_TEST_CASE(prefixes_are_dropped_and_the_tied_head_leads_to_the_embedding) {
  BOOST_TEST(path_of_authors_name("_orig_mod.backbone.ln.weight").value() == "norm.weight");
  BOOST_TEST(path_of_authors_name("module._orig_mod.embedding.wte.weight").value() == "embedding.weight");
  BOOST_TEST(path_of_authors_name("head.lm_head.weight").value() == "embedding.weight");
}

BOOST_AUTO_TEST_CASE(wrappers_may_be_anywhere_in_a_name) {
  BOOST_TEST(path_of_authors_name("backbone._orig_mod.layers.0._orig_mod.seq_layer.module.in_proj.weight").value() ==
             "layers.0.mixer.in_proj.weight");
  BOOST_TEST(path_of_authors_name("module.module.module.backbone.ln.weight").value() == "norm.weight");
  BOOST_TEST(ratel::without_wrappers("module.a._orig_mod.b") == "a.b");
  for (const char* name : {"a.module", "module", "modules.a", "my_orig_mod.a", "", ".", "a.", "a..b"})
    BOOST_TEST(ratel::without_wrappers(name) == name);
}

BOOST_AUTO_TEST_CASE(names_there_and_back) {
  ratel::nn::ParamStore store(ratel::DType::f32, 0, ratel::nn::Start::shapes_only);
  const ratel::RatPlus model(ratel::nn::Scope(store), {11, 12, 4, 1});
  for (const auto& [path, tensor] : store.parameters())
    BOOST_TEST(path_of_authors_name(authors_name_of_path(path).value()).value() == path);
  BOOST_TEST(authors_name_of_path("layers.11.mixer.norm.weight").value() ==
             "backbone.layers.11.seq_layer.input_norm.weight");
  for (const char* path :
       {"", "weight", "head.weight", "layers.0", "layers.x.mixer.norm.weight", "layers.0.mixer.norm"})
    BOOST_TEST(!authors_name_of_path(path), path);
}

BOOST_AUTO_TEST_CASE(other_names_are_not_known) {
  for (const char* name : {"", "weight", "backbone.layers.", "backbone.layers.0", "backbone.layers.0.",
                           "backbone.layers.x.hidden_layer.ln.weight", "backbone.layers.00.hidden_layer.ln.weight",
                           "backbone.layers.-1.hidden_layer.ln.weight", "backbone.layers.1.hidden_layer.ln.bias",
                           "backbone.layers.1.seq_layer.ln.weight", "embedding.wte.weight.0", "norm.weight"})
    BOOST_TEST(!path_of_authors_name(name), name);
}
