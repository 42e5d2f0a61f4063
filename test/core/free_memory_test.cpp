#include "core/free_memory.h"

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "test/support/temporary_folder.h"

namespace fs = std::filesystem;
using ratel::free_memory;

namespace {

/// A root folder with a /proc and a /sys of ours.
struct Root {
  ratel::test::TemporaryFolder folder;
  std::string path = folder / "";

  void write(const std::string& name, const std::string& text) const {
    const fs::path file = folder / name;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  [[nodiscard]] int64_t free() const { return free_memory(path).value_or(-1); }
};

constexpr const char* kMeminfo = "MemTotal:       2000 kB\nMemFree:        100 kB\nMemAvailable:   1000 kB\n";

}  // namespace

BOOST_AUTO_TEST_CASE(this_machine_has_some) {
  const auto free = free_memory();
  BOOST_REQUIRE(free.has_value());
  BOOST_TEST(*free > 1 << 20);
}

BOOST_AUTO_TEST_CASE(what_the_system_does_not_say_is_not_known) {
  const Root root;
  BOOST_TEST(root.free() == -1);
  root.write("proc/meminfo", "MemTotal: 2000 kB\n");
  root.write("proc/self/cgroup", "nonsense\n:\n0:\n");
  BOOST_TEST(root.free() == -1);
  root.write("proc/meminfo", kMeminfo);
  BOOST_TEST(root.free() == 1024000);
}

BOOST_AUTO_TEST_CASE(a_group_of_version_2_and_those_above_it) {
  const Root root;
  root.write("proc/meminfo", kMeminfo);
  root.write("proc/self/cgroup", "0::/a/b\n");
  root.write("sys/fs/cgroup/a/b/memory.max", "max\n");
  root.write("sys/fs/cgroup/a/b/memory.current", "500\n");
  BOOST_TEST(root.free() == 1024000);
  root.write("sys/fs/cgroup/a/memory.max", "900000\n");
  root.write("sys/fs/cgroup/a/memory.current", "600000\n");
  BOOST_TEST(root.free() == 300000);
  root.write("sys/fs/cgroup/a/memory.stat", "anon 7\ninactive_file 1000\nactive_file 200\nworkingset 5\n");
  BOOST_TEST(root.free() == 301200);
  root.write("sys/fs/cgroup/a/memory.current", "1000000\n");
  BOOST_TEST(root.free() == 0);
  // In a container the path may be that of the host: then the mount's own root has the limit.
  root.write("proc/self/cgroup", "0::/elsewhere\n");
  root.write("sys/fs/cgroup/memory.max", "5000");
  root.write("sys/fs/cgroup/memory.current", "1000");
  BOOST_TEST(root.free() == 4000);
}

BOOST_AUTO_TEST_CASE(a_group_of_version_1) {
  const Root root;
  root.write("proc/meminfo", kMeminfo);
  root.write("proc/self/cgroup", "5:cpu,memory:/job\n3:cpuset:/\n0::/\n");
  root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  root.write("sys/fs/cgroup/memory/memory.usage_in_bytes", "400000\n");
  BOOST_TEST(root.free() == 1024000);
  root.write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "500000\n");
  root.write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "400000\n");
  BOOST_TEST(root.free() == 100000);
}

BOOST_AUTO_TEST_CASE(products_end_at_the_most_bytes) {
  const int64_t large = int64_t{1} << 40, most = ratel::kMostBytes;
  BOOST_TEST(ratel::bounded_product({}) == 1);
  BOOST_TEST(ratel::bounded_product({3, 5, 7}) == 105);
  BOOST_TEST(ratel::bounded_product({large, 1 << 20}) == most);
  BOOST_TEST(ratel::bounded_product({large, (1 << 20) - 1}) == most - large);
  BOOST_TEST(ratel::bounded_product({large, 1 << 21}) == most);
  BOOST_TEST(ratel::bounded_product({large, large, 3}) == most);
  BOOST_TEST(ratel::bounded_product({large, large, 0}) == 0);
}

BOOST_AUTO_TEST_CASE(too_much_is_refused_with_both_numbers) {
  ratel::require_memory(1, "weights");
  try {
    ratel::require_memory(ratel::kMostBytes, "weights");
    BOOST_ERROR("no error");
  } catch (const ratel::Error& error) {
    BOOST_TEST((error.kind() == ratel::ErrorKind::memory));
    BOOST_TEST(std::string_view(error.what()).starts_with("weights need 1099511627776 MiB, found "), error.what());
  }
}
