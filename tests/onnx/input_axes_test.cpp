#include "onnx/input_axes.h"

#include <gtest/gtest.h>

#include "build_model.h"

namespace halftone::onnx {
namespace {

using test::floats;
using test::ModelBuilder;

Model model_of(const ModelBuilder& b) {
  return Model::parse(b.bytes(), "net.onnx");
}

TEST(InputAxes, TheBatchIsNoOpenAxis) {
  ModelBuilder b;
  b.input("x", {"N", "3", "h", "w"})
      .input("z", {"N", "h", "", "4"})
      .output("y")
      .node("Identity", {"x"}, {"y"});
  Model model = model_of(b);
  EXPECT_EQ(open_axes(model), (std::vector<std::string>{"h", "w", "z:2"}));
  model.bind({{"h", 5}, {"N", 9}});
  EXPECT_EQ(open_axes(model), (std::vector<std::string>{"w", "z:2"}));
  EXPECT_EQ(model.inputs()[0].dims[2].value, 5);
  EXPECT_EQ(model.inputs()[1].dims[1].value, 5);
  EXPECT_LT(model.inputs()[0].dims[0].value, 1);
  EXPECT_LT(model.inputs()[1].dims[0].value, 1);
}

// Paddle2ONNX calls every size that it does not know "?", which is not one size.
TEST(InputAxes, AnUnknownSizeHasNoName) {
  for (const std::string unknown : {"?", "-1", "None", "*"}) {
    ModelBuilder b;
    b.input("x", {unknown, "3", unknown, unknown}).output("y").node("Identity", {"x"}, {"y"});
    Model model = model_of(b);
    EXPECT_EQ(open_axes(model), (std::vector<std::string>{"x:2", "x:3"})) << unknown;
    model.bind({{"x:2", 48}, {"x:3", 192}});
    EXPECT_TRUE(open_axes(model).empty()) << unknown;
  }
}

TEST(InputAxes, ABatchOfAFixedSizeHasNoName) {
  ModelBuilder b;
  b.input("x", {"2", "h"}).input("z", {"h"}).output("y").node("Identity", {"x"}, {"y"});
  EXPECT_EQ(open_axes(model_of(b)), (std::vector<std::string>{"h"}));
}

// The axis of channels that a network shows in which these nodes follow its input.
using Nodes = std::vector<std::pair<std::string, std::vector<int64_t>>>;  // operator, perm
std::optional<ChannelAxis> shown(const Nodes& nodes,
                                 const std::vector<std::string>& dims = {"N", "8", "8", "3"}) {
  ModelBuilder b;
  b.input("x", dims).open_output("y");
  b.initializer(floats("w", {1}, {1}));
  std::string last = "x";
  for (size_t i = 0; i < nodes.size(); ++i) {
    const std::string next = i + 1 == nodes.size() ? "y" : "v" + std::to_string(i);
    if (nodes[i].first == "Transpose") {
      b.node("Transpose", {last}, {next}, {{"perm", nodes[i].second}});
    } else if (nodes[i].first == "Sub" || nodes[i].first == "Conv") {
      b.node(nodes[i].first, {last, "w"}, {next});
    } else {
      b.node(nodes[i].first, {last}, {next});
    }
    last = next;
  }
  return channel_axis(model_of(b));
}

TEST(InputAxes, NodesShowWhereTheChannelsAre) {
  EXPECT_EQ(shown({{"Transpose", {0, 3, 1, 2}}, {"Conv", {}}}), ChannelAxis::kLast);
  EXPECT_EQ(shown({{"Cast", {}}, {"Sub", {}}, {"Pad", {}}, {"Transpose", {0, 3, 1, 2}}}), ChannelAxis::kLast);
  EXPECT_EQ(shown({{"Conv", {}}}), ChannelAxis::kFirst);
  EXPECT_EQ(shown({{"Sub", {}}, {"MaxPool", {}}}), ChannelAxis::kFirst);
  EXPECT_EQ(shown({{"Transpose", {0, 2, 3, 1}}, {"Relu", {}}}), ChannelAxis::kFirst);
  EXPECT_EQ(shown({{"Flatten", {}}, {"Relu", {}}}), std::nullopt);
  EXPECT_EQ(shown({{"Transpose", {0, 2, 1, 3}}, {"Conv", {}}}), std::nullopt);
  EXPECT_EQ(shown({{"Conv", {}}}, {"N", "8", "8"}), std::nullopt);
}

TEST(InputAxes, ContradictionsShowNothing) {
  ModelBuilder b;
  b.input("x", {"N", "3", "3", "3"}).open_output("y").open_output("z");
  b.initializer(floats("w", {1}, {1}));
  b.node("Conv", {"x", "w"}, {"y"})
      .node("Transpose", {"x"}, {"z"}, {{"perm", std::vector<int64_t>{0, 3, 1, 2}}});
  EXPECT_EQ(channel_axis(model_of(b)), std::nullopt);
}

}  // namespace
}  // namespace halftone::onnx
