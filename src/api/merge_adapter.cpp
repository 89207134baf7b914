// export --merge: adapters of PEFT's files, merged into an ONNX network.
#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "api/export_place.h"
#include "api/peft.h"
#include "api/weights.h"
#include "base/error.h"
#include "base/near_names.h"
#include "halftone/adapters.h"
#include "onnx/adapters.h"
#include "onnx/new_head.h"
#include "onnx/pytorch_names.h"
#include "onnx/save.h"

namespace halftone {
namespace {

using api::PeftAdapter;
using onnx::AdaptedWeight;

constexpr const char* kEndOfA = ".lora_A.weight";
constexpr const char* kEndOfB = ".lora_B.weight";

std::optional<std::string> without_end(const std::string& name, const std::string& end) {
  if (!name.ends_with(end) || name.size() == end.size()) return std::nullopt;
  return name.substr(0, name.size() - end.size());
}

// Axes of one element may stand in the file and not in PyTorch, and the other way round.
Shape without_ones(Shape shape) {
  std::erase(shape, 1);
  return shape;
}

const AdaptedWeight* weight_of_module(const std::vector<AdaptedWeight>& all, const std::string& module) {
  const auto it = std::find_if(all.begin(), all.end(), [&](const auto& w) { return w.module == module; });
  return it == all.end() ? nullptr : &*it;
}

// A new last layer that was trained in full may have another number of rows than the network's.
onnx::Model with_rows_of(const onnx::Model& model, const PeftAdapter& adapter,
                         std::vector<std::string>& notes) {
  onnx::Model made = model;
  for (const onnx::ValueInfo& output : model.outputs()) {
    const auto layer = onnx::find_last_layer(made, output.name);
    if (!layer) continue;
    const std::vector<AdaptedWeight> all = onnx::weights_of_products(made);
    const auto w =
        std::find_if(all.begin(), all.end(), [&](const auto& x) { return x.weight == layer->weight; });
    if (w == all.end()) continue;
    const auto given = adapter.tensors.find(w->module + ".weight");
    if (given == adapter.tensors.end() || given->second.shape().empty()) continue;
    const int64_t rows = given->second.shape()[0];
    if (rows == layer->rows || rows < 1 || given->second.size() != rows * layer->fan_in) continue;
    made = onnx::with_new_head(made, {output.name, rows, {}, 0});
    notes.push_back(
        fmt::format("{} has {} rows as the adapter's '{}' (it had {}); names of classes are left out",
                    layer->node, rows, w->module, layer->rows));
  }
  return made;
}

// Which tensor of the adapter goes where; everything that does not fit is gathered.
class Fitting {
 public:
  Fitting(const onnx::Model& model, const PeftAdapter& adapter)
      : model_(model), adapter_(adapter), weights_(onnx::weights_of_products(model)) {
    for (const onnx::PytorchTensor& t : onnx::pytorch_tensors(model)) by_name_.emplace(t.name, t);
    for (const onnx::ValueInfo& output : model.outputs())
      if (const auto layer = onnx::find_last_layer(model, output.name)) layers_.push_back(*layer);
  }

  void fit() {
    for (const auto& [name, tensor] : adapter_.tensors) {
      if (const auto module = without_end(name, kEndOfA)) {
        fit_pair(*module, tensor);
      } else if (const auto of_b = without_end(name, kEndOfB)) {
        if (adapter_.tensors.count(*of_b + kEndOfA) == 0) problem(name, "there is no lora_A of this module");
      } else if (name.find(".lora_") != std::string::npos) {
        problem(name, "only lora_A.weight and lora_B.weight are merged");
      } else {
        fit_whole(name, tensor);
      }
    }
    if (problems_.empty()) return;
    constexpr size_t kShown = 20;
    std::string text;
    for (size_t i = 0; i < problems_.size() && i < kShown; ++i) text += "\n  " + problems_[i];
    if (problems_.size() > kShown) text += fmt::format("\n  ... ({} altogether)", problems_.size());
    throw input_error("{}: {} of its {} tensors fit no weight of {}:{}", adapter_.path, problems_.size(),
                      adapter_.tensors.size(), model_.path(), text);
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, module] : pairs_) names.push_back(name);
    for (const auto& [name, tensor] : whole_) names.push_back(name);
    return names;
  }
  size_t pairs() const { return pairs_.size(); }
  size_t whole() const { return whole_.size(); }

  Tensor tensor(const std::string& name) const {
    if (const auto it = whole_.find(name); it != whole_.end()) return it->second.clone();
    const AdaptedWeight& w = *pairs_.at(name);
    const Tensor& a = adapter_.tensors.at(w.module + kEndOfA);
    return onnx::merged(w, model_.tensor(name), a, adapter_.tensors.at(w.module + kEndOfB),
                        adapter_.scale(w.module, a.shape().at(0)));
  }

 private:
  void problem(const std::string& name, const std::string& why) {
    problems_.push_back(fmt::format("'{}': {}", name, why));
  }

