// Integers and booleans that depend on the samples: arithmetic, logic, comparison, and sums over axes.
//
// formula  WholeBinary: a + b, a - b, a * b, a / b (toward zero), Mod (with b's sign), Fmod (with a's), a ^
//          b, min, max, and, or, xor; WholeUnary: -x, |x|, sign x, not x; Compare: a == b, a < b, a <= b;
//          Classify: whether x is a NaN, +inf or -inf; WholeReduce: the sum, product, least or largest over
//          axes
// gradient none: they are steps
// shapes   element-wise with multidirectional broadcasting; WholeReduce as ReduceSum
// dtypes   int64 int32 uint8 (also bool); Compare: floats too; Classify: floats
// rounds   never
// saves    none
// scratch  WholeReduce: what each axis leaves
// alias    none: what a fault's message reads must be there after it
// errors   types that differ; not a whole type. While it runs: a result that the type cannot hold, a division
//          by zero
// source   ONNX Add/Sub/Mul/Div-7/13/14, Mod-10/13, Pow-7/12/13/15, Min/Max-8/12/13, Sum-8/13, And/Or/Xor-7,
//          Not-1, Neg-6/13, Abs-6/13, Sign-9/13, Equal-7/11/13/19, Greater/Less-7/9/13,
//          GreaterOrEqual/LessOrEqual-12/16, IsNaN-9/13/20, IsInf-10/20, Clip-12/13, ReduceSum-1/11/13,
//          ReduceProd/ReduceMin/ReduceMax-1/11/12/13/18/20
// tests    tests/ops/whole_test.cpp
#include "ops/whole.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "kern/index.h"
#include "ops/broadcast_loop.h"
#include "ops/fold.h"
#include "ops/fold_pointwise.h"
#include "ops/lines.h"
#include "ops/mask.h"
#include "ops/op.h"
#include "ops/reduction.h"

