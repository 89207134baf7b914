#include "onnx/input_counts.h"

namespace halftone::onnx {
namespace {

// From ONNX's schemas of opsets 7 to 24.
struct Always {
  size_t most;
  std::string_view operators;  // with a space between them
};
constexpr Always kAlways[] = {
    {0, "Constant RandomNormal RandomUniform SequenceEmpty"},
    {1,
     "Abs Acos Acosh ArgMax ArgMin Asin Asinh Atan Atanh AveragePool Bernoulli BitwiseNot BlackmanWindow "
     "Cast Ceil Celu ConcatFromSequence ConstantOfShape Cos Cosh DepthToSpace Det DynamicQuantizeLinear "
     "Elu Erf Exp EyeLike Flatten Floor Gelu GlobalAveragePool GlobalLpPool GlobalMaxPool HammingWindow "
     "HannWindow HardSigmoid HardSwish Hardmax Identity If ImageDecoder IsInf IsNaN LRN LeakyRelu Log "
     "LogSoftmax LpNormalization LpPool MaxPool MeanVarianceNormalization Mish Multinomial Neg NonZero "
     "Not Optional OptionalGetElement OptionalHasElement RandomNormalLike RandomUniformLike Reciprocal "
     "RegexFullMatch Relu Round Selu SequenceLength Shape Shrink Sigmoid Sign Sin Sinh Size Softmax "
     "Softplus Softsign SpaceToDepth Sqrt StringNormalizer StringSplit Swish Tan Tanh TfIdfVectorizer "
     "ThresholdedRelu Transpose Unique"},
    {2,
     "Add AffineGrid And BitShift BitwiseAnd BitwiseOr BitwiseXor CastLike CenterCropPad Compress CumSum "
     "Div Equal Expand Gather GatherElements GatherND Greater GreaterOrEqual GridSample Less LessOrEqual "
     "MatMul MaxRoiPool Mod Mul Or PRelu Pow RMSNormalization Reshape ReverseSequence SequenceAt "
     "SequenceErase SplitToSequence StringConcat Sub Tile Trilu Xor"},
    {3,
     "Col2Im Conv ConvTranspose DequantizeLinear Gemm GroupNormalization InstanceNormalization "
     "LayerNormalization MaxUnpool NegativeLogLikelihoodLoss OneHot QuantizeLinear Range RoiAlign "
     "Scatter ScatterElements ScatterND SequenceInsert SoftmaxCrossEntropyLoss TensorScatter Where"},
    {4, "ConvInteger MatMulInteger RotaryEmbedding STFT"},
    {5, "BatchNormalization DeformConv MelWeightMatrix NonMaxSuppression"},
    {6, "GRU RNN"},
    {8, "LSTM QLinearMatMul"},
    {9, "QLinearConv"},
};

struct Since {
  std::string_view op_type;
  int opset;
  size_t most;
};
constexpr Since kSince[] = {
    {"Attention", 0, 6},
    {"Attention", 24, 7},
    {"Clip", 0, 1},
    {"Clip", 11, 3},
    {"DFT", 0, 2},
    {"DFT", 20, 3},
    {"Dropout", 0, 1},
    {"Dropout", 12, 3},
    {"Pad", 0, 1},
    {"Pad", 11, 3},
    {"Pad", 18, 4},
    {"ReduceL1", 0, 1},
    {"ReduceL1", 18, 2},
    {"ReduceL2", 0, 1},
    {"ReduceL2", 18, 2},
    {"ReduceLogSum", 0, 1},
    {"ReduceLogSum", 18, 2},
    {"ReduceLogSumExp", 0, 1},
    {"ReduceLogSumExp", 18, 2},
    {"ReduceMax", 0, 1},
    {"ReduceMax", 18, 2},
    {"ReduceMean", 0, 1},
    {"ReduceMean", 18, 2},
    {"ReduceMin", 0, 1},
    {"ReduceMin", 18, 2},
    {"ReduceProd", 0, 1},
    {"ReduceProd", 18, 2},
    {"ReduceSum", 0, 1},
    {"ReduceSum", 13, 2},
    {"ReduceSumSquare", 0, 1},
    {"ReduceSumSquare", 18, 2},
    {"Resize", 0, 2},
    {"Resize", 11, 4},
    {"Slice", 0, 1},
    {"Slice", 10, 5},
    {"Split", 0, 1},
    {"Split", 13, 2},
    {"Squeeze", 0, 1},
    {"Squeeze", 13, 2},
    {"TopK", 0, 1},
    {"TopK", 10, 2},
    {"Unsqueeze", 0, 1},
    {"Unsqueeze", 13, 2},
    {"Upsample", 0, 1},
    {"Upsample", 9, 2},
};

bool names(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    const size_t end = list.find(' ');
    if (list.substr(0, end) == name) return true;
    if (end == std::string_view::npos) break;
    list.remove_prefix(end + 1);
  }
  return false;
}

}  // namespace

std::optional<size_t> most_inputs(std::string_view op_type, int opset) {
  for (const Always& row : kAlways)
    if (names(row.operators, op_type)) return row.most;
  std::optional<size_t> most;
  for (const Since& row : kSince)  // in the order of opsets
    if (row.op_type == op_type && row.opset <= opset) most = row.most;
  return most;
}

}  // namespace halftone::onnx
