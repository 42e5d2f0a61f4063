#include "cuda/architectures.h"

#include <boost/test/unit_test.hpp>

BOOST_AUTO_TEST_CASE(a_gpu_runs_the_code_of_its_generation) {
  struct Case {
    const char* architectures;
    int major, minor;
    bool runs;
  };
  const Case cases[] = {
      {"80-real,90a-real", 8, 0, true},
      {"80-real,90a-real", 8, 6, true},
      {"80-real,90a-real", 8, 9, true},
      {"80-real,90a-real", 9, 0, true},
      {"80-real,90a-real", 7, 5, false},
      {"80-real,90a-real", 10, 0, false},
      {"80-real,90a-real", 12, 0, false},
      {"86-real", 8, 0, false},
      {"90a", 10, 0, false},
      {"90", 10, 0, true},
      {"90-virtual", 12, 0, true},
      {"90-virtual", 8, 9, false},
      {"100-real", 10, 0, true},
      {"100-real", 10, 3, true},
      {"100f-real", 10, 3, true},
      {"100f", 12, 0, false},
      {"120-real", 12, 1, true},
      {"120a-real", 12, 1, false},
      {"native", 12, 0, true},
      {"all-major", 12, 0, true},
  };
  for (const Case& c : cases)
    BOOST_TEST(ratel::cuda::architectures_run_on(c.architectures, c.major, c.minor) == c.runs,
               c.architectures << " on " << c.major << '.' << c.minor);
}
