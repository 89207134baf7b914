// A linear classifier of two classes, and rows that it can learn: what the tests of networks and trainers
// train.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "train/network.h"

namespace halftone::train::test {

constexpr int64_t kColumns = 4;

// Row i has class i % 2, and numbers around +1 or -1.
class Rows final : public data::Dataset {
 public:
  explicit Rows(int64_t size, unsigned seed = 1) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 0.5F);
    for (int64_t i = 0; i < size; ++i)
      for (int64_t c = 0; c < kColumns; ++c) values_.push_back((i % 2 == 0 ? 1.0F : -1.0F) + normal(random));
    info_.shape = {kColumns};
    info_.labels = data::LabelKind::kClass;
    info_.classes = 2;
  }
  int64_t size() const override { return static_cast<int64_t>(values_.size()) / kColumns; }
  void read(int64_t index, data::Sample& sample) const override {
    sample.values.assign(row(index), row(index) + kColumns);
    sample.label = static_cast<int32_t>(index % 2);
  }
  std::string name(int64_t index) const override { return "row " + std::to_string(index); }
  float* row(int64_t index) { return values_.data() + index * kColumns; }
  const float* row(int64_t index) const { return values_.data() + index * kColumns; }

 private:
  std::vector<float> values_;
};

inline const std::vector<float>& initial_weights() {
  static const std::vector<float> w{0.1F, -0.2F, 0.3F, 0.05F, -0.1F, 0.2F, 0.15F, -0.3F};  // [column][class]
  return w;
}

// logits = x w + b
inline ir::Graph small_graph(int64_t batch, DType storage) {
  ir::Graph graph;
  ops::Builder b(graph, storage);
  const auto parameter = [&](const char* name, const Shape& shape, const std::vector<float>& values) {
    ir::Value v;
    v.name = name;
    v.kind = ir::ValueKind::kParameter;
    v.type = {storage, shape};
    Tensor t(DType::kF32, shape);
    std::copy(values.begin(), values.end(), t.as<float>().begin());
    v.data = std::make_shared<const Tensor>(std::move(t));
    return graph.add_value(std::move(v));
  };
  ir::Value x;
  x.name = "x";
  x.kind = ir::ValueKind::kInput;
  x.type = {storage, {batch, kColumns}};
  graph.inputs = {graph.add_value(x)};
  const ir::ValueId w = parameter("w", {kColumns, 2}, initial_weights());
  const ir::ValueId bias = parameter("b", {2}, {0.25F, -0.25F});
  b.set_origin("classifier");
  graph.outputs = {b.add1("MatMul", {graph.inputs[0], w, bias})};
  return graph;
}

inline CompileOptions small_options(DType storage = DType::kF32, int64_t batch = 8) {
  CompileOptions o;
  o.training.storage = storage;
  o.training.optimizer.rounding = kern::Rounding::kNearest;
  o.batch = batch;
  return o;
}

// Ready to be trained.
inline std::unique_ptr<Network> small_network(const CompileOptions& options = small_options()) {
  const DType storage = options.training.storage;
  auto network = std::make_unique<Network>(
      [storage](int64_t batch, ops::Mode) { return small_graph(batch, storage); }, options);
  network->prepare_training();
  return network;
}

inline std::unique_ptr<data::Loader> loader_of(const std::shared_ptr<const data::Dataset>& set, bool training,
                                               DType storage = DType::kF32, int64_t batch = 8) {
  data::LoaderOptions o;
  o.batch = batch;
  o.training = training;
  o.seed = 5;
  o.threads = 1;
  o.storage = storage;
  return std::make_unique<data::Loader>(set, o);
}

inline std::vector<float> weights_of(const Network& network, const std::string& name = "w") {
  const Tensor t = network.file_tensor(name);
  return {t.as<float>().begin(), t.as<float>().end()};
}

// The loss of a row, in double.
inline double loss_of(const float* row, int label, const std::vector<float>& w, const std::vector<float>& b) {
  double logits[2];
  for (size_t k = 0; k < 2; ++k) {
    logits[k] = b[k];
    for (size_t c = 0; c < kColumns; ++c) logits[k] += double{row[c]} * w[2 * c + k];
  }
  return std::log(1 + std::exp(logits[1 - label] - logits[label]));
}

}  // namespace halftone::train::test
