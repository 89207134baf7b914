// Functions of two elements, with multidirectional broadcasting.
//
// formula  y = a + b, a - b, a * b, a / b, a ^ b; PRelu a < 0 ? a b : a; PReluSlope a < 0 ? b : 1 (PRelu's
//          derivative); Min; Max; MinShare, MaxShare (what of their gradient goes to a); Fmod a - b trunc(a /
//          b); EqualMask a == b ? 1 : 0; DivOrZero b == 0 ? 0 : a / b
// gradient sums over what was broadcast. PRelu's kink is a = 0. Pow: da = dy b a^(b-1), db = dy y log a, so
//          db needs a > 0 (NaN otherwise). Min, Max: to the one that is chosen, half to each where both are
//          equal, as PyTorch's minimum and maximum; of three and more inputs, pair by pair from the left.
//          Fmod: da = dy, db = -dy trunc(a / b), as PyTorch's fmod; of Mod with fmod 0, -dy floor(a / b), as
//          its remainder
// shapes   a[any], b[any] -> y[their common shape]; PRelu: b broadcasts to a
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   once, when y is stored
// saves    Mul, Div, Pow, PRelu: the operands, and y for Div and Pow
// scratch  none
// alias    y may share memory with an operand of its size
// errors   shapes that don't broadcast; types that differ; a type that is not float
// source   ONNX Add/Sub/Mul/Div-7/13/14, Pow-7/12/13/15, PRelu-7/9/16, Sum-6/8/13, Mean-6/8/13 (each input
//          times 1 / n before they are added, so that the sum stays in range), Min/Max-6/8/12/13, Mod-10/13.
//          With one constant number Add, Sub and Mul become Scale and Pow becomes PowScalar (unary.cpp),
//          which keep that number in fp32
// tests    tests/ops/binary_test.cpp
#include "base/error.h"
#include "kern/pointwise.h"
#include "ops/broadcast_loop.h"
#include "ops/fold.h"
#include "ops/mask.h"
#include "ops/op.h"
#include "ops/whole.h"

