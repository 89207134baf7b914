// Learning-rate schedules: what the rate of a step is, as a function of the step's position and, for plateau,
// of a small state.
//
// A position counts good steps only: a step that was skipped for a non-finite gradient does not move the
// schedule. All kinds begin after the warm-up: with t = good_step - warmup_steps and T = total_steps -
// warmup_steps (beyond T, t counts as T),
//   constant  base
//   step      base * gamma^k, k = floor(t / (size * steps_per_epoch)), or floor(t / steps)
//   cosine    min + (base - min) * (1 + cos(pi t / T)) / 2
//   linear    base + (end - base) * t / T
//   onecycle  from max/div up to max in the first start * T steps, then down to max/div/final_div at the last
//             step; anneal cos or linear; phases=3 comes down as it went up and then goes to the end. The
//             momentum is left as it is.
//   plateau   base * factor^k, k the number of times that the watched metric has stalled (observe_metric)
// and in warm-up step s = good_step < warmup_steps the rate is that of t = 0 times (s + 1) / (warmup_steps +
// 1). Meanings are those of PyTorch's StepLR, CosineAnnealingLR, LinearLR, OneCycleLR (cycle_momentum=False)
// and ReduceLROnPlateau, and of SequentialLR([LinearLR(1 / (W + 1), total_iters=W), schedule], [W]) for the
// warm-up. Arithmetic is plain double without library functions, so that every machine gets the same bits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace halftone::train {

enum class ScheduleKind { kConstant, kStep, kCosine, kLinear, kOneCycle, kPlateau };
enum class Direction { kMin, kMax };  // is a smaller or a larger metric better?

struct Schedule {
  ScheduleKind kind = ScheduleKind::kConstant;

  // step: exactly one of them is set
  std::optional<int64_t> size_epochs;
  std::optional<int64_t> size_steps;
  double gamma = 0.1;

  double min_lr = 0;  // cosine, plateau
  double end_lr = 0;  // linear

  // onecycle
  std::optional<double> max_lr;  // not set: the base rate
  double start = 0.3;            // share of the steps in which the rate rises
  double div = 25;
  double final_div = 1e4;
  bool cosine_anneal = true;
  bool three_phases = false;

  // plateau; an epoch here is one call of observe_metric
  double factor = 0.1;
  int64_t patience_epochs = 10;
  double threshold = 1e-4;
  bool relative_threshold = true;
  int64_t cooldown_epochs = 0;
  Direction mode = Direction::kMin;  // kMin watches the validation loss, kMax the accuracy
};

// KIND or KIND:name=value,name=value:
//   constant | step:size=30,gamma=0.1 (epochs) or step:steps=500 | cosine:min=0 | linear:end=0
//   onecycle:max=0.1,start=0.3,div=25,final_div=1e4,anneal=cos|linear,phases=2|3
//   plateau:factor=0.1,patience=10,threshold=1e-4,threshold_mode=rel|abs,cooldown=0,min=0,mode=min|max
// Errors (usage) name --schedule, the part, what was expected and an example.
Schedule parse_schedule(std::string_view text);

// The text that parse_schedule reads back, with every parameter written out.
std::string to_string(const Schedule& schedule);

struct SchedulePosition {
  int64_t good_step = 0;        // good steps taken before this one
  int64_t total_steps = 1;      // of the whole run, warm-up included, > 0
  int64_t steps_per_epoch = 1;  // > 0
  int64_t warmup_steps = 0;     // >= 0
};

// What plateau remembers; part of a checkpoint. Other schedules leave it alone.
struct PlateauState {
  double lr = 0;               // the present rate without warm-up
  std::optional<double> best;  // none before the first finite metric
  int64_t bad_epochs = 0;
  int64_t cooldown_left = 0;
};

PlateauState start_plateau(double base_lr);

// After each evaluation: `metric` is the validation loss or accuracy. A NaN counts as no improvement. Does
// nothing for other kinds.
PlateauState observe_metric(const Schedule& schedule, const PlateauState& state, double metric);

double learning_rate(const Schedule& schedule, double base_lr, const SchedulePosition& position,
                     const PlateauState& state);

// {"lr":...,"best":...,"bad_epochs":...,"cooldown_left":...}, exact. from_json: Error when it is something
// else.
std::string to_json(const PlateauState& state);
PlateauState plateau_from_json(std::string_view text);

}  // namespace halftone::train
