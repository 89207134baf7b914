// Rows of a table by indices, which Gather, scatter and their relatives share: a tensor seen as
// [outer][rows][run], of which indices name rows. The indices are resolved once (negative ones count from the
// end, all are checked) into int32 row numbers; forward and gradient read or write by those.
#pragma once

#include "ops/op.h"

namespace halftone::ops {

// How indices name rows. A slot is a row read or written; it has one index (or several, GatherND's).
struct RowMap {
  std::vector<int64_t> sizes;    // for each index of a slot: the size of the axis,
  std::vector<int64_t> strides;  // rows from one to the next
  std::vector<int64_t> axes;     // and which axis of the tensor it is (messages)
  Shape slots;                   // their shape,
  Shape base;                    // and what each of its axes adds to the row by itself
};

struct Table {
  int64_t outer = 1;
  int64_t rows = 1;
  int64_t run = 1;
};

// For x, and indices of a shape: Gather along an axis, GatherElements (and ScatterElements) along an axis,
// GatherND (and ScatterND) with batch_dims. Error where shapes don't fit.
struct RowPlan {
  Table table;
  RowMap map;
  Shape shape;  // of what is gathered, or of the updates
};
RowPlan plan_gather(const Shape& x, const Shape& indices, int64_t axis);
RowPlan plan_elements(const Shape& x, const Shape& indices, int64_t axis);
RowPlan plan_nd(const Shape& x, const Shape& indices, int64_t batch_dims);

// The rows that known indices name. Error naming the first index outside its axis.
std::vector<int64_t> known_rows(const RowPlan& plan, const Tensor& indices);
// The rows as a value, int32: a constant for a constant, else a node. `x`: the table's name, for messages.
ValueId add_row_indices(Builder& b, const RowPlan& plan, ValueId indices, const std::string& x);
// The indices, none of which counts from the end: in place of one below 0 stands `size`, which no axis of
// that size has, so that what reads them makes an error of it. Error: a known one is below 0. `what` the
// indices are, for messages.
ValueId only_from_front(Builder& b, ValueId indices, int64_t size, const std::string& what);
// plan.shape of x's rows.
ValueId add_gather_rows(Builder& b, const RowPlan& plan, ValueId x, ValueId rows);
// x with updates at its rows; reduction as ONNX's attribute.
ValueId add_scatter_rows(Builder& b, const RowPlan& plan, ValueId x, ValueId updates, ValueId rows,
                         const std::string& reduction);

}  // namespace halftone::ops
