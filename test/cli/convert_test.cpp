// `ratel convert` on what PyTorch wrote, and on what somebody wrote who means harm.
#include <algorithm>
#include <bit>
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <random>

#include "core/error.h"
#include "io/file.h"
#include "io/half.h"
#include "io/safetensors.h"
#include "models/model_folder.h"
#include "models/names.h"
#include "test/cli/process.h"
#include "test/io/pickle_maker.h"
#include "test/io/zip_maker.h"

namespace ratel::test {
namespace {

namespace fs = std::filesystem;
using io::Json;
using io::SafetensorsFile;

std::string golden(const std::string& name) { return RATEL_SOURCE_DIR "/test/golden/pth/" + name; }

std::string bytes_of(const Tensor& tensor) {
  return {static_cast<const char*>(tensor.data()), static_cast<size_t>(tensor.numel()) * size_of(tensor.dtype())};
}

/// The tensors of a file under our names are those of the golden file.
void check_same(const std::string& path, const std::string& golden_name) {
  const SafetensorsFile found = SafetensorsFile::open(path), expected = SafetensorsFile::open(golden(golden_name));
  for (const std::string& name : expected.names()) {
    const std::string ours = path_of_authors_name(name).value();
    BOOST_TEST_CONTEXT(name) {
      BOOST_REQUIRE(found.contains(ours));
      BOOST_TEST((bytes_of(found.tensor(ours)) == bytes_of(expected.tensor(name))));
    }
  }
}

/// The file with its floats as F16, which holds them exactly.
std::string as_halves(const SafetensorsFile& file) {
  Json header = Json::object();
  std::string data;
  for (const io::SafetensorsEntry& entry : file.entries()) {
    const size_t begin = data.size();
    for (const float value : to_vector<float>(file.tensor(entry.name))) {
      const auto bits = std::bit_cast<uint32_t>(value);
      const auto half =
          static_cast<uint16_t>(((bits >> 16) & 0x8000u) |
                                (value == 0 ? 0 : ((((bits >> 23) & 0xffu) - 112) << 10) | ((bits >> 13) & 0x3ffu)));
      BOOST_REQUIRE(io::half_to_float(half) == value);
      data.append(reinterpret_cast<const char*>(&half), sizeof half);
    }
    header.append(entry.name, Json::object({{"dtype", "F16"},
                                            {"shape", Json::array_of(entry.shape.dims())},
                                            {"data_offsets", Json::array({begin, data.size()})}}));
  }
  const std::string text = header.dump();
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text + data;
}

bool is_same_file(const std::string& a, const std::string& b) { return read(a) == read(b); }

}  // namespace

BOOST_AUTO_TEST_CASE(checkpoints_become_model_folders) {
  const TemporaryFolder scratch;
  for (const char* name : {"torch1_model", "torch2_model", "torch2_zip64", "torch2_deflated"}) {
    const std::string folder = scratch / name;
    const Json done = run_json({"convert", golden(std::string(name) + ".pth"), folder, "--json"});
    BOOST_TEST(done.at("model").at("heads").as_int() == 2);
    BOOST_TEST(done.at("heads_from").as_string() == "config");
    BOOST_TEST(done.at("parameters").as_int() == 1936);
    check_same(folder + "/model.safetensors", "torch2_model.safetensors");
    const Json seen = run_json({"inspect", folder, "--json"});
    BOOST_TEST(seen.at("model").at("vocab_size").as_int() == 13);
    BOOST_TEST(seen.at("tokenizer").as_string() == "none");
  }
  const std::string baseline = scratch / "baseline";
  check_fails({"convert", golden("torch2_baseline_bf16.pth"), baseline}, 2,
              "its configuration does not tell\nhint: --heads");
  BOOST_TEST(!fs::exists(baseline));
  const Json done = run_json({"convert", golden("torch2_baseline_bf16.pth"), baseline, "--heads=4", "--json"});
  BOOST_TEST(done.at("model").at("recurrence").as_string() == "none");
  BOOST_TEST(done.at("dtype").as_string() == "bf16");
  check_same(baseline + "/model.safetensors", "torch2_baseline_bf16.safetensors");
  const Json adapted = run_json({"convert", golden("torch2_adapted.pth"), scratch / "adapted", "--json"});
  BOOST_TEST(adapted.at("adapted_pattern").dump() ==
             R"([[{"dilation":16,"window":4,"initial":0}],[{"dilation":8,"window":4,"initial":0}]])");
  const Json seen = run_json({"inspect", scratch / "adapted", "--json"});
  BOOST_TEST(seen.at("pattern").as_string() == "D=16 W=4 S=0 | D=8 W=4 S=0");
  BOOST_TEST(
      run_json({"convert", golden("torch2_gate_apart_f16.pth"), scratch / "gate", "--json"}).at("dtype").as_string() ==
      "f32");
}

BOOST_AUTO_TEST_CASE(the_way_there_and_back) {
  const TemporaryFolder scratch;
  const std::string model = scratch / "model", theirs = scratch / "theirs.safetensors", again = scratch / "again";
  for (const char* name : {"torch2_model", "torch2_adapted"}) {
    fs::remove_all(again);
    BOOST_TEST(run_ratel({"convert", golden(std::string(name) + ".pth"), model, "--force"}).code == 0);
    BOOST_TEST(run_ratel({"convert", model, theirs, "--names", "authors", "--force"}).code == 0);
    const SafetensorsFile file = SafetensorsFile::open(theirs);
    const SafetensorsFile expected = SafetensorsFile::open(golden(std::string(name) + ".safetensors"));
    BOOST_TEST(file.entries().size() == expected.entries().size());
    for (const std::string& key : expected.names())
      BOOST_TEST((bytes_of(file.tensor(without_wrappers(key))) == bytes_of(expected.tensor(key))), key);
    BOOST_TEST(run_ratel({"convert", theirs, again}).code == 0);
    BOOST_TEST(is_same_file(model + "/model.safetensors", again + "/model.safetensors"));
  }
}

BOOST_AUTO_TEST_CASE(halves_are_read_from_either_format) {
  const TemporaryFolder scratch;
  const std::string halves = scratch / "halves.safetensors", model = scratch / "model", same = scratch / "same";
  write(halves, as_halves(SafetensorsFile::open(golden("torch2_gate_apart_f16.safetensors"))));
  BOOST_TEST(run_json({"convert", halves, model, "--heads=2", "--json"}).at("dtype").as_string() == "f32");
  BOOST_TEST(run_ratel({"convert", golden("torch2_gate_apart_f16.pth"), same, "--heads=2"}).code == 0);
  BOOST_TEST(is_same_file(model + "/model.safetensors", same + "/model.safetensors"));
  BOOST_TEST(run_json({"inspect", halves, "--json"}).at("tensors").as_array()[0].at("dtype").as_string() == "f16");
}

BOOST_AUTO_TEST_CASE(a_checkpoint_is_one_whatever_it_is_called) {
  const TemporaryFolder scratch;
  const std::string path = scratch / "pytorch_model.bin";
  write(path, read(golden("torch2_model.pth")));
  BOOST_TEST(run_json({"inspect", path, "--json"}).at("kind").as_string() == "pytorch");
}

BOOST_AUTO_TEST_CASE(folders_become_other_folders) {
  const TemporaryFolder scratch;
  const std::string model = scratch / "model", shards = scratch / "shards", half = scratch / "half",
                    one = scratch / "one";
  BOOST_TEST(run_ratel({"convert", golden("torch2_adapted.pth"), model}).code == 0);
  BOOST_TEST(run_ratel({"convert", model, shards, "--shard-size", "2kB"}).code == 0);
  BOOST_TEST(fs::exists(shards + "/model.safetensors.index.json"));
  BOOST_TEST(is_same_file(model + "/config.json", shards + "/config.json"));
  BOOST_TEST(run_json({"inspect", shards, "--json"}).at("files").as_int() >= 3);
  BOOST_TEST(run_ratel({"convert", shards, one}).code == 0);
  BOOST_TEST(is_same_file(model + "/model.safetensors", one + "/model.safetensors"));
  BOOST_TEST(run_json({"convert", shards, half, "--dtype", "bf16", "--json"}).at("bytes").as_int() == 1936 * 2);
  BOOST_TEST(run_json({"inspect", half, "--json"}).at("dtype").as_string() == "bf16");
  // What generates text reads shards too.
  const Words words = {"generate", "--prompt-tokens", "1,2,3", "--max-new-tokens", "5", "--temperature", "0", "--json"};
  const auto from = [&](const std::string& folder) {
    Words all = words;
    all.insert(all.end(), {"--model", folder});
    return run_json(all).at("tokens").dump();
  };
  BOOST_TEST(from(model) == from(shards));
}

BOOST_AUTO_TEST_CASE(nothing_is_replaced_or_left_behind) {
  const TemporaryFolder scratch;
  const std::string model = scratch / "model";
  BOOST_TEST(run_ratel({"convert", golden("torch2_model.pth"), model}).code == 0);
  const std::string before = read(model + "/model.safetensors");
  check_fails({"convert", golden("torch2_adapted.pth"), model}, 2, "is there already\nhint: --force");
  check_fails({"convert", model, model, "--dtype", "bf16", "--force"}, 2, "is the input and the output");
  check_fails({"convert", golden("torch2_untied.pth"), model, "--force"}, 3,
              "head.lm_head.weight: expected the values of embedding.wte.weight");
  BOOST_TEST((read(model + "/model.safetensors") == before));
  fs::create_directories(scratch / "run/checkpoints");
  check_fails({"convert", model, scratch / "run", "--force"}, 2, "is the folder of a run\nhint: write the model to");
  check_fails({"convert", scratch / "none.pth", scratch / "x"}, 3, "no such file or folder");
  check_fails({"convert", golden("torch2_legacy.pth"), scratch / "x"}, 3, "found the one before it\nhint: ");
  check_fails({"convert", golden("torch2_tar.pth"), scratch / "x"}, 3, "found a .tar of PyTorch before 0.2\nhint: ");
  check_fails({"convert", golden("torch2_big_endian.pth"), scratch / "x"}, 3, "byteorder; expected little");
  check_fails({"convert", golden("torch2_kinds.pth"), scratch / "x"}, 3, "expected a tensor of its own elements");
  check_fails({"convert", golden("torch2_model.pth"), scratch / "x", "--heads=3"}, 2, "heads");
  check_fails({"convert", golden("torch2_model.pth"), scratch / "x", "--tokenizer", "bytes"}, 2,
              "the tokenizer bytes needs 257 words");
  check_fails({"convert", golden("torch2_model.pth"), scratch / "x", "--tokenizer", "words"}, 2, "found 'words'");
  const Ended full =
      shell("ulimit -f 2; $RATEL convert " + golden("torch2_model.pth") + " " + scratch / "x.safetensors");
  BOOST_TEST(full.code == 5, full.err);
  BOOST_TEST(!fs::exists(scratch / "x.safetensors"));
  BOOST_TEST(!fs::exists(scratch / "x.safetensors.tmp"));
  BOOST_TEST(!fs::exists(scratch / "x"));
}

BOOST_AUTO_TEST_CASE(no_file_is_written_among_those_of_the_input) {
  const TemporaryFolder scratch;
  const std::string model = scratch / "model", run = scratch / "run", checkpoint = run + "/checkpoints/step-8";
  BOOST_TEST(run_ratel({"convert", golden("torch2_model.pth"), model}).code == 0);
  BOOST_TEST(run_ratel({"convert", model, model + "/shards", "--shard-size", "2kB"}).code == 0);
  fs::create_directories(checkpoint);
  write(checkpoint + "/MANIFEST.json", "{}");
  const std::string message = "would be among the files of the input\nhint: ";
  const auto refused = [&](const std::string& input, const std::string& output, const std::string& part) {
    Words words = {"convert", input, output, "--force"};
    if (output.ends_with(".safetensors")) words.insert(words.end(), {"--names", "authors"});
    check_fails(words, 2, part);
  };
  refused(model, model + "/model.safetensors", message);
  refused(model + "/", model + "/../model/theirs.safetensors", message);
  refused(model + "/shards", model + "/shards/model.safetensors", message);
  refused(run, run + "/model.safetensors", message);
  refused(run, checkpoint + "/model.safetensors", message);
  refused(checkpoint, checkpoint + "/theirs.safetensors", message);
  refused(run, checkpoint, "is the input and the output");
  BOOST_TEST(run_ratel({"inspect", model}).code == 0);
  BOOST_TEST(!fs::exists(checkpoint + "/model.safetensors"));
  fs::create_directories(model + "/exports");
  BOOST_TEST(run_ratel({"convert", model, model + "/exports/theirs.safetensors", "--names", "authors"}).code == 0);
}

BOOST_AUTO_TEST_CASE(a_conversion_that_does_not_finish_keeps_the_model_that_was_there) {
  const TemporaryFolder scratch;
  const std::string from = scratch / "from", model = scratch / "model";
  const std::string tokenizers = RATEL_SOURCE_DIR "/test/golden/tokenizers/";
  const ModelDescription description{{704, 1, 32, 1}, {}, {}};
  nn::ParamStore store(DType::f32, 5);
  const RatPlus parameters(nn::Scope(store), description.config);
  save_model(from, description, store);
  const std::string tokenizer = " --tokenizer " + tokenizers + "unigram.model";
  BOOST_TEST(run_ratel({"convert", from, model, "--tokenizer", tokenizers + "llama.model"}).code == 0);
  const auto files = [&] {
    std::vector<std::pair<std::string, std::string>> all;
    for (const std::string& path : io::paths_in(model)) all.emplace_back(path, read(path));
    std::ranges::sort(all);
    return all;
  };
  const auto before = files();
  BOOST_TEST(before.size() == 3u);
  // The tokenizer fits, the weights do not.
  for (const char* shards : {"", " --shard-size 40kB"})
    for (const std::string& target : {model, scratch / "fresh"}) {
      const Ended full = shell(
          concat_text("ulimit -f 60; $RATEL convert ", from, " ", target, tokenizer, " --dtype f64 --force", shards));
      BOOST_TEST(full.code == 5, full.err);
      BOOST_TEST((files() == before));
      BOOST_TEST(!fs::exists(scratch / "fresh"));
    }
  BOOST_TEST(run_ratel({"inspect", model}).code == 0);
}

BOOST_AUTO_TEST_CASE(files_cut_short_through_the_binary) {
  const TemporaryFolder scratch;
  const std::string whole = read(golden("torch2_model.pth")), path = scratch / "f.pth";
  std::mt19937 random(3);
  for (int i = 0; i < 10; ++i) {
    write(path, whole.substr(0, i == 0 ? 0 : random() % whole.size()));
    check_fails({"convert", path, scratch / "x"}, 3, path + ":");
    if (i > 0) check_fails({"inspect", path}, 3, path + ":");
  }
  BOOST_TEST(!fs::exists(scratch / "x"));
}

namespace {

/// A pickle that would run a command as soon as it is loaded, wherever it is put.
PickleMaker calling(const std::string& command, int protocol = 2) {
  return PickleMaker(protocol).global("os", "system").text(command).op('\x85').op('R');
}

struct Hostile {
  std::string what, pickle;
};

/// What somebody might send. Loaded by Python, the first dozen would make the file `marker`.
std::vector<Hostile> hostile_pickles(const std::string& marker) {
  const std::string touch = "touch " + marker;
  const auto state_dict = [&](const PickleMaker& value) {
    return PickleMaker(4).op('}').text("task").op('}').text("w").raw(value.body()).op('s').op('s').done();
  };
  const std::string get_zero = std::string("h") + '\0', put_zero = std::string("q") + '\0';
  std::vector<Hostile> all = {
      {"os.system by GLOBAL and REDUCE", calling(touch).done()},
      {"the same as a tensor", state_dict(calling(touch))},
      {"the same as a key", PickleMaker().op('}').raw(calling(touch).body()).op('N').op('s').done()},
      {"eval by STACK_GLOBAL", PickleMaker(4)
                                   .text("builtins")
                                   .text("eval")
                                   .op('\x93')
                                   .text("__import__('os').system('" + touch + "')")
                                   .op('\x85')
                                   .op('R')
                                   .done()},
      {"subprocess.Popen by NEWOBJ", PickleMaker()
                                         .global("subprocess", "Popen")
                                         .op(']')
                                         .text("touch")
                                         .op('a')
                                         .text(marker)
                                         .op('a')
                                         .op('\x85')
                                         .op('\x81')
                                         .done()},
      {"NEWOBJ_EX", PickleMaker(4)
                        .global("subprocess", "Popen")
                        .text(touch)
                        .op('\x85')
                        .op('}')
                        .text("shell")
                        .op('\x88')
                        .op('s')
                        .op('\x92')
                        .done()},
      {"INST", PickleMaker().op('(').text(touch).raw("ios\nsystem\n").done()},
      {"OBJ", PickleMaker().op('(').global("os", "system").text(touch).op('o').done()},
      {"a protocol 0 text", "cos\nsystem\n(S'" + touch + "'\ntR."},
      {"__setstate__ by BUILD",
       state_dict(PickleMaker().global("m", "C").op(')').op('\x81').raw(calling(touch).body()).op('b'))},
      {"BUILD on a class",
       PickleMaker().global("os", "environ").op('}').text("PATH").text("/tmp").op('s').op('b').done()},
      {"getattr of getattr",
       state_dict(PickleMaker().global("builtins", "getattr").global("os", "path").text("os").op('\x86').op('R'))},
      {"torch.load as a tensor", state_dict(PickleMaker().global("torch", "load").text(marker).op('\x85').op('R'))},
      {"a rebuild that is a call", state_dict(PickleMaker()
                                                  .global("torch._tensor", "_rebuild_from_type_v2")
                                                  .op('(')
                                                  .global("os", "system")
                                                  .global("torch", "Tensor")
                                                  .text(touch)
                                                  .op('\x85')
                                                  .op('N')
                                                  .op('t')
                                                  .op('R'))},
      {"EXT1", PickleMaker().op('\x82').op('\1').op(')').op('R').done()},
      {"EXT4", PickleMaker().op('\x84').number(int32_t{1}).done()},
      {"PERSID text", PickleMaker().raw("Pos.system\n").done()},
      {"a persistent id of no storage", state_dict(PickleMaker()
                                                       .global("torch._utils", "_rebuild_tensor_v2")
                                                       .op('(')
                                                       .text(touch)
                                                       .op('Q')
                                                       .integer(0)
                                                       .integers({1})
                                                       .integers({1})
                                                       .op('t')
                                                       .op('R'))},
      {"NEXT_BUFFER", PickleMaker(5).op('\x97').done()},
      {"a BINUNICODE8 of 2^63", PickleMaker(4).op('\x8d').number(uint64_t{1} << 63).raw("x").done()},
      {"a BINBYTES8 of 2^64 - 1", PickleMaker(4).op('\x8e').number(UINT64_MAX).done()},
      {"a LONG4 of -1", PickleMaker().op('\x8b').number(int32_t{-1}).done()},
      {"a FRAME beyond the end", PickleMaker(4).op('\x95').number(uint64_t{1} << 40).op('N').done()},
      {"a BINGET of nothing", PickleMaker().op('h').op('\x05').done()},
      {"a LONG_BINPUT far away", PickleMaker().op('N').op('r').number(uint32_t{0xfffffff0}).done()},
      {"no mark", PickleMaker().op('N').op('u').done()},
      {"marks alone", PickleMaker().raw(std::string(100'000, '(')).done()},
      {"no STOP", std::string("\x80\2}", 3)},
      {"opcodes after STOP", PickleMaker().op('}').op('.').raw(calling(touch).body()).done()},
      {"a stack that is empty", PickleMaker().op('R').done()},
      {"tuples in tuples", PickleMaker().op('N').raw(std::string(100'000, '\x85')).done()},
      {"lists in lists", PickleMaker().raw(std::string(100'000, ']')).raw(std::string(99'999, 'a')).done()},
      {"a dict in itself",
       PickleMaker().op('}').raw(put_zero).text("task").raw(get_zero).op('s').text("a").raw(get_zero).op('s').done()},
      {"a tensor that is itself", state_dict(PickleMaker().op(']').raw(put_zero).raw(get_zero).op('a'))},
  };
  PickleMaker laugh(4);
  laugh.op('}').text("task").op('}').raw(put_zero);
  for (char level = 1; level < 40; ++level) {
    laugh.op('}').op('q').op(level);
    for (const char* key : {"a", "b"}) laugh.text(key).op('h').op(static_cast<char>(level - 1)).op('s');
  }
  laugh.op('(').op('1').op('h').op('\x27').op('s');
  all.push_back({"a laugh of a billion", laugh.done()});
  return all;
}

}  // namespace

BOOST_AUTO_TEST_CASE(hostile_pickles_are_refused_and_nothing_is_executed) {
  const TemporaryFolder scratch;
  const std::string marker = scratch / "marker", path = scratch / "f.pth";
  const auto pickles = hostile_pickles(marker);
  BOOST_TEST(pickles.size() >= 30u);
  for (const Hostile& hostile : pickles) {
    BOOST_TEST_CONTEXT(hostile.what) {
      ZipMaker zip;
      write(path, zip.add("m/data.pkl", hostile.pickle).add("m/data/0", std::string(16, '\0')).bytes());
      check_fails({"convert", path, scratch / "x"}, 3, path + ":");
      BOOST_TEST(!fs::exists(marker));
    }
  }
  BOOST_TEST(!fs::exists(scratch / "x"));
}

BOOST_AUTO_TEST_CASE(what_a_configuration_would_call_is_not_called) {
  const TemporaryFolder scratch;
  const std::string marker = scratch / "marker", path = scratch / "f.pth";
  PickleMaker p;
  p.op('}').text("config").raw(calling("touch " + marker).body()).op('s');
  p.text("task").op('}').text("w").global("torch._utils", "_rebuild_tensor_v2").op('(').op('(').text("storage");
  p.global("torch", "FloatStorage").text("0").text("cpu").integer(4).op('t').op('Q').integer(0).integers({4});
  p.integers({1}).op('t').op('R').op('s').op('s');
  ZipMaker zip;
  write(path, zip.add("m/data.pkl", p.done()).add("m/data/0", std::string(16, '\0')).bytes());
  const Json seen = run_json({"inspect", path, "--json"});
  BOOST_TEST(seen.at("tensors").as_array().size() == 1u);
  BOOST_TEST(seen.at("others").at("config").is_null());
  BOOST_TEST(!fs::exists(marker));
}

BOOST_AUTO_TEST_CASE(hostile_archives_are_refused) {
  const TemporaryFolder scratch;
  const std::string path = scratch / "f.pth", pickle = PickleMaker().op('}').done();
  const auto refused = [&](const ZipMaker& zip, const std::string& part) {
    write(path, zip.bytes());
    check_fails({"convert", path, scratch / "x"}, 3, part);
  };
  refused(ZipMaker().add("m/data.pkl", pickle).add("n/data.pkl", pickle), "expected one data.pkl");
  refused(ZipMaker().add("m/data.pkl", pickle).add("../../etc/cron.d/x", "x"), "contains \"..\"");
  refused(ZipMaker().add("m/data.pkl", pickle).add("/etc/passwd", "x"), "is an absolute path");
  refused(ZipMaker().add("m/data.pkl", pickle).crc(1), "is damaged; expected CRC-32 1");
  ZipMaker bomb;
  bomb.add("m/data.pkl", pickle).add("m/data/0", std::string(20, '\0'));
  bomb.last().method = 8;
  bomb.last().size = 4'000'000'000;
  refused(bomb, "would grow too much; expected at most 100 times");
  ZipMaker locked;
  locked.add("m/data.pkl", pickle).last().flags = 1;
  refused(locked, "is encrypted");
  ZipMaker overlap;
  overlap.add("m/data.pkl", pickle).add("m/data.pkx", pickle);
  overlap.last().keeps_its_place = true;
  refused(overlap, "local header; expected the name");
}

}  // namespace ratel::test
