// Which of a file's tensors are trained.
#pragma once

#include <map>
#include <string>

#include "onnx/model.h"

namespace halftone::onnx {

enum class Role : uint8_t {
  kParameter,  // trained by gradient
  kState,      // a batch norm's running mean or variance
};

// The role of each tensor that has one; all others are constants. Parameters are the float tensors
//  - in a slot that its operator trains (OnnxOp::trained_inputs: weights, biases, norm scales), directly or
//  through nodes that compute the slot's value from
//    tensors alone: of those behind Transpose, Reshape, Cast and the like each, of those behind arithmetic
//    (weight normalisation) all with more than one element;
//  - that Add, Sub, Mul or Div combines with something that depends on a parameter already, with more than
//  one element, directly or behind Transpose,
//    Reshape, Cast and the like. The normalisation of a network's own input comes before any parameter, and
//    so stays constant.
// A tensor that is used several times is one parameter.
std::map<std::string, Role> tensor_roles(const Model& model);

}  // namespace halftone::onnx
