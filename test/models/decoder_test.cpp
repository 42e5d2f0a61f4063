#include "models/decoder.h"

#include "autograd/grad_mode.h"
#include "ops/copy.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"

using ratel::Decoder;
using ratel::Device;
using ratel::DType;
using ratel::KvCache;
using ratel::ModelPattern;
using ratel::RatPlus;
using ratel::Recurrence;
using ratel::Tensor;
namespace nn = ratel::nn;
namespace test = ratel::test;

namespace {

using Ids = std::vector<int64_t>;

constexpr int64_t kWords = 37, kCapacity = 40;
const ModelPattern kPattern{
    {{{4, 5, 2}, {-1, 6, 0}}, {{1, 0, 0}, {.dilation = 4, .top_blocks = 3, .score = ratel::BlockScore::minmax}}}};
const std::vector<Ids> kPrompts{{5, 1, 30, 2, 9, 12, 3}, {8}, {17, 36, 0, 4, 4, 21, 6, 7, 7, 7, 1, 2}};

struct Model {
  Model(Device device, DType dtype, Recurrence recurrence = Recurrence::gated)
      : store(dtype, 3, nn::Start::init, device),
        model(nn::Scope(store),
              {.vocab_size = kWords, .layers = 2, .channels = 48, .heads = 2, .recurrence = recurrence}) {}
  [[nodiscard]] KvCache cache(size_t batch = kPrompts.size()) const {
    return {model, kPattern, static_cast<int64_t>(batch), kCapacity};
  }
  nn::ParamStore store;
  RatPlus model;
};

Tensor column(const Ids& tokens, Device device) {
  return from_vector(tokens, {static_cast<int64_t>(tokens.size()), 1}, DType::i64, device);
}

}  // namespace

BOOST_AUTO_TEST_CASE(equals_next_logits_bit_for_bit) {
  for (const Device device : test::devices())
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const Recurrence recurrence : {Recurrence::gated, Recurrence::none}) {
        const Model m(device, dtype, recurrence);
        KvCache one = m.cache(), other = m.cache();
        prefill(m.model, one, kPrompts);
        prefill(m.model, other, kPrompts);
        Decoder decoder(m.model, one);
        const auto step = [&](const Ids& tokens, const Ids& counts) {
          const Tensor expected = next_logits(m.model, other, column(tokens, device), counts);
          const Tensor& found = decoder(tokens, counts);
          for (int64_t b = 0; b < 3; ++b)
            if (counts.empty() || counts[static_cast<size_t>(b)] > 0)
              test::check_identical(to(slice(found, 0, b, b + 1), ratel::kCpu),
                                    to(slice(expected, 0, b, b + 1), ratel::kCpu),
                                    ratel::concat_text("sequence ", b, " in ", dtype, " on ", device));
          BOOST_TEST(Ids(one.lengths().begin(), one.lengths().end()) ==
                     Ids(other.lengths().begin(), other.lengths().end()));
        };
        for (int64_t i = 0; i < 4; ++i) step({i, 36 - i, 3 * i}, {});
        step({1, 2, 3}, {0, 1, 0});
        for (KvCache* cache : {&one, &other}) {  // between steps a cache may be used otherwise
          cache->reset(1);
          extend(m.model, *cache, from_vector(Ids{1, 2, 3, 4, 5, 6}, {3, 2}, DType::i64, device), Ids{2, 1, 0});
        }
        for (int64_t i = 0; i < 3; ++i) step({2 * i, i, 30}, {});
      }
}

// Norms, products and activations are kernels of their own there.
BOOST_AUTO_TEST_CASE(more_sequences_than_one_kernel_has_rows) {
  const size_t B = 17;
  for (const Device device : test::devices()) {
    const Model m(device, DType::bf16);
    KvCache one = m.cache(B), other = m.cache(B);
    Decoder decoder(m.model, one);
    for (int64_t i = 0; i < 6; ++i) {
      Ids tokens;
      for (size_t b = 0; b < B; ++b) tokens.push_back((static_cast<int64_t>(b) * 5 + i) % kWords);
      const Tensor expected = next_logits(m.model, other, column(tokens, device));
      test::check_identical(to(decoder(tokens), ratel::kCpu), to(expected, ratel::kCpu),
                            ratel::concat_text("token ", i, " on ", device));
    }
  }
}

BOOST_AUTO_TEST_CASE(errors) {
  for (const Device device : test::devices()) {
    const Model m(device, DType::f32);
    KvCache cache = m.cache();
    prefill(m.model, cache, kPrompts);
    Decoder decoder(m.model, cache);
    test::check_error([&] { decoder(Ids{1, 2}); }, "expected a token for each of 3 sequences, found 2");
    test::check_error([&] { decoder(Ids{1, 2, kWords}); }, "token 37 of sequence 2 is not in [0, 37)");
    test::check_error([&] { decoder(Ids{1, 2, 3}, Ids{1, 2, 1}); }, "expected 0 to 1 new tokens of sequence 1");
    for (int i = 12; i < kCapacity; ++i) decoder(Ids{1, 2, 3});
    test::check_error([&] { decoder(Ids{1, 2, 3}); }, "sequence 2 is full: it has 40 tokens");
    BOOST_TEST(cache.lengths()[0] == 7 + 28);
  }
}
