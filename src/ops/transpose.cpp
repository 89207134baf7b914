// formula  y[i0, i1, ...] = x with axis perm[k] of x as axis k of y
// shapes   x[d0, d1, ...] -> y[d[perm[0]], d[perm[1]], ...]
// dtypes   any
// rounds   never
// saves    none
// scratch  none
// alias    none
// errors   perm is not a permutation of the axes; more than 8 dimensions (a limit of the copying kernel)
// source   ONNX Transpose-1/13/21/23 (perm reversed by default)
// tests    tests/ops/transpose_test.cpp
#include <algorithm>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "tensor/permutation.h"

namespace halftone::ops::transpose {
namespace {

std::vector<int64_t> permutation(const Attributes& attributes, size_t rank) {
  std::vector<int64_t> reversed(rank);
  for (size_t i = 0; i < rank; ++i) reversed[i] = static_cast<int64_t>(rank - 1 - i);
  std::vector<int64_t> perm = attributes.ints_or("perm", reversed);
  std::vector<int64_t> sorted = perm;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < sorted.size(); ++i)
    if (sorted.size() != rank || sorted[i] != static_cast<int64_t>(i))
      throw input_error("perm is not a permutation of {} axes", rank);
  if (sorted.size() != rank) throw input_error("perm has {} axes, the input {}", sorted.size(), rank);
  return perm;
}

std::vector<Type> infer(const InferContext& c) {
  const Type& x = c.input(0);
  if (x.shape.size() > 8)
    throw input_error("tensors of more than 8 dimensions cannot be transposed, got {}", to_string(x.shape));
  const std::vector<int64_t> perm = permutation(c.attributes(), x.shape.size());
  Shape shape;
  for (const int64_t axis : perm) shape.push_back(x.shape[static_cast<size_t>(axis)]);
  return {{x.dtype, shape}};
}

Prepared prepare(const PrepareContext& c) {
  const Type& y = c.output(0);
  const std::vector<int64_t> perm = permutation(c.attributes(), y.shape.size());
  const Shape x_strides = strides_of(c.input(0).shape);
  Shape source_strides;
  for (const int64_t axis : perm) source_strides.push_back(x_strides[static_cast<size_t>(axis)]);
  const Shape target_strides = strides_of(y.shape);
  // A chunk is a run of the first axis: at least 32 KiB of output, and a fixed number whatever the threads.
  const int64_t rows = y.shape.empty() ? 1 : y.shape[0];
  const int64_t row_elements = rows > 0 ? elements(y.shape) / rows : 0;
  const int64_t width = size_bytes(y.dtype);
  const int64_t per_chunk = std::max<int64_t>(1, (32 << 10) / std::max<int64_t>(1, row_elements * width));
  const auto copy = c.kernels.copy;
  return {
      0, [=, shape = y.shape](const RunContext& r) {
        const auto* source = static_cast<const std::byte*>(r.in[0]);
        auto* target = static_cast<std::byte*>(r.out[0]);
        if (shape.empty()) {
          copy({width, source, target, 0, nullptr, nullptr, nullptr});
          return;
        }
        r.pool.run((rows + per_chunk - 1) / per_chunk, [&](int64_t chunk, int) {
          const int64_t first = chunk * per_chunk;
          int64_t part[8];
          std::copy(shape.begin(), shape.end(), part);
          part[0] = std::min(per_chunk, rows - first);
          copy({width, source + first * source_strides[0] * width, target + first * target_strides[0] * width,
                static_cast<int>(shape.size()), part, source_strides.data(), target_strides.data()});
        });
      }};
}

std::vector<ValueId> gradient(GradientContext& c) {
  const std::vector<int64_t> perm = permutation(c.node.attributes, c.builder.shape(c.x(0)).size());
  return {c.builder.transpose(c.dy[0], inverse(perm))};
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"perm"});
  return {c.builder.transpose(c.inputs[0], permutation(c.attributes, c.shape(0).size()))};
}

std::vector<Tensor> fold(const FoldContext& c) {
  check_attributes(c.attributes, {"perm"});
  std::vector<Tensor> out;
  out.push_back(transposed(*c.inputs[0], permutation(c.attributes, c.inputs[0]->shape().size())));
  return out;
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("Transpose", infer, prepare, GradientRule{gradient})},
      {{.op_type = "Transpose", .since = 1, .until = 24, .import = import, .fold = fold}},
  };
  return family;
}

}  // namespace halftone::ops::transpose
