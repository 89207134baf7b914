// Small classifiers in ONNX and samples for them as CSV, made in code.
#pragma once

#include <cmath>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "halftone/halftone.h"
#include "num/random.h"
#include "onnx/build_model.h"

namespace halftone::api::test {

using onnx::test::floats;
using onnx::test::int64s;
using onnx::test::ModelBuilder;
using onnx::test::TemporaryFolder;

// Normally distributed numbers from a seed.
class Normal {
 public:
  explicit Normal(uint64_t seed) : key_(num::random_key(seed, 7)) {}
  double uniform() { return (num::random16(key_, at_++, 0) + 0.5) / 65536.0; }
  double operator()() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return sum;
  }
  std::vector<float> many(int64_t count, double scale) {
    std::vector<float> x;
    for (int64_t i = 0; i < count; ++i) x.push_back(static_cast<float>((*this)() * scale));
    return x;
  }

 private:
  num::RandomKey key_;
  uint64_t at_ = 0;
};

inline constexpr int64_t kFeatures = 8, kHidden = 16, kClasses = 4;

// Samples of normal numbers whose class is the largest of the first four; the last column is the class.
inline void write_csv(const std::string& path, int64_t samples, uint64_t seed, double scale = 1) {
  Normal normal(seed);
  std::ofstream file(path);
  for (int64_t f = 0; f < kFeatures; ++f) file << "x" << f << ",";
  file << "label\n";
  for (int64_t i = 0; i < samples; ++i) {
    const std::vector<float> x = normal.many(kFeatures, scale);
    int64_t label = 0;
    for (int64_t c = 1; c < kClasses; ++c)
      if (x[static_cast<size_t>(c)] > x[static_cast<size_t>(label)]) label = c;
    // Every class is there.
    if (i < kClasses) label = i;
    for (const float v : x) file << v << ",";
    file << label << "\n";
  }
}

// x -> fc1 -> h -> Relu -> fc2 -> logits; fc1's weights times `scale`, fc2's divided by it.
inline void write_mlp(const std::string& path, double scale = 1, uint64_t seed = 1) {
  Normal normal(seed);
  ModelBuilder m;
  m.input("x", {"batch", "8"}).output("logits", {"batch", "4"});
  m.initializer(floats("fc1.weight", {kFeatures, kHidden}, normal.many(kFeatures * kHidden, 0.5 * scale)));
  m.initializer(floats("fc1.bias", {kHidden}, normal.many(kHidden, 0.1 * scale)));
  m.initializer(floats("fc2.weight", {kHidden, kClasses}, normal.many(kHidden * kClasses, 0.5 / scale)));
  m.initializer(floats("fc2.bias", {kClasses}, normal.many(kClasses, 0.1)));
  m.node("Gemm", {"x", "fc1.weight", "fc1.bias"}, {"h"}, {}, "fc1");
  m.node("Relu", {"h"}, {"r"});
  m.node("Gemm", {"r", "fc2.weight", "fc2.bias"}, {"logits"}, {}, "fc2");
  std::ofstream(path, std::ios::binary) << m.bytes();
}

// As the plain one, with h made 1e-8 times as large in two steps and as large again in two more.
inline void write_flush(const std::string& path) {
  Normal normal(1);
  ModelBuilder m;
  m.input("x", {"batch", "8"}).output("logits", {"batch", "4"});
  m.initializer(floats("fc1.weight", {kFeatures, kHidden}, normal.many(kFeatures * kHidden, 0.5)));
  m.initializer(floats("fc1.bias", {kHidden}, normal.many(kHidden, 0.1)));
  m.initializer(floats("small", {}, {1e-4F})).initializer(floats("large", {}, {1e4F}));
  m.initializer(floats("fc2.weight", {kHidden, kClasses}, normal.many(kHidden * kClasses, 0.5)));
  m.initializer(floats("fc2.bias", {kClasses}, normal.many(kClasses, 0.1)));
  m.node("Gemm", {"x", "fc1.weight", "fc1.bias"}, {"h"}, {}, "fc1");
  m.node("Mul", {"h", "small"}, {"h1"}).node("Mul", {"h1", "small"}, {"h2"}, {}, "shrink");
  m.node("Mul", {"h2", "large"}, {"h3"}).node("Mul", {"h3", "large"}, {"h4"});
  m.node("Relu", {"h4"}, {"r"});
  m.node("Gemm", {"r", "fc2.weight", "fc2.bias"}, {"logits"}, {}, "fc2");
  std::ofstream(path, std::ios::binary) << m.bytes();
}

