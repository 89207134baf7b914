// A worker that takes whole training steps of one network on one batch and tells how long they took, for
// bench/run.py. No data loader: the batch stays in memory.
//
// One JSON object a line on standard output:
//   after the first step {"ready":true, "first_step_ms": since the program started, "loss":...,
//   "planned_bytes":...,
//                          "base_bytes": resident before model and batch were read, "peak_rss_bytes":...,
//                          "isa":..., "multiply":...}
//   input `steps K`       {"ms":[...], "loss": of the last step, "skipped": steps that were not finite,
//                          "peak_rss_bytes":...}
//   input `profile`       {"profile":{operator: seconds in the steps since the first}}, with --profile
//   input `quit`, or its end, ends the program
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>

#include "api/npy.h"
#include "api/session.h"
#include "base/error.h"
#include "kern/dispatch.h"
#include "train/loss_scale.h"
#include "train/training_step.h"

namespace halftone {
namespace {

using Clock = std::chrono::steady_clock;

// Before main, so that reading and linking the program count as far as a program can see it itself.
const Clock::time_point kStart = Clock::now();

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// A field of /proc/self/status, in bytes. getrusage would count what the process that started us had, too.
// Neither this nor the answers use streams and JSON classes: their code would weigh in what is measured.
int64_t memory_bytes(const char* field) {
  std::FILE* const status = std::fopen("/proc/self/status", "r");
  if (status == nullptr) return 0;
  long long kib = 0;
  const size_t length = std::strlen(field);
  for (char line[256]; std::fgets(line, sizeof line, status) != nullptr;)
    if (std::strncmp(line, field, length) == 0 && line[length] == ':')
      std::sscanf(line + length + 1, "%lld", &kib);
  std::fclose(status);
  return static_cast<int64_t>(kib) * 1024;
}

std::string number_json(double x) {
  return std::isfinite(x) ? fmt::format("{}", x) : "null";
}

struct Options {
  std::string model, samples, labels;
  std::string precision = "fp16", multiply = "auto";
  int64_t threads = 1;
  bool profile = false;
  double lr = 1e-3, momentum = 0.9, weight_decay = 1e-4;
};

// What train::TrainingStep does around the network's two halves, without schedule, log and checkpoints.
class Steps {
 public:
  explicit Steps(const Options& o)
      : lr_(o.lr),
        storage_(api::parse_precision(o.precision)),
        multiply_(api::parse_multiply(o.multiply, storage_)),
        loss_scale_(train::LossScale::parse("auto", storage_)) {
    Tensor samples = api::read_npy(o.samples);
    Tensor labels = converted(api::read_npy(o.labels), DType::kI32);
    const bool ids = samples.dtype() == DType::kI64;
    if ((samples.dtype() != DType::kF32 && !ids) || samples.shape().empty() || labels.shape().empty() ||
        samples.shape()[0] != labels.shape()[0])
      throw input_error(
          "{} and {} are no batch: expected samples in fp32 (or ids in int64) and class numbers for each",
          o.samples, o.labels);
    batch_.count = labels.shape()[0];
    const bool positions = labels.shape().size() > 1;  // a class for each of them, in the logits' last axis
    // As data::Loader hands them over.
    batch_.fields.push_back(
        {"samples", data::FieldRole::kInput, ids ? std::move(samples) : converted(samples, storage_)});
    if (positions) {
      Tensor ones(DType::kF32, labels.shape());
      std::ranges::fill(ones.as<float>(), 1.0F);
      batch_.fields.push_back({data::weights_of("label"), data::FieldRole::kWeight, std::move(ones)});
    }
    batch_.fields.push_back({"label", data::FieldRole::kLabel, std::move(labels)});
    model_.emplace(onnx::Model::load(o.model));
    train::CompileOptions c;
    c.training.storage = storage_;
    c.training.loss.loss = pass::Loss::kCrossEntropy;
    if (positions) {  // all of them count, and the loss is their mean
      c.training.loss.axis = pass::ClassAxis::kLast;
      c.training.loss.weighted = true;
    }
    c.training.optimizer.momentum = o.momentum;
    c.training.optimizer.weight_decay = o.weight_decay;
    // As `halftone train` does it.
    if (!is_16bit(storage_)) c.training.optimizer.rounding = kern::Rounding::kNearest;
    c.multiply = multiply_;
    c.batch = batch_.count;
    c.threads = api::threads_of(o.threads);
    network_.emplace(api::make_importer(*model_, storage_, ops::BatchNormMode::kTrain, nullptr), c);
    network_->prepare_training();
  }

