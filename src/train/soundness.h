// Whether a run computes with numbers that mean something: infinities that 16 bits met, steps that must be
// skipped, weights that are no longer finite. What is wrong is said with its place and what helps.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"
#include "train/diagnosis.h"
#include "train/noticed.h"
#include "train/run.h"

namespace halftone::train {

class Soundness {
 public:
  explicit Soundness(Run& run);

  // ---- a step
  void begin_step() { owed_.reset(); }
  // The forward pass of micro-batch `micro` had an infinity, although loss and gradients are finite
  // (Network::noticed). Error (numerical) when it spoils the step; whether it does may be owed until
  // decide_owed().
  void notice(size_t micro);
  // The last step was skipped. Error (numerical) when that is hopeless, as LossScale or too many forward
  // passes say; then the state is again `before`, that after the last complete step.
  struct Before {
    LossScaleState loss_scale;
    int64_t forward_skips = 0;
  };
  void skipped(bool finite_loss, StepVerdict verdict, const Before& before);
  // Finds where the last step's batches stop being finite, and what helps, and ends the run with it.
  [[noreturn]] void stop_in_step();
  // The infinity that was noticed last is of a step that is not taken.
  void forget_owed() { owed_.reset(); }
  // Error (numerical) when it spoiled a step.
  void decide_owed();
  // It did, and that step is complete.
  bool spoiled() const { return spoiled_; }

  // ---- between steps
  // Error (numerical) when steps were made and all of them skipped.
  void require_trained();
  // Error (numerical) when a weight, a statistic or optimizer state is not finite.
  void require_finite() const;
  // Both, before forward passes that are no training.
  void require_sound();
  // A numerical error of `f` says after which step it came.
  template <typename F>
  auto explained(const F& f) const -> decltype(f()) {
    try {
      return f();
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::kNumerical) throw;
      throw numerical_error("stopped for numerical reasons after step {}: {}", run_.state.step, e.what());
    }
  }
  // The score of the validation data. Error (numerical) when a loss, or what an infinity makes of it, is
  // wrong.
  Score evaluate(data::Loader& validation);

 private:
  // An infinity in the forward pass of a micro-batch of the last step.
  struct Noticed {
    exec::NonFinite first;
    size_t micro = 0;  // of Run::batches
    uint64_t micro_step = 0;
    int64_t step = 0;
  };
  void explain();
  [[noreturn]] void stop_for(const std::string& why) const;
  void consider(const Noticed& at, bool must_decide);
  Circumstances circumstances() const;

  Run& run_;
  NoticedInfinities in_training_, in_evaluation_;
  int64_t evaluated_batches_ = 0;  // of all validations
  std::optional<Noticed> owed_;    // one that was not held against fp32
  bool spoiled_ = false;
  bool reported_skip_ = false;
  // Of the last skipped step: what was wrong, and what helps.
  std::string fault_, remedy_;
};

}  // namespace halftone::train
