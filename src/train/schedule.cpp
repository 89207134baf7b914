#include "train/schedule.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>
#include <vector>

#include "base/error.h"
#include "train/state_numbers.h"

namespace halftone::train {
namespace {

// cos(pi x) for x in [0, 1], error below 4e-16. Not std::cos: the C library chooses among several by CPU, and
// their last bits differ.
double cos_pi(double x) {
  if (x > 0.5) return -cos_pi(1 - x);
  // Taylor series up to y^17, |y| <= pi/4: the first term left out is below 3e-18.
  const double y = x <= 0.25 ? std::numbers::pi * x : std::numbers::pi * (0.5 - x);
  const double y2 = y * y;
  double sum = 1;
  for (int k = x <= 0.25 ? 16 : 17; k >= 2; k -= 2) sum = 1 - y2 / (k * (k - 1)) * sum;
  return x <= 0.25 ? sum : y * sum;
}

// base^k by squaring; k >= 0.
double power(double base, int64_t k) {
  double result = 1;
  for (; k > 0; k /= 2, base *= base) {
    if (k % 2 != 0) result *= base;
  }
  return result;
}

double anneal(bool cosine, double from, double to, double share) {
  return cosine ? to + (from - to) / 2 * (1 + cos_pi(share)) : from + (to - from) * share;
}

double one_cycle(const Schedule& s, double base_lr, int64_t t, int64_t total) {
  struct Phase {
    double end_step;
    double from;
    double to;
  };
  const double max = s.max_lr.value_or(base_lr);
  const double initial = max / s.div;
  const double lowest = initial / s.final_div;
  const double steps = static_cast<double>(total);
  const double last = steps - 1;
  std::vector<Phase> phases{{s.start * steps - 1, initial, max}};
  if (s.three_phases) phases.push_back({2 * s.start * steps - 2, max, initial});
  phases.push_back({last, s.three_phases ? initial : max, lowest});
  const double at = std::min(static_cast<double>(t), last);
  double begin = 0;
  for (const Phase& phase : phases) {
    if (at <= phase.end_step || &phase == &phases.back()) {
      const double length = phase.end_step - begin;
      return length > 0 ? anneal(s.cosine_anneal, phase.from, phase.to, (at - begin) / length) : phase.to;
    }
    begin = phase.end_step;
  }
  return lowest;
}

// The rate t steps after the warm-up of a schedule of `total` steps.
double main_rate(const Schedule& s, double base_lr, int64_t t, int64_t total, int64_t steps_per_epoch,
                 const PlateauState& state) {
  const double share = static_cast<double>(t) / static_cast<double>(total);
  switch (s.kind) {
    case ScheduleKind::kConstant:
      return base_lr;
    case ScheduleKind::kStep:
      return base_lr *
             power(s.gamma, s.size_steps ? t / *s.size_steps : t / steps_per_epoch / s.size_epochs.value());
    case ScheduleKind::kCosine:
      return anneal(true, base_lr, s.min_lr, share);
    case ScheduleKind::kLinear:
      return anneal(false, base_lr, s.end_lr, share);
    case ScheduleKind::kOneCycle:
      return one_cycle(s, base_lr, t, total);
    case ScheduleKind::kPlateau:
      return state.lr;
  }
  HT_ASSERT(false, "schedule kind {}", static_cast<int>(s.kind));
  return 0;
}

bool is_better(const Schedule& s, double metric, double best) {
  if (s.mode == Direction::kMin)
    return s.relative_threshold ? metric < best * (1 - s.threshold) : metric < best - s.threshold;
  return s.relative_threshold ? metric > best * (1 + s.threshold) : metric > best + s.threshold;
}

struct KindText {
  ScheduleKind kind;
  std::string_view name;
  std::string_view parameters;
  std::string_view example;
};
constexpr KindText kKinds[] = {
    {ScheduleKind::kConstant, "constant", "", "constant"},
    {ScheduleKind::kStep, "step", "size (epochs) or steps, gamma", "step:size=30,gamma=0.1"},
    {ScheduleKind::kCosine, "cosine", "min", "cosine:min=1e-5"},
    {ScheduleKind::kLinear, "linear", "end", "linear:end=0"},
    {ScheduleKind::kOneCycle, "onecycle", "max, start, div, final_div, anneal, phases", "onecycle:max=0.1"},
    {ScheduleKind::kPlateau, "plateau", "factor, patience, threshold, threshold_mode, cooldown, min, mode",
     "plateau:factor=0.1,patience=3"},
};

const KindText& text_of(ScheduleKind kind) {
  return *std::find_if(std::begin(kKinds), std::end(kKinds),
                       [&](const KindText& k) { return k.kind == kind; });
}

// The name=value pairs behind the colon; each is taken once, and what is left over is an error.
class Parameters {
 public:
  Parameters(std::string_view whole, std::string_view list, const KindText& kind)
      : whole_(whole), kind_(kind) {
    while (!list.empty()) {
      const size_t comma = list.find(',');
      const std::string_view part = list.substr(0, comma);
      const size_t equals = part.find('=');
      if (equals == std::string_view::npos || equals == 0 || equals + 1 == part.size())
        throw usage_error("--schedule {}: expected name=value, got '{}'; for example {}", whole_, part,
                          kind_.example);
      if (!values_.emplace(part.substr(0, equals), part.substr(equals + 1)).second)
        throw usage_error("--schedule {}: '{}' is given twice", whole_, part.substr(0, equals));
      if (comma == std::string_view::npos) break;
      list.remove_prefix(comma + 1);
      if (list.empty()) throw usage_error("--schedule {}: nothing follows the last comma", whole_);
    }
  }

