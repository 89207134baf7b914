// A layer norm that a file spells in nodes runs as one operator, and the file stays what it was.
#include <gtest/gtest.h>

#include "api/small_networks.h"
#include "onnx/model.h"

namespace halftone::api::test {
namespace {

// The numbers that are normalised are about 1000, their squares beyond fp16's range.
TEST(RecognisedNorms, SquaresBeyondFp16AreNoTrouble) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_layer_norm(folder / "m.onnx", 1000);
  const Ended fp32 = eval(eval_options(folder, "fp32"));
  ASSERT_TRUE(fp32.done) << fp32.message;
  for (const std::string precision : {"fp16", "bf16"}) {
    const Ended e = eval(eval_options(folder, precision));
    ASSERT_TRUE(e.done) << e.message;
    EXPECT_NEAR(*e.result.val_loss, *fp32.result.val_loss, precision == "fp16" ? 0.002 : 0.02);
  }
  const Ended wide = train(train_options(folder, "fp32"));
  const Ended narrow = train(train_options(folder, "fp16"));
  ASSERT_TRUE(wide.done && narrow.done) << narrow.message;
  EXPECT_LT(*narrow.result.val_loss, *fp32.result.val_loss);
  EXPECT_NEAR(*narrow.result.val_loss, *wide.result.val_loss, 0.01);
}

TEST(RecognisedNorms, WhatIsWrittenHasItsNodesAndTensors) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_layer_norm(folder / "m.onnx", 1000);
  const Ended trained = train(train_options(folder, "fp16"));
  ASSERT_TRUE(trained.done) << trained.message;
  const onnx::Model before = onnx::Model::load(folder / "m.onnx");
  const onnx::Model after = onnx::Model::load(folder / "run-fp16/model.onnx");
  ASSERT_EQ(after.nodes().size(), before.nodes().size());
  for (size_t i = 0; i < before.nodes().size(); ++i) {
    EXPECT_EQ(after.nodes()[i].op_type, before.nodes()[i].op_type);
    EXPECT_EQ(after.nodes()[i].inputs, before.nodes()[i].inputs);
    EXPECT_EQ(after.nodes()[i].outputs, before.nodes()[i].outputs);
  }
  const auto changed = [&](const std::string& name) {
    const Tensor a = before.tensor(name);
    const Tensor b = after.tensor(name);
    EXPECT_EQ(a.shape(), b.shape());
    return std::memcmp(a.data(), b.data(), static_cast<size_t>(a.bytes())) != 0;
  };
  for (const char* name : {"fc1.weight", "ln.weight", "ln.bias", "fc2.weight"})
    EXPECT_TRUE(changed(name)) << name;
  for (const char* name : {"two", "eps"}) EXPECT_FALSE(changed(name)) << name;
  // And gives what was said.
  EvalOptions o = eval_options(folder, "fp32");
  o.network.model = folder / "run-fp16/model.onnx";
  const Ended e = eval(o);
  ASSERT_TRUE(e.done) << e.message;
  EXPECT_NEAR(*e.result.val_loss, *trained.result.val_loss, 0.002);
}

}  // namespace
}  // namespace halftone::api::test
