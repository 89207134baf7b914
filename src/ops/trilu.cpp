// formula  y = x on and above (upper) or on and below the k-th diagonal of each matrix, else 0
// gradient the same of dy
// shapes   x[..., N, M] -> y[same]
// dtypes   any
// rounds   never
// saves    none
// scratch  none
// alias    as Where's
// errors   fewer than two axes; a k that is not known when loading
// source   ONNX Trilu-14. It becomes Where with a constant condition [N, M]
// tests    tests/ops/index_operators_test.cpp
#include "base/error.h"
#include "ops/fold.h"
#include "ops/fold_pointwise.h"
#include "ops/op.h"

namespace halftone::ops::trilu {
namespace {

std::vector<ValueId> import(ImportContext& c) {
  const Shape x = c.shape(0);
  if (x.size() < 2) throw input_error("a matrix was expected, got {}", to_string(x));
  const std::vector<int64_t> k = c.has(1) ? c.int_constant(1) : std::vector<int64_t>{0};
  const Shape matrix{x[x.size() - 2], x.back()};
  Tensor ones = folded(DType::kU8, matrix);
  for (uint8_t& one : ones.as<uint8_t>()) one = 1;
  const Tensor diagonal = int64_tensor(k, {static_cast<int64_t>(k.size())});
  const FoldContext context{c.op_type, c.opset, c.attributes, {&ones, &diagonal}, 1};
  Builder& b = c.builder;
  const ValueId condition = b.constant(std::move(fold_trilu(context)[0]));
  const DType dtype = b.type(c.inputs[0]).dtype;
  const ValueId zero = is_float(dtype) ? b.scalar(0) : b.constant(Tensor(dtype, {}));
  return {b.add1("Where", {condition, c.inputs[0], zero})};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {}, {{.op_type = "Trilu", .since = 14, .until = 24, .import = import, .fold = fold_trilu}}};
  return family;
}

}  // namespace halftone::ops::trilu
