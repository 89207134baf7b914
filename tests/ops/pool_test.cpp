#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;

struct Window {
  Ints kernel = {2, 2};
  Ints strides = {1, 1};
  Ints dilations = {1, 1};
  Ints pads = {0, 0, 0, 0};
  bool ceil_mode = false;
  bool count_include_pad = false;
};

int64_t windows(const Window& w, size_t axis, int64_t n) {
  const int64_t padded = n + w.pads[axis] + w.pads[axis + 2];
  const int64_t span = (w.kernel[axis] - 1) * w.dilations[axis] + 1;
  const double steps = static_cast<double>(padded - span) / static_cast<double>(w.strides[axis]);
  const auto count = static_cast<int64_t>(w.ceil_mode ? std::ceil(steps) : std::floor(steps)) + 1;
  // The last one has to start in the tensor or in the padding before it.
  return w.ceil_mode && (count - 1) * w.strides[axis] >= n + w.pads[axis] ? count - 1 : count;
}

// By the definition, in ONNX's order [N, C, H, W].
Numbers pooled(const Numbers& x, const Shape& s, const Window& w, bool max) {
  const int64_t oh = windows(w, 0, s[2]);
  const int64_t ow = windows(w, 1, s[3]);
  Numbers y;
  for (int64_t plane = 0; plane < s[0] * s[1]; ++plane)
    for (int64_t i = 0; i < oh; ++i)
      for (int64_t j = 0; j < ow; ++j) {
        double best = -std::numeric_limits<double>::infinity();
        double sum = 0;
        int64_t count = 0;
        for (int64_t a = 0; a < w.kernel[0]; ++a)
          for (int64_t b = 0; b < w.kernel[1]; ++b) {
            const int64_t h = i * w.strides[0] - w.pads[0] + a * w.dilations[0];
            const int64_t v = j * w.strides[1] - w.pads[1] + b * w.dilations[1];
            const bool inside = h >= 0 && h < s[2] && v >= 0 && v < s[3];
            if (inside || (w.count_include_pad && h < s[2] + w.pads[2] && v < s[3] + w.pads[3])) ++count;
            if (!inside) continue;
            const double value = x[static_cast<size_t>((plane * s[2] + h) * s[3] + v)];
            best = std::fmax(best, value);
            sum += value;
          }
        y.push_back(max ? best : sum / static_cast<double>(count));
      }
  return y;
}

OnnxNode node(const std::string& op, const Window& w) {
  OnnxNode n;
  n.op_type = op;
  n.opset = 19;
  n.attributes = {{"kernel_shape", w.kernel},
                  {"strides", w.strides},
                  {"dilations", w.dilations},
                  {"pads", w.pads},
                  {"ceil_mode", int64_t{w.ceil_mode}}};
  if (op == "AveragePool") n.attributes.set("count_include_pad", int64_t{w.count_include_pad});
  return n;
}

Case make(const OnnxNode& n, const Shape& x, const Window& w) {
  Case c = onnx_case(n, {x});
  const bool max = n.op_type == "MaxPool";
  c.expected = [=](const std::vector<Numbers>& values) {
    return std::vector<Numbers>{pooled(values[0], x, w, max)};
  };
  c.distinct = max;
  c.nonzero = 0.05;  // of the maximum
  return c;
}

