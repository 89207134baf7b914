// ScatterElements and ScatterND, by known indices and by such as come with the samples.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;

Numbers scattered(Numbers y, const Numbers& updates, const std::vector<size_t>& rows, size_t run,
                  const std::string& how) {
  for (size_t s = 0; s < rows.size(); ++s)
    for (size_t k = 0; k < run; ++k) {
      double& at = y[rows[s] * run + k];
      const double u = updates[s * run + k];
      at = how == "add"   ? at + u
           : how == "mul" ? at * u
           : how == "min" ? std::min(at, u)
           : how == "max" ? std::max(at, u)
                          : u;
    }
  return y;
}

Case nd(const std::string& reduction, const Ints& indices, const std::vector<size_t>& rows) {
  Attributes attributes;
  if (reduction != "none") attributes.set("reduction", reduction);
  const auto n = static_cast<int64_t>(indices.size()) / 2;
  Case c = onnx_case({"ScatterND", 18, attributes, {{1, ints(indices, {n, 2})}}}, {{2, 3, 5}, {n, 5}});
  c.expected = [=](const std::vector<Numbers>& v) {
    return std::vector<Numbers>{scattered(v[0], v[1], rows, 5, reduction)};
  };
  c.roundings = 1;
  return c;
}

TEST(ScatterND, ForwardAndGradient) {
  check(nd("none", {0, 1, 1, -1}, {1, 5}));
  check(nd("add", {0, 1, 1, -1}, {1, 5}));
}

// Without a reduction the last update of a place stays, and the others get no gradient.
TEST(ScatterND, SeveralUpdatesOfOnePlace) {
  check(nd("none", {0, 1, 1, 2, 0, 1}, {1, 5, 1}));
  check(nd("add", {0, 1, 1, 2, 0, 1}, {1, 5, 1}));
}

TEST(ScatterND, OtherReductionsHaveNoGradient) {
  for (const char* reduction : {"mul", "min", "max"}) {
    const Case c = nd(reduction, {0, 1, 1, 2, 0, 1}, {1, 5, 1});
    const std::vector<Numbers> x = random_inputs(c, DType::kF32);
    const std::vector<Numbers> y = forward(c, DType::kF32, x);
    const std::vector<Numbers> expected = c.expected(x);
    for (size_t i = 0; i < y[0].size(); ++i) EXPECT_NEAR(y[0][i], expected[0][i], 1e-6) << reduction;
    try {
      run(c, DType::kF32, x, {Numbers(30, 1.0)});
      ADD_FAILURE() << reduction;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("has no gradient"), std::string::npos) << e.what();
    }
  }
}

TEST(ScatterElements, ForwardAndGradient) {
  for (const char* reduction : {"none", "add"}) {
    Attributes attributes{{"axis", int64_t{1}}};
    if (std::string(reduction) != "none") attributes.set("reduction", std::string(reduction));
    Case c = onnx_case({"ScatterElements", 18, attributes}, {{2, 4}, {2, 3}, {2, 3}});
    c.whole = {{1, DType::kI64}};
    c.fixed = {1};
    c.low = -4;
    c.high = 4;
    c.expected = [reduction](const std::vector<Numbers>& v) {
      std::vector<size_t> places;
      for (size_t i = 0; i < 6; ++i)
        places.push_back(i / 3 * 4 + static_cast<size_t>(v[1][i] < 0 ? v[1][i] + 4 : v[1][i]));
      return std::vector<Numbers>{scattered(v[0], v[2], places, 1, reduction)};
    };
    c.roundings = 1;
    check(c);
  }
}

