// Shape arithmetic: what exporters compute with shapes is evaluated when a network is read.
#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

struct Row {
  const char* op;
  std::vector<TensorPtr> inputs;
  Attributes attributes;
  std::string text;  // the result, or a part of the refusal
  int opset = 13;
};

void expect(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    const std::string text = folded_text(row.op, row.opset, row.inputs, row.attributes);
    if (row.text.find('(') != std::string::npos) {
      EXPECT_EQ(text, row.text) << row.op;
    } else {
      EXPECT_NE(text.find(row.text), std::string::npos)
          << row.op << ": '" << text << "' does not say '" << row.text << "'";
    }
  }
}

TensorPtr bools(const Ints& values) {
  return ints(values, DType::kU8);
}
std::shared_ptr<const Tensor> attribute(const TensorPtr& t) {
  return t;
}

TEST(ConstantFolding, ShapeAndSize) {
  const TensorPtr x = floats(Numbers(24, 0.0), {2, 3, 4});
  expect({
      {"Shape", {x}, {}, "2 3 4 (int64 3)"},
      {"Shape", {x}, {{"start", int64_t{1}}}, "3 4 (int64 2)", 15},
      {"Shape", {x}, {{"start", int64_t{-2}}, {"end", int64_t{-1}}}, "3 (int64 1)", 15},
      {"Shape", {x}, {{"start", int64_t{-9}}, {"end", int64_t{9}}}, "2 3 4 (int64 3)", 19},
      {"Shape", {x}, {{"start", int64_t{2}}, {"end", int64_t{1}}}, "(int64 0)", 15},
      {"Shape", {number(1)}, {}, "(int64 0)"},
      {"Shape", {x}, {{"start", int64_t{1}}}, "'start'"},
      {"Size", {x}, {}, "24 (int64 scalar)"},
      {"Size", {number(1)}, {}, "1 (int64 scalar)"},
      {"Size", {x}, {{"axis", int64_t{0}}}, "'axis'"},
  });
}

// Their input may be computed from samples: all shapes are known.
TEST(ConstantFolding, ShapesOfComputedTensorsAreConstants) {
  for (const char* op : {"Shape", "Size"}) {
    ir::Graph graph;
    Builder b(graph, DType::kF16);
    ir::Value x;
    x.kind = ir::ValueKind::kInput;
    x.type = {DType::kF16, {2, 3}};
    const ValueId y = import(b, {op, 13}, {graph.add_value(x)})[0];
    ASSERT_EQ(graph.value(y).kind, ir::ValueKind::kConstant);
    EXPECT_EQ(to_int64s(*graph.value(y).data), std::string(op) == "Shape" ? (Ints{2, 3}) : (Ints{6}));
    EXPECT_TRUE(graph.nodes.empty());
  }
  EXPECT_NE(refusal({"Size", 13, {{"axis", int64_t{0}}}}, {{2}}).find("'axis'"), std::string::npos);
}

TEST(ConstantFolding, Constants) {
  expect({
      {"Constant", {}, {{"value", attribute(ints({1, 2}, {2, 1}))}}, "1 2 (int64 2x1)"},
      {"Constant", {}, {{"value_int", int64_t{7}}}, "7 (int64 scalar)"},
      {"Constant", {}, {{"value_ints", Ints{7, 8}}}, "7 8 (int64 2)"},
      {"Constant", {}, {{"value_float", 0.5}}, "0.5 (fp32 scalar)"},
      {"Constant", {}, {{"value_floats", std::vector<double>{0.5, 2}}}, "0.5 2 (fp32 2)"},
      {"Constant", {}, {}, "no value"},
      {"Constant", {}, {{"sparse_value", int64_t{1}}}, "'sparse_value'"},
      {"ConstantOfShape", {ints({2, 3})}, {}, "0 0 0 0 0 0 (fp32 2x3)"},
      {"ConstantOfShape", {ints({2})}, {{"value", attribute(ints({5}))}}, "5 5 (int64 2)"},
      {"ConstantOfShape", {ints({})}, {{"value", attribute(ints({5}))}}, "5 (int64 scalar)"},
      {"ConstantOfShape", {ints({0, 2})}, {}, "(fp32 0x2)"},
      {"ConstantOfShape",
       {ints({2})},
       {{"value", attribute(ints({5, 6}))}},
       "value must have one element, got 2"},
      {"ConstantOfShape", {ints({1 << 20, 1 << 20})}, {}, "elements are allowed"},
      {"ConstantOfShape", {ints({kMax, kMax})}, {}, "no valid size"},
      {"ConstantOfShape", {ints({-2})}, {}, "-2"},
      {"ConstantOfShape", {number(2)}, {}, "must be of integers"},
  });
}

