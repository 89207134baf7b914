#include "train/loss_scale.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "train/state_numbers.h"

namespace halftone::train {
namespace {

constexpr double kStart = 1024;
constexpr double kLeast = 1;
constexpr double kMostScale = 16777216;  // 2^24
constexpr int64_t kGoodStepsToDouble = 2000;

bool is_valid(double scale) {
  int exponent = 0;
  return scale >= kLeast && scale <= kMostScale && std::frexp(scale, &exponent) == 0.5;
}

}  // namespace

LossScale LossScale::automatic(DType precision) {
  return precision == DType::kF16 ? LossScale(kStart, true) : LossScale(1, false);
}

LossScale LossScale::fixed(double scale) {
  if (!is_valid(scale))
    throw usage_error(
        "--loss-scale {}: expected auto or a power of two from 1 to 16777216 (other factors would round the "
        "gradients); try 1024",
        scale);
  return LossScale(scale, false);
}

LossScale LossScale::parse(std::string_view text, DType precision) {
  if (text == "auto") return automatic(precision);
  double scale = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), scale);
  if (error != std::errc() || end != text.data() + text.size())
    throw usage_error("--loss-scale: expected auto or a power of two from 1 to 16777216, got '{}'; try auto",
                      text);
  return fixed(scale);
}

StepVerdict LossScale::update(bool finite) {
  if (finite) {
    state_.hopeless_steps = 0;
    ++state_.good_steps;
    if (automatic_ && state_.good_steps >= kGoodStepsToDouble) {
      state_.scale = std::min(state_.scale * 2, kMostScale);
      state_.good_steps = 0;
    }
    return StepVerdict::kApply;
  }
  state_.good_steps = 0;
  ++state_.skipped_steps;
  if (automatic_ && state_.scale > kLeast) {
    state_.scale /= 2;
    return StepVerdict::kSkip;
  }
  ++state_.hopeless_steps;
  return state_.hopeless_steps >= kMaxHopelessSteps ? StepVerdict::kStop : StepVerdict::kSkip;
}

void LossScale::restore(const LossScaleState& state) {
  const bool counts =
      state.good_steps >= 0 && state.skipped_steps >= state.hopeless_steps && state.hopeless_steps >= 0;
  if (!is_valid(state.scale) || !counts)
    throw input_error("the checkpoint's loss scale is damaged: {}", to_json(state));
  if (!automatic_ && state.scale != state_.scale)
    throw input_error(
        "the checkpoint's loss scale is {}, this run's is fixed at {}; resume with the --loss-scale of the "
        "first run",
        state.scale, state_.scale);
  state_ = state;
}

std::string to_json(const LossScaleState& state) {
  return nlohmann::json{{"scale", state.scale},
                        {"good_steps", state.good_steps},
                        {"skipped_steps", state.skipped_steps},
                        {"hopeless_steps", state.hopeless_steps}}
      .dump();
}

LossScaleState loss_scale_from_json(std::string_view text) {
  return state::part(text, "the state of the loss scale", [](const nlohmann::json& json) {
    return LossScaleState{.scale = state::real(json, "scale"),
                          .good_steps = state::whole(json, "good_steps"),
                          .skipped_steps = state::whole(json, "skipped_steps"),
                          .hopeless_steps = state::whole(json, "hopeless_steps")};
  });
}

}  // namespace halftone::train