namespace halftone::ops {
namespace whole {
namespace {

constexpr NoGradient kStep{"integers and booleans have no gradient"};

// ---------------------------------------------------------------- two operands
struct BinaryRow {
  std::string_view name;
  kern::IntegerBinary op;
};
constexpr BinaryRow kBinary[] = {{"Add", kern::IntegerBinary::kAdd}, {"Sub", kern::IntegerBinary::kSub},
                                 {"Mul", kern::IntegerBinary::kMul}, {"Div", kern::IntegerBinary::kDiv},
                                 {"Mod", kern::IntegerBinary::kMod}, {"Fmod", kern::IntegerBinary::kFmod},
                                 {"Pow", kern::IntegerBinary::kPow}, {"Min", kern::IntegerBinary::kMin},
                                 {"Max", kern::IntegerBinary::kMax}, {"And", kern::IntegerBinary::kAnd},
                                 {"Or", kern::IntegerBinary::kOr},   {"Xor", kern::IntegerBinary::kXor}};

const BinaryRow& binary_row(const Attributes& attributes) {
  const std::string name = attributes.string_or("op", "");
  for (const BinaryRow& row : kBinary)
    if (row.name == name) return row;
  HT_ASSERT(false, "{} is no function of two integers", name);
  return kBinary[0];
}

bool is_logic(std::string_view op) {
  return op == "And" || op == "Or" || op == "Xor" || op == "Not";
}

Type common_type(const InferContext& c, std::string_view op) {
  const Type& a = c.input(0);
  const Type& b = c.input(1);
  if (is_logic(op) && (a.dtype != DType::kU8 || b.dtype != DType::kU8))
    throw input_error("booleans were expected, got {} and {}", name_of(a.dtype), name_of(b.dtype));
  if (a.dtype != b.dtype)
    throw input_error("the operands have different types: {} and {}", name_of(a.dtype), name_of(b.dtype));
  return {a.dtype, broadcast(a.shape, b.shape)};
}

std::vector<Type> infer_binary(const InferContext& c) {
  const BinaryRow& row = binary_row(c.attributes());
  const Type type = common_type(c, row.name);
  if (is_float(type.dtype)) throw input_error("integers were expected, got {}", name_of(type.dtype));
  return {type};
}

Prepared prepare_binary(const PrepareContext& c) {
  const Type y = c.output(0);
  if (elements(y.shape) == 0) return {0, [](const RunContext&) {}};
  const Type a = c.input(0);
  const Type b = c.input(1);
  const BinaryRow& row = binary_row(c.attributes());
  const BroadcastLoop loop(y.shape, {a.shape, b.shape});
  const int64_t width = size_bytes(y.dtype);
  Prepared out{0, [loop, width, op = row.op, dtype = y.dtype,
                   binary = c.kernels.index->integer_binary](const RunContext& r) {
                 FirstFault fault;
                 loop.run(r.pool, [&](const BroadcastLoop::Part& p) {
                   fault.note(binary({op, dtype, at(r.in[0], p.first[0] * width), loop.row_stride(0),
                                      loop.col_stride(0), at(r.in[1], p.first[1] * width), loop.row_stride(1),
                                      loop.col_stride(1), at(r.out[0], p.out * width), p.rows, p.cols}),
                              p.out);
                 });
                 fault.report(r.step);
               }};
  out.explain = [y, a, b, name = std::string(row.name)](const RunContext& r, int64_t i) {
    const int64_t x = whole_at(r.in[0], y.dtype, operand_element(y.shape, a.shape, i));
    const int64_t z = whole_at(r.in[1], y.dtype, operand_element(y.shape, b.shape, i));
    const bool divides = name == "Div" || name == "Mod" || name == "Fmod";
    return fmt::format("{} of {} and {}, element {} of {}, {}", name, x, z, place_of(y.shape, i),
                       to_string(y.shape),
                       divides && z == 0        ? std::string("is a division by zero")
                       : name == "Pow" && z < 0 ? std::string("has a negative exponent")
                                                : fmt::format("does not fit {}", name_of(y.dtype)));
  };
  return out;
}

// ---------------------------------------------------------------- comparison
kern::Compare compare_of(const Attributes& attributes) {
  const std::string name = attributes.string_or("op", "");
  if (name == "Less") return kern::Compare::kLess;
  if (name == "LessOrEqual") return kern::Compare::kLessOrEqual;
  HT_ASSERT(name == "Equal", "{} is no comparison", name);
  return kern::Compare::kEqual;
}

std::vector<Type> infer_compare(const InferContext& c) {
  return {{DType::kU8, common_type(c, "Compare").shape}};
}

Prepared prepare_compare(const PrepareContext& c) {
  const Shape& y = c.output(0).shape;
  if (elements(y) == 0) return {0, [](const RunContext&) {}};
  const BroadcastLoop loop(y, {c.input(0).shape, c.input(1).shape});
  const DType dtype = c.input(0).dtype;
  const int64_t width = size_bytes(dtype);
  return {0, [=, op = compare_of(c.attributes()), compare = c.kernels.index->compare](const RunContext& r) {
            loop.run(r.pool, [&](const BroadcastLoop::Part& p) {
              compare({op, dtype, at(r.in[0], p.first[0] * width), loop.row_stride(0), loop.col_stride(0),
                       at(r.in[1], p.first[1] * width), loop.row_stride(1), loop.col_stride(1),
                       static_cast<uint8_t*>(r.out[0]) + p.out, p.rows, p.cols});
            });
          }};
}

// ---------------------------------------------------------------- one operand
kern::IntegerUnary unary_of(const Attributes& attributes) {
  const std::string name = attributes.string_or("op", "");
  if (name == "Neg") return kern::IntegerUnary::kNeg;
  if (name == "Abs") return kern::IntegerUnary::kAbs;
  if (name == "Sign") return kern::IntegerUnary::kSign;
  HT_ASSERT(name == "Not", "{} is no function of an integer", name);
  return kern::IntegerUnary::kNot;
}

std::vector<Type> infer_unary(const InferContext& c) {
  const Type& x = c.input(0);
  const bool logic = unary_of(c.attributes()) == kern::IntegerUnary::kNot;
  if (is_float(x.dtype) || (logic && x.dtype != DType::kU8))
    throw input_error("{} were expected, got {}", logic ? "booleans" : "integers", name_of(x.dtype));
  return {x};
}

Prepared prepare_unary(const PrepareContext& c) {
  const Type x = c.input(0);
  const int64_t n = elements(x.shape);
  const int64_t width = size_bytes(x.dtype);
  Prepared out{
      0, [=, op = unary_of(c.attributes()), unary = c.kernels.index->integer_unary](const RunContext& r) {
        FirstFault fault;
        for_chunks(r.pool, element_chunks(n), [&](int64_t first, int64_t count) {
          fault.note(unary({op, x.dtype, at(r.in[0], first * width), at(r.out[0], first * width), count}),
                     first);
        });
        fault.report(r.step);
      }};
  out.explain = [x, name = c.attributes().string_or("op", "")](const RunContext& r, int64_t i) {
    return fmt::format("{} of {}, element {} of {}, does not fit {}", name, whole_at(r.in[0], x.dtype, i),
                       place_of(x.shape, i), to_string(x.shape), name_of(x.dtype));
  };
  return out;
}

std::vector<Type> infer_classify(const InferContext& c) {
  const Type& x = c.input(0);
  if (!is_float(x.dtype)) throw input_error("a float tensor was expected, got {}", name_of(x.dtype));
  return {{DType::kU8, x.shape}};
}

Prepared prepare_classify(const PrepareContext& c) {
  const Type x = c.input(0);
  const int64_t n = elements(x.shape);
  const int64_t width = size_bytes(x.dtype);
  const bool nan = c.attributes().int_at("nan") != 0;
  const bool plus = c.attributes().int_at("plus_infinity") != 0;
  const bool minus = c.attributes().int_at("minus_infinity") != 0;
  return {0, [=, dtype = x.dtype, classify = c.kernels.index->classify](const RunContext& r) {
            for_chunks(r.pool, element_chunks(n), [&](int64_t first, int64_t count) {
              classify({dtype, at(r.in[0], first * width), static_cast<uint8_t*>(r.out[0]) + first, count,
                        nan, plus, minus});
            });
          }};
}

// ---------------------------------------------------------------- over axes
kern::IntegerReduce reduce_of(const Attributes& attributes) {
  const std::string name = attributes.string_or("op", "");
  if (name == "ReduceSum") return kern::IntegerReduce::kSum;
  if (name == "ReduceProd") return kern::IntegerReduce::kProd;
  if (name == "ReduceMin") return kern::IntegerReduce::kMin;
  HT_ASSERT(name == "ReduceMax", "{} is no sum of integers", name);
  return kern::IntegerReduce::kMax;
}

// One axis: x[outer][length][inner] -> y[outer][1][inner].
std::vector<Type> infer_reduce(const InferContext& c) {
  Type y = c.input(0);
  const auto axis = static_cast<size_t>(c.attributes().int_at("axis"));
  HT_ASSERT(axis < y.shape.size());
  if (is_float(y.dtype)) throw input_error("integers were expected, got {}", name_of(y.dtype));
  if (y.shape[axis] == 0) throw input_error("axis {} of {} has no elements", axis, to_string(y.shape));
  y.shape[axis] = 1;
  return {y};
}

Prepared prepare_reduce(const PrepareContext& c) {
  const Type x = c.input(0);
  const Type y = c.output(0);
  const auto axis = static_cast<size_t>(c.attributes().int_at("axis"));
  const Lines l = lines_of(x.shape, axis);
  const int64_t width = size_bytes(x.dtype);
  Prepared out{
      0, [=, op = reduce_of(c.attributes()), reduce = c.kernels.index->integer_reduce](const RunContext& r) {
        FirstFault fault;
        for_chunks(r.pool, row_chunks(l.outer, l.length * l.inner), [&](int64_t first, int64_t count) {
          for (int64_t o = first; o < first + count; ++o)
            fault.note(reduce({op, x.dtype, at(r.in[0], o * l.length * l.inner * width),
                               at(r.out[0], o * l.inner * width), l.length, l.inner, l.inner}),
                       o * l.inner);
        });
        fault.report(r.step);
      }};
  out.explain = [y, name = c.attributes().string_or("op", "")](const RunContext&, int64_t i) {
    return fmt::format("{}: element {} of {} does not fit {}", name, place_of(y.shape, i), to_string(y.shape),
                       name_of(y.dtype));
  };
  return out;
}

// ---------------------------------------------------------------- from ONNX
std::vector<ValueId> import_logic(ImportContext& c) {
  check_attributes(c.attributes, {});
  return c.op_type == "Not" ? import_whole_unary(c) : import_whole_binary(c);
}

std::vector<ValueId> import_compare(ImportContext& c) {
  check_attributes(c.attributes, {});
  std::string op = c.op_type;
  ValueId a = c.inputs[0];
  ValueId b = c.inputs[1];
  if (op == "Greater" || op == "GreaterOrEqual") {
    std::swap(a, b);
    op = op == "Greater" ? "Less" : "LessOrEqual";
  }
  if (op == "Equal") {  // with what masks are made of
    a = mask_operand(c.builder, a);
    b = mask_operand(c.builder, b);
  }
  return {add_compare(c.builder, op, a, b)};
}

std::vector<ValueId> import_is_nan(ImportContext& c) {
  const bool nan = c.op_type == "IsNaN";
  if (nan) {
    check_attributes(c.attributes, {});
  } else {
    check_attributes(c.attributes, {"detect_negative", "detect_positive"});
  }
  const int64_t plus = !nan && c.attributes.int_or("detect_positive", 1) != 0 ? 1 : 0;
  const int64_t minus = !nan && c.attributes.int_or("detect_negative", 1) != 0 ? 1 : 0;
  return {c.builder.add1("Classify", {c.inputs[0]},
                         {{"nan", int64_t{nan}}, {"plus_infinity", plus}, {"minus_infinity", minus}})};
}

std::vector<Tensor> fold_is_inf(const FoldContext& c) {
  check_attributes(c.attributes, {"detect_negative", "detect_positive"});
  const Tensor& x = *c.inputs[0];
  if (!is_float(x.dtype())) throw input_error("IsInf of integers is not defined");
  const bool plus = c.attributes.int_or("detect_positive", 1) != 0;
  const bool minus = c.attributes.int_or("detect_negative", 1) != 0;
  std::vector<int64_t> y;
  for (const double v : to_doubles(x)) y.push_back(std::isinf(v) && (v > 0 ? plus : minus) ? 1 : 0);
  return one(from_int64s(y, DType::kU8, x.shape()));
}

}  // namespace
}  // namespace whole

std::vector<ValueId> import_whole_binary(ImportContext& c) {
  bool fmod = false;
  if (c.op_type == "Mod") {
    check_attributes(c.attributes, {"fmod"});
    fmod = c.attributes.int_or("fmod", 0) != 0;
  } else {
    check_attributes(c.attributes, {});
  }
  const std::string op = c.op_type == "Sum" ? "Add" : fmod ? "Fmod" : c.op_type;
  ValueId y = c.inputs[0];
  for (size_t i = 1; i < c.inputs.size(); ++i) y = add_whole_binary(c.builder, op, y, c.inputs[i]);
  return {y};
}

std::vector<ValueId> import_whole_unary(ImportContext& c) {
  check_attributes(c.attributes, {});
  return {c.builder.add1("WholeUnary", {c.inputs[0]}, {{"op", c.op_type}})};
}

std::vector<ValueId> import_whole_clip(ImportContext& c) {
  if (c.opset < 12)
    throw input_error("Clip-{} is of floats, got {}", c.opset, name_of(c.builder.type(c.inputs[0]).dtype));
  check_attributes(c.attributes, {});
  ValueId y = c.inputs[0];
  for (size_t i = 1; i < 3; ++i) {
    if (!c.has(i)) continue;
    if (elements(c.shape(i)) != 1)
      throw input_error("{} must be one number, got {}", i == 1 ? "min" : "max", to_string(c.shape(i)));
    y = add_whole_binary(c.builder, i == 1 ? "Max" : "Min", y, c.builder.reshape(c.inputs[i], {}));
  }
  return {y};
}

std::vector<ValueId> import_whole_reduce(ImportContext& c) {
  const std::string& op = c.op_type;
  if (op != "ReduceSum" && op != "ReduceProd" && op != "ReduceMin" && op != "ReduceMax")
    throw input_error("a float tensor was expected, got {}", name_of(c.builder.type(c.inputs[0]).dtype));
  const OnnxReduction reduction = onnx_reduction(c);
  const Shape x = c.shape(0);
  const std::vector<int64_t>& axes = reduction.axes;
  ValueId y = c.inputs[0];
  for (const int64_t axis : axes) y = c.builder.add1("WholeReduce", {y}, {{"op", c.op_type}, {"axis", axis}});
  if (reduction.keepdims) return {y};
  Shape left;
  for (size_t i = 0; i < x.size(); ++i)
    if (std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) == axes.end()) left.push_back(x[i]);
  return {c.builder.reshape(y, left)};
}