namespace halftone::ops::binary {
namespace {

using kern::Binary;

struct Row {
  std::string_view name;
  Binary op;
};
constexpr Row kRows[] = {{"Add", Binary::kAdd},
                         {"Sub", Binary::kSub},
                         {"Mul", Binary::kMul},
                         {"Div", Binary::kDiv},
                         {"Pow", Binary::kPow},
                         {"PRelu", Binary::kPRelu},
                         {"PReluSlope", Binary::kPReluSlope},
                         {"Min", Binary::kMin},
                         {"Max", Binary::kMax},
                         {"MinShare", Binary::kMinShare},
                         {"MaxShare", Binary::kMaxShare},
                         {"Fmod", Binary::kFmod},
                         {"EqualMask", Binary::kEqual},
                         {"DivOrZero", Binary::kDivOrZero}};

Binary kernel_of(std::string_view name) {
  for (const Row& row : kRows)
    if (row.name == name) return row.op;
  HT_ASSERT(false, "{} is not a function of two elements", name);
  return Binary::kAdd;
}

std::vector<Type> infer(const InferContext& c) {
  const Type& a = c.input(0);
  const Type& b = c.input(1);
  if (!is_float(a.dtype)) throw input_error("a float tensor was expected, got {}", name_of(a.dtype));
  if (a.dtype != b.dtype)
    throw input_error("the operands have different types: {} and {}", name_of(a.dtype), name_of(b.dtype));
  return {{a.dtype, broadcast(a.shape, b.shape)}};
}

Prepared prepare(const PrepareContext& c) {
  const Type& y = c.output(0);
  if (elements(y.shape) == 0) return {0, [](const RunContext&) {}};
  const BroadcastLoop loop(y.shape, {c.input(0).shape, c.input(1).shape});
  const int64_t width = size_bytes(y.dtype);
  return {0, [loop, width, binary = c.kernels.binary, op = kernel_of(c.node.op),
              dtype = y.dtype](const RunContext& r) {
            loop.run(r.pool, [&](const BroadcastLoop::Part& p) {
              binary({op, dtype, at(r.in[0], p.first[0] * width), loop.row_stride(0), loop.col_stride(0),
                      at(r.in[1], p.first[1] * width), loop.row_stride(1), loop.col_stride(1),
                      at(r.out[0], p.out * width), p.rows, p.cols});
            });
          }};
}

// ---------------------------------------------------------------- gradients

std::vector<ValueId> gradient_add(GradientContext& c) {
  std::vector<ValueId> dx(2, kNone);
  for (size_t i = 0; i < 2; ++i)
    if (c.needs[i]) dx[i] = c.builder.sum_to(c.dy[0], c.builder.shape(c.x(i)));
  return dx;
}

std::vector<ValueId> gradient_sub(GradientContext& c) {
  std::vector<ValueId> dx = gradient_add(c);
  if (dx[1] != kNone) dx[1] = c.builder.add1("Neg", {dx[1]});
  return dx;
}

std::vector<ValueId> gradient_mul(GradientContext& c) {
  std::vector<ValueId> dx(2, kNone);
  for (size_t i = 0; i < 2; ++i)
    if (c.needs[i])
      dx[i] = c.builder.sum_to(c.builder.add1("Mul", {c.dy[0], c.x(1 - i)}), c.builder.shape(c.x(i)));
  return dx;
}

// da = dy / b, db = -y dy / b
std::vector<ValueId> gradient_div(GradientContext& c) {
  Builder& b = c.builder;
  std::vector<ValueId> dx(2, kNone);
  const ValueId quotient = b.add1("Div", {c.dy[0], c.x(1)});
  if (c.needs[0]) dx[0] = b.sum_to(quotient, b.shape(c.x(0)));
  if (c.needs[1]) dx[1] = b.add1("Neg", {b.sum_to(b.add1("Mul", {quotient, c.y(0)}), b.shape(c.x(1)))});
  return dx;
}

std::vector<ValueId> gradient_pow(GradientContext& c) {
  Builder& b = c.builder;
  std::vector<ValueId> dx(2, kNone);
  if (c.needs[0]) {
    const ValueId less = b.add1("Scale", {c.x(1)}, {{"alpha", 1.0}, {"beta", -1.0}});
    const ValueId slope = b.add1("Mul", {c.x(1), b.add1("Pow", {c.x(0), less})});
    dx[0] = b.sum_to(b.add1("Mul", {c.dy[0], slope}), b.shape(c.x(0)));
  }
  if (c.needs[1]) {
    const ValueId slope = b.add1("Mul", {c.y(0), b.add1("Log", {c.x(0)})});
    dx[1] = b.sum_to(b.add1("Mul", {c.dy[0], slope}), b.shape(c.x(1)));
  }
  return dx;
}

std::vector<ValueId> gradient_prelu(GradientContext& c) {
  Builder& b = c.builder;
  std::vector<ValueId> dx(2, kNone);
  if (c.needs[0]) dx[0] = b.add1("Mul", {c.dy[0], b.add1("PReluSlope", {c.x(0), c.x(1)})});
  if (c.needs[1]) dx[1] = b.sum_to(b.add1("Mul", {c.dy[0], b.add1("MinZero", {c.x(0)})}), b.shape(c.x(1)));
  return dx;
}

std::vector<ValueId> gradient_extreme(GradientContext& c) {
  Builder& b = c.builder;
  const std::string share = c.node.op == "Max" ? "MaxShare" : "MinShare";
  std::vector<ValueId> dx(2, kNone);
  for (size_t i = 0; i < 2; ++i)
    if (c.needs[i])
      dx[i] = b.sum_to(b.add1("Mul", {c.dy[0], b.add1(share, {c.x(i), c.x(1 - i)})}), b.shape(c.x(i)));
  return dx;
}

std::vector<ValueId> gradient_fmod(GradientContext& c) {
  Builder& b = c.builder;
  std::vector<ValueId> dx(2, kNone);
  if (c.needs[0]) dx[0] = b.sum_to(c.dy[0], b.shape(c.x(0)));
  if (c.needs[1]) {
    // (a - y) / b is trunc(a / b) but for roundings.
    const ValueId whole = b.add1("Round", {b.add1("Div", {b.add1("Sub", {c.x(0), c.y(0)}), c.x(1)})});
    dx[1] = b.add1("Neg", {b.sum_to(b.add1("Mul", {c.dy[0], whole}), b.shape(c.x(1)))});
  }
  return dx;
}

// ---------------------------------------------------------------- from ONNX

// The value of input i when it is one constant number that leaves the other operand's shape alone.
std::optional<double> constant_number(const ImportContext& c, size_t i) {
  const Tensor* t = c.constant(i);
  if (t == nullptr || t->shape().size() > c.shape(1 - i).size()) return std::nullopt;
  return scalar_of(t);
}

ValueId scale(ImportContext& c, size_t x, double alpha, double beta) {
  if (alpha == 1 && beta == 0) return c.inputs[x];
  return c.builder.add1("Scale", {c.inputs[x]}, {{"alpha", alpha}, {"beta", beta}});
}

std::vector<ValueId> import(ImportContext& c) {
  if (!is_float(c.builder.type(c.inputs[0]).dtype)) return import_whole_binary(c);
  check_attributes(c.attributes, {});
  for (size_t i = 0; i < 2; ++i) {
    const size_t x = 1 - i;
    const std::optional<double> number =
        is_float(c.builder.type(c.inputs[x]).dtype) ? constant_number(c, i) : std::nullopt;
    if (!number) continue;
    if (c.op_type == "Add") return {scale(c, x, 1, *number)};
    if (c.op_type == "Mul")
      return {*number == 1 ? c.inputs[x] : mask_product(c.builder, c.inputs[x], *number)};
    if (c.op_type == "Sub") return {i == 1 ? scale(c, 0, 1, -*number) : scale(c, 1, -1, *number)};
    if (c.op_type == "Pow" && i == 1) {
      if (*number == 1) return {c.inputs[0]};
      return {c.builder.add1("PowScalar", {c.inputs[0]}, {{"alpha", *number}, {"beta", 0.0}})};
    }
  }
  if (c.op_type == "Pow") {  // the exponent may be of integers
    const Tensor* exponent = c.constant(1);
    if (exponent != nullptr && !is_float(exponent->dtype()))
      return {c.builder.add1(
          "Pow", {c.inputs[0],
                  c.builder.constant(from_doubles(to_doubles(*exponent), DType::kF32, exponent->shape()))})};
    return {c.builder.add1("Pow", {c.inputs[0], add_cast(c.builder, c.inputs[1], c.builder.storage())})};
  }
  if (c.op_type == "Add" || c.op_type == "Sub")
    return {c.builder.add1(c.op_type,
                           {mask_operand(c.builder, c.inputs[0]), mask_operand(c.builder, c.inputs[1])})};
  return {c.builder.add1(c.op_type, {c.inputs[0], c.inputs[1]})};
}

std::vector<ValueId> import_prelu(ImportContext& c) {
  check_attributes(c.attributes, {});
  if (broadcast(c.shape(0), c.shape(1)) != c.shape(0))
    throw input_error("the slope of shape {} does not broadcast to {}", to_string(c.shape(1)),
                      to_string(c.shape(0)));
  return {c.builder.add1("PRelu", {c.inputs[0], c.inputs[1]})};
}

// The same operator between all inputs, from the left.
ValueId joined(ImportContext& c, std::string_view op, const std::vector<ValueId>& inputs) {
  if (c.opset < 8)  // -6 does not broadcast
    for (size_t i = 1; i < inputs.size(); ++i)
      if (c.shape(i) != c.shape(0))
        throw input_error("inputs of opset {} must have one shape, got {} and {}", c.opset,
                          to_string(c.shape(0)), to_string(c.shape(i)));
  ValueId y = inputs[0];
  for (size_t i = 1; i < inputs.size(); ++i) y = c.builder.add1(op, {y, inputs[i]});
  return y;
}
std::vector<ValueId> import_sum(ImportContext& c) {
  if (!is_float(c.builder.type(c.inputs[0]).dtype)) return import_whole_binary(c);
  check_attributes(c.attributes, {});
  return {joined(c, "Add", c.inputs)};
}
std::vector<ValueId> import_mean(ImportContext& c) {
  check_attributes(c.attributes, {});
  const double share = 1.0 / static_cast<double>(c.inputs.size());
  if (share == 1) return {c.inputs[0]};
  std::vector<ValueId> scaled;
  for (const ValueId x : c.inputs)
    scaled.push_back(c.builder.add1("Scale", {x}, {{"alpha", share}, {"beta", 0.0}}));
  return {joined(c, "Add", scaled)};
}
std::vector<ValueId> import_extreme(ImportContext& c) {
  if (!is_float(c.builder.type(c.inputs[0]).dtype)) return import_whole_binary(c);
  check_attributes(c.attributes, {});
  return {joined(c, c.op_type, c.inputs)};
}
std::vector<ValueId> import_mod(ImportContext& c) {
  if (!is_float(c.builder.type(c.inputs[0]).dtype)) return import_whole_binary(c);
  check_attributes(c.attributes, {"fmod"});
  Builder& b = c.builder;
  const ValueId rest = b.add1("Fmod", {c.inputs[0], c.inputs[1]});
  if (c.attributes.int_or("fmod", 0) != 0) return {rest};
  // With the sign of the divisor: where the rest has the other one, the divisor is added. The selection
  // multiplies by nothing that may be infinite.
  const ValueId same = b.add1("Mul", {b.add1("Sign", {rest}), b.add1("Sign", {c.inputs[1]})});
  const ValueId negative = b.add1("Neg", {c.inputs[1]});
  const ValueId added = b.add1("Sub", {b.add1("PRelu", {same, negative}), b.add1("Relu", {same})});
  return {b.add1("Add", {rest, added})};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family = [] {
    const auto def = [](std::string_view name, Gradient rule) {
      return OpDef(name, infer, prepare, rule, Alias::kMayShare, Permute::kElementwise);
    };
    OpFamily f;
    f.ops = {def("Add", GradientRule{gradient_add}),
             def("Sub", GradientRule{gradient_sub}),
             def("Mul", GradientRule{gradient_mul}),
             def("Div", GradientRule{gradient_div}),
             def("Pow", GradientRule{gradient_pow}),
             def("PRelu", GradientRule{gradient_prelu}),
             def("PReluSlope", NoGradient{"second derivatives are not computed"}),
             def("Min", GradientRule{gradient_extreme}),
             def("Max", GradientRule{gradient_extreme}),
             def("MinShare", NoGradient{"second derivatives are not computed"}),
             def("MaxShare", NoGradient{"second derivatives are not computed"}),
             def("Fmod", GradientRule{gradient_fmod}),
             def("EqualMask", NoGradient{"second derivatives are not computed"}),
             def("DivOrZero", NoGradient{"second derivatives are not computed"})};
    f.onnx = {{.op_type = "Add",
               .since = 7,
               .until = 24,
               .import = import,
               .fold = fold_binary,
               .required_inputs = 2},
              {.op_type = "Sub",
               .since = 7,
               .until = 24,
               .import = import,
               .fold = fold_binary,
               .required_inputs = 2},
              {.op_type = "Mul",
               .since = 7,
               .until = 24,
               .import = import,
               .fold = fold_binary,
               .required_inputs = 2},
              {.op_type = "Div",
               .since = 7,
               .until = 24,
               .import = import,
               .fold = fold_binary,
               .required_inputs = 2},
              {.op_type = "Pow",
               .since = 7,
               .until = 24,
               .import = import,
               .fold = fold_binary,
               .required_inputs = 2},
              {.op_type = "PRelu", .since = 7, .until = 24, .import = import_prelu, .required_inputs = 2},
              {.op_type = "Mod",
               .since = 10,
               .until = 24,
               .import = import_mod,
               .fold = fold_binary,
               .required_inputs = 2},
              {.op_type = "Sum",
               .since = 6,
               .until = 24,
               .import = import_sum,
               .fold = fold_binary,
               .required_inputs = OnnxOp::kEveryInput},
              {.op_type = "Mean",
               .since = 6,
               .until = 24,
               .import = import_mean,
               .required_inputs = OnnxOp::kEveryInput},
              {.op_type = "Min",
               .since = 6,
               .until = 24,
               .import = import_extreme,
               .fold = fold_binary,
               .required_inputs = OnnxOp::kEveryInput},
              {.op_type = "Max",
               .since = 6,
               .until = 24,
               .import = import_extreme,
               .fold = fold_binary,
               .required_inputs = OnnxOp::kEveryInput}};
    return f;
  }();
  return family;
}

}  // namespace halftone::ops::binary
