// Tensors on a GPU: counted, named in errors, and never read on the CPU by mistake.

#include <boost/test/unit_test.hpp>

#include "autograd/gradient.h"
#include "core/device_memory.h"
#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/reduce.h"
#include "test/support/compare.h"
#include "test/support/devices.h"

namespace {

using ratel::Device;
using ratel::DType;
using ratel::Tensor;
using ratel::test::check_error;
using ratel::test::on_gpus;

Tensor until_the_end;  // made before all that counts its bytes, and so gone behind it

}  // namespace

BOOST_AUTO_TEST_CASE(bytes_are_counted) {
  on_gpus([](Device gpu) {
    const auto before = memory_use(gpu);
    {
      const Tensor x = ratel::empty({1000}, DType::f32, gpu);
      BOOST_TEST(memory_use(gpu).live == before.live + 4000);
      BOOST_TEST(memory_use(gpu).requested == before.requested + 4000);
    }
    BOOST_TEST(memory_use(gpu).live == before.live);
    BOOST_TEST(memory_use(gpu).peak >= before.live + 4000);
    reset_peak_memory(gpu);
    BOOST_TEST(memory_use(gpu).peak == before.live);
  });
}

BOOST_AUTO_TEST_CASE(a_tensor_may_end_with_the_program) {
  on_gpus([](Device gpu) { until_the_end = ratel::zeros({1000}, DType::f32, gpu); });  // a crash is the exit code
}

BOOST_AUTO_TEST_CASE(no_device_is_before_the_first) {
  check_error([] { ratel::current_stream({ratel::DeviceType::cuda, -1}); }, "expected a device from 0 on, found -1");
}

BOOST_AUTO_TEST_CASE(too_much_names_the_op_and_the_owners) {
  on_gpus([](Device gpu) {
    const ratel::OpScope scope("hoarder");
    const Tensor kept = ratel::empty({1 << 20}, DType::f32, gpu);
    try {
      const ratel::OpScope greedy("greedy");
      const Tensor x = ratel::empty({int64_t{1} << 45}, DType::f32, gpu);
      BOOST_ERROR("128 TiB were given out");
    } catch (const ratel::Error& error) {
      const std::string what = error.what();
      BOOST_TEST((error.kind() == ratel::ErrorKind::memory));
      for (const char* part : {"greedy asked for 140737488355328 bytes", "hoarder 4 MiB", "hint: "})
        BOOST_TEST(what.find(part) != std::string::npos, what << " lacks " << part);
    }
  });
}

BOOST_AUTO_TEST_CASE(reading_on_the_cpu_needs_a_copy) {
  on_gpus([](Device gpu) {
    const Tensor x = ratel::from_vector<float>({1, 2, 3}, {3}, DType::f32, gpu);
    check_error([&] { BOOST_TEST(x.data<float>() == nullptr); }, "to(x, kCpu) copies it");
    BOOST_TEST(to(x, ratel::kCpu).data<float>()[2] == 3);
    BOOST_TEST(ratel::to_vector<float>(x) == (std::vector<float>{1, 2, 3}), boost::test_tools::per_element());
    BOOST_TEST(sum(x).item() == 6);
    check_error([&] { ratel::add(x, to(x, ratel::kCpu)); }, ratel::concat_text("add: tensors on ", gpu, " and cpu"));
    check_error([] { ratel::empty({1}, DType::f32, {ratel::DeviceType::cuda, 99}); }, "a tensor on cuda:99");
  });
}

BOOST_AUTO_TEST_CASE(gradients_return_to_the_leaf_s_device_and_accumulate) {
  on_gpus([](Device gpu) {
    const Tensor x = requires_grad(ratel::from_vector<float>({1, 2, 3}, {3}));
    const Tensor on_gpu = to(x, gpu);
    backward(sum(mul(on_gpu, on_gpu)));
    BOOST_TEST((grad(x).device() == ratel::kCpu));
    backward(sum(to(x, gpu)));
    BOOST_TEST(ratel::to_vector<float>(grad(x)) == (std::vector<float>{3, 5, 7}), boost::test_tools::per_element());
    const Tensor leaf = requires_grad(to(ratel::detach(x), gpu));
    for (int pass = 0; pass < 2; ++pass) backward(sum(mul(leaf, 2)));
    BOOST_TEST((grad(leaf).device() == gpu));
    BOOST_TEST(ratel::to_vector<float>(grad(leaf)) == (std::vector<float>{4, 4, 4}), boost::test_tools::per_element());
  });
}

BOOST_AUTO_TEST_CASE(copies_of_views_and_between_dtypes) {
  on_gpus([](Device gpu) {
    const Tensor x = ratel::test::randn({5, 7, 3}, 1);
    const Tensor odd = ratel::test::scattered(x);
    ratel::test::check_identical(moved_to(contiguous(moved_to(odd, gpu)), ratel::kCpu), x, "scattered");
    for (const DType dtype : {DType::f32, DType::bf16, DType::i32})
      ratel::test::check_identical(moved_to(to(to(odd, gpu), dtype), ratel::kCpu), to(x, dtype), "converted");
    const Tensor into = ratel::zeros({5, 7, 3}, DType::f64, gpu);
    copy_into(into, x);
    ratel::test::check_identical(moved_to(into, ratel::kCpu), x, "from the CPU");
  });
}

BOOST_AUTO_TEST_CASE(random_numbers_are_those_of_the_cpu) {
  on_gpus([](Device gpu) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      ratel::Rng here(3, 1, 5), there(3, 1, 5);
      const Tensor a = random_normal({1001}, here, 0.5, 2, dtype), b = random_normal({1001}, there, 0.5, 2, dtype, gpu);
      BOOST_TEST(here.next() == there.next());
      ratel::test::check_close(b, a, dtype == DType::f64 ? 1e-15 : dtype == DType::f32 ? 1e-7 : 4e-3, "normal");
      ratel::test::check_identical(moved_to(random_uniform({77}, there, -1, 1, dtype, gpu), ratel::kCpu),
                                   random_uniform({77}, here, -1, 1, dtype), "uniform");
    }
    ratel::Rng here(4), there(4);
    ratel::test::check_identical(moved_to(random_integers({300}, there, 50000, DType::i64, gpu), ratel::kCpu),
                                 random_integers({300}, here, 50000), "integers");
    ratel::test::check_identical(moved_to(ratel::arange(300, DType::f32, gpu), ratel::kCpu),
                                 ratel::arange(300, DType::f32), "arange");
  });
}
