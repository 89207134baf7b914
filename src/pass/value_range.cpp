#include "pass/value_range.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace halftone::pass {
namespace {

using ir::Node;
using ir::ValueId;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Of larger constants nobody makes bounds: masks, tables.
constexpr int64_t kMostConstantElements = 4096;

class Ranges {
 public:
  explicit Ranges(const ir::Graph& graph)
      : graph_(graph), producers_(graph.producers()), ranges_(graph.values.size()) {}

  std::vector<ValueRange> run() {
    for (size_t v = 0; v < graph_.values.size(); ++v)
      if (graph_.values[v].kind == ir::ValueKind::kConstant) ranges_[v] = of_constant(graph_.values[v]);
    for (const Node& node : graph_.nodes) {
      ValueRange r = of(node);
      // inf - inf and 0 * inf: unknown.
      if (std::isnan(r.low) || std::isnan(r.high)) r = {};
      for (const ValueId out : node.outputs)
        if (out != ir::kNone) ranges_[static_cast<size_t>(out)] = r;
    }
    return std::move(ranges_);
  }

 private:
  static ValueRange of_constant(const ir::Value& value) {
    if (value.data == nullptr || !is_float(value.data->dtype()) || value.data->size() == 0 ||
        value.data->size() > kMostConstantElements)
      return {};
    const Tensor x = converted(*value.data, DType::kF64);
    const auto [least, most] = std::minmax_element(x.as<double>().begin(), x.as<double>().end());
    return {*least, *most};
  }

  const ValueRange& in(const Node& node, size_t i) const {
    static const ValueRange unknown;
    return i < node.inputs.size() && node.inputs[i] != ir::kNone
               ? ranges_[static_cast<size_t>(node.inputs[i])]
               : unknown;
  }
  static ValueRange hull(const ValueRange& a, const ValueRange& b) {
    return {std::min(a.low, b.low), std::max(a.high, b.high)};
  }
  static ValueRange product(const ValueRange& a, const ValueRange& b) {
    const double all[] = {a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high};
    for (const double x : all)
      if (std::isnan(x)) return a.low >= 0 && b.low >= 0 ? ValueRange{0, kInfinity} : ValueRange{};
    return {*std::min_element(all, all + 4), *std::max_element(all, all + 4)};
  }
  static ValueRange reciprocal(const ValueRange& x) {
    return x.low > 0 || (x.low >= 0 && x.high > 0) ? ValueRange{1 / x.high, 1 / x.low} : ValueRange{};
  }

  const Node* producer(ValueId id) const {
    const int32_t at = id == ir::kNone ? -1 : producers_[static_cast<size_t>(id)];
    return at < 0 ? nullptr : &graph_.nodes[static_cast<size_t>(at)];
  }
  static bool keeps_elements(const Node& node) {
    return node.op == "Reshape" || node.op == "Transpose" || node.op == "Expand";
  }
  ValueId behind_views(ValueId id) const {
    for (const Node* n = producer(id); n != nullptr && keeps_elements(*n); n = producer(id))
      id = n->inputs[0];
    return id;
  }
  // Whether `divisor` is the sum of `x`'s elements (along some axes), perhaps with a small number added or a
  // lower bound, so that no quotient is above 1.
  bool is_sum_of(ValueId divisor, ValueId x) const {
    for (int i = 0; i < 8; ++i) {
      divisor = behind_views(divisor);
      const Node* n = producer(divisor);
      if (n == nullptr) return false;
      if (n->op == "ReduceSum") return behind_views(n->inputs[0]) == behind_views(x);
      const bool lower_bound = n->op == "Clip" && n->attributes.float_or("beta", 0) == kInfinity;
      const bool shifted = n->op == "Scale" && n->attributes.float_or("alpha", 0) == 1 &&
                           n->attributes.float_or("beta", -1) >= 0;
      const bool added = n->op == "Add" && in(*n, 1).low >= 0;
      if (!lower_bound && !shifted && !added) return false;
      divisor = n->inputs[0];
    }
    return false;
  }

