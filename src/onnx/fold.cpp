#include "onnx/fold.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace halftone::onnx {
namespace {

using Inputs = std::vector<const Tensor*>;

bool has(const Inputs& inputs, size_t i) {
  return i < inputs.size() && inputs[i] != nullptr;
}

std::vector<int64_t> integers(const Inputs& inputs, size_t i) {
  if (!has(inputs, i) || is_float(inputs[i]->dtype())) throw input_error("input {} must be integers", i);
  return to_int64s(*inputs[i]);
}

// Products and sums in double: beyond 2^53 they are too large anyway.
double product(const std::vector<int64_t>& dims) {
  double n = 1;
  for (const int64_t d : dims) n *= std::max(1.0, std::abs(static_cast<double>(d)));
  return n;
}

double as_double(const Tensor& t) {
  if (t.size() < 1) return 0;
  return is_float(t.dtype()) ? converted(t, DType::kF64).as<double>()[0]
                             : static_cast<double>(to_int64s(t)[0]);
}

// At least as many elements as the node's largest output has.
double bound(std::string_view op, const Inputs& inputs) {
  double sum = 0;
  for (const Tensor* t : inputs)
    if (t != nullptr) sum += static_cast<double>(t->size());
  const double first = has(inputs, 0) ? static_cast<double>(inputs[0]->size()) : 0;
  if (op == "ConstantOfShape") return product(integers(inputs, 0));
  if (op == "Expand") return first * product(integers(inputs, 1));
  if (op == "Tile") return first * product(integers(inputs, 1));
  if (op == "Range" && has(inputs, 0) && has(inputs, 1) && has(inputs, 2)) {
    const double steps = (as_double(*inputs[1]) - as_double(*inputs[0])) / as_double(*inputs[2]);
    return std::isfinite(steps) ? std::max(0.0, steps) + 1 : INFINITY;
  }
  if (op == "Pad") {
    if (!has(inputs, 1)) return first;
    double n = 1;
    const std::vector<int64_t> pads = integers(inputs, 1);
    const Shape& shape = inputs[0]->shape();
    for (size_t i = 0; i < shape.size(); ++i) {
      double d = static_cast<double>(shape[i]);
      for (size_t k = i; k < pads.size(); k += std::max<size_t>(1, pads.size() / 2))
        d += std::abs(static_cast<double>(pads[k]));
      n *= std::max(1.0, d);
    }
    return n * static_cast<double>(std::max<size_t>(1, pads.size() > 2 * shape.size() ? pads.size() : 1));
  }
  if (op == "Concat") return sum;
  if (inputs.size() < 2) return sum;
  // Broadcasting, gathering and multiplying: no output axis is longer than two inputs make it.
  if (op == "Gather" || op == "GatherElements" || op == "GatherND" || op == "MatMul" || op == "Gemm" ||
      op == "OneHot")
    return has(inputs, 1) ? first * static_cast<double>(inputs[1]->size()) : first;
  Shape common;
  try {
    for (const Tensor* t : inputs)
      if (t != nullptr) common = broadcast(common, t->shape());
  } catch (const Error&) {
    return sum;  // not a broadcasting operator: slices, reshapes, reductions, which make nothing larger
  }
  return std::max(sum, product(common));
}

}  // namespace

std::vector<Tensor> Folder::fold(const ops::OnnxOp& op, const ir::Attributes& attributes,
                                 std::vector<const Tensor*> inputs, size_t output_count) {
  const double most = bound(op.op_type, inputs);
  if (most > static_cast<double>(kMaxElements))
    throw input_error("its constant result could have {:.4g} elements; at most {} are computed when loading",
                      most, kMaxElements);
  std::vector<Tensor> out =
      op.fold(ops::FoldContext{std::string(op.op_type), opset_, attributes, std::move(inputs), output_count});
  for (const Tensor& t : out) total_ += t.size();
  if (total_ > kMaxTotal)
    throw input_error("the file's constant nodes have more than {} elements altogether", kMaxTotal);
  return out;
}

}  // namespace halftone::onnx