ValueId add_whole_binary(Builder& b, const std::string& op, ValueId x, ValueId y) {
  return b.add1("WholeBinary", {x, y}, {{"op", op}});
}

ValueId add_compare(Builder& b, const std::string& op, ValueId x, ValueId y) {
  return b.add1("Compare", {x, y}, {{"op", op}});
}

int64_t whole_at(const void* data, DType dtype, int64_t i) {
  if (dtype == DType::kI64) return static_cast<const int64_t*>(data)[i];
  if (dtype == DType::kI32) return static_cast<const int32_t*>(data)[i];
  return static_cast<const uint8_t*>(data)[i];
}

std::string place_of(const Shape& shape, int64_t i) {
  std::string text;
  for (size_t axis = shape.size(); axis-- > 0;) {
    text = fmt::format("{}{}{}", i % shape[axis], text.empty() ? "" : ", ", text);
    i /= shape[axis];
  }
  return "[" + text + "]";
}

namespace whole {

const OpFamily& family() {
  static const OpFamily family = [] {
    const auto def = [](std::string_view name, Infer infer, Prepare prepare) {
      return OpDef(name, infer, prepare, kStep, Alias::kFresh, Permute::kElementwise);
    };
    OpFamily f;
    f.ops = {def("WholeBinary", infer_binary, prepare_binary), def("WholeUnary", infer_unary, prepare_unary),
             def("Compare", infer_compare, prepare_compare),
             def("Classify", infer_classify, prepare_classify),
             OpDef("WholeReduce", infer_reduce, prepare_reduce, kStep)};
    for (const char* name : {"Equal", "Greater", "Less"})
      f.onnx.push_back({.op_type = name,
                        .since = 7,
                        .until = 24,
                        .import = import_compare,
                        .fold = fold_binary,
                        .required_inputs = 2});
    for (const char* name : {"GreaterOrEqual", "LessOrEqual"})
      f.onnx.push_back({.op_type = name,
                        .since = 12,
                        .until = 24,
                        .import = import_compare,
                        .fold = fold_binary,
                        .required_inputs = 2});
    for (const char* name : {"And", "Or", "Xor"})
      f.onnx.push_back({.op_type = name,
                        .since = 7,
                        .until = 24,
                        .import = import_logic,
                        .fold = fold_binary,
                        .required_inputs = 2});
    f.onnx.push_back({.op_type = "Not", .since = 1, .until = 24, .import = import_logic, .fold = fold_unary});
    f.onnx.push_back(
        {.op_type = "IsNaN", .since = 9, .until = 24, .import = import_is_nan, .fold = fold_pointwise});
    f.onnx.push_back(
        {.op_type = "IsInf", .since = 10, .until = 24, .import = import_is_nan, .fold = fold_is_inf});
    return f;
  }();
  return family;
}

}  // namespace whole

}  // namespace halftone::ops
