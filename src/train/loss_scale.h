// The loss scale: a power of two that keeps small gradients inside fp16's range.
//
// Automatic, fp16: starts at 1024; a step whose gradients are not all finite is skipped and halves the scale;
// 2000 good steps in a row double it; it stays within [1, 2^24]. Automatic, bf16 and fp32: fixed at 1 (their
// range is wide enough). Fixed: as given. A skipped step changes nothing else: not the momentum, not the
// running statistics, not the schedule's position. When kMaxHopelessSteps steps in a row are non-finite
// although the scale can't be lowered any further (automatic: at 1; fixed: at any), the verdict is kStop: the
// network itself overflows, and the run ends with a numerical error. A single one is only skipped, because
// one odd batch should not end a run.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "num/dtype.h"

namespace halftone::train {

constexpr int64_t kMaxHopelessSteps = 10;

struct LossScaleState {
  double scale = 1;
  int64_t good_steps = 0;      // in a row, since the last change of the scale or skipped step
  int64_t skipped_steps = 0;   // in the whole run
  int64_t hopeless_steps = 0;  // non-finite in a row while the scale could not be lowered
  bool operator==(const LossScaleState&) const = default;
};

enum class StepVerdict {
  kApply,  // gradients are finite: take the step
  kSkip,   // leave everything as it is and go on
  kStop,   // leave everything as it is and end the run with a numerical error
};

class LossScale {
 public:
  static LossScale automatic(DType precision);
  // scale: a power of two in [1, 2^24]; usage error otherwise.
  static LossScale fixed(double scale);
  // "auto", or a number for fixed(). Errors name --loss-scale.
  static LossScale parse(std::string_view text, DType precision);

  double scale() const { return state_.scale; }
  bool is_automatic() const { return automatic_; }

  // After each backward pass: were all gradients finite? Apply the verdict with the scale that scale() gave
  // before the call.
  StepVerdict update(bool finite);

  const LossScaleState& state() const { return state_; }
  // From a checkpoint. Error when this loss scale could never have that state (another --loss-scale, say).
  void restore(const LossScaleState& state);

 private:
  LossScale(double scale, bool automatic) : automatic_(automatic) { state_.scale = scale; }

  bool automatic_;
  LossScaleState state_;
};

// {"scale":...,"good_steps":...,"skipped_steps":...,"hopeless_steps":...}. from_json: Error when it is
// something else.
std::string to_json(const LossScaleState& state);
LossScaleState loss_scale_from_json(std::string_view text);

}  // namespace halftone::train
