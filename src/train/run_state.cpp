#include "train/run_state.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/class_map.h"
#include "train/state_numbers.h"

namespace halftone::train {
namespace {

using Json = nlohmann::json;

Json optional_json(const std::optional<double>& x) {
  return x && std::isfinite(*x) ? Json(*x) : Json(nullptr);
}

}  // namespace

std::optional<double> RunState::accuracy() const {
  if (!has_correct || targets <= 0) return std::nullopt;
  return static_cast<double>(correct) / static_cast<double>(targets);
}

void RunState::start_epoch(int64_t number) {
  epoch = number;
  batch = 0;
  loss.reset();
  correct = 0;
  targets = 0;
}

std::string to_json(const RunState& s, const RunOrigin& of) {
  Json json{{"step", s.step},
            {"good_steps", s.good_steps},
            {"micro_steps", s.micro_steps},
            {"epoch", s.epoch},
            {"batch", s.batch},
            {"samples", s.samples},
            {"stalled", s.stalled},
            {"stored_scale", s.stored_scale},
            {"seconds", s.seconds},
            {"data_wait_seconds", s.data_wait_seconds},
            {"loss", s.loss.to_json()},
            {"correct", s.correct},
            {"targets", s.targets},
            {"has_correct", s.has_correct},
            {"last_epoch_loss", optional_json(s.last_epoch_loss)},
            {"stop", s.stop},
            {"evaluated_step", s.evaluated_step},
            {"event_bytes", s.event_bytes},
            {"identity", of.identity},
            {"origin", of.origin},
            {"loss_scale", to_json(s.loss_scale.state())},
            {"forward_skips", s.forward_skips},
            {"plateau", to_json(s.plateau)},
            {"early_stopping", to_json(s.early.state())},
            {"classes", data::to_json(of.classes.value_or(std::vector<std::string>()))}};
  for (const EarlyStopping& also : s.also_early) json["also_early_stopping"].push_back(to_json(also.state()));
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);  // a path may be any bytes
}

ReadRunState run_state_from_json(std::string_view text, RunState& s) {
  ReadRunState read;
  try {
    const Json j = Json::parse(text);
    s.step = state::whole(j, "step");
    read.origin.identity = j.value("identity", Identity());
    s.good_steps = state::whole(j, "good_steps");
    s.micro_steps = state::whole(j, "micro_steps");
    s.epoch = state::whole(j, "epoch");
    s.batch = state::whole(j, "batch");
    s.samples = state::whole(j, "samples");
    s.stalled = state::whole(j, "stalled");
    s.stored_scale = static_cast<float>(state::real(j, "stored_scale"));
    s.seconds = state::real(j, "seconds");
    s.data_wait_seconds = state::real(j, "data_wait_seconds", 0, 0.0);  // checkpoints of 0.1.0 lack it
    s.loss = RunningMean::from_json(state::text(j, "loss"));
    s.correct = state::whole(j, "correct");
    s.targets =
        state::whole(j, "targets", 0, s.loss.count());  // checkpoints of version 0.2 have none: one a sample
    s.has_correct = state::flag(j, "has_correct");
    s.last_epoch_loss = state::real_or_null(j, "last_epoch_loss");
    s.stop = state::flag(j, "stop");
    s.forward_skips = state::whole(j, "forward_skips", 0, 0);  // checkpoints of version 0.1 have none
    s.plateau = plateau_from_json(state::text(j, "plateau"));
    s.early.restore(early_stopping_from_json(state::text(j, "early_stopping")));
    // A run that goes on with other figures (--accept-changes) begins to count them.
    if (const auto also = j.find("also_early_stopping");
        also != j.end() && also->is_array() && also->size() == s.also_early.size())
      for (size_t i = 0; i < also->size(); ++i)
        s.also_early[i].restore(early_stopping_from_json(also->at(i).get<std::string>()));
    // Checkpoints of version 0.1 as it was first have neither: they were all written after an evaluation that
    // was due.
    s.evaluated_step = state::whole(j, "evaluated_step", -1, s.step);
    s.event_bytes = state::whole(j, "event_bytes", -1, -1);
    read.loss_scale = loss_scale_from_json(state::text(j, "loss_scale"));
    if (j.contains("classes")) read.origin.classes = data::names_from_json(state::text(j, "classes"));
  } catch (const Json::exception& e) {
    throw input_error("{}", e.what());
  }
  return read;
}

// What each number may be by itself was checked when it was read.
void check_ranges(const RunState& s, int64_t step, int64_t batches_per_epoch, int64_t accumulate) {
  const auto require = [](bool holds, const char* name, const auto& value) {
    if (!holds) throw input_error("{} is {}", name, value);
  };
  require(s.step == step, "step", s.step);
  require(s.good_steps <= s.step, "good_steps", s.good_steps);
  // Each has at least one sample.
  require(s.micro_steps >= s.step && s.micro_steps <= s.samples, "micro_steps", s.micro_steps);
  require(s.epoch <= s.step, "epoch", s.epoch);
  require(s.batch <= batches_per_epoch && s.batch % accumulate == 0, "batch", s.batch);
  require(std::isfinite(s.stored_scale), "stored_scale", s.stored_scale);
  require(s.loss.count() <= s.samples, "loss", s.loss.count());
  require(s.correct <= s.targets || !s.has_correct, "correct", s.correct);
  require(s.forward_skips <= s.step, "forward_skips", s.forward_skips);
  require(s.evaluated_step <= s.step, "evaluated_step", s.evaluated_step);
  const LossScaleState& scale = s.loss_scale.state();
  require(scale.good_steps <= s.step && scale.skipped_steps <= s.step, "loss_scale", to_json(scale));
  require(s.early.state().best_step <= s.step, "early_stopping", s.early.state().best_step);
  for (const EarlyStopping& also : s.also_early)
    require(also.state().best_step <= s.step, "also_early_stopping", also.state().best_step);
}

}  // namespace halftone::train
