// Attention, MultiHeadAttention and RotaryEmbedding as ONNX Runtime's optimiser writes them, in its domain
// com.microsoft.
//
// formula  softmax(scale Q K^T + masks) V for each head; scale: 1 / sqrt(head size) where there is none.
//          Attention's Q, K and V are input * weights + bias, side by side. Masks: mask_filter_value where a
//          key does not count (a mask of whole numbers: 0; one number a sample: keys from that one on), -inf
//          where unidirectional and a key comes later, and what is added as it is (attention_bias).
//          RotaryEmbedding: ONNX's, its tables' rows chosen by positions
// gradient that of the nodes it becomes
// shapes   Attention: input[B, S, I], weights[I, Hq + Hk + Hv] -> [B, S, Hv]; MultiHeadAttention: query[B, S,
//          H], key[B, L, H], value[B, L, Hv], or key and value as [B, N, L, H / N] -> [B, S, Hv];
//          RotaryEmbedding: x[B, L, H] or [B, N, L, D] -> x
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   products, masks' sums, softmax
// saves    Q, K, V, the softmax
// scratch  of the nodes
// alias    none
// errors   packed queries, keys and values; masks that give starts and ends, or of 4 axes; a cache that is
//          shared with the output; rotary embedding inside Attention; unidirectional with keys behind the
//          last query; a scale of RotaryEmbedding; shapes that don't fit
// source   ONNX Runtime's contributed operators, version 1
// tests    tests/ops/fused_test.cpp
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/attention.h"
#include "ops/fold.h"
#include "ops/fused.h"
#include "ops/mask.h"
#include "ops/op.h"
#include "ops/slice.h"
#include "ops/whole.h"

