#include "onnx/adapters.h"

#include <algorithm>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/near_names.h"
#include "base/patterns.h"
#include "onnx/draw.h"
#include "onnx/model_contents.h"
#include "onnx/new_head.h"
#include "onnx/tensor_names.h"

namespace halftone::onnx {
namespace {

bool names_module(const std::string& target, const std::string& module) {
  return matches(module, target) || matches(module, "*." + target);
}

bool is_target(const std::string& target, const AdaptedWeight& w, const TensorNames& names) {
  return names_module(target, w.module) || !names.matching(w.weight, target).empty();
}

std::string joined_with_quotes(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return text;
}

// The target names none of the weights of products.
[[noreturn]] void refuse_target(const std::string& target, const Model& model, const TensorNames& names,
                                const std::vector<AdaptedWeight>& all) {
  for (const TensorInfo& t : model.tensors())
    if (t.dtype && is_float(*t.dtype) && !names.matching(t.name, target).empty())
      throw usage_error(
          "--lora targets={}: '{}' is no weight of a MatMul, Gemm or Conv that multiplies something by it, "
          "and "
          "only these have adapters",
          target, t.name);
  std::vector<std::string> modules;
  for (const AdaptedWeight& w : all)
    if (w.reason.empty()) modules.push_back(w.module);
  const std::vector<std::string> near = near_names(target, modules, 3);
  throw usage_error("--lora targets={} matches no weight of the network{}", target,
                    near.empty() ? std::string() : "; modules like it: " + joined_with_quotes(near));
}

std::set<std::string> last_layers(const Model& model, const std::vector<std::string>& outputs) {
  std::set<std::string> weights;
  for (const std::string& output : outputs) {
    if (const auto layer = find_last_layer(model, output)) weights.insert(layer->weight);
  }
  return weights;
}

std::string left_out_text(const AdaptedWeight& w) {
  return fmt::format("'{}': {}", w.weight, w.reason);
}

void by_targets(Adapters& out, const Model& model, const std::vector<AdaptedWeight>& all) {
  const TensorNames names(model);
  std::set<std::string> taken;
  for (const std::string& target : out.options.targets) {
    bool any = false;
    const AdaptedWeight* refused = nullptr;
    for (const AdaptedWeight& w : all) {
      if (!is_target(target, w, names)) continue;
      if (w.reason.empty()) any = true;
      if (!w.reason.empty() && refused == nullptr) refused = &w;
      if (!taken.insert(w.weight).second) continue;
      if (!w.reason.empty()) out.left_out.push_back(left_out_text(w));
    }
    if (any) continue;
    if (refused == nullptr) refuse_target(target, model, names, all);
    throw usage_error("--lora targets={}: '{}' can have no adapter: {}", target, refused->weight,
                      refused->reason);
  }
  for (const AdaptedWeight& w : all)
    if (w.reason.empty() && taken.count(w.weight) != 0) out.weights.push_back(w);
}

void by_default(Adapters& out, const Model& model, const std::vector<AdaptedWeight>& all,
                const std::vector<std::string>& outputs) {
  const std::set<std::string> last = last_layers(model, outputs);
  for (const AdaptedWeight& w : all) {
    if (!w.is_pointwise() || last.count(w.weight) != 0) continue;
    if (w.reason.empty()) {
      out.weights.push_back(w);
    } else {
      out.left_out.push_back(left_out_text(w));
    }
  }
  if (!out.weights.empty()) return;
  std::string why;
  for (const std::string& reason : out.left_out) why += "\n  " + reason;
  throw input_error(
      "{}: --lora: no weight of a MatMul, a Gemm or a 1x1 Conv before the last layer can have an adapter; "
      "targets=PATTERN names others{}",
      model.path(), why);
}

// Adds the nodes of one weight's adapter behind each node that multiplies by it.
class Inserter {
 public:
  Inserter(const Model& model, const Adapters& adapters, uint64_t seed)
      : model_(model), options_(adapters.options), seed_(seed) {
    changes_.added.emplace(kScale, number(options_.scale()));
    if (options_.dropout > 0 && model.opset() >= kRatioIsInput)
      changes_.added.emplace(kRatio, number(options_.dropout));
  }

  void add(const AdaptedWeight& w) {
    const int64_t r = options_.rank;
    Shape a_shape{r, w.inputs};
    a_shape.insert(a_shape.end(), w.kernel.begin(), w.kernel.end());
    Tensor a = drawn(w.a(), a_shape, linear_bound(w.fan_in()), seed_);
    Shape b_shape{w.outputs, r};
    b_shape.resize(2 + w.kernel.size(), 1);
    Tensor b(DType::kF32, w.is_conv ? b_shape : Shape{r, w.outputs});
    std::fill(b.as<float>().begin(), b.as<float>().end(), 0.0F);
    changes_.added.emplace(w.a(), w.is_conv ? std::move(a) : transposed(a, {1, 0}));
    changes_.added.emplace(w.b(), std::move(b));
    for (const size_t node : w.nodes) add(w, model_.nodes().at(node));
  }

