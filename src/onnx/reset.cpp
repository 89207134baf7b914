#include "onnx/reset.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/words.h"
#include "onnx/draw.h"
#include "onnx/roles.h"
#include "onnx/sharing.h"
#include "onnx/tensor_names.h"

namespace halftone::onnx {
namespace {

// All elements are `value`; or, with a bound, drawn.
struct Begin {
  double value = 0;
  double bound = 0;
  bool operator==(const Begin&) const = default;
};

class Rules {
 public:
  explicit Rules(const Model& model) : model_(model), sharing_(model) {
    for (size_t i = 0; i < model.nodes().size(); ++i)
      for (const std::string& name : model.nodes()[i].outputs) producer_.emplace(name, i);
  }

  Begin of(const std::string& tensor) const {
    std::optional<Begin> found;
    const std::vector<Use>& uses = sharing_.uses(tensor);
    for (const Use& use : uses) {
      const std::optional<Begin> here = rule(tensor, use);
      if (!here)
        throw input_error(
            "{}: --reset: what '{}' begins with is not known ({}): expected weights and biases of Gemm, "
            "MatMul and "
            "convolutions, scales and shifts of norms, running statistics, or slopes of PRelu",
            model_.path(), tensor, sharing_.readers(tensor, model_));
      if (found && *found != *here)
        throw input_error("{}: --reset: '{}' is read by nodes whose tensors begin differently: {}",
                          model_.path(), tensor, sharing_.readers(tensor, model_));
      found = here;
    }
    if (!found) throw input_error("{}: --reset: '{}' is read by no node", model_.path(), tensor);
    return *found;
  }

 private:
  const NodeInfo* producer(const std::string& value) const {
    const auto it = producer_.find(value);
    return it == producer_.end() ? nullptr : &model_.nodes()[it->second];
  }

  // The shape of a weight as the node reads it; empty: it is no tensor of the file.
  Shape shape_of(const std::string& value) const {
    if (const TensorInfo* t = model_.find_tensor(value)) return t->shape;
    const NodeInfo* from = producer(value);
    if (from == nullptr || !from->domain.empty() || from->inputs.empty()) return {};
    const Shape before =
        is_one_of(from->op_type, {"Identity", "Transpose"}) ? shape_of(from->inputs[0]) : Shape();
    if (from->op_type == "Identity" || before.size() != 2)
      return from->op_type == "Identity" ? before : Shape();
    return {before[1], before[0]};
  }

  // Numbers that one output of a layer is computed from; 0: not known.
  int64_t fan_in(const NodeInfo& layer) const {
    const Shape w = layer.inputs.size() > 1 ? shape_of(layer.inputs[1]) : Shape();
    if (w.size() < 2) return 0;
    const size_t n = static_cast<size_t>(&layer - model_.nodes().data());
    if (layer.op_type == "Gemm") return w[model_.attributes(n).int_or("transB", 0) != 0 ? 1 : 0];
    if (layer.op_type == "MatMul") return w[w.size() - 2];
    // ConvTranspose's too: PyTorch takes the second axis there as well.
    if (is_one_of(layer.op_type, {"Conv", "ConvTranspose"})) return w[0] == 0 ? 0 : elements(w) / w[0];
    return 0;
  }
  std::optional<Begin> linear(const NodeInfo& layer) const {
    const int64_t n = fan_in(layer);
    if (n < 1) return std::nullopt;
    return Begin{0, linear_bound(n)};
  }

  std::optional<Begin> rule(const std::string& tensor, const Use& use) const {
    if (use.kind == UseKind::kMean) return Begin{0, 0};
    if (use.kind == UseKind::kVariance) return Begin{1, 0};
    if (use.kind == UseKind::kOutput) return std::nullopt;
    const NodeInfo& node = model_.nodes()[use.node];
    if (!node.domain.empty()) return std::nullopt;
    if (is_one_of(node.op_type, {"Gemm", "Conv", "ConvTranspose"}) && (use.input == 1 || use.input == 2))
      return linear(node);
    if (node.op_type == "MatMul" && use.input == 1) return linear(node);
    if (node.op_type == "Add" && node.inputs.size() == 2) {
      const NodeInfo* layer = producer(node.inputs[1 - use.input]);
      const bool known = layer != nullptr && layer->domain.empty() &&
                         is_one_of(layer->op_type, {"MatMul", "Conv", "ConvTranspose"});
      if (!known || !use.direct) return std::nullopt;
      const Shape w = shape_of(layer->inputs.at(1));
      const Shape& b = model_.find_tensor(tensor)->shape;
      const int64_t rows = w.size() < 2                 ? 0
                           : layer->op_type == "MatMul" ? w.back()
                                                        : w[layer->op_type == "Conv" ? 0 : 1];
      return elements(b) == rows ? linear(*layer) : std::nullopt;
    }
    if (!use.direct) return std::nullopt;
    if (is_one_of(node.op_type, {"BatchNormalization", "InstanceNormalization", "LayerNormalization",
                                 "GroupNormalization", "RMSNormalization"}) &&
        (use.input == 1 || use.input == 2))
      return Begin{use.input == 1 ? 1.0 : 0.0, 0};
    if (node.op_type == "PRelu" && use.input == 1) return Begin{0.25, 0};
    return std::nullopt;
  }

  const Model& model_;
  const Sharing sharing_;
  std::map<std::string, size_t> producer_;
};

}  // namespace

Model with_reset(const Model& model, const std::vector<std::string>& patterns, uint64_t seed,
                 std::vector<std::string>* drawn_names) {
  if (patterns.empty()) return model;
  const Rules rules(model);
  const TensorNames names(model);
  const std::vector<TensorRole> roles = roles_of(model);
  Changes changes;
  for (const std::string& pattern : patterns) {
    bool any = false;
    std::string constant;
    for (const TensorRole& r : roles) {
      if (names.matching(r.name, pattern).empty()) continue;
      if (r.role == Role::kConstant) {
        constant = fmt::format("; '{}' is no parameter: {}", r.name, r.reason);
        continue;
      }
      any = true;
      if (changes.tensors.count(r.name) > 0) continue;
      const Begin begin = rules.of(r.name);
      Tensor value = drawn(r.name, r.shape, begin.bound, seed);
      if (begin.bound == 0)
        for (float& x : value.as<float>()) x = static_cast<float>(begin.value);
      changes.tensors.emplace(r.name, converted(value, *model.find_tensor(r.name)->dtype));
      if (drawn_names != nullptr) drawn_names->push_back(r.name);
    }
    if (!any)
      throw usage_error(
          "--reset {} matches no parameter of the network{}; `halftone inspect` lists all names", pattern,
          constant);
  }
  return model.changed(std::move(changes));
}

}  // namespace halftone::onnx
