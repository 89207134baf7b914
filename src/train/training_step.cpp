#include "train/training_step.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/clock.h"
#include "data/text_options.h"

namespace halftone::train {
namespace {

// Every so many steps values are looked at, too, whose infinities do no harm.
constexpr int64_t kLookAtAllSteps = 16;

template <class T>
int64_t count_of(const Tensor& t, int64_t rows) {
  const auto values = t.as<T>().first(static_cast<size_t>(t.size() / t.shape().at(0) * rows));
  return std::count_if(values.begin(), values.end(), [](T v) { return v != 0; });
}

// As the attention mask counts them; without one with padding.
int64_t tokens_of(const data::Batch& batch) {
  const Tensor* mask = batch.find(data::kTokenMask);
  if (mask != nullptr && !mask->empty()) {
    if (mask->dtype() == DType::kI64) return count_of<int64_t>(*mask, batch.count);
    if (mask->dtype() == DType::kI32) return count_of<int32_t>(*mask, batch.count);
    if (mask->dtype() == DType::kU8) return count_of<uint8_t>(*mask, batch.count);
  }
  const Tensor* ids = batch.find(data::kTokenIds);
  return ids == nullptr || ids->empty() ? 0 : ids->size() / ids->shape().at(0) * batch.count;
}

}  // namespace

float optimizer_state_scale(const pass::TrainingOptions& o, double loss_scale) {
  if (o.storage != DType::kF16) return 1;
  const double growth = 2 / (1 - std::min(o.optimizer.momentum, 0.999));
  return static_cast<float>(loss_scale / std::exp2(std::ceil(std::log2(growth))));
}

StepReport TrainingStep::take() {
  const double start = now_seconds();
  soundness_.begin_step();
  set_numbers();
  Score score = compute();
  const bool taken = update(score);
  count(score, taken);
  run_.state.seconds += now_seconds() - start;
  return report(std::move(score), taken);
}

// What the step's nodes read.
void TrainingStep::set_numbers() {
  const RunState& s = run_.state;
  const TrainerOptions& options = run_.options;
  const RunLength& length = run_.length;
  ops::StepState& numbers = run_.network.state();
  numbers.seed = options.seed;
  numbers.step = static_cast<uint64_t>(s.step);
  numbers.loss_scale = static_cast<float>(s.loss_scale.scale());
  numbers.micro_batches = static_cast<int32_t>(options.accumulate);
  numbers.clip_norm = static_cast<float>(options.clip_norm);
  numbers.good_steps = static_cast<double>(s.good_steps + 1);
  const SchedulePosition position{s.good_steps, std::max<int64_t>(1, length.total_steps),
                                  std::max<int64_t>(1, length.steps_per_epoch), options.warmup_steps};
  numbers.lr = static_cast<float>(options.rate_of_step
                                      ? options.rate_of_step(s.step)
                                      : learning_rate(options.schedule, options.lr, position, s.plateau));
  numbers.state_scale = optimizer_state_scale(run_.network.options().training, s.loss_scale.scale());
  numbers.read_scale = 1 / (s.stored_scale > 0 ? s.stored_scale : numbers.state_scale);
  numbers.stalled_updates = 0;
  run_.network.look_at_all(s.step % kLookAtAllSteps == 0 || s.step + 1 == length.total_steps ||
                           s.batch + options.accumulate >= length.batches_per_epoch);
}

Score TrainingStep::compute() {
  Network& network = run_.network;
  ops::StepState& numbers = network.state();
  if (network.depends_on_step()) network.begin_step(run_.batches.all());
  Score score;
  tokens_ = 0;
  for (int64_t micro = 0; micro < run_.options.accumulate; ++micro) {
    const data::Batch& batch = run_.batches.at(static_cast<size_t>(micro));
    numbers.micro_index = static_cast<int32_t>(micro);
    numbers.micro_step = static_cast<uint64_t>(run_.state.micro_steps + micro);
    const Score of_batch = network.compute(batch);
    tokens_ += tokens_of(batch);
    score.add(of_batch);
    // What is not finite in the loss or in a gradient is no secret, and a step that is not taken.
    if (!network.noticed().empty() && std::isfinite(of_batch.loss_sum) && network.gradients_finite())
      soundness_.notice(static_cast<size_t>(micro));
  }
  run_.state.data_wait_seconds += run_.batches.take_wait_seconds();
  // Gradients that are finite say nothing then, and are not followed.
  if (!std::isfinite(score.loss()) && network.gradients_finite()) soundness_.stop_in_step();
  return score;
}

bool TrainingStep::update(const Score& score) {
  RunState& s = run_.state;
  s.updating = true;
  const Soundness::Before before{s.loss_scale.state(), s.forward_skips};
  run_.network.update();
  const StepVerdict verdict = s.loss_scale.update(run_.network.state().finite);
  if (verdict == StepVerdict::kApply) return true;
  soundness_.skipped(std::isfinite(score.loss()), verdict, before);
  return false;
}

void TrainingStep::count(const Score& score, bool taken) {
  RunState& s = run_.state;
  if (taken) {
    ++s.good_steps;
    s.stored_scale = run_.network.state().state_scale;
    s.stalled += run_.network.state().stalled_updates;
    s.loss.add(score.loss(), score.samples);
    s.has_correct = score.correct.has_value();
    s.correct += score.correct.value_or(0);
    s.targets += score.targets;
    s.forward_skips = 0;
  }
  s.micro_steps += run_.options.accumulate;
  if (!run_.batches.given()) s.batch += run_.options.accumulate;
  s.samples += score.samples;
  ++s.step;
}

StepReport TrainingStep::report(Score score, bool taken) const {
  const RunState& s = run_.state;
  const ops::StepState& numbers = run_.network.state();
  StepReport r;
  r.step = s.step;
  r.total_steps = run_.length.total_steps;
  r.epoch = s.epoch;
  r.epochs = run_.length.epochs();
  r.last = s.step == run_.length.total_steps;
  r.skipped = !taken;
  r.score = std::move(score);
  r.lr = numbers.lr;
  r.loss_scale = numbers.loss_scale;
  r.next_loss_scale = s.loss_scale.scale();
  r.grad_norm = numbers.grad_norm;
  r.stalled_updates = numbers.stalled_updates;
  r.samples = s.samples;
  r.tokens = tokens_;
  r.seconds = s.seconds;
  r.epoch_loss = s.loss.mean();
  r.epoch_accuracy = s.accuracy();
  return r;
}

}  // namespace halftone::train
