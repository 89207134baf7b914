// Windows of signals: HannWindow, HammingWindow, BlackmanWindow.
//
// formula  y[i] = a0 - a1 cos(2 pi i / n) + a2 cos(4 pi i / n), n the size, or one less where it is not
//          periodic
// gradient none: constants
// shapes   size (one number) -> y[size]
// dtypes   as the attribute says: a float type
// rounds   in double, then once
// saves    none
// scratch  none
// alias    none
// errors   a size that is not known when loading, or below 1 (2 where it is not periodic); an output_datatype
//          that is not a float type's
// source   ONNX HannWindow, HammingWindow, BlackmanWindow-17
// tests    tests/ops/constant_folding_test.cpp
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"

namespace halftone::ops::window {
namespace {

std::vector<Tensor> fold(const FoldContext& c) {
  check_attributes(c.attributes, {"output_datatype", "periodic"});
  const int64_t type = c.attributes.int_or("output_datatype", 1);
  if (type != 1 && type != 10 && type != 11 && type != 16)
    throw input_error("output_datatype is {}, expected a float type's", type);
  const std::vector<int64_t> sizes = fold_ints(c, 0);
  const bool periodic = c.attributes.int_or("periodic", 1) != 0;
  if (sizes.size() != 1 || sizes[0] < (periodic ? 1 : 2))
    throw input_error("the size must be one number of at least {}", periodic ? 1 : 2);
  const double n = static_cast<double>(periodic ? sizes[0] : sizes[0] - 1);
  Tensor y = folded(DType::kF32, {sizes[0]});
  const bool hann = c.op_type == "HannWindow";
  const bool hamming = c.op_type == "HammingWindow";
  const double a0 = hann ? 0.5 : hamming ? 25.0 / 46 : 0.42;
  const double a1 = hamming ? 1 - a0 : 0.5;
  const double a2 = hann || hamming ? 0 : 0.08;
  for (int64_t i = 0; i < sizes[0]; ++i) {
    const double angle = 2 * std::numbers::pi * static_cast<double>(i) / n;
    y.as<float>()[static_cast<size_t>(i)] =
        static_cast<float>(a0 - a1 * std::cos(angle) + a2 * std::cos(2 * angle));
  }
  return one(std::move(y));
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{{},
                               {{.op_type = "BlackmanWindow", .since = 17, .until = 24, .fold = fold},
                                {.op_type = "HammingWindow", .since = 17, .until = 24, .fold = fold},
                                {.op_type = "HannWindow", .since = 17, .until = 24, .fold = fold}}};
  return family;
}

}  // namespace halftone::ops::window
