// Operators whose output has as many elements as their input's values say: all shapes being fixed when a
// network is read, they are evaluated then, or refused. And the constants EyeLike and Range.
//
// formula  Compress: the elements along an axis (of the flattened tensor without one) where the condition
//          holds; NonZero: the indices of elements other than 0, one row an axis; Unique: the different
//          elements, where each first is, which one each element is, and how often it occurs; EyeLike: ones
//          on the k-th diagonal of a matrix of x's shape; Range: start, start + delta, ... below limit
// gradient Compress of a computed tensor by a known condition: it is a Gather
// shapes   ONNX's
// dtypes   any
// rounds   Range of floats: in double, then once
// saves    none
// scratch  none
// alias    none
// errors   a condition (NonZero, Unique: a tensor; Range: a bound) that depends on the samples or on trained
//          tensors
// source   ONNX Compress-9/11, NonZero-9/13, Unique-11, EyeLike-9/22, Range-11
// tests    tests/ops/index_operators_test.cpp
#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/rows.h"
#include "ops/whole.h"

namespace halftone::ops::selection {
namespace {

// ---------------------------------------------------------------- Compress
std::vector<int64_t> chosen(const Tensor& condition, int64_t n) {
  if (is_float(condition.dtype()) || condition.shape().size() != 1 || condition.size() > n)
    throw input_error("the condition must be at most {} booleans, got {} {}", n, name_of(condition.dtype()),
                      to_string(condition.shape()));
  const std::vector<int64_t> values = to_int64s(condition);
  std::vector<int64_t> list;
  for (size_t i = 0; i < values.size(); ++i)
    if (values[i] != 0) list.push_back(static_cast<int64_t>(i));
  return list;
}

struct Compression {
  Shape x;  // flattened without an axis
  int64_t axis;
};
Compression compression_of(const Attributes& attributes, const Shape& x) {
  check_attributes(attributes, {"axis"});
  if (!attributes.has("axis")) return {{elements(x)}, 0};
  return {x, normalize_axis(attributes.int_at("axis"), static_cast<int64_t>(x.size()))};
}

std::vector<ValueId> import_compress(ImportContext& c) {
  const Compression k = compression_of(c.attributes, c.shape(0));
  const Tensor* condition = c.constant(1);
  if (condition == nullptr)
    throw input_error(
        "its condition depends on the samples or on trained tensors, and with it the size of its output; all "
        "shapes are fixed "
        "when a network is read");
  const std::vector<int64_t> list = chosen(*condition, k.x[static_cast<size_t>(k.axis)]);
  const auto count = static_cast<int64_t>(list.size());
  const RowPlan plan = plan_gather(k.x, {count}, k.axis);
  const ValueId rows = add_row_indices(c.builder, plan, c.builder.constant(int64_tensor(list, {count})), "");
  return {add_gather_rows(c.builder, plan, c.builder.reshape(c.inputs[0], k.x), rows)};
}

std::vector<Tensor> fold_compress(const FoldContext& c) {
  const Compression k = compression_of(c.attributes, c.inputs[0]->shape());
  const std::vector<int64_t> list = chosen(*c.inputs[1], k.x[static_cast<size_t>(k.axis)]);
  const auto axis = static_cast<size_t>(k.axis);
  Shape shape = k.x;
  shape[axis] = static_cast<int64_t>(list.size());
  Tensor y = folded(c.inputs[0]->dtype(), shape);
  const int64_t inner = strides_of(shape)[axis] * size_bytes(y.dtype());
  const auto* from = static_cast<const std::byte*>(c.inputs[0]->data());
  auto* to = static_cast<std::byte*>(y.data());
  for (int64_t o = 0; y.size() > 0 && o < y.bytes() / (inner * shape[axis]); ++o)
    for (const int64_t i : list) {
      const auto* row = from + (o * k.x[axis] + i) * inner;
      to = std::copy(row, row + inner, to);
    }
  return one(std::move(y));
}

// ---------------------------------------------------------------- NonZero
std::vector<Tensor> fold_non_zero(const FoldContext& c) {
  check_attributes(c.attributes, {});
  const Tensor& x = *c.inputs[0];
  const std::vector<double> values = to_doubles(x);
  const Shape shape = x.shape().empty() ? Shape{1} : x.shape();
  const Shape strides = strides_of(shape);
  const auto zeros = std::count(values.begin(), values.end(), 0.0);
  Tensor y = folded(DType::kI64, {static_cast<int64_t>(shape.size()), x.size() - zeros});
  int64_t* at = y.as<int64_t>().data();
  for (size_t axis = 0; axis < shape.size(); ++axis)
    for (size_t i = 0; i < values.size(); ++i)
      if (values[i] != 0) *at++ = static_cast<int64_t>(i) / strides[axis] % shape[axis];
  return one(std::move(y));
}

// ---------------------------------------------------------------- Unique
template <class T>
std::vector<Tensor> unique_of(const Tensor& x, const std::vector<T>& values, bool sorted) {
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  const auto value = [&](int64_t i) { return values[static_cast<size_t>(i)]; };
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return value(i) < value(j); });
  struct Run {
    std::vector<int64_t>::const_iterator begin, end;  // equal elements, ascending by place
  };
  std::vector<Run> runs;
  for (auto i = order.cbegin(); i != order.cend();) {
    const auto end = std::find_if(i, order.cend(), [&](int64_t j) { return value(j) != value(*i); });
    runs.push_back({i, end});
    i = end;
  }
  if (!sorted)
    std::sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return *a.begin < *b.begin; });
  const auto n = static_cast<int64_t>(runs.size());
  Tensor y = folded(x.dtype(), {n});
  std::vector<int64_t> first, inverse(values.size()), counts;
  const int64_t width = size_bytes(x.dtype());
  for (const Run& run : runs) {
    const auto place = static_cast<int64_t>(first.size());
    std::copy_n(static_cast<const std::byte*>(x.data()) + *run.begin * width, width,
                static_cast<std::byte*>(y.data()) + place * width);
    first.push_back(*run.begin);
    counts.push_back(run.end - run.begin);
    for (auto i = run.begin; i != run.end; ++i) inverse[static_cast<size_t>(*i)] = place;
  }
  std::vector<Tensor> out = one(std::move(y));
  out.push_back(int64_tensor(first, {n}));
  out.push_back(int64_tensor(inverse, {static_cast<int64_t>(inverse.size())}));
  out.push_back(int64_tensor(counts, {n}));
  return out;
}

