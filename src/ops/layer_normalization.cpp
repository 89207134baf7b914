// Rows that are normalised by their own mean and size, or by their size alone.
//
// formula  y = (x - mean) / (max(spread, floor) + outside) * scale + bias over all axes from `axis` on,
//          joined to rows of N elements; spread = sqrt(factor * sum (x - mean)^2 + epsilon); factor: 1 / N
//          where there is no such attribute. RMSNormalization the same with mean = 0; L1Normalization with
//          mean = 0 and spread = sum |x|. scale and bias are optional; zero = 1: a divisor of 0 gives zeros
// gradient NormalizeGrad, by kern::NormalizeGradArgs; a spread of 0, or at most floor, counts as constant
// shapes   x[..., axes], scale[axes], bias[axes] -> y[..., axes], mean[rows], spread[rows]
// dtypes   x y scale bias: fp16 bf16 fp32, fp64 in the oracle; mean and spread in the register type
// rounds   once, when y (dx, dscale, dbias) is stored. Sums of numbers and of squares in registers: a square
//          stored in fp16 overflows from 256 on. A sum of squares that overflows the register type gives NaN,
//          not 0
// saves    x, mean and spread: 8 bytes a row (4 without a mean) against two more passes over x
// scratch  forward none; gradient 2 N values of the register type a chunk (at most 64 chunks), or twice N
//          altogether where a row is longer than a chunk
// alias    y may share memory with x; dx with x or dy
// errors   axis outside [-rank, rank); rows without elements; scale or bias that doesn't broadcast to x;
//          stash_type other than float; p other than 1 and 2
// source   ONNX LayerNormalization-17 (files that ONNX Runtime's optimiser wrote have it in every opset, and
//          SimplifiedLayerNormalization besides, with RMSNormalization's meaning), RMSNormalization-23,
//          LpNormalization-1/22, MeanVarianceNormalization-9/13 (divides by spread + 1e-9), com.microsoft
//          SkipLayerNormalization-1 and SkipSimplifiedLayerNormalization-1, and what pass/recognise_norms.h
//          finds
// tests    tests/ops/layer_normalization_test.cpp
#include <numeric>

#include "base/error.h"
#include "kern/normalization.h"
#include "kern/reduce.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "tensor/permutation.h"

