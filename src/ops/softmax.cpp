// formula  y = exp(x - max x) / sum exp(x - max x), LogSoftmax: x - max x - log sum exp(x - max x), along the
//          last axis; Hardmax: 1 where the first of the largest elements is, 0 elsewhere
// gradient Hardmax: 0, it changes in steps only. SoftmaxGrad: dx = y (dy - sum dy y); of the logarithm dx =
// dy - exp(y) sum dy
// shapes   x[..., N] -> y[..., N]; another axis of ONNX's node is transposed to the end and back
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   once, when y is stored; maximum, exp and sum in fp32 registers
// saves    y, for the gradient
// scratch  none; Hardmax: each row's index in the register type, and its y
// alias    y may share memory with x; dx with y or dy
// errors   axis outside [-rank, rank); Hardmax of more than 2^24 elements
// source   ONNX Softmax-13, LogSoftmax-13, Hardmax-13; their -1 and -11 flatten to two dimensions first
// tests    tests/ops/softmax_test.cpp
#include <memory>
#include <numeric>

#include "base/error.h"
#include "kern/pointwise.h"
#include "kern/reduce.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/op.h"

namespace halftone::ops::softmax {
namespace {

// Columns are counted in the register type: fp32 has all whole numbers up to here.
constexpr int64_t kMostHardmaxColumns = int64_t{1} << 24;

std::vector<Type> infer(const InferContext& c) {
  const Type& x = c.input(0);
  if (!is_float(x.dtype)) throw input_error("a float tensor was expected, got {}", name_of(x.dtype));
  if (x.shape.empty() || x.shape.back() == 0)
    throw input_error("a softmax over no elements ({})", to_string(x.shape));
  if (c.node.op == "Hardmax" && x.shape.back() > kMostHardmaxColumns)
    throw input_error("Hardmax over {} elements ({}): more than {} are not supported", x.shape.back(),
                      to_string(x.shape), kMostHardmaxColumns);
  return {x};
}

struct Rows {
  int64_t rows, cols, per_chunk, row_bytes;
};
Rows rows_of(const Type& type) {
  const int64_t cols = type.shape.back();
  return {elements(type.shape) / cols, cols, std::max<int64_t>(1, kChunkElements / cols),
          cols * size_bytes(type.dtype)};
}

Prepared prepare(const PrepareContext& c) {
  const Rows p = rows_of(c.output(0));
  return {0, [p, softmax = c.kernels.softmax, dtype = c.output(0).dtype,
              log = c.node.op == "LogSoftmax"](const RunContext& r) {
            for_chunks(r.pool, {p.rows, p.per_chunk}, [&](int64_t first, int64_t count) {
              softmax({dtype, at(r.in[0], first * p.row_bytes), at(r.out[0], first * p.row_bytes), count,
                       p.cols, log});
            });
          }};
}

std::vector<ValueId> gradient(GradientContext& c) {
  return {c.builder.add1("SoftmaxGrad", {c.dy[0], c.y(0)}, {{"log", int64_t{c.node.op == "LogSoftmax"}}})};
}

// SoftmaxGrad(dy, y) -> dx
std::vector<Type> infer_grad(const InferContext& c) {
  return {c.input(0)};
}

Prepared prepare_grad(const PrepareContext& c) {
  const Rows p = rows_of(c.output(0));
  return {0, [p, grad = c.kernels.softmax_grad, dtype = c.output(0).dtype,
              log = c.attributes().int_at("log") != 0](const RunContext& r) {
            for_chunks(r.pool, {p.rows, p.per_chunk}, [&](int64_t first, int64_t count) {
              grad({dtype, at(r.in[1], first * p.row_bytes), at(r.in[0], first * p.row_bytes),
                    at(r.out[0], first * p.row_bytes), count, p.cols, log});
            });
          }};
}

// The index of the largest element, compared with those of all columns.
Prepared prepare_hardmax(const PrepareContext& c) {
  const Rows p = rows_of(c.output(0));
  const DType dtype = c.output(0).dtype;
  const DType wide = register_type(dtype);
  const int64_t width = size_bytes(wide);
  std::vector<double> columns(static_cast<size_t>(p.cols));
  std::iota(columns.begin(), columns.end(), 0.0);
  const auto numbers = std::make_shared<const Tensor>(from_doubles(columns, wide, {p.cols}));
  const int64_t area = aligned_bytes(p.rows * width);
  return {area + p.rows * p.cols * width, [=, k = c.kernels](const RunContext& r) {
            for_chunks(r.pool, {p.rows, p.per_chunk}, [&](int64_t first, int64_t count) {
              std::byte* largest = r.scratch + first * width;
              std::byte* y = r.scratch + area + first * p.cols * width;
              k.reduce_rows({kern::Reduce::kFirstMax, dtype, at(r.in[0], first * p.row_bytes), count, p.cols,
                             p.cols, largest});
              k.binary({kern::Binary::kEqual, wide, numbers->data(), 0, 1, largest, 1, 0, y, count, p.cols});
              k.convert({wide, y, dtype, at(r.out[0], first * p.row_bytes), count * p.cols, 1.0});
            });
          }};
}
std::vector<ValueId> gradient_hardmax(GradientContext&) {
  return {kNone};
}

Permuted permute(const ir::Graph&, const ir::Node& node, const std::vector<int64_t>& perm) {
  return {perm.back() + 1 == static_cast<int64_t>(perm.size()), node.attributes, perm};
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"axis"});
  Builder& b = c.builder;
  const Shape x = c.shape(0);
  const auto rank = static_cast<int64_t>(x.size());
  if (c.opset < 13) {
    const int64_t axis = c.attributes.int_or("axis", 1);
    // 1 of a vector is its end: each element alone, as ONNX's flattening says.
    const auto split = x.begin() + (axis == rank ? rank : normalize_axis(axis, rank));
    const Shape flat{elements(Shape(x.begin(), split)), elements(Shape(split, x.end()))};
    return {b.reshape(b.add1(c.op_type, {b.reshape(c.inputs[0], flat)}), x)};
  }
  const int64_t axis = normalize_axis(c.attributes.int_or("axis", -1), rank);
  std::vector<int64_t> swap(x.size());
  std::iota(swap.begin(), swap.end(), 0);
  std::swap(swap[static_cast<size_t>(axis)], swap.back());
  return {b.transpose(b.add1(c.op_type, {b.transpose(c.inputs[0], swap)}), swap)};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("Softmax", infer, prepare, GradientRule{gradient}, Alias::kMayShare, Permute::kAxes, permute),
       OpDef("LogSoftmax", infer, prepare, GradientRule{gradient}, Alias::kMayShare, Permute::kAxes, permute),
       OpDef("SoftmaxGrad", infer_grad, prepare_grad, NoGradient{"second derivatives are not computed"},
             Alias::kMayShare),
       OpDef("Hardmax", infer, prepare_hardmax, GradientRule{gradient_hardmax}, Alias::kFresh, Permute::kAxes,
             permute)},
      {{.op_type = "Softmax", .since = 1, .until = 24, .import = import},
       {.op_type = "LogSoftmax", .since = 1, .until = 24, .import = import},
       {.op_type = "Hardmax", .since = 1, .until = 24, .import = import}},
  };
  return family;
}

}  // namespace halftone::ops::softmax