std::vector<Tensor> fold_unique(const FoldContext& c) {
  check_attributes(c.attributes, {"axis", "sorted"});
  if (c.attributes.has("axis"))
    throw input_error("Unique along an axis is not computed when loading; without one it is");
  const Tensor& x = *c.inputs[0];
  const bool sorted = c.attributes.int_or("sorted", 1) != 0;
  if (!is_float(x.dtype())) return unique_of(x, to_int64s(x), sorted);
  const std::vector<double> values = to_doubles(x);
  for (size_t i = 0; i < values.size(); ++i)
    if (std::isnan(values[i])) throw input_error("element {} is NaN, which equals nothing", i);
  return unique_of(x, values, sorted);
}

std::vector<ValueId> import_refused(ImportContext& c) {
  throw input_error(
      "its input depends on the samples or on trained tensors, and with it the size of {}'s output; all "
      "shapes are fixed when a "
      "network is read",
      c.op_type);
}

// ---------------------------------------------------------------- EyeLike
Tensor eye(const Attributes& attributes, const Shape& x, DType otherwise) {
  check_attributes(attributes, {"dtype", "k"});
  if (x.size() != 2) throw input_error("a matrix was expected, got {}", to_string(x));
  const int64_t k = attributes.int_or("k", 0);
  std::vector<double> values(static_cast<size_t>(folded(DType::kU8, x).size()), 0.0);
  for (size_t i = 0; i < values.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    if (at % x[1] - at / x[1] == k) values[i] = 1;
  }
  const DType dtype = attributes.has("dtype") ? dtype_of_onnx(attributes.int_at("dtype")) : otherwise;
  if (is_float(dtype)) return from_doubles(values, dtype, x);
  return from_int64s({values.begin(), values.end()}, dtype, x);
}

