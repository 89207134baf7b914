#include <gtest/gtest.h>

#include <cmath>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

struct Function {
  const char* name;
  std::function<double(double)> f;
  double low = -2;
  double high = 2;
  std::vector<double> kinks = {};
  double alpha = 0;
  double beta = 0;
};
void PrintTo(const Function& f, std::ostream* out) {
  *out << f.name;
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

// Where the gradient is computed from a saved y (Sigmoid, Tanh) the rounding of y weighs y / (1 - y) and
// 2 y^2 / (1 - y^2) times as much: below 3 for |x| <= 1, so four roundings are enough there.
std::vector<Function> functions() {
  const double a = 0.25F;
  return {
      {"Relu", [](double x) { return x > 0 ? x : 0; }, -2, 2, {0}},
      {"LeakyRelu", [=](double x) { return x > 0 ? x : a * x; }, -2, 2, {0}, a},
      {"Elu", [=](double x) { return x > 0 ? x : a * (std::exp(x) - 1); }, -2, 2, {0}, a},
      {"Sigmoid", sigmoid, -1, 1},
      {"Tanh", [](double x) { return std::tanh(x); }, -1, 1},
      {"HardSigmoid",
       [=](double x) { return std::fmax(0, std::fmin(1, a * x + 0.5)); },
       -4,
       4,
       {-2, 2},
       a,
       0.5},
      {"HardSwish",
       [](double x) { return x * std::fmax(0, std::fmin(1, x / 6 + 0.5)); },
       -4,
       4,
       {-3, 3},
       1.0 / 6,
       0.5},
      {"Clip", [](double x) { return std::fmin(std::fmax(x, -0.5), 1); }, -2, 2, {-0.5, 1}, -0.5, 1},
      {"Softplus", [](double x) { return std::log1p(std::exp(x)); }},
      {"Erf", [](double x) { return std::erf(x); }},
      {"Gelu", [](double x) { return x * (1 + std::erf(x * std::sqrt(0.5))) / 2; }},
      {"GeluTanh",
       [](double x) { return x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))) / 2; }},
      {"Silu", [](double x) { return x * sigmoid(x); }},
      {"Sqrt", [](double x) { return std::sqrt(x); }, 0.25, 4},
      {"Neg", [](double x) { return -x; }},
      {"Exp", [](double x) { return std::exp(x); }},
      {"Log", [](double x) { return std::log(x); }, 0.25, 4},
      {"Abs", [](double x) { return std::fabs(x); }, -2, 2, {0}},
      {"Reciprocal", [](double x) { return 1 / x; }, 0.5, 2},
      {"PowScalar", [](double x) { return std::pow(x, 2.5); }, 0.25, 4, {}, 2.5},
      {"MinZero", [](double x) { return x < 0 ? x : 0; }, -2, 2, {0}},
      {"Scale", [](double x) { return -1.5 * x + 0.25; }, -2, 2, {}, -1.5, 0.25},
      {"Sin", [](double x) { return std::sin(x); }},
      {"Cos", [](double x) { return std::cos(x); }},
      {"Tan", [](double x) { return std::tan(x); }, -1, 1},
      {"Asin", [](double x) { return std::asin(x); }, -0.9, 0.9},
      {"Acos", [](double x) { return std::acos(x); }, -0.9, 0.9},
      {"Atan", [](double x) { return std::atan(x); }, -4, 4},
      {"Sinh", [](double x) { return std::sinh(x); }},
      {"Cosh", [](double x) { return std::cosh(x); }},
      {"Asinh", [](double x) { return std::asinh(x); }, -4, 4},
      {"Acosh", [](double x) { return std::acosh(x); }, 1.25, 6},
      {"Atanh", [](double x) { return std::atanh(x); }, -0.9, 0.9},
      {"Softsign", [](double x) { return x / (1 + std::fabs(x)); }, -4, 4, {0}},
      {"Selu", [=](double x) { return 1.25 * (x > 0 ? x : a * (std::exp(x) - 1)); }, -2, 2, {0}, a, 1.25},
      {"Celu", [=](double x) { return x > 0 ? x : 0.5 * (std::exp(x / 0.5) - 1); }, -2, 2, {0}, 0.5},
      {"ThresholdedRelu", [](double x) { return x > 0.5 ? x : 0; }, -2, 2, {0.5}, 0.5},
      {"Shrink",
       [](double x) { return x < -0.5  ? x + 0.25
                             : x > 0.5 ? x - 0.25
                                       : 0; },
       -2,
       2,
       {-0.5, 0.5},
       0.25,
       0.5},
      {"Mish", [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }},
      {"Swish", [](double x) { return x * sigmoid(1.75 * x); }, -2, 2, {}, 1.75},
      {"Sign", [](double x) { return static_cast<double>((x > 0) - (x < 0)); }, -2, 2, {0}},
      {"Floor", [](double x) { return std::floor(x); }, -2, 2, {-1, 0, 1}},
      {"Ceil", [](double x) { return std::ceil(x); }, -2, 2, {-1, 0, 1}},
      {"Round", [](double x) { return std::nearbyint(x); }, -2, 2, {-1.5, -0.5, 0.5, 1.5}},
  };
}

