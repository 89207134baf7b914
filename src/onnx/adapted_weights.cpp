#include "onnx/adapted_weights.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/words.h"
#include "onnx/model_contents.h"
#include "onnx/pytorch_names.h"
#include "onnx/roles.h"
#include "onnx/sharing.h"
#include "onnx/tensor_signs.h"

namespace halftone::onnx {
namespace {

std::string node_text(const NodeInfo& node) {
  return fmt::format("{} '{}'", node.op_type, node.name);
}

class ProductWeights {
 public:
  explicit ProductWeights(const Model& model) : model_(model), sharing_(model) {
    for (const TensorInfo& t : model.tensors()) static_.insert(t.name);
    for (size_t i = 0; i < model.nodes().size(); ++i) {
      const NodeInfo& node = model.nodes()[i];
      for (const std::string& name : node.outputs) producer_.emplace(name, i);
      for (const std::string& name : node.inputs) readers_.emplace(name, i);
      if (!node.inputs.empty() && std::all_of(node.inputs.begin(), node.inputs.end(),
                                              [&](const auto& n) { return n.empty() || is_static(n); }))
        static_.insert(node.outputs.begin(), node.outputs.end());
    }
    for (const TensorRole& r : roles_of(model)) roles_.emplace(r.name, r);
  }

  std::vector<AdaptedWeight> find() {
    for (size_t i = 0; i < model_.nodes().size(); ++i) {
      const NodeInfo& node = model_.nodes()[i];
      if (!node.domain.empty() || node.inputs.size() < 2 ||
          !is_one_of(node.op_type, {"MatMul", "Gemm", "Conv"}))
        continue;
      const bool left = is_static(node.inputs[0]);
      const bool right = is_static(node.inputs[1]);
      if (left == right) continue;  // a product of constants, or of activations
      visit(i, left ? 0 : 1);
    }
    for (AdaptedWeight& w : found_)
      if (w.reason.empty()) w.reason = reason_of_readers(w);
    name_modules();
    return std::move(found_);
  }

 private:
  bool is_static(const std::string& name) const { return static_.count(name) != 0; }

  // The tensor that a constant value comes from.
  struct Traced {
    std::string tensor;  // empty: there is none
    bool flipped = false;
    std::string reason;
  };
  Traced trace(std::string value) const {
    Traced t;
    while (model_.find_tensor(value) == nullptr) {
      const auto it = producer_.find(value);
      if (it == producer_.end()) return {};
      const NodeInfo& node = model_.nodes()[it->second];
      if (node.inputs.empty() || node.inputs[0].empty()) return {};
      if (is_one_of(node.op_type, {"Transpose"})) {
        const ir::Attributes a = model_.attributes(it->second);
        if (!a.has("perm") || a.ints_at("perm") == std::vector<int64_t>{1, 0}) {
          t.flipped = !t.flipped;
        } else {
          t.reason = fmt::format("it goes through {}", node_text(node));
        }
      } else if (node.op_type.find("Dequantize") != std::string::npos) {
        t.reason = fmt::format("it is quantised ({}); expected the network as it was before quantisation",
                               node_text(node));
      } else if (!is_one_of(node.op_type, {"Identity", "Cast"})) {
        t.reason = fmt::format("it is computed by {}", node_text(node));
      }
      value = node.inputs[0];
    }
    t.tensor = value;
    return t;
  }

  void visit(size_t index, size_t input) {
    const NodeInfo& node = model_.nodes()[index];
    const Traced t = trace(node.inputs[input]);
    if (t.tensor.empty()) return;
    AdaptedWeight w;
    w.weight = t.tensor;
    w.nodes = {index};
    w.is_conv = node.op_type == "Conv";
    w.reason = t.reason;
    if (w.reason.empty()) w.reason = describe(w, node, index, input, t.flipped);
    const auto known = std::find_if(found_.begin(), found_.end(),
                                    [&](const AdaptedWeight& f) { return f.weight == w.weight; });
    if (known == found_.end()) {
      found_.push_back(std::move(w));
      return;
    }
    known->nodes.push_back(index);
    if (known->reason.empty()) known->reason = w.reason;
    if (known->reason.empty() && (known->is_conv != w.is_conv || known->outputs_first != w.outputs_first))
      known->reason = fmt::format("{} and {} read it in different ways",
                                  node_text(model_.nodes()[known->nodes.front()]), node_text(node));
  }

