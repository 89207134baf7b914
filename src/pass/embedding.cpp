#include "pass/embedding.h"

#include <algorithm>

#include "base/error.h"
#include "ops/rows.h"
#include "ops/slice.h"
#include "ops/verify.h"
#include "ops/whole.h"

namespace halftone::pass {
namespace {

using ir::kNone;
using ir::ValueId;

ValueId sum_over(ops::Builder& b, ValueId x, int64_t axis, bool keep) {
  return b.add1("ReduceSum", {x}, {{"axes", std::vector<int64_t>{axis}}, {"keepdims", int64_t{keep}}});
}

// [rows, tokens] of the register type: 1 for a token of the text, else 0.
ValueId mask_of(ops::Builder& b, const Embedding& e, const Shape& tokens) {
  if (e.mask.empty())
    throw input_error(
        "--pooling {} needs to know which tokens are padding, and the network has no input for the attention "
        "mask; expected a network with one, or with the pooling in it (--pooling none)",
        name_of(e.pooling));
  const ir::Graph& graph = b.graph();
  const auto found = std::find_if(graph.inputs.begin(), graph.inputs.end(),
                                  [&](ValueId id) { return graph.value(id).name == e.mask; });
  HT_ASSERT(found != graph.inputs.end(), "{}", e.mask);
  const ValueId mask = *found;
  if (b.shape(mask) != Shape{tokens[0], tokens[1]})
    throw input_error(
        "--pooling {}: the attention mask '{}' has shape {}, and the output {}; expected a number for each "
        "token",
        name_of(e.pooling), e.mask, to_string(b.shape(mask)), to_string(tokens));
  if (!is_float(b.type(mask).dtype)) return ops::add_cast(b, mask, b.storage());
  return b.add1("Convert", {mask}, {{"to", static_cast<int64_t>(b.storage())}});
}

// The largest of each line along axis 1, of equal ones the first.
ValueId largest_of_tokens(ops::Builder& b, ValueId x) {
  const ValueId at =
      b.add1("ArgExtreme", {x},
             {{"axis", int64_t{1}}, {"k", int64_t{1}}, {"largest", int64_t{1}}, {"last", int64_t{0}}});
  const ops::RowPlan plan = ops::plan_elements(b.shape(x), b.shape(at), 1);
  return ops::add_gather_rows(b, plan, x, ops::add_row_indices(b, plan, at, ""));
}

// [rows, tokens, width] -> [rows, width].
ValueId pooled(ops::Builder& b, const Embedding& e, ValueId x) {
  const Shape shape = b.shape(x);
  const Shape row{shape[0], shape[2]};
  if (e.pooling == Pooling::kCls) return b.reshape(ops::add_slice(b, x, 1, 0, 1), row);
  const ValueId mask = b.reshape(mask_of(b, e, shape), {shape[0], shape[1], 1});
  if (e.pooling == Pooling::kMean) {
    constexpr double kLeast = 1e-9;  // so that a text without tokens is no division by zero
    const ValueId sum = sum_over(b, b.add1("Mul", {x, mask}), 1, false);
    const ValueId count = b.add1("Max", {sum_over(b, mask, 1, false), b.scalar(kLeast)});
    return b.add1("Div", {sum, count});
  }
  // x itself, or far below.
  constexpr double kFar = 1e9;
  const ValueId below = b.add1("Scale", {mask}, {{"alpha", kFar}, {"beta", -kFar}});
  const ValueId kept = b.add1("Add", {b.add1("Mul", {x, mask}), below});
  return b.reshape(largest_of_tokens(b, kept), row);
}

// The value under its name and another shape in front of all nodes; returns the new one.
ValueId fed_as(ir::Graph& graph, ValueId id, const Shape& shape) {
  ir::Value input = graph.value(id);
  const Shape rows = input.type.shape;
  input.type.shape = shape;
  HT_ASSERT(input.storage_axes.empty(), "{}", input.name);
  graph.value(id).kind = ir::ValueKind::kActivation;
  graph.value(id).name += " (rows)";
  const ValueId fed = graph.add_value(std::move(input));
  ir::Node reshape;
  reshape.op = "Reshape";
  reshape.name = "texts";
  reshape.inputs = {fed};
  reshape.outputs = {id};
  reshape.attributes.set("shape", rows);
  graph.nodes.insert(graph.nodes.begin(), std::move(reshape));
  return fed;
}

}  // namespace

std::string name_of(Pooling pooling) {
  switch (pooling) {
    case Pooling::kInside:
      return "none";
    case Pooling::kMean:
      return "mean";
    case Pooling::kCls:
      return "cls";
    case Pooling::kMax:
      return "max";
  }
  return "?";
}

std::optional<Pooling> find_pooling(const std::string& name) {
  for (const Pooling pooling : {Pooling::kInside, Pooling::kMean, Pooling::kCls, Pooling::kMax})
    if (name == name_of(pooling)) return pooling;
  return std::nullopt;
}

ValueId of_unit_length(ops::Builder& b, ValueId x) {
  constexpr double kLeastSquare = 1e-24;  // PyTorch's 1e-12, squared
  const auto last = static_cast<int64_t>(b.shape(x).size()) - 1;
  const ValueId square = sum_over(b, b.add1("Mul", {x, x}), last, true);
  return b.add1("Div", {x, b.add1("Sqrt", {b.add1("Max", {square, b.scalar(kLeastSquare)})})});
}

void embed(ir::Graph& graph, DType storage, const Embedding& e, int64_t batch) {
  if (e.texts == 0) return;
  const DType wide = register_type(storage);
  const int64_t rows = batch * e.texts;
  ops::Builder b(graph, wide);
  b.set_origin("embedding");
  HT_ASSERT(graph.outputs.size() == 1, "{} outputs", graph.outputs.size());
  const ValueId output = graph.outputs[0];
  const std::string name = graph.value(output).name;
  const Shape shape = b.shape(output);
  const bool tokens = shape.size() == 3 && shape[0] == rows;
  const bool vectors = shape.size() == 2 && shape[0] == rows;
  if (!is_float(b.type(output).dtype) || (e.pooling == Pooling::kInside ? !vectors : !tokens))
    throw input_error(
        "the network's output '{}' has shape {} for {} texts; expected [texts, width]{}{}", name,
        to_string(shape), rows,
        e.pooling == Pooling::kInside ? "" : fmt::format(" of tokens for --pooling {}", name_of(e.pooling)),
        e.pooling == Pooling::kInside && tokens
            ? "; --pooling mean, cls or max makes one vector of those of the tokens"
        : e.pooling != Pooling::kInside && vectors ? "; it is one vector a text already: --pooling none"
                                                   : "; --output NAME names another one");
  ValueId x = output;
  if (b.type(x).dtype != wide) x = b.add1("Convert", {x}, {{"to", static_cast<int64_t>(wide)}});
  if (e.pooling != Pooling::kInside) x = pooled(b, e, x);
  if (e.unit) x = of_unit_length(b, x);
  if (e.texts > 1) x = b.reshape(x, {batch, e.texts, b.shape(x).back()});
  if (x == output) return;
  graph.value(output).name = name + " (tokens)";
  graph.value(x).name = name;
  graph.outputs[0] = x;
  if (e.texts > 1)
    for (ValueId& input : graph.inputs) {
      const Shape of_rows = graph.value(input).type.shape;
      HT_ASSERT(!of_rows.empty() && of_rows[0] == rows, "{}", to_string(of_rows));
      Shape of_samples{batch, e.texts};
      of_samples.insert(of_samples.end(), of_rows.begin() + 1, of_rows.end());
      input = fed_as(graph, input, of_samples);
    }
  ops::verify(graph, "embed");
}

}  // namespace halftone::pass
