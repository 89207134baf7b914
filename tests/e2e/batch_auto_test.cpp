// --batch auto: what it chooses is what the same numbers give, and it is recorded.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

using Arguments = std::vector<std::string>;

Arguments joined(Arguments a, const Arguments& more) {
  a.insert(a.end(), more.begin(), more.end());
  return a;
}

class BatchAuto : public testing::Test {
 protected:
  void SetUp() override { write_cifar(folder_ / "d.bin", 64, 7); }
  Arguments train(const std::string& out, const Arguments& more) const {
    return joined({"train", resnet20(), "--data", folder_ / "d.bin", "--val", "none", "--steps", "1",
                   "--threads", "1", "--loader-threads", "1", "--out", folder_ / out},
                  more);
  }
  Folder folder_;
};

TEST_F(BatchAuto, TakesThePartOfAStepThatFits) {
  // Room for less than a batch of 64; how much is the plan's.
  const Outcome whole = run(train("whole", {"--batch", "64", "--quiet", "--json"}));
  ASSERT_EQ(whole.code, 0) << whole.err;
  const auto planned = nlohmann::json::parse(whole.out)["planned_bytes"].get<int64_t>();
  // The process itself, the loader and the reserve take less than 200 MiB.
  const Outcome large = run(train("large", {"--batch", "auto", "--effective-batch", "64"}));
  ASSERT_EQ(large.code, 0) << large.err;
  EXPECT_NE(large.err.find("--batch auto: 64 samples a step as --batch 64 --accumulate 1\n"),
            std::string::npos)
      << large.err;
  EXPECT_TRUE(bytes_of(folder_ / "large/model.onnx") == bytes_of(folder_ / "whole/model.onnx"));
  std::string memory;
  Outcome chosen;
  int64_t batch = 64;
  for (int64_t mib = planned / (1 << 20) + 120; batch == 64 && mib > 40; mib -= 40) {
    chosen = run(train("auto", {"--batch", "auto", "--effective-batch", "64", "--overwrite", "--memory",
                                std::to_string(mib)}));
    if (chosen.code != 0) break;
    const size_t at = chosen.err.find("as --batch ");
    ASSERT_NE(at, std::string::npos) << chosen.err;
    batch = std::stol(chosen.err.substr(at + 11));
  }
  ASSERT_EQ(chosen.code, 0) << chosen.err;
  ASSERT_LT(batch, 64);
  EXPECT_EQ(64 % batch, 0);
  EXPECT_NE(chosen.err.find("the largest that fits into memory"), std::string::npos) << chosen.err;
  const std::string config = bytes_of(folder_ / "auto/config.yaml");
  EXPECT_NE(config.find("\nbatch: " + std::to_string(batch) + "\n"), std::string::npos) << config;
  EXPECT_NE(config.find("\naccumulate: " + std::to_string(64 / batch) + "\n"), std::string::npos) << config;
  // The same numbers by hand give the same bytes, and a run goes on with them wherever it is.
  const Arguments numbers{"--batch", std::to_string(batch), "--effective-batch", "64", "--quiet"};
  const Outcome by_hand = run(train("hand", numbers));
  ASSERT_EQ(by_hand.code, 0) << by_hand.err;
  EXPECT_TRUE(bytes_of(folder_ / "hand/model.onnx") == bytes_of(folder_ / "auto/model.onnx"));
  for (const char* out : {"auto", "hand"}) {
    const Outcome more =
        run({"train", "--resume", folder_ / out, "--steps", "2", "--memory", "0", "--quiet"});
    ASSERT_EQ(more.code, 0) << more.err;
  }
  EXPECT_TRUE(bytes_of(folder_ / "hand/model.onnx") == bytes_of(folder_ / "auto/model.onnx"));
}

TEST_F(BatchAuto, RefusesWhatDoesNotGoTogether) {
  const auto refusal = [&](const Arguments& more, int code) {
    const Outcome o = run(train("no", more));
    EXPECT_EQ(o.code, code) << o.err;
    EXPECT_FALSE(exists(folder_ / "no/model.onnx"));
    return o.err;
  };
  EXPECT_NE(refusal({"--batch", "0"}, 2).find("at least 1, or auto"), std::string::npos);
  EXPECT_NE(refusal({"--batch", "24", "--effective-batch", "64"}, 2).find("no multiple"), std::string::npos);
  EXPECT_NE(refusal({"--batch", "auto", "--effective-batch", "64", "--accumulate", "2"}, 2)
                .find("give one of them"),
            std::string::npos);
  EXPECT_NE(refusal({"--batch", "auto", "--memory", "10"}, 5).find("not even a batch of 1"),
            std::string::npos);
  EXPECT_NE(refusal({"--batch", "16", "--memory", "10"}, 5).find("--memory"), std::string::npos);
  EXPECT_EQ(run({"eval", resnet20(), "--data", folder_ / "d.bin", "--batch", "auto"}).code, 2);
}

}  // namespace
}  // namespace halftone::e2e
