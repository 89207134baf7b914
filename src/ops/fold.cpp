#include "ops/fold.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/words.h"
#include "num/half.h"

namespace halftone::ops {
namespace {

constexpr int64_t kMaxFoldedElements = int64_t{1} << 25;  // two masks of 4096 x 4096

// For each element of `shape`, which element of an operand that is broadcast to it.
std::vector<size_t> broadcast_indices(const Shape& shape, const Shape& operand) {
  const size_t rank = shape.size();
  const Shape strides = broadcast_strides(operand, shape);
  Shape index(rank, 0);
  int64_t offset = 0;
  std::vector<size_t> out(static_cast<size_t>(elements(shape)));
  for (size_t& position : out) {
    position = static_cast<size_t>(offset);
    for (size_t d = rank; d-- > 0;) {
      offset += strides[d];
      if (++index[d] < shape[d]) break;
      offset -= strides[d] * shape[d];
      index[d] = 0;
    }
  }
  return out;
}

template <class T>
std::vector<T> broadcast_values(const std::vector<T>& values, const Shape& from, const Shape& to) {
  if (from == to) return values;
  std::vector<T> out;
  for (const size_t i : broadcast_indices(to, from)) out.push_back(values[i]);
  return out;
}

[[noreturn]] void overflow(std::string_view op) {
  throw input_error("{} of integers overflows 64 bits", op);
}

int64_t integer_pow(int64_t base, int64_t exponent) {
  if (exponent < 0) throw input_error("Pow of integers with the negative exponent {}", exponent);
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) overflow("Pow");
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) overflow("Pow");
  }
  return result;
}

// ---------------------------------------------------------------- functions of one element, looked up once
// for all of them
using WholeUnary = int64_t (*)(int64_t);
using RealUnary = double (*)(double);
using WholeBinary = int64_t (*)(int64_t, int64_t);
using RealBinary = double (*)(double, double);