std::vector<ValueId> import_eye_like(ImportContext& c) {
  return {c.builder.constant(eye(c.attributes, c.shape(0), c.builder.type(c.inputs[0]).dtype))};
}
std::vector<Tensor> fold_eye_like(const FoldContext& c) {
  return one(eye(c.attributes, c.inputs[0]->shape(), c.inputs[0]->dtype()));
}

// ---------------------------------------------------------------- Range
// How many of start, start + delta, ... are below limit (above, where delta is negative).
int64_t range_count(double start, double limit, double delta) {
  const double count = std::ceil((limit - start) / delta);
  if (!(count < 0x1p40)) throw input_error("the range has {} elements", count);
  return static_cast<int64_t>(std::max(0.0, count));
}
int64_t range_count(int64_t start, int64_t limit, int64_t delta) {
  int64_t span = 0;
  int64_t step = delta;
  bool fits = !__builtin_sub_overflow(limit, start, &span);
  if (delta < 0)
    fits = fits && !__builtin_sub_overflow(int64_t{0}, span, &span) &&
           !__builtin_sub_overflow(int64_t{0}, delta, &step);
  if (!fits) throw input_error("the range from {} to {} by {} overflows 64 bits", start, limit, delta);
  return span <= 0 ? 0 : (span - 1) / step + 1;
}

std::vector<Tensor> fold_range(const FoldContext& c) {
  check_attributes(c.attributes, {});
  const DType dtype = c.inputs[0]->dtype();
  for (const Tensor* t : c.inputs)
    if (t == nullptr || t->size() != 1 || t->dtype() != dtype)
      throw input_error("start, limit and delta must be single numbers of one type");
  const double delta = to_doubles(*c.inputs[2])[0];
  if (delta == 0 || std::isnan(delta)) throw input_error("delta is {}", delta);
  if (is_float(dtype)) {
    const double start = to_doubles(*c.inputs[0])[0];
    const int64_t n = range_count(start, to_doubles(*c.inputs[1])[0], delta);
    folded(dtype, {n});  // the size limit
    std::vector<double> values(static_cast<size_t>(n), start);
    for (size_t i = 0; i < values.size(); ++i) values[i] += static_cast<double>(i) * delta;
    return one(from_doubles(values, dtype, {n}));
  }
  const int64_t start = fold_ints(c, 0)[0];
  const int64_t step = fold_ints(c, 2)[0];
  const int64_t n = range_count(start, fold_ints(c, 1)[0], step);
  folded(dtype, {n});
  std::vector<int64_t> values(static_cast<size_t>(n), start);
  for (size_t i = 1; i < values.size(); ++i) values[i] = values[i - 1] + step;  // below limit, so it fits
  return one(from_int64s(values, dtype, {n}));
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {},
      {{.op_type = "Compress",
        .since = 9,
        .until = 24,
        .import = import_compress,
        .fold = fold_compress,
        .required_inputs = 2},
       {.op_type = "NonZero", .since = 9, .until = 24, .import = import_refused, .fold = fold_non_zero},
       {.op_type = "Unique", .since = 11, .until = 24, .import = import_refused, .fold = fold_unique},
       {.op_type = "EyeLike", .since = 9, .until = 24, .import = import_eye_like, .fold = fold_eye_like},
       {.op_type = "Range",
        .since = 11,
        .until = 24,
        .import = import_refused,
        .fold = fold_range,
        .required_inputs = 3}},
  };
  return family;
}

}  // namespace halftone::ops::selection
