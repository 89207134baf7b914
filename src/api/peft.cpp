#include "api/peft.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "api/lora.h"
#include "base/error.h"
#include "base/file.h"
#include "data/safetensors.h"

namespace halftone::api {
namespace {

using OrderedJson = nlohmann::ordered_json;
constexpr int64_t kMostPeftBytes = int64_t{16} << 20;

// What says nothing of the result: where the adapter was made, and how it was trained.
const std::set<std::string> kWithoutEffect{
    "task_type",      "auto_mapping",   "base_model_name_or_path", "revision",       "inference_mode",
    "peft_version",   "target_modules", "exclude_modules",         "lora_dropout",   "layers_to_transform",
    "layers_pattern", "megatron_core",  "qalora_group_size",       "fan_in_fan_out", "ensure_weight_tying"};
const std::set<std::string> kUnderstood{"peft_type",        "r",
                                        "lora_alpha",       "bias",
                                        "use_rslora",       "rank_pattern",
                                        "alpha_pattern",    "modules_to_save",
                                        "init_lora_weights"};

bool is_off(const OrderedJson& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) ||
         (value.is_structured() && value.empty());
}

class ConfigReader {
 public:
  ConfigReader(const OrderedJson& json, const std::string& path) : json_(json), path_(path) {}

  void read(PeftAdapter& a) const {
    if (!json_.is_object()) throw input_error("{}: expected a JSON object", path_);
    if (const OrderedJson type = at("peft_type"); !type.is_string() || type.get<std::string>() != "LORA")
      refuse("peft_type", "expected \"LORA\": no other kind of adapter is merged");
    for (const auto& [key, value] : json_.items()) {
      if (kWithoutEffect.count(key) != 0 || kUnderstood.count(key) != 0 || is_off(value)) continue;
      refuse(key, key == "use_dora"
                      ? "DoRA scales each row of the merged weight, which is not merged here"
                      : "what it does to the weights is not known here, so it must be off (null or "
                        "false)");
    }
    if (const OrderedJson bias = at("bias"); !is_off(bias) && bias != "none")
      refuse("bias", "expected \"none\": biases of the network would change too");
    if (const OrderedJson init = at("init_lora_weights"); init.is_string() && init != "gaussian")
      refuse("init_lora_weights",
             "such adapters belong to a network whose weights were changed first; let PEFT convert it "
             "(path_initial_model_for_weight_conversion), or merge it there");
    const OrderedJson r = at("r");
    if (!r.is_number_integer() || r.get<int64_t>() < 1) refuse("r", "expected a whole number above 0");
    a.r = r.get<int64_t>();
    const OrderedJson alpha = at("lora_alpha");
    if (!alpha.is_number()) refuse("lora_alpha", "expected a number");
    a.alpha = alpha.get<double>();
    const OrderedJson rslora = at("use_rslora");
    if (!is_off(rslora) && !rslora.is_boolean()) refuse("use_rslora", "expected true or false");
    a.rslora = !is_off(rslora);
    a.rank_pattern = pattern("rank_pattern");
    a.alpha_pattern = pattern("alpha_pattern");
    const OrderedJson saved = at("modules_to_save");
    if (is_off(saved)) return;
    if (!saved.is_array()) refuse("modules_to_save", "expected a list of modules");
    for (const OrderedJson& module : saved) {
      if (!module.is_string()) refuse("modules_to_save", "expected a list of modules");
      a.modules_to_save.push_back(module);
    }
  }

 private:
  OrderedJson at(const std::string& key) const {
    return json_.contains(key) ? json_.at(key) : OrderedJson(nullptr);
  }

  std::vector<std::pair<std::string, double>> pattern(const std::string& key) const {
    std::vector<std::pair<std::string, double>> out;
    const OrderedJson all = at(key);
    if (is_off(all)) return out;
    if (!all.is_object()) refuse(key, "expected an object of modules and numbers");
    for (const auto& [module, value] : all.items()) {
      // The key is a regular expression; a plain name means itself.
      if (module.find_first_of("*+?()[]{}|\\$") != std::string::npos ||
          module.find('^', 1) != std::string::npos || module == "^" || module.empty())
        refuse(key,
               fmt::format("'{}' is a regular expression, and only names of modules are understood", module));
      if (!value.is_number()) refuse(key, fmt::format("'{}' has no number", module));
      out.emplace_back(module, value.get<double>());
    }
    return out;
  }

