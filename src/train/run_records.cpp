#include "train/run_records.h"

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

namespace halftone::train {
namespace {

using Json = nlohmann::json;

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Json optional_json(double x) {
  return std::isfinite(x) ? Json(x) : Json(nullptr);
}

// Of several losses, each by itself.
Json losses_json(const std::vector<pass::LossNode>& losses, const Score& score) {
  Json list = Json::array();
  for (size_t i = 0; i < score.parts.size(); ++i) {
    const PartScore& part = score.parts[i];
    Json entry{{"output", losses[i].name}, {"loss", optional_json(part.loss())}};
    if (const auto accuracy = part.accuracy()) entry["accuracy"] = *accuracy;
    list.push_back(std::move(entry));
  }
  return list;
}

EventLog open_log(const std::string& folder, const std::optional<RunRecords::Resumed>& resumed) {
  const std::string path = folder + "/events.jsonl";
  return resumed ? EventLog::resumed(path, resumed->step, resumed->event_bytes) : EventLog::fresh(path);
}

}  // namespace

RunRecords::RunRecords(const std::string& folder, int64_t log_every, std::vector<pass::LossNode> losses,
                       const std::optional<Resumed>& resumed)
    : log_every_(log_every),
      losses_(std::move(losses)),
      tensorboard_(folder, wall_seconds, resumed ? std::optional<int64_t>(resumed->step + 1) : std::nullopt),
      events_(open_log(folder, resumed)) {}

void RunRecords::prepare(const StepReport& s) {
  record_.clear();
  if (s.step % log_every_ != 0 && !s.last && !s.skipped) return;
  const auto accuracy = s.score.accuracy();
  Json event{{"step", s.step},
             {"epoch", s.epoch},
             {"loss", optional_json(s.score.loss())},
             {"lr", s.lr},
             {"loss_scale", s.loss_scale},
             {"grad_norm", optional_json(s.grad_norm)},
             {"samples", s.samples},
             {"seconds", s.seconds},
             {"skipped", s.skipped},
             {"stalled_updates", s.stalled_updates}};
  if (accuracy) event["accuracy"] = *accuracy;
  if (s.score.parts.size() > 1) event["losses"] = losses_json(losses_, s.score);
  record_ = event.dump();
  events_.prepare(record_.size());
  scalars_ = {{"train/loss", static_cast<float>(s.score.loss())},
              {"train/lr", static_cast<float>(s.lr)},
              {"train/loss_scale", static_cast<float>(s.loss_scale)},
              {"train/grad_norm", static_cast<float>(s.grad_norm)}};
  if (accuracy) scalars_.push_back({"train/accuracy", static_cast<float>(*accuracy)});
}

// A record that cannot be written is owed to the log, and is written with the next one or the next
// checkpoint.
void RunRecords::report(const StepReport& s) {
  if (record_.empty()) return;
  events_.append(s.step, record_);
  tensorboard_.add(s.step, scalars_);
}

void RunRecords::prepare(const EvaluationReport& e) {
  record_.clear();
  const auto accuracy = e.score->accuracy();
  scalars_ = {{"val/loss", static_cast<float>(e.score->loss())}};
  if (accuracy) scalars_.push_back({"val/accuracy", static_cast<float>(*accuracy)});
  for (const Figure& f : e.figures) scalars_.push_back({"val/" + f.name, static_cast<float>(f.value)});
  tensorboard_.add(e.step, scalars_);
  Json event{{"step", e.step}, {"epoch", e.epochs_done}, {"val_loss", optional_json(e.score->loss())}};
  if (e.statistics_batches > 0) {
    event["bn_statistics"] = e.statistics_measured ? "measured" : "running";
    event["bn_batches"] = e.statistics_batches;
    event["bn_deviation"] = optional_json(e.statistics_deviation);
    event["bn_spread"] = optional_json(e.statistics_spread);
  }
  if (accuracy) event["val_accuracy"] = *accuracy;
  for (const Figure& f : e.figures) event["val_" + f.name] = optional_json(f.value);
  if (e.score->parts.size() > 1) event["val_losses"] = losses_json(losses_, *e.score);
  record_ = event.dump();
  events_.prepare(record_.size());
}

void RunRecords::report(const EvaluationReport& e) {
  if (!record_.empty()) events_.append(e.step, record_);
}

}  // namespace halftone::train
