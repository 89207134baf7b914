// What is composed of products and rearrangements: Einsum, DFT, Col2Im, DepthToSpace and SpaceToDepth.
#include <gtest/gtest.h>

#include <cmath>
#include <complex>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;

// By the definition: a loop over all labels (letters only).
Numbers contracted(const std::vector<std::string>& operands, const std::string& result,
                   const std::vector<Shape>& shapes, const std::vector<Numbers>& x) {
  std::map<char, int64_t> sizes;
  for (size_t k = 0; k < operands.size(); ++k)
    for (size_t i = 0; i < operands[k].size(); ++i) sizes[operands[k][i]] = shapes[k][i];
  int64_t all = 1;
  for (const auto& [label, size] : sizes) all *= size;
  int64_t out = 1;
  for (const char label : result) out *= sizes[label];
  Numbers y(static_cast<size_t>(out), 0);
  for (int64_t n = 0; n < all; ++n) {
    std::map<char, int64_t> index;
    int64_t rest = n;
    for (const auto& [label, size] : sizes) {
      index[label] = rest % size;
      rest /= size;
    }
    const auto place = [&](const std::string& labels) {
      int64_t at = 0;
      for (const char label : labels) at = at * sizes[label] + index[label];
      return static_cast<size_t>(at);
    };
    double product = 1;
    for (size_t k = 0; k < operands.size(); ++k) product *= x[k][place(operands[k])];
    y[place(result)] += product;
  }
  return y;
}

TEST(Einsum, ForwardAndGradient) {
  struct Row {
    std::vector<std::string> operands;
    std::string result;
    std::vector<Shape> shapes;
  };
  const std::vector<Row> rows = {
      {{"ij", "jk"}, "ik", {{3, 4}, {4, 2}}},
      {{"bhid", "bhjd"}, "bhij", {{1, 2, 3, 2}, {1, 2, 2, 2}}},
      {{"bqhd", "bkhd"}, "bhqk", {{2, 2, 2, 2}, {2, 3, 2, 2}}},
      {{"nhwc", "hkc"}, "nhwk", {{1, 2, 3, 2}, {2, 3, 2}}},
      {{"bii"}, "ib", {{2, 3, 3}}},
      {{"ij"}, "", {{2, 3}}},
      {{"i", "j"}, "ji", {{3}, {2}}},
      {{"ij", "ij"}, "ij", {{2, 3}, {2, 3}}},
      {{"ij", "jk", "kl"}, "il", {{2, 2}, {2, 3}, {3, 2}}},
      {{"ijk", "l"}, "jl", {{2, 2, 2}, {3}}},
  };
  for (const Row& row : rows) {
    std::string equation;
    for (const std::string& operand : row.operands) equation += (equation.empty() ? "" : " , ") + operand;
    equation += " -> " + row.result;
    SCOPED_TRACE(equation);
    Case c = onnx_case({"Einsum", 12, {{"equation", equation}}}, row.shapes);
    c.expected = [row](const std::vector<Numbers>& x) {
      return std::vector<Numbers>{contracted(row.operands, row.result, row.shapes, x)};
    };
    c.y_roundings = 3;
    c.nonzero = 0.3;
    ASSERT_NO_FATAL_FAILURE(check(c));
  }
}

TEST(Einsum, EllipsisAndImplicitResult) {
  const auto shape = [](const char* equation, const std::vector<Shape>& inputs) {
    return imported_shapes({"Einsum", 12, {{"equation", std::string(equation)}}}, inputs)[0];
  };
  EXPECT_EQ(shape("...ij,...jk->...ik", {{5, 2, 3}, {3, 4}}), (Shape{5, 2, 4}));
  EXPECT_EQ(shape("...ij,...jk->...ik", {{5, 1, 2, 3}, {6, 3, 4}}), (Shape{5, 6, 2, 4}));
  EXPECT_EQ(shape("ba,ca", {{2, 3}, {4, 3}}), (Shape{2, 4}));
  EXPECT_EQ(shape("b...,a...", {{2, 3}, {4, 3}}), (Shape{3, 4, 2}));
  Case c = onnx_case({"Einsum", 12, {{"equation", std::string("...a,...a->...")}}}, {{2, 1, 3}, {1, 2, 3}});
  c.y_roundings = 2;
  check(c);
}

