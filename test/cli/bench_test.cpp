// `ratel bench`: the rows there are, what they say of memory, and what it refuses.
#include <boost/test/unit_test.hpp>
#include <cmath>

#include "test/cli/process.h"

namespace ratel::test {
namespace {

using io::Json;

Words bench(const std::string& what, const Words& more = {}) {
  Words words = {"bench", what, "--seconds=0"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_row_for_every_batch_length_and_pattern) {
  for (const char* what : {"prefill", "decode", "layer"}) BOOST_TEST_CONTEXT(what) {
      const Json result = run_json(bench(what, {"--batch=1,2", "--length=32,64", "--dilations=1,8"}));
      BOOST_TEST(result.at("bench").as_string() == what);
      BOOST_TEST(result.at("model").as_string() == "tiny");
      BOOST_TEST(result.at("complete").as_bool());
      const Json::Array& rows = result.at("rows").as_array();
      BOOST_TEST_REQUIRE(rows.size() == 8u);
      for (size_t i = 0; i < rows.size(); ++i) {
        const Json& row = rows[i];
        const int64_t batch = i < 4 ? 1 : 2, length = i / 2 % 2 == 0 ? 32 : 64, kept = i % 2 == 0 ? length : length / 8;
        BOOST_TEST(row.at("batch").as_int() == batch);
        BOOST_TEST(row.at("length").as_int() == length);
        BOOST_TEST(row.at("name").as_string() == (i % 2 == 0 ? "D=1 W=0 S=0" : "D=8 W=0 S=0"));
        BOOST_TEST(row.at("ms").as_double() > 0);
        BOOST_TEST(row.at("runs").as_int() >= 3);
        const double tokens = static_cast<double>(what == std::string("decode") ? batch : batch * length);
        BOOST_TEST(std::abs(row.at("tokens_per_second").as_double() * row.at("ms").as_double() / 1e3 / tokens - 1) <
                   1e-9);
        // 4 layers of 128 channels: keys and values in f32, and the state of the recurrence.
        BOOST_TEST(row.at("kv_bytes").as_int() == batch * 4 * 2 * 128 * 4 * (kept + 1));
        BOOST_TEST(row.at("dense_kv_bytes").as_int() == batch * 4 * 2 * 128 * 4 * (length + 1));
        BOOST_TEST(row.at("peak_bytes").as_int() > (what == std::string("layer") ? 0 : row.at("kv_bytes").as_int()));
        BOOST_TEST((i % 2 == 1 || row.at("times_dense").as_double() == 1));
        BOOST_TEST((row.find("forward_backward_ms") != nullptr) == (what == std::string("layer")));
      }
      // What is sparse holds less: the difference of the caches at least, less what the working memory varies by.
      if (what == std::string("decode"))
        BOOST_TEST(rows[6].at("peak_bytes").as_int() - rows[7].at("peak_bytes").as_int() > 300'000);
    }
}

BOOST_AUTO_TEST_CASE(training_is_the_dense_step_and_the_joint_ones) {
  const Json result = run_json(bench("train", {"--batch=1", "--length=16", "--dilations=1,8"}));
  const Json::Array& rows = result.at("rows").as_array();
  BOOST_TEST_REQUIRE(rows.size() == 2u);
  // Weights, gradients and moments in f32.
  BOOST_TEST(rows[0].at("peak_bytes").as_int() > int64_t{4} * 4 * result.at("parameters").as_int());
}

BOOST_AUTO_TEST_CASE(a_model_and_a_pattern_file_are_measured_too) {
  const Fixture fixture;
  const std::string run = fixture.scratch / "run", pattern = fixture.scratch / "p.toml";
  BOOST_TEST_REQUIRE(run_ratel(fixture.training(run)).code == 0);
  write(pattern, "[[layer]]\ndilation = [2, 8]\n[[layer]]\ndilation = 4\nwindow = 4\n");
  for (const char* what : {"prefill", "decode", "layer"}) {
    const Words words =
        bench(what, {"--model", run, "--pattern", pattern, "--dilations=4", "--window=2", "--length=64"});
    const Json result = run_json(words);
    BOOST_TEST(result.at("model").as_string() == run);
    const Json::Array& rows = result.at("rows").as_array();
    BOOST_TEST_REQUIRE(rows.size() == 2u);
    BOOST_TEST(rows[0].at("name").as_string() == "D=4 W=2 S=0");
    BOOST_TEST(rows[1].at("name").as_string() == pattern);
    BOOST_TEST((rows[1].at("times_dense") == Json()));  // no dense row
    const Ended text = run_ratel(words);
    BOOST_TEST(text.code == 0);
    BOOST_TEST(text.out.find(pattern) != std::string::npos, text.out);
    BOOST_TEST(text.out.find("peak memory") != std::string::npos, text.out);
  }
  check_fails(bench("prefill", {"--model", run, "--preset=tiny"}), 2, "one of --model and --preset");
  write(pattern, "dilation = [1, 2, 3]\n");
  check_fails(bench("prefill", {"--model", run, "--pattern", pattern}), 3, pattern);
}

BOOST_AUTO_TEST_CASE(what_cannot_work_is_one_clear_line) {
  check_fails({"bench"}, 2, "WHAT is missing");
  check_fails(bench("speed"), 2, R"(expected one of "prefill", "decode", "train", "layer", found 'speed')");
  check_fails(bench("decode", {"prefill"}), 2, "found 2 words");
  check_fails(bench("decode", {"--preset=huge"}), 2, "no preset \"huge\"");
  check_fails(bench("decode", {"--batch=0"}), 2, "--batch: expected 1 to 268435456, found 0");
  check_fails(bench("decode", {"--length=8,-1"}), 2, "--length: expected 1 to 268435456, found -1");
  check_fails(bench("decode", {"--length=7"}), 2, "--length: expected 8 or more to decode to, found 7");
  check_fails(bench("prefill", {"--dilations=0"}), 2, "dilation must be at least 1");
  check_fails(bench("prefill", {"--chunk=0"}), 2, "--chunk");
  check_fails({"bench", "prefill", "--seconds=-1"}, 2, "--seconds");
  check_fails(bench("train", {"--window=3"}), 2, "expected --dilations alone");
  check_fails(bench("train", {"--dilation=3"}), 2, "the nearest option is --dilations");
  // Refused before anything is allocated: dense is what does not fit.
  for (const char* what : {"prefill", "decode"})
    check_fails(bench(what, {"--preset=7b", "--batch=1,10000", "--length=100000", "--dilations=64,1"}), 4,
                "10000 x 100000 tokens, D=1 W=0 S=0: weights and cache need ");
  check_fails(bench("train", {"--batch=1000000"}), 4, "1000000 x 256 tokens");
  check_fails(bench("layer", {"--batch=100000", "--length=100000"}), 4, "weights and activations need ");
  check_fails(bench("train", {"--preset=7b", "--batch=1048576", "--length=1048576"}), 4,
              "MiB free\nhint: a smaller --batch or --length, or a smaller model");
}

}  // namespace ratel::test
