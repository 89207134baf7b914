// Attention, composed of products and a softmax.
//
// formula  Y = softmax(scale * Q K^T (capped: cap * tanh(. / cap)) + mask) V, for each head; the mask is -inf
//          also where a key comes later than the query (is_causal) or at or after nonpad_kv_seqlen. A query
//          that has no key left: 0
// gradient that of the nodes; none through such a query
// shapes   Q[B, Hq, L, D], K[B, Hkv, S, D], V[B, Hkv, S, Dv] -> Y[B, Hq, L, Dv]; or Q[B, L, Hq * D] and so
//          on -> Y[B, L, Hq * Dv]. Hq a multiple of Hkv: heads in groups share keys and values
// dtypes   fp16 bf16 fp32; fp64 in the oracle. softmax_precision needs nothing: it is computed in registers
// rounds   the scores once with their scale; the mask's sum, the softmax and Y
// saves    Q, K, V, the softmax
// scratch  of the nodes
// alias    none
// errors   masks of integers; shapes that don't fit; nonpad_kv_seqlen together with past keys
// source   ONNX Attention-23/24
// tests    tests/ops/attention_test.cpp
#include "ops/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/mask.h"
#include "ops/op.h"
#include "ops/whole.h"

namespace halftone::ops {
namespace attention {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// Input i as [B, H, L, D].
ValueId heads_of(ImportContext& c, size_t i, const char* attribute) {
  const Shape x = c.shape(i);
  if (x.size() == 4) {
    const int64_t heads = c.attributes.int_or(attribute, 0);
    if (heads != 0 && heads != x[1])
      throw input_error("{} is {}, but input {} is {}", attribute, heads, i, to_string(x));
    return c.inputs[i];
  }
  if (x.size() != 3) throw input_error("input {} is {}: 3 or 4 dimensions were expected", i, to_string(x));
  if (!c.attributes.has(attribute))
    throw input_error("inputs of 3 dimensions need the attribute {}", attribute);
  const int64_t heads = c.attributes.int_at(attribute);
  if (heads < 1 || x[2] % heads != 0)
    throw input_error("{} is {}, but input {} is {}", attribute, heads, i, to_string(x));
  return heads_apart(c.builder, c.inputs[i], heads);
}

// 0 or -inf for a boolean mask, known or not; a float one as it is.
ValueId float_mask(ImportContext& c) {
  Builder& b = c.builder;
  if (is_float(b.type(c.inputs[3]).dtype)) return mask_operand(b, c.inputs[3]);
  if (b.type(c.inputs[3]).dtype != DType::kU8)
    throw input_error("the mask (input 3) must be of booleans or floats, got {}",
                      name_of(b.type(c.inputs[3]).dtype));
  const Tensor* known = c.constant(3);
  if (known == nullptr) return b.add1("Where", {c.inputs[3], b.scalar(0), b.scalar(-kInfinite)});
  std::vector<double> values;
  for (const int64_t allowed : to_int64s(*known)) values.push_back(allowed != 0 ? 0 : -kInfinite);
  return b.constant(from_doubles(values, DType::kF32, known->shape()));
}

// Opset 24: a mask may end before the keys do, and forbids those behind it.
ValueId padded_mask(ImportContext& c, ValueId mask, int64_t keys) {
  Builder& b = c.builder;
  Shape rest = b.shape(mask);
  if (c.opset < 24 || rest.empty() || rest.back() >= keys) return mask;
  if (rest.back() == 1)
    throw input_error(
        "a mask of {} for {} keys: opset 24 says of its last axis that it is broadcast, and that what lies "
        "behind it is "
        "forbidden; write out one of the two",
        to_string(rest), keys);
  rest.back() = keys - rest.back();
  Tensor forbidden = folded(DType::kF32, rest);
  std::ranges::fill(forbidden.as<float>(), static_cast<float>(-kInfinite));
  return b.add1("Concat", {mask, b.constant(std::move(forbidden))},
                {{"axis", static_cast<int64_t>(rest.size()) - 1}});
}

// The sum of all that forbids a key or is added to its score; kNone: nothing does.
ValueId bias_of(ImportContext& c, const Shape& scores) {
  Builder& b = c.builder;
  const int64_t queries = scores[2];
  const int64_t keys = scores[3];
  ValueId bias = kNone;
  const auto add = [&](ValueId more) { bias = bias == kNone ? more : b.add1("Add", {bias, more}); };
  if (c.has(3)) {
    const ValueId mask = padded_mask(c, float_mask(c), keys);
    const Shape m = b.shape(mask);
    if (m.empty() || (m.back() != keys && m.back() != 1) || broadcast(m, scores) != scores)
      throw input_error("a mask of {} does not fit scores of {}", to_string(m), to_string(scores));
    add(mask);
  }
  const bool causal = c.attributes.int_or("is_causal", 0) != 0;
  if (!c.has(6)) {
    if (causal) add(causal_mask(b, queries, keys, c.has(4) ? c.shape(4)[2] : 0));
    return bias;
  }
  if (c.opset < 24) throw input_error("it has an input 6, which Attention has from opset 24 on");
  if (c.has(4)) throw input_error("nonpad_kv_seqlen (input 6) and past_key (input 4) exclude each other");
  if (c.shape(6) != Shape{scores[0]} || is_float(b.type(c.inputs[6]).dtype))
    throw input_error("nonpad_kv_seqlen (input 6) is {} {}, expected an integer for each of {} samples",
                      name_of(b.type(c.inputs[6]).dtype), to_string(c.shape(6)), scores[0]);
  // How many keys a sample must have for query i to see key j: more than j, or with is_causal, where the last
  // query sees the last key there is, as many as make j <= i + (length - queries).
  const Shape shape{1, 1, causal ? queries : 1, keys};
  std::vector<int64_t> needed;
  for (int64_t i = 0; i < shape[2]; ++i)
    for (int64_t j = 0; j < keys; ++j) needed.push_back(causal ? j - i + queries : j + 1);
  const ValueId allowed =
      add_compare(b, "LessOrEqual", b.constant(from_int64s(needed, b.type(c.inputs[6]).dtype, shape)),
                  b.reshape(c.inputs[6], {scores[0], 1, 1, 1}));
  add(b.add1("Where", {allowed, b.scalar(0), b.scalar(-kInfinite)}));
  return bias;
}

// Queries that a bias leaves without a key: their softmax would be NaN. ONNX and its runtimes give 0 there.
struct EmptyRows {
  ValueId rows = kNone;  // booleans, the bias' shape with one key; kNone: there are none
  ValueId bias = kNone;  // the bias with 0 in these rows
};

EmptyRows without_empty_rows(Builder& b, ValueId bias) {
  const ir::Value& value = b.graph().value(bias);
  Shape shape = value.type.shape;
  if (value.kind != ir::ValueKind::kConstant) {
    const ValueId largest = b.reshape(b.add1("ReduceMax", {bias}), [&] {
      Shape one = shape;
      one.back() = 1;
      return one;
    }());
    const ValueId rows = add_compare(b, "Equal", largest, b.scalar(-kInfinite));
    return {rows, b.add1("Where", {rows, b.scalar(0), bias})};
  }
  std::vector<double> values = to_doubles(*value.data);
  const auto keys = static_cast<size_t>(shape.back());
  std::vector<int64_t> rows;
  for (size_t row = 0; row + keys <= values.size(); row += keys) {
    const auto first = values.begin() + static_cast<std::ptrdiff_t>(row);
    const auto last = first + static_cast<std::ptrdiff_t>(keys);
    rows.push_back(std::all_of(first, last, [](double v) { return v == -kInfinite; }) ? 1 : 0);
    if (rows.back() != 0) std::fill(first, last, 0.0);
  }
  if (std::count(rows.begin(), rows.end(), 1) == 0) return {kNone, bias};
  const ValueId safe = b.constant(from_doubles(values, DType::kF32, shape));
  shape.back() = 1;
  return {b.constant(from_int64s(rows, DType::kU8, shape)), safe};
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"is_causal", "kv_num_heads", "q_num_heads", "qk_matmul_output_mode",
                                  "scale", "softcap", "softmax_precision"});
  if (c.has(4) != c.has(5)) throw input_error("past_key and past_value belong together");
  const int64_t mode = c.attributes.int_or("qk_matmul_output_mode", 0);
  if (mode < 0 || mode > 3) throw input_error("qk_matmul_output_mode is {}, expected 0 to 3", mode);
  Builder& b = c.builder;
  const bool three = c.shape(0).size() == 3;
  const ValueId q = heads_of(c, 0, "q_num_heads");
  ValueId k = heads_of(c, 1, "kv_num_heads");
  ValueId v = heads_of(c, 2, "kv_num_heads");
  if (c.has(4)) {
    k = after_past(b, c.inputs[4], k);
    v = after_past(b, c.inputs[5], v);
  }
  const Shape qs = b.shape(q);
  const Shape ks = b.shape(k);
  const Shape vs = b.shape(v);
  if (ks[0] != qs[0] || vs[0] != qs[0] || ks[3] != qs[3] || vs[1] != ks[1] || vs[2] != ks[2] || ks[1] < 1 ||
      qs[1] % ks[1] != 0)
    throw input_error("queries {}, keys {} and values {} (batch, heads, length, size) don't fit",
                      to_string(qs), to_string(ks), to_string(vs));
  const int64_t group = qs[1] / ks[1];
  const auto grouped = [&](ValueId x, int64_t members) {
    const Shape s = b.shape(x);
    return group == 1 ? x : b.reshape(x, {s[0], ks[1], members, s[2], s[3]});
  };
  const double scale = c.attributes.float_or("scale", 1 / std::sqrt(static_cast<double>(qs[3])));
  ValueId scores =
      b.add1("MatMul", {grouped(q, group), grouped(k, 1)}, {{"trans_b", int64_t{1}}, {"alpha", scale}});
  scores = b.reshape(scores, {qs[0], qs[1], qs[2], ks[2]});
  std::vector<ValueId> shown{scores};  // what qk_matmul_output is, by its mode
  const double cap = c.attributes.float_or("softcap", 0);
  if (cap > 0) {
    const ValueId part = b.add1("Scale", {scores}, {{"alpha", 1 / cap}, {"beta", 0.0}});
    scores = b.add1("Scale", {b.add1("Tanh", {part})}, {{"alpha", cap}, {"beta", 0.0}});
  }
  shown.push_back(scores);
  EmptyRows empty;
  const ValueId bias = bias_of(c, b.shape(scores));
  if (bias != kNone) {
    if (mode == 2 && c.output_count > 3) shown.push_back(b.add1("Add", {scores, bias}));
    empty = without_empty_rows(b, bias);
    scores = b.add1("Add", {scores, empty.bias});
  }
  if (shown.size() < 3) shown.push_back(scores);
  const auto without_empty = [&](ValueId x) {
    return empty.rows == kNone ? x : b.add1("Where", {empty.rows, b.scalar(0), x});
  };
  const ValueId shares = b.add1("Softmax", {scores});
  if (mode == 3 && c.output_count > 3) shown.push_back(without_empty(shares));
  ValueId y = b.add1("MatMul", {grouped(shares, group), grouped(v, 1)});
  y = without_empty(b.reshape(y, {qs[0], qs[1], qs[2], vs[3]}));
  if (three) y = heads_together(b, y);
  std::vector<ValueId> out{y, k, v};
  if (c.output_count > 3) out.push_back(shown[static_cast<size_t>(mode)]);
  return out;
}

}  // namespace
}  // namespace attention

