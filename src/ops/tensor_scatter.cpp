// TensorScatter: rows of a cache replaced by new ones, from a place that each sample names.
//
// formula  y = past_cache, then y[n, ..., start[n] + s, ...] = update[n, ..., s, ...]; circular: modulo the
//          axis' size
// gradient ScatterRows': dy without the places that were written for past_cache, dy at them for update
// shapes   past_cache[N, ..., M, ...], update[N, ..., S, ...] with S <= M, start[N] (absent: zeros) -> y[as
//          past_cache]
// dtypes   any; start int64 or int32
// rounds   never
// saves    the rows
// scratch  rows.cpp's
// alias    none
// errors   shapes that don't fit; axis 0 (the samples); while it runs: a place outside the axis
// source   ONNX TensorScatter-24
// tests    tests/ops/scatter_test.cpp
#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/rows.h"
#include "ops/whole.h"

namespace halftone::ops::tensor_scatter {
namespace {

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"axis", "mode"});
  const std::string mode = c.attributes.string_or("mode", "linear");
  if (mode != "linear" && mode != "circular")
    throw input_error("mode is '{}', expected linear or circular", mode);
  Builder& b = c.builder;
  const Shape cache = c.shape(0);
  const Shape update = c.shape(1);
  const auto axis = static_cast<size_t>(
      normalize_axis(c.attributes.int_or("axis", -2), static_cast<int64_t>(cache.size())));
  if (axis == 0) throw input_error("axis 0 counts the samples and cannot be written to");
  Shape expected = cache;
  if (update.size() == cache.size() && update[axis] <= cache[axis]) expected[axis] = update[axis];
  if (update != expected)
    throw input_error(
        "the update is {}, the cache {}: they may differ in axis {} alone, where the update is no longer",
        to_string(update), to_string(cache), axis);
  const Shape samples{cache[0]};
  if (c.has(2) && (c.shape(2) != samples || is_float(b.type(c.inputs[2]).dtype)))
    throw input_error("write_indices are {} {}, expected an integer for each of {} samples",
                      name_of(b.type(c.inputs[2]).dtype), to_string(c.shape(2)), cache[0]);

  // Where each row of the update goes: its own place on the axes before, and start + s on this one.
  const std::vector<int64_t> zeros(static_cast<size_t>(cache[0]), 0);
  ValueId start = c.has(2) ? add_cast(b, c.inputs[2], DType::kI64) : b.constant(int64_tensor(zeros, samples));
  const auto number = [&](int64_t value) { return b.constant(int64_tensor({value}, {})); };
  if (mode == "linear") {
    start = only_from_front(b, start, cache[axis], "write_indices");
  } else {
    start = add_whole_binary(b, "Mod", start, number(cache[axis]));
  }
  Shape leading(cache.begin(), cache.begin() + static_cast<std::ptrdiff_t>(axis));
  leading.push_back(update[axis]);
  const Shape strides = strides_of(leading);
  const int64_t rows = elements(leading);
  std::vector<int64_t> before, along;
  for (int64_t i = 0; i < rows; ++i) {
    for (size_t k = 0; k < axis; ++k) before.push_back(i / strides[k] % leading[k]);
    along.push_back(i % update[axis]);
  }
  Shape one(leading.size(), 1);
  one[0] = cache[0];
  ValueId place = add_whole_binary(b, "Add", b.reshape(start, one), b.constant(int64_tensor(along, leading)));
  if (mode == "circular") place = add_whole_binary(b, "Mod", place, number(cache[axis]));
  Shape indices = leading;
  indices.push_back(1);
  place = b.reshape(place, indices);
  indices.back() = static_cast<int64_t>(axis);
  place = b.add1("Concat", {b.constant(int64_tensor(before, indices)), place},
                 {{"axis", static_cast<int64_t>(indices.size()) - 1}});
  const RowPlan plan = plan_nd(cache, b.shape(place), 0);
  const ValueId at = add_row_indices(b, plan, place, "the cache " + to_string(cache));
  return {add_scatter_rows(b, plan, c.inputs[0], c.inputs[1], at, "none")};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {}, {{.op_type = "TensorScatter", .since = 24, .until = 24, .import = import, .required_inputs = 2}}};
  return family;
}

}  // namespace halftone::ops::tensor_scatter