std::vector<std::pair<Shape, Window>> cases() {
  return {
      {{2, 3, 5, 4}, {}},
      {{1, 2, 7, 7}, {{3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}}},
      {{1, 3, 6, 5}, {{2, 3}, {3, 1}, {1, 1}, {1, 0, 0, 2}}},        // not the same in both directions
      {{1, 2, 8, 7}, {{3, 2}, {1, 2}, {2, 3}, {0, 1, 2, 0}}},        // dilated
      {{1, 2, 6, 6}, {{3, 3}, {2, 2}, {1, 1}, {0, 0, 0, 0}, true}},  // a last window over the edge
      {{1, 2, 5, 5}, {{2, 2}, {2, 2}, {1, 1}, {1, 1, 1, 1}, true}},  // one that would start in the padding
      {{1, 2, 6, 5},
       {{3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, true, true}},          // counting padding, not what is beyond
      {{1, 2, 3, 5}, {{7, 9}, {7, 9}, {1, 1}, {0, 0, 0, 0}, true}},  // one larger than the image
      {{1, 2, 3, 5}, {{7, 9}, {4, 8}, {1, 1}, {1, 2, 1, 0}, true, true}},  // with padding before and after
      {{2, 2, 4, 5}, {{3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}, false, true}},
      {{1, 17, 3, 3},
       {{3, 3}, {1, 1}, {1, 1}, {0, 0, 0, 0}}},  // the whole image, channels of a vector and one
  };
}

TEST(MaxPool, ForwardAndGradient) {
  for (auto [x, w] : cases()) {
    w.count_include_pad = false;
    SCOPED_TRACE(testing::PrintToString(x) + testing::PrintToString(w.kernel));
    ASSERT_NO_FATAL_FAILURE(check(make(node("MaxPool", w), x, w)));
  }
}

TEST(AveragePool, ForwardAndGradient) {
  for (const auto& [x, w] : cases()) {
    SCOPED_TRACE(testing::PrintToString(x) + testing::PrintToString(w.kernel));
    ASSERT_NO_FATAL_FAILURE(check(make(node("AveragePool", w), x, w)));
  }
}

TEST(AveragePool, CountsPaddingOnlyWhenAsked) {
  // One window over a 1 and three zeros of padding.
  for (const bool count : {false, true}) {
    const Window w{{2, 2}, {1, 1}, {1, 1}, {1, 1, 0, 0}, false, count};
    const Case c = make(node("AveragePool", w), {1, 1, 1, 1}, w);
    EXPECT_EQ(forward(c, DType::kF32, {{1}})[0], Numbers{count ? 0.25 : 1.0});
  }
}

TEST(Pool, ARepeatedInputGetsBothGradients) {
  for (const char* op : {"MaxPool", "AveragePool"}) {
    const Window w{{3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}};
    Case c = make(node(op, w), {1, 2, 5, 5}, w);
    c.expected = nullptr;
    c.build = [build = c.build](Builder& b, const std::vector<ValueId>& x) {
      return std::vector<ValueId>{build(b, x)[0], build(b, x)[0], x[0]};
    };
    c.roundings = 7;  // a gradient of four windows or one maximum twice, and the sum of three
    check(c);
  }
}

// A chunk is a band of rows of at least 16384 elements, or a row.
TEST(Pool, BandsMeetWithoutGapOrOverlap) {
  const Window w{{4, 4}, {2, 2}, {1, 1}, {0, 0, 0, 0}};
  for (const Shape& x : {Shape{2, 24, 90, 64}, Shape{1, 700, 10, 54}})
    for (const char* op : {"MaxPool", "AveragePool"}) {
      const Case c = make(node(op, w), x, w);
      Numbers values;
      for (int64_t i = 0; i < elements(x); ++i) values.push_back(static_cast<double>(i * 7919 % 1013 - 500));
      ASSERT_EQ(forward(c, DType::kF32, {values}, 3), c.expected({values})) << op;
    }
}

TEST(MaxPool, OfTiesTheFirstTapGetsTheGradient) {
  const Window w{{3, 3}, {3, 3}, {1, 1}, {1, 1, 0, 0}};
  const Case c = make(node("MaxPool", w), {1, 1, 2, 2}, w);
  for (const DType dtype : {DType::kF64, DType::kF16})
    for (const kern::Isa isa : isas(dtype)) {
      EXPECT_EQ(run(c, dtype, {{1, 1, 1, 1}}, {{2}}, isa).dx[0], (Numbers{2, 0, 0, 0}));
      EXPECT_EQ(run(c, dtype, {{0, 1, 0, 1}}, {{2}}, isa).dx[0], (Numbers{0, 2, 0, 0}));
    }
}

TEST(MaxPool, ANaNWins) {
  const Window w{{2, 2}, {2, 2}, {1, 1}, {0, 0, 0, 0}};
  const Case c = make(node("MaxPool", w), {1, 1, 2, 4}, w);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const kern::Isa isa : kern::available()) {
    const Numbers y = run(c, DType::kF16, {{1, nan, 3, 4, 2, 3, 2, 1}}, {{1, 1}}, isa).y[0];
    EXPECT_TRUE(std::isnan(y[0]));
    EXPECT_EQ(y[1], 4);
  }
}

TEST(MaxPool, PaddingNeverWins) {
  const Window w{{3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}};
  const Case c = make(node("MaxPool", w), {1, 1, 2, 2}, w);
  EXPECT_EQ(forward(c, DType::kF16, {{-4, -3, -2, -1}})[0], (Numbers{-1, -1, -1, -1}));
}