ValueId heads_apart(Builder& b, ValueId x, int64_t heads) {
  const Shape s = b.shape(x);
  if (s.size() != 3 || s[2] % heads != 0) throw input_error("{} heads of {}", heads, to_string(s));
  return b.transpose(b.reshape(x, {s[0], s[1], heads, s[2] / heads}), {0, 2, 1, 3});
}

ValueId heads_together(Builder& b, ValueId x) {
  const Shape s = b.shape(x);
  return b.reshape(b.transpose(x, {0, 2, 1, 3}), {s[0], s[2], s[1] * s[3]});
}

ValueId after_past(Builder& b, ValueId past, ValueId now) {
  return b.add1("Concat", {past, now}, {{"axis", int64_t{2}}});
}

ValueId causal_mask(Builder& b, int64_t queries, int64_t keys, int64_t past) {
  Tensor mask = folded(DType::kF32, {queries, keys});
  for (int64_t i = 0; i < queries; ++i)
    for (int64_t j = i + past + 1; j < keys; ++j)
      mask.as<float>()[static_cast<size_t>(i * keys + j)] = static_cast<float>(-attention::kInfinite);
  return b.constant(std::move(mask));
}

namespace attention {

const OpFamily& family() {
  static const OpFamily family{
      {}, {{.op_type = "Attention", .since = 23, .until = 24, .import = import, .required_inputs = 3}}};
  return family;
}

}  // namespace attention

}  // namespace halftone::ops
