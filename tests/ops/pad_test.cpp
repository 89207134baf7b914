#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;

// By the definition: y's index minus the pad before is x's, or there is none.
Case make(const OnnxNode& n, const Shape& x, const Ints& before, const Ints& after, double value = 0) {
  Case c = onnx_case(n, {x});
  c.expected = [=](const std::vector<Numbers>& values) {
    Shape y = x;
    for (size_t d = 0; d < x.size(); ++d) y[d] += before[d] + after[d];
    const Shape strides = strides_of(x);
    Numbers out;
    for (int64_t i = 0; i < elements(y); ++i) {
      int64_t rest = i;
      int64_t at = 0;
      bool inside = true;
      for (size_t d = x.size(); d-- > 0;) {
        const int64_t index = rest % y[d] - before[d];
        rest /= y[d];
        inside = inside && index >= 0 && index < x[d];
        at += index * strides[d];
      }
      out.push_back(inside ? values[0][static_cast<size_t>(at)] : value);
    }
    return std::vector<Numbers>{out};
  };
  c.nonzero = 1.0 / 6;  // negative pads cut
  c.roundings = 0;
  return c;
}

OnnxNode node(const Ints& pads, TensorPtr value = nullptr, TensorPtr axes = nullptr, int opset = 18) {
  OnnxNode n{"Pad", opset, {}, {{1, ints(pads)}}};
  if (value != nullptr || axes != nullptr) n.known[2] = value;
  if (axes != nullptr) n.known[3] = axes;
  return n;
}

TEST(Pad, ForwardAndGradient) {
  check(make(node({1, 0, 0, 2}), {2, 3}, {1, 0}, {0, 2}));
  check(make(node({0, 0, 1, 2, 0, 0, 3, 0}, number(0.75), nullptr, 11), {2, 1, 2, 3}, {0, 0, 1, 2},
             {0, 0, 3, 0}, 0.75));
  check(make(node({2, 1}, number(-0.5)), {5}, {2}, {1}, -0.5));
}

TEST(Pad, OfTwoAxesOnly) {
  check(make(node({1, 2, 3, 0}, nullptr, ints({-1, 1})), {2, 2, 3}, {0, 2, 1}, {0, 0, 3}));
}

// x's indices along each axis: of numpy's pad.
TEST(Pad, MirroredModes) {
  const auto padded = [](const std::string& mode, const Ints& pads, const Shape& x, const Numbers& values) {
    OnnxNode n = node(pads, nullptr, nullptr, 19);
    n.attributes.set("mode", mode);
    return forward(onnx_case(n, {x}), DType::kF16, {values})[0];
  };
  EXPECT_EQ(padded("reflect", {2, 3}, {4}, {1, 2, 3, 4}), (Numbers{3, 2, 1, 2, 3, 4, 3, 2, 1}));
  EXPECT_EQ(padded("edge", {2, 1}, {3}, {1, 2, 3}), (Numbers{1, 1, 1, 2, 3, 3}));
  EXPECT_EQ(padded("wrap", {2, 4}, {3}, {1, 2, 3}), (Numbers{2, 3, 1, 2, 3, 1, 2, 3, 1}));
  EXPECT_EQ(padded("reflect", {-1, 1}, {4}, {1, 2, 3, 4}), (Numbers{2, 3, 4, 3}));
  for (const char* mode : {"reflect", "edge", "wrap"}) {
    OnnxNode n = node({0, 0, 1, 2, 0, 0, 2, 0}, nullptr, nullptr, 19);
    n.attributes.set("mode", std::string(mode));
    Case c = onnx_case(n, {{2, 3, 3, 3}});
    c.roundings = 1;
    ASSERT_NO_FATAL_FAILURE(check(c)) << mode;
  }
}

TEST(Pad, NegativePadsCut) {
  check(make(node({-1, 0, 1, -2}), {4, 3}, {-1, 0}, {1, -2}));
  check(make(node({-1, -1, -2, 0}), {4, 3}, {-1, -1}, {-2, 0}));
  check(make(node({-2, 3}, number(1.5)), {4}, {-2}, {3}, 1.5));
}

