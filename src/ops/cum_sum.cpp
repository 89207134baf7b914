// formula  y[i] = the sum of x[j] over j <= i along the axis (exclusive: j < i; reverse: from the other end)
// gradient the same sum of dy from the other end
// shapes   x[any] -> y[same]
// dtypes   any
// rounds   once, when y is stored; the running sum in the register type
// saves    none
// scratch  none
// alias    none
// errors   axis outside [-rank, rank) or not known when loading; while it runs: a sum of integers that does
//          not fit
// source   ONNX CumSum-11/14
// tests    tests/ops/index_operators_test.cpp
#include "base/error.h"
#include "kern/index.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/lines.h"
#include "ops/op.h"
#include "ops/whole.h"

namespace halftone::ops::cum_sum {
namespace {

std::vector<Type> infer(const InferContext& c) {
  return {c.input(0)};
}

Prepared prepare(const PrepareContext& c) {
  const Type x = c.input(0);
  if (elements(x.shape) == 0) return {0, [](const RunContext&) {}};
  const auto axis = static_cast<size_t>(c.attributes().int_at("axis"));
  const bool exclusive = c.attributes().int_at("exclusive") != 0;
  const bool reverse = c.attributes().int_at("reverse") != 0;
  const Lines lines = lines_of(x.shape, axis);
  const int64_t outer = lines.outer;
  const int64_t length = lines.length;
  const int64_t inner = lines.inner;
  const int64_t cols =
      std::clamp<int64_t>(kChunkElements / length / 16 * 16, std::min<int64_t>(inner, 16), inner);
  const int64_t blocks = ceil_div(inner, cols);
  const int64_t width = size_bytes(x.dtype);
  const int64_t per_chunk = std::max<int64_t>(1, kChunkElements / (length * cols));
  Prepared out{0, [=, cum_sum = c.kernels.index->cum_sum](const RunContext& r) {
                 FirstFault fault;
                 for_chunks(r.pool, {outer * blocks, per_chunk}, [&](int64_t first, int64_t count) {
                   for (int64_t call = first; call < first + count; ++call) {
                     const int64_t col = call % blocks * cols;
                     const int64_t begin = call / blocks * length * inner + col;
                     fault.note(cum_sum({x.dtype, at(r.in[0], begin * width), at(r.out[0], begin * width),
                                         length, std::min(cols, inner - col), inner, exclusive, reverse}),
                                begin);
                   }
                 });
                 fault.report(r.step);
               }};
  out.explain = [x](const RunContext&, int64_t i) {
    return fmt::format("the sum up to element {} of {} does not fit {}", place_of(x.shape, i),
                       to_string(x.shape), name_of(x.dtype));
  };
  return out;
}

std::vector<ValueId> gradient(GradientContext& c) {
  Attributes a = c.node.attributes;
  a.set("reverse", int64_t{a.int_at("reverse") == 0});
  return {c.builder.add1("CumSum", {c.dy[0]}, a)};
}

Permuted permute(const ir::Graph&, const ir::Node& node, const std::vector<int64_t>& perm) {
  Permuted out{true, node.attributes, perm};
  out.attributes.set("axis", perm[static_cast<size_t>(node.attributes.int_at("axis"))]);
  return out;
}

int64_t axis_of(const std::vector<int64_t>& given, const Shape& x) {
  if (given.size() != 1) throw input_error("axis must be one number, got {}", given.size());
  return normalize_axis(given[0], static_cast<int64_t>(x.size()));
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"exclusive", "reverse"});
  return {c.builder.add1("CumSum", {c.inputs[0]},
                         {{"axis", axis_of(c.int_constant(1), c.shape(0))},
                          {"exclusive", int64_t{c.attributes.int_or("exclusive", 0) != 0}},
                          {"reverse", int64_t{c.attributes.int_or("reverse", 0) != 0}}})};
}

template <class T, class Add>
void sum_up(std::vector<T>& x, const Lines& l, bool exclusive, bool reverse, const Add& add) {
  for (int64_t line = 0; line < l.outer * l.inner; ++line) {
    T sum = 0;
    for (int64_t step = 0; step < l.length; ++step) {
      const int64_t i = reverse ? l.length - 1 - step : step;
      T& at = x[static_cast<size_t>((line / l.inner * l.length + i) * l.inner + line % l.inner)];
      const T value = at;
      if (exclusive) at = sum;
      sum = add(sum, value);
      if (!exclusive) at = sum;
    }
  }
}

std::vector<Tensor> fold(const FoldContext& c) {
  check_attributes(c.attributes, {"exclusive", "reverse"});
  const Tensor& x = *c.inputs[0];
  const auto axis = static_cast<size_t>(axis_of(fold_ints(c, 1), x.shape()));
  const bool exclusive = c.attributes.int_or("exclusive", 0) != 0;
  const bool reverse = c.attributes.int_or("reverse", 0) != 0;
  const Lines l = lines_of(x.shape(), axis);
  if (is_float(x.dtype())) {
    std::vector<double> y = to_doubles(x);
    sum_up(y, l, exclusive, reverse, [](double a, double b) { return a + b; });
    return one(from_doubles(y, x.dtype(), x.shape()));
  }
  std::vector<int64_t> y = to_int64s(x);
  sum_up(y, l, exclusive, reverse, [](int64_t a, int64_t b) {
    int64_t sum = 0;
    if (__builtin_add_overflow(a, b, &sum)) throw input_error("CumSum of integers overflows 64 bits");
    return sum;
  });
  return one(from_int64s(y, x.dtype(), x.shape()));
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("CumSum", infer, prepare, GradientRule{gradient}, Alias::kFresh, Permute::kAxes, permute)},
      {{.op_type = "CumSum", .since = 11, .until = 24, .import = import, .fold = fold, .required_inputs = 2}},
  };
  return family;
}

}  // namespace halftone::ops::cum_sum
