// What the forward passes of batch norms and their gradients share: x as rows of channels, parameters in
// registers, and the activation and residual behind a batch norm that are computed with it.
#pragma once

#include <algorithm>

#include "base/error.h"
#include "kern/kernels.h"
#include "num/half.h"
#include "ops/chunks.h"
#include "ops/op.h"
#include "ops/row_listener.h"

namespace halftone::ops::batch_norm {

inline constexpr const char* kOperands[] = {"x", "scale", "bias", "mean", "var"};

inline void check_channels(const InferContext& c, size_t first, size_t last) {
  const Shape& x = c.input(0).shape;
  if (x.size() < 2)
    throw input_error("the input {} of a batch norm needs at least two dimensions", to_string(x));
  for (size_t i = first; i <= last; ++i)
    if (c.input(i).shape != Shape{x.back()})
      throw input_error("{} has shape {}, expected {} (the channels of {})", kOperands[i],
                        to_string(c.input(i).shape), x.back(), to_string(x));
}

// Reads a per-channel parameter in storage type into registers of type R.
template <class R>
R load(DType dtype, const void* p, int64_t i) {
  switch (dtype) {
    case DType::kF64:
      return static_cast<R>(static_cast<const double*>(p)[i]);
    case DType::kF32:
      return static_cast<R>(static_cast<const float*>(p)[i]);
    case DType::kF16:
      return num::widen(static_cast<const num::Fp16*>(p)[i]);
    default:
      return num::widen(static_cast<const num::Bf16*>(p)[i]);
  }
}

// x as [rows][cols].
struct Plane {
  DType dtype;
  int64_t rows, cols;
  Chunks chunks;
  int64_t width;  // bytes of an element of x
  explicit Plane(const Type& x)
      : dtype(x.dtype),
        rows(elements(x.shape) / std::max<int64_t>(1, x.shape.back())),
        cols(x.shape.back()),
        chunks(row_chunks(rows, cols)),
        width(size_bytes(x.dtype)) {}
  const void* at(const void* p, int64_t chunk) const {
    return static_cast<const std::byte*>(p) + chunks.begin(chunk) * cols * width;
  }
  void* at(void* p, int64_t chunk) const {
    return static_cast<std::byte*>(p) + chunks.begin(chunk) * cols * width;
  }
  // That of a batch norm: chunk by chunk.
  EarlyStage early_stage(size_t input) const { return {input, rows, chunks.size, {}, {}}; }
  void report_chunk(const RunContext& r, int64_t chunk, int worker) const {
    report_rows(r, chunks.begin(chunk), chunks.length(chunk), cols, worker);
  }
};

// Calls f with a float or, in the oracle, a double.
template <class F>
Prepared by_register(DType dtype, F f) {
  return dtype == DType::kF64 ? f(double{}) : f(float{});
}

// ---------------------------------------------------------------- what is fused behind
struct Fused {
  kern::Activation activation = kern::Activation::kNone;
  float low = 0;
  float high = 0;
};
inline Fused fused_of(const Attributes& attributes) {
  Fused f;
  const std::string name = attributes.string_or("activation", "");
  if (name.empty()) return f;
  HT_ASSERT(name == "Relu" || name == "Clip", "{} is not an activation that a batch norm takes along", name);
  f.activation = name == "Relu" ? kern::Activation::kRelu : kern::Activation::kClip;
  f.low = static_cast<float>(attributes.float_or("low", 0));
  f.high = static_cast<float>(attributes.float_or("high", 0));
  return f;
}
inline Behind behind(size_t residual) {
  return {.residual = residual, .activations = {"Relu", "Clip"}, .after_residual = {"Relu"}};
}
inline void check_residual(const InferContext& c, size_t i) {
  if (!c.has(i)) return;
  if (c.input(i) != c.input(0))
    throw input_error("the residual {} has another shape than the input {}", to_string(c.input(i).shape),
                      to_string(c.input(0).shape));
  if (fused_of(c.attributes()).activation == kern::Activation::kClip)
    throw input_error("a residual and Clip behind one batch norm are not supported together");
}

}  // namespace halftone::ops::batch_norm
