#include "train/progress_observer.h"

#include <fmt/format.h>

namespace halftone::train {

void ProgressObserver::report(const StepReport& step) {
  ProgressState shown;
  shown.step = step.step;
  shown.steps = step.total_steps;
  shown.epoch = step.epochs > 0 ? step.epoch + 1 : 0;
  shown.epochs = step.epochs;
  shown.samples = step.samples;
  shown.tokens = tokens_ += step.tokens;
  shown.loss = step.epoch_loss;
  shown.accuracy = step.epoch_accuracy;
  if (shows_scale_) shown.loss_scale = step.next_loss_scale;
  progress_.update(shown);
}

void ProgressObserver::prepare(const EvaluationReport& evaluation) {
  const Score& score = *evaluation.score;
  const auto accuracy = score.accuracy();
  message_ = accuracy ? fmt::format("epoch {}: validation loss {:.4f}, accuracy {:.2f} %",
                                    evaluation.epochs_done, score.loss(), 100 * *accuracy)
                      : fmt::format("epoch {}: validation loss {:.6g}", evaluation.epochs_done, score.loss());
  message_ += text_of(evaluation.figures);
}

void ProgressObserver::report(const EvaluationReport& /*evaluation*/) {
  progress_.message(message_);
}

}  // namespace halftone::train
