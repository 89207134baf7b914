// --unfreeze: until its step a tensor is as if it was frozen, and no step of it depends on where a run was stopped.
#include <gtest/gtest.h>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

using Arguments = std::vector<std::string>;

Arguments joined(Arguments a, const Arguments& more) {
  a.insert(a.end(), more.begin(), more.end());
  return a;
}

class Unfreeze : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { write_cifar(folder_ / "d.bin", 32, 7); }
  // The bound on the norm makes every tensor's step depend on the gradients that count.
  std::string model(const std::string& out, const Arguments& more) {
    const Arguments all = joined({"train", resnet20(), "--data", folder_ / "d.bin", "--val", "none",
                                  "--batch", "8", "--lr", "0.01", "--clip", "0.5", "--precision", "fp32",
                                  "--optimizer", GetParam(), "--quiet", "--out", folder_ / out},
                                 more);
    const Outcome o = run(all);
    EXPECT_EQ(o.code, 0) << text(all) << "\n" << o.err;
    return o.code == 0 ? bytes_of(folder_ / (out + "/model.onnx")) : out;
  }
  Folder folder_;
};

TEST_P(Unfreeze, IsFrozenUntilThen) {
  const std::string frozen = model("frozen", {"--freeze", "linear.weight", "--steps", "3"});
  EXPECT_TRUE(model("steps", {"--unfreeze", "linear.weight=3", "--steps", "3"}) == frozen);
  EXPECT_TRUE(model("trained", {"--steps", "3"}) != frozen);
  // An epoch has four steps.
  const std::string whole = model("epochs", {"--unfreeze", "linear.weight=1e", "--epochs", "2"});
  model("stopped", {"--unfreeze", "linear.weight=1e", "--epochs", "2", "--steps", "3"});
  const Outcome on = run({"train", "--resume", folder_ / "stopped", "--steps", "0", "--quiet"});
  ASSERT_EQ(on.code, 0) << on.err;
  EXPECT_TRUE(bytes_of(folder_ / "stopped/model.onnx") == whole);
}

INSTANTIATE_TEST_SUITE_P(Optimizers, Unfreeze, testing::Values("sgd", "adamw"));

TEST(UnfreezeOption, IsRefusedWhereItSaysNothing) {
  const Folder folder;
  write_cifar(folder / "d.bin", 32, 7);
  for (const char* text : {"linear.weight", "linear.weight=", "=3", "linear.weight=-1", "linear.weight=1.5",
                           "linear.weight=e", "nothing*=3"}) {
    const Outcome o = run({"train", resnet20(), "--data", folder / "d.bin", "--batch", "8", "--val", "none",
                           "--quiet", "--unfreeze", text, "--out", folder / "no"});
    EXPECT_EQ(o.code, 2) << text << o.err;
    EXPECT_NE(o.err.find("--unfreeze"), std::string::npos) << o.err;
  }
}

}  // namespace
}  // namespace halftone::e2e
