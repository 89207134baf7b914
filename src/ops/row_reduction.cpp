// Reductions of rows beyond sums and means: ONNX's axes are moved to the end and joined when importing.
//
// formula  over the last axis: ReduceMax, ReduceMin; ReduceProd; ReduceL1 sum |x|; ReduceL2 sqrt(sum x^2);
//          ReduceSumSquare sum x^2; ReduceLogSum log(sum x); ReduceLogSumExp m + log(sum exp(x - m)), m the
//          maximum
// gradient ReduceMax, ReduceMin: equal shares for all elements that are the largest, as PyTorch's amax and
// amin.
//          ReduceProd: dy times the product of the others, zeros included. ReduceL1: dy sign(x). ReduceL2: dy
//          x / y, 0 where y is 0, as PyTorch's norm. ReduceSumSquare: 2 dy x. ReduceLogSum: dy exp(-y).
//          ReduceLogSumExp: dy exp(x - y)
// shapes   x[..., N] -> y[...]; TieShare(x, y, dy) -> share[...]; ProductShares(x, dy) -> share of elements
//          that are not 0 (to be divided by the element), share of the only one that is 0
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   once, when y is stored: squares, sums, exp, log and the root stay in fp32 registers. Rows of more
//          than 32768 elements in pieces of 16384, whose results are reduced in order
// saves    x and y
// scratch  a number a row in the register type, and one a piece
// alias    none
// errors   axis outside [-rank, rank) or named twice; a maximum or minimum of no elements; not a float type
// source   ONNX ReduceMax/ReduceMin-1/11/12/13/18/20,
//          ReduceProd/ReduceL1/ReduceL2/ReduceSumSquare/ReduceLogSum/ ReduceLogSumExp-1/11/13/18
// tests    tests/ops/row_reduction_test.cpp
#include "base/error.h"
#include "kern/pointwise.h"
#include "kern/reduce.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/reduction.h"
#include "ops/whole.h"
#include "tensor/permutation.h"

