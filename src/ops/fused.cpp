// What ONNX Runtime's optimiser makes of several nodes, in its domain com.microsoft. (Attention:
// fused_attention.cpp.)
//
// formula  Gelu: ONNX's. BiasGelu(x, b) = gelu(x + b). FastGelu(x, b) = gelu(x + b) by tanh; b is optional.
//          QuickGelu(x) = x sigmoid(alpha x). FusedMatMul(a, b) = alpha a' b', each transposed in its last
//          two axes where transA (transB) says so. FusedConv(x, w, b, z) = activation(conv(x, w, b) + z).
//          EmbedLayerNormalization(ids, segments, words, positions, segment table, scale, shift, mask,
//          position ids) = LayerNormalization(words[ids] + positions[position ids] + segment
//          table[segments]); position ids count from 0 where there are none. Its second output is how many
//          elements of a row of the mask are 1, 0 without a mask; its third the sum before the norm
// gradient that of the nodes it becomes
// shapes   as ONNX's operators of these names; ids [B, L] -> [B, L, H], [B], [B, L, H]
// dtypes   fp16 bf16 fp32; fp64 in the oracle; ids of integers
// rounds   at each node
// saves    what the nodes save
// scratch  of the nodes
// alias    none
// errors   batch axes that are transposed with the first (transBatchA, transBatchB); transposed vectors; an
//          activation that ONNX Runtime does not fuse; segments without their table
// source   ONNX Runtime's contributed operators, version 1: Gelu, BiasGelu, FastGelu, QuickGelu, FusedMatMul,
//          FusedConv, EmbedLayerNormalization
// tests    tests/ops/fused_test.cpp
#include "ops/fused.h"

#include <numeric>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/rows.h"
#include "ops/whole.h"

