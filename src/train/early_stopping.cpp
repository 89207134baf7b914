#include "train/early_stopping.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "train/state_numbers.h"

namespace halftone::train {

EarlyStopping::EarlyStopping(Direction mode, std::optional<int64_t> patience, double min_delta)
    : mode_(mode), patience_(patience), min_delta_(min_delta) {
  if (patience && *patience < 1)
    throw usage_error("the patience of early stopping must be at least 1 evaluation, got {}", *patience);
  if (!(min_delta >= 0) || std::isinf(min_delta))
    throw usage_error("the least improvement of early stopping must be at least 0, got {}", min_delta);
}

bool EarlyStopping::observe(int64_t step, double metric) {
  const double sign = mode_ == Direction::kMin ? 1 : -1;
  const bool better =
      std::isfinite(metric) && (!state_.best || sign * metric < sign * *state_.best - min_delta_);
  if (better) {
    state_ = {.best = metric, .best_step = step, .bad_evaluations = 0};
  } else {
    ++state_.bad_evaluations;
  }
  return better;
}

bool EarlyStopping::should_stop() const {
  return patience_ && state_.bad_evaluations >= *patience_;
}

std::string to_json(const EarlyStoppingState& state) {
  return nlohmann::json{{"best", state.best ? nlohmann::json(*state.best) : nlohmann::json()},
                        {"best_step", state.best_step},
                        {"bad_evaluations", state.bad_evaluations}}
      .dump();
}

EarlyStoppingState early_stopping_from_json(std::string_view text) {
  return state::part(text, "the state of early stopping", [](const nlohmann::json& json) {
    return EarlyStoppingState{.best = state::real_or_null(json, "best"),
                              .best_step = state::whole(json, "best_step", -1),
                              .bad_evaluations = state::whole(json, "bad_evaluations")};
  });
}

}  // namespace halftone::train