  Changes changes() { return std::move(changes_); }

 private:
  static constexpr int kRatioIsInput = 12;  // opset in which Dropout's ratio is no attribute any more
  static constexpr const char* kScale = "lora#scale";
  static constexpr const char* kRatio = "lora#dropout";

  static Tensor number(double value) {
    Tensor t(DType::kF32, {});
    t.as<float>()[0] = static_cast<float>(value);
    return t;
  }

  void add(const AdaptedWeight& w, const NodeInfo& node) {
    const std::string& y = node.outputs.at(0);
    Changes::Insertion in;
    in.value = y;
    in.before = y + "#lora_base";
    std::string x = node.inputs.at(0);
    const auto then = [&](const char* op, const char* what,
                          std::vector<std::string> inputs) -> Changes::Node& {
      const std::string name = y + "#lora_" + what;
      return in.nodes.emplace_back(
          Changes::Node{op, node.name + "#lora_" + what, std::move(inputs), name, {}, false});
    };
    if (options_.dropout > 0) {
      Changes::Node& drop = then("Dropout", "input", {x});
      if (model_.opset() >= kRatioIsInput) {
        drop.inputs.emplace_back(kRatio);
      } else {
        drop.floats.emplace("ratio", static_cast<float>(options_.dropout));
      }
      x = drop.output;
    }
    const char* product = w.is_conv ? "Conv" : "MatMul";
    Changes::Node& first = then(product, "A", {x, w.a()});
    first.attributes_of_producer = w.is_conv;
    std::string u = first.output;
    // Of r numbers a row, which are few.
    if (options_.scale() != 1) u = then("Mul", "scaled", {u, kScale}).output;
    const std::string delta = then(product, "B", {u, w.b()}).output;
    then("Add", "sum", {in.before, delta}).output = y;
    changes_.insertions.push_back(std::move(in));
  }

  const Model& model_;
  const LoraOptions& options_;
  const uint64_t seed_;
  Changes changes_;
};

}  // namespace

Adapters adapters_of(const Model& model, const LoraOptions& options,
                     const std::vector<std::string>& outputs) {
  Adapters out{options, {}, {}};
  const std::vector<AdaptedWeight> all = weights_of_products(model);
  if (options.targets.empty()) {
    by_default(out, model, all, outputs);
  } else {
    by_targets(out, model, all);
  }
  return out;
}

Model with_adapters(const Model& model, const Adapters& adapters, uint64_t seed) {
  Inserter inserter(model, adapters, seed);
  for (const AdaptedWeight& w : adapters.weights) inserter.add(w);
  return model.changed(inserter.changes());
}

Tensor in_peft_form(const AdaptedWeight& weight, const Tensor& tensor) {
  return weight.is_conv ? tensor.clone() : transposed(tensor, {1, 0});
}

Tensor merged(const AdaptedWeight& weight, const Tensor& w, const Tensor& a, const Tensor& b, double scale) {
  const int64_t rank = a.shape().at(0);
  const int64_t columns = weight.fan_in();
  HT_ASSERT(a.size() == rank * columns && b.size() == rank * weight.outputs, "{}", weight.weight);
  const Tensor wide_a = converted(a, DType::kF64);
  const Tensor wide_b = converted(b, DType::kF64);
  Tensor out = converted(w, DType::kF64);
  if (!weight.outputs_first) out = transposed(out, {1, 0});
  const double* const pa = wide_a.as<double>().data();
  const double* const pb = wide_b.as<double>().data();
  double* const po = out.as<double>().data();
  std::vector<double> row(static_cast<size_t>(columns));
  for (int64_t o = 0; o < weight.outputs; ++o) {
    std::fill(row.begin(), row.end(), 0.0);
    for (int64_t k = 0; k < rank; ++k) {
      const double factor = pb[o * rank + k];
      for (int64_t i = 0; i < columns; ++i) row[static_cast<size_t>(i)] += factor * pa[k * columns + i];
    }
    for (int64_t i = 0; i < columns; ++i) po[o * columns + i] += scale * row[static_cast<size_t>(i)];
  }
  return weight.outputs_first ? std::move(out) : transposed(out, {1, 0});
}

}  // namespace halftone::onnx
