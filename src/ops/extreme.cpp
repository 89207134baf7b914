// Where the largest elements are: ArgMax, ArgMin, TopK.
//
// formula  ArgExtreme: the index of the largest (smallest) element along the axis, the first of equals or the
//          last; LargestFew: the indices of the k largest (smallest), in that order, equals by index. TopK's
//          values are gathered by those
// gradient of TopK's values: dy at the elements that were taken. Indices have none
// shapes   x[..., N, ...] -> y[..., 1, ...] or y[..., k, ...]
// dtypes   x any; indices int64
// rounds   never
// saves    TopK: the indices
// scratch  LargestFew: k numbers a thread
// alias    none
// errors   axis outside [-rank, rank); an axis without elements; k that is not known when loading or above
//          the axis' size
// source   ONNX ArgMax/ArgMin-1/11/12/13, TopK-1/10/11. A NaN is larger than all (ArgMin: smaller, so that it
//          is found, as in PyTorch). TopK's order is always by size, which `sorted` 0 leaves open
// tests    tests/ops/index_operators_test.cpp
#include "base/error.h"
#include "kern/index.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/lines.h"
#include "ops/op.h"
#include "ops/rows.h"

namespace halftone::ops::extreme {
namespace {

constexpr NoGradient kIndices{"indices have no gradient"};

size_t axis_of(const Attributes& attributes) {
  return static_cast<size_t>(attributes.int_at("axis"));
}

// IR attributes: axis, k (1 for ArgExtreme), largest, last.
std::vector<Type> infer(const InferContext& c) {
  Shape y = c.input(0).shape;
  const int64_t k = c.attributes().int_at("k");
  const size_t axis = axis_of(c.attributes());
  HT_ASSERT(axis < y.size());
  if (c.node.op == "ArgExtreme" && y[axis] == 0)
    throw input_error("axis {} of {} has no elements", axis, to_string(y));
  if (k < 0 || k > y[axis]) throw input_error("the {} largest of axis {} of {}", k, axis, to_string(y));
  y[axis] = k;
  return {{DType::kI64, y}};
}

Prepared prepare_arg(const PrepareContext& c) {
  const Type x = c.input(0);
  const Lines l = lines_of(x.shape, axis_of(c.attributes()));
  const bool largest = c.attributes().int_at("largest") != 0;
  const bool last = c.attributes().int_at("last") != 0;
  const int64_t width = size_bytes(x.dtype);
  return {
      0, [=, arg = c.kernels.index->arg_extreme](const RunContext& r) {
        for_chunks(r.pool, row_chunks(l.outer, l.length * l.inner), [&](int64_t first, int64_t count) {
          for (int64_t o = first; o < first + count; ++o)
            arg({x.dtype, at(r.in[0], o * l.length * l.inner * width),
                 static_cast<int64_t*>(r.out[0]) + o * l.inner, l.length, l.inner, l.inner, largest, last});
        });
      }};
}

Prepared prepare_few(const PrepareContext& c) {
  const Type x = c.input(0);
  const Lines l = lines_of(x.shape, axis_of(c.attributes()));
  const int64_t k = c.attributes().int_at("k");
  const bool largest = c.attributes().int_at("largest") != 0;
  const int64_t width = size_bytes(x.dtype);
  if (elements(c.output(0).shape) == 0) return {0, [](const RunContext&) {}};
  const int64_t heap_bytes = aligned_bytes(k * 8);
  return {heap_bytes * c.threads, [=, top_k = c.kernels.index->top_k](const RunContext& r) {
            const Chunks chunks = row_chunks(l.outer, l.length * l.inner);
            run_chunks(r.pool, chunks.count(), [&](int64_t chunk, int worker) {
              auto* const heap = reinterpret_cast<int64_t*>(r.scratch + worker * heap_bytes);
              for (int64_t o = chunks.begin(chunk); o < chunks.begin(chunk) + chunks.length(chunk); ++o)
                top_k({x.dtype, at(r.in[0], o * l.length * l.inner * width),
                       static_cast<int64_t*>(r.out[0]) + o * k * l.inner, l.length, l.inner, l.inner, k,
                       largest, heap});
            });
          }};
}

// ---------------------------------------------------------------- from ONNX
std::vector<ValueId> import_arg(ImportContext& c) {
  if (c.opset < 12) {
    check_attributes(c.attributes, {"axis", "keepdims"});
  } else {
    check_attributes(c.attributes, {"axis", "keepdims", "select_last_index"});
  }
  const Shape x = c.shape(0);
  const int64_t axis = normalize_axis(c.attributes.int_or("axis", 0), static_cast<int64_t>(x.size()));
  Builder& b = c.builder;
  const ValueId y = b.add1("ArgExtreme", {c.inputs[0]},
                           {{"axis", axis},
                            {"k", int64_t{1}},
                            {"largest", int64_t{c.op_type == "ArgMax"}},
                            {"last", int64_t{c.attributes.int_or("select_last_index", 0) != 0}}});
  if (c.attributes.int_or("keepdims", 1) != 0) return {y};
  Shape shape = x;
  shape.erase(shape.begin() + axis);
  return {b.reshape(y, shape)};
}

std::vector<ValueId> import_top_k(ImportContext& c) {
  int64_t k = 0;
  if (c.opset < 10) {
    check_attributes(c.attributes, {"axis", "k"});
    k = c.attributes.int_at("k");
  } else {
    if (c.opset < 11) {
      check_attributes(c.attributes, {"axis"});
    } else {
      check_attributes(c.attributes, {"axis", "largest", "sorted"});
    }
    if (!c.has(1)) throw input_error("input 1 is missing");
    const std::vector<int64_t> given = c.int_constant(1);
    if (given.size() != 1) throw input_error("k must be one number, got {}", given.size());
    k = given[0];
  }
  const Shape x = c.shape(0);
  const int64_t axis = normalize_axis(c.attributes.int_or("axis", -1), static_cast<int64_t>(x.size()));
  Builder& b = c.builder;
  const ValueId indices = b.add1("LargestFew", {c.inputs[0]},
                                 {{"axis", axis},
                                  {"k", k},
                                  {"largest", int64_t{c.attributes.int_or("largest", 1) != 0}},
                                  {"last", int64_t{0}}});
  const RowPlan plan = plan_elements(x, b.shape(indices), axis);
  return {add_gather_rows(b, plan, c.inputs[0], add_row_indices(b, plan, indices, "")), indices};
}

template <class T>
std::vector<int64_t> extremes(const std::vector<T>& values, const Lines& l, bool largest, bool last) {
  const auto is_nan = [](T v) { return v != v; };
  std::vector<int64_t> y;
  for (int64_t o = 0; o < l.outer; ++o)
    for (int64_t i = 0; i < l.inner; ++i) {
      int64_t best = 0;
      const auto value = [&](int64_t j) {
        return values[static_cast<size_t>((o * l.length + j) * l.inner + i)];
      };
      for (int64_t j = 1; j < l.length; ++j) {
        const T a = value(j);
        const T b = value(best);
        const bool same = a == b || (is_nan(a) && is_nan(b));
        if ((is_nan(a) && !is_nan(b)) || (largest ? a > b : a < b) || (same && last)) best = j;
      }
      y.push_back(best);
    }
  return y;
}

std::vector<Tensor> fold_arg(const FoldContext& c) {
  check_attributes(c.attributes, {"axis", "keepdims", "select_last_index"});
  const Tensor& x = *c.inputs[0];
  const auto axis = static_cast<size_t>(
      normalize_axis(c.attributes.int_or("axis", 0), static_cast<int64_t>(x.shape().size())));
  const bool largest = c.op_type == "ArgMax";
  const bool last = c.attributes.int_or("select_last_index", 0) != 0;
  const Lines l = lines_of(x.shape(), axis);
  if (l.length == 0) throw input_error("axis {} of {} has no elements", axis, to_string(x.shape()));
  Shape shape = x.shape();
  shape[axis] = 1;
  if (c.attributes.int_or("keepdims", 1) == 0) shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  return one(from_int64s(is_float(x.dtype()) ? extremes(to_doubles(x), l, largest, last)
                                             : extremes(to_int64s(x), l, largest, last),
                         DType::kI64, shape));
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("ArgExtreme", infer, prepare_arg, kIndices), OpDef("LargestFew", infer, prepare_few, kIndices)},
      {{.op_type = "ArgMax", .since = 1, .until = 24, .import = import_arg, .fold = fold_arg},
       {.op_type = "ArgMin", .since = 1, .until = 24, .import = import_arg, .fold = fold_arg},
       {.op_type = "TopK", .since = 1, .until = 24, .import = import_top_k}},
  };
  return family;
}

}  // namespace halftone::ops::extreme