  void fit_pair(const std::string& module, const Tensor& a) {
    const std::string name = module + kEndOfA;
    const auto b = adapter_.tensors.find(module + kEndOfB);
    if (b == adapter_.tensors.end()) return problem(name, "there is no lora_B of this module");
    const AdaptedWeight* w = weight_of_module(weights_, module);
    if (w == nullptr) {
      std::vector<std::string> modules;
      for (const AdaptedWeight& known : weights_) modules.push_back(known.module);
      std::string near;
      for (const std::string& text : near_names(module, modules, 2))
        near += (near.empty() ? "'" : ", '") + text + "'";
      return problem(name, fmt::format("the network has no weight of a module '{}'{}", module,
                                       near.empty() ? "" : "; modules like it: " + near));
    }
    if (!w->reason.empty()) return problem(name, fmt::format("weight '{}': {}", w->weight, w->reason));
    const int64_t rank = a.shape().empty() ? 0 : a.shape()[0];
    Shape a_shape{rank, w->inputs};
    a_shape.insert(a_shape.end(), w->kernel.begin(), w->kernel.end());
    Shape b_shape{w->outputs, rank};
    b_shape.resize(2 + w->kernel.size(), 1);
    if (rank < 1 || a.shape() != a_shape || b->second.shape() != b_shape)
      return problem(
          name,
          fmt::format("shapes {} and {} (lora_B) do not fit weight '{}' of {} inputs and {} "
                      "outputs{}; expected {} and {}",
                      to_string(a.shape()), to_string(b->second.shape()), w->weight, w->inputs, w->outputs,
                      w->kernel.empty() ? "" : fmt::format(", kernel {}", to_string(w->kernel)),
                      to_string(a_shape), to_string(b_shape)));
    if (rank != adapter_.rank(module))
      return problem(name,
                     fmt::format("it has rank {}, the configuration says {}", rank, adapter_.rank(module)));
    pairs_.emplace(w->weight, w);
  }

  bool is_saved(const std::string& name) const {
    return std::any_of(
        adapter_.modules_to_save.begin(), adapter_.modules_to_save.end(), [&](const auto& module) {
          return name.starts_with(module + ".") || name.find("." + module + ".") != std::string::npos;
        });
  }

  // A tensor that was trained in full.
  void fit_whole(const std::string& name, const Tensor& tensor) {
    if (!is_saved(name)) return problem(name, "it is no adapter, and of no module in modules_to_save");
    std::string target;
    Tensor value = tensor.clone();
    const auto of_weight = without_end(name, ".weight");
    const AdaptedWeight* w = of_weight ? weight_of_module(weights_, *of_weight) : nullptr;
    if (w != nullptr && w->outputs > 0) {
      target = w->weight;
      if (!w->outputs_first && value.shape().size() == 2) value = transposed(value, {1, 0});
    } else if (const auto known = by_name_.find(name); known != by_name_.end()) {
      target = known->second.tensor;
      if (known->second.transposed && value.shape().size() == 2) value = transposed(value, {1, 0});
    } else if (const auto of_bias = without_end(name, ".bias")) {
      const AdaptedWeight* beside = weight_of_module(weights_, *of_bias);
      for (const onnx::LastLayer& layer : layers_)
        if (beside != nullptr && layer.weight == beside->weight) target = layer.bias;
    }
    if (target.empty()) return problem(name, "the network has no tensor that is called so");
    const Shape& shape = model_.find_tensor(target)->shape;
    if (without_ones(value.shape()) != without_ones(shape))
      return problem(name, fmt::format("shape {} does not fit '{}', which has {}", to_string(value.shape()),
                                       target, to_string(shape)));
    if (pairs_.count(target) != 0 || !whole_.emplace(target, value.reshaped(shape)).second)
      problem(name, fmt::format("another tensor of the adapter is '{}' of the network already", target));
  }

  const onnx::Model& model_;
  const PeftAdapter& adapter_;
  const std::vector<AdaptedWeight> weights_;
  std::map<std::string, onnx::PytorchTensor> by_name_;
  std::vector<onnx::LastLayer> layers_;
  std::map<std::string, const AdaptedWeight*> pairs_;  // by tensor of the file
  std::map<std::string, Tensor> whole_;
  std::vector<std::string> problems_;
};

}  // namespace

std::vector<std::string> merge_adapter(const std::string& base, const std::string& adapter,
                                       const std::string& out) {
  api::check_export_out(out);
  const PeftAdapter read = api::read_peft_adapter(adapter);
  const onnx::Model file = api::load_model(base, "");
  std::vector<std::string> notes;
  const onnx::Model model = with_rows_of(file, read, notes);
  Fitting fitting(model, read);
  fitting.fit();
  api::make_export_place(file, out, notes);
  onnx::save(
      model, fitting.names(), [&](const std::string& name) { return fitting.tensor(name); }, out);
  notes.push_back(fmt::format(
      "merged the adapters of {} weights{}", fitting.pairs(),
      fitting.whole() == 0 ? "" : fmt::format(", and {} tensors trained in full", fitting.whole())));
  return notes;
}

}  // namespace halftone