namespace halftone::ops {

ValueId through(ImportContext& c, std::string_view op, const std::vector<ValueId>& inputs,
                Attributes attributes) {
  const OnnxOp* definition = find_onnx(op);
  HT_ASSERT(definition != nullptr && definition->import != nullptr, "{}", op);
  ImportContext inner = c;
  inner.op_type = op;
  inner.opset = kThroughOpset;
  inner.inputs = inputs;
  inner.attributes = std::move(attributes);
  inner.output_count = 1;
  return definition->import(inner).front();
}

void check_inputs(const ImportContext& c, size_t most) {
  for (size_t i = most; i < c.inputs.size(); ++i)
    if (c.has(i))
      throw input_error("it has {} inputs, Halftone knows {} of this operator", c.inputs.size(), most);
}

namespace fused {
namespace {

ValueId plus(ImportContext& c, ValueId x, size_t i) {
  if (!c.has(i)) return x;
  const Shape shape = c.builder.shape(x);
  if (broadcast(c.shape(i), shape) != shape)
    throw input_error("input {} is {}, which does not broadcast to {}", i, to_string(c.shape(i)),
                      to_string(shape));
  return c.builder.add1("Add", {x, c.inputs[i]});
}

enum class Bias : uint8_t { kNone, kMay, kMust };

std::vector<ValueId> import_gelu(ImportContext& c, std::string_view op, Bias bias) {
  check_attributes(c.attributes, {});
  check_inputs(c, bias == Bias::kNone ? 1 : 2);
  if (bias == Bias::kMust && !c.has(1)) throw input_error("input 1, the bias, is missing");
  return {c.builder.add1(op, {bias == Bias::kNone ? c.inputs[0] : plus(c, c.inputs[0], 1)})};
}
std::vector<ValueId> import_plain_gelu(ImportContext& c) {
  return import_gelu(c, "Gelu", Bias::kNone);
}
std::vector<ValueId> import_bias_gelu(ImportContext& c) {
  return import_gelu(c, "Gelu", Bias::kMust);
}
std::vector<ValueId> import_fast_gelu(ImportContext& c) {
  return import_gelu(c, "GeluTanh", Bias::kMay);
}

std::vector<ValueId> import_quick_gelu(ImportContext& c) {
  check_attributes(c.attributes, {"alpha"});
  check_inputs(c, 1);
  return {through(c, "Swish", {c.inputs[0]}, {{"alpha", c.attributes.float_or("alpha", 1.702)}})};
}

std::vector<ValueId> import_matmul(ImportContext& c) {
  check_attributes(c.attributes, {"alpha", "transA", "transB", "transBatchA", "transBatchB"});
  check_inputs(c, 2);
  for (const char* name : {"transBatchA", "transBatchB"})
    if (c.attributes.int_or(name, 0) != 0)
      throw input_error("{} is {}: batch axes that are transposed with the first are not supported", name,
                        c.attributes.int_at(name));
  const bool turned[2] = {c.attributes.int_or("transA", 0) != 0, c.attributes.int_or("transB", 0) != 0};
  for (const size_t i : {size_t{0}, size_t{1}})
    if (c.shape(i).size() < 2 && turned[i])
      throw input_error("input {} is {}, and cannot be transposed", i, to_string(c.shape(i)));
  const double alpha = c.attributes.float_or("alpha", 1);
  Builder& b = c.builder;
  if (c.shape(0).size() >= 2 && c.shape(1).size() >= 2)
    return {b.add1("MatMul", {c.inputs[0], c.inputs[1]},
                   {{"trans_a", int64_t{turned[0]}}, {"trans_b", int64_t{turned[1]}}, {"alpha", alpha}})};
  if (turned[0] || turned[1]) throw input_error("a vector times a transposed matrix is not supported");
  const ValueId y = through(c, "MatMul", {c.inputs[0], c.inputs[1]}, {});
  return {alpha == 1 ? y : b.add1("Scale", {y}, {{"alpha", alpha}, {"beta", 0.0}})};
}

std::vector<ValueId> import_conv(ImportContext& c) {
  check_attributes(c.attributes, {"activation", "activation_params", "auto_pad", "dilations", "group",
                                  "kernel_shape", "pads", "strides"});
  check_inputs(c, 4);
  Attributes window = c.attributes;
  window.erase("activation");
  window.erase("activation_params");
  const std::string activation = c.attributes.string_or("activation", "");
  std::vector<double> params;
  for (const auto& [name, value] : c.attributes)
    if (name == "activation_params") {
      if (!std::holds_alternative<std::vector<double>>(value))
        throw input_error("attribute 'activation_params' is not a list of floats");
      params = std::get<std::vector<double>>(value);
    }
  const auto expect = [&](size_t count) {
    if (params.size() != count)
      throw input_error("{} has {} activation_params, expected {}", activation, params.size(), count);
  };
  ValueId y =
      through(c, "Conv", {c.inputs[0], c.inputs[1], c.has(2) ? c.inputs[2] : kNone}, std::move(window));
  if (c.has(3)) {
    if (c.shape(3) != c.builder.shape(y))
      throw input_error("input 3, which is added, is {}, expected {}", to_string(c.shape(3)),
                        to_string(c.builder.shape(y)));
    y = c.builder.add1("Add", {y, c.inputs[3]});
  }
  if (activation.empty()) return {y};
  if (activation == "Relu" || activation == "Tanh" || activation == "Sigmoid") {
    expect(0);
    return {c.builder.add1(activation, {y})};
  }
  if (activation == "LeakyRelu") {
    expect(1);
    return {through(c, "LeakyRelu", {y}, {{"alpha", params[0]}})};
  }
  if (activation == "Clip" || activation == "HardSigmoid") {
    expect(2);
    if (activation == "Clip" && !(params[0] <= params[1]))
      throw input_error("Clip from {} to {}", params[0], params[1]);
    return {c.builder.add1(activation, {y}, {{"alpha", params[0]}, {"beta", params[1]}})};
  }
  throw input_error(
      "its activation '{}' is not known; it is Relu, Tanh, Sigmoid, LeakyRelu, Clip or HardSigmoid",
      activation);
}

std::vector<ValueId> import_embed(ImportContext& c) {
  check_attributes(c.attributes, {"epsilon", "mask_index_type"});
  check_inputs(c, 9);
  Builder& b = c.builder;
  for (const size_t i : {size_t{2}, size_t{3}, size_t{5}, size_t{6}})
    if (!c.has(i)) throw input_error("input {} is missing", i);
  if (c.has(1) != c.has(4)) throw input_error("segments (input 1) and their table (input 4) belong together");
  const Shape ids = c.shape(0);
  if (ids.size() != 2) throw input_error("ids are {}, expected [batch, length]", to_string(ids));
  for (const size_t i : {size_t{2}, size_t{3}, size_t{4}})
    if (c.has(i) && c.shape(i).size() != 2)
      throw input_error("the table (input {}) is {}, expected a matrix", i, to_string(c.shape(i)));
  const auto rows = [&](size_t table, ValueId of, const char* what) {
    const Shape shape = c.shape(table);
    const ValueId places = only_from_front(b, of, shape[0], what);
    if (b.graph().value(of).kind == ir::ValueKind::kConstant)
      return through(c, "Gather", {c.inputs[table], places}, {{"axis", int64_t{0}}});
    const RowPlan plan = plan_gather(shape, b.shape(of), 0);
    const std::string name =
        fmt::format("the table (input {}), where {} stands for {} below 0 too", table, shape[0], what);
    return add_gather_rows(b, plan, c.inputs[table], add_row_indices(b, plan, places, name));
  };
  ValueId position_ids = kNone;
  if (c.has(8)) {
    if (broadcast(c.shape(8), ids) != ids)
      throw input_error("position ids are {}, ids {}", to_string(c.shape(8)), to_string(ids));
    position_ids = c.inputs[8];
  } else {
    std::vector<int64_t> counted(static_cast<size_t>(ids[1]));
    std::iota(counted.begin(), counted.end(), int64_t{0});
    position_ids = b.constant(int64_tensor(counted, {ids[1]}));
  }
  ValueId sum = b.add1("Add", {rows(2, c.inputs[0], "ids"), rows(3, position_ids, "position ids")});
  if (c.has(1)) {
    if (c.shape(1) != ids)
      throw input_error("segments are {}, ids {}", to_string(c.shape(1)), to_string(ids));
    sum = b.add1("Add", {sum, rows(4, c.inputs[1], "segments")});
  }
  const ValueId y = through(c, "LayerNormalization", {sum, c.inputs[5], c.inputs[6]},
                            {{"epsilon", c.attributes.float_or("epsilon", 1e-12)}});
  std::vector<ValueId> out{y};
  if (c.output_count > 1) {
    if (!c.has(7)) {
      out.push_back(b.constant(
          from_int64s(std::vector<int64_t>(static_cast<size_t>(ids[0]), 0), DType::kI32, {ids[0]})));
    } else {
      const DType dtype = b.type(c.inputs[7]).dtype;
      if (dtype != DType::kI32 || c.shape(7) != ids)
        throw input_error("the mask (input 7) is {} {}, expected int32 {}", name_of(dtype),
                          to_string(c.shape(7)), to_string(ids));
      const ValueId is_one = add_compare(b, "Equal", c.inputs[7], b.constant(from_int64s({1}, dtype, {})));
      out.push_back(through(c, "ReduceSum", {add_cast(b, is_one, dtype), b.constant(int64_tensor({1}, {1}))},
                            {{"keepdims", int64_t{0}}}));
    }
  }
  if (c.output_count > 2) out.push_back(sum);
  return out;
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {},
      {{.op_type = "com.microsoft.Gelu", .since = 1, .until = 24, .import = import_plain_gelu},
       {.op_type = "com.microsoft.BiasGelu", .since = 1, .until = 24, .import = import_bias_gelu},
       {.op_type = "com.microsoft.FastGelu", .since = 1, .until = 24, .import = import_fast_gelu},
       {.op_type = "com.microsoft.QuickGelu", .since = 1, .until = 24, .import = import_quick_gelu},
       {.op_type = "com.microsoft.FusedMatMul",
        .since = 1,
        .until = 24,
        .import = import_matmul,
        .required_inputs = 2},
       {.op_type = "com.microsoft.FusedConv",
        .since = 1,
        .until = 24,
        .import = import_conv,
        .required_inputs = 2},
       {.op_type = "com.microsoft.EmbedLayerNormalization",
        .since = 1,
        .until = 24,
        .import = import_embed}}};
  return family;
}

}  // namespace fused
}  // namespace halftone::ops
