#include <cstdio>
#include <memory>

#include "commands.h"
#include "halftone/operators.h"

namespace cli {

Run add_run(CLI::App& app) {
  struct State {
    halftone::TrainOptions options;  // of which run has some
    std::vector<std::string> inputs;
    std::string folder, config;
    bool quiet = false;  // warnings are always printed
  };
  auto s = std::make_shared<State>();
  s->options.network.precision = "fp32";
  CLI::App* command = app.add_subcommand(
      "run", "a network's outputs for given inputs, .npy to .npy (for proofs against other programs)");
  add_options(*command, s->options, halftone::kRun);
  command
      ->add_option("--input", s->inputs,
                   ".npy file of an input, in the network's order, or NAME=FILE; NAME=NUMBER: one number in "
                   "every element; may be repeated")
      ->type_name("FILE");
  command->add_option("--output-dir", s->folder, "folder of the outputs, 0.npy, 1.npy, ...")
      ->required()
      ->type_name("DIR");
  add_config_option(*command, s->config);
  return [s]() -> int {
    if (s->options.network.model.empty())
      throw halftone::Error(halftone::ErrorKind::kUsage, "run: MODEL.onnx is missing");
    halftone::run_model(s->options.network, s->inputs, s->folder, make_log(s->quiet));
    return 0;
  };
}

Run add_gradients(CLI::App& app) {
  struct State {
    halftone::TrainOptions shared;  // of which gradients has some
    halftone::GradientsOptions options;
    std::string config;
  };
  auto s = std::make_shared<State>();
  s->shared.network.precision = "fp32";
  CLI::App* command = app.add_subcommand(
      "gradients", "loss and gradients of one batch, .npy to .npy (for proofs against other programs)");
  add_options(*command, s->shared, halftone::kGradients);
  command
      ->add_option(
          "--loss-scale", s->options.loss_scale,
          "what the loss is multiplied by, and the gradients divided by again: auto, as a run's first "
          "step, or a power of two")
      ->capture_default_str();
  const auto one_each = [](CLI::Option* option) {
    option->type_name("FILE")
        ->expected(1)  // each time, so that MODEL may follow
        ->allow_extra_args(false)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  };
  one_each(command
               ->add_option("--input", s->options.input,
                            ".npy file of the samples; of several inputs one for each, in the network's "
                            "order, or NAME=FILE; "
                            "NAME=NUMBER: one number in every element")
               ->required());
  one_each(command->add_option(
      "--labels", s->options.labels,
      ".npy file of class numbers or targets; of several losses one for each, in their order; of a loss "
      "graph NAME=FILE for each field that it takes"));
  command
      ->add_option("--mode", s->options.mode,
                   "train: batch norms use the batch's statistics, and dropout drops; eval: they use the "
                   "running ones, and nothing is dropped")
      ->capture_default_str();
  command
      ->add_option("--output-dir", s->options.output_dir, "folder of loss.npy and <parameter>.npy (/ as %2F)")
      ->required()
      ->type_name("DIR");
  add_config_option(*command, s->config);
  return [s]() -> int {
    if (s->shared.network.model.empty())
      throw halftone::Error(halftone::ErrorKind::kUsage, "gradients: MODEL.onnx is missing");
    s->options.network = s->shared.network;
    halftone::write_gradients(s->options);
    return 0;
  };
}

Run add_info(CLI::App& app) {
  struct State {
    bool json = false;
    bool operators = false;
  };
  auto s = std::make_shared<State>();
  CLI::App* command = app.add_subcommand(
      "info", "version, instruction sets found and used, threads, and what to expect here");
  command->add_flag("--operators", s->operators,
                    "instead: the operators of ONNX that this build reads, with their opsets");
  command->add_flag("--json", s->json, "as a JSON object");
  return [s]() -> int {
    if (s->operators) {
      const halftone::Operators list = halftone::operators();
      std::printf("%s%s", s->json ? list.json.c_str() : list.text.c_str(), s->json ? "\n" : "");
      return 0;
    }
    const halftone::Info info = halftone::info();
    std::printf("%s%s", s->json ? info.json.c_str() : info.text.c_str(), s->json ? "\n" : "");
    return 0;
  };
}

}  // namespace cli
