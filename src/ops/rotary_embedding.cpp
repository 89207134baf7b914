// RotaryEmbedding: pairs of numbers turned by an angle that depends on the position.
//
// formula  (x1, x2) -> (cos x1 - sin x2, sin x1 + cos x2) for the first rotary_embedding_dim numbers of a
//          head (0: all); pairs are an element and the one half of them further on, or neighbours when
//          interleaved
// gradient that of the nodes it becomes
// shapes   X[B, H, L, D] or X[B, L, H * D] -> the same; cos_cache, sin_cache[positions, R / 2] with
//          position_ids[B, L], else [B, L, R / 2]
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   at each product, and at their sum
// saves    the operands of the products
// scratch  of the nodes
// alias    none
// errors   shapes that don't fit; a position outside the tables: when loading, or while it runs
// source   ONNX RotaryEmbedding-23
// tests    tests/ops/attention_test.cpp
#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/rows.h"
#include "ops/slice.h"

namespace halftone::ops::rotary_embedding {
namespace {

// cos or sin as [B or 1, L, 1, half].
ValueId table_of(ImportContext& c, size_t i, int64_t batch, int64_t length, int64_t half) {
  Builder& b = c.builder;
  const Shape s = c.shape(i);
  if (!c.has(3)) {
    if (s != Shape{batch, length, half})
      throw input_error("the table (input {}) is {}, expected {}", i, to_string(s),
                        to_string(Shape{batch, length, half}));
    return b.reshape(c.inputs[i], {batch, length, 1, half});
  }
  if (s.size() != 2 || s[1] != half || c.shape(3) != Shape{batch, length})
    throw input_error("the table (input {}) is {} and position_ids {}, expected [positions, {}] and {}", i,
                      to_string(s), to_string(c.shape(3)), half, to_string(Shape{batch, length}));
  const Tensor* table = c.constant(i);
  if (table == nullptr || c.constant(3) == nullptr) {
    const ValueId ids = only_from_front(b, c.inputs[3], s[0], "position_ids");
    const RowPlan plan = plan_gather(s, {batch, length}, 0);
    const ValueId rows = add_row_indices(
        b, plan, ids,
        fmt::format("the table (input {}), where {} stands for a position below 0 too", i, s[0]));
    return b.reshape(add_gather_rows(b, plan, c.inputs[i], rows), {batch, length, 1, half});
  }
  const std::vector<int64_t> ids = c.int_constant(3);
  const std::vector<double> values = to_doubles(*table);
  folded(DType::kF32, {batch, length, half});  // refuses what is too large
  std::vector<double> chosen;
  for (const int64_t id : ids) {
    if (id < 0 || id >= s[0]) throw input_error("a position is {}, the table (input {}) has {}", id, i, s[0]);
    const auto first = values.begin() + id * half;
    chosen.insert(chosen.end(), first, first + half);
  }
  return b.constant(from_doubles(chosen, DType::kF32, {batch, length, 1, half}));
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"interleaved", "num_heads", "rotary_embedding_dim"});
  Builder& b = c.builder;
  const Shape shape = c.shape(0);
  ValueId x = c.inputs[0];
  if (shape.size() == 4) {
    x = b.transpose(x, {0, 2, 1, 3});
  } else if (shape.size() == 3) {
    const int64_t heads = c.attributes.int_or("num_heads", 0);
    if (heads < 1 || shape[2] % heads != 0)
      throw input_error("num_heads is {}, which does not divide the last axis of {}", heads,
                        to_string(shape));
    x = b.reshape(x, {shape[0], shape[1], heads, shape[2] / heads});
  } else {
    throw input_error("X is {}: 3 or 4 dimensions were expected", to_string(shape));
  }
  const Shape s = b.shape(x);  // [B, L, H, D]
  int64_t turned = c.attributes.int_or("rotary_embedding_dim", 0);
  if (turned == 0) turned = s[3];
  if (turned < 2 || turned % 2 != 0 || turned > s[3])
    throw input_error("rotary_embedding_dim {} of a head of {}: an even number was expected", turned, s[3]);
  const int64_t half = turned / 2;
  const ValueId cosine = table_of(c, 1, s[0], s[1], half);
  const ValueId sine = table_of(c, 2, s[0], s[1], half);
  const bool interleaved = c.attributes.int_or("interleaved", 0) != 0;
  const ValueId x1 = add_slice(b, x, 3, 0, half, interleaved ? 2 : 1);
  const ValueId x2 = add_slice(b, x, 3, interleaved ? 1 : half, half, interleaved ? 2 : 1);
  ValueId real = b.add1("Sub", {b.add1("Mul", {x1, cosine}), b.add1("Mul", {x2, sine})});
  ValueId imaginary = b.add1("Add", {b.add1("Mul", {x1, sine}), b.add1("Mul", {x2, cosine})});
  ValueId y = kNone;
  if (interleaved) {
    const Shape single{s[0], s[1], s[2], half, 1};
    y = b.add1("Concat", {b.reshape(real, single), b.reshape(imaginary, single)}, {{"axis", int64_t{4}}});
    y = b.reshape(y, {s[0], s[1], s[2], turned});
    if (turned < s[3])
      y = b.add1("Concat", {y, add_slice(b, x, 3, turned, s[3] - turned)}, {{"axis", int64_t{3}}});
  } else {
    std::vector<ValueId> parts{real, imaginary};
    if (turned < s[3]) parts.push_back(add_slice(b, x, 3, turned, s[3] - turned));
    y = b.add1("Concat", parts, {{"axis", int64_t{3}}});
  }
  if (shape.size() == 4) return {b.transpose(y, {0, 2, 1, 3})};
  return {b.reshape(y, shape)};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {}, {{.op_type = "RotaryEmbedding", .since = 23, .until = 24, .import = import, .required_inputs = 3}}};
  return family;
}

}  // namespace halftone::ops::rotary_embedding
