#include "ops/run_constants.h"

#include <algorithm>

#include "base/error.h"
#include "kern/dispatch.h"
#include "ops/effects.h"
#include "ops/product.h"

namespace halftone::ops {
namespace {

// Larger than any table that a network computes from constants; bounds time and memory.
constexpr int64_t kMaxElements = int64_t{1} << 25;
constexpr int64_t kMaxTogether = int64_t{1}
                                 << 27;  // of all values that the node becomes, which are there at once
constexpr double kMaxMultiplications = 0x1p36;  // some seconds in fp32
constexpr double kMaxMultiplicationsDouble =
    0x1p24;  // some tens of milliseconds with the reference's plain loops

bool is_random(const std::string& op, Mode mode) {
  if (op == "Dropout") return mode == Mode::kTrain;
  return op == "Bernoulli" || op == "Multinomial" || op.rfind("Random", 0) == 0;
}

// A graph of one ONNX node.
struct Small {
  ir::Graph graph;
  std::vector<ValueId> outputs;
  std::vector<Prepared> prepared;
  double multiplications = 0;
  bool too_large = false;
};

Small build(const OnnxOp& op, const FoldContext& c, const std::string& name, DType storage,
            const kern::Kernels& kernels) {
  Small s;
  Builder builder(s.graph, storage);
  builder.set_origin(name);
  ImportContext context{builder,        c.op_type,    name,
                        c.opset,        c.attributes, {},
                        c.output_count, Mode::kEval,  BatchNormMode::kFreeze};
  for (const Tensor* tensor : c.inputs) {
    if (tensor == nullptr) {
      context.inputs.push_back(kNone);
      continue;
    }
    ir::Value value;
    value.kind = ir::ValueKind::kConstant;
    value.type = {is_float(tensor->dtype()) ? storage : tensor->dtype(), tensor->shape()};
    value.data = std::shared_ptr<const Tensor>(std::shared_ptr<const Tensor>(), tensor);  // the caller's
    context.inputs.push_back(s.graph.add_value(std::move(value)));
  }
  s.outputs = op.import(context);
  int64_t together = 0;
  for (const ir::Value& value : s.graph.values) {
    const int64_t n = elements(value.type.shape);
    s.too_large = s.too_large || n > kMaxElements || (together += n) > kMaxTogether;
  }
  if (s.too_large) return s;
  for (const ir::Node& node : s.graph.nodes) {
    HT_ASSERT(!has_effect(node), "{} of constants", node.op);
    s.prepared.push_back(
        find(node.op).prepare(PrepareContext{s.graph, node, kernels, kern::Multiply::kWide, 1}));
    if (s.prepared.back().product) s.multiplications += multiply_adds(*s.prepared.back().product);
  }
  return s;
}

// Runs the nodes in their order, each output in memory of its own.
std::vector<std::optional<Tensor>> run(Small& s) {
  par::Pool pool(1);
  StepState step;
  std::vector<std::shared_ptr<Tensor>> tensors(s.graph.values.size());
  for (size_t v = 0; v < tensors.size(); ++v) {
    const ir::Value& value = s.graph.values[v];
    tensors[v] = std::make_shared<Tensor>(value.kind == ir::ValueKind::kConstant
                                              ? converted(*value.data, value.type.dtype)
                                              : Tensor(value.type.dtype, value.type.shape));
  }
  for (size_t i = 0; i < s.graph.nodes.size(); ++i) {
    const ir::Node& node = s.graph.nodes[i];
    std::vector<const void*> in;
    std::vector<void*> out;
    for (const ValueId id : node.inputs)
      in.push_back(id == kNone ? nullptr : tensors[static_cast<size_t>(id)]->data());
    for (const ValueId id : node.outputs)
      out.push_back(id == kNone ? nullptr : tensors[static_cast<size_t>(id)]->data());
    if (find(node.op).alias == Alias::kView) {
      Tensor& to = *tensors[static_cast<size_t>(node.outputs[0])];
      std::copy_n(static_cast<const std::byte*>(in[0]), to.bytes(), static_cast<std::byte*>(to.data()));
      continue;
    }
    Tensor scratch(DType::kU8, {std::max<int64_t>(1, s.prepared[i].scratch_bytes)});
    const RunContext context{in.data(), out.data(), static_cast<std::byte*>(scratch.data()), pool, step};
    s.prepared[i].run(context);
    if (step.fault >= 0) throw input_error("{}", s.prepared[i].explain(context, step.fault));
  }
  std::vector<std::optional<Tensor>> results;
  for (const ValueId id : s.outputs) {
    results.emplace_back();
    if (id == kNone) continue;
    Tensor& t = *tensors[static_cast<size_t>(id)];
    results.back() = is_float(t.dtype()) ? converted(t, DType::kF32) : t.clone();
  }
  return results;
}

}  // namespace

std::optional<std::vector<std::optional<Tensor>>> run_constants(const OnnxOp& op, const FoldContext& node,
                                                                const std::string& name, Mode mode) {
  HT_ASSERT(op.import != nullptr, "{} has no import", node.op_type);
  if (is_random(node.op_type, mode)) return std::nullopt;
  Small s = build(op, node, name, DType::kF64, kern::table(kern::Isa::kReference));
  if (s.too_large || s.multiplications > kMaxMultiplications) return std::nullopt;
  if (s.multiplications > kMaxMultiplicationsDouble) s = build(op, node, name, DType::kF32, kern::active());
  return run(s);
}

}  // namespace halftone::ops
