#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;

OnnxNode node(const std::string& mode, const std::string& coordinates, TensorPtr scales, TensorPtr sizes,
              Attributes more = {}, int opset = 19) {
  OnnxNode n{
      "Resize", opset, {{"mode", mode}, {"coordinate_transformation_mode", coordinates}}, {{1, nullptr}}};
  n.known[2] = scales;
  if (sizes != nullptr) n.known[3] = sizes;
  for (const auto& [name, value] : more) n.attributes.set(name, value);
  return n;
}

double kernel(const std::string& mode, double d) {
  d = std::fabs(d);
  if (mode == "linear") return std::max(0.0, 1 - d);
  if (d <= 1) return (1.25 * d - 2.25) * d * d + 1;  // a = -0.75
  return d < 2 ? -0.75 * (((d - 5) * d + 8) * d - 4) : 0.0;
}

// One line of n numbers, by the definition: places in fp32, the kernel at whole distances, edges repeated.
Numbers resized(const Numbers& x, int64_t m, const std::string& mode, const std::string& coordinates,
                bool antialias) {
  const auto n = static_cast<float>(x.size());
  const float scale = static_cast<float>(m) / n;
  Numbers y;
  for (int64_t j = 0; j < m; ++j) {
    const auto place = static_cast<float>(j);
    double at = (place + 0.5F) / scale - 0.5F;
    if (coordinates == "asymmetric") at = place / scale;
    if (coordinates == "align_corners") at = m == 1 ? 0 : place * (n - 1) / static_cast<float>(m - 1);
    const double width = antialias ? std::min(1.0F, scale) : 1;
    double sum = 0;
    double weights = 0;
    for (int64_t i = -40; i < static_cast<int64_t>(x.size()) + 40; ++i) {
      const double w = kernel(mode, (static_cast<double>(i) - at) * width);
      sum += w * x[static_cast<size_t>(std::clamp<int64_t>(i, 0, static_cast<int64_t>(x.size()) - 1))];
      weights += w;
    }
    y.push_back(sum / weights);
  }
  return y;
}

// x[2, 2, h, w] -> [2, 2, oh, ow]
Case make(const OnnxNode& n, int64_t h, int64_t w, int64_t oh, int64_t ow, bool antialias = false) {
  Case c = onnx_case(n, {{2, 2, h, w}});
  const auto text = [&](const char* name) { return n.attributes.string_or(name, ""); };
  c.expected = [=, mode = text("mode"),
                coordinates = text("coordinate_transformation_mode")](const std::vector<Numbers>& x) {
    Numbers y;
    for (int64_t plane = 0; plane < 4; ++plane) {
      std::vector<Numbers> rows;
      for (int64_t i = 0; i < h; ++i) {
        const auto first = x[0].begin() + (plane * h + i) * w;
        rows.push_back(resized(Numbers(first, first + w), ow, mode, coordinates, antialias));
      }
      std::vector<Numbers> columns;
      for (size_t j = 0; j < static_cast<size_t>(ow); ++j) {
        Numbers column;
        for (const Numbers& row : rows) column.push_back(row[j]);
        columns.push_back(resized(column, oh, mode, coordinates, antialias));
      }
      for (size_t i = 0; i < static_cast<size_t>(oh); ++i)
        for (const Numbers& column : columns) y.push_back(column[i]);
    }
    return std::vector<Numbers>{y};
  };
  c.nonzero = 0.3;
  return c;
}

TEST(Resize, LinearAndCubic) {
  for (const char* mode : {"linear", "cubic"})
    for (const char* coordinates : {"half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"}) {
      SCOPED_TRACE(std::string(mode) + " " + coordinates);
      ASSERT_NO_FATAL_FAILURE(check(make(node(mode, coordinates, nullptr, ints({2, 2, 5, 7})), 3, 4, 5, 7)));
      ASSERT_NO_FATAL_FAILURE(check(make(node(mode, coordinates, nullptr, ints({2, 2, 2, 3})), 4, 5, 2, 3)));
    }
  check(make(node("linear", "half_pixel", floats({1, 1, 2, 1.5}, {4}), nullptr, {}, 11), 3, 4, 6, 6));
}