  ValueRange of(const Node& n) const {
    const ValueRange x = in(n, 0);
    const auto parameter = [&](const char* name) { return n.attributes.float_or(name, 0); };
    if (keeps_elements(n) || n.op == "Slice" || n.op == "Split" || n.op == "MaxPool" || n.op == "ReduceMean")
      return x;
    if (n.op == "AveragePool" || n.op == "Dropout") return n.op == "Dropout" ? ValueRange{} : hull(x, {0, 0});
    if (n.op == "Concat") {
      ValueRange all = x;
      for (size_t i = 1; i < n.inputs.size(); ++i) all = hull(all, in(n, i));
      return all;
    }
    if (n.op == "Sigmoid" || n.op == "HardSigmoid" || n.op == "Softmax") return {0, 1};
    if (n.op == "LogSoftmax") return {-kInfinity, 0};
    if (n.op == "Tanh" || n.op == "Erf" || n.op == "Sin" || n.op == "Cos" || n.op == "Softsign")
      return {-1, 1};
    if (n.op == "Hardmax") return {0, 1};
    if (n.op == "ReduceMax" || n.op == "ReduceMin") return x;
    if (n.op == "ReduceL1" || n.op == "ReduceL2" || n.op == "ReduceSumSquare") return {0, kInfinity};
    if (n.op == "Relu") return {std::max(0.0, x.low), std::max(0.0, x.high)};
    if (n.op == "Softplus" || n.op == "Sqrt") return {0, kInfinity};
    if (n.op == "Clip")
      return {std::clamp(x.low, parameter("alpha"), std::max(parameter("alpha"), parameter("beta"))),
              std::clamp(x.high, parameter("alpha"), std::max(parameter("alpha"), parameter("beta")))};
    if (n.op == "Exp") return {std::exp(x.low), std::exp(x.high)};
    if (n.op == "Log") return x.low >= 0 ? ValueRange{std::log(x.low), std::log(x.high)} : ValueRange{};
    if (n.op == "Neg") return {-x.high, -x.low};
    if (n.op == "Abs") {
      const double most = std::max(std::fabs(x.low), std::fabs(x.high));
      return {x.low > 0 ? x.low : x.high < 0 ? -x.high : 0, most};
    }
    if (n.op == "Reciprocal") return reciprocal(x);
    if (n.op == "PowScalar")
      return x.low >= 0 && parameter("alpha") > 0
                 ? ValueRange{std::pow(x.low, parameter("alpha")), std::pow(x.high, parameter("alpha"))}
                 : ValueRange{parameter("alpha") == 2 ? 0 : -kInfinity, kInfinity};
    if (n.op == "Scale") {
      const ValueRange scaled = product(x, {parameter("alpha"), parameter("alpha")});
      return {scaled.low + parameter("beta"), scaled.high + parameter("beta")};
    }
    if (n.op == "ReduceSum") return x.low >= 0 ? ValueRange{0, kInfinity} : ValueRange{};
    const ValueRange y = in(n, 1);
    if (n.op == "Add") return {x.low + y.low, x.high + y.high};
    if (n.op == "Sub") return {x.low - y.high, x.high - y.low};
    if (n.op == "Mul") {
      for (size_t i = 0; i < 2; ++i) {
        const Node* factor = producer(behind_views(n.inputs[i]));
        if (factor != nullptr && factor->op == "Reciprocal" && in(n, 1 - i).low >= 0 &&
            is_sum_of(factor->inputs[0], n.inputs[1 - i]))
          return {0, 1};
      }
      return product(x, y);
    }
    if (n.op == "Div")
      return x.low >= 0 && is_sum_of(n.inputs[1], n.inputs[0]) ? ValueRange{0, 1} : product(x, reciprocal(y));
    return {};
  }

  const ir::Graph& graph_;
  const std::vector<int32_t> producers_;
  std::vector<ValueRange> ranges_;
};

}  // namespace

std::vector<ValueRange> value_ranges(const ir::Graph& graph) {
  return Ranges(graph).run();
}

}  // namespace halftone::pass
