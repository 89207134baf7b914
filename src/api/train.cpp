// halftone train: a run in a folder of its own, from its options to its result.
#include <cstdio>

#include "api/batches.h"
#include "api/identity.h"
#include "api/training.h"
#include "base/clock.h"
#include "base/resource_error.h"
#include "base/stop.h"

namespace halftone {
namespace {

train::Progress make_progress(bool quiet) {
  train::ProgressOptions options;
  options.style = train::progress_style(quiet, 2);
  options.columns = train::terminal_columns(2);
  return train::Progress(options, now_seconds,
                         [](std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); });
}

// What a run that ended early is told, if its folder has what it takes to go on.
std::string how_to_go_on(const train::RunFolder& folder) {
  if (!train::has_checkpoint(folder.path())) return "";
  // A comparison needs all its runs to be whole: one alone is not continued.
  if (train::is_in_comparison(folder.path())) return "saved; this run is part of a comparison";
  return "saved; continue with: " + train::resume_command(folder.path());
}

}  // namespace

RunResult train_model(const TrainOptions& given, const Log& log) {
  TrainOptions o = given;
  if (o.network.batch == 0) o.network.batch = 1;  // auto, which is decided below
  api::check_training_options(o, /*given=*/false);
  o.network.batch = given.network.batch;
  api::decide_batches(o, log);
  train::RunFolder folder =
      o.resume ? train::RunFolder::resume(o.out)
               : train::RunFolder::create({o.out, "train", o.overwrite, api::files_read(o.network, o.data)});
  if (!o.resume && o.out.empty()) log("the results go to " + folder.path());
  bool began = false;
  try {
    api::TrainingRun run(o, nullptr, {&folder, [&began] { began = true; }}, make_progress(o.quiet), log);
    run.evaluate_first();
    run.trainer().begin(o.resume);
    while (run.trainer().advance()) {
    }
    return run.finish();
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