  // The number called `name`, if given, which must fulfil `valid` (described by `range`).
  template <class Valid>
  std::optional<double> number(std::string_view name, std::string_view range, Valid valid) {
    const auto text = take(name);
    if (!text) return std::nullopt;
    double value = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    // Rates are used in fp32.
    if (error != std::errc() || end != text->data() + text->size() ||
        !std::isfinite(static_cast<float>(value)) || !valid(value))
      throw usage_error("--schedule {}: {} must be {} and within the range of fp32, got '{}'", whole_, name,
                        range, *text);
    return value;
  }
  std::optional<int64_t> count(std::string_view name, int64_t least) {
    const auto text = take(name);
    if (!text) return std::nullopt;
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    // Times the steps of an epoch it is a number of steps, which must not overflow.
    constexpr int64_t kMost = int64_t{1} << 31;
    if (error != std::errc() || end != text->data() + text->size() || value < least || value > kMost)
      throw usage_error("--schedule {}: {} must be a whole number of at least {} and at most {}, got '{}'",
                        whole_, name, least, kMost, *text);
    return value;
  }
  // Is it `second` (rather than `first`, the default)?
  bool is_second(std::string_view name, std::string_view first, std::string_view second) {
    const auto text = take(name);
    if (!text || *text == first) return false;
    if (*text != second)
      throw usage_error("--schedule {}: {} must be {} or {}, got '{}'", whole_, name, first, second, *text);
    return true;
  }
  void end() const {
    if (values_.empty()) return;
    if (kind_.parameters.empty())
      throw usage_error("--schedule {}: '{}' has no parameters, got '{}'", whole_, kind_.name,
                        values_.begin()->first);
    throw usage_error("--schedule {}: '{}' is no parameter of '{}', which has {}; for example {}", whole_,
                      values_.begin()->first, kind_.name, kind_.parameters, kind_.example);
  }
  [[noreturn]] void wrong(std::string_view what) const {
    throw usage_error("--schedule {}: {}; for example {}", whole_, what, kind_.example);
  }

