// Concat and Split: each other's gradients.
//
// formula  Concat: y = x0, x1, ... one after another along the axis; Split: the reverse
// shapes   x0[..., n0, ...], x1[..., n1, ...] -> y[..., n0 + n1, ...]
// dtypes   any
// rounds   never
// saves    none
// scratch  none
// alias    none
// errors   axis outside [-rank, rank); shapes that differ elsewhere; types that differ; a split that does not
//          add up to the axis
// source   ONNX Concat-4/11/13, Split-2/11/13/18 (sizes: an attribute before 13, a constant input since;
//          num_outputs since 18)
// tests    tests/ops/concat_test.cpp
#include <algorithm>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/strided_copy.h"

namespace halftone::ops::concat {
namespace {

Shape joined(const std::vector<Shape>& parts, size_t axis) {
  Shape y = parts[0];
  for (size_t k = 1; k < parts.size(); ++k) {
    const Shape& x = parts[k];
    bool same = x.size() == y.size();
    for (size_t i = 0; same && i < y.size(); ++i) same = i == axis || x[i] == y[i];
    if (!same)
      throw input_error("{} and {} cannot be joined along axis {}", to_string(parts[0]), to_string(x), axis);
    y[axis] += x[axis];
  }
  return y;
}

std::vector<Type> infer_concat(const InferContext& c) {
  const auto axis = static_cast<size_t>(c.attributes().int_at("axis"));
  std::vector<Shape> parts;
  for (size_t k = 0; k < c.node.inputs.size(); ++k) {
    if (c.input(k).dtype != c.input(0).dtype)
      throw input_error("inputs have different types: {} and {}", name_of(c.input(0).dtype),
                        name_of(c.input(k).dtype));
    parts.push_back(c.input(k).shape);
  }
  return {{c.input(0).dtype, joined(parts, axis)}};
}

Prepared prepare_concat(const PrepareContext& c) {
  const Type& y = c.output(0);
  const auto axis = static_cast<size_t>(c.attributes().int_at("axis"));
  const Shape strides = strides_of(y.shape);
  const int64_t bytes = elements(y.shape) * size_bytes(y.dtype);
  std::vector<StridedCopy> copies;
  int64_t offset = 0;
  for (size_t k = 0; k < c.node.inputs.size(); ++k) {
    const Shape& x = c.input(k).shape;
    copies.emplace_back(c.kernels, y.dtype, x, strides_of(x), strides, 0, offset, bytes);
    offset += x[axis] * strides[axis];
  }
  return {0, [copies](const RunContext& r) {
            for (size_t k = 0; k < copies.size(); ++k) copies[k].run(r.pool, r.in[k], r.out[0]);
          }};
}

std::vector<ValueId> gradient_concat(GradientContext& c) {
  const auto axis = static_cast<size_t>(c.node.attributes.int_at("axis"));
  std::vector<int64_t> sizes;
  for (const ValueId x : c.node.inputs) sizes.push_back(c.builder.shape(x)[axis]);
  std::vector<ValueId> dx =
      c.builder.add("Split", {c.dy[0]}, {{"axis", static_cast<int64_t>(axis)}, {"split", sizes}});
  for (size_t k = 0; k < dx.size(); ++k)
    if (!c.needs[k]) dx[k] = kNone;
  return dx;
}

std::vector<Type> infer_split(const InferContext& c) {
  const Type& x = c.input(0);
  const auto axis = static_cast<size_t>(c.attributes().int_at("axis"));
  int64_t sum = 0;
  std::vector<Type> out;
  for (const int64_t size : c.attributes().ints_at("split")) {
    out.push_back(x);
    out.back().shape[axis] = size;
    if (size < 0 || __builtin_add_overflow(sum, size, &sum))
      throw input_error("a part of the split has the size {}", size);
  }
  if (sum != x.shape[axis])
    throw input_error("the sizes of the split add up to {}, axis {} of {} is {}", sum, axis,
                      to_string(x.shape), x.shape[axis]);
  return out;
}

Prepared prepare_split(const PrepareContext& c) {
  const Type& x = c.input(0);
  const auto axis = static_cast<size_t>(c.attributes().int_at("axis"));
  const std::vector<int64_t>& sizes = c.attributes().ints_at("split");
  const Shape strides = strides_of(x.shape);
  const int64_t bytes = elements(x.shape) * size_bytes(x.dtype);
  std::vector<StridedCopy> copies;
  int64_t offset = 0;
  for (const int64_t size : sizes) {
    Shape y = x.shape;
    y[axis] = size;
    copies.emplace_back(c.kernels, x.dtype, y, strides, strides_of(y), offset, 0, bytes);
    offset += size * strides[axis];
  }
  return {0, [copies](const RunContext& r) {
            for (size_t k = 0; k < copies.size(); ++k)
              if (r.out[k] != nullptr) copies[k].run(r.pool, r.in[0], r.out[k]);
          }};
}

std::vector<ValueId> gradient_split(GradientContext& c) {
  std::vector<ValueId> parts;
  for (size_t k = 0; k < c.node.outputs.size(); ++k) {
    ValueId part = c.dy[k];
    if (part == kNone) {  // nobody used this output
      Shape shape = c.builder.shape(c.x(0));
      const auto axis = static_cast<size_t>(c.node.attributes.int_at("axis"));
      shape[axis] = c.node.attributes.ints_at("split")[k];
      part = c.builder.add1("Expand", {c.builder.scalar(0)}, {{"shape", shape}});
    }
    parts.push_back(part);
  }
  return {c.builder.add1("Concat", parts, {{"axis", c.node.attributes.int_at("axis")}})};
}

Permuted permute(const ir::Graph&, const ir::Node& node, const std::vector<int64_t>& perm) {
  Permuted out{true, node.attributes, perm};
  out.attributes.set("axis", perm[static_cast<size_t>(node.attributes.int_at("axis"))]);
  return out;
}

// ---------------------------------------------------------------- from ONNX

std::vector<ValueId> import_concat(ImportContext& c) {
  check_attributes(c.attributes, {"axis"});
  const int64_t axis = normalize_axis(c.attributes.int_at("axis"), static_cast<int64_t>(c.shape(0).size()));
  if (c.inputs.size() == 1) return {c.inputs[0]};
  return {c.builder.add1("Concat", c.inputs, {{"axis", axis}})};
}

std::vector<Tensor> fold_concat(const FoldContext& c) {
  check_attributes(c.attributes, {"axis"});
  std::vector<Shape> shapes;
  for (size_t k = 0; k < c.inputs.size(); ++k) {
    if (c.inputs[k] == nullptr) throw input_error("input {} is missing", k);
    if (c.inputs[k]->dtype() != c.inputs[0]->dtype())
      throw input_error("inputs have different types: {} and {}", name_of(c.inputs[0]->dtype()),
                        name_of(c.inputs[k]->dtype()));
    shapes.push_back(c.inputs[k]->shape());
  }
  if (shapes.empty()) throw input_error("there are no inputs");
  const auto axis = static_cast<size_t>(
      normalize_axis(c.attributes.int_at("axis"), static_cast<int64_t>(shapes[0].size())));
  const Shape shape = joined(shapes, axis);
  Tensor y = folded(c.inputs[0]->dtype(), shape);
  // Runs of bytes: for each index before the axis, each input's share.
  int64_t outer = 1;
  for (size_t i = 0; i < axis; ++i) outer *= shape[i];
  const int64_t y_run = outer > 0 ? y.bytes() / outer : 0;
  int64_t offset = 0;
  for (const Tensor* x : c.inputs) {
    const int64_t run = outer > 0 ? x->bytes() / outer : 0;
    for (int64_t i = 0; i < outer; ++i) {
      const auto* from = static_cast<const std::byte*>(x->data()) + i * run;
      std::copy(from, from + run, static_cast<std::byte*>(y.data()) + i * y_run + offset);
    }
    offset += run;
  }
  std::vector<Tensor> out;
  out.push_back(std::move(y));
  return out;
}

// The sizes of the parts along the axis of n elements.
std::vector<int64_t> split_sizes(const Attributes& attributes, int opset, int64_t n, size_t outputs,
                                 const std::vector<int64_t>* input) {
  if (opset < 13) {
    check_attributes(attributes, {"axis", "split"});
    if (attributes.has("split")) return attributes.ints_at("split");
  } else if (opset < 18) {
    check_attributes(attributes, {"axis"});
    if (input != nullptr) return *input;
  } else {
    check_attributes(attributes, {"axis", "num_outputs"});
    if (input != nullptr) return *input;
    const int64_t parts = attributes.int_at("num_outputs");
    if (parts != static_cast<int64_t>(outputs))
      throw input_error("num_outputs is {}, the node has {} outputs", parts, outputs);
    // Equal parts, a smaller last one.
    std::vector<int64_t> sizes(outputs, (n + parts - 1) / parts);
    sizes.back() = n - sizes[0] * (parts - 1);
    if (sizes.back() < 0) throw input_error("{} elements cannot be split into {} parts", n, parts);
    return sizes;
  }
  const auto parts = static_cast<int64_t>(outputs);
  if (parts == 0 || n % parts != 0)
    throw input_error("{} elements cannot be split into {} equal parts", n, parts);
  return std::vector<int64_t>(outputs, n / parts);
}

std::vector<ValueId> import_split(ImportContext& c) {
  const Shape& x = c.shape(0);
  const int64_t axis = normalize_axis(c.attributes.int_or("axis", 0), static_cast<int64_t>(x.size()));
  std::vector<int64_t> input;
  if (c.has(1)) input = c.int_constant(1);
  const std::vector<int64_t> sizes = split_sizes(c.attributes, c.opset, x[static_cast<size_t>(axis)],
                                                 c.output_count, c.has(1) ? &input : nullptr);
  if (sizes.size() != c.output_count)
    throw input_error("the split has {} parts, the node {} outputs", sizes.size(), c.output_count);
  if (sizes.size() == 1 && sizes[0] == x[static_cast<size_t>(axis)]) return {c.inputs[0]};
  return c.builder.add("Split", {c.inputs[0]}, {{"axis", axis}, {"split", sizes}});
}

std::vector<Tensor> fold_split(const FoldContext& c) {
  const Tensor& x = *c.inputs[0];
  const auto axis = static_cast<size_t>(
      normalize_axis(c.attributes.int_or("axis", 0), static_cast<int64_t>(x.shape().size())));
  const bool has = c.inputs.size() > 1 && c.inputs[1] != nullptr;
  const std::vector<int64_t> input = has ? fold_ints(c, 1) : std::vector<int64_t>{};
  const std::vector<int64_t> sizes =
      split_sizes(c.attributes, c.opset, x.shape()[axis], c.output_count, has ? &input : nullptr);
  const Shape strides = strides_of(x.shape());
  int64_t left = x.shape()[axis];
  std::vector<Tensor> out;
  for (const int64_t size : sizes) {
    if (size < 0 || size > left) throw input_error("a part of {} elements, of {} that are left", size, left);
    Shape shape = x.shape();
    shape[axis] = size;
    out.push_back(gather_strided(x, shape, (x.shape()[axis] - left) * strides[axis], strides));
    left -= size;
  }
  if (left != 0) throw input_error("the sizes of the split leave {} elements", left);
  return out;
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("Concat", infer_concat, prepare_concat, GradientRule{gradient_concat}, Alias::kFresh,
             Permute::kAxes, permute),
       OpDef("Split", infer_split, prepare_split, GradientRule{gradient_split}, Alias::kFresh, Permute::kAxes,
             permute)},
      {{.op_type = "Concat",
        .since = 4,
        .until = 24,
        .import = import_concat,
        .fold = fold_concat,
        .required_inputs = OnnxOp::kEveryInput},
       {.op_type = "Split", .since = 2, .until = 24, .import = import_split, .fold = fold_split}},
  };
  return family;
}

}  // namespace halftone::ops::concat
