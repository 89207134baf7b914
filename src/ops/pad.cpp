// formula  y = value everywhere, then y[starts + i * steps] = x[i]. ONNX's modes reflect, edge and wrap are a
//          Resample with weights of 1 (resample.cpp)
// gradient Slice of dy (slice.cpp); Pad is also Slice's gradient, hence the steps
// shapes   x[sizes] -> y[shape]
// dtypes   any
// rounds   value, to the type
// saves    none
// scratch  none
// alias    none
// errors   an unknown mode, wrap before opset 19; pads that are not constants, of the wrong number, or that
//          leave an axis with less than no element
// source   ONNX Pad-2/11/13/18/19/21 (attributes before 11, constant inputs since). Negative pads cut: a
//          Slice before the Pad
// tests    tests/ops/pad_test.cpp
#include <algorithm>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/resample.h"
#include "ops/strided_copy.h"

namespace halftone::ops::pad {
namespace {

// IR attributes: shape (of y), starts and steps (one number an axis of x), value.
std::vector<Type> infer(const InferContext& c) {
  const Type& x = c.input(0);
  const Shape& y = c.attributes().ints_at("shape");
  const std::vector<int64_t>& starts = c.attributes().ints_at("starts");
  const std::vector<int64_t>& steps = c.attributes().ints_at("steps");
  const size_t rank = x.shape.size();
  HT_ASSERT(y.size() == rank && starts.size() == rank && steps.size() == rank, "{}", to_string(x.shape));
  for (size_t i = 0; i < rank; ++i) {
    if (x.shape[i] == 0) continue;
    const int64_t last = starts[i] + (x.shape[i] - 1) * steps[i];
    HT_ASSERT(starts[i] >= 0 && starts[i] < y[i] && last >= 0 && last < y[i], "axis {} of {}", i,
              to_string(y));
  }
  return {{x.dtype, y}};
}

Prepared prepare(const PrepareContext& c) {
  const Type& x = c.input(0);
  const Type& y = c.output(0);
  const std::vector<int64_t>& starts = c.attributes().ints_at("starts");
  const std::vector<int64_t>& steps = c.attributes().ints_at("steps");
  Shape strides = strides_of(y.shape);
  int64_t offset = 0;
  for (size_t i = 0; i < strides.size(); ++i) {
    offset += starts[i] * strides[i];
    strides[i] *= steps[i];
  }
  const ChunkedFill fill(c.kernels, y, c.attributes().float_at("value"));
  const StridedCopy copy(c.kernels, y.dtype, x.shape, strides_of(x.shape), strides, 0, offset);
  return {0, [fill, copy](const RunContext& r) {
            fill.run(r.pool, r.out[0]);
            copy.run(r.pool, r.in[0], r.out[0]);
          }};
}

std::vector<ValueId> gradient(GradientContext& c) {
  return {c.builder.add1("Slice", {c.dy[0]},
                         {{"starts", c.node.attributes.ints_at("starts")},
                          {"sizes", c.builder.shape(c.x(0))},
                          {"steps", c.node.attributes.ints_at("steps")}})};
}

Permuted permute(const ir::Graph&, const ir::Node& node, const std::vector<int64_t>& perm) {
  Permuted out{true, node.attributes, perm};
  for (const char* name : {"shape", "starts", "steps"}) {
    const std::vector<int64_t>& from = node.attributes.ints_at(name);
    std::vector<int64_t> to(from.size());
    for (size_t i = 0; i < from.size(); ++i) to[static_cast<size_t>(perm[i])] = from[i];
    out.attributes.set(name, to);
  }
  return out;
}

struct Pads {
  std::vector<int64_t> before, after;  // one number an axis
  double value = 0;
};

Pads distributed(const std::vector<int64_t>& pads, std::vector<int64_t> axes, size_t rank) {
  if (axes.empty())
    for (size_t i = 0; i < rank; ++i) axes.push_back(static_cast<int64_t>(i));
  if (pads.size() != 2 * axes.size())
    throw input_error("{} pads for {} axes: two for each are needed", pads.size(), axes.size());
  constexpr int64_t kLimit = int64_t{1} << 31;
  Pads out{std::vector<int64_t>(rank, 0), std::vector<int64_t>(rank, 0), 0};
  for (size_t k = 0; k < axes.size(); ++k) {
    const auto axis = static_cast<size_t>(normalize_axis(axes[k], static_cast<int64_t>(rank)));
    for (const int64_t pad : {pads[k], pads[k + axes.size()]})
      if (pad < -kLimit || pad > kLimit) throw input_error("axis {} is padded by {}", axis, pad);
    out.before[axis] += pads[k];
    out.after[axis] += pads[k + axes.size()];
  }
  return out;
}

// Which of n elements stands at `at`, which may be outside.
int64_t mirrored(const std::string& mode, int64_t at, int64_t n) {
  if (mode == "edge" || n == 1) return std::clamp<int64_t>(at, 0, n - 1);
  const int64_t period = mode == "wrap" ? n : 2 * (n - 1);
  const int64_t place = (at % period + period) % period;
  return place < n ? place : period - place;
}

// kept elements of an axis with copies of them before and after.
AxisTable mirrored_table(const std::string& mode, size_t axis, int64_t kept, int64_t before, int64_t after) {
  if (kept < 1) throw input_error("axis {} has no elements to pad with (mode '{}')", axis, mode);
  check_table(static_cast<int64_t>(axis), static_cast<double>(kept + before + after));
  AxisTable t;
  t.axis = static_cast<int64_t>(axis);
  for (int64_t j = -before; j < kept + after; ++j) {
    t.tap(mirrored(mode, j, kept), 1);
    t.end();
  }
  return t;
}

std::vector<ValueId> import(ImportContext& c) {
  const Shape x = c.shape(0);
  Pads pads;
  if (c.opset < 11) {
    check_attributes(c.attributes, {"mode", "pads", "value"});
    pads = distributed(c.attributes.ints_at("pads"), {}, x.size());
    pads.value = c.attributes.float_or("value", 0);
  } else {
    check_attributes(c.attributes, {"mode"});
    if (!c.has(1)) throw input_error("pads are missing");
    pads = distributed(c.int_constant(1), c.has(3) ? c.int_constant(3) : std::vector<int64_t>{}, x.size());
    if (c.has(2)) {
      const std::optional<double> value = scalar_of(c.constant(2));
      if (!value) throw input_error("constant_value must be one constant number");
      pads.value = *value;
    }
  }
  const std::string mode = c.attributes.string_or("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge" && (mode != "wrap" || c.opset < 19))
    throw input_error("mode is '{}', expected constant, reflect, edge{}", mode,
                      c.opset < 19 ? " (wrap since opset 19)" : " or wrap");
  Shape kept = x;  // after cutting what negative pads cut
  Shape cut(x.size(), 0);
  Shape y = x;
  Shape starts(x.size(), 0);
  const Shape steps(x.size(), 1);
  for (size_t i = 0; i < x.size(); ++i) {
    cut[i] = std::max<int64_t>(0, -pads.before[i]);
    kept[i] = x[i] - cut[i] - std::max<int64_t>(0, -pads.after[i]);
    if (kept[i] < 0)
      throw input_error("axis {} of {} is padded by {} and {}", i, to_string(x), pads.before[i],
                        pads.after[i]);
    starts[i] = std::max<int64_t>(0, pads.before[i]);
    y[i] = kept[i] + starts[i] + std::max<int64_t>(0, pads.after[i]);
  }
  ValueId value = c.inputs[0];
  if (kept != x)
    value = c.builder.add1("Slice", {value}, {{"starts", cut}, {"sizes", kept}, {"steps", steps}});
  if (mode != "constant") {
    std::vector<AxisTable> tables;
    for (size_t i = 0; i < x.size(); ++i)
      if (y[i] != kept[i])
        tables.push_back(mirrored_table(mode, i, kept[i], starts[i], y[i] - kept[i] - starts[i]));
    return {add_resample(c.builder, value, std::move(tables))};
  }
  if (y != kept)
    value = c.builder.add1("Pad", {value},
                           {{"shape", y}, {"starts", starts}, {"steps", steps}, {"value", pads.value}});
  return {value};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("Pad", infer, prepare, GradientRule{gradient}, Alias::kFresh, Permute::kAxes, permute)},
      {{.op_type = "Pad", .since = 2, .until = 24, .import = import}},
  };
  return family;
}

}  // namespace halftone::ops::pad
