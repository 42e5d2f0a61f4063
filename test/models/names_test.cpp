#include "models/names.h"

#include "models/rat_plus.h"
#include "test/support/golden.h"

#include <boost/test/unit_test.hpp>

using ratel::authors_name_of_path;
using ratel::path_of_authors_name;

BOOST_AUTO_TEST_CASE(names_of_every_tensor_lead_there_and_back) {
  for (const char* golden : {"model_0", "model_9"})
    for (const std::string& name : ratel::test::Golden(golden).names("grad.")) {
      const auto path = path_of_authors_name(name);
      BOOST_REQUIRE_MESSAGE(path, name);
      BOOST_TEST(authors_name_of_path(*path).value() == name);
    }
  ratel::nn::ParamStore store;
  const ratel::RatPlus model(ratel::nn::Scope(store), {17, 12, 8, 2});
  for (const auto& [path, tensor] : store.parameters()) {
    const auto name = authors_name_of_path(path);
    BOOST_REQUIRE_MESSAGE(name, path);
    BOOST_TEST(path_of_authors_name(*name).value() == path);
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

BOOST_AUTO_TEST_CASE(other_names_are_not_known) {
  for (const char* name : {"", "weight", "backbone.layers.", "backbone.layers.0", "backbone.layers.0.",
                           "backbone.layers.x.hidden_layer.ln.weight", "backbone.layers.00.hidden_layer.ln.weight",
                           "backbone.layers.-1.hidden_layer.ln.weight", "backbone.layers.1.hidden_layer.ln.bias",
                           "backbone.layers.1.seq_layer.ln.weight", "embedding.wte.weight.0", "norm.weight"})
    BOOST_TEST(!path_of_authors_name(name), name);
  for (const char* path : {"", "layers.0.mixer.weight", "backbone.ln.weight", "layers..mixer.norm.weight"})
    BOOST_TEST(!authors_name_of_path(path), path);
}