TEST(ScatterElements, OfIntegers) {
  Case c = onnx_case({"ScatterElements", 16, {{"reduction", std::string("add")}}}, {{3}, {2}, {2}});
  c.whole = {{0, DType::kI32}, {1, DType::kI64}, {2, DType::kI32}};
  EXPECT_EQ(forward(c, DType::kF32, {{1, 2, 3}, {1, 1}, {10, 20}})[0], (Numbers{1, 32, 3}));
  const std::string text = fault(c, {{1, 2147483647, 3}, {0, 1}, {10, 20}});
  EXPECT_NE(text.find("the updates of element [1] of 3 (add) do not fit int32"), std::string::npos) << text;
  EXPECT_NE(fault(c, {{1, 2, 3}, {0, 3}, {10, 20}}).find("index 3 is outside [-3, 3)"), std::string::npos);
}

TEST(Scatter, Refuses) {
  const auto says = [](const OnnxNode& node, const std::vector<Shape>& x, const std::string& text) {
    EXPECT_NE(refusal(node, x).find(text), std::string::npos) << refusal(node, x);
  };
  says({"ScatterND", 18, {}, {{1, ints({0}, {1, 1})}}}, {{3, 2}, {1, 3}}, "updates are 1x3, expected 1x2");
  says({"ScatterND", 18, {{"reduction", std::string("mean")}}, {{1, ints({0}, {1, 1})}}}, {{3, 2}, {1, 2}},
       "'mean'");
  says({"ScatterND", 13, {{"reduction", std::string("add")}}, {{1, ints({0}, {1, 1})}}}, {{3, 2}, {1, 2}},
       "'reduction'");
  says({"ScatterElements", 13, {}, {{1, ints({3, 0}, {1, 2})}}}, {{3, 2}, {1, 2}}, "index 3 is outside");
}

TEST(Scatter, FoldsConstants) {
  const TensorPtr x = ints({1, 2, 3, 4}, {2, 2});
  EXPECT_EQ(folded_text("ScatterElements", 11, {x, ints({1, 0}, {1, 2}), ints({9, 8}, {1, 2})}),
            "1 8 9 4 (int64 2x2)");
  EXPECT_EQ(
      folded_text("ScatterND", 16, {floats({1, 2}, {2}), ints({1, 1}, {2, 1}), floats({0.5, 0.25}, {2})},
                  {{"reduction", std::string("add")}}),
      "1 2.75 (fp32 2)");
}

// A cache [2, 2, 3, 2] of which the axis 2 is written from a place that each sample names.
TEST(TensorScatter, ForwardAndGradient) {
  for (const char* mode : {"linear", "circular"}) {
    Case c =
        onnx_case({"TensorScatter", 24, {{"mode", std::string(mode)}}}, {{2, 2, 3, 2}, {2, 2, 2, 2}, {2}});
    c.whole = {{2, DType::kI64}};
    c.fixed = {2};
    c.low = 0;
    c.high = 1.9;  // a start of 0 or 1
    c.nonzero = 0.3;
    c.roundings = 1;
    c.expected = [](const std::vector<Numbers>& v) {
      Numbers y = v[0];
      for (size_t i = 0; i < v[1].size(); ++i) {
        const size_t sample = i / 8;
        const size_t place = static_cast<size_t>(v[2][sample]) + i / 2 % 2;
        y[(i / 4 * 3 + place) * 2 + i % 2] = v[1][i];
      }
      return std::vector<Numbers>{y};
    };
    check(c);
  }
}

TEST(TensorScatter, PlacesOutsideTheCache) {
  const auto made = [](const char* mode) {
    Case c = onnx_case({"TensorScatter", 24, {{"mode", std::string(mode)}, {"axis", int64_t{1}}}},
                       {{1, 3}, {1, 2}, {1}});
    c.whole = {{2, DType::kI64}};
    return c;
  };
  EXPECT_EQ(forward(made("circular"), DType::kF32, {{1, 2, 3}, {8, 9}, {5}})[0], (Numbers{9, 2, 8}));
  EXPECT_EQ(forward(made("circular"), DType::kF32, {{1, 2, 3}, {8, 9}, {-1}})[0], (Numbers{9, 2, 8}));
  EXPECT_NE(fault(made("linear"), {{1, 2, 3}, {8, 9}, {2}}).find("index 3 is outside"), std::string::npos);
  EXPECT_NE(fault(made("linear"), {{1, 2, 3}, {8, 9}, {-1}}).find("index 3 is outside"), std::string::npos);
  // Without places from the start on.
  EXPECT_EQ(forward(onnx_case({"TensorScatter", 24, {{"axis", int64_t{1}}}}, {{1, 3}, {1, 2}}), DType::kF32,
                    {{1, 2, 3}, {8, 9}})[0],
            (Numbers{8, 9, 3}));
}

