// Conv, MatMul and Gemm: outputs against sums in double, gradients against finite differences. Shapes, errors
// and ONNX's forms are in conv_test.cpp and matmul_test.cpp.
#include <gtest/gtest.h>

#include "ops/gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;

struct Convolution {
  Shape x, w;  // channels last
  Ints strides = {1, 1};
  Ints dilations = {1, 1};
  Ints pads = {0, 0, 0, 0};  // top, left, bottom, right
  int64_t group = 1;
  bool bias = false;
  double nonzero = 0.5;  // share of the gradient
};

size_t size_of(int64_t n) {
  return static_cast<size_t>(n);
}

// The definition, with loops.
std::vector<Numbers> convolved(const Convolution& c, const std::vector<Numbers>& in) {
  const int64_t n = c.x[0], h = c.x[1], w = c.x[2], channels = c.x[3];
  const int64_t out = c.w[0], kh = c.w[1], kw = c.w[2], each = c.w[3];
  const int64_t oh = (h + c.pads[0] + c.pads[2] - (kh - 1) * c.dilations[0] - 1) / c.strides[0] + 1;
  const int64_t ow = (w + c.pads[1] + c.pads[3] - (kw - 1) * c.dilations[1] - 1) / c.strides[1] + 1;
  Numbers y;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t r = 0; r < oh; ++r)
      for (int64_t s = 0; s < ow; ++s)
        for (int64_t o = 0; o < out; ++o) {
          double sum = c.bias ? in[2][size_of(o)] : 0;
          for (int64_t a = 0; a < kh; ++a)
            for (int64_t b = 0; b < kw; ++b)
              for (int64_t k = 0; k < each; ++k) {
                const int64_t row = r * c.strides[0] + a * c.dilations[0] - c.pads[0];
                const int64_t column = s * c.strides[1] + b * c.dilations[1] - c.pads[1];
                if (row < 0 || row >= h || column < 0 || column >= w) continue;
                const int64_t channel = o / (out / c.group) * each + k;
                sum += in[0][size_of(((i * h + row) * w + column) * channels + channel)] *
                       in[1][size_of(((o * kh + a) * kw + b) * each + k)];
              }
          y.push_back(sum);
        }
  return {y};
}

void check_convolution(const Convolution& c) {
  Case test;
  test.nonzero = c.nonzero;
  test.inputs = {c.x, c.w};
  if (c.bias) test.inputs.push_back({c.w[0]});
  test.build = [c](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{
        b.add1("Conv", x,
               {{"strides", c.strides}, {"dilations", c.dilations}, {"pads", c.pads}, {"group", c.group}})};
  };
  test.expected = [c](const std::vector<Numbers>& x) { return convolved(c, x); };
  check(test);
}

TEST(ConvGradient, OfAKernelWithPaddingAndBias) {
  check_convolution({.x = {2, 5, 6, 3}, .w = {4, 3, 3, 3}, .pads = {1, 1, 1, 1}, .bias = true});
}

TEST(ConvGradient, OfOnePixel) {
  check_convolution({.x = {2, 3, 4, 5}, .w = {3, 1, 1, 5}});
}

TEST(ConvGradient, WithStridesThatLeaveRowsOut) {
  check_convolution(
      {.x = {2, 7, 8, 2}, .w = {3, 3, 2, 2}, .strides = {2, 3}, .pads = {1, 0, 0, 2}, .bias = true});
  check_convolution({.x = {2, 7, 7, 2}, .w = {3, 1, 1, 2}, .strides = {2, 2}, .nonzero = 16.0 / 49});
}

TEST(ConvGradient, WithDilations) {
  check_convolution({.x = {1, 7, 9, 2}, .w = {2, 3, 2, 2}, .dilations = {2, 3}, .pads = {2, 1, 1, 3}});
}

TEST(ConvGradient, InGroupsAndDepthwise) {
  check_convolution({.x = {2, 4, 5, 4}, .w = {6, 2, 3, 2}, .pads = {0, 1, 1, 1}, .group = 2, .bias = true});
  check_convolution(
      {.x = {2, 5, 5, 3}, .w = {3, 3, 3, 1}, .strides = {2, 1}, .pads = {1, 1, 1, 1}, .group = 3});
}

