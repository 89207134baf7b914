#include "ops/fold_pointwise.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "ops/fold.h"

namespace halftone::ops {
namespace {

double value_of(const std::string& op, double x) {
  if (op == "Relu") return x > 0 || std::isnan(x) ? x : 0;
  if (op == "Sigmoid") return 1 / (1 + std::exp(-x));
  if (op == "Tanh") return std::tanh(x);
  if (op == "Softplus") return std::log1p(std::exp(-std::fabs(x))) + std::fmax(x, 0.0);
  if (op == "Erf") return std::erf(x);
  if (op == "Sin") return std::sin(x);
  if (op == "Cos") return std::cos(x);
  throw input_error("{} of constants is not computed when loading", op);
}

}  // namespace

std::vector<Tensor> fold_clip(const FoldContext& c) {
  const Tensor& x = *c.inputs[0];
  const bool by_input = c.opset >= 11;
  if (by_input) {
    check_attributes(c.attributes, {});
  } else {
    check_attributes(c.attributes, {"min", "max"});
  }
  const auto bound = [&](size_t i) -> const Tensor* {
    if (!by_input || i >= c.inputs.size() || c.inputs[i] == nullptr) return nullptr;
    if (c.inputs[i]->size() != 1 || c.inputs[i]->dtype() != x.dtype())
      throw input_error("{} must be one number of the type {}, got {} {}", i == 1 ? "min" : "max",
                        name_of(x.dtype()), name_of(c.inputs[i]->dtype()), to_string(c.inputs[i]->shape()));
    return c.inputs[i];
  };
  const Tensor* low = bound(1);
  const Tensor* high = bound(2);
  if (is_float(x.dtype())) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    const double min = low != nullptr ? to_doubles(*low)[0]
                       : by_input     ? -kInfinity
                                      : c.attributes.float_or("min", -kInfinity);
    const double max = high != nullptr ? to_doubles(*high)[0]
                       : by_input      ? kInfinity
                                       : c.attributes.float_or("max", kInfinity);
    std::vector<double> values = to_doubles(x);
    for (double& v : values) v = v < min ? min : v;
    for (double& v : values) v = v > max ? max : v;  // max wins where min is above it, as ONNX defines
    return one(from_doubles(values, x.dtype(), x.shape()));
  }
  std::vector<int64_t> values = to_int64s(x);
  if (low != nullptr)
    for (int64_t& v : values) v = std::max(v, to_int64s(*low)[0]);
  if (high != nullptr)
    for (int64_t& v : values) v = std::min(v, to_int64s(*high)[0]);
  return one(from_int64s(values, x.dtype(), x.shape()));
}

std::vector<Tensor> fold_pointwise(const FoldContext& c) {
  check_attributes(c.attributes, {});
  const Tensor& x = *c.inputs[0];
  if (!is_float(x.dtype())) {
    if (c.op_type != "Relu") throw input_error("{} of integers is not defined", c.op_type);
    std::vector<int64_t> values = to_int64s(x);
    for (int64_t& v : values) v = std::max<int64_t>(v, 0);
    return one(from_int64s(values, x.dtype(), x.shape()));
  }
  std::vector<double> values = to_doubles(x);
  if (c.op_type == "IsNaN") {
    std::vector<int64_t> whole;
    for (const double v : values) whole.push_back(std::isnan(v) ? 1 : 0);
    return one(from_int64s(whole, DType::kU8, x.shape()));
  }
  for (double& v : values) v = value_of(c.op_type, v);
  return one(from_doubles(values, x.dtype(), x.shape()));
}

std::vector<Tensor> fold_bits(const FoldContext& c) {
  const bool shift = c.op_type == "BitShift";
  const std::string direction = c.attributes.string_or("direction", "");
  if (shift) {
    check_attributes(c.attributes, {"direction"});
    if (direction != "LEFT" && direction != "RIGHT")
      throw input_error("direction is '{}', expected 'LEFT' or 'RIGHT'", direction);
  } else {
    check_attributes(c.attributes, {});
  }
  const DType dtype = c.inputs[0]->dtype();
  if (is_float(dtype) || (shift && dtype != DType::kU8))
    throw input_error("{} of {} is not defined", c.op_type, name_of(dtype));
  std::vector<int64_t> a = to_int64s(*c.inputs[0]);
  if (c.op_type == "BitwiseNot") {
    for (int64_t& v : a) v = dtype == DType::kU8 ? 255 - v : ~v;
    return one(from_int64s(a, dtype, c.inputs[0]->shape()));
  }
  if (c.inputs[1]->dtype() != dtype)
    throw input_error("inputs have different types: {} and {}", name_of(dtype),
                      name_of(c.inputs[1]->dtype()));
  const Shape shape = broadcast(c.inputs[0]->shape(), c.inputs[1]->shape());
  a = to_int64s(expanded(*c.inputs[0], shape));
  const std::vector<int64_t> b = to_int64s(expanded(*c.inputs[1], shape));
  for (size_t i = 0; i < a.size(); ++i) {
    if (c.op_type == "BitwiseAnd") a[i] &= b[i];
    if (c.op_type == "BitwiseOr") a[i] |= b[i];
    if (c.op_type == "BitwiseXor") a[i] ^= b[i];
    if (shift) a[i] = b[i] > 7 ? 0 : direction == "LEFT" ? a[i] << b[i] & 255 : a[i] >> b[i];
  }
  return one(from_int64s(a, dtype, shape));
}

std::vector<Tensor> fold_trilu(const FoldContext& c) {
  check_attributes(c.attributes, {"upper"});
  const Tensor& x = *c.inputs[0];
  if (x.shape().size() < 2) throw input_error("a matrix was expected, got {}", to_string(x.shape()));
  const bool upper = c.attributes.int_or("upper", 1) != 0;
  int64_t k = 0;
  if (c.inputs.size() > 1 && c.inputs[1] != nullptr) {
    const std::vector<int64_t> given = fold_ints(c, 1);
    if (given.size() != 1) throw input_error("k must be one number, got {}", given.size());
    k = given[0];
  }
  const int64_t rows = x.shape()[x.shape().size() - 2];
  const int64_t cols = x.shape().back();
  Tensor y = x.clone();
  const int64_t width = size_bytes(x.dtype());
  auto* bytes = static_cast<std::byte*>(y.data());
  for (int64_t i = 0; i < y.size(); ++i) {
    const int64_t row = i / cols % rows;
    const int64_t diagonal = i % cols - row;  // within [-rows, cols], so it never overflows
    if (upper ? diagonal < k : diagonal > k) std::memset(bytes + i * width, 0, static_cast<size_t>(width));
  }
  return one(std::move(y));
}

}  // namespace halftone::ops