TEST(ConstantFolding, Gather) {
  const TensorPtr x = ints({1, 2, 3, 4, 5, 6}, {2, 3});
  expect({
      {"Gather", {ints({10, 20, 30}), ints({1}, Shape{})}, {}, "20 (int64 scalar)"},
      {"Gather", {ints({10, 20, 30}), ints({-1, 0})}, {}, "30 10 (int64 2)"},
      {"Gather", {x, ints({1})}, {}, "4 5 6 (int64 1x3)"},
      {"Gather", {x, ints({2, 0, 2, -3}, {2, 2})}, {{"axis", int64_t{1}}}, "3 1 3 1 6 4 6 4 (int64 2x2x2)"},
      {"Gather", {x, ints({0}, Shape{})}, {{"axis", int64_t{-1}}}, "1 4 (int64 2)"},
      {"Gather", {x, ints({2})}, {}, "index 2 is outside [-2, 2)"},
      {"Gather", {x, ints({-3})}, {}, "index -3 is outside"},
      {"Gather", {x, ints({0})}, {{"axis", int64_t{2}}}, "axis 2"},
      {"Gather", {x, number(0)}, {}, "must be of integers"},
      {"Gather", {x, ints({0})}, {{"batch_dims", int64_t{1}}}, "'batch_dims'"},
  });
}

TEST(ConstantFolding, Range) {
  const auto n = [](int64_t v) { return ints({v}, Shape{}); };
  expect({
      {"Range", {n(1), n(7), n(2)}, {}, "1 3 5 (int64 3)"},
      {"Range", {n(3), n(-1), n(-2)}, {}, "3 1 (int64 2)"},
      {"Range", {n(3), n(1), n(1)}, {}, "(int64 0)"},
      {"Range", {number(0), number(1), number(0.25)}, {}, "0 0.25 0.5 0.75 (fp32 4)"},
      {"Range", {n(0), n(3), n(0)}, {}, "delta is 0"},
      {"Range", {n(0), n(kMax), n(1)}, {}, "elements"},
      {"Range", {n(0), n(1 << 30), n(1)}, {}, "elements are allowed"},
      {"Range", {n(0), n(3), number(1)}, {}, "single numbers of one type"},
      {"Range", {n(0), ints({3, 4}), n(1)}, {}, "single numbers of one type"},
  });
}

