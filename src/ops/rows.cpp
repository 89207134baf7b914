// Rows of a table by indices (rows.h): what the gathers (gather.cpp) and scatters (scatter.cpp) become.
//
// formula  RowIndices: the rows that indices name; GatherRows: y[o][s] = x[o][rows[s]]; ScatterRows: y[o][r]
//          = base[o][r] (0 without a base), changed by the updates of the slots that name r: add, mul, min,
//          max; last: the last of them in its place; clear: 0 where there is any
// gradient of GatherRows: ScatterRows(add); of ScatterRows add: dy for base, GatherRows(dy) for updates;
// last: the same, without
//          the rows that were replaced, and 0 for updates that a later one of the same row replaced
// shapes   x[outer][table][run], rows[slots] -> y[outer][slots][run], under the shape that the attributes say
// dtypes   any; indices int64 or int32
// rounds   GatherRows never; ScatterRows once: sums in registers, slots ascending, so that the order is the
//          same on any number of threads
// saves    rows
// scratch  ScatterRows: 4 bytes a row and a slot (the slots of each row); GatherRows of a gradient through
//          `last`: 4 bytes a row
// alias    none
// errors   while it runs: an index outside its axis; a sum of integers that does not fit
// source   this house's own
// tests    tests/ops/gather_test.cpp, tests/ops/scatter_test.cpp
#include "ops/rows.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "kern/index.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/lines.h"
#include "ops/op.h"
#include "ops/whole.h"

