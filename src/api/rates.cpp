#include "api/rates.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "base/near_names.h"
#include "onnx/depth.h"
#include "onnx/tensor_names.h"

namespace halftone::api {
namespace {

struct Rule {
  std::string text, pattern;
  double value = 0;
};

Rule parse_rule(const char* option, const std::string& text) {
  Rule rule{text, "", 0};
  const size_t at = text.rfind('=');
  const char* const end = text.data() + text.size();
  const char* const from = at == std::string::npos ? end : text.data() + at + 1;
  const auto [stop, error] = std::from_chars(from, end, rule.value);
  if (at == std::string::npos || at == 0 || error != std::errc() || stop != end || !(rule.value >= 0) ||
      !std::isfinite(rule.value))
    throw usage_error(
        "{} {} is not possible: expected PATTERN=NUMBER, the number 0 or more, for example 'head*=10'",
        option, text);
  rule.pattern = text.substr(0, at);
  return rule;
}

std::vector<Rule> parse_rules(const char* option, const std::vector<std::string>& texts) {
  std::vector<Rule> rules;
  for (const std::string& text : texts) rules.push_back(parse_rule(option, text));
  return rules;
}

// PATTERN=500 (steps) or PATTERN=2e (epochs); the value is in steps.
std::vector<Rule> parse_unfreeze(const std::vector<std::string>& texts, int64_t steps_per_epoch) {
  std::vector<Rule> rules;
  for (const std::string& text : texts) {
    const size_t at = text.rfind('=');
    const bool epochs = text.ends_with('e');
    const char* const end = text.data() + text.size() - (epochs ? 1 : 0);
    const char* const from = at == std::string::npos ? end : text.data() + at + 1;
    int64_t number = -1;
    const auto [stop, error] = std::from_chars(from, std::max(from, end), number);
    constexpr int64_t kMost = int64_t{1} << 40;
    if (at == std::string::npos || at == 0 || error != std::errc() || stop != end || number < 0 ||
        number > kMost)
      throw usage_error(
          "--unfreeze {} is not possible: expected PATTERN=STEPS or PATTERN=EPOCHSe, for example "
          "'layer4*=500' or "
          "'layer4*=2e'",
          text);
    if (epochs && steps_per_epoch == 0)
      throw usage_error("--unfreeze {}: batches that are given have no epochs; give a number of steps", text);
    rules.push_back(
        {text, text.substr(0, at), static_cast<double>(epochs ? number * steps_per_epoch : number)});
  }
  return rules;
}

class Named {
 public:
  Named(const onnx::Model& model, const std::vector<onnx::TensorRole>& roles) : names_(model) {
    for (const onnx::TensorRole& r : roles)
      if (r.role == onnx::Role::kParameter) all_.emplace(r.name, names_.of(r.name));
  }

  // The numbers of the tensors that a rule names.
  std::map<std::string, double> values(const char* option, const std::vector<Rule>& rules) const {
    std::map<std::string, double> values;
    std::map<std::string, const Rule*> best;
    for (const Rule& rule : rules) {
      bool any = false;
      for (const auto& [tensor, names] : all_) {
        if (!matches_any(names, rule.pattern)) continue;
        any = true;
        const Rule*& now = best[tensor];
        const size_t letters = pattern_letters(rule.pattern);
        if (now != nullptr && pattern_letters(now->pattern) == letters && now->value != rule.value)
          throw usage_error(
              "{} {} and {} {} both name '{}'; the pattern with more letters counts, so make one of "
              "them longer",
              option, now->text, option, rule.text, tensor);
        if (now == nullptr || letters > pattern_letters(now->pattern)) now = &rule;
      }
      if (!any) refuse(option, rule);
    }
    for (const auto& [tensor, rule] : best) values.emplace(tensor, rule->value);
    return values;
  }

 private:
  static bool matches_any(const std::vector<std::string>& names, const std::string& pattern) {
    for (const std::string& name : names)
      if (matches(name, pattern)) return true;
    return false;
  }
  [[noreturn]] void refuse(const char* option, const Rule& rule) const {
    std::vector<std::string> known;
    for (const auto& [tensor, names] : all_) known.insert(known.end(), names.begin(), names.end());
    std::string near;
    for (const std::string& name : near_names(rule.pattern, known, 3))
      near += (near.empty() ? "'" : ", '") + name + "'";
    throw usage_error("{} {} matches no trained tensor of the network{}; `halftone inspect` lists all names",
                      option, rule.text, near.empty() ? "" : "; names like it: " + near);
  }

  const onnx::TensorNames names_;
  std::map<std::string, std::vector<std::string>> all_;
};

}  // namespace

void check_rates(const TrainOptions& o) {
  parse_rules("--lr-scale", o.lr_scale);
  parse_rules("--weight-decay-for", o.weight_decay_for);
  parse_unfreeze(o.unfreeze, 1);
}

std::map<std::string, pass::TensorRates> rates_of(const TrainOptions& o, const onnx::Model& model,
                                                  const std::vector<onnx::TensorRole>& roles,
                                                  int64_t steps_per_epoch, const Log& log) {
  std::map<std::string, pass::TensorRates> rates;
  if (o.layer_decay != 1) {
    const onnx::Depths depths = onnx::depths_of(model, roles);
    for (const auto& [tensor, group] : depths.of_tensor)
      rates[tensor].lr_scale = std::pow(o.layer_decay, static_cast<double>(depths.groups - 1 - group));
    log(fmt::format(
        "--layer-decay {}: {} groups of layers, learning rates from {:.3g} times --lr at the input to 1 "
        "time at the output",
        o.layer_decay, depths.groups,
        std::pow(o.layer_decay, static_cast<double>(std::max<int64_t>(0, depths.groups - 1)))));
  }
  if (o.lr_scale.empty() && o.weight_decay_for.empty() && o.unfreeze.empty()) return rates;
  const Named named(model, roles);
  for (const auto& [tensor, factor] : named.values("--lr-scale", parse_rules("--lr-scale", o.lr_scale)))
    rates[tensor].lr_scale *= factor;
  for (const auto& [tensor, decay] :
       named.values("--weight-decay-for", parse_rules("--weight-decay-for", o.weight_decay_for)))
    rates[tensor].weight_decay = decay;
  std::map<int64_t, int64_t> begins;  // tensors by the number of steps
  for (const auto& [tensor, steps] : named.values("--unfreeze", parse_unfreeze(o.unfreeze, steps_per_epoch)))
    ++begins[rates[tensor].begins_at = static_cast<int64_t>(steps)];
  for (const auto& [steps, tensors] : begins)
    log(fmt::format("--unfreeze: {} tensors stay as they are until {} steps were taken", tensors, steps));
  return rates;
}

}  // namespace halftone::api
