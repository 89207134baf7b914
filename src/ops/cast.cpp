// formula  y = x in another type
// gradient none to or from integers and booleans; between floats y is x
// shapes   x[any] -> y[same]
// dtypes   any. Between floats it means nothing in the graph, for all floats have the storage type
// rounds   once; whole numbers to floats by way of fp32; floats to whole numbers are cut toward zero. What
//          lies below int64's or int32's range, -infinity too, becomes their least number, as in ONNX Runtime
// saves    none
// scratch  none
// alias    between floats y is x, else none: what a fault's message reads must be there after it
// errors   CastLike of a uint8, which may be a boolean; when loading or while it runs: a number above an
//          integer type's range, a NaN, a whole number that does not fit
// source   ONNX Cast-1/6/9/13/19/21/23 (saturate concerns 8-bit floats only), CastLike-15/19/21/23
// tests    tests/ops/cast_test.cpp
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "kern/index.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/whole.h"

namespace halftone::ops {
namespace cast {
namespace {

// ONNX TensorProto.DataType.
struct OnnxType {
  int64_t code;
  std::string_view name;
  bool supported;
  DType dtype;
  bool is_bool;
};
constexpr OnnxType kTypes[] = {
    {1, "float", true, DType::kF32, false},   {2, "uint8", true, DType::kU8, false},
    {6, "int32", true, DType::kI32, false},   {7, "int64", true, DType::kI64, false},
    {9, "bool", true, DType::kU8, true},      {10, "float16", true, DType::kF16, false},
    {11, "double", true, DType::kF64, false}, {16, "bfloat16", true, DType::kBf16, false},
    {3, "int8", false, DType::kU8, false},    {5, "int16", false, DType::kU8, false},
    {12, "uint32", false, DType::kU8, false}, {13, "uint64", false, DType::kU8, false},
    {8, "string", false, DType::kU8, false}};

const OnnxType& type_of(int64_t code, std::string_view what = "a cast to") {
  for (const OnnxType& type : kTypes) {
    if (type.code != code) continue;
    if (!type.supported) throw input_error("{} {} is not supported", what, type.name);
    return type;
  }
  throw input_error("{} ONNX's data type {} is not supported", what, code);
}

// IR attributes: to (a DType), boolean (to uint8 only: 0 or 1).
DType target(const Attributes& attributes) {
  return static_cast<DType>(attributes.int_at("to"));
}

std::vector<Type> infer(const InferContext& c) {
  const DType to = target(c.attributes());
  HT_ASSERT(!is_float(c.input(0).dtype) || !is_float(to), "{} to {}", name_of(c.input(0).dtype), name_of(to));
  return {{to, c.input(0).shape}};
}

Prepared prepare(const PrepareContext& c) {
  const Type x = c.input(0);
  const DType to = c.output(0).dtype;
  const bool boolean = c.attributes().int_at("boolean") != 0;
  const int64_t n = elements(x.shape);
  Prepared out{0, [=, cast = c.kernels.index->cast](const RunContext& r) {
                 FirstFault fault;
                 for_chunks(r.pool, element_chunks(n), [&](int64_t first, int64_t count) {
                   fault.note(cast({x.dtype, at(r.in[0], first * size_bytes(x.dtype)), to, boolean,
                                    at(r.out[0], first * size_bytes(to)), count}),
                              first);
                 });
                 fault.report(r.step);
               }};
  out.explain = [x, to](const RunContext& r, int64_t i) {
    std::string number;
    if (is_float(x.dtype)) {
      Tensor one(x.dtype, {1});
      std::memcpy(one.data(), at(r.in[0], i * size_bytes(x.dtype)), static_cast<size_t>(one.bytes()));
      number = fmt::format("{}", to_doubles(one)[0]);
    } else {
      number = fmt::format("{}", whole_at(r.in[0], x.dtype, i));
    }
    return fmt::format("{}, element {} of {}, cannot be cast to {}", number, place_of(x.shape, i),
                       to_string(x.shape), name_of(to));
  };
  return out;
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"to", "saturate", "round_mode"});
  const OnnxType& to = type_of(c.attributes.int_at("to"));
  return {add_cast(c.builder, c.inputs[0], to.dtype, to.is_bool)};
}

std::vector<ValueId> import_like(ImportContext& c) {
  check_attributes(c.attributes, {"saturate", "round_mode"});
  const DType to = c.builder.type(c.inputs[1]).dtype;
  if (to == DType::kU8 && c.builder.type(c.inputs[0]).dtype != DType::kU8)
    throw input_error(
        "a cast like a tensor of booleans or uint8 is not supported in the network; use Cast, which says "
        "which");
  return {add_cast(c.builder, c.inputs[0], to)};
}

Tensor cast(const Tensor& x, DType to, bool to_bool) {
  if (to_bool) {
    std::vector<int64_t> values;
    for (const double v : to_doubles(x)) values.push_back(v != 0 ? 1 : 0);
    return from_int64s(values, DType::kU8, x.shape());
  }
  if (is_float(to))
    return is_float(x.dtype()) ? converted(x, to) : from_doubles(to_doubles(x), to, x.shape());
  if (!is_float(x.dtype())) return from_int64s(to_int64s(x), to, x.shape());
  std::vector<int64_t> values;
  const double least = to == DType::kI64 ? -0x1p63 : to == DType::kI32 ? -0x1p31 : 0;
  for (const double v : to_doubles(x)) {
    if (!(v < 0x1p63) || (to == DType::kU8 && v <= -1))
      throw input_error("{} cannot be cast to {}", v, name_of(to));
    values.push_back(static_cast<int64_t>(v < least ? least : v));
  }
  return from_int64s(values, to, x.shape());
}

std::vector<Tensor> fold(const FoldContext& c) {
  check_attributes(c.attributes, {"to", "saturate", "round_mode"});
  const OnnxType& to = type_of(c.attributes.int_at("to"));
  std::vector<Tensor> out;
  out.push_back(cast(*c.inputs[0], to.dtype, to.is_bool));
  return out;
}

std::vector<Tensor> fold_like(const FoldContext& c) {
  check_attributes(c.attributes, {"saturate", "round_mode"});
  std::vector<Tensor> out;
  out.push_back(cast(*c.inputs[0], c.inputs[1]->dtype(), false));
  return out;
}

}  // namespace
}  // namespace cast

DType dtype_of_onnx(int64_t code) {
  return cast::type_of(code, "a tensor of").dtype;
}

ValueId add_cast(Builder& b, ValueId x, DType to, bool boolean) {
  const DType from = b.type(x).dtype;
  if (is_float(to)) to = is_float(from) ? from : b.storage();
  if (from == to && !boolean) return x;
  return b.add1("Cast", {x}, {{"to", static_cast<int64_t>(to)}, {"boolean", int64_t{boolean}}});
}

namespace cast {

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("Cast", infer, prepare, NoGradient{"integers and booleans have no gradient"}, Alias::kFresh,
             Permute::kElementwise)},
      {{.op_type = "Cast", .since = 1, .until = 24, .import = import, .fold = fold},
       {.op_type = "CastLike",
        .since = 15,
        .until = 24,
        .import = import_like,
        .fold = fold_like,
        .required_inputs = 2}}};
  return family;
}

}  // namespace cast

}  // namespace halftone::ops
