#include "cuda/arena.h"

#include <boost/test/unit_test.hpp>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

using ratel::cuda::Arena;

namespace {

constexpr size_t kMiB = size_t{1} << 20;

/// Segments side by side, up to a limit, of memory that nobody touches.
struct Memory {
  size_t limit = 1024 * kMiB, given = 0;
  std::vector<size_t> sizes;
  std::unique_ptr<char[]> all{new char[limit + 512]};
  char* begin = all.get() + (512 - reinterpret_cast<uintptr_t>(all.get()) % 512);
  Arena::Take more = [this](size_t bytes) -> void* {
    if (given + bytes > limit) return nullptr;
    sizes.push_back(bytes);
    return begin + std::exchange(given, given + bytes);
  };
};

char* address(void* pointer) { return static_cast<char*>(pointer); }

}  // namespace

BOOST_AUTO_TEST_CASE(the_same_order_has_the_same_addresses) {
  Memory memory;
  Arena arena;
  std::vector<std::vector<void*>> runs;
  for (int run = 0; run < 2; ++run) {
    std::vector<void*>& seen = runs.emplace_back();
    for (const size_t bytes : {1UL, 700UL, 40 * kMiB, 3 * kMiB}) seen.push_back(arena.take(bytes, memory.more));
    BOOST_TEST(arena.give_back(seen[1]));
    seen.push_back(arena.take(500, memory.more));
    BOOST_TEST(seen.back() == seen[1]);
    for (const size_t i : {0U, 2U, 3U, 4U}) BOOST_TEST(arena.give_back(seen[i]));
    BOOST_TEST(arena.taken() == 0U);
  }
  BOOST_TEST(runs[0] == runs[1]);
  BOOST_TEST(memory.sizes == (std::vector<size_t>{32 * kMiB, 40 * kMiB}), boost::test_tools::per_element());
  BOOST_TEST(arena.bytes() == 72 * kMiB);
}

BOOST_AUTO_TEST_CASE(the_smallest_block_that_is_large_enough_is_taken) {
  Memory memory;
  Arena arena;
  void *const large = arena.take(10 * kMiB, memory.more), *const wall = arena.take(1, memory.more),
              *const small = arena.take(2 * kMiB, memory.more), *const end = arena.take(1, memory.more);
  arena.give_back(large);
  arena.give_back(small);
  BOOST_TEST(arena.take(kMiB, memory.more) == small);
  BOOST_TEST(arena.take(3 * kMiB, memory.more) == large);
  BOOST_TEST(arena.give_back(wall));
  BOOST_TEST(arena.give_back(end));
}

BOOST_AUTO_TEST_CASE(blocks_do_not_join_across_segments) {
  Memory memory;
  Arena arena;
  void *const a = arena.take(32 * kMiB, memory.more), *const b = arena.take(32 * kMiB, memory.more);
  BOOST_TEST(address(b) == address(a) + 32 * kMiB);
  arena.give_back(b);
  arena.give_back(a);
  arena.take(64 * kMiB, memory.more);
  BOOST_TEST(memory.sizes.size() == 3U);
  std::vector<void*> cleared;
  arena.clear([&](void* segment) { cleared.push_back(segment); });
  BOOST_TEST(cleared.size() == 3U);
  BOOST_TEST(cleared[0] == a);
  BOOST_TEST(arena.bytes() == 0U);
}

BOOST_AUTO_TEST_CASE(too_little_memory_and_strangers) {
  Memory memory;
  memory.limit = 40 * kMiB;
  Arena arena;
  void* const a = arena.take(5, memory.more);
  BOOST_TEST(a != nullptr);
  BOOST_TEST(arena.take(33 * kMiB, memory.more) == nullptr);
  BOOST_TEST(arena.taken() == 512U);
  int stranger = 0;
  BOOST_TEST(!arena.give_back(&stranger));
  BOOST_TEST(arena.give_back(a));
  BOOST_TEST(!arena.give_back(a));  // once is enough
  BOOST_TEST(arena.take(32 * kMiB, memory.more) == a);
}

BOOST_AUTO_TEST_CASE(blocks_never_overlap) {
  Memory memory;
  Arena arena;
  std::mt19937_64 random(1);
  std::map<char*, size_t> held;
  size_t bytes = 0;
  for (int step = 0; step < 20000; ++step) {
    if (held.empty() || random() % 2 == 0) {
      const size_t asked = 1 + random() % (random() % 8 == 0 ? 20 * kMiB : 40000);
      char* const begin = address(arena.take(asked, memory.more));
      BOOST_REQUIRE(begin != nullptr);
      BOOST_REQUIRE((begin - memory.begin) % 512 == 0);
      const auto next = held.lower_bound(begin);
      BOOST_REQUIRE((next == held.end() || begin + asked <= next->first));
      BOOST_REQUIRE((next == held.begin() || std::prev(next)->first + std::prev(next)->second <= begin));
      held[begin] = asked;
      bytes += (asked + 511) / 512 * 512;
    } else {
      auto victim = held.lower_bound(memory.begin + random() % memory.given);
      if (victim == held.end()) victim = held.begin();
      bytes -= (victim->second + 511) / 512 * 512;
      BOOST_REQUIRE(arena.give_back(victim->first));
      held.erase(victim);
    }
    BOOST_REQUIRE(arena.taken() == bytes);
  }
  // All of it joins again: each segment is one block.
  for (const auto& [begin, asked] : held) arena.give_back(begin);
  const size_t segments = memory.sizes.size();
  for (const size_t size : std::multiset<size_t, std::greater<>>(memory.sizes.begin(), memory.sizes.end()))
    arena.take(size, memory.more);
  BOOST_TEST(memory.sizes.size() == segments);
}
