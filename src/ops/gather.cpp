// Gather, GatherElements and GatherND: rows of a table by indices.
//
// formula  Gather: y = x[:, indices, :] at the axis; GatherElements: y[i, j, k] = x[i, indices[i, j, k], k]
//          at the axis 1; GatherND: y[i, :] = x[indices[i, 0], indices[i, 1], ..., :]
// gradient sums of dy over the places that read the same element
// shapes   ONNX's
// dtypes   x any; indices int64 or int32, constant or not; negative ones count from the end
// rounds   never; the gradient once (rows.cpp)
// saves    the rows
// scratch  rows.cpp's
// alias    none
// errors   axis outside [-rank, rank); shapes that don't fit; an index outside its axis: when loading, or
//          while it runs
// source   ONNX Gather-1/11/13, GatherElements-11/13, GatherND-11/12/13. Constant indices at equal distances
//          are a Slice
// tests    tests/ops/gather_test.cpp
#include <cstring>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/rows.h"

namespace halftone::ops::gather {
namespace {

RowPlan plan_of(const std::string& op, const Attributes& attributes, int opset, const Shape& x,
                const Shape& indices) {
  if (op == "Gather") {
    check_attributes(attributes, {"axis"});
    return plan_gather(x, indices, attributes.int_or("axis", 0));
  }
  if (op == "GatherElements") {
    check_attributes(attributes, {"axis"});
    return plan_elements(x, indices, attributes.int_or("axis", 0));
  }
  if (opset < 12) {
    check_attributes(attributes, {});
  } else {
    check_attributes(attributes, {"batch_dims"});
  }
  return plan_nd(x, indices, attributes.int_or("batch_dims", 0));
}

// Gather by known rows at equal distances: class tokens, parts of heads, every second element.
std::optional<ValueId> as_slice(ImportContext& c, const RowPlan& plan, const std::vector<int64_t>& rows) {
  if (rows.empty()) return std::nullopt;
  const int64_t step = rows.size() == 1 ? 1 : rows[1] - rows[0];
  if (step == 0) return std::nullopt;
  for (size_t i = 1; i < rows.size(); ++i)
    if (rows[i] - rows[i - 1] != step) return std::nullopt;
  const Shape x = c.shape(0);
  const auto axis = static_cast<size_t>(plan.map.axes[0]);
  Shape starts(x.size(), 0);
  Shape sizes = x;
  Shape steps(x.size(), 1);
  starts[axis] = rows[0];
  sizes[axis] = static_cast<int64_t>(rows.size());
  steps[axis] = step;
  ValueId y = c.inputs[0];
  if (sizes != x || step != 1)
    y = c.builder.add1("Slice", {y}, {{"starts", starts}, {"sizes", sizes}, {"steps", steps}});
  return c.builder.reshape(y, plan.shape);
}

std::vector<ValueId> import(ImportContext& c) {
  const RowPlan plan = plan_of(c.op_type, c.attributes, c.opset, c.shape(0), c.shape(1));
  if (c.op_type == "Gather")
    if (const Tensor* indices = c.constant(1))
      if (const auto slice = as_slice(c, plan, known_rows(plan, *indices))) return {*slice};
  const ir::Value& x = c.builder.graph().value(c.inputs[0]);
  const std::string table =
      x.name.empty() ? to_string(x.type.shape) : fmt::format("'{}' ({})", x.name, to_string(x.type.shape));
  const ValueId rows = add_row_indices(c.builder, plan, c.inputs[1], table);
  return {add_gather_rows(c.builder, plan, c.inputs[0], rows)};
}

std::vector<Tensor> fold(const FoldContext& c) {
  const Tensor& x = *c.inputs[0];
  const RowPlan plan = plan_of(c.op_type, c.attributes, c.opset, x.shape(), c.inputs[1]->shape());
  std::vector<Tensor> out;
  out.push_back(folded(x.dtype(), plan.shape));  // the size limit, before anything of that size is made
  const std::vector<int64_t> rows = known_rows(plan, *c.inputs[1]);
  const int64_t run = plan.table.run * size_bytes(x.dtype());
  auto* target = static_cast<std::byte*>(out[0].data());
  for (int64_t o = 0; o < plan.table.outer && run > 0; ++o)
    for (const int64_t row : rows) {
      std::memcpy(target, static_cast<const std::byte*>(x.data()) + (o * plan.table.rows + row) * run,
                  static_cast<size_t>(run));
      target += run;
    }
  return out;
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {},
      {{.op_type = "Gather", .since = 1, .until = 24, .import = import, .fold = fold, .required_inputs = 2},
       {.op_type = "GatherElements",
        .since = 11,
        .until = 24,
        .import = import,
        .fold = fold,
        .required_inputs = 2},
       {.op_type = "GatherND",
        .since = 11,
        .until = 24,
        .import = import,
        .fold = fold,
        .required_inputs = 2}},
  };
  return family;
}

}  // namespace halftone::ops::gather
