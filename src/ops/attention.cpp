// Attention, composed of products and a softmax.
//
// formula  Y = softmax(scale * Q K^T (capped: cap * tanh(. / cap)) + mask) V, for each head; is_causal:
//          -inf where a key comes later than the query
// gradient that of the nodes
// shapes   Q[B, Hq, L, D], K[B, Hkv, S, D], V[B, Hkv, S, Dv] -> Y[B, Hq, L, Dv]; or Q[B, L, Hq * D] and so
//          on -> Y[B, L, Hq * Dv]. Hq a multiple of Hkv: heads in groups share keys and values
// dtypes   fp16 bf16 fp32; fp64 in the oracle. softmax_precision needs nothing: it is computed in registers
// rounds   the scores once with their scale; the mask's sum, the softmax and Y
// saves    Q, K, V, the softmax
// scratch  of the nodes
// alias    none
// errors   masks of integers; the output qk_matmul_output, whose modes ONNX redefined;
//          nonpad_kv_seqlen; shapes that don't fit; a constant mask in which a query has
//          no key
// source   ONNX Attention-23/24
// tests    tests/ops/attention_test.cpp
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "ops/families.h"
#include "ops/fold.h"

namespace halftone::ops {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// [B, L, H * D] as [B, H, L, D].
ValueId heads_apart(ImportContext& c, size_t i, const char* attribute) {
  Builder& b = c.builder;
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
  return b.transpose(b.reshape(c.inputs[i], {x[0], x[1], heads, x[2] / heads}), {0, 2, 1, 3});
}

ValueId with_past(ImportContext& c, ValueId now, size_t i) {
  return c.has(i) ? c.builder.add1("Concat", {c.inputs[i], now}, {{"axis", int64_t{2}}}) : now;
}

// 0 or -inf for a boolean mask, known or not; a float one as it is.
ValueId float_mask(ImportContext& c) {
  Builder& b = c.builder;
  if (is_float(b.type(c.inputs[3]).dtype)) return c.inputs[3];
  if (b.type(c.inputs[3]).dtype != DType::kU8)
    throw input_error("the mask (input 3) must be of booleans or floats, got {}", name_of(b.type(c.inputs[3]).dtype));
  const Tensor* known = c.constant(3);
  if (known == nullptr) return b.add1("Where", {c.inputs[3], b.scalar(0), b.scalar(-kInfinite)});
  std::vector<double> values;
  for (const int64_t allowed : to_int64s(*known)) values.push_back(allowed != 0 ? 0 : -kInfinite);
  return b.constant(from_doubles(values, DType::kF32, known->shape()));
}

// -inf where key j comes after query i, `past` keys being older than the first query.
Tensor causal_mask(int64_t queries, int64_t keys, int64_t past) {
  Tensor mask = folded(DType::kF32, {queries, keys});
  for (int64_t i = 0; i < queries; ++i)
    for (int64_t j = i + past + 1; j < keys; ++j)
      mask.as<float>()[static_cast<size_t>(i * keys + j)] = static_cast<float>(-kInfinite);
  return mask;
}

void refuse_empty_rows(Builder& b, ValueId mask) {
  const ir::Value& value = b.graph().value(mask);
  if (value.kind != ir::ValueKind::kConstant) return;
  const std::vector<double> values = to_doubles(*value.data);
  const auto keys =
      static_cast<size_t>(std::max<int64_t>(1, value.data->shape().empty() ? 1 : value.data->shape().back()));
  for (size_t row = 0; row + keys <= values.size(); row += keys) {
    bool any = false;
    for (size_t j = 0; j < keys; ++j) any = any || values[row + j] != -kInfinite;
    if (!any) throw input_error("the mask (input 3) forbids all keys to a query: its softmax would be NaN");
  }
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"is_causal", "kv_num_heads", "q_num_heads", "qk_matmul_output_mode",
                                  "scale", "softcap", "softmax_precision"});
  if (c.output_count > 3) throw input_error("the output qk_matmul_output is not supported");
  if (c.has(6)) throw input_error("nonpad_kv_seqlen (input 6) is not supported");
  if (c.has(4) != c.has(5)) throw input_error("past_key and past_value belong together");
  Builder& b = c.builder;
  const bool three = c.shape(0).size() == 3;
  const ValueId q = heads_apart(c, 0, "q_num_heads");
  const ValueId k = with_past(c, heads_apart(c, 1, "kv_num_heads"), 4);
  const ValueId v = with_past(c, heads_apart(c, 2, "kv_num_heads"), 5);
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
  const double cap = c.attributes.float_or("softcap", 0);
  if (cap > 0) {
    const ValueId part = b.add1("Scale", {scores}, {{"alpha", 1 / cap}, {"beta", 0.0}});
    scores = b.add1("Scale", {b.add1("Tanh", {part})}, {{"alpha", cap}, {"beta", 0.0}});
  }
  ValueId mask = kNone;
  if (c.has(3)) {
    mask = float_mask(c);
    const Shape m = b.shape(mask);
    if (m.empty() || (m.back() != ks[2] && m.back() != 1) || broadcast(m, b.shape(scores)) != b.shape(scores))
      throw input_error("a mask of {} does not fit scores of {}", to_string(m), to_string(b.shape(scores)));
    refuse_empty_rows(b, mask);
  }
  if (c.attributes.int_or("is_causal", 0) != 0) {
    const int64_t past = c.has(4) ? c.shape(4)[2] : 0;
    const ValueId causal = b.constant(causal_mask(qs[2], ks[2], past));
    mask = mask == kNone ? causal : b.add1("Add", {mask, causal});
  }
  if (mask != kNone) scores = b.add1("Add", {scores, mask});
  const ValueId shares = b.add1("Softmax", {scores});
  ValueId y = b.add1("MatMul", {grouped(shares, group), grouped(v, 1)});
  y = b.reshape(y, {qs[0], qs[1], qs[2], vs[3]});
  if (three) y = b.reshape(b.transpose(y, {0, 2, 1, 3}), {qs[0], qs[2], qs[1] * vs[3]});
  return {y, k, v};
}

}  // namespace

const OpFamily& attention_family() {
  static const OpFamily family{{}, {{"Attention", 23, 24, import, nullptr, 0, 3}}};
  return family;
}

}  // namespace halftone::ops
