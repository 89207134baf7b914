// Resample: weighted sums along axes, by constant tables.
//
// formula  y[.., j, ..] = sum over the taps k of j of weights[k] * x[.., indices[k], ..], for each of the
//          axes one after the other; 0 without taps
// gradient Resample with the transposed tables
// shapes   x[.., n, ..] -> y[.., m, ..], m the number of a table's elements
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   once, when y is stored; between axes in registers' precision. The axes that shrink most come first
// saves    none
// scratch  what lies between two axes
// alias    none
// errors   none: only other operators' imports make it
// source   ours
// tests    tests/ops/resize_test.cpp
#include "ops/resample.h"

#include <algorithm>
#include <memory>
#include <numeric>

#include "base/error.h"
#include "kern/sampling.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/lines.h"
#include "ops/op.h"
#include "tensor/permutation.h"

namespace halftone::ops {

bool AxisTable::keeps(int64_t n) const {
  if (size() != n) return false;
  for (int64_t j = 0; j < n; ++j) {
    const auto k = static_cast<size_t>(offsets[static_cast<size_t>(j)]);
    if (offsets[static_cast<size_t>(j) + 1] != offsets[static_cast<size_t>(j)] + 1 || indices[k] != j ||
        weights[k] != 1)
      return false;
  }
  return true;
}

namespace resample {
namespace {

// Attributes: axes; sizes of the tables; offsets, indices and weights of all tables one after the other (each
// table's offsets count from its own first tap).
Attributes encode(const std::vector<AxisTable>& tables) {
  std::vector<int64_t> axes, sizes, offsets, indices;
  std::vector<double> weights;
  for (const AxisTable& t : tables) {
    axes.push_back(t.axis);
    sizes.push_back(t.size());
    offsets.insert(offsets.end(), t.offsets.begin(), t.offsets.end());
    indices.insert(indices.end(), t.indices.begin(), t.indices.end());
    weights.insert(weights.end(), t.weights.begin(), t.weights.end());
  }
  const auto shared = [](Tensor t) { return std::make_shared<const Tensor>(std::move(t)); };
  const auto taps = static_cast<int64_t>(indices.size());
  return {{"axes", axes},
          {"sizes", sizes},
          {"offsets", shared(int64_tensor(offsets, {static_cast<int64_t>(offsets.size())}))},
          {"indices", shared(int64_tensor(indices, {taps}))},
          {"weights", shared(from_doubles(weights, DType::kF64, {taps}))}};
}

std::vector<AxisTable> decode(const Attributes& a) {
  const std::vector<int64_t>& axes = a.ints_at("axes");
  const std::vector<int64_t>& sizes = a.ints_at("sizes");
  const auto offsets = a.tensor_at("offsets").as<int64_t>();
  const auto indices = a.tensor_at("indices").as<int64_t>();
  const auto weights = a.tensor_at("weights").as<double>();
  std::vector<AxisTable> tables(axes.size());
  size_t offset = 0;
  size_t tap = 0;
  for (size_t i = 0; i < axes.size(); ++i) {
    AxisTable& t = tables[i];
    t.axis = axes[i];
    const auto count = static_cast<size_t>(sizes[i]) + 1;
    t.offsets.assign(offsets.begin() + static_cast<std::ptrdiff_t>(offset),
                     offsets.begin() + static_cast<std::ptrdiff_t>(offset + count));
    const auto first = static_cast<std::ptrdiff_t>(tap);
    const std::ptrdiff_t last = first + t.offsets.back();
    t.indices.assign(indices.begin() + first, indices.begin() + last);
    t.weights.assign(weights.begin() + first, weights.begin() + last);
    offset += count;
    tap = static_cast<size_t>(last);
  }
  return tables;
}

// The table of the gradient, from y's axis back to x's n elements.
AxisTable transposed_table(const AxisTable& t, int64_t n) {
  AxisTable out;
  out.axis = t.axis;
  std::vector<int64_t> next(static_cast<size_t>(n) + 1, 0);
  for (const int64_t index : t.indices) ++next[static_cast<size_t>(index) + 1];
  std::partial_sum(next.begin(), next.end(), next.begin());
  out.offsets = next;
  out.indices.resize(t.indices.size());
  out.weights.resize(t.weights.size());
  for (int64_t j = 0; j < t.size(); ++j)
    for (auto k = static_cast<size_t>(t.offsets[static_cast<size_t>(j)]);
         k < static_cast<size_t>(t.offsets[static_cast<size_t>(j) + 1]); ++k) {
      const auto at = static_cast<size_t>(next[static_cast<size_t>(t.indices[k])]++);
      out.indices[at] = j;
      out.weights[at] = t.weights[k];
    }
  return out;
}

std::vector<Type> infer(const InferContext& c) {
  Type y = c.input(0);
  if (!is_float(y.dtype)) throw input_error("a float tensor was expected, got {}", name_of(y.dtype));
  const std::vector<int64_t>& axes = c.attributes().ints_at("axes");
  const std::vector<int64_t>& sizes = c.attributes().ints_at("sizes");
  for (size_t i = 0; i < axes.size(); ++i) y.shape[static_cast<size_t>(axes[i])] = sizes[i];
  return {y};
}

// One axis of the work: x[outer][n][inner] -> y[outer][m][inner].
struct Pass {
  DType from, to;
  int64_t outer, n, m, inner;
  int64_t step, blocks;  // rows of y in a chunk, chunks for each outer index
  std::vector<int64_t> offsets, indices;
  std::vector<float> narrow;
  std::vector<double> wide;  // of fp64
  int64_t out_offset;        // in scratch; -1: y itself
};

bool selects(const AxisTable& t) {
  for (size_t j = 0; j + 1 < t.offsets.size(); ++j)
    if (t.offsets[j + 1] - t.offsets[j] > 1) return false;
  return std::all_of(t.weights.begin(), t.weights.end(), [](double w) { return w == 1; });
}

Prepared prepare(const PrepareContext& c) {
  Shape shape = c.input(0).shape;
  const DType storage = c.input(0).dtype;
  std::vector<AxisTable> tables = decode(c.attributes());
  const auto growth = [&](const AxisTable& t) {
    return static_cast<double>(t.size()) /
           static_cast<double>(std::max<int64_t>(1, shape[static_cast<size_t>(t.axis)]));
  };
  std::stable_sort(tables.begin(), tables.end(),
                   [&](const AxisTable& a, const AxisTable& b) { return growth(a) < growth(b); });
  auto passes = std::make_shared<std::vector<Pass>>();
  int64_t scratch = 0;
  DType type = storage;  // of what is there so far: elements that are only selected need no wider one
  for (size_t i = 0; i < tables.size(); ++i) {
    const AxisTable& t = tables[i];
    const auto axis = static_cast<size_t>(t.axis);
    Pass p{};
    p.from = type;
    if (!selects(t)) type = register_type(storage);
    const bool last = i + 1 == tables.size();
    p.to = last ? storage : type;
    const Lines l = lines_of(shape, axis);
    p.outer = l.outer;
    p.n = l.length;
    p.m = t.size();
    p.inner = l.inner;
    shape[axis] = p.m;
    p.step =
        std::clamp<int64_t>(kChunkElements / std::max<int64_t>(1, p.inner), 1, std::max<int64_t>(1, p.m));
    p.blocks = ceil_div(p.m, p.step);
    p.offsets = t.offsets;
    p.indices = t.indices;
    if (storage == DType::kF64) {
      p.wide = t.weights;
    } else {
      for (const double w : t.weights) p.narrow.push_back(static_cast<float>(w));
    }
    p.out_offset = last ? -1 : scratch;
    if (!last) scratch += aligned_bytes(elements(shape) * size_bytes(p.to));
    passes->push_back(std::move(p));
  }
  return {scratch, [passes, kernel = c.kernels.sampling->weighted_rows](const RunContext& r) {
            const void* in = r.in[0];
            for (const Pass& p : *passes) {
              void* out = p.out_offset < 0 ? r.out[0] : static_cast<void*>(r.scratch + p.out_offset);
              const void* weights = p.wide.empty() ? static_cast<const void*>(p.narrow.data())
                                                   : static_cast<const void*>(p.wide.data());
              run_chunks(r.pool, p.outer * p.blocks, [&](int64_t chunk, int) {
                const int64_t image = chunk / p.blocks;
                const int64_t row = chunk % p.blocks * p.step;
                kernel({p.from, at(in, image * p.n * p.inner * size_bytes(p.from)), p.to,
                        at(out, (image * p.m + row) * p.inner * size_bytes(p.to)), p.offsets.data() + row,
                        p.indices.data(), weights, std::min(p.step, p.m - row), p.inner});
              });
              in = out;
            }
          }};
}

std::vector<ValueId> gradient(GradientContext& c) {
  std::vector<AxisTable> back;
  const Shape x = c.builder.shape(c.x(0));
  for (const AxisTable& t : decode(c.node.attributes))
    back.push_back(transposed_table(t, x[static_cast<size_t>(t.axis)]));
  return {c.builder.add1("Resample", {c.dy[0]}, encode(back))};
}

}  // namespace
}  // namespace resample

void check_table(int64_t axis, double taps) {
  constexpr double kMost = 0x1p26;
  if (!(taps <= kMost))
    throw input_error("axis {} takes a table of {} taps, and Halftone has tables of at most {}", axis, taps,
                      kMost);
}

ValueId add_resample(Builder& builder, ValueId x, std::vector<AxisTable> tables, Layout layout) {
  const Shape shape = builder.shape(x);
  std::vector<AxisTable> kept;
  for (AxisTable& t : tables)
    if (!t.keeps(shape[static_cast<size_t>(t.axis)])) kept.push_back(std::move(t));
  if (kept.empty()) return x;
  const bool spatial = layout == Layout::kChannelsFirst && shape.size() > 2 &&
                       std::all_of(kept.begin(), kept.end(), [](const AxisTable& t) { return t.axis >= 2; });
  if (!spatial) return builder.add1("Resample", {x}, resample::encode(kept));
  const std::vector<int64_t> to_last = channels_last(shape.size());
  for (AxisTable& t : kept) --t.axis;
  return builder.transpose(builder.add1("Resample", {builder.transpose(x, to_last)}, resample::encode(kept)),
                           inverse(to_last));
}

namespace resample {

const OpFamily& family() {
  static const OpFamily family{{OpDef("Resample", infer, prepare, GradientRule{gradient})}, {}};
  return family;
}

}  // namespace resample

}  // namespace halftone::ops