class Unary : public testing::TestWithParam<Function> {
 protected:
  Case make(const std::vector<int64_t>& shape) const {
    const Function& f = GetParam();
    Case c;
    c.inputs = {shape};
    c.build = [f](Builder& b, const std::vector<ValueId>& x) {
      return std::vector<ValueId>{b.add1(f.name, {x[0]}, {{"alpha", f.alpha}, {"beta", f.beta}})};
    };
    c.expected = [f](const std::vector<Numbers>& x) { return std::vector<Numbers>{map(x[0], f.f)}; };
    c.low = f.low;
    c.high = f.high;
    c.kinks = f.kinks;
    c.nonzero = is_step(f) ? 0 : 0.25;  // Relu's other half, both ends of HardSigmoid
    return c;
  }
  // Their gradient is 0, and there is nothing more to test about it.
  static bool is_step(const Function& f) {
    const std::string name = f.name;
    return name == "Sign" || name == "Floor" || name == "Ceil" || name == "Round";
  }
};

TEST_P(Unary, ForwardAndGradient) {
  check(make({3, 7, 2}));
}

TEST_P(Unary, ARepeatedInputGetsBothGradients) {
  Case c = make({5});
  c.expected = nullptr;
  c.build = [build = c.build](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{build(b, x)[0], b.add1("Add", {x[0], x[0]})};
  };
  c.roundings = 6;  // four of f's, and two sums of gradients
  check(c);
}

// More elements than a chunk has, with a short last one.
TEST_P(Unary, ChunksMeetWithoutGapOrOverlap) {
  Case c = make({2 * 16384 + 5});
  const std::vector<Numbers> x = random_inputs(c, DType::kF32);
  const std::vector<Numbers> y = forward(c, DType::kF32, x, 2);
  const Numbers expected = map(x[0], GetParam().f);
  for (size_t i = 0; i < expected.size(); ++i)
    ASSERT_NEAR(y[0][i], expected[i], 0x1p-20 * (1 + std::fabs(expected[i]))) << "element " << i;
}

std::string function_name(const testing::TestParamInfo<Function>& test) {
  return test.param.name;
}
INSTANTIATE_TEST_SUITE_P(All, Unary, testing::ValuesIn(functions()), function_name);

TEST(UnaryErrors, RefusesIntegers) {
  EXPECT_NE(refusal({{DType::kI64, {3}}}, "Relu", {}).find("a float tensor was expected, got int64"),
            std::string::npos);
}

TEST(UnaryImport, AttributesHaveOnnxsNamesAndDefaults) {
  const auto at = [](const std::string& op, int opset, const Attributes& attributes, double x) {
    return forward(onnx_case({op, opset, attributes}, {{1}}), DType::kF64, {{x}})[0][0];
  };
  EXPECT_NEAR(at("Selu", 6, {}, -1), 1.0507009873 * 1.6732632423 * std::expm1(-1), 1e-7);
  EXPECT_NEAR(at("Selu", 22, {{"alpha", 2.0}, {"gamma", 3.0}}, -1), 6 * std::expm1(-1), 1e-12);
  EXPECT_NEAR(at("Celu", 12, {}, -1), std::expm1(-1), 1e-12);
  EXPECT_NEAR(at("ThresholdedRelu", 10, {}, 0.75), 0, 0);
  EXPECT_NEAR(at("ThresholdedRelu", 22, {{"alpha", 0.5}}, 0.75), 0.75, 0);
  EXPECT_NEAR(at("Shrink", 9, {}, 0.75), 0.75, 0);
  EXPECT_NEAR(at("Shrink", 9, {{"bias", 0.25}, {"lambd", 0.7}}, -0.75), -0.5, 0);
  EXPECT_NEAR(at("Swish", 24, {}, 1.5), 1.5 * sigmoid(1.5), 1e-12);
  EXPECT_NEAR(at("Swish", 24, {{"alpha", 2.0}}, 1.5), 1.5 * sigmoid(3), 1e-12);
}

TEST(UnaryImport, RefusesWhatItDoesNotKnow) {
  EXPECT_NE(refusal(OnnxNode{"Celu", 12, {{"alpha", 0.0}}}, {{2}}).find("alpha is 0"), std::string::npos);
  EXPECT_NE(refusal(OnnxNode{"Sin", 22, {{"alpha", 1.0}}}, {{2}}).find("'alpha' is not understood"),
            std::string::npos);
  EXPECT_NE(refusal(OnnxNode{"Selu", 22, {{"beta", 1.0}}}, {{2}}).find("'beta' is not understood"),
            std::string::npos);
}

TEST(UnaryGradients, EveryRowIsTested) {
  size_t unary = 0;
  for (const OpDef* def : all())
    if (def->prepare == find("Relu").prepare) ++unary;
  EXPECT_EQ(unary, functions().size());
}

TEST(Clip, BoundsMayBeComputed) {
  for (const bool both : {true, false}) {
    OnnxNode n{"Clip", 13};
    if (!both) n.known = {{2, number(0.5)}};
    Case c = onnx_case(n, both ? std::vector<Shape>{{4, 3}, {}, {1}} : std::vector<Shape>{{4, 3}, {}});
    c.expected = [=](const std::vector<Numbers>& v) {
      return std::vector<Numbers>{
          map(v[0], [&](double x) { return std::fmin(std::fmax(x, v[1][0]), both ? v[2][0] : 0.5); })};
    };
    c.distinct = true;
    c.nonzero = 0.1;
    c.roundings = 8;
    check(c);
  }
  // Where the bounds cross it is the upper one.
  EXPECT_EQ(forward(onnx_case({"Clip", 13}, {{2}, {}, {}}), DType::kF32, {{-3, 3}, {2}, {1}})[0],
            (Numbers{1, 1}));
  EXPECT_NE(refusal({"Clip", 13}, {{2}, {2}}).find("min must be one number, got 2"), std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
