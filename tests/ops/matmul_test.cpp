// Shapes, errors, and what ONNX's MatMul and Gemm become. Numbers: tests/kern, tests/conformance, gradients
// against double.
#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/op.h"

namespace halftone::ops {
namespace {

struct Net {
  ir::Graph graph;
  Builder b{graph, DType::kF16};
  ValueId input(const Shape& shape) {
    ir::Value v;
    v.type = {b.storage(), shape};
    v.kind = ir::ValueKind::kInput;
    v.name = "v" + std::to_string(graph.values.size());
    return graph.add_value(std::move(v));
  }
  Shape matmul(const Shape& x, const Shape& w, Attributes attributes = {}) {
    return b.shape(b.add1("MatMul", {input(x), input(w)}, std::move(attributes)));
  }
  Shape onnx(const std::string& op, const std::vector<Shape>& inputs, Attributes attributes = {}) {
    std::vector<ValueId> ids;
    for (const Shape& s : inputs) ids.push_back(input(s));
    ImportContext c{b, op, "node", 17, std::move(attributes), ids, 1, Mode::kTrain, BatchNormMode::kTrain};
    return b.shape(find_onnx(op)->import(c).front());
  }
  int64_t count(const std::string& op) const {
    int64_t n = 0;
    for (const ir::Node& node : graph.nodes) n += node.op == op ? 1 : 0;
    return n;
  }
};

template <class Function>
std::string error_of(Function f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(MatMul, ComputesItsOutputShape) {
  Net n;
  EXPECT_EQ(n.matmul({3, 4}, {4, 5}), (Shape{3, 5}));
  EXPECT_EQ(n.matmul({4, 3}, {5, 4}, {{"trans_a", int64_t{1}}, {"trans_b", int64_t{1}}}), (Shape{3, 5}));
  EXPECT_EQ(n.matmul({2, 1, 3, 4}, {7, 4, 5}), (Shape{2, 7, 3, 5}));
}

TEST(MatMul, RefusesWhatDoesNotFit) {
  Net n;
  EXPECT_NE(error_of([&] {
              n.matmul({3, 4}, {5, 4});
            }).find("inner dimensions are 4 and 5"),
            std::string::npos);
  EXPECT_NE(error_of([&] { n.matmul({2, 3, 4}, {3, 4, 5}); }), "");
  EXPECT_NE(error_of([&] { n.matmul({3, 0}, {0, 5}); }).find("less than 1"), std::string::npos);
  EXPECT_NE(error_of([&] { n.matmul({4}, {4, 5}); }).find("at least 2 dimensions"), std::string::npos);
}

TEST(MatMul, OnnxVectorsDisappearFromTheShape) {
  Net n;
  EXPECT_EQ(n.onnx("MatMul", {{4}, {4, 5}}), (Shape{5}));
  EXPECT_EQ(n.onnx("MatMul", {{3, 4}, {4}}), (Shape{3}));
  EXPECT_EQ(n.onnx("MatMul", {{4}, {4}}), (Shape{}));
  EXPECT_EQ(n.onnx("MatMul", {{4}, {2, 4, 5}}), (Shape{2, 5}));
  EXPECT_EQ(n.onnx("MatMul", {{2, 3, 4}, {4}}), (Shape{2, 3}));
  EXPECT_NE(error_of([&] { n.onnx("MatMul", {{}, {4}}); }), "");
}

// A row bias is part of the product (one rounding); anything else is added afterwards.
TEST(MatMul, GemmTakesARowBiasIn) {
  for (const Shape& bias : {Shape{5}, Shape{1, 5}}) {
    Net n;
    EXPECT_EQ(n.onnx("Gemm", {{3, 4}, {5, 4}, bias}, {{"transB", int64_t{1}}}), (Shape{3, 5}));
    EXPECT_EQ(n.count("Add"), 0);
  }
  Net n;
  EXPECT_EQ(n.onnx("Gemm", {{4, 3}, {4, 5}, {3, 1}}, {{"transA", int64_t{1}}, {"beta", 0.5}}), (Shape{3, 5}));
  EXPECT_EQ(n.count("Add"), 1);
  EXPECT_EQ(n.count("Mul"), 1);
  EXPECT_NE(error_of([&] { n.onnx("Gemm", {{3, 4}, {4, 5}, {4}}); }), "");
  EXPECT_NE(error_of([&] { n.onnx("Gemm", {{2, 3, 4}, {4, 5}}); }).find("matrices"), std::string::npos);
}

// The gradient of a matrix shared by a batch is one product over all rows, not one for each batch entry.
TEST(MatMul, GradientOfASharedMatrixIsOneProduct) {
  Net n;
  const ValueId x = n.input({2, 7, 3, 4});
  const ValueId w = n.input({4, 5});
  n.b.add1("MatMul", {x, w});
  const ir::Node node = n.graph.nodes.back();
  const std::vector<ValueId> dy = {n.input({2, 7, 3, 5})};
  const std::vector<bool> needs = {true, true};
  GradientContext c{n.b, node, dy, needs};
  const std::vector<ValueId> d = std::get<GradientRule>(find("MatMul").gradient)(c);
  EXPECT_EQ(n.b.shape(d[0]), (Shape{2, 7, 3, 4}));
  EXPECT_EQ(n.b.shape(d[1]), (Shape{4, 5}));
  EXPECT_EQ(n.count("ReduceSum"), 0);
  EXPECT_EQ(n.b.shape(n.graph.nodes[n.graph.producers()[static_cast<size_t>(d[1])]].inputs[0]),
            (Shape{42, 4}));
}

TEST(MatMul, GradientsHaveTheOperandsShapes) {
  for (int trans = 0; trans < 4; ++trans) {
    Net n;
    const bool ta = (trans & 1) != 0;
    const bool tb = (trans & 2) != 0;
    const Shape a_shape = ta ? Shape{6, 4, 3} : Shape{6, 3, 4};
    const Shape b_shape = tb ? Shape{1, 5, 4} : Shape{1, 4, 5};
    n.b.add1("MatMul", {n.input(a_shape), n.input(b_shape), n.input({5})},
             {{"trans_a", int64_t{ta}}, {"trans_b", int64_t{tb}}, {"alpha", 0.5}});
    const ir::Node node = n.graph.nodes.back();
    const std::vector<ValueId> dy = {n.input({6, 3, 5})};
    const std::vector<bool> needs = {true, true, true};
    GradientContext c{n.b, node, dy, needs};
    const std::vector<ValueId> d = std::get<GradientRule>(find("MatMul").gradient)(c);
    EXPECT_EQ(n.b.shape(d[0]), a_shape);
    EXPECT_EQ(n.b.shape(d[1]), b_shape);
    EXPECT_EQ(n.b.shape(d[2]), (Shape{5}));
  }
}

}  // namespace
}  // namespace halftone::ops
