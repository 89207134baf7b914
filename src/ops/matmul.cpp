// MatMul: products of matrices; ONNX's MatMul and Gemm.
//
// formula  y[..,m,n] = alpha * sum over k of a'[..,m,k] * b'[..,k,n], + bias[n]; a' is a, or its transpose
//          with trans_a; b' likewise
// shapes   a[..,M,K] (trans_a: [..,K,M]), b[..,K,N] (trans_b: [..,N,K]), bias[N] (optional) -> y[..,M,N];
//          batch dimensions broadcast
// dtypes   fp16 bf16 fp32; double in the reference
// rounds   once, when y is stored. wide: one chain of fma in fp32 over k, then * alpha, then + bias. block: a
//          has a scale for each row and run of 128 of k, b one for each column and run of 128 of k; a run is
//          summed exactly; half: the same runs, in two fp16 sums each (kern/matrix.h has every detail)
// saves    a and b, for the gradient
// scratch  packed b, and some rows of a for each thread
// alias    none
// errors   ranks below 2 or more than 6 batch dimensions; inner dimensions or batch dimensions that don't
//          fit; a dimension of 0
// source   ONNX MatMul-1/9/13, Gemm-7/9/11/13
// tests    tests/ops/matmul_test.cpp
#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/product.h"

namespace halftone::ops::matmul {
namespace {

using kern::MatMulGeometry;

struct Sizes {
  bool trans_a, trans_b;
  int64_t m, k, n;
  Shape a_batch, b_batch, batch;
};

Sizes sizes_of(const Attributes& attributes, const Shape& a, const Shape& b) {
  if (a.size() < 2 || b.size() < 2)
    throw input_error("operands need at least 2 dimensions, got {} and {}", to_string(a), to_string(b));
  for (const Shape* s : {&a, &b})
    for (const int64_t d : *s)
      if (d < 1) throw input_error("a dimension of {} is less than 1", to_string(*s));
  Sizes s;
  s.trans_a = attributes.int_or("trans_a", 0) != 0;
  s.trans_b = attributes.int_or("trans_b", 0) != 0;
  const int64_t* const a2 = a.data() + a.size() - 2;
  const int64_t* const b2 = b.data() + b.size() - 2;
  s.m = a2[s.trans_a ? 1 : 0];
  s.k = a2[s.trans_a ? 0 : 1];
  s.n = b2[s.trans_b ? 0 : 1];
  const int64_t b_k = b2[s.trans_b ? 1 : 0];
  if (b_k != s.k)
    throw input_error("cannot multiply {}{} by {}{}: inner dimensions are {} and {}", to_string(a),
                      s.trans_a ? " (transposed)" : "", to_string(b), s.trans_b ? " (transposed)" : "", s.k,
                      b_k);
  s.a_batch.assign(a.begin(), a.end() - 2);
  s.b_batch.assign(b.begin(), b.end() - 2);
  s.batch = broadcast(s.a_batch, s.b_batch);
  if (s.batch.size() > MatMulGeometry::kMaxBatchRank)
    throw input_error("{} batch dimensions are more than {}", s.batch.size(), MatMulGeometry::kMaxBatchRank);
  return s;
}

std::vector<Type> infer(const InferContext& c) {
  check_operands(c);
  const Sizes s = sizes_of(c.attributes(), c.input(0).shape, c.input(1).shape);
  if (c.has(2) && c.input(2).shape != Shape{s.n})
    throw input_error("bias has shape {}, expected {}", to_string(c.input(2).shape), s.n);
  Shape y = s.batch;
  y.push_back(s.m);
  y.push_back(s.n);
  return {{c.input(0).dtype, y}};
}

// Strides in matrices of an operand's batch dimensions under the common ones; 0 where it is broadcast.
void batch_strides(const Shape& own, const Shape& batch, int64_t* strides) {
  const size_t lead = batch.size() - own.size();
  int64_t stride = 1;
  for (size_t d = batch.size(); d-- > 0;) {
    const int64_t size = d < lead ? 1 : own[d - lead];
    strides[d] = size == 1 ? 0 : stride;
    stride *= size;
  }
}

Prepared prepare(const PrepareContext& c) {
  Sizes s = sizes_of(c.attributes(), c.input(0).shape, c.input(1).shape);
  // One b for all of a's matrices: their rows are rows of one product.
  if (!s.trans_a && elements(s.b_batch) == 1) {
    s.m *= elements(s.a_batch);
    s.a_batch = s.b_batch = s.batch = {};
  }
  MatMulGeometry g{};
  g.m = s.m;
  g.k = s.k;
  g.n = s.n;
  g.trans_a = s.trans_a;
  g.trans_b = s.trans_b;
  g.alpha = static_cast<float>(c.attributes().float_or("alpha", 1));
  g.batch_rank = static_cast<int>(s.batch.size());
  for (size_t d = 0; d < s.batch.size(); ++d) g.batch[d] = s.batch[d];
  batch_strides(s.a_batch, s.batch, g.a_stride);
  batch_strides(s.b_batch, s.batch, g.b_stride);
  return prepare_product(c, matmul_product(c.output(0).dtype, c.multiply, c.has(2), g),
                         {0, 1, c.has(2) ? 2 : -1});
}

ValueId multiply(Builder& b, ValueId x, ValueId y, bool trans_x, bool trans_y, double alpha) {
  return b.add1("MatMul", {x, y},
                {{"trans_a", int64_t{trans_x}}, {"trans_b", int64_t{trans_y}}, {"alpha", alpha}});
}

std::vector<ValueId> gradient(GradientContext& c) {
  Builder& b = c.builder;
  const bool trans_a = c.node.attributes.int_or("trans_a", 0) != 0;
  const bool trans_b = c.node.attributes.int_or("trans_b", 0) != 0;
  const double alpha = c.node.attributes.float_or("alpha", 1);
  const ValueId dy = c.dy[0];
  std::vector<ValueId> d(c.node.inputs.size(), kNone);
  // y = a' b': da' = dy b'^T and db' = a'^T dy; a stored transpose takes the transposed equation. db' first:
  // a is often read here for the last time, and its memory is free for da' then.
  if (c.needs[1]) {
    const Shape& b_shape = b.shape(c.x(1));
    ValueId x = c.x(0);
    ValueId g = dy;
    if (b_shape.size() == 2 && !trans_a) {
      // All rows of all of a's matrices are terms of one sum: no gradient for each batch entry, summed
      // afterwards.
      x = b.reshape(x, {elements(b.shape(x)) / b.shape(x).back(), b.shape(x).back()});
      g = b.reshape(g, {elements(b.shape(g)) / b.shape(g).back(), b.shape(g).back()});
    }
    const ValueId db =
        trans_b ? multiply(b, g, x, true, trans_a, alpha) : multiply(b, x, g, !trans_a, false, alpha);
    d[1] = b.sum_to(db, b_shape);
  }
  if (c.has(2) && c.needs[2]) d[2] = b.sum_to(dy, b.shape(c.x(2)));
  if (c.needs[0]) {
    const ValueId da = trans_a ? multiply(b, c.x(1), dy, trans_b, true, alpha)
                               : multiply(b, dy, c.x(1), false, !trans_b, alpha);
    d[0] = b.sum_to(da, b.shape(c.x(0)));
  }
  return d;
}

// ---------------------------------------------------------------- from ONNX

// A vector on the left is a row, on the right a column, and its dimension disappears from the result.
std::vector<ValueId> import_matmul(ImportContext& c) {
  check_attributes(c.attributes, {});
  Builder& b = c.builder;
  const Shape a_shape = c.shape(0);
  const Shape b_shape = c.shape(1);
  if (a_shape.empty() || b_shape.empty())
    throw input_error("MatMul of {} and {}: scalars are not matrices", to_string(a_shape),
                      to_string(b_shape));
  ValueId x = c.inputs[0];
  ValueId w = c.inputs[1];
  if (a_shape.size() == 1) x = b.reshape(x, {1, a_shape[0]});
  if (b_shape.size() == 1) w = b.reshape(w, {b_shape[0], 1});
  const ValueId y = b.add1("MatMul", {x, w});
  Shape shape = b.shape(y);
  if (b_shape.size() == 1) shape.pop_back();
  if (a_shape.size() == 1) shape.erase(shape.end() - (b_shape.size() == 1 ? 1 : 2));
  return {b.reshape(y, shape)};
}

std::vector<ValueId> import_gemm(ImportContext& c) {
  check_attributes(c.attributes, {"alpha", "beta", "transA", "transB"});
  Builder& b = c.builder;
  if (c.shape(0).size() != 2 || c.shape(1).size() != 2)
    throw input_error("Gemm needs matrices, got {} and {}", to_string(c.shape(0)), to_string(c.shape(1)));
  const double beta = c.attributes.float_or("beta", 1);
  const Attributes attributes{{"trans_a", c.attributes.int_or("transA", 0)},
                              {"trans_b", c.attributes.int_or("transB", 0)},
                              {"alpha", c.attributes.float_or("alpha", 1)}};
  const Sizes s = sizes_of(attributes, c.shape(0), c.shape(1));
  if (!c.has(2) || beta == 0) return {b.add1("MatMul", {c.inputs[0], c.inputs[1]}, attributes)};
  const Shape bias = c.shape(2);
  if (bias.size() > 2 || broadcast(bias, {s.m, s.n}) != Shape{s.m, s.n})
    throw input_error("C {} does not broadcast to {}", to_string(bias), to_string(Shape{s.m, s.n}));
  if (beta == 1 && (bias == Shape{s.n} || bias == Shape{1, s.n}))
    return {b.add1("MatMul", {c.inputs[0], c.inputs[1], b.reshape(c.inputs[2], {s.n})}, attributes)};
  const ValueId product = b.add1("MatMul", {c.inputs[0], c.inputs[1]}, attributes);
  const ValueId scaled = beta == 1 ? c.inputs[2] : b.add1("Mul", {c.inputs[2], b.scalar(beta)});
  return {b.add1("Add", {product, scaled})};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("MatMul", infer, prepare, GradientRule{gradient})},
      {
          {.op_type = "Gemm", .since = 7, .until = 24, .import = import_gemm, .required_inputs = 2},
          {.op_type = "MatMul", .since = 1, .until = 24, .import = import_matmul, .required_inputs = 2},
      },
  };
  return family;
}

}  // namespace halftone::ops::matmul