 private:
  std::optional<std::string_view> take(std::string_view name) {
    const auto it = values_.find(name);
    if (it == values_.end()) return std::nullopt;
    const std::string_view value = it->second;
    values_.erase(it);
    return value;
  }

  std::string_view whole_;
  const KindText& kind_;
  std::map<std::string_view, std::string_view> values_;
};

// The shortest text that reads back as the same double.
std::string exact(double value) {
  return fmt::format("{}", value);
}

}  // namespace

Schedule parse_schedule(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  const auto* kind =
      std::find_if(std::begin(kKinds), std::end(kKinds), [&](const KindText& k) { return k.name == name; });
  if (kind == std::end(kKinds))
    throw usage_error(
        "--schedule {}: '{}' is no schedule; expected constant, step, cosine, linear, onecycle or plateau, "
        "for example {}",
        text, name, kKinds[1].example);
  if (colon != std::string_view::npos && colon + 1 == text.size())
    throw usage_error("--schedule {}: nothing follows the colon", text);
  Parameters p(text, colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1), *kind);

  const auto positive = [](double v) { return v > 0; };
  const auto not_negative = [](double v) { return v >= 0; };
  const auto below_one = [](double v) { return v > 0 && v < 1; };
  Schedule s;
  s.kind = kind->kind;
  switch (s.kind) {
    case ScheduleKind::kConstant:
      break;
    case ScheduleKind::kStep:
      s.size_epochs = p.count("size", 1);
      s.size_steps = p.count("steps", 1);
      s.gamma = p.number("gamma", "above 0 and at most 1", [](double v) {
                   return v > 0 && v <= 1;
                 }).value_or(s.gamma);
      p.end();
      if (s.size_epochs.has_value() == s.size_steps.has_value())
        p.wrong("it needs either size (in epochs) or steps");
      break;
    case ScheduleKind::kCosine:
      s.min_lr = p.number("min", "a rate of at least 0", not_negative).value_or(s.min_lr);
      break;
    case ScheduleKind::kLinear:
      s.end_lr = p.number("end", "a rate of at least 0", not_negative).value_or(s.end_lr);
      break;
    case ScheduleKind::kOneCycle:
      s.max_lr = p.number("max", "a rate above 0", positive);
      s.start = p.number("start", "above 0 and below 1", below_one).value_or(s.start);
      s.div = p.number("div", "above 0", positive).value_or(s.div);
      s.final_div = p.number("final_div", "above 0", positive).value_or(s.final_div);
      s.cosine_anneal = !p.is_second("anneal", "cos", "linear");
      s.three_phases = p.is_second("phases", "2", "3");
      p.end();
      if (s.three_phases && s.start > 0.5)
        p.wrong("with phases=3 the rise may take at most half of the steps, so start must be at most 0.5");
      break;
    case ScheduleKind::kPlateau:
      s.factor = p.number("factor", "above 0 and below 1", below_one).value_or(s.factor);
      s.patience_epochs = p.count("patience", 0).value_or(s.patience_epochs);
      s.threshold = p.number("threshold", "at least 0", not_negative).value_or(s.threshold);
      s.relative_threshold = !p.is_second("threshold_mode", "rel", "abs");
      s.cooldown_epochs = p.count("cooldown", 0).value_or(s.cooldown_epochs);
      s.min_lr = p.number("min", "a rate of at least 0", not_negative).value_or(s.min_lr);
      s.mode = p.is_second("mode", "min", "max") ? Direction::kMax : Direction::kMin;
      break;
  }
  p.end();
  return s;
}

