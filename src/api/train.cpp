// halftone train: a run in a folder of its own, from its options to its result.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

#include "api/batches.h"
#include "api/identity.h"
#include "api/training.h"
#include "base/clock.h"
#include "base/resource_error.h"
#include "base/stop.h"
#include "train/summary.h"

namespace halftone {
namespace {

train::Progress make_progress(bool quiet) {
  train::ProgressOptions options;
  options.style = train::progress_style(quiet, 2);
  options.columns = train::terminal_columns(2);
  options.says_how_long = true;
  options.memory = train::peak_rss_bytes;
  return train::Progress(options, now_seconds,
                         [](std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); });
}

// What is decided before there is a verdict is said after it.
class HeldLines {
 public:
  HeldLines(const Log& log, bool all) : log_(log), all_(all) {}
  // A run that ends without a verdict says them all.
  ~HeldLines() {
    try {
      release(true);
    } catch (...) {  // the error that ends it matters more
    }
  }
  HeldLines(const HeldLines&) = delete;
  HeldLines& operator=(const HeldLines&) = delete;

  void add(const std::string& line) {
    if (released_) return log_(line);
    lines_.push_back(line);
  }
  void verdict(const std::string& line) {
    log_(line);
    release(all_);
  }

 private:
  void release(bool all) {
    if (released_) return;
    released_ = true;
    bool hidden = false;
    for (const std::string& line : lines_) {
      const bool shown = all || line.starts_with("warning:");
      hidden = hidden || !shown;
      if (shown) log_(line);
    }
    if (hidden) log_("(--verbose says how the data, the network and the loss are read)");
    lines_.clear();
  }

  const Log& log_;
  bool all_;
  bool released_ = false;
  std::vector<std::string> lines_;
};

// Times a few steps of a run that is thrown away.
RunResult time_steps(api::TrainingRun& run, const TrainOptions& o, HeldLines& lines) {
  constexpr int64_t kMostSteps = 8;
  constexpr double kMostSeconds = 5;
  run.evaluate_first();
  run.trainer().begin(false);
  // The first step is slower than the others.
  const double start = now_seconds();
  double after_first = start, last = start;
  int64_t steps = 0;
  while (steps < kMostSteps && now_seconds() - start < kMostSeconds && run.trainer().advance()) {
    last = now_seconds();
    if (++steps == 1) after_first = last;
  }
  RunResult r;
  r.steps = 0;
  r.planned_bytes = run.network().planned_bytes();
  r.peak_rss_bytes = train::peak_rss_bytes().value_or(0);
  const double step = steps > 1 ? (last - after_first) / static_cast<double>(steps - 1) : last - start;
  const int64_t in_epoch = run.steps_per_epoch();
  const TrainOptions& with = run.options();  // with the batch that the data fills
  std::string time;
  nlohmann::json epoch_seconds;
  if (steps > 0 && in_epoch > 0) {
    const int64_t epochs = o.steps > 0 ? 1 : o.epochs;
    epoch_seconds = step * static_cast<double>(in_epoch);
    time = " · " + train::Progress::how_long(step * static_cast<double>(in_epoch), epochs);
    r.samples_per_second = step > 0 ? static_cast<double>(with.network.batch * with.accumulate) / step : 0;
  }
  const std::string verdict = run.verdict() + time;
  lines.verdict(verdict);
  r.summary_json = nlohmann::json{{"command", "train"},
                                  {"dry_run", true},
                                  {"verdict", verdict},
                                  {"epoch_seconds", epoch_seconds},
                                  {"samples_per_second", r.samples_per_second},
                                  {"planned_bytes", r.planned_bytes},
                                  {"peak_rss_bytes", r.peak_rss_bytes}}
                       .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return r;
}

// What a run that ended early is told, if its folder has what it takes to go on.
std::string how_to_go_on(const train::RunFolder& folder) {
  if (!train::has_checkpoint(folder.path())) return "";
  // A comparison needs all its runs to be whole: one alone is not continued.
  if (train::is_in_comparison(folder.path())) return "saved; this run is part of a comparison";
  return "saved; continue with: " + train::resume_command(folder.path());
}

RunResult dry_run(const TrainOptions& o, const Log& log) {
  if (o.resume)
    throw usage_error(
        "--dry-run begins no run, so it does not go with --resume; a run that is continued was checked");
  train::RunFolder::check({o.out, "train", o.overwrite, api::files_read(o.network, o.data)});
  HeldLines lines(log, o.verbose);
  api::TrainingRun run(o, nullptr, {}, make_progress(true),
                       [&lines](const std::string& line) { lines.add(line); });
  RunResult r = time_steps(run, o, lines);
  r.report = "dry run: nothing was trained or written; without --dry-run the run begins";
  log(r.report);
  return r;
}

}  // namespace

RunResult train_model(const TrainOptions& given, const Log& log) {
  TrainOptions o = given;
  api::check_and_decide_batches(o, log);
  if (o.dry_run) return dry_run(o, log);
  train::RunFolder folder =
      o.resume ? train::RunFolder::resume(o.out)
               : train::RunFolder::create({o.out, "train", o.overwrite, api::files_read(o.network, o.data)});
  if (!o.resume && o.out.empty()) log("the results go to " + folder.path());
  bool began = false;
  try {
    HeldLines lines(log, o.verbose);
    api::TrainingRun run(o, nullptr, {&folder, [&began] { began = true; }}, make_progress(o.quiet),
                         [&lines](const std::string& line) { lines.add(line); });
    lines.verdict(run.verdict());
    run.evaluate_first();
    run.trainer().begin(o.resume);
    while (run.trainer().advance()) {
    }
    RunResult result = run.finish();
    std::istringstream report(result.report);
    for (std::string line; std::getline(report, line);) log(line);
    return result;
  } catch (const Interrupted& e) {
    // Before that, checkpoints in the folder are those of the run that this one would have replaced.
    const std::string how = began || o.resume ? how_to_go_on(folder) : "";
    if (!how.empty()) throw Interrupted(e.signal(), how);
    throw Interrupted(e.signal(),
                      fmt::format("stopped by {} before the first step; there was nothing to save",
                                  signal_name(e.signal())));
  } catch (const Error& e) {
    // The other kinds are no matter of going on as it was.
    const bool may_go_on = began && (e.kind() == ErrorKind::kInput || e.kind() == kResources);
    const std::string how = may_go_on ? how_to_go_on(folder) : "";
    if (how.empty()) throw;
    throw Error(e.kind(), fmt::format("{}\n{}", e.what(), how));
  } catch (const std::bad_alloc&) {
    const std::string how = began ? how_to_go_on(folder) : "";
    if (how.empty()) throw;
    throw resource_error("out of memory; try fewer --threads, or a smaller --batch with --accumulate. {}",
                         how);
  }
}

}  // namespace halftone
