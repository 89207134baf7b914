#include "pass/recognise_norms.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "base/error.h"
#include "ops/verify.h"
#include "pass/spelled_norms.h"

namespace halftone::pass {
namespace norms {
namespace {

// A value of one number a row: 1 / (max(sqrt(factor * t + epsilon), floor) + outside), or part of that, t
// being the sum of the squares of `squared` over `axes`; where `squared` is kNone of x minus its mean.
struct Measure {
  ValueId squared = kNone;
  ValueId x = kNone;
  Axes axes;
  double factor = 1, epsilon = 0, floor = 0, outside = 0;
  std::vector<ValueId> reshaped;  // inputs of Reshape nodes on the way: one number a row too
  std::vector<const Node*> expanded;
};

class RowNorms {
 public:
  explicit RowNorms(const ir::Graph& graph) : graph_(graph), g_(graph) {}

  std::map<size_t, Norm> find() const {
    std::map<size_t, Norm> found;
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      if (node.phase != ir::Phase::kCompute) continue;
      std::optional<Norm> norm;
      if (node.op == "Div") norm = quotient(node);
      if (node.op == "Mul") norm = product(node);
      if (node.op == "Add" || node.op == "Sub") norm = spread_out(node);
      if (!norm || !is_float(graph_.value(norm->x).type.dtype)) continue;
      const int64_t last =
          take_scale_and_bias(g_, static_cast<int64_t>(i), g_.shape(norm->x), norm->axes, *norm);
      found.emplace(static_cast<size_t>(last), std::move(*norm));
    }
    return found;
  }

 private:
  static double number(const Node& n, const char* name) { return n.attributes.float_or(name, 0); }
  static bool is_power(const Node* n, double alpha) {
    return n != nullptr && n->op == "PowScalar" && number(*n, "alpha") == alpha;
  }
  // Through nodes that keep one number a row.
  ValueId peeled(ValueId id, Measure& m) const {
    for (;;) {
      if (const Node* n = g_.producer(id, "Reshape")) {
        m.reshaped.push_back(id = n->inputs[0]);
      } else if (const Node* e = g_.producer(id, "Expand")) {
        m.expanded.push_back(e);
        id = e->inputs[0];
      } else {
        return id;
      }
    }
  }
  Axes axes_of(const Node& reduction) const {
    Axes axes = reduction.attributes.ints_or("axes", {});
    const auto rank = static_cast<int64_t>(g_.shape(reduction.inputs[0]).size());
    for (int64_t& axis : axes)
      if (axis < 0) axis += rank;
    std::sort(axes.begin(), axes.end());
    return axes;
  }
  int64_t count(ValueId x, const Axes& axes) const {
    int64_t n = 1;
    for (const int64_t axis : axes) n *= g_.shape(x)[static_cast<size_t>(axis)];
    return n;
  }

  // The square of a value: of which.
  ValueId base_of_square(ValueId id) const {
    const Node* n = g_.producer(id);
    if (is_power(n, 2)) return n->inputs[0];
    if (n != nullptr && n->op == "Mul" && g_.same(n->inputs[0], n->inputs[1])) return n->inputs[0];
    return kNone;
  }

