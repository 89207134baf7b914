#include <cstdio>
#include <memory>

#include "commands.h"
#include "halftone/printable.h"

namespace cli {

Run add_predict(CLI::App& app) {
  struct State {
    halftone::TrainOptions shared;  // of which predict has some
    halftone::PredictOptions options;
    std::string config;
    bool json = false;
  };
  auto s = std::make_shared<State>();
  // What other programs compute, and what the run was trained with.
  s->shared.network.precision = "fp32";
  s->shared.data.normalize = "auto";
  CLI::App* command = app.add_subcommand(
      "predict",
      "classes, probabilities, targets or embeddings of samples that need no labels, as CSV or JSON lines");
  add_options(*command, s->shared, halftone::kPredict);
  command
      ->add_option(
          "--out", s->options.out,
          "the file to write, .csv or .jsonl; it appears when it is complete. Default: standard output")
      ->type_name("FILE");
  command->add_flag("--overwrite", s->options.overwrite, "--out may exist, and is replaced");
  command
      ->add_option("--format", s->options.format,
                   "csv, jsonl (a JSON object a line), npy (the numbers of each sample, in the order of the "
                   "data), or auto: as "
                   "--out ends, else csv")
      ->capture_default_str();
  command
      ->add_option(
          "--as", s->options.as,
          "what the output's numbers are: classes (one a sample, by a softmax), labels (each for itself, by "
          "a "
          "sigmoid), numbers (as they are: targets, an embedding), or auto: as the run was trained, or the "
          "network ends")
      ->capture_default_str();
  command
      ->add_option("--class-axis", s->options.class_axis,
                   "where each position (pixel, token) has a class: the axis of the output that has the "
                   "classes: first "
                   "(behind the batch), last, or auto: as the sizes show")
      ->capture_default_str();
  command->add_option("--top", s->options.top, "classes that are named for each sample, the likeliest first")
      ->capture_default_str();
  command->add_flag("--probabilities", s->options.probabilities, "the probabilities of all classes, too");
  command->add_flag("--with-labels", s->options.with_labels,
                    "the data has labels, as for eval: each row gets its own");
  add_config_option(*command, s->config);
  command->add_flag("--quiet", s->options.quiet, "only warnings");
  command->add_flag("--json", s->json,
                    "the last line on standard output is a JSON object with time and counts; needs --out");
  return [s, command]() -> int {
    if (s->shared.network.model.empty())
      throw halftone::Error(halftone::ErrorKind::kUsage, "predict: MODEL is missing");
    if (s->shared.data.data.empty())
      throw halftone::Error(halftone::ErrorKind::kUsage, "predict: --data SPEC is missing");
    if (s->json && s->options.out.empty())
      throw halftone::Error(halftone::ErrorKind::kUsage,
                            "predict: --json and the rows would both go to standard output; give --out FILE");
    s->options.network = s->shared.network;
    s->options.data = s->shared.data;
    s->options.given = given_keys(*command, halftone::kPredict);
    const auto print = [](const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); };
    const halftone::PredictResult r =
        halftone::predict_samples(s->options, print, make_log(s->options.quiet));
    if (s->json) std::printf("%s\n", r.summary_json.c_str());
    return 0;
  };
}

}  // namespace cli
