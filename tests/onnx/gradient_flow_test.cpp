#include "onnx/gradient_flow.h"

#include <gtest/gtest.h>

#include "ops/op.h"

namespace halftone::onnx {
namespace {

// Without one its initializers count as constants, and are not trained.
TEST(GradientFlow, EveryOperatorOfOnnxHasARow) {
  for (const ops::OnnxOp* op : ops::all_onnx()) {
    NodeInfo node;
    const std::string name(op->op_type);
    const size_t dot = name.rfind('.');
    node.op_type = dot == std::string::npos ? name : name.substr(dot + 1);
    if (dot != std::string::npos) node.domain = name.substr(0, dot);
    EXPECT_NE(flow_of(node, 0), Flow::kUnknown) << name;
  }
}

TEST(GradientFlow, OfAnOperatorThatNobodyKnowsIsUnknown) {
  NodeInfo node;
  node.op_type = "NoSuchOperator";
  EXPECT_EQ(flow_of(node, 0), Flow::kUnknown);
}

}  // namespace
}  // namespace halftone::onnx
