// The host twin itself: it runs kernels as a GPU would, and catches what a GPU would let pass.

#include "cuda/twin/twin.h"

#include <algorithm>
#include <bit>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/device_graph.h"
#include "core/tensor.h"
#include "cuda/device.h"
#include "cuda/warpgroup.h"
#include "test/support/compare.h"

namespace ratel::cuda {
namespace {

using test::check_error;

constexpr Device kGpu{DeviceType::cuda, 0};
constexpr int kThreads = 64;

Tensor on_gpu(const std::vector<float>& values) {
  return from_vector(values, {static_cast<int64_t>(values.size())}, DType::f32, kGpu);
}

__global__ void reverse(const float* from, float* to) {
  SharedArena arena;
  const Shared<float> all = arena.take<float>(kThreads);
  const int i = thread_index().x;
  all[i] = from[i];
  sync_block();
  to[i] = all[kThreads - 1 - i];
}

__global__ void reverse_without_barrier(const float* from, float* to) {
  SharedArena arena;
  const Shared<float> all = arena.take<float>(kThreads);
  const int i = thread_index().x;
  all[i] = from[i];
  to[i] = all[i ^ 1];
}

__global__ void write_block(float* to) { to[0] = static_cast<float>(block_index().x); }

__global__ void read_unwritten(float* to) {
  SharedArena arena;
  const Shared<float> all = arena.take<float>(kThreads);
  to[0] = all[thread_index().x];
}

__global__ void shared_overrun() {
  SharedArena arena;
  const Shared<float> all = arena.take<float>(kThreads);
  all[thread_index().x + 1] = 1;
}

__global__ void read_at(const float* from, int64_t at, float* to) { to[0] = from[at]; }
__global__ void write_at(float* to, int64_t at) { to[at] = 0; }

__global__ void waits(const float* from, float* to) {
  const int i = thread_index().x;
  wait_for_previous();
  to[i] = from[i] + 1;
}

__global__ void reads_first(const float* from, float* to) {
  const int i = thread_index().x;
  const float value = from[i];
  wait_for_previous();
  to[i] = value + 1;
}

__global__ void some_never_wait() {
  if (thread_index().x < 40) wait_for_previous();
}

__global__ void none_waits() {}

/// The wait is no barrier.
__global__ void reverse_with_a_wait(const float* from, float* to) {
  SharedArena arena;
  const Shared<float> all = arena.take<float>(kThreads);
  const int i = thread_index().x;
  all[i] = from[i];
  wait_for_previous();
  to[i] = all[kThreads - 1 - i];
}

__global__ void some_leave_early() {
  if (thread_index().x >= 40) return;
  sync_block();
}

__global__ void two_barriers() {
  if (thread_index().x < 32)
    sync_block();
  else
    sync_block();
}

__global__ void half_a_shuffle(float* to) {
  const int i = thread_index().x;
  if (i % 2 == 0) to[i] = shuffle_xor(static_cast<float>(i), 2);
}

__global__ void two_shuffles(float* to) {
  const int i = thread_index().x;
  const auto value = static_cast<float>(i);
  to[i] = i % 2 == 0 ? shuffle_xor(value, 2) : shuffle_down(value, 2);
}

__global__ void all_shuffles(float* to) {
  const int i = thread_index().x;
  const auto value = static_cast<float>(i);
  to[i] =
      shuffle_up(value, 1) * 1000000 + shuffle_down(value, 1) * 10000 + shuffle_xor(value, 3) * 100 + shuffle(value, 7);
}

__global__ void copy_through_shared(const float* from, float* to, bool wait) {
  SharedArena arena;
  const Shared<float> all = arena.take<float>(4 * kThreads);
  const int i = thread_index().x;
  copy_async_16(all, 4 * i, from + 4 * i, i % 2 == 0);
  commit_copies();
  if (wait) wait_copies<0>();
  for (int k = 0; k < 4; ++k) to[4 * i + k] = all[4 * i + k];
}

/// c (16, 8) = a (16, 16) b (16, 8), b given transposed (8, 16) or as it is.
__global__ void multiply(const bfloat16* a, const bfloat16* b, float* c, bool b_transposed) {
  SharedArena arena;
  const Shared<bfloat16> left = arena.take<bfloat16>(256), right = arena.take<bfloat16>(128);
  const int lane = lane_index();
  for (int i = lane; i < 256; i += kWarp) left[i] = a[i];
  for (int i = lane; i < 128; i += kWarp) right[i] = b[i];
  sync_warp();
  FragmentA fa;
  FragmentB fb;
  FragmentC fc{};
  load_matrix_x4(fa.at, left, lane % 16 * 16 + lane / 16 * 8);
  if (b_transposed)
    load_matrix_x2(fb.at, right, lane % 8 * 16 + lane / 8 % 2 * 8);
  else
    load_matrix_x2_transposed(fb.at, right, lane % 16 * 8);
  multiply_16x8x16(fc, fa, fb);
  for (int i = 0; i < 4; ++i) c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = fc.at[i];
}

/// c (64, N) = a (64, 16) b (N, 16) transposed, or a b with b (16, N), added to ones but where c is set. Rows of a and
/// b lie as warpgroup.h says. `flaw` leaves something out.
enum class Flaw { none, unpublished, not_begun, amid_eight_rows, not_waited };
template <int N, bool kByRows, bool kSets>
__global__ void multiply_by_warpgroup(const bfloat16* a, const bfloat16* b, float* c, Flaw flaw) {
  constexpr int kRows = kByRows ? N : 16, kStretches = kByRows ? 1 : N / kStretch;
  SharedArena arena;
  const Shared<bfloat16> left = arena.take<bfloat16>(64 * kStretch),
                         right = arena.take<bfloat16>((kRows + 8) * kStretches * kStretch);
  const auto place = [](int row, int column, int rows) {
    return column / kStretch * rows * kStretch + row * kStretch + (column / 8 ^ row) % 8 * 8 + column % 8;
  };
  constexpr int kColumns = kByRows ? 16 : N;
  for (int i = thread_index().x; i < 64 * 16; i += block_size().x) left[place(i / 16, i % 16, 64)] = a[i];
  for (int i = thread_index().x; i < kRows * kColumns; i += block_size().x)
    right[place(i / kColumns, i % kColumns, kRows)] = b[i];
  if (flaw != Flaw::unpublished) publish_shared();
  sync_block();
  FragmentC sums[N / 8];
  for (FragmentC& eight : sums) eight = {{1, 1, 1, 1}};
  if (flaw != Flaw::not_begun) begin_products(sums);
  const SharedMatrix of_b = shared_matrix(right, flaw == Flaw::amid_eight_rows ? kStretch : 0, kRows * kStretch);
  if constexpr (kByRows) {
    const SharedMatrix of_a = shared_matrix(left, 0, 64 * kStretch);
    if constexpr (kSets)
      set_products_by_rows<N>(sums, of_a, of_b);
    else
      add_products_by_rows<N>(sums, of_a, of_b);
    commit_products();
    if (flaw != Flaw::not_waited) wait_products<0>();
    keep(sums);
  } else {
    FragmentA rows[1];
    const int row = thread_index().x / kWarp * 16 + lane_index() / 4, pair = lane_index() % 4 * 2;
    for (int i = 0; i < 4; ++i) {
      const auto two = load_vec<2>(a + (row + i % 2 * 8) * 16 + pair + i / 2 * 8);
      rows[0].at[i] = pack_bf16(static_cast<float>(two.at[0]), static_cast<float>(two.at[1]));
    }
    add_products_by_columns<N>(sums, rows[0], of_b);
    commit_products();
    if (flaw != Flaw::not_waited) wait_products<0>();
    keep(sums);
    keep(rows);
  }
  for (int n = 0; n < N / 8; ++n)
    for (int i = 0; i < 4; ++i) {
      const int row = thread_index().x / kWarp * 16 + lane_index() / 4 + i / 2 * 8;
      c[row * N + n * 8 + lane_index() % 4 * 2 + i % 2] = sums[n].at[i];
    }
}

__global__ void round_each(const float* from, bfloat16* to) {
  to[thread_index().x] = round_to<bfloat16>(from[thread_index().x]);
}

/// A lane's number and its negative as one register.
__global__ void round_pairs(const float* from, uint32_t* to) {
  const float value = from[thread_index().x];
  to[thread_index().x] = pack_bf16(value, -value);
}

std::vector<float> counted(int n) {
  std::vector<float> values;
  for (int i = 0; i < n; ++i) values.push_back(static_cast<float>(i));
  return values;
}

const size_t kShared = shared_size<float>(kThreads);

}  // namespace

BOOST_AUTO_TEST_CASE(a_barrier_makes_what_others_wrote_readable) {
  const Tensor from = on_gpu(counted(kThreads)), to = on_gpu(counted(kThreads));
  launch({"reverse", 1, kThreads, kShared}, reverse, static_cast<const float*>(from.data()),
         static_cast<float*>(to.data()));
  auto expected = counted(kThreads);
  std::reverse(expected.begin(), expected.end());
  BOOST_TEST(to_vector<float>(to) == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(missing_barriers_are_caught) {
  const Tensor x = on_gpu(counted(kThreads));
  auto* at = static_cast<float*>(x.data());
  // In forward order the first thread reads what the second has not written yet; in reverse order it is the other way
  // around for the neighbours, and what was written was written without a barrier.
  check_error(
      [&] {
        launch({"race", 1, kThreads, kShared}, reverse_without_barrier, at, at);
      },
      "race, block (0, 0, 0)");
}

// Of two blocks that write one address a GPU may let either be the last.
BOOST_AUTO_TEST_CASE(blocks_run_in_both_orders) {
  const Tensor x = on_gpu({-1});
  const auto last_with = [&](twin::Order order) {
    twin::set_order(order);
    launch({"write_block", 3, kWarp}, write_block, static_cast<float*>(x.data()));
    return to_vector<float>(x)[0];
  };
  const char* const wanted = std::getenv("RATEL_TWIN_ORDER");
  const bool reversed = wanted != nullptr && std::string(wanted) == "reverse";
  BOOST_TEST(last_with(twin::Order::forward) == 2);
  BOOST_TEST(last_with(twin::Order::reverse) == 0);
  twin::set_order(reversed ? twin::Order::reverse : twin::Order::forward);
}

BOOST_AUTO_TEST_CASE(shared_memory_is_watched) {
  const Tensor x = on_gpu(counted(kThreads));
  auto* at = static_cast<float*>(x.data());
  check_error(
      [&] {
        launch({"unwritten", 1, kThreads, kShared}, read_unwritten, at);
      },
      "reads shared memory that nobody wrote");
  check_error(
      [&] {
        launch({"overrun", 1, kThreads, kShared}, shared_overrun);
      },
      "thread 63: touches bytes 256 to 260 of a piece of shared memory of 256 bytes");
  check_error([&] { launch({"too_little", 1, kThreads, 16}, shared_overrun); }, "the launch asked for 16");
}

BOOST_AUTO_TEST_CASE(global_memory_ends_where_it_ends) {
  const Tensor x = on_gpu(counted(kThreads)), odd = on_gpu(counted(5));
  auto* at = static_cast<float*>(x.data());
  check_error([&] { launch({"beyond", 1, kWarp}, read_at, at, kThreads, at); }, "beyond, block (0, 0, 0), thread ");
  check_error([&] { launch({"far", 1, kWarp}, write_at, at, -5000); }, "lies in no allocation");
  // Five floats leave twelve bytes to the guard page.
  check_error(
      [&] {
        launch({"slack", 1, kWarp}, write_at, static_cast<float*>(odd.data()), 5);
      },
      "slack: wrote past the end of an allocation of 20 bytes");
  static_cast<float*>(odd.data())[5] = std::bit_cast<float>(0xffffffffu);  // as it was
}

BOOST_AUTO_TEST_CASE(threads_must_meet) {
  check_error(
      [] {
        launch({"early", 1, kThreads}, some_leave_early);
      },
      std::string("thread 40: ended, while thread 0 waits at the barrier at ") + __FILE__);
  check_error([] { launch({"two", 1, kThreads}, two_barriers); }, "waits at the barrier at");
  const Tensor x = on_gpu(counted(kThreads));
  auto* at = static_cast<float*>(x.data());
  check_error([&] { launch({"half", 1, kThreads}, half_a_shuffle, at); }, "for lanes that never come");
  check_error([&] { launch({"mixed", 1, kThreads}, two_shuffles, at); }, "other lanes of its warp in");
  check_error([&] { launch({"odd", 1, 33}, half_a_shuffle, at); }, std::string("odd, launched at ") + __FILE__);
}

BOOST_AUTO_TEST_CASE(who_may_start_early_must_wait) {
  const Tensor x = on_gpu(counted(kThreads)), y = on_gpu(counted(kThreads));
  const auto early = [](const char* name, size_t shared = 0) {
    return Launch{.kernel = name,
                  .block_x = kThreads,
                  .shared_bytes = shared,
                  .stream = current_stream(kGpu),
                  .start = Start::early};
  };
  const auto* const from = static_cast<const float*>(x.data());
  auto* const to = static_cast<float*>(y.data());
  launch(early("waits"), waits, from, to);
  BOOST_TEST(to_vector<float>(y)[5] == 6);
  launch({"in_order", 1, kThreads}, none_waits);
  check_error([&] { launch(early("none"), none_waits); }, ": ended without wait_for_previous()");
  check_error([&] { launch(early("some"), some_never_wait); }, ": ended without wait_for_previous()");
  check_error([&] { launch(early("race", kShared), reverse_with_a_wait, from, to); }, "race, block (0, 0, 0)");
}

BOOST_AUTO_TEST_CASE(before_it_waits_a_kernel_reads_nothing_that_its_graph_makes) {
  const Tensor x = on_gpu(counted(kThreads)), y = on_gpu(counted(kThreads));
  const auto record = [&](auto* second, Weights weights) {
    return DeviceGraph(
        kGpu,
        [&, second] {
          const Stream stream = current_stream(kGpu);
          const Tensor between = empty({kThreads}, DType::f32, kGpu);
          Launch how{.kernel = "first", .block_x = kThreads, .stream = stream, .start = Start::early};
          launch(how, reads_first, static_cast<const float*>(x.data()), static_cast<float*>(between.data()));
          how.kernel = "second";
          launch(how, second, static_cast<const float*>(between.data()), static_cast<float*>(y.data()));
        },
        weights);
  };
  record(waits, Weights::constant).run();
  BOOST_TEST(to_vector<float>(y)[5] == 7);
  record(reads_first, Weights::written).run();
  const DeviceGraph wrong = record(reads_first, Weights::constant);
  for (int run = 0; run < 2; ++run)
    check_error([&] { wrong.run(); }, "which an earlier kernel may write, before it waited");
  record(waits, Weights::constant).run();
}

BOOST_AUTO_TEST_CASE(shuffles_take_from_where_they_say) {
  const Tensor x = on_gpu(counted(kWarp));
  launch({"shuffles", 1, kWarp}, all_shuffles, static_cast<float*>(x.data()));
  const auto values = to_vector<float>(x);
  BOOST_TEST(values[0] == 0 * 1000000 + 1 * 10000 + 3 * 100 + 7);
  BOOST_TEST(values[5] == 4 * 1000000 + 6 * 10000 + 6 * 100 + 7);
  BOOST_TEST(values[31] == 30 * 1000000 + 31 * 10000 + 28 * 100 + 7);
}

BOOST_AUTO_TEST_CASE(asynchronous_copies_arrive_when_waited_for) {
  const Tensor from = on_gpu(counted(4 * kThreads)), to = on_gpu(counted(4 * kThreads));
  const auto copy = [&](bool wait) {
    launch({"copy", 1, kThreads, 4 * kShared}, copy_through_shared, static_cast<const float*>(from.data()),
           static_cast<float*>(to.data()), wait);
  };
  copy(true);
  const auto values = to_vector<float>(to);
  for (size_t i = 0; i < values.size(); ++i) BOOST_TEST(values[i] == (i / 4 % 2 == 0 ? static_cast<float>(i) : 0));
  check_error([&] { copy(false); }, "reads an asynchronous copy before waiting for it");
}

BOOST_AUTO_TEST_CASE(fragments_multiply_as_matrices_do) {
  const Tensor a = test::randn({16, 16}, 1, DType::bf16), b = test::randn({16, 8}, 2, DType::bf16);
  const auto left = to_vector<double>(a), right = to_vector<double>(b);
  std::vector<double> product(128), turned(128);
  for (size_t m = 0; m < 16; ++m)
    for (size_t n = 0; n < 8; ++n)
      for (size_t k = 0; k < 16; ++k) {
        product[m * 8 + n] += left[m * 16 + k] * right[k * 8 + n];
        turned[n * 16 + k] = right[k * 8 + n];
      }
  const Tensor b_turned = from_vector(turned, {8, 16}, DType::bf16);
  for (const bool transposed : {false, true}) {
    const Tensor c = empty({16, 8}, DType::f32, kGpu), gpu_a = moved_to(a, kGpu),
                 gpu_b = moved_to(transposed ? b_turned : b, kGpu);
    launch({"multiply", 1, kWarp, 768}, multiply, static_cast<const bfloat16*>(gpu_a.data()),
           static_cast<const bfloat16*>(gpu_b.data()), static_cast<float*>(c.data()), transposed);
    test::check_close(c, from_vector(product, {16, 8}), 1e-6, transposed ? "b transposed" : "b");
  }
}

template <int N, bool kByRows, bool kSets = false>
void check_warpgroup() {
  const Tensor a = test::randn({64, 16}, 1, DType::bf16),
               b = test::randn(kByRows ? Shape{N, 16} : Shape{16, N}, 2, DType::bf16);
  const auto left = to_vector<double>(a), right = to_vector<double>(b);
  std::vector<double> product(64 * N, kSets ? 0.0 : 1.0);
  for (size_t m = 0; m < 64; ++m)
    for (size_t n = 0; n < N; ++n)
      for (size_t k = 0; k < 16; ++k) product[m * N + n] += left[m * 16 + k] * right[kByRows ? n * 16 + k : k * N + n];
  const Tensor c = empty({64, N}, DType::f32, kGpu), gpu_a = moved_to(a, kGpu), gpu_b = moved_to(b, kGpu);
  const auto run = [&](Flaw flaw) {
    launch({"warpgroup", 1, 128, 32768}, multiply_by_warpgroup<N, kByRows, kSets>,
           static_cast<const bfloat16*>(gpu_a.data()), static_cast<const bfloat16*>(gpu_b.data()),
           static_cast<float*>(c.data()), flaw);
  };
  run(Flaw::none);
  test::check_close(c, from_vector(product, {64, N}), 1e-6,
                    concat_text("64 x ", N, " by ", kByRows ? "rows" : "columns"));
  check_error([&] { run(Flaw::unpublished); }, "wrote and did not publish");
  check_error([&] { run(Flaw::not_begun); }, "products that were not begun");
  check_error([&] { run(Flaw::amid_eight_rows); }, "begins amid eight rows");
  check_error([&] { run(Flaw::not_waited); }, "ended without waiting for its products");
}

// A GPU multiplies whatever lies where the descriptors point: what they mean is tested there by the attention kernels.
BOOST_AUTO_TEST_CASE(warpgroups_multiply_as_matrices_do) {
  check_warpgroup<32, true>();
  check_warpgroup<64, true>();
  check_warpgroup<32, true, true>();
  check_warpgroup<64, true, true>();
  check_warpgroup<64, false>();
  check_warpgroup<128, false>();
}

BOOST_AUTO_TEST_CASE(bf16_rounds_to_nearest_even) {
  std::vector<float> values(kWarp, 1);
  // Halfway cases fall to the even neighbour, others to the nearer one.
  values[0] = 1 + 0x1p-8F;
  values[1] = 1 + 0x3p-8F;
  values[2] = 1 + 0x1.01p-8F;
  values[3] = -3e38F;
  values[4] = std::bit_cast<float>(0xffffffffu);
  const Tensor from = on_gpu(values), to = empty({kWarp}, DType::bf16, kGpu);
  launch({"round", 1, kWarp}, round_each, static_cast<const float*>(from.data()), static_cast<bfloat16*>(to.data()));
  const auto rounded = to_vector<double>(to);
  BOOST_TEST(rounded[0] == 1);
  BOOST_TEST(rounded[1] == 1 + 0x4p-8);
  BOOST_TEST(rounded[2] == 1 + 0x2p-8);
  BOOST_TEST(rounded[3] == static_cast<double>(static_cast<float>(bfloat16(-3e38F))));
  BOOST_TEST(std::isnan(rounded[4]));
  BOOST_TEST(rounded[5] == 1);

  const Tensor pairs = empty({kWarp, 2}, DType::bf16, kGpu);
  launch({"round_pairs", 1, kWarp}, round_pairs, static_cast<const float*>(from.data()),
         static_cast<uint32_t*>(pairs.data()));
  const auto both = to_vector<double>(pairs);
  for (const size_t i : {0, 1, 2, 3, 5}) {
    BOOST_TEST(both[2 * i] == rounded[i]);
    BOOST_TEST(both[2 * i + 1] == -rounded[i]);
  }
}

}  // namespace ratel::cuda
