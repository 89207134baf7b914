// Functions of one element. One row below for each; `a` and `b` are alpha and beta.
//
// formula  y = f(x): Relu max(x, 0); LeakyRelu x < 0 ? a x : x; Elu x < 0 ? a (exp(x) - 1) : x; Sigmoid 1 /
//          (1 + exp(-x)); Tanh; HardSigmoid max(0, min(1, a x + b)); HardSwish x max(0, min(1, x / 6 + 1/2));
//          Clip min(max(x, a), b); Softplus log(1 + exp(x)); Erf; Gelu x (1 + erf(x / sqrt 2)) / 2; GeluTanh
//          x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2; Silu x / (1 + exp(-x)); Sqrt; Neg; Exp; Log;
//          Abs; Reciprocal 1 / x; PowScalar x ^ a; MinZero min(x, 0); Scale a x + b (one fma); Sin; Cos; Tan;
//          Asin; Acos; Atan; Sinh; Cosh; Asinh; Acosh; Atanh; Softsign x / (1 + |x|); Selu b (x < 0 ? a
//          (exp(x) - 1) : x); Celu x < 0 ? a (exp(x / a) - 1) : x; ThresholdedRelu x > a ? x : 0; Shrink x <
//          -b ? x + a : x > b ? x - a : 0; Mish x tanh(log(1 + exp(x))); Swish x / (1 + exp(-a x)); Sign;
//          Floor; Ceil; Round (halves to even)
// gradient UnaryGrad: dx = dy f'(x), from y where kern::gradient_reads_y says so. Kinks, where the derivative
//          is one of the two sides: Relu, LeakyRelu, Elu, Selu, Celu, Abs, MinZero at 0; Clip at a and b;
//          HardSigmoid at -b/a and (1-b)/a; HardSwish at -3 and 3; ThresholdedRelu at a; Shrink at -b and b.
//          Sign, Floor, Ceil and Round are steps: their gradient is 0, as PyTorch's is
// shapes   x[any] -> y[same]
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   once, when y is stored; everything else in registers
// saves    x or y, for the gradient (Neg and Scale: none)
// scratch  none
// alias    y may share memory with x; dx with dy or the saved value
// errors   not a float type; Clip with bounds that are computed; Celu with an alpha that is not above 0
// source   ONNX Relu-6/13/14, LeakyRelu-6/16, Elu-6/22, Sigmoid-6/13, Tanh-6/13, HardSigmoid-6/22,
//          HardSwish-14/22, Clip-6/11/12/13, Softplus-1/22, Erf-9/13, Gelu-20, Sqrt-6/13, Neg-6/13, Exp-6/13,
//          Log-6/13, Abs-6/13, Reciprocal-6/13, Sin/Cos/Tan/Asin/Acos/Atan-7/22,
//          Sinh/Cosh/Asinh/Acosh/Atanh-9/22, Softsign-1/22, Selu-6/22, Celu-12, ThresholdedRelu-10/22,
//          Shrink-9, Mish-18/22, Swish-24, Sign-9/13, Floor/Ceil-6/13, Round-11/22
// tests    tests/ops/unary_test.cpp
#include <cmath>
#include <limits>

#include "base/error.h"
#include "kern/pointwise.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/fold_pointwise.h"
#include "ops/op.h"
#include "ops/whole.h"

