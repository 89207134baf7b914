// A quick, deterministic fuzzer: some thousand mutated files. None may crash or throw anything but an Error. tests/fuzz has the long one.
#include <gtest/gtest.h>

#include "fuzzing.h"

namespace halftone::onnx::test {
namespace {

TEST(Fuzz, SeedsAreReadAndMostAreImported) {
  const std::vector<std::string> seeds = fuzz_seeds();
  int imported = 0;
  for (size_t i = 0; i < seeds.size(); i += i < 3 ? 1 : 9) {
    const int reached = use_model(seeds[i]);
    EXPECT_GE(reached, 1) << "seed " << i;
    EXPECT_TRUE(i >= 3 || reached == 2) << "network " << i;
    imported += reached == 2 ? 1 : 0;
  }
  EXPECT_GT(imported, 30);
}

TEST(Fuzz, MutatedFilesAreUsedOrRefused) {
  const std::vector<std::string> seeds = fuzz_seeds();
  int reached[3] = {0, 0, 0};
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    // Every second one starts from a network, the others from one operator's test.
    const std::string& from = seeds[seed % 2 == 0 ? seed % 3 : seed % seeds.size()];
    SCOPED_TRACE(seed);
    ++reached[use_model(mutated(from, seed))];
  }
  EXPECT_GT(reached[0], 300);
  EXPECT_GT(reached[1], 300);
  EXPECT_GT(reached[2], 300);
}

}  // namespace
}  // namespace halftone::onnx::test