int64_t whole_add(int64_t a, int64_t b) {
  int64_t y = 0;
  if (__builtin_add_overflow(a, b, &y)) overflow("Add");
  return y;
}
int64_t whole_sub(int64_t a, int64_t b) {
  int64_t y = 0;
  if (__builtin_sub_overflow(a, b, &y)) overflow("Sub");
  return y;
}
int64_t whole_mul(int64_t a, int64_t b) {
  int64_t y = 0;
  if (__builtin_mul_overflow(a, b, &y)) overflow("Mul");
  return y;
}
int64_t whole_div(int64_t a, int64_t b) {
  if (b == 0) throw input_error("Div of integers by zero");
  int64_t y = 0;
  if (b == -1) {
    if (__builtin_sub_overflow(int64_t{0}, a, &y)) overflow("Div");
    return y;
  }
  return a / b;  // toward zero
}
// fmod: the remainder has a's sign (C's), else b's.
template <bool kFmod>
int64_t whole_mod(int64_t a, int64_t b) {
  if (b == 0) throw input_error("Mod of integers by zero");
  if (b == -1) return 0;
  const int64_t r = a % b;
  return !kFmod && r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
template <bool kFmod>
double real_mod(double a, double b) {
  const double r = std::fmod(a, b);
  return !kFmod && r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
int64_t whole_neg(int64_t x) {
  int64_t y = 0;
  if (__builtin_sub_overflow(int64_t{0}, x, &y)) overflow("Neg");
  return y;
}
int64_t whole_abs(int64_t x) {
  int64_t y = x;
  if (x < 0 && __builtin_sub_overflow(int64_t{0}, x, &y)) overflow("Abs");
  return y;
}

// null: not defined for that type.
struct FoldedBinary {
  std::string_view op;
  WholeBinary whole;
  RealBinary real;
  bool predicate = false;  // gives a truth value
};
constexpr FoldedBinary kFoldedBinary[] = {
    {"Add", whole_add, [](double a, double b) { return a + b; }},
    {"Sum", whole_add, [](double a, double b) { return a + b; }},
    {"Sub", whole_sub, [](double a, double b) { return a - b; }},
    {"Mul", whole_mul, [](double a, double b) { return a * b; }},
    {"Div", whole_div, [](double a, double b) { return a / b; }},
    {"Mod", whole_mod<false>, real_mod<false>},
    {"Fmod", whole_mod<true>, real_mod<true>},  // Mod with the attribute fmod
    {"Pow", integer_pow, [](double a, double b) { return std::pow(a, b); }},
    {"Min", [](int64_t a, int64_t b) { return std::min(a, b); },
     [](double a, double b) { return std::isnan(a) || a < b ? a : b; }},
    {"Max", [](int64_t a, int64_t b) { return std::max(a, b); },
     [](double a, double b) { return std::isnan(a) || a > b ? a : b; }},
    {"Equal", [](int64_t a, int64_t b) -> int64_t { return a == b; },
     [](double a, double b) -> double { return a == b; }, true},
    {"Greater", [](int64_t a, int64_t b) -> int64_t { return a > b; },
     [](double a, double b) -> double { return a > b; }, true},
    {"GreaterOrEqual", [](int64_t a, int64_t b) -> int64_t { return a >= b; },
     [](double a, double b) -> double { return a >= b; }, true},
    {"Less", [](int64_t a, int64_t b) -> int64_t { return a < b; },
     [](double a, double b) -> double { return a < b; }, true},
    {"LessOrEqual", [](int64_t a, int64_t b) -> int64_t { return a <= b; },
     [](double a, double b) -> double { return a <= b; }, true},
    {"And", [](int64_t a, int64_t b) -> int64_t { return a != 0 && b != 0; }, nullptr, true},
    {"Or", [](int64_t a, int64_t b) -> int64_t { return a != 0 || b != 0; }, nullptr, true},
    {"Xor", [](int64_t a, int64_t b) -> int64_t { return (a != 0) != (b != 0); }, nullptr, true},
};

struct FoldedUnary {
  std::string_view op;
  WholeUnary whole;
  RealUnary real;
};
constexpr FoldedUnary kFoldedUnary[] = {
    {"Neg", whole_neg, [](double x) { return -x; }},
    {"Abs", whole_abs, [](double x) { return std::fabs(x); }},
    {"Sign", [](int64_t x) -> int64_t { return (x > 0) - (x < 0); },
     [](double x) { return std::isnan(x) ? x : static_cast<double>((x > 0) - (x < 0)); }},
    {"Not", [](int64_t x) -> int64_t { return x == 0; }, nullptr},
    {"Sqrt", nullptr, [](double x) { return std::sqrt(x); }},
    {"Exp", nullptr, [](double x) { return std::exp(x); }},
    {"Log", nullptr, [](double x) { return std::log(x); }},
    {"Floor", nullptr, [](double x) { return std::floor(x); }},
    {"Ceil", nullptr, [](double x) { return std::ceil(x); }},
    {"Round", nullptr, [](double x) { return std::nearbyint(x); }},
    {"Reciprocal", nullptr, [](double x) { return 1 / x; }},
};

template <class Row, size_t kRows>
const Row& folded_row(const Row (&rows)[kRows], std::string_view op) {
  const Row* row = std::find_if(std::begin(rows), std::end(rows), [&](const Row& r) { return r.op == op; });
  HT_ASSERT(row != std::end(rows), "no rule folds {}", op);
  return *row;
}
template <class Function>
Function require_defined(Function f, std::string_view op, const char* types) {
  if (f == nullptr) throw input_error("{} of {} is not defined", op, types);
  return f;
}

const Tensor& present(const FoldContext& c, size_t i) {
  if (i >= c.inputs.size() || c.inputs[i] == nullptr) throw input_error("input {} is missing", i);
  return *c.inputs[i];
}

}  // namespace

Tensor folded(DType dtype, const Shape& shape) {
  if (elements(shape) > kMaxFoldedElements)
    throw input_error(
        "a constant of shape {} would be computed when loading; at most {} elements are allowed",
        to_string(shape), kMaxFoldedElements);
  return Tensor(dtype, shape);
}

std::vector<double> to_doubles(const Tensor& tensor) {
  if (!is_float(tensor.dtype())) {
    const std::vector<int64_t> ints = to_int64s(tensor);
    return {ints.begin(), ints.end()};
  }
  const Tensor wide = converted(tensor, DType::kF64);
  const auto values = wide.as<double>();
  return {values.begin(), values.end()};
}

Tensor from_doubles(const std::vector<double>& values, DType dtype, const Shape& shape) {
  HT_ASSERT(is_float(dtype) && elements(shape) == static_cast<int64_t>(values.size()));
  Tensor wide = folded(DType::kF64, shape);
  std::copy(values.begin(), values.end(), wide.as<double>().begin());
  return converted(wide, dtype);
}

Tensor from_int64s(const std::vector<int64_t>& values, DType dtype, const Shape& shape) {
  Tensor out = folded(dtype, shape);
  HT_ASSERT(out.size() == static_cast<int64_t>(values.size()));
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t v = values[i];
    switch (dtype) {
      case DType::kI64:
        out.as<int64_t>()[i] = v;
        break;
      case DType::kI32:
        if (v < std::numeric_limits<int32_t>::min() || v > std::numeric_limits<int32_t>::max())
          throw input_error("{} does not fit int32", v);
        out.as<int32_t>()[i] = static_cast<int32_t>(v);
        break;
      case DType::kU8:
        if (v < 0 || v > 255) throw input_error("{} does not fit uint8", v);
        out.as<uint8_t>()[i] = static_cast<uint8_t>(v);
        break;
      default:
        HT_ASSERT(false, "{} is not an integer type", name_of(dtype));
    }
  }
  return out;
}