namespace halftone::ops::row_reduction {
namespace {

using kern::Binary;
using kern::Reduce;
using kern::Unary;

struct Row {
  std::string_view name;
  Reduce first;   // of x
  Reduce pieces;  // of the results of a row's pieces
  bool root = false;
  bool log = false;
};
constexpr Row kRows[] = {
    {"ReduceMax", Reduce::kMax, Reduce::kMax},
    {"ReduceMin", Reduce::kMin, Reduce::kMin},
    {"ReduceProd", Reduce::kProduct, Reduce::kProduct},
    {"ReduceL1", Reduce::kSumAbs, Reduce::kSum},
    {"ReduceL2", Reduce::kSumSquares, Reduce::kSum, true, false},
    {"ReduceSumSquare", Reduce::kSumSquares, Reduce::kSum},
    {"ReduceLogSum", Reduce::kSum, Reduce::kSum, false, true},
    {"ReduceLogSumExp", Reduce::kLogSumExp, Reduce::kLogSumExp},
};

const Row& row_of(std::string_view name) {
  for (const Row& row : kRows)
    if (row.name == name) return row;
  HT_ASSERT(false, "{} is not a reduction of rows", name);
  return kRows[0];
}

std::vector<Type> infer(const InferContext& c) {
  const Type& x = c.input(0);
  if (!is_float(x.dtype)) throw input_error("a float tensor was expected, got {}", name_of(x.dtype));
  if (x.shape.empty()) throw input_error("a tensor of at least one axis was expected, got a scalar");
  const bool extreme = c.node.op == "ReduceMax" || c.node.op == "ReduceMin";
  if (extreme && x.shape.back() == 0)
    throw input_error("{} over no elements of {}", c.node.op, to_string(x.shape));
  return {{x.dtype, Shape(x.shape.begin(), x.shape.end() - 1)}};
}

constexpr int64_t kLongestRow = 2 * kChunkElements;

Prepared prepare(const PrepareContext& c) {
  const Row row = row_of(c.node.op);
  const Type& x = c.input(0);
  const DType dtype = x.dtype;
  const DType wide = register_type(dtype);
  const int64_t rows = elements(c.output(0).shape);
  const int64_t cols = x.shape.back();
  // The maximum of a whole row comes first in a log of a sum of exponentials: its rows are not cut.
  const bool cut = cols > kLongestRow && row.first != Reduce::kLogSumExp;
  const int64_t parts = cut ? ceil_div(cols, kChunkElements) : 1;
  const int64_t width = size_bytes(dtype);
  const int64_t wide_width = size_bytes(wide);
  const int64_t results = aligned_bytes(rows * wide_width);
  const int64_t scratch = results + (cut ? aligned_bytes(rows * parts * wide_width) : 0);
  return {scratch, [=, k = c.kernels](const RunContext& r) {
            std::byte* y = r.scratch;
            if (cut) {
              std::byte* pieces = r.scratch + results;
              run_chunks(r.pool, rows * parts, [&](int64_t chunk, int) {
                const int64_t first = chunk % parts * kChunkElements;
                k.reduce_rows({row.first, dtype, at(r.in[0], (chunk / parts * cols + first) * width), 1,
                               std::min(kChunkElements, cols - first), cols, at(pieces, chunk * wide_width)});
              });
              for_chunks(r.pool, row_chunks(rows, parts), [&](int64_t first, int64_t count) {
                k.reduce_rows({row.pieces, wide, at(pieces, first * parts * wide_width), count, parts, parts,
                               at(y, first * wide_width)});
              });
            } else {
              for_chunks(r.pool, row_chunks(rows, cols), [&](int64_t first, int64_t count) {
                k.reduce_rows({row.first, dtype, at(r.in[0], first * cols * width), count, cols, cols,
                               at(y, first * wide_width)});
              });
            }
            for_chunks(r.pool, element_chunks(rows), [&](int64_t first, int64_t count) {
              std::byte* p = at(y, first * wide_width);
              if (row.root) k.unary({Unary::kSqrt, wide, p, p, count, 0, 0});
              if (row.log) k.unary({Unary::kLog, wide, p, p, count, 0, 0});
              k.convert({wide, p, dtype, at(r.out[0], first * width), count, 1.0});
            });
          }};
}

// ---------------------------------------------------------------- gradients

// TieShare(x, y, dy): dy / how many elements of the row equal y
std::vector<Type> infer_tie_share(const InferContext& c) {
  return {c.input(2)};
}
Prepared prepare_tie_share(const PrepareContext& c) {
  const DType dtype = c.input(0).dtype;
  const DType wide = register_type(dtype);
  const int64_t rows = elements(c.output(0).shape);
  const int64_t cols = c.input(0).shape.back();
  const int64_t width = size_bytes(dtype);
  const int64_t wide_width = size_bytes(wide);
  const int64_t area = aligned_bytes(rows * wide_width);
  return {2 * area, [=, k = c.kernels](const RunContext& r) {
            for_chunks(r.pool, row_chunks(rows, cols), [&](int64_t first, int64_t count) {
              std::byte* ties = r.scratch + first * wide_width;
              std::byte* dy = r.scratch + area + first * wide_width;
              k.reduce_rows({Reduce::kCountEqual, dtype, at(r.in[0], first * cols * width), count, cols, cols,
                             ties, at(r.in[1], first * width)});
              k.convert({dtype, at(r.in[2], first * width), wide, dy, count, 1.0});
              // None is equal where y is NaN.
              k.binary({Binary::kDivOrZero, wide, dy, 0, 1, ties, 0, 1, dy, 1, count});
              k.convert({wide, dy, dtype, at(r.out[0], first * width), count, 1.0});
            });
          }};
}

// ProductShares(x, dy): dy times the product; dy times the product of the others where one element is 0
std::vector<Type> infer_product_shares(const InferContext& c) {
  return {c.input(1), c.input(1)};
}
Prepared prepare_product_shares(const PrepareContext& c) {
  const DType dtype = c.input(0).dtype;
  const DType wide = register_type(dtype);
  const int64_t rows = elements(c.output(0).shape);
  const int64_t cols = c.input(0).shape.back();
  const int64_t width = size_bytes(dtype);
  const int64_t wide_width = size_bytes(wide);
  const int64_t area = aligned_bytes(rows * wide_width);
  return {2 * area, [=, k = c.kernels](const RunContext& r) {
            for_chunks(r.pool, row_chunks(rows, cols), [&](int64_t first, int64_t count) {
              std::byte* product = r.scratch + first * wide_width;
              std::byte* dy = r.scratch + area + first * wide_width;
              k.convert({dtype, at(r.in[1], first * width), wide, dy, count, 1.0});
              for (int i = 0; i < 2; ++i) {
                if (r.out[i] == nullptr) continue;
                k.reduce_rows({i == 0 ? Reduce::kProduct : Reduce::kOneZeroProduct, dtype,
                               at(r.in[0], first * cols * width), count, cols, cols, product});
                k.binary({Binary::kMul, wide, product, 0, 1, dy, 0, 1, product, 1, count});
                k.convert({wide, product, dtype, at(r.out[i], first * width), count, 1.0});
              }
            });
          }};
}

std::vector<ValueId> gradient(GradientContext& c) {
  Builder& b = c.builder;
  const std::string& op = c.node.op;
  const ValueId x = c.x(0);
  const ValueId y = c.y(0);
  const ValueId dy = c.dy[0];
  const auto column = [&](ValueId id) {
    Shape shape = b.shape(id);
    shape.push_back(1);
    return b.reshape(id, std::move(shape));
  };
  if (op == "ReduceMax" || op == "ReduceMin")
    return {b.add1("Mul", {b.add1("EqualMask", {x, column(y)}), column(b.add1("TieShare", {x, y, dy}))})};
  if (op == "ReduceProd") {
    const std::vector<ValueId> shares = b.add("ProductShares", {x, dy});
    const ValueId zeros = b.add1("EqualMask", {x, b.scalar(0)});
    const ValueId of_others = b.add1("Div", {column(shares[0]), b.add1("Add", {x, zeros})});
    return {b.add1("Add", {of_others, b.add1("Mul", {zeros, column(shares[1])})})};
  }
  if (op == "ReduceL1") return {b.add1("Mul", {b.add1("Sign", {x}), column(dy)})};
  // The unit vector first: dy / y leaves fp16's range where y is small.
  if (op == "ReduceL2") return {b.add1("Mul", {b.add1("DivOrZero", {x, column(y)}), column(dy)})};
  if (op == "ReduceSumSquare")
    return {b.add1("Mul", {x, column(b.add1("Scale", {dy}, {{"alpha", 2.0}, {"beta", 0.0}}))})};
  if (op == "ReduceLogSum")
    return {b.add1("Expand", {column(b.add1("Mul", {dy, b.add1("Exp", {b.add1("Neg", {y})})}))},
                   {{"shape", b.shape(x)}})};
  HT_ASSERT(op == "ReduceLogSumExp", "{} has no rule", op);
  return {b.add1("Mul", {b.add1("Exp", {b.add1("Sub", {x, column(y)})}), column(dy)})};
}

// ---------------------------------------------------------------- from ONNX

std::vector<ValueId> import(ImportContext& c) {
  if (!is_float(c.builder.type(c.inputs[0]).dtype)) return import_whole_reduce(c);
  const OnnxReduction reduction = onnx_reduction(c);
  // Over no axis the root, the square, the magnitude and the logarithm are taken all the same.
  const Reduce first = row_of(c.op_type).first;
  if (reduction.axes.empty() && (first == Reduce::kMax || first == Reduce::kMin || first == Reduce::kProduct))
    return {c.inputs[0]};
  Builder& b = c.builder;
  const Shape x = c.shape(0);
  const std::vector<int64_t> perm = axes_last(reduction.axes, x.size());
  Shape kept;
  Shape y;
  int64_t count = 1;
  for (size_t i = 0; i < x.size(); ++i) {
    const bool reduced =
        std::binary_search(reduction.axes.begin(), reduction.axes.end(), static_cast<int64_t>(i));
    if (reduced) {
      count *= x[i];
      if (reduction.keepdims) y.push_back(1);
    } else {
      kept.push_back(x[i]);
      y.push_back(x[i]);
    }
  }
  kept.push_back(count);
  const ValueId rows = b.reshape(b.transpose(c.inputs[0], perm), kept);
  return {b.reshape(b.add1(c.op_type, {rows}), y)};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family = [] {
    OpFamily f;
    for (const Row& row : kRows) {
      f.ops.emplace_back(row.name, infer, prepare, GradientRule{gradient});
      const bool folds = row.name == "ReduceMax" || row.name == "ReduceMin" || row.name == "ReduceProd";
      f.onnx.push_back({.op_type = row.name,
                        .since = 1,
                        .until = 24,
                        .import = import,
                        .fold = folds ? fold_reduce : nullptr});
    }
    f.ops.emplace_back("TieShare", infer_tie_share, prepare_tie_share,
                       NoGradient{"second derivatives are not computed"});
    f.ops.emplace_back("ProductShares", infer_product_shares, prepare_product_shares,
                       NoGradient{"second derivatives are not computed"});
    return f;
  }();
  return family;
}

}  // namespace halftone::ops::row_reduction