TEST(Resize, AntialiasWidensTheFilter) {
  for (const char* mode : {"linear", "cubic"})
    ASSERT_NO_FATAL_FAILURE(
        check(make(node(mode, "half_pixel", nullptr, ints({2, 2, 2, 2}), {{"antialias", int64_t{1}}}), 5, 4,
                   2, 2, true)));
}

TEST(Resize, NearestRoundsAsAsked) {
  // 0 1 2 3 4 to 8 by scale 1.6: places -0.1875 0.4375 1.0625 1.6875 2.3125 2.9375 3.5625 4.1875; to 3 by
  // asymmetric places 0, 5/3, 10/3; of 4 by 0.5: 0.5 and 2.5, where ties show.
  const auto nearest = [](const char* rounding, int64_t n, int64_t m) {
    const Case c = onnx_case(
        node("nearest", "half_pixel", nullptr, ints({1, 1, m}), {{"nearest_mode", std::string(rounding)}}),
        {{1, 1, n}});
    Numbers x;
    for (int64_t i = 0; i < n; ++i) x.push_back(static_cast<double>(i));
    return forward(c, DType::kF16, {x})[0];
  };
  EXPECT_EQ(nearest("round_prefer_floor", 5, 8), (Numbers{0, 0, 1, 2, 2, 3, 4, 4}));
  EXPECT_EQ(nearest("floor", 5, 8), (Numbers{0, 0, 1, 1, 2, 2, 3, 4}));
  EXPECT_EQ(nearest("ceil", 5, 8), (Numbers{0, 1, 2, 2, 3, 3, 4, 4}));
  EXPECT_EQ(nearest("round_prefer_floor", 4, 2), (Numbers{0, 2}));
  EXPECT_EQ(nearest("round_prefer_ceil", 4, 2), (Numbers{1, 3}));
}

TEST(Resize, NearestRepeatsAndItsGradientAdds) {
  Case c = onnx_case(node("nearest", "asymmetric", floats({1, 1, 2, 3}, {4}), nullptr,
                          {{"nearest_mode", std::string("floor")}}),
                     {{1, 3, 2, 2}});
  c.roundings = 1;
  check(c);
  EXPECT_EQ(forward(onnx_case(node("nearest", "asymmetric", floats({1, 1, 2, 2}, {4}), nullptr,
                                   {{"nearest_mode", std::string("floor")}}),
                              {{1, 1, 2, 2}}),
                    DType::kF16, {{1, 2, 3, 4}})[0],
            (Numbers{1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4}));
}

TEST(Resize, ChosenAxesAndRatio) {
  Attributes axes{{"axes", Ints{3, -2}}, {"keep_aspect_ratio_policy", std::string("not_larger")}};
  // 4 x 6 into at most 8 x 6 (axis 3 first): scale 4/3 from the width, height 5.33 rounded to 5.
  EXPECT_EQ(imported_shapes(node("linear", "half_pixel", nullptr, ints({8, 6}), axes), {{1, 2, 4, 6}}),
            (std::vector<Shape>{{1, 2, 5, 8}}));
  axes.set("keep_aspect_ratio_policy", std::string("not_smaller"));
  EXPECT_EQ(imported_shapes(node("linear", "half_pixel", nullptr, ints({8, 6}), axes), {{1, 2, 4, 6}}),
            (std::vector<Shape>{{1, 2, 6, 9}}));
}

TEST(Resize, CropsWithAValueOutside) {
  OnnxNode n = node("linear", "tf_crop_and_resize", nullptr, ints({1, 1, 3}), {{"extrapolation_value", 7.0}});
  n.known[1] = floats({0, 0, 0.5, 1, 1, 1.5}, {6});
  // Places 1, 2, 3 of 0 1 2: the last is outside.
  EXPECT_EQ(forward(onnx_case(n, {{1, 1, 3}}), DType::kF32, {{10, 20, 30}})[0], (Numbers{20, 30, 7}));
}

