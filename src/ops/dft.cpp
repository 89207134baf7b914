// DFT of a constant length, as a product with a table of cosines and sines; STFT as a convolution with one.
//
// formula  y[k] = sum over n of x[n] e^(-2 pi i k n / N); inverse: e^(+...) / N. onesided: k <= N / 2;
//          inverse and onesided: the real signal of which x is one half
// gradient MatMul's, Conv's
// shapes   x[.., n, .., 1 or 2] -> y[.., K, .., 2 (inverse and onesided: 1)]
// dtypes   fp16 bf16 fp32; fp64 in the oracle. The table is stored like all constants
// rounds   once, when y is stored (MatMul's rules)
// saves    none
// scratch  MatMul's
// alias    none
// errors   dft_length, axis, frame_step, frame_length or a window that are not constants; complex signals of
//          STFT; an inverse of real numbers that is onesided; large tables
// source   ONNX DFT-17/20, STFT-17
// tests    tests/ops/einsum_test.cpp
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "tensor/permutation.h"

namespace halftone::ops::dft {
namespace {

constexpr double kTwoPi = 6.283185307179586476925286766559;

// [n * in, K * out]: what element n (of `in` numbers) gives to result k (of `out`). Elements beyond
// `length` give nothing.
Tensor table(int64_t n, int64_t in, int64_t length, int64_t k_count, int64_t out, bool inverse,
             bool onesided) {
  Tensor t = folded(DType::kF32, {n * in, k_count * out});
  const auto values = t.as<float>();
  for (int64_t i = 0; i < std::min(n, length); ++i)
    for (int64_t k = 0; k < k_count; ++k) {
      const double angle =
          (inverse ? 1 : -1) * kTwoPi * static_cast<double>(i * k % length) / static_cast<double>(length);
      double scale = inverse ? 1.0 / static_cast<double>(length) : 1.0;
      if (inverse &&
          onesided) {  // the other half is the conjugate, but for the first number and the middle one
        if (i > length / 2) continue;
        if (i != 0 && 2 * i != length) scale *= 2;
      }
      const double re = scale * std::cos(angle);
      const double im = scale * std::sin(angle);
      const auto at = [&](int64_t a, int64_t b) -> float& {
        return values[static_cast<size_t>((i * in + a) * k_count * out + k * out + b)];
      };
      at(0, 0) = static_cast<float>(re);
      if (out == 2) at(0, 1) = static_cast<float>(im);
      if (in == 2) at(1, 0) = static_cast<float>(-im);
      if (in == 2 && out == 2) at(1, 1) = static_cast<float>(re);
    }
  return t;
}

int64_t number_of(const ImportContext& c, size_t i, const char* name) {
  const std::vector<int64_t> value = c.int_constant(i);
  if (value.size() != 1) throw input_error("{} has {} numbers", name, value.size());
  return value[0];
}

// STFT: frames of a real signal, each times the window, transformed: a convolution with the transform's
// table.
std::vector<ValueId> import_stft(ImportContext& c) {
  check_attributes(c.attributes, {"onesided"});
  const Shape x = c.shape(0);
  if (x.size() != 3 || x[2] != 1)
    throw input_error("the signal is {}, expected [batch, length, 1] (real numbers)", to_string(x));
  const bool onesided = c.attributes.int_or("onesided", 1) != 0;
  const int64_t step = number_of(c, 1, "frame_step");
  const Tensor* window = c.constant(2);
  if (c.has(2) && window == nullptr) throw input_error("the window (input 2) must be a constant");
  const int64_t length = c.has(3)            ? number_of(c, 3, "frame_length")
                         : window != nullptr ? window->size()
                                             : x[1];
  if (window != nullptr && window->shape() != Shape{length})
    throw input_error("the window is {}, frames have {} elements", to_string(window->shape()), length);
  constexpr int64_t kLongest = int64_t{1} << 20;
  if (step < 1 || step > kLongest || length < 1 || length > std::min(x[1], kLongest))
    throw input_error("frames of {} elements, {} apart, of a signal of {}", length, step, x[1]);
  const int64_t k_count = onesided ? length / 2 + 1 : length;
  const Tensor transform = table(length, 1, length, k_count, 2, false, onesided);  // [length, K * 2]
  const std::vector<double> weights = window == nullptr ? std::vector<double>{} : to_doubles(*window);
  Tensor filters = folded(DType::kF32, {k_count * 2, 1, length, 1});
  for (int64_t i = 0; i < length; ++i) {
    const double weight = weights.empty() ? 1 : weights[static_cast<size_t>(i)];
    for (int64_t k = 0; k < k_count * 2; ++k)
      filters.as<float>()[static_cast<size_t>(k * length + i)] =
          static_cast<float>(weight * transform.as<float>()[static_cast<size_t>(i * k_count * 2 + k)]);
  }
  Builder& b = c.builder;
  const ValueId y =
      b.add1("Conv", {b.reshape(c.inputs[0], {x[0], 1, x[1], 1}), b.constant(std::move(filters))},
             {{"pads", std::vector<int64_t>(4, 0)},
              {"strides", std::vector<int64_t>{1, step}},
              {"dilations", std::vector<int64_t>{1, 1}},
              {"group", int64_t{1}}});
  return {b.reshape(y, {x[0], b.shape(y)[2], k_count, 2})};
}

std::vector<ValueId> import(ImportContext& c) {
  if (c.opset < 20) {
    check_attributes(c.attributes, {"axis", "inverse", "onesided"});
  } else {
    check_attributes(c.attributes, {"inverse", "onesided"});
  }
  const Shape x = c.shape(0);
  const auto rank = static_cast<int64_t>(x.size());
  if (rank < 3 || (x.back() != 1 && x.back() != 2))
    throw input_error("x is {}, expected [.., n, .., 1 or 2]", to_string(x));
  const bool inverse = c.attributes.int_or("inverse", 0) != 0;
  const bool onesided = c.attributes.int_or("onesided", 0) != 0;
  int64_t axis = c.opset < 20 ? c.attributes.int_or("axis", 1) : c.has(2) ? number_of(c, 2, "axis") : -2;
  axis = normalize_axis(axis, rank);
  if (axis == rank - 1) throw input_error("the axis is the last one, which holds real and imaginary parts");
  const int64_t n = x[static_cast<size_t>(axis)];
  const int64_t in = x.back();
  if (n < 1) throw input_error("axis {} of {} has no elements", axis, to_string(x));
  if (onesided && !inverse && in == 2)
    throw input_error("a onesided transform needs real numbers, x is {}", to_string(x));
  if (onesided && inverse && in == 1)
    throw input_error("a onesided inverse needs complex numbers, x is {}", to_string(x));
  const int64_t length = c.has(1) ? number_of(c, 1, "dft_length") : inverse && onesided ? 2 * (n - 1) : n;
  if (length < 1 || length > (int64_t{1} << 20)) throw input_error("dft_length is {}", length);
  const int64_t k_count = onesided && !inverse ? length / 2 + 1 : length;
  const int64_t out = onesided && inverse ? 1 : 2;
  if (n > (int64_t{1} << 20)) throw input_error("axis {} of {} is too long", axis, to_string(x));
  Builder& b = c.builder;
  const std::vector<int64_t> perm = axes_last({axis, rank - 1}, x.size());
  const ValueId moved = b.transpose(c.inputs[0], perm);
  const Shape s = b.shape(moved);
  const int64_t rows = elements(Shape(s.begin(), s.end() - 2));
  const ValueId y = b.add1("MatMul", {b.reshape(moved, {rows, n * in}),
                                      b.constant(table(n, in, length, k_count, out, inverse, onesided))});
  Shape result(s.begin(), s.end() - 2);
  result.push_back(k_count);
  result.push_back(out);
  return {b.transpose(b.reshape(y, result), halftone::inverse(perm))};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {},
      {{.op_type = "DFT", .since = 17, .until = 24, .import = import},
       {.op_type = "STFT", .since = 17, .until = 24, .import = import_stft, .required_inputs = 2}}};
  return family;
}

}  // namespace halftone::ops::dft