TEST(Pad, OpsetTwoHasAttributes) {
  OnnxNode n{"Pad", 2, {{"pads", Ints{0, 1, 2, 0}}, {"value", 0.25}, {"mode", std::string("constant")}}};
  check(make(n, {2, 3}, {0, 1}, {2, 0}, 0.25));
  n.opset = 9;
  n.attributes.erase("value");
  check(make(n, {2, 3}, {0, 1}, {2, 0}));
}

TEST(Pad, ARepeatedInputGetsBothGradients) {
  Case c;
  c.inputs = {{2, 3}};
  c.build = [](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{
        b.add1("Add", {import(b, node({0, 1, 0, 0}), x)[0], import(b, node({0, 0, 0, 1}), x)[0]})};
  };
  c.nonzero = 1;
  check(c);
}

TEST(Pad, TheValueMayBeInfinite) {
  const double infinity = std::numeric_limits<double>::infinity();
  const Case c = make(node({1, 0}, number(-infinity)), {2}, {1}, {0});
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16})
    EXPECT_EQ(forward(c, dtype, {{1, 2}})[0], (Numbers{-infinity, 1, 2}));
}

TEST(Pad, NothingIsTheInputItself) {
  EXPECT_TRUE(imported_ops(node({0, 0, 0, 0}), {{2, 3}}).empty());
  EXPECT_EQ(imported_ops(node({-1, 0, 0, 0}), {{2, 3}}), (std::vector<std::string>{"Slice"}));
  EXPECT_EQ(imported_shapes(node({-1, 0, -1, 0}), {{2, 3}}), (std::vector<Shape>{{0, 3}}));
}

TEST(Pad, ManyElementsAndThreads) {
  const Case c = make(node({1, 3, 2, 5}, number(2)), {4, 20000}, {1, 3}, {2, 5}, 2);
  const std::vector<Numbers> x = random_inputs(c, DType::kF16);
  EXPECT_EQ(forward(c, DType::kF16, x, 3), c.expected(x));
}

TEST(Pad, RefusesWhatItDoesNotUnderstand) {
  const auto says = [](const std::string& text, const OnnxNode& n) {
    const std::string message = refusal(n, {{2, 3}});
    EXPECT_NE(message.find(text), std::string::npos) << "'" << message << "' does not say '" << text << "'";
  };
  OnnxNode wrapped = node({1, 1, 1, 1});
  wrapped.attributes.set("mode", std::string("wrap"));
  says("mode is 'wrap', expected constant, reflect, edge (wrap since opset 19)", wrapped);
  OnnxNode unknown = node({1, 1, 1, 1}, nullptr, nullptr, 19);
  unknown.attributes.set("mode", std::string("mirror"));
  says("mode is 'mirror', expected constant, reflect, edge or wrap", unknown);
  says("3 pads for 2 axes", node({1, 2, 3}));
  says("4 pads for 1 axes", node({1, 2, 3, 4}, nullptr, ints({0})));
  says("axis 2", node({1, 1}, nullptr, ints({2})));
  says("axis 0 of 2x3 is padded by -1 and -2", node({-1, 0, -2, 0}));
  says("axis 1 is padded by 1099511627776", node({0, int64_t{1} << 40, 0, 0}));
  says("constant_value must be one constant number", node({0, 0, 1, 1}, floats({1, 2}, {2})));
  says("pads are missing", {"Pad", 13, {}, {{1, nullptr}}});
  says("'pads'", {"Pad", 11, {{"pads", Ints{0, 0, 1, 1}}}});
  EXPECT_NE(refusal({"Pad", 13}, {{2, 3}, {4}}).find("input 1 must be a constant"), std::string::npos);
  EXPECT_NE(refusal({"Pad", 13, {}, {{1, ints({0, 0, 1, 1})}}}, {{2, 3}, {}}).find("constant_value"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
