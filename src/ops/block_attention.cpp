// Attention in blocks of queries: what MatMul, the steps that scale and mask scores, Softmax and MatMul
// compute, without a matrix of all scores. pass/block_attention.h puts it in their place.
//
// formula  scores = alpha * Q K^T; each of `steps` in order; shares = softmax of a row; Y = shares V. Where
//          `guard`, a row of shares that is NaN (no key is left) counts as 0. Where there is a `ratio`, shares
//          are dropped by it before they meet V, with the bits of a Dropout of the stream `stream`
// gradient of V, Q and K, scores and shares computed once more from the statistics. Of a row without a key:
//          0, where `guard`. Of an operand that is added (a bias for relative positions): the sum over the
//          leading batch axes that it is broadcast along, by an operator of its own (BlockAttentionBiasGrad),
//          as ReduceSum adds them up; it computes the scores' gradient once more. Of others: none
// shapes   V[.., S, Dv], Q[.., L, D], K[.., S, D] (keys_down: K[.., D, S]), operands that broadcast to
//          [.., L, S] -> Y[.., L, Dv], statistics[2, .., L], largest[blocks], where `keeps_shares` also
//          shares[.., L, S]. Batch dimensions of Q and K broadcast to Y's, V's and the operands' to these
// dtypes   fp16 bf16 fp32; fp64 in the oracle. Conditions of booleans. statistics, largest: register type
// rounds   where those nodes do, and nowhere else: scores, each step, shares, Y. So every bit is theirs, with
//          every multiply policy: a block is 256 queries, so runs of 128 of them (kern/matrix.h) begin and
//          end where they do in one product
// saves    V, Q, K, the operands; statistics: each row's maximum and sum of exp; shares, where `keeps_shares`
// scratch  for each thread the scores of a block, and a product's; gradient: also theirs, dK and dV
// alias    none
// largest  the largest magnitude of a block's scores before they are masked, NaN if one is: whether all are
//          finite (pass/watch.h)
// errors   shapes and types that don't fit
// source   Dao et al., FlashAttention, arXiv 2205.14135, for the recomputation
// tests    tests/ops/block_attention_test.cpp
#include "ops/block_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>

#include "base/error.h"
#include "kern/index.h"
#include "kern/pointwise.h"
#include "kern/reduce.h"
#include "kern/significands.h"
#include "ops/broadcast_loop.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/product.h"
#include "ops/reduction.h"

