// Whether a tensor is a parameter where it arrives: by the operator, its name and its values. Private to
// src/onnx.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "onnx/gradient_flow.h"
#include "onnx/model.h"
#include "onnx/tensor_signs.h"

namespace halftone::onnx {

// How a tensor arrives at the node that decides about it.
struct Arrival {
  const NodeInfo* node = nullptr;
  size_t input = 0;
  Flow flow = Flow::kNone;
  bool views_only = true;       // nothing was computed on the way
  bool waves = false;           // Sin or Cos was
  bool repeated = false;        // Expand or Tile was on the way
  bool data = false;            // it is the input, not the weight, of a product of constants
  bool after_parameter = true;  // the node's other operand depends on a parameter
  bool single_output = false;   // the other operand is a product with one output
  bool after_product = false;   // an Add's other operand is a product with a constant weight
  bool after_scale = false;     // an Add's other operand is scaled by the exponential of a constant
};

struct Verdict {
  bool train = false;
  std::string reason;
  bool doubtful = false;
};

class TensorJudge {
 public:
  explicit TensorJudge(const Model& model) : model_(model) {}
  Verdict verdict(const TensorInfo& info, const Arrival& a);

 private:
  Verdict in_a_slot(const TensorInfo& info, const Arrival& a, NameKind kind, bool literal);
  Verdict single_element(const TensorInfo& info, const Arrival& a, NameKind kind, bool literal);
  // PyTorch's exporters keep the names of parameters and buffers and make up all others.
  NameKind name_kind(const std::string& name) const;
  // None when they cannot be read, which is an error where they are used.
  std::optional<Tensor> elements_of(const TensorInfo& info) const;
  Pattern pattern(const TensorInfo& info);
  bool is_fixed(const TensorInfo& info) const;
  bool has_masking_rows(const TensorInfo& info) const;
  // What parameters start from.
  bool is_initial(const TensorInfo& info) const;
  // Numbers that people write: 0.5, 3, 1e-6, and those of Gelu and of attention.
  bool is_round(const TensorInfo& info) const;

  const Model& model_;
  std::map<std::string, Pattern> patterns_;
};

}  // namespace halftone::onnx
