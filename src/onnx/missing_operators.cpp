#include "onnx/missing_operators.h"

#include <fmt/format.h>

#include "base/words.h"

namespace halftone::onnx {
namespace {

// Of ONNX's and ONNX Runtime's: what computes with whole numbers in place of floats.
bool is_quantised(const std::string& op_type) {
  for (const char* part : {"uantizeLinear", "QLinear", "QOrdered", "DynamicQuantize", "ConvInteger", "MatMulInteger", "NBits", "Bnb4",
                           "Quantized"})
    if (op_type.find(part) != std::string::npos) return true;
  return is_one_of(op_type, {"QAttention", "QEmbedLayerNormalization", "QGemm", "QMoE", "DequantizeBFP", "QuantizeBFP"});
}

}  // namespace

std::string reason_of_missing(const std::string& op_type, const std::string& domain) {
  if (is_quantised(op_type))
    return "the network is quantised: its weights are whole numbers, which no gradient moves; train the float file that it was made "
           "from, and quantise the result";
  if (!domain.empty()) return fmt::format("it is of the domain '{}', not one of ONNX's own operators", domain);
  if (is_one_of(op_type, {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}))
    return "it draws new random numbers in every step, and the only random operator that Halftone has is Dropout; export the "
           "network for inference, or make the noise an input";
  if (is_one_of(op_type, {"Loop", "Scan", "SequenceMap"}))
    return "it runs a graph of its own again and again, and Halftone compiles networks without loops; export it unrolled";
  return "there is no such operator in Halftone";
}

}  // namespace halftone::onnx
