// ConvTranspose, and what Conv and pooling make of volumes: against their definitions, and their gradients.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;

// Calls f(index) for each index of the shape, in order.
template <class F>
void each(const Shape& shape, const F& f) {
  for (int64_t i = 0; i < elements(shape); ++i) {
    Shape index(shape.size());
    int64_t rest = i;
    for (size_t d = shape.size(); d-- > 0; rest /= shape[d]) index[d] = rest % shape[d];
    f(index);
  }
}
size_t place(const Shape& shape, const Shape& index) {
  int64_t at = 0;
  for (size_t d = 0; d < shape.size(); ++d) at = at * shape[d] + index[d];
  return static_cast<size_t>(at);
}

struct Window {
  Ints strides, dilations, before;
  int64_t group = 1;
};

// y[n, o, p] += x[n, c, i] w over all taps k with p * s + k * d - before = i (Conv), or with the parts of x
// and y exchanged.
Numbers convolved(const Numbers& x, const Shape& xs, const Numbers& w, const Shape& ws, const Shape& ys,
                  const Window& g, bool transposed, const Numbers& bias) {
  Numbers y(static_cast<size_t>(elements(ys)), 0);
  const Shape& places = transposed ? xs : ys;
  const Shape& pixels = transposed ? ys : xs;
  const int64_t outs = places[1] / g.group;
  const int64_t ins = pixels[1] / g.group;
  each(places, [&](const Shape& p) {
    Shape taps{ins};
    taps.insert(taps.end(), ws.begin() + 2, ws.end());
    each(taps, [&](const Shape& k) {
      Shape pixel{p[0], p[1] / outs * ins + k[0]};
      for (size_t d = 0; d + 2 < xs.size(); ++d) {
        pixel.push_back(p[d + 2] * g.strides[d] + k[d + 1] * g.dilations[d] - g.before[d]);
        if (pixel.back() < 0 || pixel.back() >= pixels[d + 2]) return;
      }
      Shape tap{p[1], k[0]};
      tap.insert(tap.end(), k.begin() + 1, k.end());
      const Shape& from = transposed ? p : pixel;
      const Shape& to = transposed ? pixel : p;
      y[place(ys, to)] += x[place(xs, from)] * w[place(ws, tap)];
    });
  });
  if (!bias.empty()) each(ys, [&](const Shape& i) { y[place(ys, i)] += bias[static_cast<size_t>(i[1])]; });
  return y;
}

Case make(const std::string& op, const Shape& x, const Shape& w, const Shape& y, const Window& g,
          Attributes more, bool bias = false) {
  OnnxNode n{op, 17, std::move(more)};
  n.attributes.set("strides", g.strides);
  n.attributes.set("dilations", g.dilations);
  n.attributes.set("group", g.group);
  std::vector<Shape> inputs{x, w};
  if (bias) inputs.push_back({y[1]});
  Case c = onnx_case(n, inputs);
  c.expected = [=](const std::vector<Numbers>& v) {
    return std::vector<Numbers>{
        convolved(v[0], x, v[1], w, y, g, op == "ConvTranspose", bias ? v[2] : Numbers{})};
  };
  c.y_roundings = 3;  // planes, their sum, the bias
  c.nonzero = 0.1;    // strides leave elements out
  return c;
}

TEST(ConvTranspose, ForwardAndGradient) {
  check(make("ConvTranspose", {2, 2, 3, 2}, {2, 3, 3, 2}, {2, 3, 6, 5}, {{2, 3}, {1, 1}, {1, 0}},
             {{"pads", Ints{1, 0, 0, 0}}}, true));
  check(make("ConvTranspose", {1, 4, 3, 3}, {4, 1, 2, 3}, {1, 2, 4, 7}, {{1, 1}, {1, 2}, {0, 0}, 2}, {}));
  check(make("ConvTranspose", {1, 2, 4}, {2, 3, 3}, {1, 3, 8}, {{2}, {1}, {1}},
             {{"pads", Ints{1, 1}}, {"output_padding", Ints{1}}}));
  check(make("ConvTranspose", {1, 2, 2, 2, 3}, {2, 1, 2, 1, 2}, {1, 2, 4, 2, 4},
             {{2, 1, 1}, {1, 1, 1}, {0, 0, 0}, 2}, {}, true));
}