TEST(ConstantFolding, WhereTileAndScatter) {
  const TensorPtr x = ints({1, 2, 3, 4}, {2, 2});
  expect({
      {"Where", {bools({1, 0}), ints({5, 6}), ints({7, 8})}, {}, "5 8 (int64 2)"},
      {"Where", {bools({1, 0}), ints({5}, {1, 1}), ints({7, 8, 9, 10}, {2, 2})}, {}, "5 8 5 10 (int64 2x2)"},
      {"Where", {bools({1}), ints({5}), number(7)}, {}, "different types: int64 and fp32"},
      {"Where", {bools({1, 0, 1}), ints({5, 6}), ints({7})}, {}, "3 and 2"},
      {"Where", {number(1), ints({5}), ints({7})}, {}, "the condition must be of bools, got fp32"},
      {"Tile", {ints({1, 2}), ints({2})}, {}, "1 2 1 2 (int64 4)"},
      {"Tile", {x, ints({1, 2})}, {}, "1 2 1 2 3 4 3 4 (int64 2x4)"},
      {"Tile", {x, ints({2, 0})}, {}, "(int64 4x0)"},
      {"Tile", {x, ints({2})}, {}, "1 repeats for 2 axes"},
      {"Tile", {x, ints({2, -1})}, {}, "axis 1 is repeated -1 times"},
      {"Tile", {x, ints({1 << 20, 1 << 20})}, {}, "elements are allowed"},
      {"Tile", {x, ints({kMax, kMax})}, {}, "no valid size"},
      {"Tile", {x, ints({1, 1})}, {{"axis", int64_t{0}}}, "'axis'"},
      {"ScatterND", {ints({1, 2, 3}), ints({2, 0}, {2, 1}), ints({9, 8})}, {}, "8 2 9 (int64 3)", 18},
      {"ScatterND", {x, ints({1}, {1, 1}), ints({9, 8}, {1, 2})}, {}, "1 2 9 8 (int64 2x2)", 11},
      {"ScatterND", {x, ints({1, -1}, {1, 2}), ints({9})}, {}, "1 2 3 9 (int64 2x2)", 11},
      {"ScatterND", {x, ints({2}, {1, 1}), ints({9, 8}, {1, 2})}, {}, "index 2 is outside", 11},
      {"ScatterND", {x, ints({1}, {1, 1}), ints({9})}, {}, "updates are 1, expected 1x2", 11},
      {"ScatterND", {x, ints({1, 1, 1}, {1, 3}), ints({9})}, {}, "indices of shape 1x3", 11},
      {"ScatterND",
       {ints({1, 2}), ints({0}, {1, 1}), ints({9})},
       {{"reduction", std::string("add")}},
       "10 2 (int64 2)",
       18},
  });
}

TEST(ConstantFolding, Reductions) {
  const TensorPtr x = ints({1, 2, 3, 4, 5, 6}, {2, 3});
  const Attributes flat{{"keepdims", int64_t{0}}};
  expect({
      {"ReduceProd", {x}, flat, "720 (int64 scalar)"},
      {"ReduceProd", {x}, {{"axes", Ints{1}}}, "6 120 (int64 2x1)"},
      {"ReduceProd", {x, ints({0})}, flat, "4 10 18 (int64 3)", 18},
      {"ReduceProd", {ints({})}, flat, "1 (int64 scalar)"},
      {"ReduceSum", {x, ints({-1})}, flat, "6 15 (int64 2)"},
      {"ReduceSum", {x, ints({})}, {{"noop_with_empty_axes", int64_t{1}}}, "1 2 3 4 5 6 (int64 2x3)"},
      {"ReduceMin", {x}, {{"axes", Ints{0}}}, "1 2 3 (int64 1x3)"},
      {"ReduceMax", {x}, flat, "6 (int64 scalar)"},
      {"ReduceMean", {floats({1, 2, 3, 6}, {4})}, flat, "3 (fp32 scalar)"},
      {"ReduceMean", {ints({1, 2, 5})}, flat, "2 (int64 scalar)"},
      {"ReduceMax", {ints({})}, flat, "ReduceMax of no elements"},
      {"ReduceProd", {ints({kMax, 2})}, flat, "overflows 64 bits"},
      {"ReduceSum", {x, ints({2})}, flat, "axis 2"},
      {"ReduceSum", {x, ints({0, 0})}, flat, "named twice"},
      {"ReduceMax", {x}, {{"select_last_index", int64_t{1}}}, "'select_last_index'"},
  });
}

