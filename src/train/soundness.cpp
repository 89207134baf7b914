#include "train/soundness.h"

#include <algorithm>
#include <utility>

namespace halftone::train {
namespace {

NoticedInfinities::Warn warnings_of(Progress& progress) {
  return [&progress](const std::string& text) { progress.warning(text); };
}

}  // namespace

Soundness::Soundness(Run& run)
    : run_(run),
      in_training_(run.options.check_batch, warnings_of(run.progress)),
      in_evaluation_(run.options.check_evaluated, warnings_of(run.progress)) {}

Circumstances Soundness::circumstances() const {
  return {run_.network.options().training.storage, /*training=*/true, run_.state.good_steps > 0,
          run_.network.state().loss_scale, run_.state.loss_scale.is_automatic()};
}

// Throws when it is a weight, a statistic or optimizer state.
void Soundness::explain() {
  ops::StepState& numbers = run_.network.state();
  const std::vector<data::Batch>& batches = run_.batches.fetched();
  std::optional<Fault> fault;
  for (int64_t micro = 0; micro < run_.options.accumulate && !fault; ++micro) {
    numbers.micro_index = static_cast<int32_t>(micro);
    numbers.micro_step = static_cast<uint64_t>(run_.state.micro_steps + micro);
    fault = run_.network.find_non_finite(batches[static_cast<size_t>(micro)]);
  }
  run_.network.restore_derived();
  const Stage stage = fault ? fault->stage : Stage::kBackward;
  fault_ =
      fmt::format("the first non-finite tensor is {}, loss scale {:g}",
                  fault ? describe(*fault, batches[static_cast<size_t>(numbers.micro_index)], run_.samples)
                        : "a sum of gradients",
                  numbers.loss_scale);
  remedy_ = remedy(stage, circumstances());
  // What a step starts from stays as it is, so all further steps would be skipped too.
  if (stage == Stage::kTensor) stop_for(fault_ + "\n  " + remedy_);
}

void Soundness::stop_for(const std::string& why) const {
  throw numerical_error("stopped for numerical reasons at step {}: {}", run_.state.step + 1, why);
}

void Soundness::stop_in_step() {
  explain();
  stop_for(fault_ + "\n  " + remedy_);
}

void Soundness::skipped(bool finite_loss, StepVerdict verdict, const Before& before) {
  RunState& s = run_.state;
  s.forward_skips = finite_loss ? 0 : s.forward_skips + 1;
  const bool hopeless = verdict == StepVerdict::kStop || s.forward_skips >= kMaxHopelessSteps;
  // Looking takes a step's time: of gradients, which a lower scale may mend, the first time; of a forward
  // pass always.
  if (!hopeless && reported_skip_ && s.forward_skips == 0) return;
  explain();
  if (hopeless) {
    const int64_t in_a_row = std::max(s.loss_scale.state().hopeless_steps, s.forward_skips);
    // A skipped step has changed nothing else: the state is again that after the last complete step.
    s.loss_scale.restore(before.loss_scale);
    s.forward_skips = before.forward_skips;
    s.updating = false;
    stop_for(fmt::format("{}\n  {}; {} steps in a row had to be skipped", fault_, remedy_, in_a_row));
  }
  const bool helps_itself = s.loss_scale.scale() < run_.network.state().loss_scale && s.forward_skips == 0;
  if (!reported_skip_)
    run_.progress.warning(fmt::format("warning: skipped step {}: {}{}", s.step + 1, fault_,
                                      helps_itself ? "; the loss scale is lowered and training goes on"
                                                   : "\n  " + remedy_ + "; training goes on"));
  reported_skip_ = true;
}

void Soundness::notice(size_t micro) {
  consider({run_.network.noticed().front(), micro, run_.network.state().micro_step, run_.state.step},
           /*must_decide=*/false);
}

void Soundness::decide_owed() {
  if (!owed_) return;
  const Noticed at = *std::exchange(owed_, std::nullopt);
  consider(at, /*must_decide=*/true);
}

void Soundness::consider(const Noticed& at, bool must_decide) {
  const RunState& s = run_.state;
  if (!must_decide && !in_training_.checks(at.step)) owed_ = at;
  const auto wrong = in_training_.consider(at.first, run_.batches.fetched()[at.micro], at.micro_step, at.step,
                                           fmt::format("step {}", at.step + 1), must_decide);
  spoiled_ = wrong && at.step < s.step;
  if (wrong)
    stop_for(*wrong +
             (s.good_steps > 0 ? "; if it began during the training, a smaller --lr or --clip 1" : ""));
}

void Soundness::require_trained() {
  const RunState& s = run_.state;
  if (s.step == 0 || s.good_steps > 0) return;
  if (fault_.empty() && !run_.batches.fetched().empty()) explain();
  throw numerical_error("nothing was trained: all {} steps were skipped, because {}", s.step,
                        fault_.empty() ? "no gradient was finite" : fault_ + "\n  " + remedy_);
}

void Soundness::require_finite() const {
  const std::optional<std::string> tensor = run_.network.non_finite_tensor();
  if (!tensor) return;
  throw numerical_error(
      "stopped for numerical reasons after step {}: tensor {} holds values that are not finite\n  {}",
      run_.state.step, *tensor, remedy(Stage::kTensor, circumstances()));
}

void Soundness::require_sound() {
  // When every forward pass so far overflowed, so does the next one; what matters is that no step was taken.
  if (run_.state.forward_skips > 0 && run_.state.forward_skips == run_.state.step) require_trained();
  require_finite();
}

Score Soundness::evaluate(data::Loader& validation) {
  require_sound();
  const auto noticed = [&](const exec::NonFinite& first, const data::Batch& batch, int64_t number,
                           int64_t before) {
    const std::string where = fmt::format("validation, samples {} to {}", before, before + batch.count - 1);
    const auto wrong = in_evaluation_.consider(first, batch, 0, evaluated_batches_ + number, where);
    if (wrong) throw numerical_error("{}: {}", where, *wrong);
  };
  Score score = explained([&] { return run_.network.evaluate(validation, {}, {}, noticed); });
  evaluated_batches_ += static_cast<int64_t>(run_.network.evaluated().size());
  return score;
}

}  // namespace halftone::train