std::vector<Tensor> one(Tensor tensor) {
  std::vector<Tensor> out;
  out.push_back(std::move(tensor));
  return out;
}

Shape broadcast_strides(const Shape& x, const Shape& to) {
  const Shape own = strides_of(x);
  Shape strides(to.size(), 0);
  const size_t lead = to.size() - x.size();
  for (size_t i = lead; i < to.size(); ++i) strides[i] = x[i - lead] == 1 ? 0 : own[i - lead];
  return strides;
}

Tensor expanded(const Tensor& x, const Shape& shape) {
  return gather_strided(x, shape, 0, broadcast_strides(x.shape(), shape));
}

Tensor gather_strided(const Tensor& x, const Shape& shape, int64_t offset, const Shape& strides) {
  Tensor out = folded(x.dtype(), shape);
  const size_t width = static_cast<size_t>(size_bytes(x.dtype()));
  const auto* source = static_cast<const std::byte*>(x.data());
  auto* target = static_cast<std::byte*>(out.data());
  const size_t rank = shape.size();
  Shape index(rank, 0);
  for (int64_t i = 0; i < out.size(); ++i) {
    std::memcpy(target + static_cast<size_t>(i) * width, source + static_cast<size_t>(offset) * width, width);
    for (size_t d = rank; d-- > 0;) {
      offset += strides[d];
      if (++index[d] < shape[d]) break;
      offset -= strides[d] * shape[d];
      index[d] = 0;
    }
  }
  return out;
}

std::vector<int64_t> fold_ints(const FoldContext& c, size_t i) {
  const Tensor& tensor = present(c, i);
  if (is_float(tensor.dtype()))
    throw input_error("input {} must be of integers, got {}", i, name_of(tensor.dtype()));
  return to_int64s(tensor);
}

