// Reshape and what only renames dimensions: Flatten, Squeeze, Unsqueeze, Identity.
//
// formula  y = x under another shape
// shapes   x[any] -> y[shape], equal element counts
// dtypes   any
// rounds   never
// saves    none
// scratch  none
// alias    y is x's memory
// errors   element counts differ; more than one -1; axis outside [-rank, rank)
// source   ONNX Reshape-5/13/14/19/21/23, Flatten-9/11/13, Squeeze-1/11/13, Unsqueeze-1/11/13, Identity-1
// tests    tests/ops/reshape_test.cpp
#include <algorithm>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"

namespace halftone::ops::reshape {
namespace {

std::vector<Type> infer(const InferContext& c) {
  const Type& x = c.input(0);
  const Shape& shape = c.attributes().ints_at("shape");
  if (elements(shape) != elements(x.shape))
    throw input_error("cannot reshape {} to {}: {} against {} elements", to_string(x.shape), to_string(shape),
                      elements(x.shape), elements(shape));
  return {{x.dtype, shape}};
}

Prepared prepare(const PrepareContext&) {
  return {};
}  // a view: never run

std::vector<ValueId> gradient(GradientContext& c) {
  return {c.builder.reshape(c.dy[0], c.builder.shape(c.x(0)))};
}

// ONNX Reshape's shape input: 0 copies the input's dimension (unless allowzero), one -1 takes the rest.
Shape resolve(const Shape& from, std::vector<int64_t> wanted, bool allow_zero) {
  int64_t known = 1;
  int64_t* rest = nullptr;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == 0 && !allow_zero) {
      if (i >= from.size())
        throw input_error("dimension {} of the shape is 0 (copy), but the input {} has no such dimension", i,
                          to_string(from));
      wanted[i] = from[i];
    }
    if (wanted[i] == -1) {
      if (rest != nullptr) throw input_error("the shape has more than one -1");
      rest = &wanted[i];
    } else if (wanted[i] < 0 || __builtin_mul_overflow(known, wanted[i], &known)) {
      throw input_error("dimension {} of the shape is {}", i, wanted[i]);
    }
  }
  if (rest != nullptr) {
    if (known == 0 || elements(from) % known != 0)
      throw input_error("cannot reshape {}: its {} elements are not a multiple of {}", to_string(from),
                        elements(from), known);
    *rest = elements(from) / known;
  }
  return wanted;
}

Shape flatten(const Shape& x, int64_t axis) {
  const auto rank = static_cast<int64_t>(x.size());
  if (axis < -rank || axis > rank) throw input_error("axis {} is outside [-{}, {}]", axis, rank, rank);
  const auto split = x.begin() + (axis < 0 ? axis + rank : axis);
  return {elements(Shape(x.begin(), split)), elements(Shape(split, x.end()))};
}

Shape squeeze(const Shape& x, bool given, std::vector<int64_t> axes) {
  for (int64_t& a : axes) a = normalize_axis(a, static_cast<int64_t>(x.size()));
  Shape y;
  for (size_t i = 0; i < x.size(); ++i) {
    const bool named = std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) != axes.end();
    if (named && x[i] != 1)
      throw input_error("axis {} of {} cannot be squeezed: it is not 1", i, to_string(x));
    if (!(given ? named : x[i] == 1)) y.push_back(x[i]);
  }
  return y;
}

Shape unsqueeze(const Shape& x, std::vector<int64_t> axes) {
  const auto rank = static_cast<int64_t>(x.size() + axes.size());
  for (int64_t& a : axes) a = normalize_axis(a, rank);
  std::sort(axes.begin(), axes.end());
  if (std::adjacent_find(axes.begin(), axes.end()) != axes.end()) throw input_error("an axis is named twice");
  Shape y = x;
  for (const int64_t a : axes) y.insert(y.begin() + a, 1);
  return y;
}

// Squeeze and Unsqueeze name their axes in an attribute before opset 13, in an input since.
Shape new_shape(const std::string& op, int opset, const Attributes& attributes, const Shape& x,
                bool has_second, const std::function<std::vector<int64_t>()>& second) {
  if (op == "Identity") {
    check_attributes(attributes, {});
    return x;
  }
  if (op == "Flatten") {
    check_attributes(attributes, {"axis"});
    return flatten(x, attributes.int_or("axis", 1));
  }
  if (op == "Reshape") {
    if (opset < 14) {
      check_attributes(attributes, {});
    } else {
      check_attributes(attributes, {"allowzero"});
    }
    return resolve(x, second(), attributes.int_or("allowzero", 0) != 0);
  }
  if (opset < 13) {
    check_attributes(attributes, {"axes"});
  } else {
    check_attributes(attributes, {});
  }
  bool given = opset < 13 ? attributes.has("axes") : has_second;
  std::vector<int64_t> axes;
  if (given) axes = opset < 13 ? attributes.ints_at("axes") : second();
  if (op == "Squeeze") return squeeze(x, given, axes);
  if (!given) throw input_error("axes are missing");
  return unsqueeze(x, axes);
}

std::vector<ValueId> import(ImportContext& c) {
  const Shape shape =
      new_shape(c.op_type, c.opset, c.attributes, c.shape(0), c.has(1), [&] { return c.int_constant(1); });
  return {c.builder.reshape(c.inputs[0], shape)};
}

std::vector<Tensor> fold(const FoldContext& c) {
  const bool second = c.inputs.size() > 1 && c.inputs[1] != nullptr;
  const Shape shape = new_shape(c.op_type, c.opset, c.attributes, c.inputs[0]->shape(), second,
                                [&] { return fold_ints(c, 1); });
  if (elements(shape) != c.inputs[0]->size())
    throw input_error("cannot reshape {} to {}", to_string(c.inputs[0]->shape()), to_string(shape));
  std::vector<Tensor> out;
  out.push_back(c.inputs[0]->reshaped(shape));
  return out;
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("Reshape", infer, prepare, GradientRule{gradient}, Alias::kView)},
      {{.op_type = "Reshape", .since = 5, .until = 24, .import = import, .fold = fold, .required_inputs = 2},
       {.op_type = "Flatten", .since = 1, .until = 24, .import = import, .fold = fold},
       {.op_type = "Squeeze", .since = 1, .until = 24, .import = import, .fold = fold},
       {.op_type = "Unsqueeze", .since = 1, .until = 24, .import = import, .fold = fold},
       {.op_type = "Identity", .since = 1, .until = 24, .import = import, .fold = fold}},
  };
  return family;
}

}  // namespace halftone::ops::reshape
