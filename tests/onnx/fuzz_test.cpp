// A quick, deterministic fuzzer: some thousand mutated files. None may crash or throw anything but an Error.
// tests/fuzz has the long one.
#include <gtest/gtest.h>

#include <set>

#include "fuzzing.h"
#include "operator_seeds.h"
#include "ops/op.h"

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

TEST(Fuzz, EveryOperatorHasASeed) {
  std::set<std::string> seen;
  for (const std::string& seed : fuzz_seeds())
    for (const std::string& name : operators_of(seed)) seen.insert(name);
  for (const ops::OnnxOp* op : ops::all_onnx())
    EXPECT_EQ(seen.count(std::string(op->op_type)), 1U) << op->op_type;
}

TEST(Fuzz, FilesOfOperatorsThatAreNotRefusedAreImported) {
  int imported = 0;
  std::string refused;
  for (const std::string& seed : operator_seeds()) {
    const int reached = use_model(seed);
    EXPECT_GE(reached, 1) << testing::PrintToString(operators_of(seed));
    imported += reached == 2 ? 1 : 0;
    if (reached != 2) refused += " " + testing::PrintToString(operators_of(seed));
  }
  EXPECT_EQ(imported, static_cast<int>(operator_seeds().size()) - 2)
      << "MaxRoiPool and RoiAlign are refused; got" << refused;
}

TEST(Fuzz, MutatedLossGraphsAreAppendedOrRefused) {
  const std::vector<std::string> seeds = loss_seeds();
  int reached[2] = {0, 0};
  for (const std::string& seed : seeds) EXPECT_EQ(use_loss(seed), 1);
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE(seed);
    ++reached[use_loss(mutated(seeds[seed % seeds.size()], seed))];
  }
  EXPECT_GT(reached[0], 300);
  EXPECT_GT(reached[1], 100);
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