TEST(Resize, ExcludeOutsideSharesTheWeights) {
  const OnnxNode n = node("cubic", "half_pixel", nullptr, ints({1, 1, 8}), {{"exclude_outside", int64_t{1}}});
  const Numbers y = forward(onnx_case(n, {{1, 1, 4}}), DType::kF32, {{1, 1, 1, 1}})[0];
  for (const double v : y) EXPECT_NEAR(v, 1, 1e-6);
}

TEST(Resize, OfScaleOneIsNoNode) {
  EXPECT_TRUE(
      imported_ops(node("linear", "half_pixel", floats({1, 1, 1}, {3}), nullptr), {{1, 2, 5}}).empty());
}

TEST(Upsample, RepeatsOrInterpolates) {
  OnnxNode n{"Upsample", 9, {{"mode", std::string("nearest")}}, {{1, floats({1, 1, 2}, {3})}}};
  EXPECT_EQ(forward(onnx_case(n, {{1, 1, 2}}), DType::kF16, {{1, 2}})[0], (Numbers{1, 1, 2, 2}));
  n.attributes.set("mode", std::string("linear"));
  EXPECT_EQ(forward(onnx_case(n, {{1, 1, 2}}), DType::kF16, {{1, 2}})[0], (Numbers{1, 1.5, 2, 2}));
  n.known[1] = floats({1, 1, 0.5}, {3});
  EXPECT_NE(refusal(n, {{1, 1, 2}}).find("expected at least 1"), std::string::npos);
  const OnnxNode seven{"Upsample", 7, {{"scales", std::vector<double>{1, 1, 3}}}};
  EXPECT_EQ(imported_shapes(seven, {{1, 2, 4}}), (std::vector<Shape>{{1, 2, 12}}));
}

TEST(Resize, RefusesWhatItDoesNotUnderstand) {
  const auto says = [](const std::string& part, const OnnxNode& n) {
    const std::string message = refusal(n, {{1, 2, 4, 5}});
    EXPECT_NE(message.find(part), std::string::npos) << "'" << message << "' does not say '" << part << "'";
  };
  const TensorPtr sizes = ints({1, 2, 8, 8});
  says("mode is 'area'", node("area", "half_pixel", nullptr, sizes));
  says("coordinate_transformation_mode is 'middle'", node("linear", "middle", nullptr, sizes));
  says("since opset 19", node("linear", "half_pixel_symmetric", nullptr, sizes, {}, 18));
  says("nearest_mode is 'up'",
       node("nearest", "half_pixel", nullptr, sizes, {{"nearest_mode", std::string("up")}}));
  says("antialias", node("linear", "half_pixel", nullptr, sizes, {{"antialias", int64_t{1}}}, 17));
  says("not both or none", node("linear", "half_pixel", floats({1, 1, 2, 2}, {4}), sizes));
  says("not both or none", node("linear", "half_pixel", nullptr, nullptr));
  says("3 sizes for 4 axes", node("linear", "half_pixel", nullptr, ints({1, 2, 8})));
  says("cannot be scaled by 0.1", node("linear", "half_pixel", floats({1, 1, 0.1, 1}, {4}), nullptr));
  says("export the network with sizes",
       node("linear", "align_corners", floats({1, 1, 1.7, 1}, {4}), nullptr));
  OnnxNode wide = node("linear", "tf_crop_and_resize", floats({1, 1, 1.5e-9, 1}, {4}), nullptr,
                       {{"antialias", int64_t{1}}});
  wide.known[1] = floats({0, 0, -1e8, 0, 1, 1, 1e8, 1}, {8});
  says("axis 2 takes a table of", wide);
  says("needs roi", node("linear", "tf_crop_and_resize", nullptr, sizes));
  says("keep_aspect_ratio_policy is 'wide'",
       node("linear", "half_pixel", nullptr, sizes, {{"keep_aspect_ratio_policy", std::string("wide")}}));
}

}  // namespace
}  // namespace halftone::ops::test