TEST(PoolImport, SequencesAreImagesOfOneRow) {
  const Window w{{1, 3}, {1, 2}, {1, 1}, {0, 1, 0, 0}};
  for (const char* op : {"MaxPool", "AveragePool"}) {
    OnnxNode n{op, 12, {{"kernel_shape", Ints{3}}, {"strides", Ints{2}}, {"pads", Ints{1, 0}}}};
    Case c = make(n, {2, 3, 1, 7}, w);
    c.inputs = {{2, 3, 7}};
    ASSERT_NO_FATAL_FAILURE(check(c));
    EXPECT_EQ(imported_shapes(n, {{2, 3, 7}}), (std::vector<Shape>{{2, 3, 3}}));
  }
}

TEST(PoolImport, DefaultsAreStepsOfOneAndNoPadding) {
  EXPECT_EQ(imported_shapes({"MaxPool", 8, {{"kernel_shape", Ints{2, 3}}}}, {{2, 3, 7, 8}}),
            (std::vector<Shape>{{2, 3, 6, 6}}));
}

TEST(PoolImport, AutomaticPadding) {
  // Rows: 4 outputs need 3 * 2 + 4 = 10, 3 more than 7. Columns: 3 outputs need 2 * 3 + 3 = 9, 1 more than 8.
  const std::vector<std::pair<std::string, Ints>> modes = {
      {"SAME_UPPER", {1, 0, 2, 1}}, {"SAME_LOWER", {2, 1, 1, 0}}, {"VALID", {0, 0, 0, 0}}};
  for (const auto& [mode, pads] : modes)
    for (const char* op : {"MaxPool", "AveragePool"}) {
      SCOPED_TRACE(mode);
      const Window w{{4, 3}, {2, 3}, {1, 1}, pads};
      const OnnxNode n{op, 12, {{"kernel_shape", w.kernel}, {"strides", w.strides}, {"auto_pad", mode}}};
      ASSERT_NO_FATAL_FAILURE(check(make(n, {1, 2, 7, 8}, w)));
    }
}

OnnxNode with_indices(Attributes attributes) {
  OnnxNode n{"MaxPool", 12, std::move(attributes)};
  n.outputs = 2;
  return n;
}

// Where the indices point, there are the maxima; of equals and NaNs where MaxPool's gradient goes.
TEST(PoolImport, IndicesAreThePlacesOfTheMaxima) {
  const std::vector<std::pair<Attributes, Shape>> cases{
      {{{"kernel_shape", Ints{3}}, {"strides", Ints{2}}, {"pads", Ints{1, 1}}}, {2, 3, 9}},
      {{{"kernel_shape", Ints{2, 3}},
        {"strides", Ints{2, 1}},
        {"pads", Ints{1, 0, 0, 2}},
        {"dilations", Ints{1, 2}}},
       {2, 3, 7, 8}},
      {{{"kernel_shape", Ints{3, 2, 2}}, {"strides", Ints{1, 2, 1}}, {"ceil_mode", int64_t{1}}},
       {2, 2, 4, 5, 3}},
      {{{"auto_pad", "SAME_UPPER"}, {"kernel_shape", Ints{3, 3}}, {"strides", Ints{2, 2}}}, {1, 2, 5, 6}}};
  for (const auto& [attributes, shape] : cases) {
    SCOPED_TRACE(to_string(shape));
    const Case c = onnx_case(with_indices(attributes), {shape});
    for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16}) {
      const std::vector<Numbers> x = random_inputs(c, dtype);
      const std::vector<Numbers> y = forward(c, dtype, x, 3);
      ASSERT_EQ(y[0].size(), y[1].size());
      for (size_t i = 0; i < y[0].size(); ++i) EXPECT_EQ(x[0].at(static_cast<size_t>(y[1][i])), y[0][i]) << i;
    }
  }
}

TEST(PoolImport, IndicesOfEqualsNansAndColumns) {
  const Attributes attributes{{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}};
  const double nan = std::nan("");
  const Shape shape{1, 2, 2, 4};
  const Numbers x{1, 1, nan, 5, 1, 1, 2, nan, 1, 2, 3, 3, 2, 1, 3, 4};
  const auto indices = [&](const Attributes& a) {
    Case c;
    c.inputs = {shape};
    c.build = [&](Builder& b, const std::vector<ValueId>& in) {
      return std::vector<ValueId>{import(b, with_indices(a), in)[1]};
    };
    return forward(c, DType::kF32, {x})[0];
  };
  EXPECT_EQ(indices(attributes), (Numbers{0, 7, 9, 15}));
  Attributes columns = attributes;
  columns.set("storage_order", int64_t{1});
  // Element (h, w) of an image of 2 rows is h + 2 w.
  EXPECT_EQ(indices(columns), (Numbers{0, 7, 8 + 2, 8 + 7}));
}

