// NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss as nodes of a network or of a loss graph, composed of
// others. (The loss that --loss cross-entropy trains is loss.cpp's.)
//
// formula  l[n, d] = -w[t[n, d]] * p[n, t[n, d], d], 0 where t is ignore_index; p is the input, or its
//          LogSoftmax over axis 1. none: l; sum: their sum; mean: their sum by the sum of the weights that
//          counted (1 each without a weight)
// gradient that of the nodes: to the input and the weight
// shapes   x[N, C, D...], t[N, D...], w[C] -> l[N, D...] or one number; log_prob[N, C, D...]
// dtypes   fp16 bf16 fp32; fp64 in the oracle; t int32 or int64
// rounds   LogSoftmax, the weighted values, the sums, the quotient. Where it counts, in a loss graph, all of
//          it is fp32
// saves    the operands of the nodes
// scratch  of the nodes
// alias    none
// errors   shapes that don't fit; an unknown reduction; while it runs: a class outside [0, C) that is not
//          ignore_index
// source   ONNX NegativeLogLikelihoodLoss-12/13/22, SoftmaxCrossEntropyLoss-12/13. A mean of which nothing
//          counts is 0 / 0, as there
// tests    tests/ops/class_loss_test.cpp
#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/rows.h"
#include "ops/whole.h"
#include "tensor/permutation.h"

namespace halftone::ops::class_loss {
namespace {

// With axis 1 at the end: all others joined to rows.
struct Classes {
  int64_t rows = 1;
  int64_t count = 0;
};

Classes classes_of(const ImportContext& c) {
  const Shape x = c.shape(0);
  if (x.size() < 2) throw input_error("the input is {}, expected [N, C, ...]", to_string(x));
  Shape expected = x;
  expected.erase(expected.begin() + 1);
  if (c.shape(1) != expected)
    throw input_error("the classes are {}, expected {} for an input {}", to_string(c.shape(1)),
                      to_string(expected), to_string(x));
  const DType dtype = c.builder.type(c.inputs[1]).dtype;
  if (dtype != DType::kI32 && dtype != DType::kI64)
    throw input_error("the classes must be int32 or int64, got {}", name_of(dtype));
  if (c.has(2) && c.shape(2) != Shape{x[1]})
    throw input_error("the weights are {}, expected one for each of {} classes", to_string(c.shape(2)), x[1]);
  return {elements(expected), x[1]};
}

ValueId whole_number(Builder& b, int64_t value, DType dtype) {
  return b.constant(from_int64s({value}, dtype, {}));
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"ignore_index", "reduction"});
  const std::string reduction = c.attributes.string_or("reduction", "mean");
  if (reduction != "mean" && reduction != "sum" && reduction != "none")
    throw input_error("reduction is '{}', expected mean, sum or none", reduction);
  Builder& b = c.builder;
  const Classes k = classes_of(c);
  const std::vector<int64_t> last = channels_last(c.shape(0).size());
  ValueId x = b.transpose(c.inputs[0], last);
  if (c.op_type == "SoftmaxCrossEntropyLoss") x = b.add1("LogSoftmax", {x});

  const DType dtype = b.type(c.inputs[1]).dtype;
  const bool ignores = c.attributes.has("ignore_index");
  const auto classes = [&](ValueId id) { return only_from_front(b, id, k.count, "classes"); };
  ValueId t = b.reshape(ignores ? c.inputs[1] : classes(c.inputs[1]), {k.rows});
  ValueId counts = kNone;  // booleans
  if (ignores) {
    const ValueId ignored =
        add_compare(b, "Equal", t, whole_number(b, c.attributes.int_at("ignore_index"), dtype));
    counts = add_compare(b, "Equal", ignored, whole_number(b, 0, DType::kU8));
    t = classes(b.add1("Where", {counts, t, whole_number(b, 0, dtype)}));
  }
  const std::string what =
      fmt::format("the classes of [0, {}), for which {} stands where they are negative,", k.count, k.count);

  const RowPlan plan = plan_elements({k.rows, k.count}, {k.rows, 1}, 1);
  const ValueId places = add_row_indices(b, plan, b.reshape(t, {k.rows, 1}), what);
  const ValueId picked = add_gather_rows(b, plan, b.reshape(x, {k.rows, k.count}), places);
  ValueId loss = b.add1("Scale", {b.reshape(picked, {k.rows})}, {{"alpha", -1.0}, {"beta", 0.0}});
  const ValueId zero = b.scalar(0);
  ValueId weights = kNone;
  if (c.has(2)) {
    const RowPlan of_weights = plan_gather({k.count}, {k.rows}, 0);
    weights = add_gather_rows(b, of_weights, c.inputs[2], add_row_indices(b, of_weights, t, what));
    loss = b.add1("Mul", {loss, weights});
  }
  if (ignores) {
    loss = b.add1("Where", {counts, loss, zero});
    if (reduction == "mean")
      weights = b.add1("Where", {counts, weights != kNone ? weights : b.scalar(1), zero});
  }
  const auto total = [&](ValueId id) {
    return b.add1("ReduceSum", {id}, {{"axes", std::vector<int64_t>{0}}, {"keepdims", int64_t{0}}});
  };
  if (reduction == "none") {
    loss = b.reshape(loss, c.shape(1));
  } else if (reduction == "sum") {
    loss = total(loss);
  } else if (weights == kNone) {
    loss = b.add1("ReduceMean", {loss}, {{"axes", std::vector<int64_t>{0}}, {"keepdims", int64_t{0}}});
  } else {
    loss = b.add1("Div", {total(loss), total(weights)});
  }
  if (c.output_count < 2) return {loss};
  if (c.op_type != "SoftmaxCrossEntropyLoss")
    throw input_error("it has {} outputs, expected 1", c.output_count);
  return {loss, b.transpose(x, inverse(last))};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {},
      {{.op_type = "NegativeLogLikelihoodLoss",
        .since = 12,
        .until = 24,
        .import = import,
        .required_inputs = 2},
       {.op_type = "SoftmaxCrossEntropyLoss",
        .since = 12,
        .until = 24,
        .import = import,
        .required_inputs = 2}},
  };
  return family;
}

}  // namespace halftone::ops::class_loss