namespace halftone::ops::fused_attention {
namespace {

ValueId whole_constant(Builder& b, DType dtype, const std::vector<int64_t>& values, const Shape& shape) {
  return b.constant(from_int64s(values, dtype, shape));
}

// What is added to scores[B, N, S, T] for a mask of whole numbers.
ValueId mask_of(ImportContext& c, size_t i, const Shape& scores) {
  Builder& b = c.builder;
  const Type type = b.type(c.inputs[i]);
  if (is_float(type.dtype))
    throw input_error("the mask (input {}) is of {}, expected whole numbers", i, name_of(type.dtype));
  const Shape& m = type.shape;
  const int64_t batch = scores[0];
  const int64_t keys = scores[3];
  ValueId counts = kNone;  // whether a key counts
  if (m == Shape{batch}) {
    std::vector<int64_t> places;
    for (int64_t j = 0; j < keys; ++j) places.push_back(j);
    counts = add_compare(b, "Less", whole_constant(b, type.dtype, places, {1, keys}),
                         b.reshape(c.inputs[i], {batch, 1}));
    counts = b.reshape(counts, {batch, 1, 1, keys});
  } else if (m == Shape{batch, keys} || m == Shape{batch, scores[2], keys}) {
    counts = add_compare(b, "Less", whole_constant(b, type.dtype, {0}, {}), c.inputs[i]);
    counts = b.reshape(counts, {batch, 1, m.size() == 2 ? 1 : scores[2], keys});
  } else {
    throw input_error(
        "a mask (input {}) of {} is not supported for scores of {}: one number a sample, a key, or a query "
        "and a key were "
        "expected",
        i, to_string(m), to_string(scores));
  }
  const double filter = c.attributes.float_or("mask_filter_value", -10000);
  return b.add1("Where", {counts, b.scalar(0), mask_operand(b, b.scalar(filter))});
}

struct Places {
  size_t mask, bias;  // inputs
};

// q[B, N, S, D], k[B, N, T, D], v[B, N, T, Dv] -> [B, S, N Dv]; past: keys that are older than the first
// query.
ValueId attended(ImportContext& c, ValueId q, ValueId k, ValueId v, int64_t past, const Places& at) {
  Builder& b = c.builder;
  const Shape qs = b.shape(q);
  const Shape ks = b.shape(k);
  const Shape vs = b.shape(v);
  if (ks[0] != qs[0] || vs[0] != qs[0] || ks[1] != qs[1] || vs[1] != qs[1] || ks[2] != vs[2] ||
      ks[3] != qs[3])
    throw input_error("queries {}, keys {} and values {} (batch, heads, length, size) don't fit",
                      to_string(qs), to_string(ks), to_string(vs));
  double scale = c.attributes.float_or("scale", 0);
  if (scale == 0) scale = 1 / std::sqrt(static_cast<double>(qs[3]));
  ValueId scores = b.add1("MatMul", {q, k}, {{"trans_b", int64_t{1}}, {"alpha", scale}});
  const Shape shape = b.shape(scores);
  if (c.has(at.mask)) scores = b.add1("Add", {scores, mask_of(c, at.mask, shape)});
  if (c.attributes.int_or("unidirectional", 0) != 0 && qs[2] > 1) {
    // ONNX Runtime lets the last query see such keys, and no other.
    if (ks[2] > past + qs[2])
      throw input_error(
          "unidirectional with {} keys for {} queries after {} past keys: the last keys belong to no query",
          ks[2], qs[2], past);
    scores = b.add1("Add", {scores, causal_mask(b, qs[2], ks[2], past)});
  }
  if (c.has(at.bias)) {
    if (broadcast(c.shape(at.bias), shape) != shape)
      throw input_error("attention_bias {} does not fit scores of {}", to_string(c.shape(at.bias)),
                        to_string(shape));
    scores = b.add1("Add", {scores, mask_operand(b, c.inputs[at.bias])});
  }
  const ValueId y = b.add1("MatMul", {b.add1("Softmax", {scores}), v});
  return heads_together(b, y);
}

int64_t heads_of(const ImportContext& c) {
  const int64_t heads = c.attributes.int_or("num_heads", 0);
  if (heads < 1) throw input_error("num_heads is {}, expected at least 1", heads);
  return heads;
}

// past[2, B, N, P, D] before keys and values.
ValueId with_past(ImportContext& c, size_t input, int64_t which, ValueId now) {
  Builder& b = c.builder;
  const Shape s = c.shape(input);
  const Shape n = b.shape(now);
  if (s.size() != 5 || s[0] != 2 || s[1] != n[0] || s[2] != n[1] || s[4] != n[3])
    throw input_error("past (input {}) is {}, keys and values {}", input, to_string(s), to_string(n));
  const ValueId old = b.reshape(add_slice(b, c.inputs[input], 0, which, 1), {s[1], s[2], s[3], s[4]});
  return after_past(b, old, now);
}

std::vector<ValueId> import_attention(ImportContext& c) {
  check_attributes(c.attributes, {"do_rotary", "mask_filter_value", "num_heads", "past_present_share_buffer",
                                  "qkv_hidden_sizes", "rotary_embedding_dim", "scale", "unidirectional"});
  check_inputs(c, 6);
  for (const char* name : {"do_rotary", "past_present_share_buffer"})
    if (c.attributes.int_or(name, 0) != 0)
      throw input_error("{} is {}, which is not supported", name, c.attributes.int_at(name));
  Builder& b = c.builder;
  const int64_t heads = heads_of(c);
  const Shape x = c.shape(0);
  const Shape w = c.shape(1);
  if (x.size() != 3 || w.size() != 2 || x[2] != w[0])
    throw input_error("input {} and weights {}, expected [batch, length, features] and [features, ...]",
                      to_string(x), to_string(w));
  std::vector<int64_t> sizes = c.attributes.ints_or("qkv_hidden_sizes", {});
  if (sizes.empty()) sizes.assign(3, w[1] / 3);
  const auto possible = [&](int64_t size) { return size >= 1 && size <= w[1]; };
  if (sizes.size() != 3 || !std::all_of(sizes.begin(), sizes.end(), possible) || sizes[0] != sizes[1] ||
      sizes[0] + sizes[1] + sizes[2] != w[1])
    throw input_error("weights {} do not hold queries, keys and values of {} features", to_string(w),
                      to_string(Shape(sizes.begin(), sizes.end())));
  std::vector<ValueId> product{c.inputs[0], c.inputs[1]};
  if (c.has(2)) {
    if (c.shape(2) != Shape{w[1]})
      throw input_error("the bias is {}, expected {}", to_string(c.shape(2)), w[1]);
    product.push_back(c.inputs[2]);
  }
  std::vector<ValueId> parts =
      b.add("Split", {b.add1("MatMul", product)}, {{"axis", int64_t{2}}, {"split", sizes}});
  for (ValueId& some : parts) some = heads_apart(b, some, heads);
  int64_t past = 0;
  if (c.has(4)) {
    for (const size_t which : {size_t{0}, size_t{1}})
      parts[1 + which] = with_past(c, 4, static_cast<int64_t>(which), parts[1 + which]);
    past = c.shape(4)[3];
  }
  std::vector<ValueId> out{attended(c, parts[0], parts[1], parts[2], past, {3, 5})};
  if (c.output_count < 2) return out;
  const Shape k = b.shape(parts[1]);
  if (b.shape(parts[2]) != k) throw input_error("its output 'present' needs keys and values of one size");
  const Shape single{1, k[0], k[1], k[2], k[3]};
  out.push_back(
      b.add1("Concat", {b.reshape(parts[1], single), b.reshape(parts[2], single)}, {{"axis", int64_t{0}}}));
  return out;
}

std::vector<ValueId> import_multi_head(ImportContext& c) {
  check_attributes(c.attributes, {"mask_filter_value", "num_heads", "scale", "unidirectional"});
  check_inputs(c, 8);
  Builder& b = c.builder;
  const int64_t heads = heads_of(c);
  if (c.shape(0).size() != 3 || !c.has(1) || !c.has(2))
    throw input_error("queries, keys and values that are packed into one input are not supported");
  if (c.has(6) != c.has(7)) throw input_error("past_key and past_value belong together");
  if (c.output_count > 3)
    throw input_error("it has {} outputs, Halftone knows 3 of this operator", c.output_count);
  int64_t start = 0;
  ValueId parts[3];
  for (size_t i = 0; i < 3; ++i) {
    const Shape s = c.shape(i);
    if (s.size() == 4) {
      if (c.has(3)) throw input_error("a bias for keys and values of 4 dimensions is not supported");
      parts[i] = c.inputs[i];
      continue;
    }
    if (s.size() != 3)
      throw input_error("input {} is {}, expected [batch, length, features]", i, to_string(s));
    ValueId x = c.inputs[i];
    if (c.has(3)) {
      if (c.shape(3).size() != 1 || start + s[2] > c.shape(3)[0])
        throw input_error("the bias is {}, too small for input {}, {}", to_string(c.shape(3)), i,
                          to_string(s));
      x = b.add1("Add", {x, add_slice(b, c.inputs[3], 0, start, s[2])});
      start += s[2];
    }
    parts[i] = heads_apart(b, x, heads);
  }
  if (c.has(3) && start != c.shape(3)[0])
    throw input_error("the bias is {}, expected {}", to_string(c.shape(3)), start);
  int64_t past = 0;
  if (c.has(6)) {
    for (const size_t i : {size_t{1}, size_t{2}}) parts[i] = after_past(b, c.inputs[5 + i], parts[i]);
    past = c.shape(6).at(2);
  }
  return {attended(c, parts[0], parts[1], parts[2], past, {4, 5}), parts[1], parts[2]};
}

std::vector<ValueId> import_rotary(ImportContext& c) {
  check_attributes(c.attributes,
                   {"interleaved", "is_packed_batching", "num_heads", "rotary_embedding_dim", "scale"});
  check_inputs(c, 4);
  if (c.attributes.int_or("is_packed_batching", 0) != 0)
    throw input_error("is_packed_batching is not supported");
  if (c.attributes.float_or("scale", 1) != 1)
    throw input_error("its scale is {}, expected 1", c.attributes.float_at("scale"));
  Builder& b = c.builder;
  const Shape x = c.shape(0);
  if ((x.size() != 3 && x.size() != 4) || c.shape(2).size() != 2)
    throw input_error("x is {} and its tables {}: 3 or 4, and 2 dimensions were expected", to_string(x),
                      to_string(c.shape(2)));
  const int64_t length = x[x.size() - 2];
  const int64_t turned = c.attributes.int_or("rotary_embedding_dim", 0);
  Attributes attributes{{"interleaved", c.attributes.int_or("interleaved", 0)},
                        {"rotary_embedding_dim", turned}};
  if (x.size() == 3) {
    // Without a number of heads, heads are as wide as the tables say.
    int64_t heads = c.attributes.int_or("num_heads", 0);
    if (heads == 0 && turned > 0)
      throw input_error("rotary_embedding_dim is {}, and num_heads is missing", turned);
    if (heads == 0) heads = x[2] / std::max<int64_t>(1, 2 * c.shape(2)[1]);
    attributes.set("num_heads", heads);
  }
  ValueId positions = c.inputs[1];
  const Shape p = b.shape(positions);
  if (is_float(b.type(positions).dtype) || (elements(p) != 1 && p != Shape{x[0], length}))
    throw input_error("position_ids are {}, expected one number or {}", to_string(p),
                      to_string(Shape{x[0], length}));
  if (p != Shape{x[0], length}) {  // the first one
    std::vector<int64_t> counted;
    for (int64_t i = 0; i < x[0] * length; ++i) counted.push_back(i % length);
    positions = add_whole_binary(b, "Add", b.reshape(positions, {}),
                                 whole_constant(b, b.type(positions).dtype, counted, {x[0], length}));
  }
  return {through(c, "RotaryEmbedding", {c.inputs[0], c.inputs[2], c.inputs[3], positions},
                  std::move(attributes))};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {},
      {{.op_type = "com.microsoft.Attention",
        .since = 1,
        .until = 24,
        .import = import_attention,
        .required_inputs = 2},
       {.op_type = "com.microsoft.MultiHeadAttention", .since = 1, .until = 24, .import = import_multi_head},
       {.op_type = "com.microsoft.RotaryEmbedding",
        .since = 1,
        .until = 24,
        .import = import_rotary,
        .required_inputs = 4}}};
  return family;
}

}  // namespace halftone::ops::fused_attention
