// What becomes of each of a file's float tensors: trained or not, and why. Decided from the file alone,
// whether Halftone can run its operators or not, by the tensor's place in the graph, its name, and its
// values.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/patterns.h"
#include "onnx/model.h"

namespace halftone::onnx {

enum class Role : uint8_t {
  kParameter,  // trained by gradient
  kState,      // a batch norm's running mean or variance
  kFrozen,     // a parameter that stays as it is
  kConstant,
};
std::string name_of(Role role);  // trained, statistic, frozen, constant

struct TensorRole {
  std::string name;
  Shape shape;
  Role role = Role::kConstant;
  std::string reason;  // in words
  std::string where;   // the node that decided it, as "Conv '/conv1/Conv'"; empty: no node did
  // Decided by signs that can mislead, or not as a user would expect: to be said before work begins.
  bool doubtful = false;
};

// All float tensors of the file, in its order. The patterns of `choice` overrule what the file says.
// Parameters are
//  - what stands in a place where an operator keeps its parameters (gradient_flow.h), through nodes that
//    compute
//  with tensors alone too;
//  - what Add, Sub, Mul, Div or Concat combines with something that depends on a parameter already. The
//  normalisation of a network's own input comes before any parameter and stays constant;
//  - of tensors with one element, those that a module named, and the biases of products with one output.
// Not masks, tables of sines, grids, fixed filters, tensors named as buffers are, and literals of an
// exporter. A parameter that is reached only through operators without a gradient in Halftone is frozen.
// usage Error when a pattern matches no float tensor, or --train names one that no gradient reaches.
std::vector<TensorRole> roles_of(const Model& model, const TrainFreeze& choice = {});

// What an imported graph needs to know of that: parameters (frozen ones too, unless they have to be constants
// so that the network can be imported) and states; all others are constants. A tensor that is used several
// times is one parameter.
std::map<std::string, Role> tensor_roles(const Model& model, const TrainFreeze& choice = {});

}  // namespace halftone::onnx
