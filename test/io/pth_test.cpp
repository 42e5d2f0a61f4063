#include "io/pth.h"

#include <array>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "io/half.h"
#include "io/safetensors.h"
#include "test/io/pickle_maker.h"
#include "test/io/support.h"
#include "test/io/zip_maker.h"

using ratel::DType;
using ratel::ErrorKind;
using ratel::Tensor;
using ratel::io::PthFile;
using ratel::io::PthTensor;
using ratel::io::SafetensorsFile;
using ratel::test::check_error;
using ratel::test::content_of;
using ratel::test::PickleMaker;
using ratel::test::TemporaryFolder;
using ratel::test::ZipMaker;

namespace {

std::string golden(const std::string& name) { return RATEL_SOURCE_DIR "/test/golden/pth/" + name; }

/// The elements in row-major order, as their bytes.
std::string bytes_of(const Tensor& tensor) {
  const size_t size = ratel::size_of(tensor.dtype());
  const auto* base = static_cast<const char*>(tensor.storage()->data());
  std::string bytes;
  for_each_position(tensor.layout(),
                    [&](int64_t position) { bytes.append(base + static_cast<size_t>(position) * size, size); });
  return bytes;
}

void check_same_tensors(const std::string& name) {
  BOOST_TEST_CONTEXT(name) {
    const PthFile file = PthFile::open(golden(name + ".pth"));
    const SafetensorsFile expected = SafetensorsFile::open(golden(name + ".safetensors"));
    BOOST_REQUIRE(file.tensors().size() == expected.entries().size());
    for (size_t i = 0; i < file.tensors().size(); ++i) {
      const PthTensor& entry = file.tensors()[i];
      BOOST_TEST_CONTEXT(entry.name) {
        BOOST_TEST(entry.name == expected.entries()[i].name);
        const Tensor found = file.tensor(entry), wanted = expected.tensor(entry.name);
        BOOST_TEST(found.shape() == wanted.shape());
        BOOST_TEST(found.dtype() == wanted.dtype());
        BOOST_TEST((entry.dtype == wanted.dtype()));
        BOOST_TEST((bytes_of(found) == bytes_of(wanted)));
      }
    }
  }
}

const PthTensor& named(const PthFile& file, std::string_view name) {
  const auto found = std::ranges::find(file.tensors(), name, &PthTensor::name);
  BOOST_REQUIRE((found != file.tensors().end()));
  return *found;
}

/// A checkpoint whose state dict has one tensor "w", of what the pickle pushes.
struct Checkpoint {
  std::string pickle;
  std::string storage = std::string(24, '\1');
  std::string byteorder = "little";

  [[nodiscard]] std::string bytes() const {
    ZipMaker zip;
    zip.add("m/data.pkl", pickle).add("m/byteorder", byteorder).add("m/data/0", storage);
    return zip.bytes();
  }
};

/// A pickle {"w": tensor} of 6 floats in storage "0".
std::string pickle_of(int64_t offset, const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides,
                      int64_t elements = 6, std::string_view type = "torch\nFloatStorage\n",
                      std::string_view key = "0") {
  PickleMaker p;
  p.op('}').text("w").global("torch._utils", "_rebuild_tensor_v2").op('(');
  p.op('(').text("storage").op('c').raw(type).text(key).text("cpu").integer(elements).op('t').op('Q');
  p.integer(offset).integers(sizes).integers(strides).op('\x89').op('N').op('t').op('R').op('s');
  return p.done();
}

void check_refused(const Checkpoint& checkpoint, std::string_view part) {
  const TemporaryFolder folder;
  const std::string path = folder.file("f.pth", checkpoint.bytes());
  check_error(ErrorKind::input, part, [&] { (void)PthFile::open(path); });
  check_error(ErrorKind::input, path + ":", [&] { (void)PthFile::open(path); });
}

}  // namespace

BOOST_AUTO_TEST_CASE(tensors_are_those_pytorch_wrote) {
  for (const char* name : {"torch1_kinds", "torch2_kinds", "torch2_protocol4", "torch1_model", "torch2_model",
                           "torch2_baseline_bf16", "torch2_gate_apart_f16", "torch2_adapted"})
    check_same_tensors(name);
}