namespace halftone::ops {

AttentionStep attention_step(int64_t code) {
  HT_ASSERT(code >= 0 && code <= static_cast<int64_t>(AttentionStep::kChooseOther), "{}", code);
  return static_cast<AttentionStep>(code);
}

bool is_bias_with_gradient(const Shape& operand, const Shape& scores) {
  if (operand.size() < 2 || operand.size() > scores.size() || elements(operand) < 2) return false;
  const size_t lead = scores.size() - operand.size();
  size_t i = 0;
  while (i + 2 < operand.size() && operand[i] == 1) ++i;
  return std::equal(operand.begin() + static_cast<std::ptrdiff_t>(i), operand.end(),
                    scores.begin() + static_cast<std::ptrdiff_t>(lead + i));
}

namespace block_attention {
namespace {

constexpr int64_t kBlock = 256;      // queries; a multiple of kRun
constexpr int64_t kRun = 128;        // what keys are counted in where a mask leaves the last ones out
constexpr size_t kFirstOperand = 3;  // of the forward's inputs: V, Q, K
constexpr size_t kBefore = 3;  // inputs of the gradients that are not the forward's: dY, statistics, shares

// ---------------------------------------------------------------- sizes
struct Sizes {
  bool keys_down;
  Shape batch;
  int64_t batches, l, s, d, dv;
  int64_t blocks() const { return ceil_div(l, kBlock); }
};

Sizes sizes_of(const Attributes& attributes, const Shape& v, const Shape& q, const Shape& k) {
  Sizes z{};
  if (v.size() < 2 || q.size() < 2 || k.size() < 2)
    throw input_error("values {}, queries {} and keys {} need at least 2 dimensions", to_string(v),
                      to_string(q), to_string(k));
  for (const Shape* x : {&v, &q, &k})
    for (const int64_t size : *x)
      if (size < 1) throw input_error("a dimension of {} is less than 1", to_string(*x));
  const auto last = [](const Shape& x, size_t i) { return x[x.size() - i]; };
  z.keys_down = attributes.int_or("keys_down", 0) != 0;
  z.l = last(q, 2);
  z.d = last(q, 1);
  z.s = last(k, z.keys_down ? 1 : 2);
  z.dv = last(v, 1);
  const auto batch = [](const Shape& x) { return Shape(x.begin(), x.end() - 2); };
  z.batch = broadcast(batch(q), batch(k));
  z.batches = elements(z.batch);
  if (last(k, z.keys_down ? 2 : 1) != z.d || last(v, 2) != z.s || broadcast(batch(v), z.batch) != z.batch)
    throw input_error("values {}, queries {} and keys {}{} don't fit", to_string(v), to_string(q),
                      to_string(k), z.keys_down ? " (transposed)" : "");
  return z;
}

Shape with(Shape batch, int64_t rows, int64_t cols) {
  batch.push_back(rows);
  batch.push_back(cols);
  return batch;
}

// What a step reads besides the scores.
struct Operand {
  size_t input = 0;
  std::vector<int64_t> first;  // its first element for each batch
  int64_t row = 0, col = 0;    // strides
  const std::byte* at(const void* p, int64_t width, int64_t batch, int64_t query) const {
    return ops::at(p, (first[static_cast<size_t>(batch)] + query * row) * width);
  }
};

struct Step {
  AttentionStep kind;
  double alpha = 1, beta = 0;
  Operand condition, other;
};

Operand operand_of(const Sizes& z, size_t input, const Shape& shape) {
  Operand o;
  o.input = input;
  const Shape all = with(z.batch, z.l, z.s);
  for (int64_t b = 0; b < z.batches; ++b) o.first.push_back(operand_element(all, shape, b * z.l * z.s));
  const auto size = [&](size_t from_last) {
    return shape.size() < from_last ? 1 : shape[shape.size() - from_last];
  };
  o.col = size(1) == 1 ? 0 : 1;
  o.row = size(2) == 1 ? 0 : size(1);
  return o;
}

// f(step, number of operands) for each code of the attribute.
template <class Function>
void for_steps(const Attributes& attributes, const Function& f) {
  for (const int64_t code : attributes.ints_or("steps", {})) {
    const AttentionStep kind = attention_step(code);
    f(kind, kind == AttentionStep::kScale ? 0 : kind == AttentionStep::kAdd ? 1 : 2);
  }
}

std::vector<Step> steps_of(const Attributes& attributes, const Sizes& z, size_t first_operand,
                           const std::function<Shape(size_t)>& shape) {
  const double* numbers =
      attributes.has("numbers") ? attributes.tensor_at("numbers").as<double>().data() : nullptr;
  std::vector<Step> steps;
  size_t input = first_operand;
  for_steps(attributes, [&](AttentionStep kind, int operands) {
    Step step{kind, 1, 0, {}, {}};
    if (kind == AttentionStep::kScale) {
      step.alpha = *numbers++;
      step.beta = *numbers++;
    }
    if (operands == 2) {
      step.condition = operand_of(z, input, shape(input));
      ++input;
    }
    if (operands >= 1) {
      step.other = operand_of(z, input, shape(input));
      ++input;
    }
    steps.push_back(std::move(step));
  });
  return steps;
}

// ---------------------------------------------------------------- infer
void check_types(const InferContext& c, size_t first, size_t first_operand) {
  const DType dtype = c.input(first).dtype;
  if (!is_float(dtype)) throw input_error("a float tensor was expected, got {}", name_of(dtype));
  for (size_t i = first; i < first_operand; ++i)
    if (c.input(i).dtype != dtype)
      throw input_error("the operands have different types: {} and {}", name_of(dtype),
                        name_of(c.input(i).dtype));
}

std::vector<Type> infer(const InferContext& c) {
  check_types(c, 0, kFirstOperand);
  const DType dtype = c.input(0).dtype;
  const Sizes z = sizes_of(c.attributes(), c.input(0).shape, c.input(1).shape, c.input(2).shape);
  const Shape scores = with(z.batch, z.l, z.s);
  size_t input = kFirstOperand;
  const auto take = [&](DType wanted) {
    if (input >= c.node.inputs.size() || !c.has(input)) throw input_error("input {} is missing", input);
    const Type& type = c.input(input);
    if (type.dtype != wanted || broadcast(type.shape, scores) != scores)
      throw input_error("input {} is {} {}, expected {} that broadcasts to {}", input, name_of(type.dtype),
                        to_string(type.shape), name_of(wanted), to_string(scores));
    ++input;
  };
  for_steps(c.attributes(), [&](AttentionStep, int operands) {
    if (operands == 2) take(DType::kU8);
    if (operands >= 1) take(dtype);
  });
  if (input != c.node.inputs.size())
    throw input_error("it has {} inputs, its steps read {}", c.node.inputs.size(), input);
  Shape rows = z.batch;
  rows.insert(rows.begin(), 2);
  rows.push_back(z.l);
  std::vector<Type> y{{dtype, with(z.batch, z.l, z.dv)},
                      {register_type(dtype), rows},
                      {register_type(dtype), {z.batches * z.blocks()}}};
  if (c.attributes().int_or("keeps_shares", 0) != 0) y.push_back({dtype, scores});
  return y;
}

// BlockAttentionGrad(dY, V, Q, K, statistics, shares or none, operands...) -> dV, dQ, dK, each for every
// batch of Y.
std::vector<Type> infer_grad(const InferContext& c) {
  check_types(c, 0, 4);
  const DType dtype = c.input(0).dtype;
  const Sizes z = sizes_of(c.attributes(), c.input(1).shape, c.input(2).shape, c.input(3).shape);
  return {{dtype, with(z.batch, z.s, z.dv)},
          {dtype, with(z.batch, z.l, z.d)},
          {dtype, z.keys_down ? with(z.batch, z.d, z.s) : with(z.batch, z.s, z.d)}};
}

// ---------------------------------------------------------------- how many keys a query meets
// -inf in a constant mask: a share of exactly 0, which changes no sum and no gradient.
struct Masked {
  const Tensor* condition = nullptr;
  bool chosen = false;  // the value of the condition that puts `other` in the place of a score
  Tensor other;         // fp64
};

bool is_masked(const Masked& m, const Step& step, int64_t batch, int64_t query, int64_t key) {
  const auto element = [&](const Operand& o) {
    return static_cast<size_t>(o.first[static_cast<size_t>(batch)] + query * o.row + key * o.col);
  };
  if (m.other.as<double>()[element(step.other)] != -std::numeric_limits<double>::infinity()) return false;
  return m.condition == nullptr || (m.condition->as<uint8_t>()[element(step.condition)] != 0) == m.chosen;
}

// For each query one more than the last key that the step does not mask in some batch.
void limit_keys(const PrepareContext& c, const Sizes& z, const Step& step, DType dtype,
                std::vector<int64_t>& keys) {
  const auto constant = [&](const Operand& o) -> const Tensor* {
    const ir::Value& value = c.graph.value(c.node.inputs[o.input]);
    return value.kind == ir::ValueKind::kConstant ? value.data.get() : nullptr;
  };
  Masked m;
  const Tensor* const other = constant(step.other);
  if (other == nullptr) return;
  if (step.kind != AttentionStep::kAdd) {
    m.condition = constant(step.condition);
    m.chosen = step.kind == AttentionStep::kChooseOther;
    if (m.condition == nullptr) return;
  }
  m.other = converted(converted(*other, dtype), DType::kF64);
  const bool moves = step.other.row != 0 || (m.condition != nullptr && step.condition.row != 0);
  std::vector<int64_t> batches;  // those that read different elements
  for (int64_t b = 0; b < z.batches; ++b) {
    const auto at = static_cast<size_t>(b);
    const bool known = std::any_of(batches.begin(), batches.end(), [&](int64_t before) {
      const auto i = static_cast<size_t>(before);
      return step.other.first[i] == step.other.first[at] &&
             (m.condition == nullptr || step.condition.first[i] == step.condition.first[at]);
    });
    if (!known) batches.push_back(b);
  }
  int64_t needed = 0;
  for (int64_t query = 0; query < z.l; ++query) {
    if (query == 0 || moves) {
      needed = 0;
      for (const int64_t b : batches)
        for (int64_t key = z.s; key > needed; --key)
          if (!is_masked(m, step, b, query, key - 1)) {
            needed = key;
            break;
          }
    }
    int64_t& limit = keys[static_cast<size_t>(query)];
    limit = std::min(limit, needed);
  }
}

std::vector<int64_t> keys_of_queries(const PrepareContext& c, const Sizes& z, const std::vector<Step>& steps,
                                     DType dtype) {
  std::vector<int64_t> keys(static_cast<size_t>(z.l), z.s);
  if (z.keys_down) return keys;  // rows of K are not contiguous
  for (size_t i = 0; i < steps.size(); ++i) {
    // -inf must stay that until the softmax.
    const bool stays =
        std::all_of(steps.begin() + static_cast<std::ptrdiff_t>(i) + 1, steps.end(), [](const Step& later) {
          return later.kind == AttentionStep::kAdd ||
                 (later.kind == AttentionStep::kScale && later.alpha > 0);
        });
    if (stays && steps[i].kind != AttentionStep::kScale) limit_keys(c, z, steps[i], dtype, keys);
  }
  return keys;
}

// ---------------------------------------------------------------- the work of a block
// The products of a block, in the order of its plans.
constexpr size_t kScores = 0;      // alpha Q K^T
constexpr size_t kValues = 1;      // forward: shares V
constexpr size_t kShareGrads = 1;  // gradient: dY V^T
constexpr size_t kValueGrads = 2;  // += shares^T dY
constexpr size_t kQueryGrads = 3;  // alpha dScores K
constexpr size_t kKeyGrads = 4;    // += dScores^T Q; its transpose where K is
using Plans = std::vector<kern::ProductPlan>;

struct Block {
  int64_t query, rows, keys;
  const Plans* plans;
};

struct Work {
  Sizes z;
  DType dtype, wide;
  int64_t width, wide_width;
  float alpha;
  bool guard, keeps_shares;
  bool drops;
  float ratio;
  uint64_t stream;
  std::vector<Step> steps;
  std::vector<Block> blocks;
  std::map<std::pair<int64_t, int64_t>, Plans> plans;
  std::vector<int64_t> v, q, k;  // which matrix for each batch
  kern::Kernels kernels;
  // Bytes of a thread's scratch, and where its parts begin.
  int64_t tile = 0, tile_grad = 0, dropped = 0, rows = 0, v_sums = 0, k_sums = 0, product = 0, bytes = 0;
  int64_t most_rows = 0, most_keys = 0;
};

struct Matrices {
  int64_t m, k, n;
  bool trans_a, trans_b;
};
kern::ProductPlan plan_of(const PrepareContext& c, DType dtype, const Matrices& of, float alpha, bool sums) {
  kern::MatMulGeometry g{};
  g.m = of.m;
  g.k = of.k;
  g.n = of.n;
  g.trans_a = of.trans_a;
  g.trans_b = of.trans_b;
  g.alpha = alpha;
  g.sums = sums;
  kern::ProductPlan plan{};
  plan.product = kern::matmul_product(dtype, c.multiply, false, g);
  plan.threads = 1;
  c.kernels.matrix.plan(plan);
  return plan;
}

// first_operand: of the node's inputs, behind V, Q, K (which begin at `first`).
std::shared_ptr<Work> work_of(const PrepareContext& c, size_t first, size_t first_operand, bool backward) {
  auto work = std::make_shared<Work>();
  Work& w = *work;
  const auto shape = [&](size_t i) { return c.input(i).shape; };
  w.z = sizes_of(c.attributes(), shape(first), shape(first + 1), shape(first + 2));
  const Sizes& z = w.z;
  w.dtype = c.output(0).dtype;
  w.wide = register_type(w.dtype);
  w.width = size_bytes(w.dtype);
  w.wide_width = size_bytes(w.wide);
  w.alpha = static_cast<float>(c.attributes().float_or("alpha", 1));  // as every product has it
  w.keeps_shares = c.attributes().int_or("keeps_shares", 0) != 0;
  w.guard = c.attributes().int_or("guard", 0) != 0;
  w.drops = c.attributes().has("ratio");
  w.ratio = static_cast<float>(c.attributes().float_or("ratio", 0));
  w.stream = static_cast<uint64_t>(c.attributes().int_or("stream", 0));
  w.steps = steps_of(c.attributes(), z, first_operand, shape);
  w.kernels = c.kernels;
  const auto matrices = [&](size_t input) {
    const Shape own(c.input(input).shape.begin(), c.input(input).shape.end() - 2);
    std::vector<int64_t> list;
    for (int64_t b = 0; b < z.batches; ++b) list.push_back(operand_element(z.batch, own, b));
    return list;
  };
  w.v = matrices(first);
  w.q = matrices(first + 1);
  w.k = matrices(first + 2);

  const std::vector<int64_t> keys = keys_of_queries(c, z, w.steps, w.dtype);
  int64_t most_keys = 0;
  int64_t product = 0;
  for (int64_t query = 0; query < z.l; query += kBlock) {
    const int64_t rows = std::min(kBlock, z.l - query);
    const int64_t needed = *std::max_element(keys.begin() + query, keys.begin() + query + rows);
    const int64_t count = std::min(z.s, ceil_div(std::max<int64_t>(needed, 1), kRun) * kRun);
    const auto [it, fresh] = w.plans.try_emplace({rows, count});
    Plans& p = it->second;
    if (fresh) {
      const bool down = z.keys_down;
      const auto add = [&](int64_t m, int64_t k, int64_t n, bool trans_a, bool trans_b, float alpha,
                           bool sums) {
        p.push_back(plan_of(c, w.dtype, {m, k, n, trans_a, trans_b}, alpha, sums));
        product = std::max(product, p.back().scratch_bytes);
      };
      add(rows, z.d, count, false, !down, w.alpha, false);
      if (backward) {
        add(rows, z.dv, count, false, true, 1, false);
        add(count, rows, z.dv, true, false, 1, true);
        add(rows, count, z.d, false, down, w.alpha, false);
        down ? add(z.d, rows, count, true, false, 1, true) : add(count, rows, z.d, true, false, 1, true);
      } else {
        add(rows, count, z.dv, false, false, 1, false);
      }
    }
    w.blocks.push_back({query, rows, count, &p});
    most_keys = std::max(most_keys, count);
  }

  const auto take = [&](int64_t bytes) {
    const int64_t begin = w.bytes;
    w.bytes += aligned_bytes(bytes);
    return begin;
  };
  const int64_t most_rows = std::min(kBlock, z.l);
  w.most_rows = most_rows;
  w.most_keys = most_keys;
  w.tile = take(most_rows * most_keys * w.width);
  w.rows = take(2 * most_rows * w.wide_width);
  if (backward) {
    w.tile_grad = take(most_rows * most_keys * w.width);
    if (w.drops) w.dropped = take(most_rows * most_keys * w.width);
    w.v_sums = take(z.s * z.dv * w.wide_width);
    w.k_sums = take(z.s * z.d * w.wide_width);
  }
  w.product = take(product);
  return work;
}

void multiply(const Work& w, const kern::ProductPlan& plan, const void* a, const void* b, void* y,
              std::byte* scratch) {
  const kern::ProductOperands operands{a, b, nullptr, y, scratch + w.product};
  for (int stage = 0; stage < plan.stages; ++stage)
    for (int64_t chunk = 0; chunk < plan.chunks[stage]; ++chunk)
      w.kernels.matrix.run(plan, operands, stage, chunk, 0);
}

void fill(const Work& w, DType dtype, void* y, int64_t n, double value) {
  w.kernels.fill({dtype, y, n, value});
}

double number_at(const void* p, DType dtype, int64_t i) {
  return dtype == DType::kF64 ? static_cast<const double*>(p)[i]
                              : static_cast<double>(static_cast<const float*>(p)[i]);
}

// Rounds a tile as storage would, where the step says so.
void emulate(const Work& w, const StepState& step, std::byte* tile, int64_t n) {
  if (step.significant_bits != 0 && w.dtype == DType::kF32)
    kern::round_significands(reinterpret_cast<float*>(tile), n, step.significant_bits);
}

struct Inputs {
  const void *v, *q, *k;
  const void* const* all;
};

// The largest magnitude in a block's tile; a NaN wins.
double largest_of(const Work& w, const Block& block, std::byte* scratch) {
  double largest = 0;
  for (const kern::Reduce op : {kern::Reduce::kMin, kern::Reduce::kMax}) {
    alignas(8) std::byte one[8];
    w.kernels.reduce_rows(
        {op, w.dtype, scratch + w.tile, block.rows, block.keys, block.keys, scratch + w.rows});
    w.kernels.reduce_rows({op, w.wide, scratch + w.rows, 1, block.rows, block.rows, one});
    const double found = std::abs(number_at(one, w.wide, 0));
    if (!(found <= largest)) largest = found;
  }
  return largest;
}

// The scores of a block after all steps, in the tile. largest, where given: see `largest_of`, before masks.
void scores_of(const Work& w, const Inputs& in, const StepState& state, int64_t batch, const Block& block,
               std::byte* scratch, double* largest) {
  const Sizes& z = w.z;
  std::byte* const tile = scratch + w.tile;
  const int64_t n = block.rows * block.keys;
  const auto b = static_cast<size_t>(batch);
  multiply(w, (*block.plans)[kScores], at(in.q, (w.q[b] * z.l + block.query) * z.d * w.width),
           at(in.k, w.k[b] * z.s * z.d * w.width), tile, scratch);
  emulate(w, state, tile, n);
  if (largest != nullptr) *largest = largest_of(w, block, scratch);
  bool masked = false;
  for (const Step& step : w.steps) {
    if (step.kind == AttentionStep::kScale) {
      w.kernels.unary({kern::Unary::kScale, w.dtype, tile, tile, n, step.alpha, step.beta});
      if (largest != nullptr && !masked && std::abs(step.alpha) > 1) *largest = largest_of(w, block, scratch);
    } else {
      masked = true;
      const void* const other = step.other.at(in.all[step.other.input], w.width, batch, block.query);
      if (step.kind == AttentionStep::kAdd) {
        w.kernels.binary({kern::Binary::kAdd, w.dtype, tile, block.keys, 1, other, step.other.row,
                          step.other.col, tile, block.rows, block.keys});
      } else {
        const auto* const condition = reinterpret_cast<const uint8_t*>(
            step.condition.at(in.all[step.condition.input], 1, batch, block.query));
        const bool other_first = step.kind == AttentionStep::kChooseOther;
        kern::SelectArgs args{w.width,   condition, step.condition.row, step.condition.col, tile, block.keys,
                              1,         other,     step.other.row,     step.other.col,     tile, block.rows,
                              block.keys};
        if (other_first) {
          std::swap(args.a, args.b);
          std::swap(args.a_row, args.b_row);
          std::swap(args.a_col, args.b_col);
        }
        w.kernels.index->select(args);
      }
    }
    emulate(w, state, tile, n);
  }
}

// Rows of shares that no key has a part in.
void clear_empty_rows(const Work& w, const Block& block, const void* sums, std::byte* tile) {
  for (int64_t r = 0; w.guard && r < block.rows; ++r)
    if (std::isnan(number_at(sums, w.wide, r)))
      fill(w, w.dtype, tile + r * block.keys * w.width, block.keys, 0);
}

// Shares, or their gradient, as the Dropout that stood there would drop them; from may be to.
void drop(const Work& w, const StepState& step, int64_t batch, const Block& block, const void* from,
          void* to) {
  const num::RandomKey key = num::random_key(step.seed, w.stream);
  const int64_t first = (batch * w.z.l + block.query) * w.z.s;
  const bool whole = block.keys == w.z.s;
  const int64_t n = whole ? block.rows * block.keys : block.keys;
  for (int64_t row = 0; row < (whole ? 1 : block.rows); ++row)
    w.kernels.dropout({w.dtype, at(from, row * n * w.width), at(to, row * n * w.width), first + row * w.z.s,
                       n, w.ratio, key, step.micro_step});
}

void attend(const Work& w, const RunContext& r, int64_t chunk, int worker) {
  const Sizes& z = w.z;
  const int64_t batch = chunk / z.blocks();
  const Block& block = w.blocks[static_cast<size_t>(chunk % z.blocks())];
  std::byte* const scratch = r.scratch + worker * w.bytes;
  std::byte* const tile = scratch + w.tile;
  double largest = 0;
  scores_of(w, {r.in[0], r.in[1], r.in[2], r.in}, r.step, batch, block, scratch,
            r.out[2] == nullptr ? nullptr : &largest);
  if (r.out[2] != nullptr) fill(w, w.wide, at(r.out[2], chunk * w.wide_width), 1, largest);
  void* max = scratch + w.rows;
  void* sum = scratch + w.rows + std::min(kBlock, z.l) * w.wide_width;
  if (r.out[1] != nullptr) {
    max = at(r.out[1], (batch * z.l + block.query) * w.wide_width);
    sum = at(r.out[1], ((z.batches + batch) * z.l + block.query) * w.wide_width);
  }
  // A block's shares lie one row behind the other, of as many keys as it meets.
  std::byte* const shares = w.keeps_shares && r.out[3] != nullptr
                                ? at(r.out[3], (batch * z.l + block.query) * z.s * w.width)
                                : tile;
  w.kernels.softmax({w.dtype, tile, shares, block.rows, block.keys, false, max, sum});
  emulate(w, r.step, shares, block.rows * block.keys);
  clear_empty_rows(w, block, sum, shares);
  if (w.drops) {
    drop(w, r.step, batch, block, shares, tile);
    emulate(w, r.step, tile, block.rows * block.keys);
  }
  multiply(w, (*block.plans)[kValues], w.drops ? tile : shares,
           at(r.in[0], w.v[static_cast<size_t>(batch)] * z.s * z.dv * w.width),
           at(r.out[0], (batch * z.l + block.query) * z.dv * w.width), scratch);
}

// dScores, in place, back through the steps to the first of them, or to what comes behind step `before`.
void back_through_steps(const Work& w, const Inputs& in, int64_t batch, const Block& block, std::byte* grad,
                        const std::byte* zero, size_t before = 0) {
  const int64_t n = block.rows * block.keys;
  for (size_t i = w.steps.size(); i-- > before;) {
    const Step& step = w.steps[i];
    if (step.kind == AttentionStep::kScale && step.alpha != 1)
      w.kernels.unary({kern::Unary::kScale, w.dtype, grad, grad, n, step.alpha, 0});
    if (step.kind != AttentionStep::kChooseScore && step.kind != AttentionStep::kChooseOther) continue;
    const auto* const condition = reinterpret_cast<const uint8_t*>(
        step.condition.at(in.all[step.condition.input], 1, batch, block.query));
    kern::SelectArgs args{
        w.width, condition, step.condition.row, step.condition.col, grad, block.keys, 1, zero, 0,
        0,       grad,      block.rows,         block.keys};
    if (step.kind == AttentionStep::kChooseOther) {
      std::swap(args.a, args.b);
      std::swap(args.a_row, args.b_row);
      std::swap(args.a_col, args.b_col);
    }
    w.kernels.index->select(args);
  }
}

// The inputs of both gradients: dY, V, Q, K, statistics, shares or none, operands.
struct Back {
  const RunContext& r;
  Inputs in;
  explicit Back(const RunContext& context)
      : r(context), in{context.in[1], context.in[2], context.in[3], context.in} {}
  const std::byte* dy(const Work& w, int64_t batch, const Block& block) const {
    return at(r.in[0], (batch * w.z.l + block.query) * w.z.dv * w.width);
  }
  void* max(const Work& w, int64_t batch, const Block& block) const {
    return const_cast<std::byte*>(at(r.in[4], (batch * w.z.l + block.query) * w.wide_width));
  }
  void* sum(const Work& w, int64_t batch, const Block& block) const {
    return const_cast<std::byte*>(at(r.in[4], ((w.z.batches + batch) * w.z.l + block.query) * w.wide_width));
  }
};

// The shares of a block before dropout: those that are kept, or computed once more in the tile.
const void* shares_of(const Work& w, const Back& back, int64_t batch, const Block& block,
                      std::byte* scratch) {
  if (w.keeps_shares) return at(back.r.in[5], (batch * w.z.l + block.query) * w.z.s * w.width);
  std::byte* const tile = scratch + w.tile;
  scores_of(w, back.in, back.r.step, batch, block, scratch, nullptr);
  void* const sum = back.sum(w, batch, block);
  w.kernels.softmax(
      {w.dtype, tile, tile, block.rows, block.keys, false, back.max(w, batch, block), sum, true});
  clear_empty_rows(w, block, sum, tile);
  return tile;
}

// The gradient of what the softmax read, in the gradient's tile. The other tile has been read then.
void score_gradients(const Work& w, const Back& back, int64_t batch, const Block& block, const void* shares,
                     std::byte* scratch) {
  std::byte* const grad = scratch + w.tile_grad;
  const std::byte* const v = at(back.in.v, w.v[static_cast<size_t>(batch)] * w.z.s * w.z.dv * w.width);
  multiply(w, (*block.plans)[kShareGrads], back.dy(w, batch, block), v, grad, scratch);
  if (w.drops) drop(w, back.r.step, batch, block, grad, grad);
  w.kernels.softmax_grad({w.dtype, shares, grad, grad, block.rows, block.keys, false});
  const void* const max = back.max(w, batch, block);
  const void* const sum = back.sum(w, batch, block);
  // Overflows are no rows without a key: they stay visible.
  for (int64_t row = 0; w.guard && row < block.rows; ++row)
    if (std::isnan(number_at(sum, w.wide, row)) &&
        number_at(max, w.wide, row) != -std::numeric_limits<double>::infinity())
      fill(w, w.dtype, grad + row * block.keys * w.width, block.keys,
           std::numeric_limits<double>::quiet_NaN());
}

void attend_back(const Work& w, const RunContext& r, int64_t batch, int worker) {
  const Sizes& z = w.z;
  const auto b = static_cast<size_t>(batch);
  std::byte* const scratch = r.scratch + worker * w.bytes;
  std::byte* const tile = scratch + w.tile;
  std::byte* const grad = scratch + w.tile_grad;
  const Back back(r);
  const std::byte* const k = at(back.in.k, w.k[b] * z.s * z.d * w.width);
  const bool scores = r.out[1] != nullptr || r.out[2] != nullptr;
  fill(w, w.wide, scratch + w.v_sums, z.s * z.dv, 0);
  fill(w, w.wide, scratch + w.k_sums, z.s * z.d, 0);
  for (const Block& block : w.blocks) {
    const std::byte* const q = at(back.in.q, (w.q[b] * z.l + block.query) * z.d * w.width);
    const void* const shares = shares_of(w, back, batch, block, scratch);
    const void* met = shares;
    if (w.drops) {
      drop(w, r.step, batch, block, shares, scratch + w.dropped);
      met = scratch + w.dropped;
    }
    multiply(w, (*block.plans)[kValueGrads], met, back.dy(w, batch, block), scratch + w.v_sums, scratch);
    if (!scores) continue;
    score_gradients(w, back, batch, block, shares, scratch);
    // The tile has been read for the last time.
    if (!w.steps.empty()) {
      fill(w, w.dtype, tile, 1, 0);
      back_through_steps(w, back.in, batch, block, grad, tile);
    }
    if (r.out[1] != nullptr)
      multiply(w, (*block.plans)[kQueryGrads], grad, k,
               at(r.out[1], (batch * z.l + block.query) * z.d * w.width), scratch);
    if (r.out[2] != nullptr)
      z.keys_down ? multiply(w, (*block.plans)[kKeyGrads], q, grad, scratch + w.k_sums, scratch)
                  : multiply(w, (*block.plans)[kKeyGrads], grad, q, scratch + w.k_sums, scratch);
  }
  w.kernels.convert(
      {w.wide, scratch + w.v_sums, w.dtype, at(r.out[0], batch * z.s * z.dv * w.width), z.s * z.dv, 1.0});
  if (r.out[2] != nullptr)
    w.kernels.convert(
        {w.wide, scratch + w.k_sums, w.dtype, at(r.out[2], batch * z.s * z.d * w.width), z.s * z.d, w.alpha});
}

// ---------------------------------------------------------------- the gradient of a bias
// How ReduceSum adds up `length` tensors: at each level so many terms one after another, whose sums are the
// next level's terms.
struct BiasWork {
  std::shared_ptr<const Work> attention;
  int64_t groups = 1, terms = 1;  // batch = term * groups + group
  size_t step = 0;                // the step that adds it
  std::vector<int64_t> levels;
  int64_t sums = 0, wide = 0, bytes = 0;  // of a thread's scratch
};

void attend_to_bias(const BiasWork& of, const RunContext& r, int64_t chunk, int worker) {
  const Work& w = *of.attention;
  const Sizes& z = w.z;
  const int64_t group = chunk / z.blocks();
  const Block& block = w.blocks[static_cast<size_t>(chunk % z.blocks())];
  std::byte* const scratch = r.scratch + worker * of.bytes;
  std::byte* const grad = scratch + w.tile_grad;
  const int64_t n = block.rows * block.keys;
  const int64_t tile = aligned_bytes(w.most_rows * w.most_keys * w.wide_width);
  const auto sums = [&](size_t level) { return scratch + of.sums + static_cast<int64_t>(level) * tile; };
  const auto add = [&](const void* x, void* to) {
    w.kernels.binary({kern::Binary::kAdd, w.wide, to, n, 1, x, n, 1, to, 1, n});
  };
  const Back back(r);
  constexpr size_t kMostLevels = 16;
  int64_t counts[kMostLevels] = {};
  for (size_t level = 0; level < of.levels.size(); ++level) fill(w, w.wide, sums(level), n, 0);
  const std::byte* total = of.terms == 1 ? nullptr : sums(of.levels.size() - 1);
  for (int64_t term = 0; term < of.terms; ++term) {
    const int64_t batch = term * of.groups + group;
    score_gradients(w, back, batch, block, shares_of(w, back, batch, block, scratch), scratch);
    fill(w, w.dtype, scratch + w.tile, 1, 0);
    back_through_steps(w, back.in, batch, block, grad, scratch + w.tile, of.step + 1);
    const void* x = grad;
    if (w.wide != w.dtype) {
      w.kernels.convert({w.dtype, grad, w.wide, scratch + of.wide, n, 1.0});
      x = scratch + of.wide;
    }
    if (of.terms == 1) {  // nothing is added up
      total = static_cast<const std::byte*>(x);
      break;
    }
    add(x, sums(0));
    ++counts[0];
    const bool last = term + 1 == of.terms;
    for (size_t level = 0; level + 1 < of.levels.size(); ++level) {
      if (counts[level] == 0 || (counts[level] < of.levels[level] && !last)) break;
      add(sums(level), sums(level + 1));
      ++counts[level + 1];
      fill(w, w.wide, sums(level), n, 0);
      counts[level] = 0;
    }
  }
  std::byte* const y = at(r.out[0], (group * z.l + block.query) * z.s * w.width);
  if (block.keys < z.s) fill(w, w.dtype, y, block.rows * z.s, 0);
  const int64_t rows = block.keys < z.s ? block.rows : 1;
  for (int64_t row = 0; row < rows; ++row)
    w.kernels.convert(
        {w.wide, total + row * block.keys * w.wide_width, w.dtype, y + row * z.s * w.width, n / rows, 1.0});
}

// What a node's work is reckoned by: the scores of all batches.
kern::Product reckoned(const PrepareContext& c, const Work& w) {
  kern::MatMulGeometry g{};
  g.m = w.z.l;
  g.k = w.z.d;
  g.n = w.z.s;
  g.trans_b = !w.z.keys_down;
  g.alpha = 1;
  g.batch_rank = 1;
  g.batch[0] = w.z.batches;
  g.a_stride[0] = g.b_stride[0] = 1;
  return kern::matmul_product(w.dtype, c.multiply, false, g);
}

Prepared prepare(const PrepareContext& c) {
  const std::shared_ptr<const Work> work = work_of(c, 0, kFirstOperand, false);
  Prepared p;
  p.scratch_bytes = c.threads * work->bytes;
  p.product = reckoned(c, *work);
  p.run = [work](const RunContext& r) {
    run_chunks(r.pool, work->z.batches * work->z.blocks(),
               [&](int64_t chunk, int worker) { attend(*work, r, chunk, worker); });
  };
  return p;
}

Prepared prepare_grad(const PrepareContext& c) {
  const std::shared_ptr<const Work> work = work_of(c, 1, 6, true);
  Prepared p;
  p.scratch_bytes = c.threads * work->bytes;
  p.product = reckoned(c, *work);
  p.run = [work](const RunContext& r) {
    run_chunks(r.pool, work->z.batches,
               [&](int64_t batch, int worker) { attend_back(*work, r, batch, worker); });
  };
  return p;
}

// Which step adds the forward's input.
size_t step_of_input(const std::vector<Step>& steps, size_t input) {
  for (size_t i = 0; i < steps.size(); ++i)
    if (steps[i].kind == AttentionStep::kAdd && steps[i].other.input == input) return i;
  HT_ASSERT(false, "input {} is added by no step", input);
}

std::vector<Type> infer_bias_grad(const InferContext& c) {
  check_types(c, 0, 4);
  const auto input = static_cast<size_t>(c.attributes().int_at("operand"));
  return {{c.input(0).dtype, c.input(input).shape}};
}

Prepared prepare_bias_grad(const PrepareContext& c) {
  auto of = std::make_shared<BiasWork>();
  of->attention = work_of(c, 1, kFirstOperand + kBefore, true);
  const Work& w = *of->attention;
  const auto input = static_cast<size_t>(c.attributes().int_at("operand"));
  of->step = step_of_input(w.steps, input);
  of->groups = elements(c.output(0).shape) / (w.z.l * w.z.s);
  of->terms = w.z.batches / of->groups;
  if (of->terms > 1) of->levels = reduction_levels(of->terms, of->groups * w.z.l * w.z.s);
  HT_ASSERT(of->levels.size() <= 16, "{} levels", of->levels.size());
  const int64_t tile = aligned_bytes(w.most_rows * w.most_keys * w.wide_width);
  of->sums = aligned_bytes(w.bytes);
  of->wide = of->sums + static_cast<int64_t>(of->levels.size()) * tile;
  of->bytes = of->wide + (w.wide == w.dtype ? 0 : tile);
  Prepared p;
  p.scratch_bytes = c.threads * of->bytes;
  p.product = reckoned(c, w);
  p.run = [of = std::shared_ptr<const BiasWork>(of)](const RunContext& r) {
    run_chunks(r.pool, of->groups * of->attention->z.blocks(),
               [&](int64_t chunk, int worker) { attend_to_bias(*of, r, chunk, worker); });
  };
  return p;
}

// ---------------------------------------------------------------- gradient
std::vector<ValueId> gradient(GradientContext& c) {
  Builder& b = c.builder;
  const ValueId shares = c.node.outputs.size() > 3 ? c.y(3) : kNone;
  std::vector<ValueId> inputs{c.dy[0], c.x(0), c.x(1), c.x(2), c.y(1), shares};
  inputs.insert(inputs.end(), c.node.inputs.begin() + kFirstOperand, c.node.inputs.end());
  const std::vector<ValueId> all = b.add("BlockAttentionGrad", inputs, c.node.attributes);
  std::vector<ValueId> d(c.node.inputs.size(), kNone);
  for (size_t i = 0; i < kFirstOperand; ++i)
    if (c.needs[i]) d[i] = b.sum_to(all[i], b.shape(c.x(i)));
  for (size_t i = kFirstOperand; i < c.needs.size(); ++i) {
    if (!c.needs[i]) continue;
    Shape scores = b.shape(c.y(0));
    scores.back() = b.shape(c.x(0))[b.shape(c.x(0)).size() - 2];
    HT_ASSERT(is_bias_with_gradient(b.shape(c.x(i)), scores),
              "a mask that has a gradient, in attention in blocks");
    Attributes attributes = c.node.attributes;
    attributes.set("operand", static_cast<int64_t>(i + kBefore));
    d[i] = b.add1("BlockAttentionBiasGrad", inputs, std::move(attributes));
  }
  return d;
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("BlockAttention", infer, prepare, GradientRule{gradient}),
       OpDef("BlockAttentionGrad", infer_grad, prepare_grad,
             NoGradient{"second derivatives are not computed"}),
       OpDef("BlockAttentionBiasGrad", infer_bias_grad, prepare_bias_grad,
             NoGradient{"second derivatives are not computed"})},
      {},
  };
  return family;
}

}  // namespace block_attention
}  // namespace halftone::ops
