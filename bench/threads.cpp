// Training steps with one thread and with more, in turns, on one batch that stays in memory: more threads
// must never be slower, whether the network is tiny or not and the machine quiet or busy (--busy: so many
// processes that do nothing but count). Prints a table.
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "api/session.h"
#include "base/error.h"
#include "onnx/build_model.h"
#include "par/pool.h"

namespace halftone {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Numbers in [-1/2, 1/2), times `scale`.
std::vector<float> numbers(int64_t count, float scale, uint32_t stream) {
  std::vector<float> out;
  uint32_t x = stream * 2654435761U + 1;
  for (int64_t i = 0; i < count; ++i) {
    x = x * 1664525U + 1013904223U;
    out.push_back((static_cast<float>(x >> 8) / 16777216.0F - 0.5F) * scale);
  }
  return out;
}

// A perceptron with these layers, as ONNX.
std::string perceptron(const std::vector<int64_t>& layers, const std::string& folder,
                       const std::string& name) {
  onnx::test::ModelBuilder b;
  b.input("x", {"batch", std::to_string(layers.front())});
  std::string at = "x";
  for (size_t i = 0; i + 1 < layers.size(); ++i) {
    const std::string n = std::to_string(i);
    b.initializer(onnx::test::floats("w" + n, {layers[i + 1], layers[i]},
                                     numbers(layers[i + 1] * layers[i], 0.2F, static_cast<uint32_t>(i))));
    b.initializer(onnx::test::floats("b" + n, {layers[i + 1]},
                                     std::vector<float>(static_cast<size_t>(layers[i + 1]), 0.0F)));
    const bool last = i + 2 == layers.size();
    b.node("Gemm", {at, "w" + n, "b" + n}, {last ? "y" : "h" + n}, {{"transB", 1}});
    if (!last) b.node("Relu", {"h" + n}, {"r" + n});
    at = "r" + n;
  }
  b.output("y", {"batch", std::to_string(layers.back())});
  const std::string path = folder + "/" + name + ".onnx";
  const std::string bytes = b.bytes();
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) throw input_error("cannot write {}", path);
  std::fwrite(bytes.data(), 1, bytes.size(), file);
  std::fclose(file);
  return path;
}

// One network with its own threads, and a batch.
class Steps {
 public:
  Steps(const std::string& model, const std::string& precision, int threads, int64_t batch, Shape sample)
      : model_(onnx::Model::load(model)) {
    const DType storage = api::parse_precision(precision);
    train::CompileOptions c;
    c.training.storage = storage;
    c.training.loss.loss = pass::Loss::kCrossEntropy;
    c.training.optimizer.momentum = 0.9;
    if (!is_16bit(storage)) c.training.optimizer.rounding = kern::Rounding::kNearest;
    c.multiply = api::parse_multiply("auto", storage);
    c.batch = batch;
    c.threads = threads;
    network_.emplace(api::make_importer(model_, storage, ops::BatchNormMode::kTrain, nullptr), c);
    network_->prepare_training();
    sample.insert(sample.begin(), batch);
    Tensor samples(DType::kF32, sample);
    const std::vector<float> values = numbers(samples.size(), 2, 99);
    std::copy(values.begin(), values.end(), samples.as<float>().begin());
    batch_.samples = converted(samples, storage);
    batch_.labels = Tensor(DType::kI32, {batch});
    for (int64_t i = 0; i < batch; ++i)
      batch_.labels.as<int32_t>()[static_cast<size_t>(i)] = static_cast<int32_t>(i % 10);
    batch_.count = batch;
    network_->state().lr = 1e-4F;
  }

  // Samples a second over about so many seconds.
  double rate(double seconds) {
    int64_t steps = 0;
    const Clock::time_point start = Clock::now();
    do {
      for (int i = 0; i < 8; ++i, ++steps) {
        ++network_->state().step;
        network_->compute(batch_);
        network_->update();
      }
    } while (seconds_since(start) < seconds);
    return static_cast<double>(steps * batch_.count) / seconds_since(start);
  }