TEST(Einsum, RefusesWhatDoesNotFit) {
  const auto says = [](const std::string& part, const char* equation, const std::vector<Shape>& inputs) {
    const std::string message = refusal({"Einsum", 12, {{"equation", std::string(equation)}}}, inputs);
    EXPECT_NE(message.find(part), std::string::npos) << "'" << message << "' does not say '" << part << "'";
  };
  says("has 2 operands, the node 1", "ij,jk->ik", {{2, 3}});
  says("j stands for axes of 3 and 1", "ij,jk->ik", {{2, 3}, {1, 4}});
  says("does not fit input 0", "ijk->i", {{2, 3}});
  says("the character '3'", "i3->i", {{2, 3}});
  says("a label twice", "ij->ii", {{2, 3}});
  says("that no operand has", "ij->k", {{2, 3}});
  says("'...' on the left alone", "...i->i", {{2, 3}});
  says("stands for axes of 2 and 3", "ii->i", {{2, 3}});
}

TEST(Dft, EqualsItsDefinition) {
  for (const bool inverse : {false, true})
    for (const bool onesided : {false, true}) {
      const int64_t n = inverse && onesided ? 3 : 5;
      const int64_t in = !onesided || inverse ? 2 : 1;
      const int64_t length = inverse && onesided ? 4 : 5;
      const int64_t count = onesided && !inverse ? 3 : length;
      const int64_t out = inverse && onesided ? 1 : 2;
      OnnxNode node{
          "DFT", 17, {{"axis", int64_t{1}}, {"inverse", int64_t{inverse}}, {"onesided", int64_t{onesided}}}};
      Case c = onnx_case(node, {{1, n, 2, in}});
      c.expected = [=](const std::vector<Numbers>& x) {
        Numbers y;
        for (int64_t k = 0; k < count; ++k)
          for (int64_t column = 0; column < 2; ++column) {
            std::complex<double> sum = 0;
            for (int64_t i = 0; i < length; ++i) {
              const bool mirrored = i >= n;
              const auto at = static_cast<size_t>(((mirrored ? length - i : i) * 2 + column) * in);
              std::complex<double> value(x[0][at], in == 2 ? x[0][at + 1] : 0.0);
              if (inverse && onesided && (i == 0 || 2 * i == length))
                value = value.real();  // of a real signal
              if (mirrored) value = std::conj(value);
              sum += value * std::polar(1.0, (inverse ? 2 : -2) * 3.14159265358979323846 *
                                                 static_cast<double>(i * k) / static_cast<double>(length));
            }
            if (inverse) sum /= static_cast<double>(length);
            y.push_back(sum.real());
            if (out == 2) y.push_back(sum.imag());
          }
        return std::vector<Numbers>{y};
      };
      c.y_roundings = 3;  // the table is rounded too
      c.roundings = 6;
      ASSERT_NO_FATAL_FAILURE(check(c)) << inverse << onesided;
    }
  EXPECT_EQ(imported_shapes({"DFT", 20, {}, {{1, ints({8})}}}, {{2, 5, 1}}), (std::vector<Shape>{{2, 8, 2}}));
  EXPECT_NE(refusal({"DFT", 17, {{"onesided", int64_t{1}}}}, {{2, 5, 2}}).find("needs real numbers"),
            std::string::npos);
  EXPECT_NE(refusal({"DFT", 20, {}, {{1, nullptr}, {2, ints({-1})}}}, {{2, 5, 1}}).find("real and imaginary"),
            std::string::npos);
}

TEST(Stft, TransformsEachFrame) {
  // Frames of 4, 2 apart, of a signal of 8, with a window.
  const Numbers window = {0.5, 1, 1, 0.25};
  OnnxNode n{"STFT", 17, {}, {{1, ints({2}, Shape{})}, {2, floats(window, {4})}, {3, ints({4}, Shape{})}}};
  Case c = onnx_case(n, {{2, 8, 1}});
  c.expected = [=](const std::vector<Numbers>& x) {
    Numbers y;
    for (size_t s = 0; s < 2; ++s)
      for (size_t frame = 0; frame < 3; ++frame)
        for (size_t k = 0; k < 3; ++k) {
          std::complex<double> sum = 0;
          for (size_t i = 0; i < 4; ++i)
            sum += window[i] * x[0][s * 8 + frame * 2 + i] *
                   std::polar(1.0, -2 * 3.14159265358979323846 * static_cast<double>(i * k) / 4);
          y.push_back(sum.real());
          y.push_back(sum.imag());
        }
    return std::vector<Numbers>{y};
  };
  c.y_roundings = 3;  // the table is rounded too
  c.roundings = 6;
  check(c);
  EXPECT_NE(refusal(n, {{2, 8, 2}}).find("real numbers"), std::string::npos);
  EXPECT_NE(refusal(n, {{2, 3, 1}}).find("frames of 4 elements"), std::string::npos);
}