// A layer norm spelled in nodes between two layers; the numbers that are normalised are about `scale`.
// divided: what is divided by the deviation.
inline void write_layer_norm(const std::string& path, double scale, const char* divided = "centred") {
  Normal normal(2);
  ModelBuilder m;
  m.input("x", {"batch", "8"}).output("logits", {"batch", "4"});
  m.initializer(floats("fc1.weight", {kFeatures, kHidden}, normal.many(kFeatures * kHidden, 0.35 * scale)));
  m.initializer(floats("fc1.bias", {kHidden}, normal.many(kHidden, 0.1 * scale)));
  m.initializer(floats("two", {}, {2}));
  m.initializer(floats("eps", {}, {1e-5F}));
  m.initializer(floats("ln.weight", {kHidden}, std::vector<float>(kHidden, 1.0F)));
  m.initializer(floats("ln.bias", {kHidden}, normal.many(kHidden, 0.1)));
  m.initializer(floats("fc2.weight", {kHidden, kClasses}, normal.many(kHidden * kClasses, 0.5)));
  m.initializer(floats("fc2.bias", {kClasses}, normal.many(kClasses, 0.1)));
  m.node("Gemm", {"x", "fc1.weight", "fc1.bias"}, {"h"}, {}, "fc1");
  m.node("ReduceMean", {"h"}, {"mean"}, {{"axes", std::vector<int64_t>{-1}}});
  m.node("Sub", {"h", "mean"}, {"centred"});
  m.node("Pow", {"centred", "two"}, {"squares"}, {}, "ln/Pow");
  m.node("ReduceMean", {"squares"}, {"variance"}, {{"axes", std::vector<int64_t>{-1}}});
  m.node("Add", {"variance", "eps"}, {"moved"});
  m.node("Sqrt", {"moved"}, {"deviation"});
  m.node("Div", {divided, "deviation"}, {"normal"});
  m.node("Mul", {"normal", "ln.weight"}, {"scaled"});
  m.node("Add", {"scaled", "ln.bias"}, {"shifted"});
  m.node("Gemm", {"shifted", "fc2.weight", "fc2.bias"}, {"logits"}, {}, "fc2");
  std::ofstream(path, std::ios::binary) << m.bytes();
}

// The same with h itself divided, which is no layer norm and stays in nodes: its squares overflow in fp16.
inline void write_unknown_norm(const std::string& path, double scale) {
  write_layer_norm(path, scale, "h");
}

// x -> fc1 -> h -> batch norm -> fc2 -> logits.
inline void write_batch_norm(const std::string& path, float momentum) {
  Normal normal(1);
  ModelBuilder m;
  m.input("x", {"batch", "8"}).output("logits", {"batch", "4"});
  m.initializer(floats("fc1.weight", {kFeatures, kHidden}, normal.many(kFeatures * kHidden, 0.5)));
  m.initializer(floats("fc1.bias", {kHidden}, normal.many(kHidden, 0.1)));
  for (const std::string name : {"bn.weight", "bn.running_var"})
    m.initializer(floats(name, {kHidden}, std::vector<float>(kHidden, 1.0F)));
  for (const std::string name : {"bn.bias", "bn.running_mean"})
    m.initializer(floats(name, {kHidden}, std::vector<float>(kHidden, 0.0F)));
  m.initializer(floats("fc2.weight", {kHidden, kClasses}, normal.many(kHidden * kClasses, 0.5)));
  m.initializer(floats("fc2.bias", {kClasses}, normal.many(kClasses, 0.1)));
  m.node("Gemm", {"x", "fc1.weight", "fc1.bias"}, {"h"}, {}, "fc1");
  m.node("BatchNormalization", {"h", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"}, {"n"},
         {{"momentum", momentum}}, "bn");
  m.node("Gemm", {"n", "fc2.weight", "fc2.bias"}, {"logits"}, {}, "fc2");
  std::ofstream(path, std::ios::binary) << m.bytes();
}

inline TrainOptions train_options(const TemporaryFolder& folder, const std::string& precision) {
  TrainOptions o;
  o.network.model = folder / "m.onnx";
  o.network.precision = precision;
  o.network.multiply = "auto";
  o.network.batch = 16;
  o.network.threads = 1;
  o.data.data = folder / "train.csv";
  o.data.val = folder / "train.csv";
  o.data.loader_threads = 1;
  o.out = folder / ("run-" + precision);
  o.quiet = true;
  return o;
}
inline EvalOptions eval_options(const TemporaryFolder& folder, const std::string& precision) {
  const TrainOptions t = train_options(folder, precision);
  EvalOptions o;
  o.network = t.network;
  o.data = t.data;
  o.data.val.clear();
  return o;
}

struct Ended {
  bool done = false;
  ErrorKind kind = ErrorKind::kUsage;
  std::string message, log;
  RunResult result;
};
inline Ended ended(const std::function<RunResult(const Log&)>& run) {
  Ended e;
  try {
    e.result = run([&](const std::string& line) { e.log += line + "\n"; });
    e.done = true;
  } catch (const Error& error) {
    e.kind = error.kind();
    e.message = error.what();
  }
  return e;
}
inline Ended train(const TrainOptions& o) {
  return ended([&](const Log& log) { return train_model(o, log); });
}
inline Ended eval(const EvalOptions& o) {
  return ended([&](const Log& log) { return evaluate_model(o, log); });
}
inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace halftone::api::test
