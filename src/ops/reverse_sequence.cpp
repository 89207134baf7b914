// ReverseSequence: of each sample, the first elements of an axis in the opposite order.
//
// formula  y[n, t] = x[n, length[n] - 1 - t] for t < length[n], else x[n, t]
// gradient GatherRows': dy at the places that were read
// shapes   x[N, T, ...] or x[T, N, ...], length[N] -> y[as x]
// dtypes   x any; length int64 or int32
// rounds   never
// saves    the rows
// scratch  rows.cpp's
// alias    none
// errors   axes that are not 0 and 1; while it runs: a length below 0 or above T
// source   ONNX ReverseSequence-10
// tests    tests/ops/gather_test.cpp
#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/rows.h"
#include "ops/whole.h"

namespace halftone::ops::reverse_sequence {
namespace {

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"batch_axis", "time_axis"});
  Builder& b = c.builder;
  const Shape x = c.shape(0);
  const int64_t batch_axis = c.attributes.int_or("batch_axis", 1);
  const int64_t time_axis = c.attributes.int_or("time_axis", 0);
  if (x.size() < 2 || batch_axis + time_axis != 1 || batch_axis < 0 || time_axis < 0)
    throw input_error("batch_axis {} and time_axis {} of {}: 0 and 1 were expected, in any order", batch_axis,
                      time_axis, to_string(x));
  const int64_t samples = x[static_cast<size_t>(batch_axis)];
  const int64_t times = x[static_cast<size_t>(time_axis)];
  if (c.shape(1) != Shape{samples} || is_float(b.type(c.inputs[1]).dtype))
    throw input_error("sequence_lens are {} {}, expected an integer for each of {} samples",
                      name_of(b.type(c.inputs[1]).dtype), to_string(c.shape(1)), samples);

  // Places of the table [x[0] * x[1], ...], by what each adds.
  const auto number = [&](int64_t value) { return b.constant(int64_tensor({value}, {})); };
  const Shape slots{x[0], x[1]};
  std::vector<int64_t> time, sample;
  for (int64_t i = 0; i < x[0]; ++i)
    for (int64_t j = 0; j < x[1]; ++j) {
      time.push_back(time_axis == 0 ? i : j);
      sample.push_back(time_axis == 0 ? j : i);
    }
  const ValueId length =
      b.reshape(add_cast(b, c.inputs[1], DType::kI64), time_axis == 0 ? Shape{1, x[1]} : Shape{x[0], 1});
  const ValueId t = b.constant(int64_tensor(time, slots));
  const ValueId mirrored = add_whole_binary(b, "Sub", add_whole_binary(b, "Sub", length, number(1)), t);
  // A length below 0 or beyond the axis: a place that no axis has.
  const ValueId possible = add_whole_binary(b, "And", add_compare(b, "LessOrEqual", number(0), length),
                                            add_compare(b, "LessOrEqual", length, number(times)));
  ValueId place = b.add1("Where", {add_compare(b, "Less", t, length), mirrored, t});
  place = b.add1("Where", {possible, place, number(times)});
  const ValueId n = b.reshape(b.constant(int64_tensor(sample, slots)), {x[0], x[1], 1});
  place = b.reshape(place, {x[0], x[1], 1});
  const ValueId indices =
      b.add1("Concat", time_axis == 0 ? std::vector<ValueId>{place, n} : std::vector<ValueId>{n, place},
             {{"axis", int64_t{2}}});
  const RowPlan plan = plan_nd(x, {x[0], x[1], 2}, 0);
  return {add_gather_rows(b, plan, c.inputs[0],
                          add_row_indices(b, plan, indices, "the sequences " + to_string(x)))};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {}, {{.op_type = "ReverseSequence", .since = 10, .until = 24, .import = import, .required_inputs = 2}}};
  return family;
}

}  // namespace halftone::ops::reverse_sequence
