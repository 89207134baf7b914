// What a tensor's name and values say about where it comes from: a parameter, a buffer, or a number in the
// code.
#pragma once

#include <string_view>

#include "tensor/tensor.h"

namespace halftone::onnx {

// "onnx::Conv_253", "253", "val_12", "_to_copy_3": made by an exporter, not by a module's author.
bool is_made_up(std::string_view name);

enum class NameKind : uint8_t {
  kMadeUp,     // by an exporter: says nothing
  kBuffer,     // as buffers are called: attn_mask, anchors, running_mean
  kParameter,  // as parameters are called: weight, gamma, cls_token, ReadVariableOp
  kModule,     // another name within a module: stem.lab.scale
  kPlain,      // a single word that could be anything
};
NameKind kind_of_name(std::string_view name);

// Values that training does not bring about.
enum class Pattern : uint8_t {
  kNone,
  kEqual,     // all the same, also a single one
  kInfinite,  // some are infinite or NaN
  kMask,      // 0, and one value of -10 or below
  kZeroOne,   // 0 and 1, both of them
  kGrid,      // multiples of 1/2, several, some of 2 or more: coordinates, strides, anchors
  kWaves,     // pairs of a sine and a cosine, or cosines and sines that come in equal pairs
  kRepeated,  // at least twice each on average
};
Pattern pattern_of(const Tensor& tensor);

// Whether some rows of a table are -inf and all others finite: added to scores, such a row masks them.
bool is_masking_table(const Tensor& table);

// Whether a convolution's weight [C, 1, ...] is one filter for all channels: a blur, an average, a picture of
// indices.
bool is_fixed_filter(const Tensor& weight);

}  // namespace halftone::onnx