TEST(ConstantFolding, IntegerArithmeticIsExactOrAnError) {
  const auto n = [](int64_t v) { return ints({v}); };
  expect({
      {"Add", {ints({1, 2}), n(3)}, {}, "4 5 (int64 2)"},
      {"Sub", {n(1), n(3)}, {}, "-2 (int64 1)"},
      {"Mul", {ints({2, 3}, {2, 1}), ints({5, 7})}, {}, "10 14 15 21 (int64 2x2)"},
      {"Div", {ints({7, -7, 7, -7}), ints({2, 2, -2, -2})}, {}, "3 -3 -3 3 (int64 4)"},
      {"Mod", {ints({7, -7, 7, -7}), ints({2, 2, -2, -2})}, {}, "1 1 -1 -1 (int64 4)"},
      {"Mod", {ints({7, -7, 7, -7}), ints({2, 2, -2, -2})}, {{"fmod", int64_t{1}}}, "1 -1 1 -1 (int64 4)"},
      {"Pow", {ints({2, -3}), n(3)}, {}, "8 -27 (int64 2)"},
      {"Pow", {ints({2, 3}), floats({0.5, 2}, {2})}, {}, "1 9 (int64 2)"},
      {"Min", {ints({1, 5}), n(3)}, {}, "1 3 (int64 2)"},
      {"Max", {ints({1, 5}), n(3), n(4)}, {}, "4 5 (int64 2)"},
      {"Max", {n(3)}, {}, "3 (int64 1)"},
      {"Sum", {n(1), n(2), n(3)}, {}, "6 (int64 1)"},
      {"Neg", {n(3)}, {}, "-3 (int64 1)"},
      {"Abs", {ints({-3, 3})}, {}, "3 3 (int64 2)"},
      {"Sign", {ints({-3, 0, 3})}, {}, "-1 0 1 (int64 3)"},
      {"Mod", {n(kMin), n(-1)}, {}, "0 (int64 1)"},
      {"Add", {n(kMax), n(1)}, {}, "Add of integers overflows 64 bits"},
      {"Sub", {n(kMin), n(1)}, {}, "Sub of integers overflows"},
      {"Mul", {n(kMax), n(2)}, {}, "Mul of integers overflows"},
      {"Div", {n(kMin), n(-1)}, {}, "overflows"},
      {"Pow", {n(10), n(19)}, {}, "overflows"},
      {"Neg", {n(kMin)}, {}, "overflows"},
      {"Div", {n(1), n(0)}, {}, "Div of integers by zero"},
      {"Mod", {n(1), n(0)}, {}, "Mod of integers by zero"},
      {"Pow", {n(2), n(-1)}, {}, "negative exponent -1"},
      {"Neg", {n(1)}, {{"alpha", 1.0}}, "'alpha'"},
      {"Add", {n(1), n(1)}, {{"fmod", int64_t{1}}}, "'fmod'"},
      {"Add", {n(1), number(1)}, {}, "different types: int64 and fp32"},
      {"Add", {ints({1, 2}), ints({1, 2, 3})}, {}, "2 and 3"},
  });
}

TEST(ConstantFolding, ComparisonsGiveTruthValues) {
  const TensorPtr a = ints({1, 2, 3});
  const TensorPtr two = ints({2});
  expect({
      {"Equal", {a, two}, {}, "0 1 0 (uint8 3)"},
      {"Greater", {a, two}, {}, "0 0 1 (uint8 3)"},
      {"GreaterOrEqual", {a, two}, {}, "0 1 1 (uint8 3)"},
      {"Less", {a, two}, {}, "1 0 0 (uint8 3)"},
      {"LessOrEqual", {a, two}, {}, "1 1 0 (uint8 3)"},
      {"Less", {number(0.5), number(1)}, {}, "1 (uint8 scalar)"},
      {"And", {bools({1, 1, 0}), bools({1, 0, 0})}, {}, "1 0 0 (uint8 3)"},
      {"Or", {bools({1, 1, 0}), bools({1, 0, 0})}, {}, "1 1 0 (uint8 3)"},
      {"Xor", {bools({1, 1, 0}), bools({1, 0, 0})}, {}, "0 1 0 (uint8 3)"},
      {"Not", {bools({1, 0})}, {}, "0 1 (uint8 2)"},
  });
}