std::string to_string(const Schedule& s) {
  const std::string name(text_of(s.kind).name);
  switch (s.kind) {
    case ScheduleKind::kConstant:
      return name;
    case ScheduleKind::kStep:
      return fmt::format("{}:{}={},gamma={}", name, s.size_steps ? "steps" : "size",
                         s.size_steps ? *s.size_steps : s.size_epochs.value(), exact(s.gamma));
    case ScheduleKind::kCosine:
      return fmt::format("{}:min={}", name, exact(s.min_lr));
    case ScheduleKind::kLinear:
      return fmt::format("{}:end={}", name, exact(s.end_lr));
    case ScheduleKind::kOneCycle:
      return fmt::format("{}:{}start={},div={},final_div={},anneal={},phases={}", name,
                         s.max_lr ? fmt::format("max={},", exact(*s.max_lr)) : "", exact(s.start),
                         exact(s.div), exact(s.final_div), s.cosine_anneal ? "cos" : "linear",
                         s.three_phases ? 3 : 2);
    case ScheduleKind::kPlateau:
      return fmt::format("{}:factor={},patience={},threshold={},threshold_mode={},cooldown={},min={},mode={}",
                         name, exact(s.factor), s.patience_epochs, exact(s.threshold),
                         s.relative_threshold ? "rel" : "abs", s.cooldown_epochs, exact(s.min_lr),
                         s.mode == Direction::kMax ? "max" : "min");
  }
  HT_ASSERT(false, "schedule kind {}", static_cast<int>(s.kind));
  return name;
}

PlateauState start_plateau(double base_lr) {
  return {.lr = base_lr, .best = std::nullopt, .bad_epochs = 0, .cooldown_left = 0};
}

PlateauState observe_metric(const Schedule& schedule, const PlateauState& state, double metric) {
  if (schedule.kind != ScheduleKind::kPlateau) return state;
  PlateauState next = state;
  if (std::isfinite(metric) && (!state.best || is_better(schedule, metric, *state.best))) {
    next.best = metric;
    next.bad_epochs = 0;
  } else {
    ++next.bad_epochs;
  }
  if (next.cooldown_left > 0) {
    --next.cooldown_left;
    next.bad_epochs = 0;
  }
  if (next.bad_epochs > schedule.patience_epochs) {
    constexpr double kLeastChange = 1e-8;  // PyTorch's eps: smaller reductions are not worth a change
    const double reduced = std::max(state.lr * schedule.factor, schedule.min_lr);
    if (state.lr - reduced > kLeastChange) next.lr = reduced;
    next.cooldown_left = schedule.cooldown_epochs;
    next.bad_epochs = 0;
  }
  return next;
}

double learning_rate(const Schedule& schedule, double base_lr, const SchedulePosition& position,
                     const PlateauState& state) {
  HT_ASSERT(position.good_step >= 0 && position.total_steps > 0 && position.steps_per_epoch > 0 &&
                position.warmup_steps >= 0,
            "step {} of {}, {} in an epoch, {} to warm up", position.good_step, position.total_steps,
            position.steps_per_epoch, position.warmup_steps);
  const int64_t total = std::max<int64_t>(position.total_steps - position.warmup_steps, 1);
  const int64_t t = std::clamp<int64_t>(position.good_step - position.warmup_steps, 0, total);
  const double rate = main_rate(schedule, base_lr, t, total, position.steps_per_epoch, state);
  if (position.good_step >= position.warmup_steps) return rate;
  return rate *
         (static_cast<double>(position.good_step + 1) / static_cast<double>(position.warmup_steps + 1));
}

std::string to_json(const PlateauState& state) {
  return nlohmann::json{{"lr", state.lr},
                        {"best", state.best ? nlohmann::json(*state.best) : nlohmann::json()},
                        {"bad_epochs", state.bad_epochs},
                        {"cooldown_left", state.cooldown_left}}
      .dump();
}

PlateauState plateau_from_json(std::string_view text) {
  return state::part(text, "the state of the plateau schedule", [](const nlohmann::json& json) {
    return PlateauState{.lr = state::real(json, "lr"),
                        .best = state::real_or_null(json, "best"),
                        .bad_epochs = state::whole(json, "bad_epochs"),
                        .cooldown_left = state::whole(json, "cooldown_left")};
  });
}

}  // namespace halftone::train