namespace halftone::ops::unary {
namespace {

using kern::Unary;

struct Row {
  std::string_view name;
  Unary op;
  double alpha = 0;  // ONNX's default where the operator has the attribute
  double beta = 0;
};
constexpr Row kRows[] = {
    {"Relu", Unary::kRelu},
    {"LeakyRelu", Unary::kLeakyRelu, 0.01},
    {"Elu", Unary::kElu, 1},
    {"Sigmoid", Unary::kSigmoid},
    {"Tanh", Unary::kTanh},
    {"HardSigmoid", Unary::kHardSigmoid, 0.2, 0.5},
    {"HardSwish", Unary::kHardSwish, 1.0 / 6, 0.5},
    {"Clip", Unary::kClip, -std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()},
    {"Softplus", Unary::kSoftplus},
    {"Erf", Unary::kErf},
    {"Gelu", Unary::kGelu},
    {"GeluTanh", Unary::kGeluTanh},
    {"Silu", Unary::kSilu},
    {"Sqrt", Unary::kSqrt},
    {"Neg", Unary::kNeg},
    {"Exp", Unary::kExp},
    {"Log", Unary::kLog},
    {"Abs", Unary::kAbs},
    {"Reciprocal", Unary::kReciprocal},
    {"PowScalar", Unary::kPowScalar, 1},
    {"MinZero", Unary::kMinZero},
    {"Scale", Unary::kScale, 1, 0},
    {"Sin", Unary::kSin},
    {"Cos", Unary::kCos},
    {"Tan", Unary::kTan},
    {"Asin", Unary::kAsin},
    {"Acos", Unary::kAcos},
    {"Atan", Unary::kAtan},
    {"Sinh", Unary::kSinh},
    {"Cosh", Unary::kCosh},
    {"Asinh", Unary::kAsinh},
    {"Acosh", Unary::kAcosh},
    {"Atanh", Unary::kAtanh},
    {"Softsign", Unary::kSoftsign},
    {"Selu", Unary::kSelu, 1.67326319217681884765625, 1.05070102214813232421875},
    {"Celu", Unary::kCelu, 1},
    {"ThresholdedRelu", Unary::kThresholdedRelu, 1},
    {"Shrink", Unary::kShrink, 0, 0.5},
    {"Mish", Unary::kMish},
    {"Swish", Unary::kSwish, 1},
    {"Sign", Unary::kSign},
    {"Floor", Unary::kFloor},
    {"Ceil", Unary::kCeil},
    {"Round", Unary::kRound},
};

bool is_step(Unary op) {
  return op == Unary::kSign || op == Unary::kFloor || op == Unary::kCeil || op == Unary::kRound;
}

const Row& row_of(std::string_view name) {
  for (const Row& row : kRows)
    if (row.name == name) return row;
  HT_ASSERT(false, "{} is not a function of one element", name);
  return kRows[0];
}

std::vector<Type> infer(const InferContext& c) {
  if (!is_float(c.input(0).dtype))
    throw input_error("a float tensor was expected, got {}", name_of(c.input(0).dtype));
  return {c.input(0)};
}

Prepared prepare(const PrepareContext& c) {
  const Row& row = row_of(c.node.op);
  const Type& type = c.output(0);
  const int64_t n = elements(type.shape);
  const int64_t width = size_bytes(type.dtype);
  const double alpha = c.attributes().float_or("alpha", row.alpha);
  const double beta = c.attributes().float_or("beta", row.beta);
  return {0, [=, unary = c.kernels.unary, op = row.op, dtype = type.dtype](const RunContext& r) {
            for_chunks(r.pool, element_chunks(n), [&](int64_t first, int64_t count) {
              unary({op, dtype, at(r.in[0], first * width), at(r.out[0], first * width), count, alpha, beta});
            });
          }};
}

std::vector<ValueId> gradient(GradientContext& c) {
  const Row& row = row_of(c.node.op);
  Attributes attributes{{"alpha", c.node.attributes.float_or("alpha", row.alpha)},
                        {"beta", c.node.attributes.float_or("beta", row.beta)}};
  if (row.op == Unary::kNeg) return {c.builder.add1("Neg", {c.dy[0]})};
  if (is_step(row.op)) return {kNone};
  if (row.op == Unary::kPowScalar && attributes.float_at("alpha") == 0) return {kNone};  // not 0 * 0^-1
  if (row.op == Unary::kScale) {
    if (attributes.float_at("alpha") == 1) return {c.dy[0]};
    attributes.set("beta", 0.0);
    return {c.builder.add1("Scale", {c.dy[0]}, attributes)};
  }
  attributes.set("op", std::string(row.name));
  return {
      c.builder.add1("UnaryGrad", {c.dy[0], kern::gradient_reads_y(row.op) ? c.y(0) : c.x(0)}, attributes)};
}

// UnaryGrad(dy, x or y) -> dx
std::vector<Type> infer_grad(const InferContext& c) {
  HT_ASSERT(c.input(0) == c.input(1), "{} and {}", to_string(c.input(0).shape), to_string(c.input(1).shape));
  return {c.input(0)};
}

Prepared prepare_grad(const PrepareContext& c) {
  const Row& row = row_of(c.attributes().string_or("op", ""));
  const Type& type = c.output(0);
  const int64_t n = elements(type.shape);
  const int64_t width = size_bytes(type.dtype);
  const double alpha = c.attributes().float_at("alpha");
  const double beta = c.attributes().float_at("beta");
  const bool reads_y = kern::gradient_reads_y(row.op);
  return {0, [=, unary_grad = c.kernels.unary_grad, op = row.op, dtype = type.dtype](const RunContext& r) {
            for_chunks(r.pool, element_chunks(n), [&](int64_t first, int64_t count) {
              const void* saved = at(r.in[1], first * width);
              unary_grad({op, dtype, reads_y ? nullptr : saved, reads_y ? saved : nullptr,
                          at(r.in[0], first * width), at(r.out[0], first * width), count, alpha, beta});
            });
          }};
}

// ---------------------------------------------------------------- from ONNX

std::vector<ValueId> import_plain(ImportContext& c) {
  if (!is_float(c.builder.type(c.inputs[0]).dtype) &&
      (c.op_type == "Neg" || c.op_type == "Abs" || c.op_type == "Sign"))
    return import_whole_unary(c);
  check_attributes(c.attributes, {});
  return {c.builder.add1(c.op_type, {c.inputs[0]})};
}

std::vector<ValueId> import_alpha_beta(ImportContext& c) {
  const Row& row = row_of(c.op_type);
  const std::string_view alpha = row.op == Unary::kShrink ? "bias" : "alpha";
  const std::string_view beta = row.op == Unary::kHardSigmoid ? "beta"
                                : row.op == Unary::kSelu      ? "gamma"
                                : row.op == Unary::kShrink    ? "lambd"
                                                              : "";
  if (beta.empty()) {
    check_attributes(c.attributes, {alpha});
  } else {
    check_attributes(c.attributes, {alpha, beta});
  }
  const double a = c.attributes.float_or(alpha, row.alpha);
  if (row.op == Unary::kCelu && !(a > 0)) throw input_error("alpha is {}, expected above 0", a);
  if (row.op == Unary::kSwish && a == 1) return {c.builder.add1("Silu", {c.inputs[0]})};
  return {c.builder.add1(
      c.op_type, {c.inputs[0]},
      {{"alpha", a}, {"beta", beta.empty() ? row.beta : c.attributes.float_or(beta, row.beta)}})};
}

std::vector<ValueId> import_clip(ImportContext& c) {
  if (!is_float(c.builder.type(c.inputs[0]).dtype)) return import_whole_clip(c);
  const Row& row = row_of("Clip");
  double bounds[2] = {row.alpha, row.beta};
  ValueId computed[2] = {kNone, kNone};  // bounds that are not known when loading
  constexpr std::string_view kNames[2] = {"min", "max"};
  if (c.opset < 11) {
    check_attributes(c.attributes, {"min", "max"});
    for (size_t i = 0; i < 2; ++i) bounds[i] = c.attributes.float_or(kNames[i], bounds[i]);
  } else {
    check_attributes(c.attributes, {});
    for (size_t i = 0; i < 2; ++i) {
      if (!c.has(i + 1)) continue;
      const std::optional<double> bound = scalar_of(c.constant(i + 1));
      if (bound) {
        bounds[i] = *bound;
        continue;
      }
      if (elements(c.shape(i + 1)) != 1)
        throw input_error("{} must be one number, got {}", kNames[i], to_string(c.shape(i + 1)));
      computed[i] = c.builder.reshape(c.inputs[i + 1], {});
    }
  }
  if (std::isnan(bounds[0]) || std::isnan(bounds[1]))
    throw input_error("min {} or max {} is not a number", bounds[0], bounds[1]);
  if (computed[0] != kNone || computed[1] != kNone) {
    // In this order: where the bounds cross, ONNX gives the upper one.
    ValueId y = c.inputs[0];
    for (const size_t i : {size_t{0}, size_t{1}}) {
      const bool known = computed[i] == kNone;
      if (known && bounds[i] == (i == 0 ? row.alpha : row.beta)) continue;
      y = c.builder.add1(i == 0 ? "Max" : "Min", {y, known ? c.builder.scalar(bounds[i]) : computed[i]});
    }
    return {y};
  }
  if (bounds[0] == row.alpha && bounds[1] == row.beta) return {c.inputs[0]};
  return {c.builder.add1("Clip", {c.inputs[0]}, {{"alpha", bounds[0]}, {"beta", bounds[1]}})};
}

std::vector<ValueId> import_gelu(ImportContext& c) {
  check_attributes(c.attributes, {"approximate"});
  const std::string approximate = c.attributes.string_or("approximate", "none");
  if (approximate != "none" && approximate != "tanh")
    throw input_error("approximate is '{}', expected 'none' or 'tanh'", approximate);
  return {c.builder.add1(approximate == "tanh" ? "GeluTanh" : "Gelu", {c.inputs[0]})};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family = [] {
    OpFamily f;
    for (const Row& row : kRows)
      f.ops.emplace_back(row.name, infer, prepare, GradientRule{gradient}, Alias::kMayShare,
                         Permute::kElementwise);
    f.ops.emplace_back("UnaryGrad", infer_grad, prepare_grad,
                       NoGradient{"second derivatives are not computed"}, Alias::kMayShare,
                       Permute::kElementwise);
    f.onnx = {
        {.op_type = "Relu", .since = 6, .until = 24, .import = import_plain, .fold = fold_pointwise},
        {.op_type = "LeakyRelu", .since = 6, .until = 24, .import = import_alpha_beta},
        {.op_type = "Elu", .since = 6, .until = 24, .import = import_alpha_beta},
        {.op_type = "Sigmoid", .since = 6, .until = 24, .import = import_plain, .fold = fold_pointwise},
        {.op_type = "Tanh", .since = 6, .until = 24, .import = import_plain, .fold = fold_pointwise},
        {.op_type = "HardSigmoid", .since = 6, .until = 24, .import = import_alpha_beta},
        {.op_type = "HardSwish", .since = 14, .until = 24, .import = import_plain},
        {.op_type = "Clip", .since = 6, .until = 24, .import = import_clip, .fold = fold_clip},
        {.op_type = "Softplus", .since = 1, .until = 24, .import = import_plain, .fold = fold_pointwise},
        {.op_type = "Erf", .since = 9, .until = 24, .import = import_plain, .fold = fold_pointwise},
        {.op_type = "Gelu", .since = 20, .until = 24, .import = import_gelu},
        {.op_type = "Sqrt", .since = 6, .until = 24, .import = import_plain, .fold = fold_unary},
        {.op_type = "Neg", .since = 6, .until = 24, .import = import_plain, .fold = fold_unary},
        {.op_type = "Exp", .since = 6, .until = 24, .import = import_plain, .fold = fold_unary},
        {.op_type = "Log", .since = 6, .until = 24, .import = import_plain, .fold = fold_unary},
        {.op_type = "Abs", .since = 6, .until = 24, .import = import_plain, .fold = fold_unary},
        {.op_type = "Reciprocal", .since = 6, .until = 24, .import = import_plain, .fold = fold_unary},
        {.op_type = "Sin", .since = 7, .until = 24, .import = import_plain, .fold = fold_pointwise},
        {.op_type = "Cos", .since = 7, .until = 24, .import = import_plain, .fold = fold_pointwise},
        {.op_type = "Tan", .since = 7, .until = 24, .import = import_plain},
        {.op_type = "Asin", .since = 7, .until = 24, .import = import_plain},
        {.op_type = "Acos", .since = 7, .until = 24, .import = import_plain},
        {.op_type = "Atan", .since = 7, .until = 24, .import = import_plain},
        {.op_type = "Sinh", .since = 9, .until = 24, .import = import_plain},
        {.op_type = "Cosh", .since = 9, .until = 24, .import = import_plain},
        {.op_type = "Asinh", .since = 9, .until = 24, .import = import_plain},
        {.op_type = "Acosh", .since = 9, .until = 24, .import = import_plain},
        {.op_type = "Atanh", .since = 9, .until = 24, .import = import_plain},
        {.op_type = "Softsign", .since = 1, .until = 24, .import = import_plain},
        {.op_type = "Selu", .since = 6, .until = 24, .import = import_alpha_beta},
        {.op_type = "Celu", .since = 12, .until = 24, .import = import_alpha_beta},
        {.op_type = "ThresholdedRelu", .since = 10, .until = 24, .import = import_alpha_beta},
        {.op_type = "Shrink", .since = 9, .until = 24, .import = import_alpha_beta},
        {.op_type = "Mish", .since = 18, .until = 24, .import = import_plain},
        {.op_type = "Swish", .since = 24, .until = 24, .import = import_alpha_beta},
        {.op_type = "Sign", .since = 9, .until = 24, .import = import_plain, .fold = fold_unary},
        {.op_type = "Floor", .since = 6, .until = 24, .import = import_plain, .fold = fold_unary},
        {.op_type = "Ceil", .since = 6, .until = 24, .import = import_plain, .fold = fold_unary},
        {.op_type = "Round", .since = 11, .until = 24, .import = import_plain, .fold = fold_unary},
    };
    return f;
  }();
  return family;
}

}  // namespace halftone::ops::unary