namespace halftone::ops {
namespace rows {
namespace {

constexpr int64_t kMostRows = std::numeric_limits<int32_t>::max();
constexpr int kMostAxes = 8;

int64_t product(const Shape& shape, size_t from, size_t to) {
  return elements(Shape(shape.begin() + static_cast<std::ptrdiff_t>(from),
                        shape.begin() + static_cast<std::ptrdiff_t>(to)));
}

void check_counts(const RowPlan& p, const Shape& x) {
  if (p.table.rows > kMostRows || elements(p.map.slots) > kMostRows)
    throw input_error("{} rows of a table {} by {} indices: more than {} are not supported", p.table.rows,
                      to_string(x), elements(p.map.slots), kMostRows);
  if (p.map.slots.size() > kMostAxes)
    throw input_error("indices of {} dimensions are not supported, at most {} are", p.map.slots.size(),
                      kMostAxes);
}

std::string outside(int64_t index, int64_t size, const std::string& place, int64_t axis,
                    const std::string& x) {
  return fmt::format("index {} is outside [-{}, {}), axis {}{}{}{}", index, size, size, axis,
                     x.empty() ? "" : " of ", x, place.empty() ? "" : "; it stands at " + place);
}

void check_type(DType indices) {
  if (indices != DType::kI64 && indices != DType::kI32)
    throw input_error("indices must be int64 or int32, got {}", name_of(indices));
}

// ---------------------------------------------------------------- RowIndices(indices) -> rows
std::vector<Type> infer_indices(const InferContext& c) {
  check_type(c.input(0).dtype);
  return {{DType::kI32, {elements(c.attributes().ints_at("slots"))}}};
}

Prepared prepare_indices(const PrepareContext& c) {
  const Type indices = c.input(0);
  const Attributes& a = c.attributes();
  const auto depth = static_cast<int64_t>(a.ints_at("sizes").size());
  const int64_t n = elements(c.output(0).shape);
  Prepared out{0, [=, sizes = a.ints_at("sizes"), strides = a.ints_at("strides"), slots = a.ints_at("slots"),
                   base = a.ints_at("base"), resolve = c.kernels.index->resolve_rows](const RunContext& r) {
                 FirstFault fault;
                 for_chunks(r.pool, element_chunks(n), [&](int64_t first, int64_t count) {
                   fault.note(resolve({indices.dtype, r.in[0], first, count, depth, sizes.data(),
                                       strides.data(), static_cast<int>(slots.size()), slots.data(),
                                       base.data(), static_cast<int32_t*>(r.out[0])}),
                              0);
                 });
                 fault.report(r.step);
               }};
  out.explain = [=, sizes = a.ints_at("sizes"), axes = a.ints_at("axes"), x = a.string_or("table", ""),
                 name = c.graph.value(c.node.inputs[0]).name](const RunContext& r, int64_t i) {
    const auto k = static_cast<size_t>(i % depth);
    return outside(whole_at(r.in[0], indices.dtype, i), sizes[k],
                   fmt::format("{} of '{}' ({})", place_of(indices.shape, i), name, to_string(indices.shape)),
                   axes[k], x);
  };
  return out;
}

// ---------------------------------------------------------------- GatherRows(x, rows) -> y
Table table_of(const Attributes& a) {
  return {a.int_at("outer"), a.int_at("rows"), a.int_at("run")};
}
void set(Attributes& a, const Table& t) {
  a.set("outer", t.outer);
  a.set("rows", t.rows);
  a.set("run", t.run);
}

std::vector<Type> infer_gather(const InferContext& c) {
  const Table t = table_of(c.attributes());
  const Shape& shape = c.attributes().ints_at("shape");
  HT_ASSERT(elements(c.input(0).shape) == t.outer * t.rows * t.run && c.input(1).dtype == DType::kI32 &&
                elements(shape) == t.outer * elements(c.input(1).shape) * t.run,
            "{} rows of {}", to_string(shape), to_string(c.input(0).shape));
  return {{c.input(0).dtype, shape}};
}

Prepared prepare_gather(const PrepareContext& c) {
  const Table t = table_of(c.attributes());
  const int64_t slots = elements(c.input(1).shape);
  const int64_t row_bytes = t.run * size_bytes(c.input(0).dtype);
  const bool last = c.attributes().int_or("last", 0) != 0;
  if (elements(c.output(0).shape) == 0) return {0, [](const RunContext&) {}};
  const int64_t per_chunk = std::max<int64_t>(1, 2 * kChunkElements / row_bytes);
  const int64_t blocks = ceil_div(slots, per_chunk);
  return {last ? aligned_bytes(t.rows * 4) : 0, [=, index = c.kernels.index](const RunContext& r) {
            const auto* rows = static_cast<const int32_t*>(r.in[1]);
            auto* const last_slots = last ? reinterpret_cast<int32_t*>(r.scratch) : nullptr;
            if (last) index->last_slots({rows, slots, last_slots});
            run_chunks(r.pool, t.outer * blocks, [&](int64_t chunk, int) {
              const int64_t o = chunk / blocks;
              const int64_t first = chunk % blocks * per_chunk;
              index->gather_rows({at(r.in[0], o * t.rows * row_bytes), rows, row_bytes, first,
                                  std::min(per_chunk, slots - first), at(r.out[0], o * slots * row_bytes),
                                  last_slots});
            });
          }};
}

std::vector<ValueId> gradient_gather(GradientContext& c) {
  if (c.node.attributes.int_or("last", 0) != 0) throw input_error("second derivatives are not computed");
  Attributes a{{"op", std::string("add")}, {"shape", c.builder.shape(c.x(0))}};
  set(a, table_of(c.node.attributes));
  return {c.needs[0] ? c.builder.add1("ScatterRows", {c.dy[0], c.x(1), kNone}, a) : kNone, kNone};
}

// ---------------------------------------------------------------- ScatterRows(updates, rows, base) -> y
kern::Scatter scatter_of(const Attributes& attributes) {
  const std::string op = attributes.string_or("op", "");
  if (op == "last") return kern::Scatter::kLast;
  if (op == "add") return kern::Scatter::kAdd;
  if (op == "mul") return kern::Scatter::kMul;
  if (op == "min") return kern::Scatter::kMin;
  if (op == "max") return kern::Scatter::kMax;
  HT_ASSERT(op == "clear", "{}", op);
  return kern::Scatter::kClear;
}

std::vector<Type> infer_scatter(const InferContext& c) {
  const Table t = table_of(c.attributes());
  const Shape& shape = c.attributes().ints_at("shape");
  const kern::Scatter op = scatter_of(c.attributes());
  const int64_t slots = elements(c.input(1).shape);
  HT_ASSERT(elements(shape) == t.outer * t.rows * t.run && c.input(1).dtype == DType::kI32);
  HT_ASSERT(c.has(0) != (op == kern::Scatter::kClear) && (c.has(2) || op == kern::Scatter::kAdd));
  HT_ASSERT(!c.has(0) || elements(c.input(0).shape) == t.outer * slots * t.run, "{}",
            to_string(c.input(0).shape));
  if (c.has(0) && c.has(2) && c.input(0).dtype != c.input(2).dtype)
    throw input_error("updates are {}, the tensor is {}", name_of(c.input(0).dtype),
                      name_of(c.input(2).dtype));
  return {{c.input(c.has(0) ? 0 : 2).dtype, shape}};
}

Prepared prepare_scatter(const PrepareContext& c) {
  const Table t = table_of(c.attributes());
  const Type y = c.output(0);
  const int64_t slots = elements(c.input(1).shape);
  const int64_t width = size_bytes(y.dtype);
  const int64_t starts_bytes = aligned_bytes((t.rows + 1) * 4);
  if (elements(y.shape) == 0) return {0, [](const RunContext&) {}};
  // As much as is read and written, wherever the slots lie.
  const int64_t cols = std::min<int64_t>(t.run, 512);
  const int64_t per_row = cols * (1 + ceil_div(slots, t.rows));
  const int64_t rows = std::clamp<int64_t>(kChunkElements / per_row, 1, t.rows);
  const int64_t row_blocks = ceil_div(t.rows, rows);
  const int64_t col_blocks = ceil_div(t.run, cols);
  Prepared out{starts_bytes + aligned_bytes(slots * 4),
               [=, op = scatter_of(c.attributes()), index = c.kernels.index](const RunContext& r) {
                 auto* const starts = reinterpret_cast<int32_t*>(r.scratch);
                 auto* const order = reinterpret_cast<int32_t*>(r.scratch + starts_bytes);
                 index->group_rows({static_cast<const int32_t*>(r.in[1]), slots, t.rows, starts, order});
                 FirstFault fault;
                 run_chunks(r.pool, t.outer * row_blocks * col_blocks, [&](int64_t chunk, int) {
                   const int64_t o = chunk / (row_blocks * col_blocks);
                   const int64_t row = chunk / col_blocks % row_blocks * rows;
                   const int64_t col = chunk % col_blocks * cols;
                   const int64_t table = o * t.rows * t.run;
                   const void* base = r.in[2] == nullptr ? nullptr : at(r.in[2], table * width);
                   const void* updates =
                       r.in[0] == nullptr ? nullptr : at(r.in[0], o * slots * t.run * width);
                   fault.note(index->scatter_rows({op, y.dtype, base, updates, starts, order, t.run, row,
                                                   std::min(rows, t.rows - row), col,
                                                   std::min(cols, t.run - col), at(r.out[0], table * width)}),
                              table);
                 });
                 fault.report(r.step);
               }};
  out.explain = [y, name = c.attributes().string_or("op", "")](const RunContext&, int64_t i) {
    return fmt::format("the updates of element {} of {} ({}) do not fit {}", place_of(y.shape, i),
                       to_string(y.shape), name, name_of(y.dtype));
  };
  return out;
}

std::vector<ValueId> gradient_scatter(GradientContext& c) {
  const std::string op = c.node.attributes.string_or("op", "");
  if (op == "mul" || op == "min" || op == "max")
    throw input_error("the reduction '{}' has no gradient in Halftone; 'none' and 'add' have one", op);
  std::vector<ValueId> dx(3, kNone);
  const Table t = table_of(c.node.attributes);
  if (c.has(0) && c.needs[0]) {
    Attributes a{{"shape", c.builder.shape(c.x(0))}, {"last", int64_t{op == "last"}}};
    set(a, t);
    dx[0] = c.builder.add1("GatherRows", {c.dy[0], c.x(1)}, a);
  }
  if (c.has(2) && c.needs[2]) {
    dx[2] = c.dy[0];
    if (op != "add") {
      Attributes a{{"op", std::string("clear")}, {"shape", c.builder.shape(c.x(2))}};
      set(a, t);
      dx[2] = c.builder.add1("ScatterRows", {kNone, c.x(1), c.dy[0]}, a);
    }
  }
  return dx;
}

}  // namespace
}  // namespace rows

RowPlan plan_gather(const Shape& x, const Shape& indices, int64_t axis) {
  const auto at = static_cast<size_t>(normalize_axis(axis, static_cast<int64_t>(x.size())));
  RowPlan p;
  const Lines l = lines_of(x, at);
  p.table = {l.outer, l.length, l.inner};
  p.map = {{x[at]}, {1}, {static_cast<int64_t>(at)}, {elements(indices)}, {0}};
  p.shape.assign(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(at));
  p.shape.insert(p.shape.end(), indices.begin(), indices.end());
  p.shape.insert(p.shape.end(), x.begin() + static_cast<std::ptrdiff_t>(at) + 1, x.end());
  rows::check_counts(p, x);
  return p;
}

RowPlan plan_elements(const Shape& x, const Shape& indices, int64_t axis) {
  const auto at = static_cast<size_t>(normalize_axis(axis, static_cast<int64_t>(x.size())));
  bool fits = indices.size() == x.size();
  for (size_t i = 0; fits && i < x.size(); ++i) fits = i == at || indices[i] <= x[i];
  if (!fits)
    throw input_error(
        "indices of shape {} for a tensor {}: the same number of dimensions was expected, none larger but "
        "axis {}",
        to_string(indices), to_string(x), at);
  RowPlan p;
  p.table = {1, elements(x), 1};
  const Shape strides = strides_of(x);
  Shape base = strides;
  base[at] = 0;
  p.map = {{x[at]}, {strides[at]}, {static_cast<int64_t>(at)}, indices, base};
  p.shape = indices;
  rows::check_counts(p, x);
  return p;
}

RowPlan plan_nd(const Shape& x, const Shape& indices, int64_t batch_dims) {
  const auto rank = static_cast<int64_t>(x.size());
  const int64_t depth = indices.empty() ? 0 : indices.back();
  bool fits = batch_dims >= 0 && depth >= 1 && static_cast<int64_t>(indices.size()) > batch_dims &&
              batch_dims + depth <= rank;
  for (int64_t i = 0; fits && i < batch_dims; ++i)
    fits = indices[static_cast<size_t>(i)] == x[static_cast<size_t>(i)];
  if (!fits)
    throw input_error("indices of shape {} for a tensor {}{}", to_string(indices), to_string(x),
                      batch_dims != 0 ? fmt::format(" with batch_dims {}", batch_dims) : "");
  const auto b = static_cast<size_t>(batch_dims);
  const size_t end = b + static_cast<size_t>(depth);
  RowPlan p;
  p.table = {1, rows::product(x, 0, end), rows::product(x, end, x.size())};
  for (size_t k = b; k < end; ++k) {
    p.map.sizes.push_back(x[k]);
    p.map.strides.push_back(rows::product(x, k + 1, end));
    p.map.axes.push_back(static_cast<int64_t>(k));
  }
  p.map.slots.assign(indices.begin(), indices.end() - 1);
  p.map.base.assign(p.map.slots.size(), 0);
  for (size_t i = 0; i < b; ++i) p.map.base[i] = rows::product(x, i + 1, end);
  p.shape = p.map.slots;
  p.shape.insert(p.shape.end(), x.begin() + static_cast<std::ptrdiff_t>(end), x.end());
  rows::check_counts(p, x);
  return p;
}

std::vector<int64_t> known_rows(const RowPlan& plan, const Tensor& indices) {
  if (is_float(indices.dtype()))
    throw input_error("indices must be of integers, got {}", name_of(indices.dtype()));
  const std::vector<int64_t> values = to_int64s(indices);
  const RowMap& m = plan.map;
  std::vector<int64_t> rows(static_cast<size_t>(elements(m.slots)), 0);
  for (size_t s = 0; s < rows.size(); ++s) {
    auto rest = static_cast<int64_t>(s);
    for (size_t axis = m.slots.size(); axis-- > 0;) {
      rows[s] += rest % m.slots[axis] * m.base[axis];
      rest /= m.slots[axis];
    }
    for (size_t k = 0; k < m.sizes.size(); ++k) {
      const int64_t index = values[s * m.sizes.size() + k];
      if (index < -m.sizes[k] || index >= m.sizes[k])
        throw input_error("{}", rows::outside(index, m.sizes[k], "", m.axes[k], ""));
      rows[s] += (index < 0 ? index + m.sizes[k] : index) * m.strides[k];
    }
  }
  return rows;
}

ValueId add_row_indices(Builder& b, const RowPlan& plan, ValueId indices, const std::string& x) {
  const ir::Value& value = b.graph().value(indices);
  if (value.kind == ir::ValueKind::kConstant) {
    const std::vector<int64_t> rows = known_rows(plan, *value.data);
    Tensor t(DType::kI32, {static_cast<int64_t>(rows.size())});
    std::copy(rows.begin(), rows.end(), t.as<int32_t>().begin());
    return b.constant(std::move(t));
  }
  const RowMap& m = plan.map;
  return b.add1("RowIndices", {indices},
                {{"sizes", m.sizes},
                 {"strides", m.strides},
                 {"axes", m.axes},
                 {"slots", m.slots},
                 {"base", m.base},
                 {"table", x}});
}

ValueId only_from_front(Builder& b, ValueId indices, int64_t size, const std::string& what) {
  const ir::Value& value = b.graph().value(indices);
  rows::check_type(value.type.dtype);
  if (value.kind == ir::ValueKind::kConstant) {
    for (const int64_t index : to_int64s(*value.data))
      if (index < 0) throw input_error("{} are to be 0 or more, got {}", what, index);
    return indices;
  }
  const DType dtype = value.type.dtype;
  const auto number = [&](int64_t n) { return b.constant(from_int64s({n}, dtype, {})); };
  return b.add1("Where", {add_compare(b, "Less", indices, number(0)), number(size), indices});
}

ValueId add_gather_rows(Builder& b, const RowPlan& plan, ValueId x, ValueId rows) {
  Attributes a{{"shape", plan.shape}};
  rows::set(a, plan.table);
  return b.add1("GatherRows", {x, rows}, a);
}

ValueId add_scatter_rows(Builder& b, const RowPlan& plan, ValueId x, ValueId updates, ValueId rows,
                         const std::string& reduction) {
  const bool known = reduction == "add" || reduction == "mul" || reduction == "min" || reduction == "max";
  if (!known && reduction != "none") throw input_error("the reduction '{}' is not known", reduction);
  Attributes a{{"op", known ? reduction : std::string("last")}, {"shape", b.shape(x)}};
  rows::set(a, plan.table);
  return b.add1("ScatterRows", {updates, rows, x}, a);
}

namespace rows {

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("RowIndices", infer_indices, prepare_indices,
             NoGradient{"integers and booleans have no gradient"}),
       OpDef("GatherRows", infer_gather, prepare_gather, GradientRule{gradient_gather}),
       OpDef("ScatterRows", infer_scatter, prepare_scatter, GradientRule{gradient_scatter})},
      {},
  };
  return family;
}

}  // namespace rows

}  // namespace halftone::ops
