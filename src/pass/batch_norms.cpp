#include "pass/batch_norms.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "ops/verify.h"

namespace halftone::pass {
namespace {

using ir::kNone;
using ir::ValueId;

std::string scale_name(const std::string& weight) {
  return weight + "#bn_scale";
}
std::string shift_name(const std::string& weight) {
  return weight + "#bn_shift";
}
std::string mean_name(const std::string& weight) {
  return weight + "#bn_mean";
}
std::string variance_name_of(const std::string& weight) {
  return weight + "#bn_variance";
}

// The parameter behind a node's input, through the Transpose that import put there.
ValueId parameter_behind(const ir::Graph& graph, const std::vector<int32_t>& producers, ValueId id) {
  while (id != kNone && graph.value(id).kind == ir::ValueKind::kActivation) {
    const int32_t producer = producers[static_cast<size_t>(id)];
    if (producer < 0 || graph.nodes[static_cast<size_t>(producer)].op != "Transpose") return kNone;
    id = graph.nodes[static_cast<size_t>(producer)].inputs[0];
  }
  return id != kNone && graph.value(id).kind == ir::ValueKind::kParameter ? id : kNone;
}

bool is_batch_norm(const ir::Node& node) {
  return node.op == "BatchNormTrain" || node.op == "BatchNormalization";
}

// Whether any reader of the value, through Transpose nodes, is a batch norm.
bool feeds_batch_norm(const ir::Graph& graph, ValueId id) {
  for (const ir::Node& node : graph.nodes) {
    for (const ValueId input : node.inputs) {
      if (input != id) continue;
      if (is_batch_norm(node)) return true;
      if (node.op == "Transpose" && feeds_batch_norm(graph, node.outputs[0])) return true;
    }
  }
  return false;
}

ValueId add_tensor(ir::Graph& graph, std::string name, ir::ValueKind kind, DType dtype, const Tensor& data) {
  ir::Value value;
  value.name = std::move(name);
  value.kind = kind;
  value.type = {dtype, data.shape()};
  value.data = std::make_shared<const Tensor>(data.clone());
  return graph.add_value(std::move(value));
}

}  // namespace

std::vector<FoldedConvolution> convolutions_without_batch_norm(const ir::Graph& graph) {
  const std::vector<int32_t> producers = graph.producers();
  std::map<std::string, int> weight_uses;
  std::vector<FoldedConvolution> found;
  for (const ir::Node& node : graph.nodes) {
    if (node.op != "Conv") continue;
    const ValueId w = parameter_behind(graph, producers, node.inputs[1]);
    if (w != kNone) ++weight_uses[graph.value(w).name];
    if (w == kNone || node.inputs.size() < 3 || node.inputs[2] == kNone ||
        graph.value(w).type.shape.size() != 4)
      continue;
    const ValueId b = parameter_behind(graph, producers, node.inputs[2]);
    if (b == kNone || feeds_batch_norm(graph, node.outputs[0])) continue;
    found.push_back({node.name, graph.value(w).name, graph.value(b).name});
  }
  // A weight that two convolutions share has no single batch norm.
  std::erase_if(found, [&](const FoldedConvolution& c) { return weight_uses[c.weight] > 1; });
  return found;
}

bool looks_folded(const FoldedConvolution& c) {
  // PyTorch's TorchScript exporter names what it computed by the consumer and a number; its newer exporter
  // keeps the weight's name and calls the bias that it made "<weight>_bias"; kept tensors keep their module's
  // names. Other optimisers leave marks of their own.
  if (c.bias == c.weight + "_bias") return true;
  for (const char* mark : {"onnx::Conv_", "_fused", "_bn_", "BatchNormalization"})
    if (c.weight.find(mark) != std::string::npos || c.bias.find(mark) != std::string::npos) return true;
  return false;
}

RestoredBatchNorm restore(const FoldedConvolution& convolution, const Tensor& weight, const Tensor& bias,
                          const ChannelMoments& moments) {
  const int64_t channels = bias.size();
  HT_ASSERT(weight.shape().at(0) == channels && static_cast<int64_t>(moments.sum.size()) == channels &&
            moments.count > 1);
  RestoredBatchNorm r;
  r.convolution = convolution;
  const Tensor wide = converted(weight, DType::kF32);
  for (Tensor* t : {&r.scale, &r.shift, &r.mean, &r.variance}) *t = Tensor(DType::kF32, {channels});
  const Tensor b = converted(bias, DType::kF64);
  const int64_t fan = weight.size() / channels;
  for (int64_t j = 0; j < channels; ++j) {
    const auto k = static_cast<size_t>(j);
    const double m = moments.sum[k] / static_cast<double>(moments.count);
    const double v = std::max(0.0, moments.sum_squares[k] / static_cast<double>(moments.count) - m * m);
    const float* w = wide.as<float>().data() + j * fan;
    double norm = 0;
    for (int64_t i = 0; i < fan; ++i) norm += double{w[i]} * w[i];
    norm = std::sqrt(norm);
    // A dead channel (zero weights) stays as it is.
    const double c = norm > 0 ? RestoredBatchNorms::kWeightNorm / norm : 1.0;
    r.factor.push_back(c);
    // gamma / sqrt(running variance + eps) * c must be 1, so that the function stays: with the scaled
    // variance c^2 v.
    r.mean.as<float>()[k] = static_cast<float>((m - b.as<double>()[k]) * c);
    r.variance.as<float>()[k] = static_cast<float>(v * c * c);
    r.scale.as<float>()[k] = static_cast<float>(std::sqrt(v * c * c + RestoredBatchNorms::kEpsilon) / c);
    r.shift.as<float>()[k] = static_cast<float>(m);
  }
  return r;
}

Tensor scaled(const Tensor& weight, const std::vector<double>& factor) {
  Tensor out(DType::kF32, weight.shape());
  const auto scale = [&](const auto* w) {
    const int64_t fan = out.size() / static_cast<int64_t>(factor.size());
    float* y = out.as<float>().data();
    for (const double c : factor)
      for (int64_t i = 0; i < fan; ++i) *y++ = static_cast<float>(*w++ * c);
  };
  if (weight.dtype() == DType::kF64) {
    scale(weight.as<double>().data());
  } else {
    const Tensor wide = converted(weight, DType::kF32);
    scale(wide.as<float>().data());
  }
  return out;
}

void insert_batch_norms(ir::Graph& graph, DType storage, ops::Mode mode, ops::BatchNormMode batch_norm,
                        const RestoredBatchNorms& restored) {
  ops::Builder b(graph, storage);
  std::vector<ir::Node> nodes = std::move(graph.nodes);
  graph.nodes.clear();
  std::vector<int32_t> producers;
  {
    graph.nodes = nodes;
    producers = graph.producers();
  }
  const ir::Graph before = graph;
  graph.nodes.clear();
  std::vector<ir::Node> updates;
  for (ir::Node& node : nodes) {
    const ValueId w = node.op == "Conv" ? parameter_behind(before, producers, node.inputs[1]) : kNone;
    const auto it = w == kNone ? restored.by_weight.end() : restored.by_weight.find(graph.value(w).name);
    if (it == restored.by_weight.end()) {
      graph.nodes.push_back(std::move(node));
      continue;
    }
    const RestoredBatchNorm& r = it->second;
    ir::Value& weight = graph.value(w);
    weight.load = [before = weight, factor = r.factor] { return scaled(*before.initial(), factor); };
    weight.data = nullptr;
    const ValueId y = node.outputs[0];
    // The convolution writes a new value, the batch norm the one that everybody reads.
    ir::Value raw = graph.value(y);
    raw.name += ":raw";
    node.outputs[0] = graph.add_value(std::move(raw));
    node.inputs.resize(2);
    const std::string name = node.name;
    const ValueId conv = node.outputs[0];
    graph.nodes.push_back(std::move(node));

    const DType registers = register_type(storage);
    const ValueId scale =
        add_tensor(graph, scale_name(r.convolution.weight), ir::ValueKind::kParameter, storage, r.scale);
    const ValueId shift =
        add_tensor(graph, shift_name(r.convolution.weight), ir::ValueKind::kParameter, storage, r.shift);
    const ValueId mean =
        add_tensor(graph, mean_name(r.convolution.weight), ir::ValueKind::kState, registers, r.mean);
    const ValueId variance = add_tensor(graph, variance_name_of(r.convolution.weight), ir::ValueKind::kState,
                                        registers, r.variance);
    b.set_origin(name);
    ops::add_batch_norm(b, {conv, scale, shift, mean, variance}, RestoredBatchNorms::kEpsilon,
                        RestoredBatchNorms::kMomentum, mode, batch_norm, y);
  }
  ops::verify(graph, "insert_batch_norms");
}

std::vector<std::string> folded_names(const std::vector<std::string>& names,
                                      const RestoredBatchNorms& restored) {
  std::set<std::string> all(names.begin(), names.end());
  for (const auto& [weight, r] : restored.by_weight) {
    for (const std::string& name :
         {scale_name(weight), shift_name(weight), mean_name(weight), variance_name_of(weight)})
      HT_ASSERT(all.erase(name) == 1, "{}", name);
    all.insert(r.convolution.bias);
  }
  return {all.begin(), all.end()};
}

Tensor folded_tensor(const std::string& name, const RestoredBatchNorms& restored, const TensorOf& trained) {
  const auto found = std::find_if(restored.by_weight.begin(), restored.by_weight.end(), [&](const auto& r) {
    return r.first == name || r.second.convolution.bias == name;
  });
  if (found == restored.by_weight.end()) return trained(name);
  const std::string& weight = found->first;
  const Tensor scale = converted(trained(scale_name(weight)), DType::kF64);
  const Tensor variance = converted(trained(variance_name_of(weight)), DType::kF64);
  const int64_t channels = scale.size();
  std::vector<double> factor;
  for (size_t k = 0; k < static_cast<size_t>(channels); ++k)
    factor.push_back(scale.as<double>()[k] /
                     std::sqrt(variance.as<double>()[k] + RestoredBatchNorms::kEpsilon));
  if (name == weight) return scaled(trained(weight), factor);
  const Tensor shift = converted(trained(shift_name(weight)), DType::kF64);
  const Tensor mean = converted(trained(mean_name(weight)), DType::kF64);
  Tensor bias(DType::kF64, scale.shape());
  for (size_t k = 0; k < static_cast<size_t>(channels); ++k)
    bias.as<double>()[k] = shift.as<double>()[k] - mean.as<double>()[k] * factor[k];
  return converted(bias, DType::kF32);
}

}  // namespace halftone::pass
