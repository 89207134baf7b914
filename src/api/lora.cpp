#include "api/lora.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "data/class_map.h"
#include "onnx/new_head.h"
#include "train/safetensors.h"

namespace halftone::api {
namespace {

constexpr const char* kLoraForm = "r=N,alpha=F[,dropout=P][,targets=PATTERN], for example r=8,alpha=16";

template <class Number>
Number lora_number(const std::string& text, const std::string& key, const std::string& value) {
  Number number{};
  const char* const end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, number);
  if (value.empty() || error != std::errc() || stop != end)
    throw usage_error("--lora {}: {}={} is not possible: expected a number; the form is {}", text, key, value,
                      kLoraForm);
  return number;
}

const onnx::AdaptedWeight* weight_called(const LoraNetwork& lora, const std::string& name) {
  const auto& all = lora.adapters.weights;
  const auto it = std::find_if(all.begin(), all.end(), [&](const auto& w) { return w.weight == name; });
  return it == all.end() ? nullptr : &*it;
}

void forbid_with_lora(bool given, const char* option, const char* why) {
  if (given) throw usage_error("--lora and {} do not go together: {}", option, why);
}

}  // namespace

onnx::LoraOptions parse_lora(const std::string& text) {
  onnx::LoraOptions o;
  bool has_alpha = false;
  std::set<std::string> seen;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    begin = end + 1;
    const size_t equals = part.find('=');
    const std::string key = part.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : part.substr(equals + 1);
    if (key != "targets" && !seen.insert(key).second)
      throw usage_error("--lora {}: {} is given twice", text, key);
    if (key == "r") {
      o.rank = lora_number<int64_t>(text, key, value);
      if (o.rank < 1 || o.rank > kMostRank)
        throw usage_error("--lora {}: r={} is not possible: expected 1 to {}", text, value, kMostRank);
    } else if (key == "alpha") {
      o.alpha = lora_number<double>(text, key, value);
      has_alpha = true;
      if (!(o.alpha > 0) || !std::isfinite(o.alpha))
        throw usage_error("--lora {}: alpha={} is not possible: expected a number above 0", text, value);
    } else if (key == "dropout") {
      o.dropout = lora_number<double>(text, key, value);
      if (!(o.dropout >= 0 && o.dropout < 1))
        throw usage_error("--lora {}: dropout={} is not possible: expected 0 or more, below 1", text, value);
    } else if (key == "targets" && !value.empty()) {
      o.targets.push_back(value);
    } else {
      throw usage_error("--lora {}: '{}' is not understood; the form is {}", text, part, kLoraForm);
    }
  }
  if (o.rank == 0 || !has_alpha)
    throw usage_error("--lora {}: {} is missing; the form is {}", text, o.rank == 0 ? "r" : "alpha",
                      kLoraForm);
  return o;
}

void check_lora(const TrainOptions& o) {
  if (o.lora.empty()) return;
  parse_lora(o.lora);
  forbid_with_lora(!o.train.empty(), "--train",
                   "adapters, and a new last layer (--new-head), are all that is trained");
  forbid_with_lora(
      !o.freeze.empty(), "--freeze",
      "the network stays as it is anyway; --lora targets=PATTERN says which weights get adapters");
  forbid_with_lora(!o.reset.empty(), "--reset", "tensors that are drawn anew would stay as they are drawn");
  forbid_with_lora(o.network.batchnorm == "restore" || o.network.batchnorm == "keep",
                   ("--batchnorm " + o.network.batchnorm).c_str(),
                   "the network stays as it is, with the running statistics of its batch norms");
  forbid_with_lora(o.bn_statistics == "measure", "--bn-statistics measure",
                   "the running statistics of batch norms stay as they are");
}

