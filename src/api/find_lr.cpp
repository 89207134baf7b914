// train --find-lr: steps at rising learning rates from the file's weights, of which nothing is kept.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/batches.h"
#include "api/training.h"
#include "base/clock.h"
#include "base/error.h"
#include "halftone/options.h"
#include "train/rate_range.h"

namespace halftone {
namespace {

constexpr double kLeastRate = 1e-7;
constexpr double kMostRate = 10;
constexpr int64_t kDefaultSteps = 100;
constexpr int64_t kFewestSteps = 20;
constexpr size_t kRows = 20;
constexpr int64_t kMostSkipped = 3;

// Keeps the loss of each step, and sees when they are beyond use.
class RangeObserver final : public train::Observer {
 public:
  void report(const train::StepReport& step) override {
    // A step is also skipped for a loss scale that is too large; several in a row are the rate's doing.
    skipped = step.skipped ? skipped + 1 : 0;
    over = skipped > kMostSkipped;
    if (step.skipped) return;
    over = !losses.add(step.score.loss());
    if (losses.means().size() == rates.size()) return;
    rates.push_back(step.lr);
  }

  train::RunningLosses losses;
  std::vector<double> rates;
  int64_t skipped = 0;  // in a row
  bool over = false;
};

std::string rate_text(double rate) {
  return fmt::format("{:.1e}", rate);
}

std::string table_of(const LearningRates& r) {
  std::string text = "  learning rate       loss\n";
  const size_t n = r.losses.size();
  const size_t rows = std::min(kRows, n);
  for (size_t i = 0; i < rows; ++i) {
    const size_t at = rows < 2 ? 0 : i * (n - 1) / (rows - 1);
    text += fmt::format("  {:>13} {:>10.4f}\n", rate_text(r.rates[at]), r.losses[at]);
  }
  // What is beyond the first loss would leave the rest flat.
  std::vector<double> shown = r.losses;
  for (double& loss : shown) loss = std::min(loss, r.losses[0]);
  text += "  " + train::sparkline(shown, 60) + "\n";
  if (r.diverged) text += fmt::format("the loss rose beyond use behind {}\n", rate_text(r.rates.back()));
  const auto least = std::min_element(r.losses.begin(), r.losses.end());
  text += fmt::format("the loss is lowest at {}\n",
                      rate_text(r.rates[static_cast<size_t>(least - r.losses.begin())]));
  text += r.suggested
              ? fmt::format("suggested: --lr {} (where it falls most steeply)\n", rate_text(*r.suggested))
              : "no suggestion: the loss fell at no rate for long; more --steps, or another --optimizer, may "
                "show it\n";
  return text;
}

}  // namespace

LearningRates find_learning_rate(const TrainOptions& given, const Log& log) {
  TrainOptions o = given;
  if (o.resume) throw usage_error("--find-lr begins with the file's weights: it does not go with --resume");
  o.steps = o.steps > 0 ? o.steps : kDefaultSteps;
  if (o.steps < kFewestSteps)
    throw usage_error("--find-lr with --steps {}: expected at least {}", o.steps, kFewestSteps);
  // What belongs to runs that are evaluated and kept.
  o.config = nullptr;
  o.schedule = "constant";
  o.warmup = 0;
  o.patience = 0;
  o.keep_best = false;
  o.eval_every = 0;
  o.time_limit = 0;
  o.ema = 0;
  o.lr = kMostRate;  // 0 would be warned of
  api::check_and_decide_batches(o, log);
  const int64_t steps = o.steps;
  const auto rate = [steps](int64_t step) { return train::range_rate(kLeastRate, kMostRate, step, steps); };
  RangeObserver observer;
  LearningRates r;
  api::TrainingRun run(
      o, nullptr, {.folder = nullptr, .on_begin = {}, .rate = rate},
      train::Progress({.style = train::ProgressStyle::kQuiet}, now_seconds, [](std::string_view) {}), log);
  run.trainer().observe(observer);
  try {
    run.trainer().begin(false);
    while (!observer.over && run.trainer().steps() < steps && run.trainer().advance()) {
    }
    r.diverged = observer.over;
  } catch (const Error& e) {
    // What rates that are too large end in.
    if (e.kind() != ErrorKind::kNumerical || observer.rates.empty()) throw;
    r.diverged = true;
  }
  if (observer.rates.empty())
    throw numerical_error("--find-lr: the loss is not finite at the first step already");
  r.rates = observer.rates;
  r.losses = observer.losses.means();
  if (const auto at = train::steepest_fall(r.losses)) r.suggested = r.rates[*at];
  r.text = table_of(r);
  r.json = nlohmann::json{{"command", "find-lr"},
                          {"suggested_lr", r.suggested ? nlohmann::json(*r.suggested) : nlohmann::json()},
                          {"diverged", r.diverged},
                          {"rates", r.rates},
                          {"losses", r.losses}}
               .dump();
  return r;
}

}  // namespace halftone
