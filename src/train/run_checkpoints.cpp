#include "train/run_checkpoints.h"

#include "base/clock.h"
#include "base/error.h"
#include "train/checkpoint.h"
#include "train/resume.h"
#include "train/run_folder.h"

namespace halftone::train {

void RunCheckpoints::open(bool resumes) {
  const TrainerOptions& options = run_.options;
  if (options.folder.empty()) return;
  if (!resumes) remove_run(options.folder);
  clean_temporaries(options.folder);
  std::optional<RunRecords::Resumed> resumed;
  if (resumes) resumed = resume();
  mark_running(options.folder, options.config);
  write_classes(options.folder, options.classes);
  records_.emplace(options.folder, options.log_every, run_.network.losses(), resumed);
}

std::optional<RunRecords::Resumed> RunCheckpoints::resume() {
  const std::string& folder = run_.options.folder;
  LatestCheckpoint latest = find_latest(folder);
  for (const RefusedCheckpoint& refused : latest.refused) {
    run_.progress.warning(fmt::format("warning: {} is damaged and not used ({}); it is kept as {}.damaged",
                                      refused.path, refused.reason, refused.path));
    set_aside(refused.path);
  }
  if (!latest.checkpoint) {
    run_.progress.message(fmt::format("{} has no usable checkpoint: starting from the beginning", folder));
    return std::nullopt;
  }
  resume_from(*latest.checkpoint, run_);
  const RunState& state = run_.state;
  newest_step_ = state.step;
  newest_evaluated_step_ = state.evaluated_step;
  run_.progress.message(fmt::format("resuming at step {} from {}", state.step, latest.path));
  // The run may have been killed before it had been kept.
  if (state.early.state().best_step == state.step) keep_as_best(folder, latest.path);
  return RunRecords::Resumed{state.step, state.event_bytes};
}

void RunCheckpoints::start_clock() {
  written_at_ = now_seconds();
}

bool RunCheckpoints::due() const {
  const TrainerOptions& o = run_.options;
  return (o.checkpoint_every > 0 && run_.state.step % o.checkpoint_every == 0) ||
         (o.checkpoint_minutes > 0 && now_seconds() - written_at_ >= 60 * o.checkpoint_minutes);
}

CheckpointReport RunCheckpoints::write(bool best, bool prunes) {
  if (!records_) throw usage_error("there is no folder for a checkpoint: give --out");
  const TrainerOptions& options = run_.options;
  RunState& state = run_.state;
  records_->sync();  // before its size is recorded
  state.event_bytes = records_->bytes();
  CheckpointView checkpoint;
  checkpoint.step = state.step;
  checkpoint.state_json = to_json(state, {options.identity, options.origin, options.classes});
  for (const auto& [name, tensor] : run_.network.store().all())
    if (is_in_checkpoints(run_, name)) checkpoint.tensors.emplace(name, &tensor);
  const std::string path = write_checkpoint(options.folder, checkpoint);
  newest_step_ = state.step;
  newest_evaluated_step_ = state.evaluated_step;
  start_clock();
  if (best) keep_as_best(options.folder, path);
  if (prunes) prune(options.folder, options.keep_checkpoints, "");
  return {state.step, path, best};
}

bool RunCheckpoints::up_to_date() const {
  return newest_step_ == run_.state.step && newest_evaluated_step_ == run_.state.evaluated_step;
}

void RunCheckpoints::leave_nothing() {
  if (!records_) return;
  records_.reset();
  remove_run(run_.options.folder);
  newest_step_ = -1;
  run_.progress.message(
      fmt::format("no step was taken, so no checkpoint is kept in {}", run_.options.folder));
}

}  // namespace halftone::train