  // factor * t + epsilon.
  bool total(ValueId id, Measure& m) const {
    id = peeled(id, m);
    const Node* n = g_.producer(id);
    if (n == nullptr) return false;
    if (n->op == "Scale") {
      if (!total(n->inputs[0], m)) return false;
      m.factor *= number(*n, "alpha");
      m.epsilon = m.epsilon * number(*n, "alpha") + number(*n, "beta");
      return true;
    }
    if (n->op == "Div") {
      const std::optional<double> by = g_.number(n->inputs[1]);
      if (!by || *by == 0 || !total(n->inputs[0], m)) return false;
      m.factor /= *by;
      m.epsilon /= *by;
      return true;
    }
    if (n->op == "ReduceMean" || n->op == "ReduceSum") {
      m.squared = base_of_square(n->inputs[0]);
      if (m.squared == kNone) return false;
      m.axes = axes_of(*n);
      m.factor = n->op == "ReduceSum" ? 1.0 : 1.0 / static_cast<double>(count(m.squared, m.axes));
      return true;
    }
    if (n->op == "ReduceSumSquare") {
      m.squared = n->inputs[0];
      m.axes = axes_of(*n);
      m.factor = 1;
      return true;
    }
    if (n->op == "Sub") return variance_by_squares(*n, m);
    // A variance computed so can come out below 0, and is then meant to be 0.
    const bool kept_positive =
        n->op == "Relu" || (n->op == "Clip" && number(*n, "alpha") == 0 && number(*n, "beta") == INFINITY);
    return kept_positive && total(n->inputs[0], m) && m.squared == kNone && m.epsilon == 0 && m.factor > 0;
  }
  // mean(x^2) - mean(x)^2
  bool variance_by_squares(const Node& sub, Measure& m) const {
    const Node* mean = g_.producer(peeled(sub.inputs[0], m), "ReduceMean");
    const ValueId x = mean == nullptr ? kNone : base_of_square(mean->inputs[0]);
    const ValueId squared_mean = base_of_square(peeled(sub.inputs[1], m));
    if (x == kNone || squared_mean == kNone || g_.shape(x) != g_.shape(mean->inputs[0])) return false;
    const Axes axes = axes_of(*mean);
    if (!is_mean(squared_mean, x, axes, m)) return false;
    m.squared = kNone;
    m.x = x;
    m.axes = axes;
    m.factor = 1.0 / static_cast<double>(count(x, axes));
    return true;
  }
  bool is_mean(ValueId id, ValueId x, const Axes& axes, Measure& m) const {
    const Node* n = g_.producer(peeled(id, m), "ReduceMean");
    return n != nullptr && g_.same(n->inputs[0], x) && axes_of(*n) == axes;
  }

  // sqrt(factor * t + epsilon), or the larger of that and a floor.
  bool root(ValueId id, Measure& m, bool may_be_clipped) const {
    id = peeled(id, m);
    const Node* n = g_.producer(id);
    if (n == nullptr) return false;
    if (n->op == "Sqrt" || is_power(n, 0.5)) return total(n->inputs[0], m);
    if (n->op == "ReduceL2") {
      m.squared = n->inputs[0];
      m.axes = axes_of(*n);
      m.factor = 1;
      return true;
    }
    if (n->op == "Scale" && number(*n, "beta") == 0 && number(*n, "alpha") > 0) {
      if (!root(n->inputs[0], m, false)) return false;
      m.factor *= number(*n, "alpha") * number(*n, "alpha");
      m.epsilon *= number(*n, "alpha") * number(*n, "alpha");
      return true;
    }
    if (may_be_clipped && n->op == "Clip" && number(*n, "beta") == INFINITY && number(*n, "alpha") >= 0) {
      if (!root(n->inputs[0], m, false)) return false;
      m.floor = number(*n, "alpha");
      return true;
    }
    return false;
  }
  bool divisor(ValueId id, Measure& m) const {
    id = peeled(id, m);
    const Node* n = g_.producer(id, "Scale");
    if (n != nullptr && number(*n, "alpha") == 1 && number(*n, "beta") > 0) {
      if (!root(n->inputs[0], m, true)) return false;
      m.outside = number(*n, "beta");
      return true;
    }
    return root(id, m, true);
  }
  bool inverse_of_divisor(ValueId id, Measure& m) const {
    id = peeled(id, m);
    const Node* n = g_.producer(id);
    if (n == nullptr) return false;
    if (n->op == "Reciprocal" || is_power(n, -1)) return divisor(n->inputs[0], m);
    if (is_power(n, -0.5)) return total(n->inputs[0], m);
    return n->op == "Div" && g_.number(n->inputs[0]) == 1.0 && divisor(n->inputs[1], m);
  }