 private:
  onnx::Model model_;
  std::optional<train::Network> network_;
  data::Batch batch_;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// Processes that keep the machine busy, until this goes.
class Neighbours {
 public:
  explicit Neighbours(int count) {
    for (int i = 0; i < count; ++i) {
      const pid_t child = fork();
      if (child < 0) throw input_error("cannot start {} processes", count);
      if (child > 0) {
        children_.push_back(child);
        continue;
      }
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (volatile uint64_t n = 0;;) n = n + 1;
    }
  }
  ~Neighbours() {
    for (const pid_t child : children_) kill(child, SIGKILL);
    for (const pid_t child : children_) waitpid(child, nullptr, 0);
  }
  Neighbours(const Neighbours&) = delete;
  Neighbours& operator=(const Neighbours&) = delete;

 private:
  std::vector<pid_t> children_;
};

struct Options {
  std::string resnet = "demo/resnet8-fashion.onnx", precision = "fp16";
  int threads = 0, busy = 0, turns = 15;
  double seconds = 0.2;
};

void measure(const Options& o) {
  const int threads = o.threads > 0 ? o.threads : par::available_threads();
  const onnx::test::TemporaryFolder folder;
  struct Case {
    std::string name, model;
    int64_t batch;
    Shape sample;
  };
  const std::vector<Case> cases{
      {"perceptron 64-32-10, batch 128", perceptron({64, 32, 10}, folder.path(), "tiny"), 128, {64}},
      {"perceptron 256-128-64-10, batch 128",
       perceptron({256, 128, 64, 10}, folder.path(), "small"),
       128,
       {256}},
      {"perceptron 784-512-512-10, batch 128",
       perceptron({784, 512, 512, 10}, folder.path(), "middling"),
       128,
       {784}},
      {"resnet8-fashion, batch 128", o.resnet, 128, {1, 28, 28}},
  };
  // Before the pools' threads: a process with threads had better not fork.
  const Neighbours neighbours(o.busy);
  fmt::print("{}, {} turns of {} s each, {} other busy processes\n", o.precision, o.turns, o.seconds, o.busy);
  fmt::print("{:<38} {:>14} {:>14} {:>8} {:>8}\n", "samples/s (median)", "1 thread",
             fmt::format("{} threads", threads), "ratio", "least");
  for (const Case& c : cases) {
    Steps one(c.model, o.precision, 1, c.batch, c.sample);
    Steps many(c.model, o.precision, threads, c.batch, c.sample);
    one.rate(o.seconds / 4), many.rate(o.seconds / 4);
    std::vector<double> of_one, of_many, ratios;
    for (int turn = 0; turn < o.turns; ++turn) {
      of_one.push_back(one.rate(o.seconds));
      of_many.push_back(many.rate(o.seconds));
      ratios.push_back(of_many.back() / of_one.back());
    }
    fmt::print("{:<38} {:>14.0f} {:>14.0f} {:>8.2f} {:>8.2f}\n", c.name, median(of_one), median(of_many),
               median(ratios), *std::min_element(ratios.begin(), ratios.end()));
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace halftone

int main(int argc, char** argv) {
  halftone::Options o;
  CLI::App app("Training steps with one thread and with more, in turns (bench/threads.cpp)");
  app.add_option("--threads", o.threads, "0: as many as the process may use")->capture_default_str();
  app.add_option("--busy", o.busy, "other processes that keep the machine busy")->capture_default_str();
  app.add_option("--turns", o.turns)->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--seconds", o.seconds, "of a turn")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--precision", o.precision)->capture_default_str();
  app.add_option("--resnet", o.resnet, "the ONNX file of the last row")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    halftone::measure(o);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_threads: {}\n", error.what());
    return 1;
  }
  return 0;
}