// A pooling that is undone: the gradient goes through the values.
TEST(PoolImport, MaxUnpoolReadsTheIndices) {
  const Attributes attributes{{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}};
  Case c;
  c.inputs = {{2, 2, 4, 6}};
  c.distinct = true;
  c.nonzero = 0.2;
  c.roundings = 1;
  c.build = [=](Builder& b, const std::vector<ValueId>& x) {
    const std::vector<ValueId> pooled = import(b, with_indices(attributes), x);
    return import(b, {"MaxUnpool", 11, attributes}, pooled);
  };
  c.expected = [](const std::vector<Numbers>& v) {
    Numbers y(v[0].size(), 0.0);
    for (size_t image = 0; image < 4; ++image)
      for (size_t h = 0; h < 4; h += 2)
        for (size_t w = 0; w < 6; w += 2) {
          size_t best = image * 24 + h * 6 + w;
          for (const size_t tap : {best + 1, best + 6, best + 7})
            if (v[0][tap] > v[0][best]) best = tap;
          y[best] = v[0][best];
        }
    return std::vector<Numbers>{y};
  };
  check(c);
}

TEST(PoolImport, RefusesWhatItDoesNotUnderstand) {
  const auto says = [](const std::string& part, OnnxNode n, const Shape& x = {1, 1, 4, 4}) {
    const std::string message = refusal(n, {x});
    EXPECT_NE(message.find(part), std::string::npos) << "'" << message << "' does not say '" << part << "'";
  };
  const auto pool = [](const char* op, Attributes more) {
    OnnxNode n{op, 19, {{"kernel_shape", Ints{2, 2}}}};
    for (const auto& [name, value] : more) n.attributes.set(name, value);
    return n;
  };
  OnnxNode indices = pool("MaxPool", {{"storage_order", int64_t{2}}});
  indices.outputs = 2;
  says("'storage_order' is 2", indices);
  says("[N, C, H, W] or [N, C, D, H, W] was expected", pool("MaxPool", {}), {4, 4});
  says("kernel_shape has 2 numbers, expected 3", pool("AveragePool", {}), {1, 1, 4, 4, 4});
  says("kernel_shape is missing", {"MaxPool", 12});
  says("kernel_shape has 2 numbers, expected 1", pool("MaxPool", {}), {1, 1, 4});
  says("pads has 2 numbers, expected 4", pool("MaxPool", {{"pads", Ints{1, 1}}}));
  says("pads has the value -1", pool("AveragePool", {{"pads", Ints{0, -1, 0, 0}}}));
  says("strides has the value 0", pool("MaxPool", {{"strides", Ints{0, 1}}}));
  says("dilations has the value 0", pool("MaxPool", {{"dilations", Ints{1, 0}}}));
  says("auto_pad is 'SAME'", pool("MaxPool", {{"auto_pad", std::string("SAME")}}));
  says("'p'", pool("AveragePool", {{"p", int64_t{2}}}));
  says("count_include_pad", pool("MaxPool", {{"count_include_pad", int64_t{1}}}));
  says("does not fit an axis of 1", pool("MaxPool", {}), {1, 1, 1, 4});
  says("does not fit an axis of 4",
       pool("AveragePool", {{"kernel_shape", Ints{5, 5}}, {"ceil_mode", int64_t{1}}}));
  says("lies in the padding", pool("AveragePool", {{"pads", Ints{2, 0, 0, 0}}}));
  says("lies in the padding", pool("MaxPool", {{"pads", Ints{0, 0, 0, 2}}}));
  // Dilated around everything that is there.
  says("lies in the padding", pool("MaxPool", {{"pads", Ints{0, 1, 0, 1}}, {"dilations", Ints{1, 3}}}),
       {1, 1, 2, 2});
}

TEST(Pool, RefusesOtherRanksAndTypes) {
  const Attributes attributes{{"kernel", Ints{1, 1}},
                              {"strides", Ints{1, 1}},
                              {"dilations", Ints{1, 1}},
                              {"pads", Ints{0, 0, 0, 0}},
                              {"ceil_mode", int64_t{0}}};
  EXPECT_NE(
      refusal({{DType::kF32, {2, 3, 4}}}, "MaxPool", attributes).find("[N, H, W, C] was expected, got 2x3x4"),
      std::string::npos);
  EXPECT_NE(refusal({{DType::kI64, {1, 2, 3, 4}}}, "AveragePool", attributes).find("got int64"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
