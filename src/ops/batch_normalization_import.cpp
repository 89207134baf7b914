// ONNX's BatchNormalization as nodes of batch_normalization.cpp.
#include <numeric>

#include "ops/batch_norm.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "tensor/permutation.h"

namespace halftone::ops {
namespace batch_normalization_import {
namespace {

using batch_norm::kOperands;

ValueId pending_copy(ir::Graph& graph, ValueId state) {
  ir::Value copy = graph.value(state);
  copy.name = pending_name(copy.name);
  copy.lifetime = ir::Lifetime::kDerived;
  copy.source = state;
  return graph.add_value(std::move(copy));
}

// By the mean and the variance of what is normalised, whatever the command: a row for each channel.
ValueId import_own(ImportContext& c, double epsilon) {
  Builder& b = c.builder;
  const Shape x = c.shape(0);
  std::vector<int64_t> perm(x.size());
  std::iota(perm.begin(), perm.end(), 0);
  std::swap(perm[0], perm[1]);
  const ValueId swapped = b.transpose(c.inputs[0], perm);
  const Shape shape = b.shape(swapped);
  const auto column = [&](size_t i) { return b.reshape(c.inputs[i], {x[1], 1}); };
  const ValueId normal =
      b.add1("LayerNormalization", {b.reshape(swapped, {x[1], elements(x) / std::max<int64_t>(1, x[1])})},
             {{"axis", int64_t{1}}, {"epsilon", epsilon}});
  const ValueId y = b.add1("Add", {b.add1("Mul", {normal, column(1)}), column(2)});
  return b.transpose(b.reshape(y, shape), perm);
}

// With a mean or a variance that other nodes compute (weights that are standardised, as BiT and NF-Nets have
// them): the formula in nodes, whose gradients reach the statistics too. Nothing is averaged, so training
// means the same.
ValueId import_computed(ImportContext& c, double epsilon) {
  Builder& b = c.builder;
  const Shape x = c.shape(0);
  for (size_t i = 1; i < 5; ++i)
    if (c.shape(i) != Shape{x[1]})
      throw input_error("{} has shape {}, expected {} (the channels of {})", kOperands[i],
                        to_string(c.shape(i)), x[1], to_string(x));
  const auto column = [&](size_t i) {
    Shape shape(x.size(), 1);
    shape[1] = x[1];
    return b.reshape(c.inputs[i], shape);
  };
  if (c.attributes.int_or("training_mode", 0) != 0) return import_own(c, epsilon);
  const ValueId variance = b.add1("Scale", {column(4)}, {{"alpha", 1.0}, {"beta", epsilon}});
  const ValueId centred = b.add1("Sub", {c.inputs[0], column(3)});
  const ValueId normal = b.add1("Div", {centred, b.add1("Sqrt", {variance})});
  return b.add1("Add", {b.add1("Mul", {normal, column(1)}), column(2)});
}

// Those that are made of frozen tensors are constants. Only tensors of the file are kept in the register
// type.
bool has_computed_statistics(const ImportContext& c) {
  const bool own = c.attributes.int_or("training_mode", 0) != 0;
  const auto computed = [&](size_t i) {
    const ir::Value& value = c.builder.graph().value(c.inputs[i]);
    if (value.kind == ir::ValueKind::kState) return false;
    return value.kind != ir::ValueKind::kConstant || own ||
           value.type.dtype != register_type(c.builder.storage());
  };
  return computed(3) || computed(4);
}

std::vector<ValueId> import(ImportContext& c) {
  // Where there are running statistics, training_mode only says what the file was exported for: --batchnorm
  // and the command decide.
  if (c.opset < 9) {
    check_attributes(c.attributes, {"epsilon", "momentum", "spatial"});
    if (c.attributes.int_or("spatial", 1) != 1)
      throw input_error("spatial is 0: statistics of each place, which no later opset has");
  } else {
    check_attributes(c.attributes, {"epsilon", "momentum", "training_mode"});
  }
  for (size_t i = 0; i < 5; ++i)
    if (!c.has(i)) throw input_error("input {} is missing", i);
  const size_t rank = c.shape(0).size();
  if (rank < 2) throw input_error("the input {} needs at least two dimensions", to_string(c.shape(0)));
  const double momentum = c.attributes.float_or("momentum", 0.9);
  const bool moves = c.mode == Mode::kTrain && c.batch_norm == BatchNormMode::kTrain;
  if (moves && !(momentum >= 0 && momentum <= 1))  // an average with negative weights: variances below 0
    throw input_error(
        "momentum is {}, expected 0 to 1; --batchnorm freeze trains with the statistics of the file",
        momentum);
  Builder& b = c.builder;
  if (has_computed_statistics(c)) {
    std::vector<ValueId> out(c.output_count, kNone);
    out[0] = import_computed(c, c.attributes.float_or("epsilon", 1e-5));
    return out;
  }
  const ValueId x = b.transpose(c.inputs[0], channels_last(rank));
  const ValueId y = add_batch_norm(b, {x, c.inputs[1], c.inputs[2], c.inputs[3], c.inputs[4]},
                                   c.attributes.float_or("epsilon", 1e-5), momentum, c.mode, c.batch_norm);
  std::vector<ValueId> out(c.output_count, kNone);
  out[0] = b.transpose(y, inverse(channels_last(rank)));
  return out;
}

}  // namespace
}  // namespace batch_normalization_import

std::string pending_name(const std::string& statistic) {
  return statistic + ".pending";
}

ValueId add_batch_norm(Builder& b, const std::vector<ValueId>& inputs, double epsilon, double momentum,
                       Mode mode, BatchNormMode batch_norm, ValueId y) {
  const Attributes attributes{{"epsilon", epsilon}};
  if (mode == Mode::kEval || batch_norm == BatchNormMode::kFreeze) {
    const ValueId made = b.add1("BatchNormalization", inputs, attributes);
    if (y != kNone) b.graph().nodes.back().outputs[0] = y;
    return y != kNone ? y : made;
  }
  const auto out = b.add("BatchNormTrain", {inputs[0], inputs[1], inputs[2]}, attributes);
  if (y != kNone) b.graph().nodes.back().outputs[0] = y;
  const ValueId mean = batch_normalization_import::pending_copy(b.graph(), inputs[3]);
  const ValueId var = batch_normalization_import::pending_copy(b.graph(), inputs[4]);
  b.add("UpdateStatistics", {mean, var, out[1], out[3]}, {{"momentum", momentum}});
  b.set_phase(ir::Phase::kUpdate);
  b.add("CommitStatistics", {inputs[3], inputs[4], mean, var});
  b.set_phase(ir::Phase::kCompute);
  return y != kNone ? y : out[0];
}

namespace batch_normalization_import {

const OpFamily& family() {
  static const OpFamily family{
      {},
      {{.op_type = "BatchNormalization", .since = 7, .until = 24, .import = import, .required_inputs = 5}},
  };
  return family;
}

}  // namespace batch_normalization_import

}  // namespace halftone::ops