TEST(ConvTranspose, OutputShapeAndAutomaticPadding) {
  const auto shape = [](Attributes attributes) {
    attributes.set("strides", Ints{3, 2});
    return imported_shapes({"ConvTranspose", 11, attributes}, {{1, 1, 3, 3}, {1, 2, 3, 3}})[0];
  };
  EXPECT_EQ(shape({}), (Shape{1, 2, 9, 7}));
  EXPECT_EQ(shape({{"output_shape", Ints{10, 8}}}), (Shape{1, 2, 10, 8}));
  EXPECT_EQ(shape({{"auto_pad", std::string("SAME_UPPER")}}), (Shape{1, 2, 9, 6}));
  EXPECT_EQ(shape({{"output_padding", Ints{1, 1}}, {"pads", Ints{1, 2, 1, 2}}}), (Shape{1, 2, 8, 4}));
  // Rows that no tap reaches are 0, and pads are what is cut.
  check(make("ConvTranspose", {1, 1, 2}, {1, 1, 1}, {1, 1, 7}, {{3}, {1}, {0}}, {{"output_shape", Ints{7}}}));
  check(make("ConvTranspose", {1, 1, 3}, {1, 1, 3}, {1, 1, 6}, {{2}, {1}, {0}},
             {{"auto_pad", std::string("SAME_UPPER")}}));
  check(make("ConvTranspose", {1, 1, 3}, {1, 1, 3}, {1, 1, 6}, {{2}, {1}, {1}},
             {{"auto_pad", std::string("SAME_LOWER")}}));
}

TEST(ConvTranspose, RefusesWhatDoesNotFit) {
  const auto says = [](const std::string& part, const Attributes& a, const std::vector<Shape>& inputs) {
    const std::string message = refusal({"ConvTranspose", 11, a}, inputs);
    EXPECT_NE(message.find(part), std::string::npos) << "'" << message << "' does not say '" << part << "'";
  };
  says("has 2 channels, but w", {}, {{1, 2, 4, 4}, {3, 1, 3, 3}});
  says("group 3 does not divide 2", {{"group", int64_t{3}}}, {{1, 2, 4, 4}, {2, 1, 3, 3}});
  says("bias has shape 2, expected 1", {}, {{1, 2, 4, 4}, {2, 1, 3, 3}, {2}});
  says("2 dimensions", {}, {{2, 2}, {2, 1}});
  says("output_padding has 1 numbers", {{"output_padding", Ints{1}}}, {{1, 2, 4, 4}, {2, 1, 3, 3}});
  says("axis 2 of the result would have 0", {{"pads", Ints{3, 0, 3, 0}}}, {{1, 2, 4, 4}, {2, 1, 3, 3}});
  says("output_shape -9223372036854775808x4 has a number below 1",
       {{"output_shape", Ints{std::numeric_limits<int64_t>::min(), 4}}}, {{1, 2, 4, 4}, {2, 1, 3, 3}});
  says("negative", {{"pads", Ints{-1, 0, 0, 0}}}, {{1, 2, 4, 4}, {2, 1, 3, 3}});
}

// Their kernels take the type of the first operand for all, and whole numbers for nothing.
TEST(Products, OperandsAreFloatsOfOneType) {
  const std::vector<std::pair<std::string, std::vector<Shape>>> nodes{
      {"MatMul", {{2, 2}, {2, 2}}},
      {"Gemm", {{2, 2}, {2, 2}}},
      {"com.microsoft.FusedMatMul", {{2, 2}, {2, 2}}},
      {"Conv", {{1, 1, 2, 2}, {1, 1, 1, 1}}},
      {"ConvTranspose", {{1, 1, 2, 2}, {1, 1, 1, 1}}}};
  for (const auto& [op, shapes] : nodes)
    for (const size_t first : {size_t{0}, size_t{1}}) {
      OnnxNode node{op};
      std::vector<Shape> others;
      for (size_t i = 0; i < 2; ++i)
        if (i < first) {
          others.push_back(shapes[i]);
        } else {
          node.known[i] = ints(Ints(static_cast<size_t>(elements(shapes[i])), 1), shapes[i], DType::kI32);
        }
      EXPECT_NE(
          refusal(node, others).find(first == 0 ? "float tensor was expected, got int32" : "different types"),
          std::string::npos)
          << op << ": " << refusal(node, others);
    }
}