std::vector<Tensor> fold_unary(const FoldContext& c) {
  check_attributes(c.attributes, {});
  const Tensor& x = present(c, 0);
  if (is_float(x.dtype())) {
    const RealUnary f = require_defined(folded_row(kFoldedUnary, c.op_type).real, c.op_type, "floats");
    std::vector<double> values = to_doubles(x);
    for (double& v : values) v = f(v);
    return one(from_doubles(values, x.dtype(), x.shape()));
  }
  const WholeUnary f = require_defined(folded_row(kFoldedUnary, c.op_type).whole, c.op_type, "integers");
  std::vector<int64_t> values = to_int64s(x);
  for (int64_t& v : values) v = f(v);
  return one(from_int64s(values, x.dtype(), x.shape()));
}

std::vector<Tensor> fold_binary(const FoldContext& c) {
  if (c.op_type == "Mod") {
    check_attributes(c.attributes, {"fmod"});
  } else {
    check_attributes(c.attributes, {});
  }
  const Tensor& first = present(c, 0);
  Shape shape = first.shape();
  DType dtype = first.dtype();
  const bool floats = is_float(dtype);
  const bool fmod = c.attributes.int_or("fmod", 0) != 0;
  const FoldedBinary& row = folded_row(kFoldedBinary, fmod ? "Fmod" : c.op_type);
  // Min, Max and Sum take any number of inputs.
  std::vector<double> real;
  std::vector<int64_t> whole;
  if (floats) {
    real = to_doubles(first);
  } else {
    whole = to_int64s(first);
  }
  for (size_t k = 1; k < c.inputs.size(); ++k) {
    const Tensor& next = present(c, k);
    const bool exponent = c.op_type == "Pow";  // Pow-12 lets the exponent have another type
    if (next.dtype() != dtype && !exponent)
      throw input_error("inputs have different types: {} and {}", name_of(dtype), name_of(next.dtype()));
    const Shape common = broadcast(shape, next.shape());
    folded(dtype, common);  // the size limit, before anything of that size is made
    if (floats || (exponent && is_float(next.dtype()))) {
      if (!floats) real.assign(whole.begin(), whole.end());
      real = broadcast_values(real, shape, common);
      const std::vector<double> other = broadcast_values(to_doubles(next), next.shape(), common);
      const RealBinary f = require_defined(row.real, c.op_type, "floats");
      for (size_t i = 0; i < real.size(); ++i) real[i] = f(real[i], other[i]);
      if (!floats)
        for (size_t i = 0; i < real.size(); ++i) {
          if (!(std::fabs(real[i]) < 0x1p62)) overflow(c.op_type);
          if (i == 0) whole.assign(real.size(), 0);
          whole[i] = static_cast<int64_t>(real[i]);
        }
    } else {
      whole = broadcast_values(whole, shape, common);
      const std::vector<int64_t> other = broadcast_values(to_int64s(next), next.shape(), common);
      for (size_t i = 0; i < whole.size(); ++i) whole[i] = row.whole(whole[i], other[i]);
    }
    shape = common;
  }
  if (row.predicate) {
    if (floats) whole.assign(real.begin(), real.end());
    return one(from_int64s(whole, DType::kU8, shape));
  }
  return one(floats ? from_doubles(real, dtype, shape) : from_int64s(whole, dtype, shape));
}

std::vector<int64_t> reduction_axes(const std::vector<int64_t>& given, bool noop_with_empty, size_t rank) {
  std::vector<int64_t> axes;
  for (const int64_t axis : given) axes.push_back(normalize_axis(axis, static_cast<int64_t>(rank)));
  if (axes.empty() && !noop_with_empty)
    for (size_t i = 0; i < rank; ++i) axes.push_back(static_cast<int64_t>(i));
  std::sort(axes.begin(), axes.end());
  if (std::adjacent_find(axes.begin(), axes.end()) != axes.end()) throw input_error("an axis is named twice");
  return axes;
}