BOOST_AUTO_TEST_CASE(members_that_hold_a_state_dict) {
  BOOST_TEST(PthFile::open(golden("torch2_kinds.pth")).member() == "task");
  BOOST_TEST(PthFile::open(golden("torch2_baseline_bf16.pth")).member() == "model");
  BOOST_TEST(PthFile::open(golden("torch2_unsigned.pth")).member() == "state_dict");
  BOOST_TEST(PthFile::open(golden("torch2_protocol4.pth")).member() == "");
}

BOOST_AUTO_TEST_CASE(a_storage_without_a_type) {
  const PthFile file = PthFile::open(golden("torch2_unsigned.pth"));
  const Tensor x = file.tensor(named(file, "u16"));
  BOOST_TEST(x.dtype() == DType::u16);
  BOOST_TEST(ratel::to_vector<int64_t>(x) == (std::vector<int64_t>{0, 1, 2, 3, 4}));
}

BOOST_AUTO_TEST_CASE(views_share_their_storage_and_are_not_copied) {
  const PthFile file = PthFile::open(golden("torch2_kinds.pth"));
  const Tensor whole = file.tensor(named(file, "shared"));
  for (const char* name : {"shared.slice", "shared.transposed", "shared.steps"})
    BOOST_TEST(file.tensor(named(file, name)).storage() == whole.storage());
  BOOST_TEST(file.tensor(named(file, "shared.transposed")).stride(0) == 1);
  BOOST_TEST(file.tensor(named(file, "stretched")).stride(1) == 0);
  // They are pages of this process: the file stays as it is.
  const std::string before = content_of(golden("torch2_kinds.pth"));
  whole.data<float>()[5] = 99;
  BOOST_TEST(file.tensor(named(file, "shared.slice")).data<float>()[0] == 99);
  BOOST_TEST((content_of(golden("torch2_kinds.pth")) == before));
}

