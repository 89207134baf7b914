#include "onnx/missing_operators.h"

#include "base/words.h"

namespace halftone::onnx {

std::string reason_of_missing(const std::string& op_type) {
  if (is_one_of(op_type, {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}))
    return "it draws new random numbers in every step, and the only random operator that Halftone has is Dropout; export the "
           "network for inference, or make the noise an input";
  if (is_one_of(op_type, {"Loop", "Scan", "SequenceMap"}))
    return "it runs a graph of its own again and again, and Halftone compiles networks without loops; export it unrolled";
  return "there is no such operator in Halftone";
}

}  // namespace halftone::onnx