  // The loss, and whether the step was applied.
  std::pair<double, bool> step() {
    ops::StepState& state = network_->state();
    state.step = static_cast<uint64_t>(step_);
    state.micro_step = static_cast<uint64_t>(step_);
    state.loss_scale = static_cast<float>(loss_scale_.scale());
    state.good_steps = static_cast<double>(good_steps_ + 1);
    state.lr = static_cast<float>(lr_);
    state.state_scale = train::optimizer_state_scale(network_->options().training, loss_scale_.scale());
    state.read_scale = 1 / (stored_scale_ > 0 ? stored_scale_ : state.state_scale);
    state.stalled_updates = 0;
    const train::Score score = network_->compute(batch_);
    network_->update();
    const bool applied = loss_scale_.update(state.finite) == train::StepVerdict::kApply;
    if (applied) {
      ++good_steps_;
      stored_scale_ = state.state_scale;
    }
    ++step_;
    return {score.loss(), applied};
  }

  const train::Network& network() const { return *network_; }
  void measure_time() { network_->measure_time(); }
  std::string multiply() const { return api::name_of(multiply_, storage_); }

 private:
  double lr_;
  DType storage_;
  kern::Multiply multiply_;
  train::LossScale loss_scale_;
  data::Batch batch_;
  std::optional<onnx::Model> model_;  // stays, as it does in `halftone train`, which writes it back
  std::optional<train::Network> network_;
  int64_t step_ = 0;
  int64_t good_steps_ = 0;
  float stored_scale_ = 0;
};

void say(const std::string& line) {
  std::puts(line.c_str());
  std::fflush(stdout);
}

void serve(const Options& o) {
  const int64_t base_bytes = memory_bytes("VmRSS");
  Steps steps(o);
  const auto [first_loss, first_applied] = steps.step();
  say(fmt::format(
      R"({{"ready":true,"first_step_ms":{},"loss":{},"skipped":{},"planned_bytes":{},"base_bytes":{},"peak_rss_bytes":{},"isa":"{}","multiply":"{}"}})",
      ms_since(kStart), number_json(first_loss), first_applied ? 0 : 1, steps.network().planned_bytes(),
      base_bytes, memory_bytes("VmHWM"), kern::name_of(kern::active_isa()), steps.multiply()));
  if (o.profile) steps.measure_time();
  for (char line[64]; std::fgets(line, sizeof line, stdin) != nullptr;) {
    const std::string command(line, std::strcspn(line, "\n"));
    if (command == "quit") return;
    if (command == "profile" && o.profile) {
      std::string seconds;
      for (const auto& [op, s] : steps.network().time_by_operator())
        seconds += fmt::format("{}\"{}\":{}", seconds.empty() ? "" : ",", op, s);
      say(fmt::format("{{\"profile\":{{{}}}}}", seconds));
      continue;
    }
    long long count = 0;
    if (std::sscanf(command.c_str(), "steps %lld", &count) != 1 || count < 1)
      throw usage_error(
          "'{}' is no command; there are: steps K (K at least 1), profile (with --profile), quit", command);
    std::string ms;
    double loss = 0;
    int64_t skipped = 0;
    for (long long i = 0; i < count; ++i) {
      const Clock::time_point start = Clock::now();
      const auto [step_loss, applied] = steps.step();
      ms += fmt::format("{}{}", i == 0 ? "" : ",", ms_since(start));
      loss = step_loss;
      skipped += applied ? 0 : 1;
    }
    say(fmt::format(R"({{"ms":[{}],"loss":{},"skipped":{},"peak_rss_bytes":{}}})", ms, number_json(loss),
                    skipped, memory_bytes("VmHWM")));
  }
}

}  // namespace
}  // namespace halftone

int main(int argc, char** argv) {
  halftone::Options o;
  CLI::App app(
      "Times training steps of one network on one batch; commands on standard input (bench/step.cpp)");
  app.add_option("--model", o.model, "ONNX file of one input, batch norms kept")->required();
  app.add_option("--samples", o.samples, ".npy, fp32 or int64, one batch")->required();
  app.add_option("--labels", o.labels, ".npy, class numbers: one a sample, or one for each of its ids")
      ->required();
  app.add_option("--precision", o.precision, "fp32, bf16 or fp16")->capture_default_str();
  app.add_option("--multiply", o.multiply, "auto (block for 16 bits), block, wide or half")
      ->capture_default_str();
  app.add_option("--threads", o.threads, "0: as many as the process may use")->capture_default_str();
  app.add_flag("--profile", o.profile, "measure the time of each operator");
  app.add_option("--lr", o.lr)->capture_default_str();
  app.add_option("--momentum", o.momentum)->capture_default_str();
  app.add_option("--weight-decay", o.weight_decay)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    halftone::serve(o);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bench_step: %s\n", e.what());
    return 1;
  }
  return 0;
}