  // Fills in the sizes. Why there can be no adapter; empty: there can.
  std::string describe(AdaptedWeight& w, const NodeInfo& node, size_t index, size_t input,
                       bool flipped) const {
    const Contents& c = model_.contents();
    const TensorInfo& t = *model_.find_tensor(w.weight);
    if (!t.dtype || !is_float(*t.dtype)) return fmt::format("it is of type {}; expected floats", t.type);
    if (!node.guards.empty() || c.inlined.at(index) >= 0)
      return fmt::format("{} stands in a branch or a function of the file", node_text(node));
    if (!c.places.at(c.tensor_index.find(w.weight)->second).within.empty())
      return "it stands in a branch of the file";
    if (const Role role = roles_.at(w.weight).role; role != Role::kParameter)
      return fmt::format("it is no parameter ({})", roles_.at(w.weight).reason);
    if (input != 1) return fmt::format("it is the left operand of {}", node_text(node));
    const ir::Attributes a = model_.attributes(index);
    if (w.is_conv) {
      if (t.shape.size() < 3 || flipped) return fmt::format("it has shape {}", to_string(t.shape));
      if (a.int_or("group", 1) != 1)
        return fmt::format("{} has {} groups; expected 1", node_text(node), a.int_or("group", 1));
      if (a.has("dilations"))
        for (const int64_t d : a.ints_at("dilations"))
          if (d != 1) return fmt::format("{} has a dilation of {}; expected 1", node_text(node), d);
      w.outputs_first = true;
      w.kernel.assign(t.shape.begin() + 2, t.shape.end());
      w.outputs = t.shape[0];
      w.inputs = t.shape[1];
      return "";
    }
    if (t.shape.size() != 2) return fmt::format("it has shape {}; expected a matrix", to_string(t.shape));
    if (node.op_type == "Gemm") {
      if (a.int_or("transA", 0) != 0) return fmt::format("{} has transA = 1", node_text(node));
      if (a.float_or("alpha", 1) != 1)
        return fmt::format("{} has alpha = {}; expected 1", node_text(node), a.float_or("alpha", 1));
      w.outputs_first = a.int_or("transB", 0) != 0;
    }
    w.outputs_first = w.outputs_first != flipped;
    w.outputs = t.shape[w.outputs_first ? 0 : 1];
    w.inputs = t.shape[w.outputs_first ? 1 : 0];
    return "";
  }

  // What else reads it would change with it.
  std::string reason_of_readers(const AdaptedWeight& w) const {
    for (const Use& use : sharing_.uses(w.weight)) {
      if (use.kind == UseKind::kOutput) return "it is an output of the network";
      const bool ours = use.input == 1 && std::count(w.nodes.begin(), w.nodes.end(), use.node) != 0;
      if (!ours && !is_one_of(model_.nodes()[use.node].op_type, {"Shape", "Size"}))
        return fmt::format("{} reads it too", node_text(model_.nodes()[use.node]));
    }
    return "";
  }

  void name_modules() {
    std::map<std::string, int> taken;
    for (AdaptedWeight& w : found_) {
      const std::string kWeight = ".weight";
      if (!is_made_up(w.weight)) {
        w.module = w.weight.size() > kWeight.size() && w.weight.ends_with(kWeight)
                       ? w.weight.substr(0, w.weight.size() - kWeight.size())
                       : w.weight;
      } else {
        w.module = module_of_product(w.nodes.front());
        if (w.module.empty()) w.module = w.weight;
      }
      ++taken[w.module];
    }
    for (AdaptedWeight& w : found_)
      if (taken[w.module] > 1) w.module = w.weight;
  }

  // Exporters that transpose a weight lose its name and keep that of the bias. The path in a node's name lacks modules
  // that are containers only, and has "_1" behind it where the others are the same.
  std::string module_of_product(size_t index) const {
    const std::string path = module_of(model_, index);
    const std::string biased = module_of_bias(index);
    if (path.empty() || biased.empty()) return path.empty() ? biased : path;
    const std::string last = biased.substr(biased.rfind('.') + 1);
    const std::string own = path.substr(path.rfind('.') + 1);
    const bool numbered = own.size() > last.size() + 1 && own[last.size()] == '_' &&
                          own.find_first_not_of("0123456789", last.size() + 1) == std::string::npos;
    return own.starts_with(last) && (own == last || numbered) ? biased : path;
  }

  // Of the Add behind it, or its own.
  std::string module_of_bias(size_t index) const {
    const NodeInfo& node = model_.nodes()[index];
    std::string bias = node.inputs.size() > 2 ? node.inputs[2] : "";
    if (node.op_type == "MatMul") {
      const auto [first, last] = readers_.equal_range(node.outputs.at(0));
      if (first == last || std::next(first) != last) return "";
      const NodeInfo& add = model_.nodes()[first->second];
      if (add.op_type != "Add" || add.inputs.size() != 2) return "";
      bias = add.inputs[add.inputs[0] == node.outputs[0] ? 1 : 0];
    }
    constexpr std::string_view kBias = ".bias";
    if (model_.find_tensor(bias) == nullptr || is_made_up(bias) || !bias.ends_with(kBias) ||
        bias.size() <= kBias.size())
      return "";
    return bias.substr(0, bias.size() - kBias.size());
  }

  const Model& model_;
  const Sharing sharing_;
  std::set<std::string> static_;
  std::map<std::string, size_t> producer_;
  std::multimap<std::string, size_t> readers_;
  std::map<std::string, TensorRole> roles_;
  std::vector<AdaptedWeight> found_;
};

}  // namespace

bool AdaptedWeight::is_pointwise() const {
  return std::all_of(kernel.begin(), kernel.end(), [](int64_t k) { return k == 1; });
}

std::vector<AdaptedWeight> weights_of_products(const Model& model) {
  return ProductWeights(model).find();
}

}  // namespace halftone::onnx