BOOST_AUTO_TEST_CASE(a_storage_is_checked_and_unpacked_once) {
  // What was written to it is still there, where nobody holds it: it was neither compared nor made again.
  const TemporaryFolder folder;
  const std::string padding = "m/" + std::string(5, 'x');  // so that the storage is not aligned
  ZipMaker unaligned;
  unaligned.add("m/data.pkl", pickle_of(0, {6}, {1})).add(padding, "").add("m/data/0", std::string(24, '\1'));
  for (const std::string& path :
       {golden("torch2_model.pth"), golden("torch2_deflated.pth"), folder.file("f.pth", unaligned.bytes())}) {
    BOOST_TEST_CONTEXT(path) {
      const PthFile file = PthFile::open(path);
      const PthTensor& entry = file.tensors()[0];
      file.tensor(entry).data<float>()[0] = 77;
      BOOST_TEST(file.tensor(entry).data<float>()[0] == 77);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_storage_that_is_not_aligned_is_copied) {
  const TemporaryFolder folder;
  for (size_t shift = 0; shift < 8; ++shift) {
    Checkpoint checkpoint{pickle_of(0, {6}, {1})};
    const std::array<float, 6> values{1, 2, 3, 4, 5, 6};
    std::memcpy(checkpoint.storage.data(), values.data(), sizeof values);
    checkpoint.byteorder = "little";
    ZipMaker zip;
    zip.add("m/data.pkl", checkpoint.pickle).add("m/" + std::string(shift + 1, 'x'), "");
    zip.add("m/data/0", checkpoint.storage);
    const PthFile file = PthFile::open(folder.file("f.pth", zip.bytes()));
    const Tensor x = file.tensor(file.tensors()[0]);
    BOOST_TEST(reinterpret_cast<uintptr_t>(x.data()) % 8 == 0u);
    BOOST_TEST(ratel::to_vector<float>(x) == (std::vector<float>{1, 2, 3, 4, 5, 6}));
  }
}

BOOST_AUTO_TEST_CASE(names_that_would_not_fit_into_memory) {
  // Ten thousand tensors below a dict of a long name, which the pickle holds once.
  PickleMaker p;
  const std::string tensor = pickle_of(0, {6}, {1});
  const std::string value = tensor.substr(2 + 1 + 6, tensor.size() - 2 - 1 - 6 - 2);  // without {"w": and the end
  p.op('}').text(std::string(10'000, 'x')).op('}').text("0").raw(value).op('q').op('\0');
  p.op('s');
  for (int i = 1; i < 10'000; ++i) p.text(std::to_string(i)).op('h').op('\0').op('s');
  check_refused({p.op('s').done()}, "names too long; expected at most 64000000 bytes together");
}

BOOST_AUTO_TEST_CASE(other_ways_to_pack_the_same) {
  const PthFile plain = PthFile::open(golden("torch2_model.pth"));
  for (const char* name : {"torch2_zip64.pth", "torch2_deflated.pth"}) {
    const PthFile other = PthFile::open(golden(name));
    BOOST_REQUIRE(other.tensors().size() == plain.tensors().size());
    for (size_t i = 0; i < plain.tensors().size(); ++i)
      BOOST_TEST((bytes_of(other.tensor(other.tensors()[i])) == bytes_of(plain.tensor(plain.tensors()[i]))));
  }
}

BOOST_AUTO_TEST_CASE(what_else_a_checkpoint_holds) {
  const auto others = PthFile::open(golden("torch2_model.pth")).others();
  BOOST_TEST(others.at("step").as_int() == 7);
  BOOST_TEST((others.find("task") == nullptr));
  BOOST_TEST((others.find("optimizer") == nullptr));
  const auto& cell = others.at("config").at("model").at("backbone").at("seq_cell");
  BOOST_TEST(cell.at("num_head").as_int() == 2);
  BOOST_TEST(cell.at("_name_").as_string() == "ratplus");
  BOOST_TEST(cell.at("joint_train").as_bool());
  BOOST_TEST(others.at("config").at("trainer").at("betas").as_array()[1].as_double() == 0.95);
  const auto wrapped = PthFile::open(golden("torch2_gate_apart_f16.pth")).others();
  BOOST_TEST(wrapped.at("config").dump() == others.at("config").dump());
}

BOOST_AUTO_TEST_CASE(members_of_one_long_key_are_not_compared_again_and_again) {
  const std::string tensor = pickle_of(0, {6}, {1}), get = std::string("h") + '\0';
  PickleMaker p;
  p.op('}').text("task").raw(tensor.substr(2, tensor.size() - 3)).op('s').text("first").integer(1).op('s');
  p.text(std::string(10'000, 'k')).op('q').op('\0').op('N').op('s');
  for (int i = 0; i < 1000; ++i) p.raw(get).op('N').op('s');
  p.text("last").integer(2).op('s');
  const TemporaryFolder folder;
  const auto others = PthFile::open(folder.file("f.pth", Checkpoint{p.done()}.bytes())).others();
  BOOST_TEST(others.as_object().size() == 2u);
  BOOST_TEST(others.at("first").as_int() == 1);
  BOOST_TEST((others.find("last") == nullptr));  // what may be shown was used up
}

BOOST_AUTO_TEST_CASE(a_dict_named_many_times_is_looked_through_once) {
  constexpr size_t kPairs = 100'000;  // 10^10 looks would take minutes
  const std::string get = std::string("h") + '\0';
  PickleMaker p;
  p.op('}').text("task").op('}').text("0").op('}').op('(').raw(std::string(2 * kPairs, 'N')).op('u');
  p.op('q').op('\0').op('s').op('(');
  for (size_t i = 0; i < kPairs; ++i) p.op('N').raw(get);
  const auto begin = std::chrono::steady_clock::now();
  check_refused({p.op('u').op('s').done()}, "expected keys that are texts");
  BOOST_TEST((std::chrono::steady_clock::now() - begin < std::chrono::seconds(10)));
}

BOOST_AUTO_TEST_CASE(halves) {
  using ratel::io::half_to_float;
  BOOST_TEST(half_to_float(0x3c00) == 1.0f);
  BOOST_TEST(half_to_float(0xc000) == -2.0f);
  BOOST_TEST(half_to_float(0x7bff) == 65504.0f);
  BOOST_TEST(half_to_float(0x0001) == 0x1p-24f);
  BOOST_TEST(half_to_float(0x03ff) == 1023 * 0x1p-24f);
  BOOST_TEST(half_to_float(0x0400) == 0x1p-14f);
  BOOST_TEST(std::signbit(half_to_float(0x8000)));
  BOOST_TEST(half_to_float(0x7c00) == std::numeric_limits<float>::infinity());
  BOOST_TEST(std::isnan(half_to_float(0x7e01)));
  float last = -1;
  bool rises = true;
  for (uint16_t bits = 0; bits < 0x7c00; ++bits) rises = rises && std::exchange(last, half_to_float(bits)) < last;
  BOOST_TEST(rises);
}

BOOST_AUTO_TEST_CASE(files_of_another_kind_are_told_apart) {
  const auto message = [](const std::string& path) {
    try {
      (void)PthFile::open(path);
    } catch (const ratel::Error& error) {
      BOOST_TEST((error.kind() == ErrorKind::input));
      return std::string(error.what());
    }
    return std::string("no error");
  };
  for (const char* name : {"torch2_legacy.pth", "torch2_tar.pth"}) {
    const std::string text = message(golden(name));
    BOOST_TEST(text.starts_with(golden(name) + ":0: expected the zip format of PyTorch 1.6 and later"), text);
    BOOST_TEST(text.find("\nhint: where PyTorch is at hand: torch.save(torch.load(") != std::string::npos, text);
    BOOST_TEST(PthFile::looks_like_one(golden(name)));
  }
  BOOST_TEST(message(golden("torch2_model.safetensors")).find("expected a zip archive") != std::string::npos);
  BOOST_TEST(!PthFile::looks_like_one(golden("torch2_model.safetensors")));
  BOOST_TEST(PthFile::looks_like_one(golden("torch2_model.pth")));
  BOOST_TEST(message(golden("torch2_big_endian.pth")).find("byteorder; expected little, found \"big\"") !=
             std::string::npos);
  BOOST_TEST(message(golden("none.pth")).find("No such file") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(layouts_that_leave_their_storage) {
  const int64_t huge = int64_t{1} << 62;
  const TemporaryFolder folder;
  const PthFile good = PthFile::open(folder.file("good.pth", Checkpoint{pickle_of(1, {2, 2}, {2, 1})}.bytes()));
  BOOST_TEST(good.tensor(good.tensors()[0]).layout().offset == 1);
  check_refused({pickle_of(0, {7}, {1})}, "\"w\" reaches beyond its storage; expected 6 elements, found one at 6");
  check_refused({pickle_of(6, {1}, {1})}, "reaches beyond its storage");
  check_refused({pickle_of(0, {2}, {6})}, "reaches beyond its storage");
  check_refused({pickle_of(0, {2}, {huge * 1})}, "reaches beyond its storage");
  check_refused({pickle_of(0, {3}, {huge})}, "larger than 63 bits can count");
  check_refused({pickle_of(huge, {2}, {huge})}, "larger than 63 bits can count");
  check_refused({pickle_of(0, {huge, 4}, {0, 0})}, "larger than 63 bits can count");
  check_refused({pickle_of(0, {0, huge, huge}, {1, 1, 1})}, "larger than 63 bits can count");
  check_refused({pickle_of(0, {-1}, {1})}, "sizes; expected integers of at least 0, found the integer -1");
  check_refused({pickle_of(0, {2}, {-1})}, "strides; expected integers of at least 0, found the integer -1");
  check_refused({pickle_of(-1, {2}, {1})}, "offset; expected an integer of at least 0, found the integer -1");
  check_refused({pickle_of(0, {2, 2}, {1})}, "expected 2 strides, found 1");
  check_refused({pickle_of(0, std::vector<int64_t>(9, 1), std::vector<int64_t>(9, 1))}, "too many axes");
}

BOOST_AUTO_TEST_CASE(storages_that_do_not_fit) {
  check_refused({pickle_of(0, {6}, {1}, 7)}, "storage \"0\"; expected 7 elements of 4 bytes, found 24 bytes");
  check_refused({pickle_of(0, {6}, {1}, -1)}, "expected the persistent id of a storage");
  check_refused({pickle_of(0, {6}, {1}, 6, "torch\nFloatStorage\n", "1")}, "its storage \"1\" is not in the archive");
  check_refused({pickle_of(0, {6}, {1}, 6, "torch\nFloatStorage\n", "../data/0")}, "is not in the archive");
  check_refused({pickle_of(0, {6}, {1}, 6, "torch\nComplexFloatStorage\n")}, "dtype; expected f64, f32");
  check_refused({pickle_of(0, {6}, {1}, 6, "os\nsystem\n")}, "expected a storage of torch, found the global os.system");
  check_refused({pickle_of(0, {6}, {1}), std::string(23, '\1')}, "found 23 bytes");
  check_refused({pickle_of(0, {6}, {1}), std::string(24, '\1'), "big"}, "byteorder; expected little");
}

BOOST_AUTO_TEST_CASE(tensors_whose_elements_are_not_those_of_their_storage) {
  const auto checkpoint = [](std::string_view function, const PickleMaker& more) {
    PickleMaker p;
    p.op('}').text("w").global("torch._utils", function).op('(').op('(').text("storage");
    p.global("torch", "FloatStorage").text("0").text("cpu").integer(6).op('t').op('Q').integer(0);
    p.integers({6}).integers({1}).op('\x89').op('N').raw(more.body()).op('t').op('R').op('s');
    return Checkpoint{p.done()};
  };
  const auto dtype = PickleMaker().global("torch", "float32");
  const auto negated = PickleMaker().op('}').text("neg").op('\x88').op('s');
  const std::string_view expected = "\"w\": metadata; expected a tensor as it is stored, found a negated";
  check_refused(checkpoint("_rebuild_tensor_v2", negated), expected);
  check_refused(checkpoint("_rebuild_tensor_v2", PickleMaker().integer(1)), expected);
  check_refused(checkpoint("_rebuild_tensor_v3", PickleMaker(dtype).raw(negated.body())), expected);
  const TemporaryFolder folder;
  for (const char empty : {'N', '}'}) {
    const std::string v2 = checkpoint("_rebuild_tensor_v2", PickleMaker().op(empty)).bytes();
    const std::string v3 = checkpoint("_rebuild_tensor_v3", PickleMaker(dtype).op(empty)).bytes();
    for (const std::string& bytes : {v2, v3})
      BOOST_TEST(PthFile::open(folder.file("f.pth", bytes)).tensors().size() == 1u);
  }
}

BOOST_AUTO_TEST_CASE(state_dicts_that_are_none) {
  check_refused({PickleMaker().op(']').done()}, "expected a checkpoint that is a dict");
  check_refused({PickleMaker().op('}').done()}, "expected a state dict");
  check_refused({PickleMaker().op('}').text("task").op('}').op('s').done()}, "expected a state dict");
  const std::string tensor = pickle_of(0, {6}, {1});
  const std::string open = tensor.substr(0, tensor.size() - 2);  // up to the tensor, the dict below it
  PickleMaker more;
  const auto with = [&](const PickleMaker& rest) { return open + "s" + rest.body() + "."; };
  check_refused({with(PickleMaker().text("n").integer(3).op('s'))}, "\"n\": expected a tensor, found the integer 3");
  check_refused({with(PickleMaker().text("e").global("os", "system").op('(').text("id").op('t').op('R').op('s'))},
                "\"e\": expected a tensor, found what a call of os.system gives");
  check_refused({with(PickleMaker().integer(1).op('N').op('s'))}, "expected keys that are texts, found the integer 1");
  check_refused({with(PickleMaker().text("a/../b").op('N').op('s'))}, "contains \"..\"");
  check_refused({with(PickleMaker().text("a\x1b[2J").op('N').op('s'))}, "control character");
  // The same dict twice: a few bytes could be a tree of any size.
  check_refused({with(PickleMaker()
                          .op('}')
                          .op('q')
                          .raw(std::string(1, '\0'))
                          .op('0')
                          .text("x")
                          .op('h')
                          .raw(std::string(1, '\0'))
                          .op('s')
                          .text("y")
                          .op('h')
                          .raw(std::string(1, '\0'))
                          .op('s'))},
                "is in it twice");
}

BOOST_AUTO_TEST_CASE(archives_that_are_no_checkpoint) {
  const TemporaryFolder folder;
  const std::string pickle = pickle_of(0, {6}, {1});
  const auto refused = [&](const ZipMaker& zip, std::string_view part) {
    const std::string path = folder.file("f.pth", zip.bytes());
    check_error(ErrorKind::input, part, [&] {
      const PthFile file = PthFile::open(path);
      (void)file.tensor(file.tensors()[0]);
    });
  };
  refused(ZipMaker().add("m/data/0", "x"), "expected a checkpoint with a file data.pkl, found none");
  refused(ZipMaker().add("m/data.pkl", pickle).add("n/data.pkl", pickle), "expected one data.pkl, found");
  refused(ZipMaker().add("m/data.pkl", pickle).add("n/data/0", std::string(24, '\1')), "is not in the archive");
  ZipMaker damaged;
  damaged.add("m/data.pkl", pickle).add("m/data/0", std::string(24, '\1')).crc(7);
  refused(damaged, "\"m/data/0\" is damaged; expected CRC-32 7");
  ZipMaker pickle_damaged;
  pickle_damaged.add("m/data.pkl", pickle).crc(7);
  refused(pickle_damaged, "\"m/data.pkl\" is damaged");
}

BOOST_AUTO_TEST_CASE(a_file_without_checksums_is_told_from_a_damaged_one) {
  const TemporaryFolder folder;
  for (const uint32_t crc : {0u, 7u}) {
    ZipMaker zip;
    zip.add("m/data.pkl", pickle_of(0, {6}, {1})).add("m/data/0", std::string(24, '\1')).crc(crc);
    const PthFile file = PthFile::open(folder.file("f.pth", zip.bytes()));
    std::string text;
    try {
      (void)file.tensor(file.tensors()[0]);
    } catch (const ratel::Error& error) {
      text = error.what();
    }
    BOOST_TEST(text.find("is damaged; expected CRC-32 ") != std::string::npos, text);
    BOOST_TEST((text.find("\nhint: torch.save writes 0 after torch.serialization.set_crc32_options(False)") !=
                std::string::npos) == (crc == 0),
               text);
  }
}

BOOST_AUTO_TEST_CASE(files_cut_short_anywhere_are_refused) {
  const TemporaryFolder folder;
  const std::string path = folder / "f.pth";
  for (const char* name : {"torch2_model.pth", "torch2_deflated.pth", "torch2_zip64.pth"}) {
    const std::string whole = content_of(golden(name));
    const auto cut_at = [&](size_t length) {
      (void)folder.file("f.pth", std::string_view(whole).substr(0, length));
      check_error(ErrorKind::input, path + ":", [&] { (void)PthFile::open(path); });
    };
    for (size_t length = 0; length < std::min<size_t>(whole.size(), 4096); ++length) cut_at(length);
    std::mt19937 random(1);
    for (int i = 0; i < 200; ++i) cut_at(random() % whole.size());
  }
}

BOOST_AUTO_TEST_CASE(flipped_bits_never_crash) {
  const TemporaryFolder folder;
  const std::string whole = Checkpoint{pickle_of(1, {2, 2}, {2, 1})}.bytes();
  size_t accepted = 0;
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    const std::string path = folder.file("f.pth", flipped);
    accepted += ratel::test::succeeds_or_refuses([&] {
      const PthFile file = PthFile::open(path);
      for (const PthTensor& tensor : file.tensors()) (void)bytes_of(file.tensor(tensor));
      (void)file.others();
    });
  }
  BOOST_TEST(accepted < whole.size() * 2);  // of eight bits a byte: dates, versions, what nobody reads
}
