#include "api/batch_axis.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "api/bench.h"
#include "base/error.h"
#include "base/resource_error.h"
#include "base/words.h"

namespace halftone::api {
namespace {

// Operators whose results for a sample come from that sample alone, where all they read besides are tensors
// of the file.
bool is_of_each_sample(const onnx::NodeInfo& node) {
  return is_one_of(node.op_type, {"Conv",
                                  "ConvTranspose",
                                  "BatchNormalization",
                                  "MaxPool",
                                  "AveragePool",
                                  "GlobalAveragePool",
                                  "GlobalMaxPool",
                                  "Flatten",
                                  "Relu",
                                  "Clip",
                                  "LeakyRelu",
                                  "PRelu",
                                  "Sigmoid",
                                  "Tanh",
                                  "HardSigmoid",
                                  "HardSwish",
                                  "Elu",
                                  "Selu",
                                  "Softplus",
                                  "Softsign",
                                  "Gelu",
                                  "Identity",
                                  "Cast",
                                  "Dropout",
                                  "Constant",
                                  "LRN",
                                  "MatMul",
                                  "Celu",
                                  "Mish",
                                  "Swish",
                                  "ThresholdedRelu",
                                  "Shrink",
                                  "Sin",
                                  "Cos",
                                  "Abs",
                                  "Sqrt",
                                  "Exp",
                                  "Log",
                                  "Neg",
                                  "Reciprocal",
                                  "Erf",
                                  "Floor",
                                  "Ceil",
                                  "Round",
                                  "Sign"});
}
bool is_elementwise(const onnx::NodeInfo& node) {
  return node.domain.empty() &&
         is_one_of(node.op_type, {"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Sum", "Mean", "Mod"});
}

// Whether a node might compute a sample's result from another's. Operators that only take the file's tensors
// besides cannot; whether others do is found out by running them.
bool may_mix(const onnx::Model& model) {
  std::set<std::string> constant;
  for (const onnx::TensorInfo& t : model.tensors()) constant.insert(t.name);
  for (size_t i = 0; i < model.nodes().size(); ++i) {
    const onnx::NodeInfo& node = model.nodes()[i];
    const auto known = [&](const std::string& name) { return name.empty() || constant.count(name) != 0; };
    if (!node.inputs.empty() && std::all_of(node.inputs.begin(), node.inputs.end(), known)) {
      constant.insert(node.outputs.begin(), node.outputs.end());
      continue;
    }
    if (is_elementwise(node)) continue;
    const bool besides_constant =
        node.inputs.empty() || std::all_of(node.inputs.begin() + 1, node.inputs.end(), known);
    if (!besides_constant || !node.domain.empty()) return true;
    if (is_of_each_sample(node)) continue;
    const ir::Attributes attributes = model.attributes(i);
    if (node.op_type == "Gemm" && attributes.int_or("transA", 0) == 0) continue;
    const int64_t axis = attributes.int_or("axis", node.opset < 13 ? 1 : -1);
    if (is_one_of(node.op_type, {"InstanceNormalization", "GroupNormalization"})) continue;
    if (is_one_of(node.op_type, {"LayerNormalization", "RMSNormalization"}) &&
        (attributes.int_or("axis", -1) == -1 || attributes.int_or("axis", -1) > 0))
      continue;
    if (is_one_of(node.op_type, {"Softmax", "LogSoftmax"}) && (axis == 1 || axis == -1)) continue;
    return true;
  }
  return false;
}

constexpr double kRounding = 1e-3;  // of the largest result: sums in another order differ by less

// How much a sample's results change, of the largest, when it has another place in the batch and another
// sample beside it.
double change_by_company(const onnx::Model& model, const Data& data, const DataOptions& options,
                         int64_t batch) {
  const train::Importer importer = make_importer(model, DType::kF32, ops::BatchNormMode::kFreeze, nullptr, {},
                                                 {}, data.sizes, data.embedding);
  ir::Graph graph = importer(batch, ops::Mode::kEval, data.number(data.set->size_class(0)));
  Bench bench(std::move(graph), DType::kF32, kern::Multiply::kWide, 1);
  exec::Program& program = *bench.program;
  const ir::Value& output = program.graph().value(program.graph().outputs.at(0));
  if (output.type.dtype != DType::kF32 || output.type.shape.empty() || output.type.shape[0] != batch)
    return 0;

  Data calm = data;
  calm.transform.augmentation = {};
  const auto loader = make_loader(calm, options, batch + 1, false, 0);
  loader->start(0);
  data::Batch samples;
  if (!loader->next(samples) || samples.count <= batch) return 0;
  const auto width = static_cast<size_t>(elements(output.type.shape) / batch);
  const auto rows = static_cast<size_t>(batch);
  // Sample i of the batch is that at i + first.
  const auto results = [&](int64_t first) {
    train::feed_inputs(program, kern::active(), program.graph().inputs, data.plan.feeding, samples, batch,
                       first);
    bench.run();
    const auto* y = static_cast<const float*>(program.data(program.graph().outputs.at(0)));
    return std::vector<float>(y, y + rows * width);
  };
  const std::vector<float> before = results(0);
  const std::vector<float> after = results(1);
  double largest = 0;
  double change = 0;
  for (size_t i = 0; i < (rows - 1) * width; ++i) {
    const double was = before[i + width];
    if (!std::isfinite(was) || !std::isfinite(after[i])) continue;
    largest = std::max(largest, std::fabs(was));
    change = std::max(change, std::fabs(was - static_cast<double>(after[i])));
  }
  return largest > 0 ? change / largest : 0;
}

}  // namespace

void warn_of_mixed_samples(const onnx::Model& model, const Data& data, const DataOptions& options,
                           int64_t fixed_batch, const Log& log) {
  const int64_t batch = fixed_batch > 0 ? fixed_batch : 2;
  if (batch < 2 || data.set->size() <= batch || !may_mix(model)) return;
  double change = 0;
  try {
    const std::vector<int64_t> samples = data::samples_of_classes(*data.set);
    const auto most = static_cast<size_t>(std::max_element(samples.begin(), samples.end()) - samples.begin());
    change = change_by_company(model, of_size_class(data, most), options, batch);
  } catch (const Error& e) {
    rethrow_if_resource(e);
    return;  // no such network at this batch, or a sample that cannot be read: those who need it refuse it
  }
  if (change < kRounding) return;
  log(
      fmt::format("warning: {}: a sample's result depends on the other samples of its batch, or on its place "
                  "in it (in batches of {}). "
                  "Expected: the first axis of input '{}' counts the samples, and no node computes over it; "
                  "figures change with "
                  "--batch and with the order of the samples",
                  model.path(), batch, model.inputs().at(0).name));
}

}  // namespace halftone::api
