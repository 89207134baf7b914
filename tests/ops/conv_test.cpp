// Conv's and MatMul's neighbours test numbers (tests/kern, tests/conformance, gradients against double);
// here: shapes, errors, what ONNX's forms become.
#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/op.h"

namespace halftone::ops {
namespace {

ValueId input(Builder& b, const Shape& shape, ir::ValueKind kind = ir::ValueKind::kInput) {
  ir::Value v;
  v.type = {b.storage(), shape};
  v.kind = kind;
  v.name = "v" + std::to_string(b.graph().values.size());
  return b.graph().add_value(std::move(v));
}

template <class Function>
std::string error_of(Function f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

struct Net {
  ir::Graph graph;
  Builder b{graph, DType::kF16};
  Shape conv(const Shape& x, const Shape& w, Attributes attributes = {}, const Shape& bias = {}) {
    std::vector<ValueId> inputs = {input(b, x), input(b, w)};
    if (!bias.empty()) inputs.push_back(input(b, bias));
    return b.shape(b.add1("Conv", inputs, std::move(attributes)));
  }
  // The ONNX node's output.
  ValueId onnx(const std::string& op, std::vector<Shape> inputs, Attributes attributes = {}, int opset = 17) {
    std::vector<ValueId> ids;
    for (const Shape& s : inputs) ids.push_back(input(b, s));
    ImportContext c{b, op, "node", opset, std::move(attributes), ids, 1, Mode::kTrain, BatchNormMode::kTrain};
    return find_onnx(op)->import(c).front();
  }
  const ir::Node& only(const std::string& op) const {
    const ir::Node* found = nullptr;
    for (const ir::Node& n : graph.nodes)
      if (n.op == op) {
        EXPECT_EQ(found, nullptr) << "more than one " << op;
        found = &n;
      }
    EXPECT_NE(found, nullptr) << "no " << op;
    return *found;
  }
};
using Ints = std::vector<int64_t>;

TEST(Conv, ComputesItsOutputShape) {
  Net n;
  EXPECT_EQ(n.conv({2, 8, 9, 3}, {5, 3, 3, 3}), (Shape{2, 6, 7, 5}));
  EXPECT_EQ(n.conv({2, 8, 9, 3}, {5, 3, 3, 3}, {{"pads", Ints{1, 0, 2, 1}}, {"strides", Ints{2, 3}}}),
            (Shape{2, 5, 3, 5}));
  EXPECT_EQ(n.conv({1, 11, 11, 6}, {4, 3, 3, 3}, {{"dilations", Ints{2, 3}}, {"group", int64_t{2}}}, {4}),
            (Shape{1, 7, 5, 4}));
}

TEST(Conv, RefusesWhatDoesNotFit) {
  Net n;
  const auto says = [&](const std::string& part, const std::function<void()>& f) {
    const std::string message = error_of(f);
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  says("has 3 channels, but w 5x3x3x4", [&] { n.conv({2, 8, 8, 3}, {5, 3, 3, 4}); });
  says("group 2 does not divide 3", [&] { n.conv({2, 8, 8, 3}, {4, 3, 3, 3}, {{"group", int64_t{2}}}); });
  says("bias has shape 4, expected 5", [&] { n.conv({2, 8, 8, 3}, {5, 3, 3, 3}, {}, {4}); });
  says("negative", [&] { n.conv({2, 8, 8, 3}, {5, 3, 3, 3}, {{"pads", Ints{0, -1, 0, 0}}}); });
  says("strides", [&] { n.conv({2, 8, 8, 3}, {5, 3, 3, 3}, {{"strides", Ints{0, 1}}}); });
  says("dilations", [&] { n.conv({2, 8, 8, 3}, {5, 3, 3, 3}, {{"dilations", Ints{1, 0}}}); });
  says("reaches over 9 rows, more than the padded image's 8", [&] {
    n.conv({2, 8, 20, 3}, {5, 5, 5, 3}, {{"dilations", Ints{2, 2}}});
  });
  says("2^31", [&] { n.conv({2, 8, 8, 3}, {5, 3, 3, 3}, {{"pads", Ints{int64_t{1} << 40, 0, 0, 0}}}); });
  says("less than 1", [&] { n.conv({2, 0, 8, 3}, {5, 3, 3, 3}); });
}

TEST(Conv, OnnxBecomesChannelsLast) {
  Net n;
  const ValueId y = n.onnx("Conv", {{2, 3, 8, 9}, {5, 3, 3, 3}, {5}},
                           {{"pads", Ints{1, 0, 2, 1}}, {"strides", Ints{2, 3}}});
  EXPECT_EQ(n.b.shape(y), (Shape{2, 5, 5, 3}));
  const ir::Node& conv = n.only("Conv");
  EXPECT_EQ(n.b.shape(conv.inputs[0]), (Shape{2, 8, 9, 3}));
  EXPECT_EQ(n.b.shape(conv.inputs[1]), (Shape{5, 3, 3, 3}));
  EXPECT_EQ(n.b.shape(conv.outputs[0]), (Shape{2, 5, 3, 5}));
}

TEST(Conv, OnnxAutoPadding) {
  const auto pads = [](const std::string& mode) {
    Net n;
    n.onnx("Conv", {{1, 1, 7, 8}, {1, 1, 4, 3}}, {{"auto_pad", mode}, {"strides", Ints{2, 3}}});
    return n.only("Conv").attributes.ints_at("pads");
  };
  // Rows: 4 outputs need 2 * 3 + 4 = 10, 3 more than 7. Columns: 3 outputs need 3 * 2 + 3 = 9, 1 more than 8.
  EXPECT_EQ(pads("SAME_UPPER"), (Ints{1, 0, 2, 1}));
  EXPECT_EQ(pads("SAME_LOWER"), (Ints{2, 1, 1, 0}));
  EXPECT_EQ(pads("VALID"), (Ints{0, 0, 0, 0}));
  EXPECT_NE(error_of([&] { pads("SAME"); }).find("auto_pad is SAME"), std::string::npos);
}

TEST(Conv, OnnxSequencesAreImagesOfOneRow) {
  Net n;
  const ValueId y = n.onnx("Conv", {{2, 6, 40}, {10, 3, 5}}, {{"pads", Ints{2, 1}}, {"group", int64_t{2}}});
  EXPECT_EQ(n.b.shape(y), (Shape{2, 10, 39}));
  const ir::Node& conv = n.only("Conv");
  EXPECT_EQ(n.b.shape(conv.inputs[0]), (Shape{2, 1, 40, 6}));
  EXPECT_EQ(conv.attributes.ints_at("pads"), (Ints{0, 2, 0, 1}));
}

TEST(Conv, OnnxRefusesOtherRanks) {
  Net n;
  EXPECT_NE(error_of([&] {
              n.onnx("Conv", {{1, 1, 4, 4, 4, 4}, {1, 1, 3, 3, 3, 3}});
            }).find("6 dimensions"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              n.onnx("Conv", {{1, 1, 4, 4}, {1, 1, 3, 3}}, {{"kernel_shape", Ints{2, 3}}});
            }).find("kernel_shape"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::ops
