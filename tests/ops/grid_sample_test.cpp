#include <gtest/gtest.h>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

OnnxNode node(const std::string& mode, const std::string& padding, bool align) {
  return {"GridSample", 20, {{"mode", mode}, {"padding_mode", padding}, {"align_corners", int64_t{align}}}};
}

TEST(GridSample, GradientsOfImageAndGrid) {
  for (const char* mode : {"linear", "cubic", "nearest"})
    for (const char* padding : {"zeros", "border", "reflection"})
      for (const bool align : {false, true}) {
        SCOPED_TRACE(std::string(mode) + " " + padding + (align ? " aligned" : ""));
        Case c = onnx_case(node(mode, padding, align), {{1, 2, 3, 4}, {1, 2, 3, 2}});
        // Of the grid the 16-bit result says little: a rounding moves a place. The image alone, at places of
        // one grid.
        c.nonzero = 0.1;
        c.build = [n = node(mode, padding, align)](Builder& b, const std::vector<ValueId>& x) {
          const ValueId near = b.add1("Scale", {x[1]}, {{"alpha", 0.5}, {"beta", 0.0}});  // mostly inside
          return import(b, n, {x[0], near});
        };
        const std::vector<Numbers> x = random_inputs(c, DType::kF16);
        const Numbers dy(12, 1.0);
        const Result wide = run(c, DType::kF64, x, {dy});
        for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16})
          for (const kern::Isa isa : isas(dtype))
            for (const int threads : {1, 3}) {
              const Result got = run(c, dtype, x, {dy}, isa, threads);
              const Result reference = run(c, dtype, x, {dy});
              ASSERT_EQ(got.y, reference.y);
              ASSERT_EQ(got.dx, reference.dx);
              // x and the grid are exact in fp16 and halving is exact: one rounding of y, of dx two numbers'
              // sums.
              const double u = dtype == DType::kF32 ? 0x1p-20 : dtype == DType::kF16 ? 0x1p-11 : 0x1p-8;
              if (dtype == DType::kBf16) continue;  // bf16 rounds the places first
              for (size_t i = 0; i < wide.y[0].size(); ++i)
                ASSERT_NEAR(got.y[0][i], wide.y[0][i], u * (1 + std::abs(wide.y[0][i])));
              for (size_t k = 0; k < 2; ++k)
                for (size_t i = 0; i < wide.dx[k].size(); ++i)
                  ASSERT_NEAR(got.dx[k][i], wide.dx[k][i], 4 * u * (2 + std::abs(wide.dx[k][i])));
            }
        // Central differences in double, of all but what is not differentiable: places at a kink are not met
        // by chance.
        const double h = 0x1p-20;
        for (size_t k = 0; k < 2; ++k)
          for (size_t i = 0; i < x[k].size(); ++i) {
            if (k == 1 && std::string(mode) == "nearest") {
              ASSERT_EQ(wide.dx[1][i], 0);
              continue;
            }
            double difference = 0;
            for (const double sign : {1.0, -1.0}) {
              std::vector<Numbers> moved = x;
              moved[k][i] += sign * h;
              const Result at = run(c, DType::kF64, moved, {dy});
              for (const double y : at.y[0]) difference += sign * y / (2 * h);
            }
            ASSERT_NEAR(wide.dx[k][i], difference, 1e-6) << "input " << k << " element " << i;
          }
      }
}

TEST(GridSample, TheIdentityGivesTheImage) {
  Numbers grid;
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 3; ++j) {
      grid.push_back(j - 1.0);
      grid.push_back(2.0 * i - 1);
    }
  const Numbers image = {1, 2, 3, 4, 5, 6};
  for (const char* mode : {"linear", "nearest", "cubic"})
    EXPECT_EQ(forward(onnx_case(node(mode, "zeros", true), {{1, 1, 2, 3}, {1, 2, 3, 2}}), DType::kF16,
                      {image, grid})[0],
              image)
        << mode;
}

TEST(GridSample, OlderNamesAndRefusals) {
  const auto says = [](const std::string& part, const OnnxNode& n, const std::vector<Shape>& inputs) {
    const std::string message = refusal(n, inputs);
    EXPECT_NE(message.find(part), std::string::npos) << "'" << message << "' does not say '" << part << "'";
  };
  OnnxNode old = node("bilinear", "zeros", false);
  old.opset = 16;
  EXPECT_EQ(imported_shapes(old, {{2, 3, 4, 5}, {2, 6, 7, 2}}), (std::vector<Shape>{{2, 3, 6, 7}}));
  says("mode is 'bilinear', expected linear", node("bilinear", "zeros", false), {{1, 1, 2, 2}, {1, 1, 1, 2}});
  says("padding_mode is 'wrap'", node("linear", "wrap", false), {{1, 1, 2, 2}, {1, 1, 1, 2}});
  says("only images", node("linear", "zeros", false), {{1, 1, 2, 2, 2}, {1, 1, 1, 1, 3}});
  says("2 images and 1 grids", node("linear", "zeros", false), {{2, 1, 2, 2}, {1, 1, 1, 2}});
  says("[N, OH, OW, 2]", node("linear", "zeros", false), {{1, 1, 2, 2}, {1, 1, 1, 3}});
}

TEST(AffineGrid, MovesThePlacesOfThePixels) {
  OnnxNode n{"AffineGrid", 20, {{"align_corners", int64_t{1}}}, {{1, ints({1, 1, 2, 3})}}};
  // x + 10 y + 100, 1000 x
  EXPECT_EQ(forward(onnx_case(n, {{1, 2, 3}}), DType::kF32, {{1, 10, 100, 1000, 0, 0}})[0],
            (Numbers{89, -1000, 90, 0, 91, 1000, 109, -1000, 110, 0, 111, 1000}));
  n.attributes = {};
  n.known[1] = ints({2, 1, 2, 2});
  Case c = onnx_case(n, {{2, 2, 3}});
  c.expected = [](const std::vector<Numbers>& v) {
    Numbers y;
    for (size_t s = 0; s < 2; ++s)
      for (const double h : {-0.5, 0.5})
        for (const double w : {-0.5, 0.5})
          for (size_t r = 0; r < 2; ++r) {
            const size_t at = (s * 2 + r) * 3;
            y.push_back(v[0][at] * w + v[0][at + 1] * h + v[0][at + 2]);
          }
    return std::vector<Numbers>{y};
  };
  check(c);
  EXPECT_NE(refusal(n, {{2, 3, 4}}).find("[N, 2, 3]"), std::string::npos);
  const int64_t wide = int64_t{1} << 32;  // whose square is no int64
  n.known[1] = ints({1, 1, wide, wide});
  EXPECT_NE(refusal(n, {{1, 2, 3}}).find("has no valid size"), std::string::npos);
}

TEST(AffineGrid, OfAVolume) {
  const OnnxNode n{"AffineGrid", 20, {{"align_corners", int64_t{1}}}, {{1, ints({1, 1, 2, 1, 2})}}};
  EXPECT_EQ(imported_shapes(n, {{1, 3, 4}}), (std::vector<Shape>{{1, 2, 1, 2, 3}}));
  // x, y, z and a shift, in that order.
  const Numbers y =
      forward(onnx_case(n, {{1, 3, 4}}), DType::kF32, {{1, 0, 0, 8, 0, 2, 0, 0, 0, 0, 4, 0}})[0];
  EXPECT_EQ(y, (Numbers{7, 0, -4, 9, 0, -4, 7, 0, 4, 9, 0, 4}));
  EXPECT_NE(refusal(n, {{1, 2, 3}}).find("[N, 3, 4] for volumes"), std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
