#include "onnx/gradient_flow.h"

#include <map>
#include <string_view>

#include "onnx/operator_of.h"

namespace halftone::onnx {
namespace {

// One letter an input, the last one for all that follow: - none, v view, a arithmetic, w weight, s statistic.
const std::map<std::string_view, std::string_view>& operators() {
  static const std::map<std::string_view, std::string_view> table = [] {
    std::map<std::string_view, std::string_view> t{
        // Parameters.
        {"Conv", "aw"},
        {"ConvTranspose", "aw"},
        {"DeformConv", "awaw"},  // X, W, offset, B, mask
        {"Gemm", "www"},
        {"MatMul", "ww"},
        {"Einsum", "w"},
        {"BatchNormalization", "awwss"},
        {"InstanceNormalization", "aww"},
        {"LayerNormalization", "aww"},
        {"GroupNormalization", "aww"},
        {"RMSNormalization", "aw"},
        {"SimplifiedLayerNormalization", "aw"},  // ONNX Runtime's, in ONNX's domain
        {"com.microsoft.SkipLayerNormalization", "aaw"},
        {"com.microsoft.SkipSimplifiedLayerNormalization", "aaw"},
        {"com.microsoft.Gelu", "a"},
        {"com.microsoft.BiasGelu", "aw"},
        {"com.microsoft.FastGelu", "aw"},
        {"com.microsoft.QuickGelu", "a"},
        {"com.microsoft.FusedMatMul", "ww"},
        {"com.microsoft.FusedConv", "awwa"},
        {"com.microsoft.EmbedLayerNormalization", "--wwwww-"},
        {"com.microsoft.Attention", "aww-aa"},
        {"com.microsoft.MultiHeadAttention", "aaaw-a"},
        {"com.microsoft.RotaryEmbedding", "a-"},
        {"PRelu", "aw"},
        {"LSTM", "awww-aaw"},
        {"GRU", "awww-a"},
        {"RNN", "awww-a"},
        // Views.
        {"Identity", "v"},
        {"Reshape", "v-"},
        {"Transpose", "v"},
        {"Flatten", "v"},
        {"Squeeze", "v-"},
        {"Unsqueeze", "v-"},
        {"Cast", "v"},
        {"CastLike", "v-"},
        {"Expand", "v-"},
        {"Slice", "v-"},
        {"Split", "v-"},
        {"Concat", "v"},
        {"Pad", "v-"},
        {"Tile", "v-"},
        {"Gather", "v-"},
        {"GatherND", "v-"},
        {"GatherElements", "v-"},
        {"ScatterND", "v-v"},
        {"ScatterElements", "v-v"},
        {"Scatter", "v-v"},
        {"DepthToSpace", "v"},
        {"SpaceToDepth", "v"},
        {"ReverseSequence", "v-"},
        {"Compress", "v-"},
        {"Trilu", "v-"},
        {"Dropout", "v-"},
        {"CenterCropPad", "v-"},
        {"Where", "-vv"},
        {"If", "-v"},  // as a choice between its branches' results
        {"Resize", "a-"},
        {"Upsample", "a-"},
        {"GridSample", "aa"},
        {"AffineGrid", "a-"},
        {"RoiAlign", "a--"},
        {"Clip", "a-"},
        {"CumSum", "a-"},
        {"TopK", "v-"},
        {"Attention", "a"},
        {"RotaryEmbedding", "a--"},
        {"MaxUnpool", "v-"},
        {"TensorScatter", "vv-"},
        {"SplitToSequence", "v-"},
        {"SequenceConstruct", "v"},
        {"SequenceInsert", "vv-"},
        {"SequenceErase", "v-"},
        {"SequenceAt", "v-"},
        {"ConcatFromSequence", "v"},
        {"Optional", "v"},
        {"OptionalGetElement", "v"},
        {"MaxRoiPool", "a-"},
        {"Col2Im", "v-"},
    };
    for (const char* name : {"Add",
                             "Sub",
                             "Mul",
                             "Div",
                             "Pow",
                             "Mod",
                             "Sum",
                             "Mean",
                             "Min",
                             "Max",
                             "Abs",
                             "Neg",
                             "Exp",
                             "Log",
                             "Sqrt",
                             "Reciprocal",
                             "Relu",
                             "LeakyRelu",
                             "ThresholdedRelu",
                             "Elu",
                             "Selu",
                             "Celu",
                             "Gelu",
                             "Mish",
                             "Swish",
                             "Sigmoid",
                             "HardSigmoid",
                             "HardSwish",
                             "Tanh",
                             "Softplus",
                             "Softsign",
                             "Shrink",
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
                             "Softmax",
                             "LogSoftmax",
                             "MaxPool",
                             "AveragePool",
                             "LpPool",
                             "GlobalAveragePool",
                             "GlobalMaxPool",
                             "GlobalLpPool",
                             "LRN",
                             "LpNormalization",
                             "MeanVarianceNormalization",
                             "Det",
                             "Inverse",
                             "DFT",
                             "STFT",
                             "NegativeLogLikelihoodLoss",
                             "SoftmaxCrossEntropyLoss"})
      t.emplace(name, "a");
    for (const char* name : {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1",
                             "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"})
      t.emplace(name, "a-");
    for (const char* name : {"Shape",
                             "Size",
                             "SequenceLength",
                             "SequenceEmpty",
                             "OptionalHasElement",
                             "Constant",
                             "ConstantOfShape",
                             "Range",
                             "EyeLike",
                             "NonZero",
                             "OneHot",
                             "Unique",
                             "Equal",
                             "Greater",
                             "GreaterOrEqual",
                             "Less",
                             "LessOrEqual",
                             "And",
                             "Or",
                             "Xor",
                             "Not",
                             "BitShift",
                             "BitwiseAnd",
                             "BitwiseOr",
                             "BitwiseXor",
                             "BitwiseNot",
                             "Floor",
                             "Ceil",
                             "Round",
                             "Sign",
                             "IsNaN",
                             "IsInf",
                             "ArgMax",
                             "ArgMin",
                             "NonMaxSuppression",
                             "Bernoulli",
                             "Multinomial",
                             "RandomNormal",
                             "RandomNormalLike",
                             "RandomUniform",
                             "RandomUniformLike",
                             "HannWindow",
                             "HammingWindow",
                             "BlackmanWindow",
                             "MelWeightMatrix",
                             "QuantizeLinear",
                             "DequantizeLinear",
                             "DynamicQuantizeLinear",
                             "Hardmax",
                             "QLinearConv",
                             "QLinearMatMul",
                             "ConvInteger",
                             "MatMulInteger"})
      t.emplace(name, "-");
    return t;
  }();
  return table;
}

}  // namespace

Flow flow_of(const NodeInfo& node, size_t input) {
  const auto it = operators().find(operator_of(node));
  if (it == operators().end()) return Flow::kUnknown;
  const std::string_view letters = it->second;
  switch (input < letters.size() ? letters[input] : letters.back()) {
    case 'v':
      return Flow::kView;
    case 'a':
      return Flow::kArithmetic;
    case 'w':
      return Flow::kWeight;
    case 's':
      return Flow::kState;
    default:
      return Flow::kNone;
  }
}

}  // namespace halftone::onnx