TEST(Col2Im, AddsOverlappingBlocks) {
  // Blocks of 2x2, one step apart, of a 3x3 image: pixel (1, 1) is in all four.
  OnnxNode n{"Col2Im", 18, {}, {{1, ints({3, 3})}, {2, ints({2, 2})}}};
  EXPECT_EQ(forward(onnx_case(n, {{1, 4, 4}}), DType::kF16, {Numbers(16, 1)})[0],
            (Numbers{1, 2, 1, 2, 4, 2, 1, 2, 1}));
  Numbers x;
  for (int i = 0; i < 16; ++i) x.push_back(i);  // x[k][l]
  EXPECT_EQ(forward(onnx_case(n, {{1, 4, 4}}), DType::kF16, {x})[0],
            (Numbers{0, 5, 5, 10, 30, 20, 10, 25, 15}));
  n.attributes = {{"strides", Ints{2, 1}}, {"pads", Ints{1, 0, 0, 1}}, {"dilations", Ints{1, 2}}};
  Case c = onnx_case({"Col2Im", 18, n.attributes, {{1, ints({4, 4})}, {2, ints({2, 2})}}}, {{1, 8, 6}});
  c.roundings = 1;
  c.nonzero = 0.3;
  check(c);
  const auto says = [](const std::string& part, const OnnxNode& bad, const Shape& shape) {
    const std::string message = refusal(bad, {shape});
    EXPECT_NE(message.find(part), std::string::npos) << "'" << message << "' does not say '" << part << "'";
  };
  says("5 blocks where 4 fit", {"Col2Im", 18, {}, {{1, ints({3, 3})}, {2, ints({2, 2})}}}, {1, 4, 5});
  says("does not fit axis 0", {"Col2Im", 18, {}, {{1, ints({1, 3})}, {2, ints({2, 2})}}}, {1, 4, 4});
  says("strides has the value 0",
       {"Col2Im", 18, {{"strides", Ints{0, 1}}}, {{1, ints({3, 3})}, {2, ints({2, 2})}}}, {1, 4, 4});
}

TEST(DepthToSpace, BothOrdersAndTheReverse) {
  Numbers x;
  for (int i = 0; i < 8; ++i) x.push_back(i);  // [1, 8, 1, 1]
  OnnxNode n{"DepthToSpace", 13, {{"blocksize", int64_t{2}}}};
  EXPECT_EQ(forward(onnx_case(n, {{1, 8, 1, 1}}), DType::kF16, {x})[0], (Numbers{0, 2, 4, 6, 1, 3, 5, 7}));
  n.attributes.set("mode", std::string("CRD"));
  EXPECT_EQ(forward(onnx_case(n, {{1, 8, 1, 1}}), DType::kF16, {x})[0], x);
  const OnnxNode back{"SpaceToDepth", 13, {{"blocksize", int64_t{2}}}};
  EXPECT_EQ(forward(onnx_case(back, {{1, 2, 2, 2}}), DType::kF16, {{0, 2, 4, 6, 1, 3, 5, 7}})[0], x);
  for (const OnnxNode& node : {n, OnnxNode{"DepthToSpace", 13, {{"blocksize", int64_t{2}}}}}) {
    Case c = onnx_case(node, {{2, 8, 2, 3}});
    c.roundings = 0;
    check(c);
  }
  Case c = onnx_case(back, {{2, 3, 4, 2}});
  c.roundings = 0;
  check(c);
  EXPECT_NE(refusal(n, {{1, 6, 2, 2}}).find("6 channels cannot be cut"), std::string::npos);
  EXPECT_NE(refusal(back, {{1, 6, 3, 2}}).find("cannot be cut into blocks of 2x2"), std::string::npos);
  EXPECT_NE(refusal({"DepthToSpace", 10, n.attributes}, {{1, 8, 2, 2}}).find("mode"), std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
