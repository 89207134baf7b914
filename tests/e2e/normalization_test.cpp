// Samples for the network of a run that are normalised in another way than its own: reported, in every
// command.
#include <gtest/gtest.h>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

using Arguments = std::vector<std::string>;

Arguments joined(Arguments a, const Arguments& more) {
  a.insert(a.end(), more.begin(), more.end());
  return a;
}

TEST(Normalization, OtherThanTheRunsIsReported) {
  const Folder folder;
  write_cifar(folder / "d.bin", 32, 7);
  const std::string out = folder / "run";
  const Arguments small{"--data", folder / "d.bin", "--batch", "16", "--precision", "fp32"};
  const Outcome trained =
      run(joined({"train", resnet20(), "--out", out, "--normalize", "cifar10", "--val", "none"}, small));
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_EQ(trained.err.find("normalised its samples"), std::string::npos) << trained.err;
  const std::string warning =
      "warning: the run in " + out + " normalised its samples with --normalize cifar10";
  for (const std::string& model : {out, out + "/model.onnx"}) {
    const Outcome other = run(joined({"eval", model, "--quiet", "--normalize", "none"}, small));
    EXPECT_EQ(other.code, 0) << other.err;
    EXPECT_NE(other.err.find(warning), std::string::npos) << other.err;
    // Unless another is given, it is the run's.
    const Outcome own = run(joined({"eval", model}, small));
    EXPECT_EQ(own.code, 0) << own.err;
    EXPECT_NE(own.err.find("as the run in " + out + ": --normalize cifar10"), std::string::npos) << own.err;
    EXPECT_EQ(own.err.find("warning: the run in"), std::string::npos) << own.err;
    // The same numbers, spelled out.
    const Outcome same = run(joined({"eval", model, "--quiet", "--mean", "0.4914", "0.4822", "0.4465",
                                     "--std", "0.2470", "0.2435", "0.2616"},
                                    small));
    EXPECT_EQ(same.code, 0) << same.err;
    EXPECT_EQ(same.err.find("normalised its samples"), std::string::npos) << same.err;
  }
  for (const Arguments& command :
       {Arguments{"inspect", out, "--data", folder / "d.bin", "--batch", "16", "--normalize", "none"},
        joined({"train", out, "--out", folder / "next", "--val", "none"}, small)}) {
    const Outcome other = run(command);
    EXPECT_EQ(other.code, 0) << other.err;
    EXPECT_NE(other.err.find(warning), std::string::npos) << text(command) << other.err;
  }
}

}  // namespace
}  // namespace halftone::e2e