  // x and `id` = x - mean(x) over `axes`; kNone where `id` is no such thing.
  ValueId centred(ValueId id, const Axes& axes, Measure& m) const {
    const Node* sub = g_.producer(id, "Sub");
    if (sub == nullptr) return kNone;
    const ValueId x = sub->inputs[0];
    const bool shapes = g_.shape(x) == g_.shape(id) && one_a_row(g_.shape(sub->inputs[1]), g_.shape(x), axes);
    return shapes && is_mean(sub->inputs[1], x, axes, m) ? x : kNone;
  }
  static bool one_a_row(const Shape& shape, const Shape& x, const Axes& axes) {
    Shape kept = x;
    for (const int64_t axis : axes) kept[static_cast<size_t>(axis)] = 1;
    return shape == kept || shape == x;  // as it is, or expanded
  }
  // That what was read as one number a row is that, and lies in the order of rows.
  bool is_sound(const Measure& m, ValueId x) const {
    const Shape& shape = g_.shape(x);
    Shape kept = shape;
    for (const int64_t axis : m.axes) {
      if (axis < 0 || axis >= static_cast<int64_t>(shape.size())) return false;
      kept[static_cast<size_t>(axis)] = 1;
    }
    const int64_t rows = elements(kept);
    return !m.axes.empty() && elements(shape) > 0 &&
           std::all_of(m.reshaped.begin(), m.reshaped.end(),
                       [&](ValueId id) { return elements(g_.shape(id)) == rows; }) &&
           std::all_of(m.expanded.begin(), m.expanded.end(), [&](const Node* n) {
             const Shape& to = g_.shape(n->outputs[0]);
             return g_.shape(n->inputs[0]) == kept && (to == kept || to == shape);
           });
  }

  // The norm that is `numerator` divided by what m says.
  std::optional<Norm> norm_of(ValueId numerator, ValueId divided_by, Measure m) const {
    Norm norm;
    norm.axes = m.axes;
    if (m.squared == kNone) {
      norm.op = "LayerNormalization";
      norm.x = m.x;
      const ValueId x = centred(numerator, m.axes, m);
      if (x == kNone || !g_.same(x, m.x)) return std::nullopt;
    } else {
      if (!g_.same(numerator, m.squared)) return std::nullopt;
      Measure with_mean = m;
      norm.op = "LayerNormalization";
      norm.x = centred(m.squared, m.axes, with_mean);
      if (norm.x != kNone && is_sound(with_mean, norm.x)) {
        m = with_mean;
      } else {
        norm.op = "RMSNormalization";
        norm.x = m.squared;
      }
    }
    if (!is_sound(m, norm.x) || !one_a_row(g_.shape(divided_by), g_.shape(norm.x), m.axes) ||
        g_.shape(numerator) != g_.shape(norm.x))
      return std::nullopt;
    norm.attributes = attributes_of(m);
    return norm;
  }
  static ir::Attributes attributes_of(const Measure& m) {
    return {{"factor", m.factor}, {"epsilon", m.epsilon}, {"floor", m.floor}, {"outside", m.outside}};
  }

  std::optional<Norm> quotient(const Node& div) const {
    Measure m;
    if (!divisor(div.inputs[1], m)) return std::nullopt;
    return norm_of(div.inputs[0], div.inputs[1], m);
  }
  // numerator * inverse, or numerator * (inverse * scale).
  std::optional<Norm> product(const Node& mul) const {
    for (size_t i = 0; i < 2; ++i) {
      Measure m;
      if (inverse_of_divisor(mul.inputs[i], m))
        if (auto norm = norm_of(mul.inputs[1 - i], mul.inputs[i], m)) return norm;
      if (const auto gain = gain_of(mul.inputs[i]))
        if (auto norm = norm_of(mul.inputs[1 - i], gain->inverse, gain->measure)) {
          if (!is_along(g_.shape(gain->scale), g_.shape(norm->x), norm->axes)) continue;
          norm->scale = gain->scale;
          return norm;
        }
    }
    return std::nullopt;
  }
  // inverse * scale.
  struct Gain {
    Measure measure;
    ValueId inverse, scale;
  };
  std::optional<Gain> gain_of(ValueId id) const {
    const Node* n = g_.producer(id, "Mul");
    for (size_t i = 0; n != nullptr && i < 2; ++i) {
      Measure m;
      if (inverse_of_divisor(n->inputs[i], m)) return Gain{m, n->inputs[i], n->inputs[1 - i]};
    }
    return std::nullopt;
  }

