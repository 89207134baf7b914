#include "onnx/output_shape.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "base/words.h"

namespace halftone::onnx {
namespace {

// Output 0 has the shape of input 0.
bool keeps_shape(const std::string& op) {
  return is_one_of(op, {"LayerNormalization",
                        "InstanceNormalization",
                        "GroupNormalization",
                        "RMSNormalization",
                        "BatchNormalization",
                        "LpNormalization",
                        "MeanVarianceNormalization",
                        "LRN",
                        "Mish",
                        "Selu",
                        "Celu",
                        "Swish",
                        "HardSwish",
                        "HardSigmoid",
                        "ThresholdedRelu",
                        "Softsign",
                        "Shrink",
                        "Relu",
                        "LeakyRelu",
                        "Elu",
                        "Gelu",
                        "Sigmoid",
                        "Tanh",
                        "Softplus",
                        "Erf",
                        "Sin",
                        "Cos",
                        "Tan",
                        "Asin",
                        "Acos",
                        "Atan",
                        "Sinh",
                        "Cosh",
                        "Asinh",
                        "Acosh",
                        "Atanh",
                        "Floor",
                        "Ceil",
                        "Round",
                        "Sign",
                        "Abs",
                        "Neg",
                        "Exp",
                        "Log",
                        "Sqrt",
                        "Reciprocal",
                        "Clip",
                        "CumSum",
                        "Trilu",
                        "ScatterND",
                        "ScatterElements",
                        "Scatter",
                        "Hardmax",
                        "Softmax",
                        "LogSoftmax",
                        "Dropout",
                        "Identity",
                        "ReverseSequence",
                        "PRelu"});
}
bool broadcasts(const std::string& op) {
  return is_one_of(op, {"Add", "Sub", "Mul", "Div", "Pow", "Mod", "Sum", "Mean", "Min", "Max"});
}
bool compares(const std::string& op) {
  return is_one_of(op, {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor"});
}

std::optional<Shape> broadcast_of(const std::vector<std::optional<ir::Type>>& inputs, size_t first) {
  Shape shape;
  for (size_t i = first; i < inputs.size(); ++i) {
    if (!inputs[i]) return std::nullopt;
    try {
      shape = broadcast(shape, inputs[i]->shape);
    } catch (const Error&) {
      return std::nullopt;
    }
  }
  return shape;
}

}  // namespace

std::optional<ir::Type> output_type_of(const NodeInfo& node, size_t k,
                                       const std::vector<std::optional<ir::Type>>& inputs, DType storage) {
  if (k > 0 || !node.domain.empty() || inputs.empty()) return std::nullopt;
  const std::string& op = node.op_type;
  if (keeps_shape(op)) return inputs[0];
  if (broadcasts(op) || compares(op) || op == "Where") {
    const size_t data = op == "Where" ? 1 : 0;
    const std::optional<Shape> shape = broadcast_of(inputs, 0);
    if (!shape || inputs.size() <= data) return std::nullopt;
    return ir::Type{compares(op) ? DType::kU8 : inputs[data]->dtype, *shape};
  }
  if (is_one_of(op, {"GlobalMaxPool", "GlobalLpPool", "GlobalAveragePool"}) && inputs[0] &&
      inputs[0]->shape.size() > 2) {
    ir::Type type{storage, inputs[0]->shape};
    std::fill(type.shape.begin() + 2, type.shape.end(), 1);
    return type;
  }
  return std::nullopt;
}

}  // namespace halftone::onnx