namespace halftone::ops::layer_normalization {
namespace {

using kern::Normalization;

struct Row {
  std::string_view name;
  Normalization kind;
};
constexpr Row kRows[] = {{"LayerNormalization", Normalization::kLayer},
                         {"RMSNormalization", Normalization::kRms},
                         {"L1Normalization", Normalization::kL1}};

Normalization kind_of(std::string_view name) {
  for (const Row& row : kRows)
    if (row.name == name) return row.kind;
  HT_ASSERT(false, "{} is no normalisation of rows", name);
  return Normalization::kLayer;
}

// x as [rows][cols].
struct Plane {
  DType dtype;
  int64_t rows, cols, width;
  Plane(const Type& x, const Attributes& a) : dtype(x.dtype), rows(1), cols(1), width(size_bytes(x.dtype)) {
    const auto axis = static_cast<size_t>(a.int_at("axis"));
    for (size_t i = 0; i < x.shape.size(); ++i) (i < axis ? rows : cols) *= x.shape[i];
  }
};

kern::Spread spread_of(const Attributes& a, int64_t cols) {
  kern::Spread s;
  s.factor = a.float_or("factor", 1.0 / static_cast<double>(cols));
  s.epsilon = a.float_or("epsilon", 0);
  s.floor = a.float_or("floor", 0);
  s.outside = a.float_or("outside", 0);
  s.zero_stays = a.int_or("zero", 0) != 0;
  return s;
}

Shape row_shape(const InferContext& c, size_t x) {
  const Shape& shape = c.input(x).shape;
  const int64_t axis = c.attributes().int_at("axis");
  HT_ASSERT(axis >= 0 && axis < static_cast<int64_t>(shape.size()), "axis {} of {}", axis, to_string(shape));
  return {shape.begin() + axis, shape.end()};
}

std::vector<Type> infer(const InferContext& c) {
  const Type& x = c.input(0);
  if (!is_float(x.dtype)) throw input_error("a float tensor was expected, got {}", name_of(x.dtype));
  const Shape row = row_shape(c, 0);
  if (elements(row) == 0) throw input_error("a normalisation over no elements ({})", to_string(x.shape));
  for (size_t i = 1; i < 3; ++i)
    if (c.has(i) && c.input(i) != Type{x.dtype, row})
      throw input_error("the {} has shape {}, expected {}", i == 1 ? "scale" : "bias",
                        to_string(c.input(i).shape), to_string(row));
  const Type statistic{register_type(x.dtype), {elements(x.shape) / elements(row)}};
  return {x, statistic, statistic};
}

Prepared prepare(const PrepareContext& c) {
  const Plane p(c.input(0), c.attributes());
  const kern::Spread spread = spread_of(c.attributes(), p.cols);
  const int64_t wide = size_bytes(register_type(p.dtype));
  return {0, [=, normalize = c.kernels.normalization->normalize, kind = kind_of(c.node.op), scaled = c.has(1),
              biased = c.has(2)](const RunContext& r) {
            for_chunks(r.pool, row_chunks(p.rows, p.cols), [&](int64_t first, int64_t count) {
              const int64_t offset = first * p.cols * p.width;
              const auto statistic = [&](void* out) {
                return out == nullptr ? nullptr : at(out, first * wide);
              };
              normalize({kind, p.dtype, at(r.in[0], offset), scaled ? r.in[1] : nullptr,
                         biased ? r.in[2] : nullptr, at(r.out[0], offset), count, p.cols, spread,
                         statistic(r.out[1]), statistic(r.out[2])});
            });
          }};
}

std::vector<ValueId> gradient(GradientContext& c) {
  if (c.dy[0] == kNone) return {};
  Attributes attributes = c.node.attributes;
  attributes.set("kind", c.node.op);
  const auto needs = [&](size_t i) { return i < c.needs.size() && c.needs[i]; };
  const bool sums = needs(1) || needs(2);
  attributes.set("sums", int64_t{sums});
  const ValueId scale = c.has(1) ? c.x(1) : kNone;
  const ValueId mean = kind_of(c.node.op) == Normalization::kLayer ? c.y(1) : kNone;
  std::vector<ValueId> d = c.builder.add("NormalizeGrad", {c.dy[0], c.x(0), scale, mean, c.y(2)}, attributes);
  d.resize(std::min(d.size(), c.node.inputs.size()));
  return d;
}

// NormalizeGrad(dy, x, scale, mean, spread) -> dx and, with sums = 1, dscale, dbias
std::vector<Type> infer_grad(const InferContext& c) {
  std::vector<Type> types{c.input(1)};
  if (c.attributes().int_at("sums") != 0) types.resize(3, {c.input(1).dtype, row_shape(c, 1)});
  return types;
}

// Enough chunks for the threads of a large machine, and few enough that their sums are small beside x.
constexpr int64_t kMostChunks = 64;
constexpr int64_t kColumnBlock = 1024;

Prepared prepare_grad(const PrepareContext& c) {
  const Plane p(c.input(1), c.attributes());
  const kern::Spread spread = spread_of(c.attributes(), p.cols);
  const Normalization kind = kind_of(c.attributes().string_or("kind", ""));
  const DType registers = register_type(p.dtype);
  const int64_t wide = size_bytes(registers);
  const bool sums = c.attributes().int_at("sums") != 0;
  const bool scaled = c.has(2);
  const bool centred = c.has(3);
  const bool joined = sums && p.cols <= kChunkElements;  // the sums of columns are taken along with dx
  Chunks chunks = row_chunks(p.rows, p.cols);
  if (joined) chunks.size = std::max(chunks.size, ceil_div(p.rows, kMostChunks));
  // [chunk][2][cols], then [2][cols]
  const int64_t partials = joined ? chunks.count() * 2 * p.cols * wide : 0;
  const int64_t scratch = sums ? aligned_bytes(partials) + 2 * p.cols * wide : 0;
  const kern::Kernels& k = c.kernels;
  return {
      scratch, [=, &k](const RunContext& r) {
        const auto mean = [&](int64_t row) { return centred ? at(r.in[3], row * wide) : nullptr; };
        std::byte* totals = r.scratch + aligned_bytes(partials);
        const auto columns = [&](int64_t first, int64_t count) {
          std::byte* const total[2] = {totals + first * wide, totals + (p.cols + first) * wide};
          if (joined) {
            for (int64_t which = 0; which < 2; ++which)
              k.sum_columns({registers, r.scratch + (which * p.cols + first) * wide, chunks.count(), count,
                             2 * p.cols, total[which]});
          } else {
            k.normalization->normalize_grad_columns({p.dtype, at(r.in[0], first * p.width),
                                                     at(r.in[1], first * p.width), mean(0), r.in[4], p.rows,
                                                     count, p.cols, spread, total[0], total[1]});
          }
          // Sums of dy are the bias's gradient, those with x the scale's.
          for (int64_t which = 0; which < 2; ++which)
            if (void* out = r.out[2 - which]; out != nullptr)
              k.convert({registers, total[which], p.dtype, at(out, first * p.width), count, 1.0});
        };
        const Chunks blocks{p.cols, kColumnBlock};
        if (sums && !joined)
          for_chunks(r.pool, blocks, columns);  // before dx, which may lie where x or dy does
        if (r.out[0] != nullptr || joined)
          for_chunks(r.pool, chunks, [&](int64_t first, int64_t count) {
            const int64_t offset = first * p.cols * p.width;
            std::byte* sum = r.scratch + first / chunks.size * 2 * p.cols * wide;
            k.normalization->normalize_grad(
                {kind, p.dtype, at(r.in[0], offset), at(r.in[1], offset), scaled ? r.in[2] : nullptr,
                 mean(first), at(r.in[4], first * wide), r.out[0] == nullptr ? nullptr : at(r.out[0], offset),
                 count, p.cols, spread, joined ? sum : nullptr, joined ? sum + p.cols * wide : nullptr});
          });
        if (joined) for_chunks(r.pool, blocks, columns);
      }};
}

Permuted permute(const ir::Graph&, const ir::Node& node, const std::vector<int64_t>& perm) {
  for (auto i = static_cast<size_t>(node.attributes.int_at("axis")); i < perm.size(); ++i)
    if (perm[i] != static_cast<int64_t>(i)) return {};
  return {true, node.attributes, perm};
}

// ---------------------------------------------------------------- from ONNX

// Whether `shape` broadcasts to x with one element for each of a row: its axes before `axis` are 1.
bool is_row(const Shape& shape, const Shape& x, int64_t axis) {
  if (shape.size() > x.size()) return false;
  Shape aligned(x.size() - shape.size(), 1);
  aligned.insert(aligned.end(), shape.begin(), shape.end());
  for (size_t i = 0; i < x.size(); ++i)
    if (aligned[i] != (static_cast<int64_t>(i) < axis ? 1 : x[i])) return false;
  return true;
}

// Whether `shape` broadcasts to x, all of whose axes stay.
bool broadcasts_to(const Shape& shape, const Shape& x) {
  if (shape.size() > x.size()) return false;
  for (size_t i = 0; i < shape.size(); ++i)
    if (shape[i] != 1 && shape[i] != x[x.size() - shape.size() + i]) return false;
  return true;
}

// The normalisation of x by `op`, then scale and bias (kNone: none), which may be smaller than a row.
ValueId normalized(ImportContext& c, std::string_view op, ValueId scale, ValueId bias, int64_t axis,
                   Attributes attributes) {
  Builder& b = c.builder;
  const ValueId x = c.inputs[0];
  const Shape shape = b.shape(x);
  const Shape row(shape.begin() + axis, shape.end());
  const auto fits = [&](ValueId id) { return id == kNone || is_row(b.shape(id), shape, axis); };
  const auto check = [&](ValueId id, const char* what) {
    if (id != kNone && !broadcasts_to(b.shape(id), shape))
      throw input_error("the {} has shape {}, which does not broadcast to the input's {}", what,
                        to_string(b.shape(id)), to_string(shape));
  };
  check(scale, "scale");
  check(bias, "bias");
  attributes.set("axis", axis);
  const bool scale_inside = fits(scale);
  const bool bias_inside = bias == kNone || (scale_inside && fits(bias));
  std::vector<ValueId> inputs{x};
  if (scale_inside && scale != kNone) inputs.push_back(b.reshape(scale, row));
  if (bias_inside && bias != kNone) {
    inputs.resize(2, kNone);
    inputs.push_back(b.reshape(bias, row));
  }
  ValueId y = b.add1(op, inputs, std::move(attributes));
  if (!scale_inside) y = b.add1("Mul", {y, scale});
  if (!bias_inside) y = b.add1("Add", {y, bias});
  return y;
}

void check_stash_type(const ImportContext& c) {
  const int64_t type = c.attributes.int_or("stash_type", 1);
  if (type != 1)
    throw input_error("stash_type is {}, and Halftone computes statistics in float (1) only", type);
}

ValueId input_or_none(const ImportContext& c, size_t i) {
  return c.has(i) ? c.inputs[i] : kNone;
}

std::vector<ValueId> import_layer(ImportContext& c) {
  check_attributes(c.attributes, {"axis", "epsilon", "stash_type"});
  check_stash_type(c);
  Builder& b = c.builder;
  const auto rank = static_cast<int64_t>(c.shape(0).size());
  const int64_t axis = normalize_axis(c.attributes.int_or("axis", -1), rank);
  const double epsilon = c.attributes.float_or("epsilon", 1e-5);
  std::vector<ValueId> out{normalized(c, "LayerNormalization", input_or_none(c, 1), input_or_none(c, 2), axis,
                                      {{"epsilon", epsilon}})};
  if (c.output_count == 1) return out;
  // Mean and InvStdDev, of which nothing stays where nobody reads them.
  std::vector<int64_t> axes(static_cast<size_t>(rank - axis));
  std::iota(axes.begin(), axes.end(), axis);
  const Attributes reduction{{"axes", axes}, {"keepdims", int64_t{1}}};
  const ValueId mean = b.add1("ReduceMean", {c.inputs[0]}, reduction);
  const ValueId d = b.add1("Sub", {c.inputs[0], mean});
  const ValueId square = b.add1("PowScalar", {d}, {{"alpha", 2.0}, {"beta", 0.0}});
  const ValueId variance = b.add1("ReduceMean", {square}, reduction);
  const ValueId root = b.add1("Sqrt", {b.add1("Scale", {variance}, {{"alpha", 1.0}, {"beta", epsilon}})});
  out.push_back(mean);
  out.push_back(b.add1("Reciprocal", {root}));
  return out;
}

std::vector<ValueId> import_rms(ImportContext& c) {
  check_attributes(c.attributes, {"axis", "epsilon", "stash_type"});
  check_stash_type(c);
  const int64_t axis =
      normalize_axis(c.attributes.int_or("axis", -1), static_cast<int64_t>(c.shape(0).size()));
  return {normalized(c, "RMSNormalization", input_or_none(c, 1), kNone, axis,
                     {{"epsilon", c.attributes.float_or("epsilon", 1e-5)}})};
}

// com.microsoft's SkipLayerNormalization(x, skip, scale, shift, bias), SkipSimplifiedLayerNormalization(x,
// skip, scale, bias): of x + skip + bias, which is the last output.
template <bool kSimplified>
std::vector<ValueId> import_skip(ImportContext& c) {
  check_attributes(c.attributes, {"epsilon"});
  Builder& b = c.builder;
  const Shape shape = c.shape(0);
  constexpr size_t kBias = kSimplified ? 3 : 4;
  for (const size_t i : {size_t{1}, kBias})
    if (c.has(i) && !broadcasts_to(c.shape(i), shape))
      throw input_error("input {} has shape {}, which does not broadcast to the input's {}", i,
                        to_string(c.shape(i)), to_string(shape));
  ValueId sum = b.add1("Add", {c.inputs[0], c.inputs[1]});
  if (c.has(kBias)) sum = b.add1("Add", {sum, c.inputs[kBias]});
  ImportContext of_sum = c;
  of_sum.inputs = {sum, c.inputs[2], kSimplified ? kNone : input_or_none(c, 3)};
  const auto axis = static_cast<int64_t>(shape.size()) - 1;
  if (axis < 0) throw input_error("an input with features was expected, got one number");
  const ValueId y =
      normalized(of_sum, kSimplified ? "RMSNormalization" : "LayerNormalization", of_sum.inputs[1],
                 of_sum.inputs[2], axis, {{"epsilon", c.attributes.float_or("epsilon", 1e-12)}});
  if (c.output_count < 4) return {y};
  return {y, kNone, kNone, sum};  // mean and deviation are there in ONNX Runtime's training only
}

// The normalisation by `op` over `axes`, which are moved to the end and back.
ValueId over_axes(ImportContext& c, std::string_view op, const std::vector<int64_t>& axes,
                  Attributes attributes) {
  const std::vector<int64_t> perm = axes_last(axes, c.shape(0).size());
  attributes.set("axis", static_cast<int64_t>(perm.size() - axes.size()));
  Builder& b = c.builder;
  return b.transpose(b.add1(op, {b.transpose(c.inputs[0], perm)}, std::move(attributes)), inverse(perm));
}

std::vector<ValueId> import_lp(ImportContext& c) {
  check_attributes(c.attributes, {"axis", "p"});
  const int64_t p = c.attributes.int_or("p", 2);
  if (p != 1 && p != 2) throw input_error("p is {}, expected 1 or 2", p);
  const int64_t axis =
      normalize_axis(c.attributes.int_or("axis", -1), static_cast<int64_t>(c.shape(0).size()));
  return {over_axes(c, p == 1 ? "L1Normalization" : "RMSNormalization", {axis},
                    {{"factor", 1.0}, {"zero", int64_t{1}}})};
}

std::vector<ValueId> import_mean_variance(ImportContext& c) {
  check_attributes(c.attributes, {"axes"});
  const std::vector<int64_t> given = c.attributes.ints_or("axes", {0, 2, 3});
  if (given.empty()) throw input_error("axes is empty: nothing would be normalised");
  return {over_axes(c, "LayerNormalization", reduction_axes(given, false, c.shape(0).size()),
                    {{"outside", 1e-9}})};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family = [] {
    OpFamily f;
    for (const Row& row : kRows)
      f.ops.emplace_back(row.name, infer, prepare, GradientRule{gradient}, Alias::kMayShare, Permute::kAxes,
                         permute);
    f.ops.emplace_back("NormalizeGrad", infer_grad, prepare_grad,
                       NoGradient{"second derivatives are not computed"}, Alias::kMayShare);
    f.onnx = {
        {.op_type = "LayerNormalization",
         .since = 1,
         .until = 24,
         .import = import_layer,
         .required_inputs = 2},
        {.op_type = "RMSNormalization", .since = 23, .until = 24, .import = import_rms, .required_inputs = 2},
        {.op_type = "SimplifiedLayerNormalization",
         .since = 1,
         .until = 24,
         .import = import_rms,
         .required_inputs = 2},
        {.op_type = "com.microsoft.SkipLayerNormalization",
         .since = 1,
         .until = 24,
         .import = import_skip<false>,
         .required_inputs = 3},
        {.op_type = "com.microsoft.SkipSimplifiedLayerNormalization",
         .since = 1,
         .until = 24,
         .import = import_skip<true>,
         .required_inputs = 3},
        {.op_type = "LpNormalization", .since = 1, .until = 24, .import = import_lp},
        {.op_type = "MeanVarianceNormalization", .since = 9, .until = 24, .import = import_mean_variance}};
    return f;
  }();
  return family;
}

}  // namespace halftone::ops::layer_normalization