LoraNetwork with_lora(const onnx::Model& base, const Beginning& b, const Log& log) {
  onnx::Adapters adapters = onnx::adapters_of(base.with_outputs(b.outputs), *b.lora, b.outputs);
  std::vector<std::string> head;
  if (b.head) {
    const onnx::LastLayer layer = onnx::last_layer(base, b.head->output);
    head.push_back(layer.weight);
    if (!layer.bias.empty()) head.push_back(layer.bias);
    const auto erased =
        std::erase_if(adapters.weights, [&](const auto& w) { return w.weight == layer.weight; });
    if (erased > 0)
      adapters.left_out.push_back(fmt::format("'{}': the new last layer is trained in full", layer.weight));
    if (adapters.weights.empty())
      throw usage_error("--lora: the targets name the new last layer alone, which is trained in full");
  }
  onnx::Model adapted = onnx::with_adapters(base, adapters, b.seed);
  TrainFreeze tensors{head, {"*"}, "--lora"};
  int64_t numbers = 0;
  std::vector<std::string> modules;
  for (const onnx::AdaptedWeight& w : adapters.weights) {
    tensors.train.push_back(w.a());
    tensors.train.push_back(w.b());
    numbers += b.lora->rank * (w.fan_in() + w.outputs);
    modules.push_back(w.module);
  }
  log(fmt::format("lora: r {}, alpha {}{}: adapters of {} weights, {} numbers ({})", b.lora->rank,
                  b.lora->alpha, b.lora->dropout > 0 ? fmt::format(", dropout {}", b.lora->dropout) : "",
                  modules.size(), numbers, data::some_of(modules, 3)));
  for (const std::string& line : adapters.left_out) log("  no adapter for " + line);
  return {base, std::move(adapters), std::move(head), std::move(adapted), std::move(tensors)};
}

std::vector<std::string> merged_names(const LoraNetwork& lora) {
  std::vector<std::string> names = lora.head;
  for (const onnx::AdaptedWeight& w : lora.adapters.weights) names.push_back(w.weight);
  return names;
}

Tensor merged_tensor(const LoraNetwork& lora, const std::string& name, const onnx::TensorSource& trained) {
  const onnx::AdaptedWeight* w = weight_called(lora, name);
  if (w == nullptr) return trained(name);
  return onnx::merged(*w, lora.base.tensor(name), onnx::in_peft_form(*w, trained(w->a())),
                      onnx::in_peft_form(*w, trained(w->b())), lora.adapters.options.scale());
}

void write_adapter(const LoraNetwork& lora, const onnx::TensorSource& trained, const std::string& folder) {
  using OrderedJson = nlohmann::ordered_json;
  const std::string prefix(kPeftPrefix);
  const onnx::LoraOptions& o = lora.adapters.options;
  train::Safetensors content;
  content.metadata["format"] = "pt";
  std::vector<std::string> modules;
  for (const onnx::AdaptedWeight& w : lora.adapters.weights) {
    content.tensors.emplace(prefix + w.a(), onnx::in_peft_form(w, trained(w.a())));
    content.tensors.emplace(prefix + w.b(), onnx::in_peft_form(w, trained(w.b())));
    modules.push_back(w.module);
  }
  std::vector<std::string> saved;
  if (!lora.head.empty()) {
    const std::string& weight = lora.head.front();
    const std::vector<onnx::AdaptedWeight> all = onnx::weights_of_products(lora.base);
    const auto it = std::find_if(all.begin(), all.end(), [&](const auto& w) { return w.weight == weight; });
    HT_ASSERT(it != all.end(), "{}", weight);
    saved.push_back(it->module);
    Tensor t = trained(weight);
    content.tensors.emplace(prefix + it->module + ".weight",
                            it->outputs_first ? std::move(t) : transposed(t, {1, 0}));
    if (lora.head.size() > 1) {
      const Tensor bias = trained(lora.head[1]);
      content.tensors.emplace(prefix + it->module + ".bias", bias.reshaped({bias.size()}));
    }
  }
  train::write_safetensors(folder + "/" + kAdapterFile, content);
  OrderedJson config{{"peft_type", "LORA"}, {"task_type", nullptr}, {"base_model_name_or_path", nullptr}};
  config["r"] = o.rank;
  if (o.alpha == std::floor(o.alpha) && o.alpha < 1e15) {
    config["lora_alpha"] = static_cast<int64_t>(o.alpha);
  } else {
    config["lora_alpha"] = o.alpha;
  }
  config["lora_dropout"] = o.dropout;
  config["target_modules"] = modules;
  config["modules_to_save"] = saved.empty() ? OrderedJson(nullptr) : OrderedJson(saved);
  config["bias"] = "none";
  config["fan_in_fan_out"] = false;
  config["init_lora_weights"] = true;
  config["use_rslora"] = false;
  config["use_dora"] = false;
  config["rank_pattern"] = OrderedJson::object();
  config["alpha_pattern"] = OrderedJson::object();
  config["inference_mode"] = true;
  write_file_atomically(folder + "/" + kAdapterConfig,
                        config.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
}

}  // namespace halftone::api
