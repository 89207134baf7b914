#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "commands.h"
#include "config.h"
#include "halftone/printable.h"

namespace cli {
namespace {

std::string percent(const std::optional<double>& share) {
  if (!share) return "";
  char text[40];
  std::snprintf(text, sizeof(text), ", accuracy %.2f %%", 100 * *share);
  return text;
}

std::vector<std::string> texts(const std::vector<double>& numbers) {
  std::vector<std::string> out;
  for (const double number : numbers) {
    char text[40];
    const auto [end, error] = std::to_chars(text, text + sizeof(text), number);
    out.emplace_back(text, end);
  }
  return out;
}

int print_rates(const halftone::TrainOptions& options, bool json) {
  const halftone::LearningRates r = halftone::find_learning_rate(options, make_log(options.quiet));
  if (json) {
    std::printf("%s\n", r.json.c_str());
    return 0;
  }
  std::printf("%s", r.text.c_str());
  if (r.suggested)
    std::printf("next: the same command with --lr %.1e in the place of --find-lr\n", *r.suggested);
  return 0;
}

std::string absolute(const std::string& path) {
  std::error_code error;
  const std::filesystem::path full = std::filesystem::absolute(path, error);
  return error ? path : full.string();
}

}  // namespace

Run add_train(CLI::App& app) {
  struct State {
    halftone::TrainOptions options;
    std::string config, resume;
    bool json = false, verbose = false, find_lr = false;
  };
  auto s = std::make_shared<State>();
  CLI::App* command = app.add_subcommand("train", "continue the training of an fp32 ONNX network in 16 bits");
  add_options(*command, s->options, halftone::kTrain);
  command
      ->add_option("--out", s->options.out,
                   "folder of the results: model.onnx, summary.json, events.jsonl, TensorBoard events, "
                   "checkpoints; new or empty. Default: runs/train-1, -2, ..., the first that is free")
      ->type_name("DIR");
  command
      ->add_flag("--overwrite", s->options.overwrite,
                 "--out may hold an earlier run, which is replaced; never anything else")
      ->group(halftone::kRunFolder);
  CLI::Option* const resume =
      command->add_option("--resume", s->resume, "continue the run in this folder, with its configuration")
          ->type_name("DIR");
  command
      ->add_flag("--accept-changes", s->options.accept_changes,
                 "with --resume: continue although the model, the data or options differ from those the run "
                 "began with")
      ->group(halftone::kRunFolder)
      ->needs(resume);
  add_config_option(*command, s->config);
  command
      ->add_flag("--find-lr", s->find_lr,
                 "instead of training: take 100 steps (or --steps) at rates from 1e-7 to 10, print the "
                 "losses and the rate "
                 "that they suggest, and end; nothing is written")
      ->group(halftone::kEveryday);
  command
      ->add_flag("--profile", s->options.profile,
                 "report at the end how much time the steps spent in each operator")
      ->group(halftone::kRunFolder);
  command->add_flag("--dry-run", s->options.dry_run,
                    "do everything but train: open, check and plan, time a few steps; nothing is written");
  command->add_flag(
      "--verbose", s->verbose,
      "say all that is decided before the first step, on a terminal too (elsewhere it always is)");
  command->add_flag("--quiet", s->options.quiet, "no progress, only warnings");
  command->add_flag("--json", s->json, "the last line on standard output is summary.json");
  return [s, command]() -> int {
    if (!s->resume.empty()) {
      if (s->options.overwrite)
        throw halftone::Error(
            halftone::ErrorKind::kUsage,
            "train: --resume goes on with a run, --overwrite replaces it: give one of them");
      std::error_code ignored;
      if (!s->options.out.empty() && !std::filesystem::equivalent(s->options.out, s->resume, ignored))
        throw halftone::Error(
            halftone::ErrorKind::kUsage,
            "train: --resume " + s->resume + " goes on in its own folder, --out " + s->options.out +
                " names another one: leave --out away, or copy the run's folder and resume the copy");
      s->options.out = s->resume;
      s->options.resume = true;
    }
    if (s->options.network.model.empty())
      throw halftone::Error(halftone::ErrorKind::kUsage, "train: MODEL.onnx is missing");
    if (s->options.data.data.empty())
      throw halftone::Error(halftone::ErrorKind::kUsage, "train: --data SPEC is missing");
    s->options.verbose = s->verbose || ::isatty(STDERR_FILENO) != 1;
    // Lives in the state, so it must not own it.
    s->options.config = [s = s.get(), command](const halftone::TrainOptions& decided) {
      // Resuming works from every folder.
      std::map<std::string, std::vector<std::string>> values{{"multiply", {decided.network.multiply}},
                                                             {"model", {absolute(s->options.network.model)}},
                                                             {"data", {absolute(s->options.data.data)}}};
      values["batch"] = {std::to_string(decided.network.batch)};
      values["accumulate"] = {std::to_string(decided.accumulate)};
      values["effective-batch"] = {"0"};
      if (s->options.data.normalize == "auto") {
        values["normalize"] = {decided.data.normalize};
        values["mean"] = texts(decided.data.mean);
        values["std"] = texts(decided.data.std);
        values["channel-order"] = {decided.data.channel_order};
      }
      if (!s->options.data.classes_file.empty())
        values["classes-file"] = {absolute(s->options.data.classes_file)};
      if (!s->options.data.columns_file.empty())
        values["columns-file"] = {absolute(s->options.data.columns_file)};
      if (!s->options.data.old_classes_file.empty())
        values["old-classes-file"] = {absolute(s->options.data.old_classes_file)};
      if (!s->options.network.loss_graph.empty())
        values["loss-graph"] = {absolute(s->options.network.loss_graph)};
      std::error_code no_file;
      if (std::filesystem::is_regular_file(s->options.network.class_weights, no_file))
        values["class-weights"] = {absolute(s->options.network.class_weights)};
      // A share ("10%") is no path.
      if (!s->options.data.val.empty() && s->options.data.val != "none" && s->options.data.val.back() != '%')
        values["val"] = {absolute(s->options.data.val)};
      return resolved_yaml(*command, values);
    };
    if (s->find_lr) return print_rates(s->options, s->json);
    const halftone::RunResult r = halftone::train_model(s->options, make_log(s->options.quiet));
    if (s->json) {
      std::printf("%s\n", r.summary_json.c_str());
    } else if (!s->options.dry_run) {
      std::printf("%s: %ld steps, %.0f samples/s%s%s\n", halftone::printable(r.model_path).c_str(),
                  static_cast<long>(r.steps), r.samples_per_second,
                  r.val_loss ? (", validation loss " + std::to_string(*r.val_loss)).c_str() : "",
                  percent(r.val_accuracy).c_str());
    }
    return 0;
  };
}

Run add_eval(CLI::App& app) {
  struct State {
    halftone::TrainOptions options;  // of which eval has some
    std::string config, metrics_out;
    bool json = false;
  };
  auto s = std::make_shared<State>();
  s->options.data.normalize = "auto";
  CLI::App* command = app.add_subcommand(
      "eval", "loss, accuracy, precision and recall of each class, and more, of a network on samples");
  add_options(*command, s->options, halftone::kEval);
  command
      ->add_option("--metrics-out", s->metrics_out,
                   "folder of metrics.json, metrics.csv and confusion.csv, which are replaced; default: none "
                   "is written")
      ->type_name("DIR");
  add_config_option(*command, s->config);
  command->add_flag("--quiet", s->options.quiet, "only results");
  command->add_flag("--json", s->json, "the last line on standard output is a JSON object");
  return [s, command]() -> int {
    if (s->options.network.model.empty())
      throw halftone::Error(halftone::ErrorKind::kUsage, "eval: MODEL.onnx is missing");
    if (s->options.data.data.empty())
      throw halftone::Error(halftone::ErrorKind::kUsage, "eval: --data SPEC is missing");
    const halftone::RunResult r =
        halftone::evaluate_model({s->options.network, s->options.data, s->options.quiet, s->metrics_out,
                                  given_keys(*command, halftone::kEval)},
                                 make_log(s->options.quiet));
    if (s->json) {
      std::printf("%s\n", r.summary_json.c_str());
    } else {
      if (!s->options.quiet) std::printf("%s", halftone::printable(r.metrics, true).c_str());
      std::printf("loss %.6f%s (%.0f samples/s)\n", r.val_loss.value_or(0), percent(r.val_accuracy).c_str(),
                  r.samples_per_second);
    }
    return 0;
  };
}

}  // namespace cli
