// Nodes that are run when loading, because all their inputs are constants.
#include "ops/run_constants.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

std::optional<std::vector<std::optional<Tensor>>> run_node(const std::string& op, int opset,
                                                           const std::vector<const Tensor*>& inputs) {
  const Attributes none;
  return run_constants(*find_onnx(op), FoldContext{op, opset, none, inputs, 1}, "node", Mode::kTrain);
}

TEST(RunConstants, StopsAtANumberThatANodeCannotGoOnWith) {
  const TensorPtr a = ints({7, 1});
  const TensorPtr b = ints({2, 0});
  const TensorPtr two = ints({2, 2});
  EXPECT_EQ(to_int64s(*(*run_node("Div", 14, {a.get(), two.get()}))[0]), (std::vector<int64_t>{3, 0}));
  try {
    run_node("Div", 14, {a.get(), b.get()});
    FAIL() << "a division by zero has a result";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("Div of 1 and 0, element [1] of 2, is a division by zero"),
              std::string::npos)
        << e.what();
  }
}

TEST(RunConstants, LeavesWhatIsTooLargeTogetherToTheNetwork) {
  const Tensor x(DType::kF32, {int64_t{1} << 22});
  EXPECT_TRUE(run_node("Mean", 13, {&x, &x}).has_value());
  EXPECT_FALSE(run_node("Mean", 13, std::vector<const Tensor*>(16, &x)).has_value());
}

}  // namespace
}  // namespace halftone::ops::test