  [[noreturn]] void refuse(const std::string& key, const std::string& why) const {
    const std::string found = json_.contains(key)
                                  ? json_.at(key).dump(-1, ' ', false, OrderedJson::error_handler_t::replace)
                                  : "nothing";
    throw input_error("{}: '{}' is {}: {}", path_, key,
                      found.size() > 200 ? found.substr(0, 200) + "..." : found, why);
  }

  const OrderedJson& json_;
  const std::string& path_;
};

// PEFT matches the end of a module's path, whole components.
const double* value_for(const std::vector<std::pair<std::string, double>>& patterns,
                        const std::string& module) {
  for (const auto& [key, value] : patterns) {
    const bool whole = key.front() == '^';
    const std::string name = whole ? key.substr(1) : key;
    if (module == name || (!whole && module.ends_with("." + name))) return &value;
  }
  return nullptr;
}

Tensor tensor_of(const data::NamedArrays& arrays, const std::string& name) {
  const auto header = arrays.header(name);
  if (!header || !data::is_float(header->type))
    throw input_error("{}: tensor '{}' has no floats", arrays.path, name);
  const data::Array array = arrays.read(name);
  if (array.type == data::Element::kF64)
    throw input_error("{}: tensor '{}' is of type F64; expected F32, F16 or BF16", arrays.path, name);
  Tensor t(DType::kF32, array.shape);
  data::read_floats(array, 0, t.as<float>());
  for (const float x : t.as<float>())
    if (!std::isfinite(x))
      throw input_error("{}: tensor '{}' has a value that is not finite", arrays.path, name);
  return t;
}

}  // namespace

int64_t PeftAdapter::rank(const std::string& module) const {
  const double* own = value_for(rank_pattern, module);
  return own == nullptr ? r : static_cast<int64_t>(*own);
}

double PeftAdapter::scale(const std::string& module, int64_t rank) const {
  const double* own = value_for(alpha_pattern, module);
  const auto n = static_cast<double>(rank);
  return (own == nullptr ? alpha : *own) / (rslora ? std::sqrt(n) : n);
}

PeftAdapter read_peft_adapter(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const std::string config = folder + "/" + kAdapterConfig;
  PeftAdapter a;
  a.path = folder + "/" + kAdapterFile;
  if (!fs::is_directory(folder, ignored))
    throw input_error("{} is no folder; expected one with {} and {}", folder, kAdapterConfig, kAdapterFile);
  if (!fs::is_regular_file(config, ignored))
    throw input_error("{} has no {}, which says how an adapter is scaled", folder, kAdapterConfig);
  if (!fs::is_regular_file(a.path, ignored))
    throw input_error("{} has no {}{}", folder, kAdapterFile,
                      fs::exists(folder + "/adapter_model.bin", ignored)
                          ? "; its adapter_model.bin is a Python object, which is not read: save it with "
                            "safe_serialization=True"
                          : "");
  const OrderedJson json = OrderedJson::parse(read_file(config, kMostPeftBytes), nullptr, false);
  if (json.is_discarded()) throw input_error("{}: damaged: it is no JSON", config);
  ConfigReader(json, config).read(a);
  const data::NamedArrays arrays = data::safetensors_arrays(a.path);
  for (const std::string& name : arrays.names) {
    if (!name.starts_with(kPeftPrefix))
      throw input_error("{}: tensor '{}' is none of PEFT's adapters: its name does not begin with {}", a.path,
                        name, kPeftPrefix);
    a.tensors.emplace(name.substr(kPeftPrefix.size()), tensor_of(arrays, name));
  }
  if (a.tensors.empty()) throw input_error("{} has no tensors", a.path);
  return a;
}

}  // namespace halftone::api
