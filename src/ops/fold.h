// Evaluating nodes on the host when all their inputs are known: tools that the operators' fold rules share.
// Integers are computed in 64 bits, with an error instead of an overflow; floats in double, rounded once to
// their type.
#pragma once

#include <initializer_list>
#include <optional>
#include <string_view>

#include "ops/op.h"

namespace halftone::ops {

// A zeroed tensor for a folded result. Error when it would be larger than anything shape arithmetic needs (64
// MiB): a small file must not make us allocate a lot.
Tensor folded(DType dtype, const Shape& shape);

// Elements as doubles (any type).
std::vector<double> to_doubles(const Tensor& tensor);
Tensor from_doubles(const std::vector<double>& values, DType dtype, const Shape& shape);
// The same for integers; Error when a value does not fit the type.
Tensor from_int64s(const std::vector<int64_t>& values, DType dtype, const Shape& shape);

// The result of a fold with one output.
std::vector<Tensor> one(Tensor tensor);

// x's strides along the axes of a shape that it is broadcast to: 0 where it stands still.
Shape broadcast_strides(const Shape& x, const Shape& to);
// x's elements broadcast to `shape`; any type.
Tensor expanded(const Tensor& x, const Shape& shape);

// out[i] = x[offset + i . strides] over `shape`; any type.
Tensor gather_strided(const Tensor& x, const Shape& shape, int64_t offset, const Shape& strides);

// Input i of a fold as integers; Error when it is absent or not of integers.
std::vector<int64_t> fold_ints(const FoldContext& c, size_t i);

// Fold rules of families, by c.op_type.
std::vector<Tensor> fold_unary(
    const FoldContext& c);  // Neg Abs Sqrt Exp Log Floor Ceil Reciprocal Not Sign Round
std::vector<Tensor> fold_binary(
    const FoldContext& c);  // arithmetic, comparison, logic; Min and Max of any number of inputs
std::vector<Tensor> fold_reduce(
    const FoldContext& c);  // ReduceSum, ReduceMean, ReduceProd, ReduceMin, ReduceMax

// The axes of an ONNX reduction: normalized, ascending. Empty input: all axes, or none with
// noop_with_empty_axes.
std::vector<int64_t> reduction_axes(const std::vector<int64_t>& given, bool noop_with_empty, size_t rank);

// The only element of a constant as a double; nothing when there is no constant or it has more than one.
std::optional<double> scalar_of(const Tensor* constant);

// Error naming the first attribute that is not among `known`: an attribute that is not understood is never
// ignored.
void check_attributes(const Attributes& attributes, std::initializer_list<std::string_view> known);

}  // namespace halftone::ops