TEST(ConvOfVolumes, ForwardAndGradient) {
  check(make("Conv", {1, 2, 4, 3, 2}, {2, 2, 3, 2, 2}, {1, 2, 2, 3, 1}, {{2, 1, 1}, {1, 1, 1}, {1, 1, 0}},
             {{"pads", Ints{1, 1, 0, 0, 0, 0}}}, true));
  check(make("Conv", {1, 4, 3, 2, 2}, {2, 2, 2, 1, 1}, {1, 2, 1, 2, 2}, {{1, 1, 1}, {2, 1, 1}, {0, 0, 0}, 2},
             {}));  // one tap a plane
  check(make("Conv", {2, 2, 2, 3, 3}, {3, 2, 1, 2, 2}, {2, 3, 2, 2, 2}, {{1, 1, 1}, {1, 1, 1}, {0, 0, 0}}, {},
             true));  // one plane
  check(make("Conv", {1, 4, 3, 3, 2}, {4, 2, 2, 2, 1}, {1, 4, 2, 2, 2}, {{1, 1, 1}, {1, 1, 1}, {0, 0, 0}, 2},
             {}));  // in groups
  check(
      make("Conv", {1, 1, 3, 4, 4}, {1, 1, 1, 1, 1}, {1, 1, 2, 2, 2}, {{2, 2, 2}, {1, 1, 1}, {0, 0, 0}}, {}));
}

TEST(PoolingOfVolumes, ForwardAndGradient) {
  for (const bool max : {true, false})
    for (const bool padded : {false, true}) {
      SCOPED_TRACE(max ? "MaxPool" : "AveragePool");
      const Shape x{1, 2, 3, 4, 3};
      OnnxNode n{
          max ? "MaxPool" : "AveragePool", 19, {{"kernel_shape", Ints{2, 3, 2}}, {"strides", Ints{1, 2, 1}}}};
      if (padded) n.attributes.set("pads", Ints{1, 1, 0, 0, 1, 1});
      const Ints before = padded ? Ints{1, 1, 0} : Ints{0, 0, 0};
      const Shape y = padded ? Shape{1, 2, 3, 2, 3} : Shape{1, 2, 2, 1, 2};
      Case c = onnx_case(n, {x});
      c.distinct = max;
      c.nonzero = 0.05;
      c.expected = [=](const std::vector<Numbers>& v) {
        Numbers out;
        each(y, [&](const Shape& p) {
          double best = -std::numeric_limits<double>::infinity();
          double sum = 0;
          int count = 0;
          each({2, 3, 2}, [&](const Shape& k) {
            const Shape at{p[0], p[1], p[2] + k[0] - before[0], p[3] * 2 + k[1] - before[1],
                           p[4] + k[2] - before[2]};
            for (size_t d = 2; d < 5; ++d)
              if (at[d] < 0 || at[d] >= x[d]) return;
            best = std::max(best, v[0][place(x, at)]);
            sum += v[0][place(x, at)];
            ++count;
          });
          out.push_back(max ? best : sum / count);
        });
        return std::vector<Numbers>{out};
      };
      ASSERT_NO_FATAL_FAILURE(check(c));
    }
}

TEST(LpPool, ForwardAndGradient) {
  for (const int64_t p : {1, 2, 3}) {
    OnnxNode n{"LpPool", 18, {{"kernel_shape", Ints{2}}, {"p", p}, {"pads", Ints{1, 0}}}};
    Case c = onnx_case(n, {{1, 2, 4}});
    c.low = 0.5;  // |x| and the root are smooth there
    c.y_roundings = 4;
    c.roundings = 8;
    c.expected = [=](const std::vector<Numbers>& v) {
      Numbers y;
      for (size_t channel = 0; channel < 2; ++channel)
        for (size_t i = 0; i < 4; ++i) {
          double sum = std::pow(v[0][channel * 4 + i], static_cast<double>(p));
          if (i > 0) sum += std::pow(v[0][channel * 4 + i - 1], static_cast<double>(p));
          y.push_back(std::pow(sum, 1.0 / static_cast<double>(p)));
        }
      return std::vector<Numbers>{y};
    };
    ASSERT_NO_FATAL_FAILURE(check(c)) << p;
  }
}

TEST(GlobalPooling, ForwardAndGradient) {
  Case max = onnx_case({"GlobalMaxPool", 17}, {{2, 3, 2, 3}});
  max.distinct = true;
  max.nonzero = 0.1;
  check(max);
  EXPECT_EQ(forward(onnx_case({"GlobalMaxPool", 17}, {{1, 2, 2, 2}}), DType::kF16,
                    {{1, 4, 2, 3, -1, -4, -2, -3}})[0],
            (Numbers{4, -1}));
  EXPECT_EQ(imported_shapes({"GlobalMaxPool", 17}, {{1, 2, 3, 4, 5}}), (std::vector<Shape>{{1, 2, 1, 1, 1}}));
  EXPECT_EQ(forward(onnx_case({"GlobalLpPool", 17}, {{1, 1, 2}}), DType::kF16, {{3, -4}})[0], (Numbers{5}));
}

}  // namespace
}  // namespace halftone::ops::test