TEST(ConstantFolding, Floats) {
  const auto f = [](const Numbers& v) { return floats(v, {static_cast<int64_t>(v.size())}); };
  expect({
      {"Div", {f({1}), f({4})}, {}, "0.25 (fp32 1)"},
      {"Add", {f({1}), f({0x1p-25})}, {}, "1 (fp32 1)"},  // rounded once, to fp32
      {"Mod", {f({-5.5}), f({2})}, {{"fmod", int64_t{1}}}, "-1.5 (fp32 1)"},
      {"Mod",
       {f({5.5, -5.5, 5.5, -5.5}), f({2, 2, -2, -2})},
       {},
       "1.5 0.5 -0.5 -1.5 (fp32 4)"},  // as in a network
      {"Pow", {f({2}), f({-1})}, {}, "0.5 (fp32 1)"},
      {"Pow", {f({3}), ints({2})}, {}, "9 (fp32 1)"},
      {"Sqrt", {f({2.25})}, {}, "1.5 (fp32 1)"},
      {"Exp", {f({0})}, {}, "1 (fp32 1)"},
      {"Log", {f({1})}, {}, "0 (fp32 1)"},
      {"Reciprocal", {f({4})}, {}, "0.25 (fp32 1)"},
      {"Floor", {f({1.5, -1.5})}, {}, "1 -2 (fp32 2)"},
      {"Ceil", {f({1.5, -1.5})}, {}, "2 -1 (fp32 2)"},
      {"Round", {f({0.5, 1.5, 2.5, -0.5})}, {}, "0 2 2 -0 (fp32 4)"},  // to even
      {"Sign", {f({-2, 0, 3})}, {}, "-1 0 1 (fp32 3)"},
      {"Max", {f({1, std::numeric_limits<double>::quiet_NaN()}), f({0})}, {}, "1 nan (fp32 2)"},
      {"And", {f({1}), f({0})}, {}, "And of floats is not defined"},
      {"Not", {f({1})}, {}, "Not of floats is not defined"},
      {"Floor", {ints({1})}, {}, "Floor of integers is not defined"},
  });
}

TEST(ConstantFolding, WindowsOfSignals) {
  const auto expect_window = [](const char* op, int64_t size, int64_t periodic, const Numbers& expected) {
    const std::vector<Tensor> y = fold(op, 17, {ints({size}, Shape{})}, {{"periodic", periodic}});
    ASSERT_EQ(y[0].shape(), Shape{size}) << op;
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(y[0].as<float>()[i], expected[i], 0x1p-24) << op << " " << i;
  };
  expect_window("HannWindow", 4, 1, {0, 0.5, 1, 0.5});
  expect_window("HannWindow", 3, 0, {0, 1, 0});
  expect_window("HammingWindow", 2, 1, {4.0 / 46, 1});
  expect_window("HammingWindow", 3, 0, {4.0 / 46, 1, 4.0 / 46});
  expect_window("BlackmanWindow", 4, 1, {0, 0.34, 1, 0.34});
  expect_window("BlackmanWindow", 5, 0, {0, 0.34, 1, 0.34, 0});
  expect({
      {"HannWindow", {ints({0}, Shape{})}, {}, "at least 1", 17},
      {"HannWindow", {ints({1}, Shape{})}, {{"periodic", int64_t{0}}}, "at least 2", 17},
      {"HannWindow", {ints({4, 4})}, {}, "one number", 17},
      {"BlackmanWindow", {ints({4}, Shape{})}, {{"output_datatype", int64_t{6}}}, "output_datatype is 6", 17},
  });
}

}  // namespace
}  // namespace halftone::ops::test
