#include <unistd.h>

#include <cstdio>
#include <memory>

#include "commands.h"
#include "halftone/adapters.h"
#include "halftone/printable.h"

namespace cli {

Run add_compare(CLI::App& app, const std::string& program) {
  struct State {
    halftone::CompareOptions options;
    std::string config;
    bool json = false;
  };
  auto s = std::make_shared<State>();
  CLI::App* command = app.add_subcommand(
      "compare",
      "paired runs from one start and one order of data: accuracy, loss, speed and memory side by side");
  halftone::TrainOptions& t = s->options.train;
  add_options(*command, t, halftone::kCompare);
  command
      ->add_option("--precisions", s->options.variants,
                   "what to compare, PRECISION[:ROUNDING][:MULTIPLY], e.g. fp32,fp16,fp16:nearest,bf16:wide")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--seeds", s->options.seeds, "runs of each, from --seed on; a verdict needs 3 or more")
      ->capture_default_str();
  command
      ->add_option(
          "--out", t.out,
          "folder of all runs and of summary.json; new or empty. Default: runs/compare-1, -2, ..., the first "
          "that is free")
      ->type_name("DIR");
  command
      ->add_flag("--overwrite", t.overwrite,
                 "--out may hold an earlier comparison, which is replaced; never anything else")
      ->group(halftone::kRunFolder);
  add_config_option(*command, s->config);
  command->add_flag("--quiet", t.quiet, "only the table");
  command->add_flag("--json", s->json, "the last line on standard output is summary.json");
  return [s, program]() -> int {
    if (s->options.train.network.model.empty())
      throw halftone::Error(halftone::ErrorKind::kUsage, "compare: MODEL.onnx is missing");
    if (s->options.train.data.data.empty())
      throw halftone::Error(halftone::ErrorKind::kUsage, "compare: --data SPEC is missing");
    const halftone::CompareResult r =
        halftone::compare_runs(s->options, program, make_log(s->options.train.quiet));
    std::printf("%s", halftone::printable(r.table, true).c_str());
    if (s->json) std::printf("%s\n", r.summary_json.c_str());
    return 0;
  };
}

Run add_inspect(CLI::App& app) {
  struct State {
    halftone::TrainOptions options;  // of which inspect has some
    std::string config;
    bool json = false, quiet = false, verbose = false;
  };
  auto s = std::make_shared<State>();
  s->options.data.normalize = "auto";
  CLI::App* command = app.add_subcommand(
      "inspect",
      "will the network survive 16 bits? Trainable tensors, what narrowing loses, memory, unsupported nodes");
  add_options(*command, s->options, halftone::kInspect);
  add_config_option(*command, s->config);
  command->add_flag("--verbose", s->verbose, "all tables, on a terminal too (elsewhere they always are)");
  command->add_flag("--quiet", s->quiet, "only results");
  command->add_flag("--json", s->json, "as a JSON object");
  return [s, command]() -> int {
    if (s->options.network.model.empty())
      throw halftone::Error(halftone::ErrorKind::kUsage, "inspect: MODEL.onnx is missing");
    const halftone::InspectResult r =
        halftone::inspect_model({s->options.network, s->options.data, s->options.freeze, s->options.train,
                                 given_keys(*command, halftone::kInspect),
                                 s->verbose || ::isatty(STDOUT_FILENO) != 1},
                                make_log(s->quiet));
    std::printf("%s%s", s->json ? r.json.c_str() : halftone::printable(r.text, true).c_str(),
                s->json ? "\n" : "");
    if (!r.refusal.empty()) {
      std::fflush(stdout);
      throw halftone::Error(halftone::ErrorKind::kInput, r.refusal);
    }
    return 0;
  };
}

Run add_export(CLI::App& app) {
  struct State {
    std::string source, format, out, config, weights;
    std::vector<std::string> merge;
  };
  auto s = std::make_shared<State>();
  CLI::App* command = app.add_subcommand("export", "other forms of a result");
  CLI::Option* source = command->add_option("SOURCE", s->source, "a run's folder, or an ONNX file");
  CLI::Option* weights = command->add_option(
      "--weights", s->weights,
      "of a run's folder: final, last (newest checkpoint) or best; default: final, or last before the "
      "run's end");
  CLI::Option* format =
      command->add_option("--to", s->format, "fp32-onnx, fp16-onnx or safetensors (PyTorch's names)");
  command
      ->add_option("--merge", s->merge,
                   "in place of SOURCE and --to: a network, and a folder with adapters (LoRA) of train "
                   "--lora or PEFT, "
                   "which are merged into it")
      ->expected(2)
      ->type_name("BASE ADAPTER")
      ->excludes(source)
      ->excludes(format)
      ->excludes(weights);
  command->add_option("--out", s->out, "the file to write")->required()->type_name("FILE");
  add_config_option(*command, s->config);
  return [s]() -> int {
    using halftone::Error;
    using halftone::ErrorKind;
    if (s->merge.empty() && s->source.empty()) throw Error(ErrorKind::kUsage, "export: SOURCE is missing");
    if (s->merge.empty() && s->format.empty())
      throw Error(ErrorKind::kUsage, "export: --to FORMAT is missing");
    const std::vector<std::string> notes =
        s->merge.empty() ? halftone::export_model(s->source, s->format, s->out, s->weights)
                         : halftone::merge_adapter(s->merge.at(0), s->merge.at(1), s->out);
    for (const std::string& note : notes) std::fprintf(stderr, "%s\n", halftone::printable(note).c_str());
    return 0;
  };
}

}  // namespace cli