TEST(ConvGradient, OfOnnxsSequencesAndVolumes) {
  check(onnx_case({.op_type = "Conv", .attributes = {{"pads", Ints{2, 1}}, {"group", int64_t{2}}}},
                  {{2, 4, 9}, {6, 2, 3}, {6}}));
  check(onnx_case({.op_type = "Conv", .attributes = {{"pads", Ints{1, 0, 1, 0, 1, 1}}}},
                  {{2, 2, 3, 4, 4}, {3, 2, 2, 2, 3}}));
}

struct Multiplication {
  Shape a, b;
  bool trans_a = false, trans_b = false;
  double alpha = 1;
  bool bias = false;
};

std::vector<Numbers> multiplied(const Multiplication& p, const std::vector<Numbers>& in) {
  const auto batch_of = [](const Shape& s) { return Shape(s.begin(), s.end() - 2); };
  const auto rows = [](const Shape& s, bool t) { return t ? s.back() : s[s.size() - 2]; };
  const Shape batch = broadcast(batch_of(p.a), batch_of(p.b));
  const int64_t m = rows(p.a, p.trans_a), k = rows(p.a, !p.trans_a), n = rows(p.b, !p.trans_b);
  // Which matrix of an operand belongs to matrix i of the result.
  const auto matrix = [&](const Shape& operand, int64_t i) {
    const Shape own = batch_of(operand);
    int64_t index = 0, step = 1;
    for (size_t d = batch.size(); d-- > 0;) {
      const int64_t at = i % batch[d];
      i /= batch[d];
      if (d + own.size() < batch.size()) continue;
      const int64_t size = own[d + own.size() - batch.size()];
      if (size > 1) index += at * step;
      step *= size;
    }
    return index;
  };
  Numbers y;
  for (int64_t i = 0; i < elements(batch); ++i)
    for (int64_t r = 0; r < m; ++r)
      for (int64_t c = 0; c < n; ++c) {
        double sum = 0;
        for (int64_t j = 0; j < k; ++j)
          sum += in[0][size_of(matrix(p.a, i) * m * k + (p.trans_a ? j * m + r : r * k + j))] *
                 in[1][size_of(matrix(p.b, i) * k * n + (p.trans_b ? c * k + j : j * n + c))];
        y.push_back(p.alpha * sum + (p.bias ? in[2][size_of(c)] : 0));
      }
  return {y};
}

void check_multiplication(const Multiplication& p) {
  Case test;
  test.inputs = {p.a, p.b};
  if (p.bias) test.inputs.push_back({p.trans_b ? p.b[p.b.size() - 2] : p.b.back()});
  test.build = [p](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{b.add1(
        "MatMul", x, {{"trans_a", int64_t{p.trans_a}}, {"trans_b", int64_t{p.trans_b}}, {"alpha", p.alpha}})};
  };
  test.expected = [p](const std::vector<Numbers>& x) { return multiplied(p, x); };
  check(test);
}

TEST(MatMulGradient, OfEveryOrderOfTheOperands) {
  for (const bool trans_a : {false, true})
    for (const bool trans_b : {false, true})
      check_multiplication({.a = trans_a ? Shape{4, 3} : Shape{3, 4},
                            .b = trans_b ? Shape{5, 4} : Shape{4, 5},
                            .trans_a = trans_a,
                            .trans_b = trans_b,
                            .alpha = 0.5,
                            .bias = true});
}

TEST(MatMulGradient, OfBatchesThatAreBroadcast) {
  check_multiplication({.a = {2, 1, 3, 4}, .b = {5, 4, 2}});
  check_multiplication({.a = {3, 4}, .b = {2, 4, 2}});
  check_multiplication({.a = {2, 3, 3, 2}, .b = {2, 5}, .bias = true});
}

TEST(MatMulGradient, OfOnnxsVectors) {
  check(onnx_case({.op_type = "MatMul"}, {{4}, {4, 3}}));
  check(onnx_case({.op_type = "MatMul"}, {{2, 3, 4}, {4}}));
}

TEST(GemmGradient, WithItsFactorsAndABiasOfEveryForm) {
  const Attributes attributes{{"alpha", 0.5}, {"beta", 2.0}, {"transA", int64_t{1}}};
  for (const Shape& bias : {Shape{5}, Shape{3, 1}, Shape{3, 5}, Shape{}}) {
    Case c = onnx_case({.op_type = "Gemm", .attributes = attributes}, {{4, 3}, {4, 5}, bias});
    c.y_roundings = 3;  // the product, the bias times beta, their sum
    check(c);
  }
}

}  // namespace
}  // namespace halftone::ops::test
