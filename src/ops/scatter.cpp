// ScatterElements and ScatterND: a copy of a tensor with updates at places that indices name.
//
// formula  y = x, then y[place] = update, or y[place] + update, * update, min, max by `reduction`; several
//          updates of one place in their order, so that without a reduction the last one stays
// gradient none: dy without the places for x, dy at the places for updates (0 for those that a later one
// replaced); add: dy, and dy
//          at the places; the other reductions have none
// shapes   x[any], indices, updates -> y[as x]
// dtypes   x any, updates the same; indices int64 or int32
// rounds   once, when y is stored: sums in registers
// saves    the rows
// scratch  rows.cpp's
// alias    none
// errors   axis outside [-rank, rank); shapes or types that don't fit; an index outside its axis: when
//          loading, or while it runs
// source   ONNX ScatterElements-11/13/16/18, Scatter-9 (the same until 10), ScatterND-11/13/16/18
// tests    tests/ops/scatter_test.cpp
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/rows.h"

namespace halftone::ops::scatter {
namespace {

struct Update {
  RowPlan plan;
  std::string reduction;
};

Update update_of(const std::string& op, const Attributes& attributes, int opset, const Shape& x,
                 const Shape& indices, const Shape& updates) {
  Update u;
  const bool nd = op == "ScatterND";
  if (nd && opset < 16) {
    check_attributes(attributes, {});
  } else if (nd) {
    check_attributes(attributes, {"reduction"});
  } else if (opset < 16) {
    check_attributes(attributes, {"axis"});
  } else {
    check_attributes(attributes, {"axis", "reduction"});
  }
  u.plan = nd ? plan_nd(x, indices, 0) : plan_elements(x, indices, attributes.int_or("axis", 0));
  u.reduction = attributes.string_or("reduction", "none");
  if (updates != u.plan.shape)
    throw input_error("updates are {}, expected {}", to_string(updates), to_string(u.plan.shape));
  return u;
}

std::vector<ValueId> import(ImportContext& c) {
  const Update u = update_of(c.op_type, c.attributes, c.opset, c.shape(0), c.shape(1), c.shape(2));
  const ValueId rows = add_row_indices(c.builder, u.plan, c.inputs[1], "the tensor " + to_string(c.shape(0)));
  return {add_scatter_rows(c.builder, u.plan, c.inputs[0], c.inputs[2], rows, u.reduction)};
}

double combined(const std::string& reduction, double a, double b) {
  return reduction == "add"   ? a + b
         : reduction == "mul" ? a * b
         : reduction == "min" ? std::min(a, b)
                              : std::max(a, b);
}
int64_t combined(const std::string& reduction, int64_t a, int64_t b) {
  if (reduction == "min") return std::min(a, b);
  if (reduction == "max") return std::max(a, b);
  int64_t y = 0;
  if (reduction == "add" ? __builtin_add_overflow(a, b, &y) : __builtin_mul_overflow(a, b, &y))
    throw input_error("the reduction '{}' of integers overflows 64 bits", reduction);
  return y;
}

template <class T>
void update(const std::string& reduction, std::vector<T>& y, const std::vector<T>& updates,
            const std::vector<int64_t>& rows, int64_t run) {
  const auto n = static_cast<size_t>(run);
  for (size_t i = 0; i < updates.size(); ++i) {
    T& at = y[static_cast<size_t>(rows[i / n]) * n + i % n];
    at = combined(reduction, at, updates[i]);
  }
}

std::vector<Tensor> fold(const FoldContext& c) {
  const Tensor& x = *c.inputs[0];
  const Tensor& updates = *c.inputs[2];
  const Update u =
      update_of(c.op_type, c.attributes, c.opset, x.shape(), c.inputs[1]->shape(), updates.shape());
  if (updates.dtype() != x.dtype())
    throw input_error("updates are {}, expected {}", name_of(updates.dtype()), name_of(x.dtype()));
  const std::vector<int64_t> rows = known_rows(u.plan, *c.inputs[1]);
  if (u.reduction == "none") {
    Tensor y = x.clone();
    const int64_t run = u.plan.table.run * size_bytes(x.dtype());
    for (size_t i = 0; i < rows.size() && run > 0; ++i)
      std::memcpy(static_cast<std::byte*>(y.data()) + rows[i] * run,
                  static_cast<const std::byte*>(updates.data()) + static_cast<int64_t>(i) * run,
                  static_cast<size_t>(run));
    return one(std::move(y));
  }
  if (u.reduction != "add" && u.reduction != "mul" && u.reduction != "min" && u.reduction != "max")
    throw input_error("the reduction '{}' is not known", u.reduction);
  if (is_float(x.dtype())) {
    std::vector<double> y = to_doubles(x);
    update(u.reduction, y, to_doubles(updates), rows, u.plan.table.run);
    return one(from_doubles(y, x.dtype(), x.shape()));
  }
  std::vector<int64_t> y = to_int64s(x);
  update(u.reduction, y, to_int64s(updates), rows, u.plan.table.run);
  return one(from_int64s(y, x.dtype(), x.shape()));
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {},
      {{.op_type = "Scatter", .since = 9, .until = 10, .import = import, .fold = fold, .required_inputs = 3},
       {.op_type = "ScatterElements",
        .since = 11,
        .until = 24,
        .import = import,
        .fold = fold,
        .required_inputs = 3},
       {.op_type = "ScatterND",
        .since = 11,
        .until = 24,
        .import = import,
        .fold = fold,
        .required_inputs = 3}},
  };
  return family;
}

}  // namespace halftone::ops::scatter
