#include "ops/mask.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "ops/fold.h"

namespace halftone::ops {
namespace {

// The first number that some type cannot hold. Whatever the storage type, the same values and nodes are added
// for numbers from here on: the precision check goes through a network in two types, node by node.
constexpr double kFirstBeyondAny = 65520;

// From here on numbers round to infinity.
double first_infinite(DType dtype) {
  if (dtype == DType::kF16) return 65520;
  if (dtype == DType::kBf16) return 0x1.FFp127;
  return std::numeric_limits<double>::infinity();
}

bool is_one_of_views(std::string_view op) {
  constexpr std::string_view kViews[] = {"Reshape", "Transpose", "Expand", "Slice", "Concat", "Split",
                                         "Scale",   "Neg",       "Add",    "Sub",   "Mul"};
  return std::find(std::begin(kViews), std::end(kViews), op) != std::end(kViews);
}

// Whether the value is computed from whole numbers and constants alone.
bool is_made_of_whole_numbers(const ir::Graph& graph, ValueId x) {
  const std::vector<int32_t> producers = graph.producers();
  std::vector<ValueId> open{x};
  bool found = false;
  for (int steps = 0; !open.empty(); ++steps) {
    if (steps == 64) return false;
    const ValueId id = open.back();
    open.pop_back();
    const ir::Value& value = graph.value(id);
    if (value.kind == ir::ValueKind::kConstant) continue;
    const int32_t at = producers[static_cast<size_t>(id)];
    if (at < 0) return false;
    const ir::Node& node = graph.nodes[static_cast<size_t>(at)];
    if (node.op == "Cast") {
      found = true;
    } else if (is_one_of_views(node.op)) {
      open.insert(open.end(), node.inputs.begin(), node.inputs.end());
    } else {
      return false;
    }
  }
  return found;
}

}  // namespace

double mask_number(DType storage) {
  if (storage == DType::kF16) return 0x1p15;
  if (storage == DType::kBf16) return 0x1p127;
  return std::numeric_limits<double>::infinity();
}

ValueId mask_operand(Builder& b, ValueId x) {
  const ir::Value& value = b.graph().value(x);
  if (value.kind != ir::ValueKind::kConstant || !is_float(value.type.dtype)) return x;
  const auto is_beyond = [](double v, double end) { return std::isfinite(v) && std::fabs(v) >= end; };
  std::vector<double> numbers = to_doubles(*value.data);
  if (std::none_of(numbers.begin(), numbers.end(), [&](double v) { return is_beyond(v, kFirstBeyondAny); }))
    return x;
  const double end = first_infinite(b.storage());
  if (std::none_of(numbers.begin(), numbers.end(), [&](double v) { return is_beyond(v, end); })) {
    ir::Value same = value;
    return b.graph().add_value(std::move(same));
  }
  for (double& v : numbers)
    if (is_beyond(v, end)) v = std::copysign(mask_number(b.storage()), v);
  const Shape shape = value.type.shape;
  return b.constant(from_doubles(numbers, DType::kF32, shape));
}

ValueId mask_product(Builder& b, ValueId x, double factor) {
  const ValueId y = b.add1("Scale", {x}, {{"alpha", factor}, {"beta", 0.0}});
  if (!std::isfinite(factor) || std::fabs(factor) < kFirstBeyondAny ||
      !is_made_of_whole_numbers(b.graph(), x))
    return y;
  const bool beyond = std::fabs(factor) >= first_infinite(b.storage());
  const double most = beyond ? mask_number(b.storage()) : std::numeric_limits<double>::infinity();
  return b.add1("Clip", {y}, {{"alpha", -most}, {"beta", most}});
}

}  // namespace halftone::ops