  // x * gain + (bias - mean * gain), x * gain - mean * gain, and with the negative added; gain: inverse, or
  // inverse * scale.
  std::optional<Norm> spread_out(const Node& node) const {
    for (size_t i = 0; i < (node.op == "Add" ? 2U : 1U); ++i) {
      const Node* product = g_.producer(node.inputs[i], "Mul");
      if (product == nullptr) continue;
      ValueId bias = kNone;
      ValueId taken = node.inputs[1 - i];  // mean * gain
      if (node.op == "Add") {
        const Node* rest = g_.producer(taken);
        if (rest != nullptr && rest->op == "Sub") {
          bias = rest->inputs[0];
          taken = rest->inputs[1];
        } else if (rest != nullptr && rest->op == "Neg") {
          taken = rest->inputs[0];
        } else if (rest != nullptr && rest->op == "Scale" && number(*rest, "alpha") == -1) {
          if (number(*rest, "beta") != 0) continue;
          taken = rest->inputs[0];
        } else {
          continue;
        }
      }
      const Node* mean_product = g_.producer(taken, "Mul");
      if (mean_product == nullptr) continue;
      for (size_t k = 0; k < 2; ++k)
        for (size_t l = 0; l < 2; ++l)
          if (auto norm = spread_out(product->inputs[k], product->inputs[1 - k], mean_product->inputs[l],
                                     mean_product->inputs[1 - l]))
            if (bias == kNone || is_along(g_.shape(bias), g_.shape(norm->x), norm->axes)) {
              norm->bias = bias;
              return norm;
            }
    }
    return std::nullopt;
  }
  std::optional<Norm> spread_out(ValueId x, ValueId gain, ValueId mean, ValueId mean_gain) const {
    if (!g_.same(gain, mean_gain)) return std::nullopt;
    Norm norm;
    Measure m;
    ValueId inverse = gain;
    if (!inverse_of_divisor(gain, m)) {
      const auto found = gain_of(gain);
      if (!found) return std::nullopt;
      m = found->measure;
      inverse = found->inverse;
      norm.scale = found->scale;
    }
    const ValueId source = m.squared == kNone ? m.x : centred(m.squared, m.axes, m);
    if (source == kNone || !g_.same(source, x) || !is_mean(mean, x, m.axes, m) || !is_sound(m, x) ||
        !one_a_row(g_.shape(inverse), g_.shape(x), m.axes) ||
        !one_a_row(g_.shape(mean), g_.shape(x), m.axes) ||
        (norm.scale != kNone && !is_along(g_.shape(norm.scale), g_.shape(x), m.axes)))
      return std::nullopt;
    norm.op = "LayerNormalization";
    norm.x = x;
    norm.axes = m.axes;
    norm.attributes = attributes_of(m);
    return norm;
  }

  const ir::Graph& graph_;
  const Reader g_;
};

}  // namespace
}  // namespace norms

bool recognise_norms(ir::Graph& graph, DType storage) {
  const std::map<size_t, norms::Norm> found = norms::RowNorms(graph).find();
  if (found.empty()) return false;
  norms::place(graph, storage, found);
  ops::verify(graph, "recognise_norms");
  return true;
}

}  // namespace halftone::pass
