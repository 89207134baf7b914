#include "onnx/missing_operators.h"

#include <fmt/format.h>

#include "base/words.h"

namespace halftone::onnx {
namespace {

constexpr std::string_view kQuantised =
    "the network is quantised to 8 bits or fewer, where weights have no room for an update; continue the "
    "training of the float network "
    "and quantise the result again";

// Of ONNX's and ONNX Runtime's: what computes with whole numbers in place of floats.
bool is_quantised(const std::string& op_type) {
  for (const char* part : {"uantizeLinear", "QLinear", "QOrdered", "DynamicQuantize", "ConvInteger",
                           "MatMulInteger", "NBits", "Bnb4", "Quantized"})
    if (op_type.find(part) != std::string::npos) return true;
  return is_one_of(
      op_type, {"QAttention", "QEmbedLayerNormalization", "QGemm", "QMoE", "DequantizeBFP", "QuantizeBFP"});
}

}  // namespace

const std::vector<MissingOperators>& missing_operators() {
  static const std::vector<MissingOperators> list = {
      {{"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul",
        "ConvInteger", "MatMulInteger"},
       kQuantised},
      {{"NonMaxSuppression", "RoiAlign", "MaxRoiPool"},
       "it works on detections, and what chooses them has no gradient; --output NAME trains the part of the "
       "network before it"},
      {{"StringConcat", "StringNormalizer", "StringSplit", "RegexFullMatch", "TfIdfVectorizer",
        "ImageDecoder"},
       "it reads text or files, and Halftone's tensors hold numbers; do that before, and make the numbers an "
       "input"},
      {{"DeformConv"}, "its taps move with the samples, and Halftone's convolutions have fixed ones"},
      {{"Det"}, "Halftone has no decomposition of matrices"},
  };
  return list;
}

std::string reason_of_missing(const std::string& op_type, const std::string& domain) {
  if (is_quantised(op_type)) return std::string(kQuantised);
  if (!domain.empty())
    return fmt::format("it is of the domain '{}', not one of ONNX's own operators", domain);
  for (const MissingOperators& missing : missing_operators())
    for (const std::string_view name : missing.op_types)
      if (name == op_type) return std::string(missing.reason);
  return "there is no such operator in Halftone";
}

}  // namespace halftone::onnx