TEST(TensorScatter, RefusesWhatDoesNotFit) {
  const auto says = [](const std::string& part, const Attributes& attributes,
                       const std::vector<Shape>& inputs) {
    const std::string message = refusal({"TensorScatter", 24, attributes}, inputs);
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  says("axis 0 counts the samples", {{"axis", int64_t{0}}}, {{2, 3}, {2, 3}});
  says("they may differ in axis 2 alone", {{"axis", int64_t{-2}}}, {{1, 2, 3, 4}, {1, 2, 4, 4}, {1}});
  says("mode is 'square'", {{"mode", std::string("square")}}, {{2, 3, 1}, {2, 3, 1}});
  says("write_indices are fp32 1", {}, {{1, 3, 1}, {1, 3, 1}, {1}});
}

TEST(MaxUnpool, ForwardAndGradient) {
  const Attributes attributes{{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}};
  Case c =
      onnx_case({"MaxUnpool", 11, attributes, {{1, ints({0, 7, 10, 13}, {1, 1, 2, 2})}}}, {{1, 1, 2, 2}});
  c.expected = [](const std::vector<Numbers>& v) {
    return std::vector<Numbers>{scattered(Numbers(16, 0.0), v[0], {0, 7, 10, 13}, 1, "none")};
  };
  c.roundings = 1;
  check(c);
}

TEST(MaxUnpool, TheShapeMayBeLarger) {
  const Attributes attributes{{"kernel_shape", Ints{2}}, {"strides", Ints{2}}};
  const OnnxNode node{"MaxUnpool", 11, attributes, {{1, ints({1, 2}, {1, 1, 2})}, {2, ints({1, 1, 6})}}};
  EXPECT_EQ(forward(onnx_case(node, {{1, 1, 2}}), DType::kF32, {{5, 6}})[0], (Numbers{0, 5, 6, 0, 0, 0}));
  OnnxNode small = node;
  small.known[2] = ints({1, 1, 3});
  EXPECT_NE(refusal(small, {{1, 1, 2}}).find("output_shape is 1x1x3, expected at least 1x1x4"),
            std::string::npos);
  OnnxNode negative = node;
  negative.known[1] = ints({1, -1}, {1, 1, 2});
  EXPECT_NE(refusal(negative, {{1, 1, 2}}).find("indices are to be 0 or more, got -1"), std::string::npos)
      << refusal(negative, {{1, 1, 2}});
  EXPECT_NE(refusal({"MaxUnpool", 11, {}, {{1, ints({1, 2}, {1, 1, 2})}}}, {{1, 1, 2}})
                .find("kernel_shape is missing"),
            std::string::npos);
  EXPECT_NE(refusal({"MaxUnpool", 11, attributes}, {{1, 1, 2}, {1, 1, 2}})
                .find("indices must be int64 or int32, got"),
            std::string::npos);
  Case free = onnx_case({"MaxUnpool", 11, attributes}, {{1, 1, 2}, {1, 1, 2}});
  free.whole = {{1, DType::kI64}};
  EXPECT_NE(fault(free, {{5, 6}, {0, 4}}).find("index 4 is outside [-4, 4)"), std::string::npos);
  EXPECT_NE(fault(free, {{5, 6}, {0, -1}}).find("index 4 is outside [-4, 4)"), std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
