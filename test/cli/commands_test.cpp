// The binary as people and scripts use it: what every command prints, and that it can be relied upon.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <thread>

#include "core/error.h"
#include "test/cli/process.h"

namespace ratel::test {
namespace {

namespace fs = std::filesystem;
using io::Json;

Words keys_of(const Json& object) {
  Words keys;
  for (const auto& [key, value] : object.as_object()) keys.push_back(key);
  return keys;
}

/// A trained model and one adapted from it to D=4, W=2.
struct Models : Fixture {
  std::string run = scratch / "run", adapted = scratch / "adapted";
  Models() {
    BOOST_TEST_REQUIRE(run_ratel(training(run)).code == 0);
    const Ended ended = run_ratel(
        {"adapt", "--from", run, "--dilation", "4", "--window=2", "--data", data, "--out", adapted, "--train.steps=2"});
    BOOST_TEST_REQUIRE(ended.code == 0, ended.err);
  }
};

const Models& models() {
  static const Models made;
  return made;
}

Json eval(const Words& more, const std::string& model = models().run) {
  Words words = {"eval", "--model", model, "--data", models().data};
  words.insert(words.end(), more.begin(), more.end());
  return run_json(words);
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_command_has_help_with_examples) {
  for (const char* command :
       {"tokenize", "train", "adapt", "eval", "generate", "search", "bench", "needles", "inspect", "doctor", "plot"})
    BOOST_TEST_CONTEXT(command) {
      const Ended help = run_ratel({command, "-h"});
      BOOST_TEST(help.code == 0);
      BOOST_TEST(help.err.empty());
      BOOST_TEST(help.out.find("Examples:\n  ratel " + std::string(command)) != std::string::npos);
      BOOST_TEST(help.out.find("--json") != std::string::npos);
      BOOST_TEST(run_ratel({"help", command}).out == help.out);
      BOOST_TEST(run_ratel({"help"}).out.find(command) != std::string::npos);
    }
  BOOST_TEST(run_ratel({"--version"}).out.starts_with("ratel "));
  BOOST_TEST(run_ratel({"--help"}).code == 0);
}

BOOST_AUTO_TEST_CASE(tokenizing_keeps_every_byte_and_ends_every_document) {
  const TemporaryFolder scratch;
  std::string first;
  for (int byte = 0; byte < 256; ++byte) first += static_cast<char>(byte);
  const std::string second = prose(700000);  // more than a piece is read at a time
  write(scratch / "a", first);
  write(scratch / "b", second);
  const Json result =
      run_json({"tokenize", "--tokenizer", "bytes", scratch / "a", scratch / "b", "--output", scratch / "t.bin"});
  BOOST_TEST(keys_of(result) == (Words{"tokens", "bytes", "documents", "vocab_size", "output", "empty_documents",
                                       "bad_rows", "seconds", "megabytes_per_second"}));
  BOOST_TEST(result.at("tokens").as_int() == 700258);
  BOOST_TEST(result.at("bytes").as_int() == 700256);
  BOOST_TEST(result.at("documents").as_int() == 2);

  const std::string file = read(scratch / "t.bin");
  std::string expected;
  for (const std::string& text : {first, second}) {
    for (const char byte : text) (expected += byte) += '\0';
    (expected += '\0') += '\1';
  }
  BOOST_TEST((file == expected));
  BOOST_TEST(!fs::exists(scratch / "t.bin.tmp"));
  const Ended piped = shell("cat " + scratch / "a" + " | $RATEL tokenize - --output " + scratch / "p.bin");
  BOOST_TEST(piped.code == 0, piped.err);
  BOOST_TEST((read(scratch / "p.bin") == expected.substr(0, 2 * (first.size() + 1))));
}

BOOST_AUTO_TEST_CASE(an_interrupted_tokenizing_leaves_nothing_half_written) {
  const TemporaryFolder scratch;
  const std::string output = scratch / "t.bin";
  write(output, "as it was");
  // It reads a pipe that stays open: the kill comes while it waits for more.
  const Ended ended = shell("mkfifo " + scratch / "pipe" + "; $RATEL tokenize " + scratch / "pipe --output " + output +
                            " & exec 3> " + scratch / "pipe" + "; echo text >&3; until [[ -e " + output +
                            ".tmp ]]; do sleep 0.01; done; sleep 0.05; kill -INT $!; wait $!");
  BOOST_TEST(ended.code == 130, ended.err);
  BOOST_TEST(read(output) == "as it was");
  BOOST_TEST(!fs::exists(output + ".tmp"));
}

BOOST_AUTO_TEST_CASE(training_reports_and_leaves_a_run) {
  const std::string run = models().scratch / "reported";
  const Ended ended = run_ratel(models().training(run, {"--json"}));
  BOOST_TEST(ended.code == 0);
  const Json result = io::parse_json(ended.out, "stdout");
  BOOST_TEST(result.at("status").as_string() == "finished");
  BOOST_TEST(result.at("step").as_int() == 8);
  BOOST_TEST(result.at("checkpoint").as_string() == run + "/checkpoints/step-8");
  BOOST_TEST(result.at("loss").as_double() < std::log(257.0));
  BOOST_TEST(result.find("sparse_loss") != nullptr);
  for (const char* part : {"step 8/8", "loss ", "(sparse ", "lr ", "norm ", "tok/s", "ETA "})
    BOOST_TEST(ended.err.find(part) != std::string::npos, part << " is not in " << ended.err);
  BOOST_TEST(ended.err.find('\r') == std::string::npos);  // no redrawing in a pipe
}

BOOST_AUTO_TEST_CASE(a_run_validates_keeps_its_best_and_leaves_all_its_records) {
  const TemporaryFolder scratch;
  const std::string run = scratch / "run", held = scratch / "held.bin";
  write(scratch / "held.txt", prose(900, 7));
  BOOST_TEST_REQUIRE(run_ratel({"tokenize", scratch / "held.txt", "--output", held}).code == 0);
  const Words words =
      models().training(run, {"--validation", held, "--train.validate_every=2", "--train.keep_best=true"});
  const Ended ended = run_ratel(words);
  BOOST_TEST_REQUIRE(ended.code == 0, ended.err);
  BOOST_TEST(ended.err.find("validation after step 2: loss ") != std::string::npos, ended.err);
  BOOST_TEST(ended.err.find(", the lowest so far\n") != std::string::npos, ended.err);
  for (const char* part : {"MFU n/a", "KiB"}) BOOST_TEST(ended.err.find(part) != std::string::npos, ended.err);
  BOOST_TEST(run_ratel([&] {
               Words again = words;
               again.emplace_back("--resume");
               return again;
             }())
                 .code == 0);

  int64_t events = 0;
  for (const auto& entry : fs::directory_iterator(run))
    events += entry.path().filename().string().starts_with("events.out.tfevents.") ? 1 : 0;
  BOOST_TEST(events == 2);
  const std::string log = read(run + "/log.txt");
  for (const char* part : {"Z ratel train ", "parameters, 8 steps", "Z step 8/8", "Z validation after step 8",
                           "Z checkpoint ", "Z resuming after step 8", "Z finished at step 8 of 8"})
    BOOST_TEST(log.find(part) != std::string::npos, part << " is not in " << log);

  const auto loss = [&](const std::string& model) {
    return run_json({"eval", "--model", model, "--data", held}).at("loss").as_double();
  };
  BOOST_TEST(loss(run + "/best") <= loss(run));
  const Json described = run_json({"inspect", run});
  BOOST_TEST(described.at("last").find("loss") != nullptr);
  BOOST_TEST(described.at("last_validation").at("validation_loss").as_double() > 0);
  BOOST_TEST(described.at("best_checkpoint").as_string().starts_with(run + "/checkpoints/step-"));
  BOOST_TEST(run_json({"inspect", run + "/best"}).at("kind").as_string() == "checkpoint");
  BOOST_TEST_REQUIRE(run_ratel({"convert", run + "/best/", scratch / "best"}).code == 0);
  BOOST_TEST_REQUIRE(run_ratel({"convert", described.at("best_checkpoint").as_string(), scratch / "named"}).code == 0);
  check_fails({"convert", run, run + "/best"}, 2, "names the best checkpoint of a run");
  BOOST_TEST((read(scratch / "best/model.safetensors") == read(scratch / "named/model.safetensors")));
  const Ended none = run_ratel({"eval", "--model", models().run + "/best", "--data", held});
  BOOST_TEST(none.code == 3);
  BOOST_TEST(none.err.find("\nhint: train with --validation") != std::string::npos, none.err);
}

BOOST_AUTO_TEST_CASE(resuming_what_is_finished_states_no_figures_of_steps_it_did_not_make) {
  const TemporaryFolder scratch;
  const Words words = models().training(scratch / "run", {"--resume", "--json"});
  BOOST_TEST(run_json(words).find("loss") != nullptr);
  const Json again = run_json(words);
  BOOST_TEST(keys_of(again) == (Words{"status", "run", "checkpoint", "step", "steps"}),
             boost::test_tools::per_element());
  BOOST_TEST(again.at("status").as_string() == "finished");
  BOOST_TEST(again.at("step").as_int() == again.at("steps").as_int());
}

BOOST_AUTO_TEST_CASE(what_follows_an_end_of_text_is_not_counted_unless_asked_for) {
  const TemporaryFolder scratch;
  const std::string data = scratch / "two.bin", bare = scratch / "bare";
  write(scratch / "a.txt", prose(300, 1));
  write(scratch / "b.txt", prose(300, 2));
  BOOST_TEST_REQUIRE(run_ratel({"tokenize", scratch / "a.txt", scratch / "b.txt", "--output", data}).code == 0);
  const auto tokens = [&](const std::string& model, const Words& more) {
    Words words = {"eval", "--model", model, "--data", data, "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return run_json(words).at("tokens").as_int();
  };
  fs::copy(models().run + "/checkpoints/step-8", bare);
  for (const char* name : {"MANIFEST.json", "state.json", "optimizer.safetensors"}) fs::remove(bare + "/" + name);
  const int64_t all = tokens(models().run, {"--eos=-1"});
  const int64_t counted = tokens(models().run, {"--eos=256"});
  BOOST_TEST(counted == all - 1);  // the text that follows the first
  BOOST_TEST(tokens(models().run, {}) == counted);
  BOOST_TEST(tokens(bare, {}) == counted);
  std::string config = read(bare + "/config.json");
  const size_t at = config.find("\"bytes\"");
  BOOST_TEST_REQUIRE(at != std::string::npos);
  write(bare + "/config.json", config.replace(at, 7, "\"none\""));
  BOOST_TEST(tokens(bare, {}) == counted);  // the data knows it
  fs::remove(data + ".json");
  BOOST_TEST(tokens(bare, {}) == all);
  check_fails({"eval", "--model", bare, "--data", data, "--eos", "x"}, 2, "--eos: expected an integer, found 'x'");
  check_fails({"eval", "--model", bare, "--data", data, "--eos", "-2"}, 2, "--eos: expected a token id, or -1");
  for (const std::string context : {"0", "9223372036854775807"})
    check_fails({"eval", "--model", bare, "--data", data, "--context", context}, 2, "--context: expected 1 to ");
}

BOOST_AUTO_TEST_CASE(adapting_by_a_file_takes_its_words_and_checks_its_sizes) {
  const TemporaryFolder scratch;
  write(scratch / "a.toml",
        "[model]\nlayers = 2\nchannels = 16\nheads = 2\n[optimizer]\npeak_rate = 1e-5\n[train]\nsteps = 3\n"
        "joint = \"off\"\ndilation = 8\n[data]\nseq_len = 32\nbatch_size = 2\n");
  const Words words = {"adapt",  "--from",      models().run, "--config",     scratch / "a.toml",
                       "--data", models().data, "--out",      scratch / "out"};
  const auto with = [&](const Words& more) {
    Words all = words;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const Ended shown = run_ratel(with({"--print-config", "--dilation=4"}));
  BOOST_TEST(shown.code == 0, shown.err);
  BOOST_TEST(shown.out.find("dilation = 4                    # --dilation\n") != std::string::npos, shown.out);
  BOOST_TEST(shown.out.find("peak_rate = 1e-05               # " + scratch / "a.toml:6") != std::string::npos,
             shown.out);
  BOOST_TEST(run_ratel(words).code == 0);
  BOOST_TEST(run_json({"inspect", scratch / "out/checkpoints/step-3"}).at("pattern").as_string() == "D=8 W=0 S=0");
  write(scratch / "a.toml", "[train]\njoint = \"off\"\n");
  const Ended other = run_ratel(with({}));
  BOOST_TEST(other.code == 2);
  BOOST_TEST(other.err.find("model.layers is 4 in the configuration, and 2 in ") != std::string::npos, other.err);
}

BOOST_AUTO_TEST_CASE(the_configuration_prints_as_what_reads_back) {
  const TemporaryFolder scratch;
  const Ended first = run_ratel({"train", "--print-config", "--train.steps=77", "--train.dilation=1,4,4,16"});
  BOOST_TEST(first.code == 0);
  BOOST_TEST(first.out.find("steps = 77                      # train.steps=77\n") != std::string::npos, first.out);
  write(scratch / "c.toml", first.out);
  const Json before = run_json({"train", "--print-config", "--train.steps=77", "--train.dilation=1,4,4,16"});
  BOOST_TEST((run_json({"train", "--print-config", "--config", scratch / "c.toml"}) == before));
  const Ended second = run_ratel({"train", "--print-config", "--config", scratch / "c.toml"});
  BOOST_TEST(second.out.find("# " + scratch / "c.toml:") != std::string::npos, second.out);
  const Json json = run_json({"train", "--print-config", "--config", scratch / "c.toml"});
  BOOST_TEST(json.at("train.steps").as_int() == 77);
}

BOOST_AUTO_TEST_CASE(eval_is_exact_and_repeatable) {
  const Json first = eval({"--seq-len", "32"});
  for (const char* key : {"loss", "perplexity", "tokens"}) BOOST_TEST(first.find(key) != nullptr);
  BOOST_TEST(first.at("tokens").as_int() == 6000);
  BOOST_TEST(first.at("perplexity").as_double() == std::exp(first.at("loss").as_double()));
  BOOST_TEST((eval({"--seq-len=32", "--threads=1"}) == first));
  BOOST_TEST((eval({}) == first));  // the length it was trained with
  const double loss = first.at("loss").as_double();
  BOOST_TEST(std::abs(loss - std::round(loss * 1e6) / 1e6) > 0);  // more digits than six are printed
  BOOST_TEST(std::abs(eval({"--batch-size=3"}).at("loss").as_double() / loss - 1) < 1e-6);
}

BOOST_AUTO_TEST_CASE(eval_takes_a_pattern_for_all_layers_or_one_each) {
  const Json dense = eval({}), sparse = eval({"--dilation", "8"});
  BOOST_TEST(dense.at("loss").as_double() != sparse.at("loss").as_double());
  BOOST_TEST(dense.at("kv_cache").at("bytes").as_int() == dense.at("kv_cache").at("dense_bytes").as_int());
  BOOST_TEST(sparse.at("kv_cache").at("bytes").as_int() * 7 < dense.at("kv_cache").at("bytes").as_int());
  BOOST_TEST(eval({"--dilation=8,8"}).at("loss").as_double() == sparse.at("loss").as_double());
  BOOST_TEST(eval({"--dilation=1,8"}).at("loss").as_double() != sparse.at("loss").as_double());
  BOOST_TEST(eval({"--dilation=-1", "--window=40"}).at("loss").as_double() == dense.at("loss").as_double());
}

BOOST_AUTO_TEST_CASE(an_adapted_model_uses_its_own_pattern_and_says_where_another_is_used) {
  const Json own = eval({}, models().adapted), asked = eval({"--dilation=4", "--window=2"}, models().adapted);
  BOOST_TEST((own == asked));
  const Ended other =
      run_ratel({"eval", "--model", models().adapted, "--data", models().data, "--dilation", "1", "--json"});
  BOOST_TEST(other.code == 0);
  BOOST_TEST(other.err.find("adapted to D=4 W=2 S=0") != std::string::npos, other.err);
}

BOOST_AUTO_TEST_CASE(generation_repeats_and_streams_what_json_says) {
  const Words words = {"generate", "--model", models().run, "--prompt", "she ", "--max-new-tokens", "12"};
  const Json greedy = run_json(words);
  BOOST_TEST(keys_of(greedy) == (Words{"tokens", "text", "finish_reason", "kv_cache"}));
  BOOST_TEST(greedy.at("finish_reason").as_string() == "length");
  BOOST_TEST(greedy.at("tokens").as_array().size() == 12u);
  BOOST_TEST((run_json(words) == greedy));
  BOOST_TEST((run_json({"generate", "--model", models().run, "--prompt-tokens", "115,104,101,32", "--max-new-tokens",
                        "12", "--temperature", "0"}) == greedy));
  const Ended streamed = run_ratel(words);
  BOOST_TEST(streamed.out == greedy.at("text").as_string() + "\n");
  // 15 tokens of 2 layers: a key and a value of 16 channels, and their states.
  BOOST_TEST(streamed.err == "cache: 4,096 B, 100.0% of dense\n");
  BOOST_TEST((greedy.at("kv_cache") == Json::object({{"bytes", 4096}, {"dense_bytes", 4096}})));
  const auto drawn = [&](const std::string& seed) {
    Words more = words;
    for (const std::string& word : Words{"--temperature", "1.5", "--top-k=50", "--top-p=0.99", "--seed", seed})
      more.push_back(word);
    return run_json(more);
  };
  BOOST_TEST((drawn("1") == drawn("1")));
  BOOST_TEST((drawn("1") != drawn("2")));
}

BOOST_AUTO_TEST_CASE(several_texts_are_those_of_each_alone) {
  write(models().scratch / "prompts.txt", "she \nthe house\n");
  const Words common = {"generate", "--model", models().run, "--max-new-tokens=9", "--temperature=1.5", "--top-k=8"};
  const auto with = [&](const Words& more) {
    Words words = common;
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const Words two = with({"--prompts-file", models().scratch / "prompts.txt", "--samples=2"});
  const Json all = run_json(two);
  const Json::Array& found = all.at("sequences").as_array();
  BOOST_TEST_REQUIRE(found.size() == 4u);
  BOOST_TEST((run_json(with({"--prompt", "she ", "--prompt", "the house", "--samples=2"})) == all));
  write(models().scratch / "prompts.txt", "\xef\xbb\xbfshe \r\nthe house\r\n");
  BOOST_TEST((run_json(two) == all));
  std::string expected;
  for (int64_t i = 0; i < 4; ++i) {
    const Json& one = found[static_cast<size_t>(i)];
    BOOST_TEST(keys_of(one) == (Words{"prompt", "sample", "tokens", "text", "finish_reason"}));
    BOOST_TEST((one.at("prompt").as_int() == i / 2 && one.at("sample").as_int() == i % 2));
    if (i % 2 == 0) {
      const Json alone = run_json(with({"--prompt", i == 0 ? "she " : "the house"}));
      BOOST_TEST((alone.at("tokens") == one.at("tokens")));
      BOOST_TEST((alone.at("text") == one.at("text")));
    }
    expected += concat_text(i > 0 ? "\n" : "", "--- prompt ", i / 2 + 1, ", sample ", i % 2 + 1, ": \"",
                            i < 2 ? "she " : "the house", "\"\n", one.at("text").as_string(), "\n");
  }
  BOOST_TEST((found[0].at("tokens") != found[1].at("tokens")));
  BOOST_TEST(run_ratel(two).out == expected);
}

BOOST_AUTO_TEST_CASE(generation_without_a_cache_says_the_same) {
  for (const Words& pattern : {Words{"--dilation=1"}, {"--dilation=4,8", "--window=3", "--initial=1"}}) {
    Words words = {"generate", "--model", models().run, "--prompt", "she was ", "--max-new-tokens=40", "--logprobs"};
    words.insert(words.end(), pattern.begin(), pattern.end());
    const Json cached = run_json(words);
    words.emplace_back("--no-cache");
    const Json whole = run_json(words);
    BOOST_TEST(keys_of(whole) == (Words{"tokens", "text", "logprobs", "finish_reason"}));
    BOOST_TEST((whole.at("tokens") == cached.at("tokens")));
    for (size_t i = 0; i < 40; ++i)
      BOOST_TEST(std::abs(whole.at("logprobs").as_array()[i].as_double() -
                          cached.at("logprobs").as_array()[i].as_double()) < 1e-4);
  }
}

BOOST_AUTO_TEST_CASE(a_stop_string_ends_what_is_printed) {
  const Words words = {"generate", "--model",   models().run,       "--prompt", "she ", "--max-new-tokens=30",
                       "--seed=3", "--top-k=8", "--temperature=1.5"};
  const std::string text = run_json(words).at("text").as_string();
  const std::string stop = text.substr(7, 2);  // maybe not the first of its kind
  Words stopped = words;
  for (const std::string& word : Words{"--stop", "not in it", "--stop", stop}) stopped.push_back(word);
  const Json json = run_json(stopped);
  BOOST_TEST(json.at("text").as_string() == text.substr(0, text.find(stop)));
  BOOST_TEST(json.at("finish_reason").as_string() == "stop_string");
  BOOST_TEST(run_ratel(stopped).out == json.at("text").as_string() + "\n");
}

BOOST_AUTO_TEST_CASE(the_new_sampling_options_reach_the_sampler) {
  const auto text = [](const Words& more) {
    Words words = {"generate", "--model", models().run, "--prompt", "she ", "--max-new-tokens=30"};
    words.insert(words.end(), more.begin(), more.end());
    return run_json(words).at("text").as_string();
  };
  BOOST_TEST(text({"--temperature=2", "--min-p=1"}) == text({}));
  BOOST_TEST(text({"--temperature=2", "--min-p=0.97"}) != text({"--temperature=2"}));
  BOOST_TEST(text({"--repetition-penalty=1.5"}) != text({}));
}

BOOST_AUTO_TEST_CASE(an_interrupted_generation_prints_what_it_has) {
  const std::string out = models().scratch / "interrupted.txt";
  Process process({"generate", "--model", models().run, "--prompt", "she ", "--max-new-tokens=100000000", "--eos=-2",
                   "--dilation=-1", "--top-k=1"},
                  out);
  while (process.is_running() && read(out).empty()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  process.send(SIGINT);
  const Ended ended = process.wait();
  BOOST_TEST(ended.code == 130, ended.err);
  BOOST_TEST(ended.out.ends_with('\n'));
  BOOST_TEST(ended.err.starts_with("cache: "), ended.err);
}

BOOST_AUTO_TEST_CASE(an_interrupted_loss_is_no_success) {
  const std::string data = models().scratch / "long.bin";
  write(data, std::string(40'000'000, '\0'));
  Process process({"eval", "--model", models().run, "--data", data, "--seq-len=64", "--json"});
  while (process.is_running() && process.said().empty()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  process.send(SIGINT);
  const Ended ended = process.wait();
  BOOST_TEST(ended.code == 130, ended.err);
  BOOST_TEST(ended.err.find("stopped early, after ") != std::string::npos, ended.err);
  BOOST_TEST(!io::parse_json(ended.out, "stdout").at("complete").as_bool());
}

BOOST_AUTO_TEST_CASE(a_pattern_file_is_what_the_lists_say_and_more) {
  const std::string file = models().scratch / "pattern.toml", json = models().scratch / "pattern.json";
  write(file, "window = 3\n[[layer]]\ndilation = 4\n[[layer]]\ndilation = 8\ninitial = 1\n");
  const Json listed = eval({"--dilation=4,8", "--window=3", "--initial=0,1"});
  BOOST_TEST((eval({"--pattern", file}) == listed));
  write(json, listed.at("pattern").dump());  // what eval prints is such a file too
  BOOST_TEST((eval({"--pattern", json}) == listed));
  const Words words = {"generate", "--model", models().run, "--prompt", "she was not ", "--max-new-tokens=20"};
  const auto generated = [&](const Words& more) {
    Words all = words;
    all.insert(all.end(), more.begin(), more.end());
    return run_json(all);
  };
  BOOST_TEST((generated({"--pattern", file}) == generated({"--dilation=4,8", "--window=3", "--initial=0,1"})));

  write(file, "dilation = [1, 16]\n");
  const Json by_head = eval({"--pattern", file});
  BOOST_TEST(by_head.at("pattern").as_array()[0].as_array().size() == 2u);
  BOOST_TEST(by_head.at("loss").as_double() != eval({}).at("loss").as_double());
  const std::string run = models().scratch / "by head";
  const Ended adapted = run_ratel(
      {"adapt", "--from", models().run, "--pattern", file, "--data", models().data, "--out", run, "--train.steps=2"});
  BOOST_TEST_REQUIRE(adapted.code == 0, adapted.err);
  BOOST_TEST((eval({}, run).at("pattern") == by_head.at("pattern")));
  const Ended same = run_ratel({"eval", "--model", run, "--data", models().data, "--pattern", file});
  BOOST_TEST(same.err.find("adapted to") == std::string::npos, same.err);
}

BOOST_AUTO_TEST_CASE(inspect_knows_what_it_is_shown) {
  const std::string checkpoint = models().run + "/checkpoints/step-8";
  write(models().scratch / "c.toml", "[train]\nsteps = 3\n");
  const std::pair<std::string, std::string> kinds[] = {{models().run, "run"},
                                                       {models().run + "/", "run"},
                                                       {checkpoint, "checkpoint"},
                                                       {checkpoint + "/model.safetensors", "safetensors"},
                                                       {checkpoint + "/config.json", "json"},
                                                       {models().data, "tokens"},
                                                       {models().run + "/metrics.jsonl", "metrics"},
                                                       {models().scratch / "c.toml", "config"}};
  for (const auto& [path, kind] : kinds) {
    BOOST_TEST(run_json({"inspect", path}).at("kind").as_string() == kind);
    BOOST_TEST(run_ratel({"inspect", path}).out.starts_with("kind "));
  }
  const std::string model = models().scratch / "model";
  fs::create_directory(model);
  for (const char* file : {"/config.json", "/model.safetensors"}) fs::copy(checkpoint + file, model + file);
  const Json found = run_json({"inspect", model});
  BOOST_TEST(found.at("kind").as_string() == "model");
  BOOST_TEST(found.at("parameters").as_int() ==
             run_json({"inspect", model + "/model.safetensors"}).at("elements").as_int());
  BOOST_TEST(found.at("tensors").as_array().size() == 2u + 2 * 6);
  BOOST_TEST(run_json({"inspect", models().adapted + "/checkpoints/step-2"}).at("pattern").as_string() ==
             "D=4 W=2 S=0");
  BOOST_TEST(run_json({"inspect", models().data}).at("tokens").as_int() == 6001);
}

BOOST_AUTO_TEST_CASE(doctor_tells_build_machine_and_what_is_missing) {
  const Json report = run_json({"doctor"});
  for (const char* key : {"version", "build", "threads", "machine", "gpu", "missing", "advice", "fix"})
    BOOST_TEST(report.find(key) != nullptr, key);
  BOOST_TEST(report.at("machine").at("memory_bytes").as_int() > 0);
  const std::string text = run_ratel({"doctor"}).out;
  for (const char* part : {"CUDA ", "threads ", "GPU ", "packages   build: ", "packages   tests: ",
                           "packages   fuzzers: ", "packages   API reference: ", "packages   Debian packages: "})
    BOOST_TEST(text.find(part) != std::string::npos);
}

}  // namespace ratel::test