std::vector<Tensor> fold_reduce(const FoldContext& c) {
  check_attributes(c.attributes, {"axes", "keepdims", "noop_with_empty_axes"});
  const Tensor& x = present(c, 0);
  const bool has_input = c.inputs.size() > 1 && c.inputs[1] != nullptr;
  const std::vector<int64_t> given = has_input ? fold_ints(c, 1) : c.attributes.ints_or("axes", {});
  const std::vector<int64_t> axes =
      reduction_axes(given, c.attributes.int_or("noop_with_empty_axes", 0) != 0, x.shape().size());
  const bool keep = c.attributes.int_or("keepdims", 1) != 0;
  Shape kept = x.shape();
  for (const int64_t axis : axes) kept[static_cast<size_t>(axis)] = 1;
  Shape shape;
  for (size_t i = 0; i < kept.size(); ++i)
    if (keep || std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) == axes.end())
      shape.push_back(kept[i]);
  const size_t n = static_cast<size_t>(elements(kept));
  const bool product = c.op_type == "ReduceProd";
  const bool extreme = c.op_type == "ReduceMin" || c.op_type == "ReduceMax";
  const bool mean = c.op_type == "ReduceMean";
  const FoldedBinary& row = folded_row(kFoldedBinary, product                    ? "Mul"
                                                      : c.op_type == "ReduceMin" ? "Min"
                                                      : c.op_type == "ReduceMax" ? "Max"
                                                                                 : "Add");
  if (x.size() == 0 && (extreme || mean))
    throw input_error("{} of no elements ({})", c.op_type, to_string(x.shape()));
  // x's elements combined into out's: the first one that arrives is taken as it is when there is no neutral
  // one.
  const auto reduce = [&](const auto& values, auto& out, auto combine) {
    std::vector<char> started(n, extreme ? 0 : 1);
    const std::vector<size_t> target = broadcast_indices(x.shape(), kept);
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t j = target[i];
      out[j] = started[j] != 0 ? combine(out[j], values[i]) : values[i];
      started[j] = 1;
    }
  };
  if (is_float(x.dtype())) {
    std::vector<double> out(n, product ? 1 : 0);
    reduce(to_doubles(x), out, row.real);
    if (mean)
      for (double& v : out) v /= static_cast<double>(x.size()) / static_cast<double>(n);
    return one(from_doubles(out, x.dtype(), shape));
  }
  std::vector<int64_t> out(n, product ? 1 : 0);
  reduce(to_int64s(x), out, row.whole);
  if (mean)
    for (int64_t& v : out) v /= x.size() / static_cast<int64_t>(n);
  return one(from_int64s(out, x.dtype(), shape));
}

std::optional<double> scalar_of(const Tensor* constant) {
  if (constant == nullptr || constant->size() != 1) return std::nullopt;
  return to_doubles(*constant)[0];
}

namespace {
// Attributes of ONNX that say yes (1) or no (0). ONNX Runtime takes another number for yes in some operators,
// for no in others.
constexpr std::string_view kYesOrNo[] = {"align_corners",
                                         "allowzero",
                                         "antialias",
                                         "ceil_mode",
                                         "count_include_pad",
                                         "detect_negative",
                                         "detect_positive",
                                         "exclude_outside",
                                         "exclusive",
                                         "fmod",
                                         "input_forget",
                                         "interleaved",
                                         "inverse",
                                         "is_causal",
                                         "keepdims",
                                         "largest",
                                         "linear_before_reset",
                                         "noop_with_empty_axes",
                                         "onesided",
                                         "reverse",
                                         "saturate",
                                         "select_last_index",
                                         "sorted",
                                         "storage_order",
                                         "training_mode",
                                         "transA",
                                         "transB",
                                         "unidirectional",
                                         "upper"};
}  // namespace

void check_attributes(const Attributes& attributes, std::initializer_list<std::string_view> known) {
  for (const auto& [name, value] : attributes) {
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw input_error("the attribute '{}' is not understood", name);
    if (!is_one_of(name, kYesOrNo)) continue;
    const int64_t given = attributes.int_at(name);
    if (given != 0 && given != 1) throw input_error("the attribute '{}' is {}, expected 0 or 1", name, given);
  }
}

}  // namespace halftone::ops
