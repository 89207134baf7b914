#include "onnx/missing_operators.h"

#include <fmt/format.h>

namespace halftone::onnx {

const std::vector<MissingOperators>& missing_operators() {
  static const std::vector<MissingOperators> list = {
      {{"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"},
       "it draws new random numbers in every step, and the only random operator that Halftone has is Dropout; export the network for "
       "inference, or make the noise an input"},
      {{"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
        "MatMulInteger"},
       "the file is quantised to 8 bits, where weights have no room for an update; continue the training of the float network and "
       "quantise the result again"},
      {{"NonMaxSuppression", "RoiAlign", "MaxRoiPool"},
       "it works on detections, and what chooses them has no gradient; --output NAME trains the part of the network before it"},
      {{"StringConcat", "StringNormalizer", "StringSplit", "RegexFullMatch", "TfIdfVectorizer", "ImageDecoder"},
       "it reads text or files, and Halftone's tensors hold numbers; do that before, and make the numbers an input"},
      {{"DeformConv"}, "its taps move with the samples, and Halftone's convolutions have fixed ones"},
      {{"Det"}, "Halftone has no decomposition of matrices"},
  };
  return list;
}

std::string reason_of_missing(const std::string& op_type) {
  for (const MissingOperators& missing : missing_operators())
    for (const std::string_view name : missing.op_types)
      if (name == op_type) return std::string(missing.reason);
  return "there is no such operator in Halftone";
}

std::string foreign_domain(const std::string& domain) {
  return fmt::format("it is of the domain '{}', not one of ONNX's own operators", domain);
}

}  // namespace halftone::onnx
