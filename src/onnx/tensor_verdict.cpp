#include "onnx/tensor_verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/resource_error.h"
#include "base/words.h"
#include "onnx/model_contents.h"

namespace halftone::onnx {
namespace {

// Operators that a module's own parameter is combined with its input by.
bool combines(const std::string& op) {
  return is_one_of(op, {"Add", "Sub", "Mul", "Div", "Sum", "Concat"});
}

Verdict trained(std::string reason, bool doubtful = false) {
  return {true, std::move(reason), doubtful};
}
Verdict constant(std::string reason, bool doubtful = false) {
  return {false, std::move(reason), doubtful};
}

// What only a parameter can be, whatever it is called: a bias, or the scale or shift of a norm.
bool has_parameters_place(const TensorInfo& info, const Arrival& a) {
  if (!a.views_only) return false;
  if (a.flow == Flow::kWeight)
    return a.input >= 2 || a.node->op_type.find("Normalization") != std::string::npos;
  // One number a feature: the last axis. A mask may be added to a product, too.
  return a.after_product && info.name.find("mask") == std::string::npos && !info.shape.empty() &&
         info.shape.back() > 1 && info.shape.back() == elements(info.shape);
}

// PyTorch's newer exporter calls literals so, and what it computed from them beforehand; parameters keep
// their names.
bool is_numbered_value(const std::string& name) {
  return name.rfind("val_", 0) == 0 && is_made_up(name);
}

std::string slot_name(const std::string& op, size_t input) {
  const bool norm = op.find("Normalization") != std::string::npos;
  if (norm) return input == (op.rfind("Skip", 0) == 0 ? 2 : 1) ? "scale" : "shift";
  if (op == "PRelu") return "slope";
  if (op == "MatMul" || op == "Einsum" || op == "Gemm") return input == 2 ? "bias" : "weight";
  return input == 1 ? "weight" : input == 2 && op.rfind("Conv", 0) == 0 ? "bias" : "parameter";
}

std::string reason_of(Pattern p) {
  switch (p) {
    case Pattern::kInfinite:
      return "some of its values are infinite or NaN";
    case Pattern::kMask:
      return "a mask: its values are 0 and one large negative number";
    case Pattern::kZeroOne:
      return "a mask: its values are 0 and 1";
    case Pattern::kGrid:
      return "a grid: all its values are whole or half numbers";
    case Pattern::kWaves:
      return "a fixed table of sines and cosines";
    case Pattern::kRepeated:
      return "constants are computed from it, and its values repeat as those of a fixed table do";
    default:
      return "all its values are the same";
  }
}

}  // namespace

Verdict TensorJudge::verdict(const TensorInfo& info, const Arrival& a) {
  const NameKind kind = name_kind(info.name);
  const bool literal = !model_.is_initializer(info.name);
  const bool single = elements(info.shape) == 1;
  if (kind == NameKind::kBuffer && !has_parameters_place(info, a))
    return constant("its name is usual for a buffer, not for a parameter", true);
  if (a.flow == Flow::kWeight && a.views_only) return in_a_slot(info, a, kind, literal);
  if (a.waves) return constant("a sine or cosine is taken of it", !literal);
  if (single) return single_element(info, a, kind, literal);
  if (literal && (!a.views_only || a.data)) return constant("a literal that constants are computed from");
  const bool named = kind == NameKind::kParameter || kind == NameKind::kModule;
  if (!a.views_only || a.data) {
    const Pattern p = pattern(info);
    if (p == Pattern::kInfinite || p == Pattern::kMask ||
        (p == Pattern::kZeroOne && kind != NameKind::kParameter))
      return constant(reason_of(p), true);
    if (a.data && !named && p != Pattern::kNone && p != Pattern::kEqual) return constant(reason_of(p), true);
    if (a.flow == Flow::kWeight) return trained("a weight is computed from it");
  }
  if (a.input == 0 && a.views_only && is_one_of(a.node->op_type, {"Gather", "GatherND", "GatherElements"})) {
    if (pattern(info) == Pattern::kInfinite && has_masking_rows(info))
      return constant("a table with rows of -inf, which mask what they are added to", true);
    return trained("a table of embeddings");
  }
  // An operand of something that depends on the samples.
  const bool combined = combines(a.node->op_type) || a.flow == Flow::kUnknown || !a.views_only;
  if (!combined && !named)
    return constant(fmt::format("an operand of {} is usually no parameter", a.node->op_type));
  if (!a.after_parameter) {
    if (kind == NameKind::kParameter)
      return trained("it has the name of a parameter, although no other trained tensor comes before it",
                     true);
    return constant("it prepares the network's input: no trained tensor comes before it");
  }
  const Pattern p = pattern(info);
  if (p == Pattern::kInfinite || p == Pattern::kMask) return constant(reason_of(p));
  // Small networks that people write have biases such as 0, 1, 2, ... too: only what an exporter named.
  const bool made_up = literal || kind == NameKind::kMadeUp;
  if (p == Pattern::kWaves || (p == Pattern::kGrid && made_up) ||
      (p == Pattern::kZeroOne && made_up && a.node->op_type == "Mul"))
    return constant(reason_of(p), true);
  if (p == Pattern::kEqual &&
      (literal || is_numbered_value(info.name) || (a.node->op_type == "Concat" && !named)))
    return constant("all its values are the same: a literal or padding", !literal);
  return trained(fmt::format("a module's parameter: combined with activations by {}", a.node->op_type));
}

Verdict TensorJudge::in_a_slot(const TensorInfo& info, const Arrival& a, NameKind kind, bool literal) {
  constexpr int64_t kSmall = int64_t{1} << 16;  // scales, shifts, biases and filters are smaller
  const bool made_up = literal || is_numbered_value(info.name);
  const std::string& op = a.node->op_type;
  // A norm without parameters is written with ones and zeros where the operator wants some; of one group
  // with one each.
  const bool group_of_one = elements(info.shape) == 1 && op.find("Normalization") != std::string::npos &&
                            op != "BatchNormalization" && is_initial(info);
  if (made_up && info.shape.size() < 2 && elements(info.shape) <= kSmall &&
      (group_of_one || (elements(info.shape) > 1 && pattern(info) == Pattern::kEqual)))
    return constant(fmt::format("all its values are the same: the {} has no such parameter", op), true);
  if ((op == "Conv" || op == "ConvTranspose") && a.input == 1) {
    if (a.repeated && kind != NameKind::kParameter)
      return constant("one filter repeated for all channels, as blurs are", true);
    const bool bins = info.shape.size() > 1 && info.shape[0] == 1 && elements(info.shape) == info.shape[1];
    if ((bins || literal || kind == NameKind::kMadeUp) && elements(info.shape) <= kSmall && is_fixed(info))
      return constant("one filter for all channels, as blurs and averages are", true);
  }
  return trained(fmt::format("the {} of {}", slot_name(op, a.input), op));
}

Verdict TensorJudge::single_element(const TensorInfo& info, const Arrival& a, NameKind kind, bool literal) {
  if (literal) return constant("a single number that the exporter wrote as a literal");
  if (kind == NameKind::kMadeUp || kind == NameKind::kPlain) {
    if (a.single_output && a.views_only && !info.shape.empty())
      return trained("the bias of a product with one output");
    // The exponential of a number that is written down would be written down itself: this one is learned, and
    // so is the shift behind it. (An exporter renames parameters that it moved between devices or types.)
    const bool learned = kind == NameKind::kMadeUp && a.after_parameter && !info.shape.empty();
    if (learned && !a.views_only && a.node->op_type == "Exp")
      return trained("a learned scale: activations are multiplied by its exponential");
    if (learned && a.views_only && a.after_scale) return trained("the shift behind a learned scale");
    return constant("a single number without the name of a module", !is_round(info));
  }
  if (!a.after_parameter && a.views_only && kind != NameKind::kParameter)
    return constant("it prepares the network's input: no trained tensor comes before it", true);
  // Buffers have names like these too, and rather such values.
  const bool doubtful = kind == NameKind::kModule && is_round(info) && !is_initial(info);
  return trained(fmt::format("a module's parameter with one element, in {}", a.node->op_type), doubtful);
}

NameKind TensorJudge::name_kind(const std::string& name) const {
  const NameKind kind = kind_of_name(name);
  return kind == NameKind::kPlain && model_.contents().proto.producer_name() == "pytorch" ? NameKind::kModule
                                                                                          : kind;
}

std::optional<Tensor> TensorJudge::elements_of(const TensorInfo& info) const {
  try {
    return model_.tensor(info.name);
  } catch (const Error& e) {
    rethrow_if_resource(e);
    return std::nullopt;
  }
}

Pattern TensorJudge::pattern(const TensorInfo& info) {
  const auto it = patterns_.find(info.name);
  if (it != patterns_.end()) return it->second;
  const std::optional<Tensor> t = elements_of(info);
  return patterns_.emplace(info.name, t ? pattern_of(*t) : Pattern::kNone).first->second;
}

bool TensorJudge::is_fixed(const TensorInfo& info) const {
  const Shape& s = info.shape;
  const bool candidate = s.size() >= 3 && (s[1] == 1 || s[0] == 1);
  const std::optional<Tensor> t = candidate ? elements_of(info) : std::nullopt;
  return t && is_fixed_filter(*t);
}

bool TensorJudge::has_masking_rows(const TensorInfo& info) const {
  const std::optional<Tensor> t = elements_of(info);
  return t && is_masking_table(*t);
}

bool TensorJudge::is_initial(const TensorInfo& info) const {
  const std::optional<Tensor> t = elements_of(info);
  if (!t) return false;
  const Tensor wide = converted(*t, DType::kF64);
  return wide.as<double>()[0] == 0 || wide.as<double>()[0] == 1;
}

bool TensorJudge::is_round(const TensorInfo& info) const {
  const std::optional<Tensor> t = elements_of(info);
  if (!t) return false;
  const Tensor wide = converted(*t, DType::kF64);
  const double x = std::fabs(wide.as<double>()[0]);
  for (const double known : {0.70710678, 1.41421356, 0.79788456, 0.044715, 1.702, 0.39894228})
    if (std::fabs(x - known) < 1e-6) return true;
  if (x == std::floor(x)) return true;
  const double width = 1 / (x * x);  // of an attention head, where x is 1 / sqrt(width)
  if (x < 1 && std::fabs(width - std::round(width)) < 4e-7 * width) return true;
  const std::string digits = fmt::format("{:.6e}", x);  // at most three that count
  const size_t zeros = digits.find("0000");
  return zeros != std::string::npos && zeros <= 4;
}

}  // namespace halftone::onnx
