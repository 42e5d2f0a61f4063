// ratel inspect --gates on models of a moment's training.
#include <boost/test/unit_test.hpp>
#include <string>

#include "test/cli/process.h"

namespace ratel::test {
namespace {

using io::Json;

/// A run with a recurrence and one of attention only.
struct Runs : Fixture {
  std::string gated = scratch / "gated", attention = scratch / "attention";
  Runs() {
    BOOST_TEST_REQUIRE(run_ratel(training(gated)).code == 0);
    BOOST_TEST_REQUIRE(run_ratel(training(attention, {"--model.recurrence=none"})).code == 0);
  }
};

const Runs& runs() {
  static const Runs made;
  return made;
}

/// `ratel inspect --gates` of the run with these words.
Words gates(const Words& more) {
  Words words = {"inspect", "--gates", runs().gated};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace

BOOST_AUTO_TEST_CASE(gates_of_a_file_and_of_what_the_model_says) {
  for (const Words& of : {Words{"--data", runs().data}, Words{}}) {
    Words words = {"--span", "8", "--tokens", "200", "--seq-len", "16", "--dilation", "4"};
    words.insert(words.end(), of.begin(), of.end());
    const Json found = run_json(gates(words));
    BOOST_TEST(found.at("kind").as_string() == "gates");
    BOOST_TEST(found.at("model").as_string() == runs().gated);
    BOOST_TEST(found.at("data").is_null() == of.empty());
    BOOST_TEST(found.at("tokens").as_int() == 192);  // windows of 16
    BOOST_TEST(found.at("seq_len").as_int() == 16);
    BOOST_TEST(found.at("span").as_int() == 8);
    BOOST_TEST(found.at("pattern").as_array().at(0).as_array().at(0).at("dilation").as_int() == 4);
    BOOST_TEST(found.at("loss").as_double() > 0);
    int64_t number = 0;
    for (const Json& layer : found.at("layers").as_array()) {
      BOOST_TEST(layer.at("layer").as_int() == number++);
      // Weights as they start, of 0.02, open gates by half.
      BOOST_TEST(layer.at("gate").at("mean").as_double() == 0.5, boost::test_tools::tolerance(0.05));
      BOOST_TEST(layer.at("time_constant").at("median").as_double() == 2, boost::test_tools::tolerance(0.1));
      BOOST_TEST(layer.at("kept").at("max").as_double() < 0.05);
      BOOST_TEST(layer.at("carrying").as_int() == 0);
      const double share = layer.at("gradient").at("share").as_double();
      BOOST_TEST((share > 0 && share < 1));
    }
    BOOST_TEST(number > 0);
    BOOST_TEST((run_json(gates(words)) == found));
  }
}

BOOST_AUTO_TEST_CASE(gates_as_a_table) {
  const Ended ended = run_ratel(gates({"--span", "8", "--seq-len", "16", "--data", runs().data}));
  BOOST_TEST(ended.code == 0, ended.err);
  BOOST_TEST(ended.out.starts_with("Gates over "));
  BOOST_TEST(ended.out.find("\nlayer    gate  time constant") != std::string::npos, ended.out);
  BOOST_TEST(ended.out.find("carry 8") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_has_no_gates_is_said) {
  check_fails({"inspect", "--gates", runs().attention, "--data", runs().data}, 3,
              runs().attention + ": expected a model with a recurrence");
  check_fails({"inspect", "--gates", runs().data}, 3, runs().data);
  check_fails({"inspect", "--gates"}, 2, "MODEL is missing");
  check_fails(gates({runs().attention}), 2, "expected one model, found 2");
  check_fails(gates({"--seq-len", "16"}), 2, "--seq-len: expected at least --span 64, found 16");
  check_fails(gates({"--seq-len", "64", "--tokens", "63"}), 2, "--tokens: expected at least one window of 64");
  check_fails(gates({"--span", "0"}), 2, "--span: expected 1 or more, found 0");
  check_fails(gates({"--seq-len", "-1"}), 2, "--seq-len: expected 1 or more");
  check_fails(gates({"--batch-size", "0"}), 2, "--batch-size: expected 1 or more");
  check_fails(gates({"--seq-len", "64", "--eos", "-1"}), 2, "no end-of-text");
  check_fails(gates({"--seq-len", "64", "--data", runs().scratch / "missing.bin"}), 3, "missing.bin");
  check_fails(gates({"--seq-len", "64000", "--tokens", "64000", "--data", runs().data}), 3,
              "expected at least 64001 tokens");
}

}  // namespace ratel::test
