#include "pass/recognise_norms.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "base/error.h"
#include "ir/links.h"
#include "ops/effects.h"
#include "ops/verify.h"
#include "tensor/permutation.h"

namespace halftone::pass {
namespace {

using ir::kNone;
using ir::Node;
using ir::ValueId;
using Axes = std::vector<int64_t>;

bool contains(const Axes& axes, size_t axis) {
  return std::find(axes.begin(), axes.end(), static_cast<int64_t>(axis)) != axes.end();
}

template <class T>
bool same_as(const ir::Attribute& a, const ir::Attribute& b) {
  const T* x = std::get_if<T>(&a);
  const T* y = std::get_if<T>(&b);
  return x != nullptr && y != nullptr && *x == *y;
}
bool same_attributes(const ir::Attributes& a, const ir::Attributes& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.first == y.first &&
           (same_as<int64_t>(x.second, y.second) || same_as<double>(x.second, y.second) ||
            same_as<std::string>(x.second, y.second) || same_as<Axes>(x.second, y.second) ||
            same_as<std::vector<double>>(x.second, y.second));
  });
}

// `shape` broadcasts to `x` with one element for each along `axes`, and none along the others.
bool is_along(const Shape& shape, const Shape& x, const Axes& axes) {
  if (shape.size() > x.size()) return false;
  const size_t lead = x.size() - shape.size();
  for (size_t i = 0; i < x.size(); ++i)
    if ((i < lead ? 1 : shape[i - lead]) != (contains(axes, i) ? x[i] : 1)) return false;
  return true;
}

class Reader : public ir::Links {
 public:
  using ir::Links::Links;

  // The one number of a constant.
  std::optional<double> number(ValueId id) const {
    const ir::Value& v = graph().value(id);
    if (v.kind != ir::ValueKind::kConstant || v.data == nullptr || v.data->size() != 1 ||
        !is_float(v.type.dtype))
      return std::nullopt;
    return converted(*v.data, DType::kF64).as<double>()[0];
  }
  bool all_equal(ValueId id, double value) const {
    const ir::Value& v = graph().value(id);
    if (v.kind != ir::ValueKind::kConstant || v.data == nullptr || !is_float(v.type.dtype)) return false;
    const Tensor wide = converted(*v.data, DType::kF64);
    const auto all = wide.as<double>();
    return std::all_of(all.begin(), all.end(), [&](double x) { return x == value; });
  }
  // Whether two values are computed by the same nodes from the same values.
  bool same(ValueId a, ValueId b, int depth = 6) const {
    if (a == b) return true;
    if (a == kNone || b == kNone || depth == 0) return false;
    const Node* x = producer(a);
    const Node* y = producer(b);
    if (x == nullptr || y == nullptr || x->op != y->op || x->op == "Dropout" || ops::has_effect(*x) ||
        x->inputs.size() != y->inputs.size() || x->outputs[0] != a || y->outputs[0] != b ||
        !same_attributes(x->attributes, y->attributes))
      return false;
    for (size_t i = 0; i < x->inputs.size(); ++i)
      if (!same(x->inputs[i], y->inputs[i], depth - 1)) return false;
    return true;
  }
  // What the node's Mul or Add combines `with` with; kNone: it is no such node.
  ValueId other_operand(int64_t node, std::string_view op, ValueId with) const {
    if (node < 0) return kNone;
    const Node& n = graph().nodes[static_cast<size_t>(node)];
    if (n.op != op) return kNone;
    const ValueId other = n.inputs[0] == with ? n.inputs[1] : n.inputs[0];
    return other == with ? kNone : other;
  }
  ValueId output(int64_t node) const { return graph().nodes[static_cast<size_t>(node)].outputs[0]; }
};

// What takes the place of a node that computes y.
struct Norm {
  std::string_view op;
  ValueId x = kNone;
  ValueId scale = kNone;
  ValueId bias = kNone;
  Axes axes;
  ir::Attributes attributes;
};

// A Mul, then an Add, behind the normalisation that `node` computes, each where it alone reads what is before
// it and its operand has one element for each along `axes`. Returns the node that computes the result.
int64_t take_scale_and_bias(const Reader& g, int64_t node, const Shape& x, const Axes& axes, Norm& norm) {
  const auto fits = [&](ValueId id) { return id != kNone && is_along(g.shape(id), x, axes); };
  if (norm.scale == kNone && norm.bias == kNone) {
    const int64_t next = g.only_reader(g.output(node));
    if (const ValueId scale = g.other_operand(next, "Mul", g.output(node)); fits(scale)) {
      norm.scale = scale;
      node = next;
    }
  }
  if (norm.bias == kNone) {
    const int64_t next = g.only_reader(g.output(node));
    if (const ValueId bias = g.other_operand(next, "Add", g.output(node)); fits(bias)) {
      norm.bias = bias;
      node = next;
    }
  }
  return node;
}

// Puts each norm in the place of its node, which keeps its value.
void place(ir::Graph& graph, DType storage, const std::map<size_t, Norm>& norms) {
  ops::Builder b(graph, storage);
  std::vector<Node> nodes = std::move(graph.nodes);
  graph.nodes.clear();
  for (size_t i = 0; i < nodes.size(); ++i) {
    const auto it = norms.find(i);
    if (it == norms.end()) {
      graph.nodes.push_back(std::move(nodes[i]));
      continue;
    }
    const Norm& norm = it->second;
    const Shape x = b.shape(norm.x);
    b.set_origin(nodes[i].name);
    b.set_phase(nodes[i].phase);
    Axes perm;
    for (size_t axis = 0; axis < x.size(); ++axis)
      if (!contains(norm.axes, axis)) perm.push_back(static_cast<int64_t>(axis));
    ir::Attributes attributes = norm.attributes;
    const bool rows = norm.op != "GroupNormalization";  // else channels last, whatever is normalised
    if (rows) attributes.set("axis", static_cast<int64_t>(perm.size()));
    perm.insert(perm.end(), norm.axes.begin(), norm.axes.end());
    Shape row;
    for (const int64_t axis : norm.axes) row.push_back(x[static_cast<size_t>(axis)]);
    std::vector<ValueId> inputs{b.transpose(norm.x, perm)};
    for (const ValueId parameter : {norm.scale, norm.bias})
      inputs.push_back(parameter == kNone ? kNone : b.reshape(parameter, row));
    const ValueId y = b.add1(norm.op, inputs, std::move(attributes));
    b.transpose(y, inverse(perm));
    graph.nodes.back().outputs[0] = nodes[i].outputs[0];
  }
  ops::remove_dead_nodes(graph);
}

// ---------------------------------------------------------------- rows
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

// ---------------------------------------------------------------- groups
// The group norm whose InstanceNormalization the node is.
std::optional<std::pair<int64_t, Norm>> group_norm(const ir::Graph& graph, const Reader& g,
                                                   const Node& node) {
  const int64_t groups = node.attributes.int_at("groups");
  const Node* to_last = g.producer(node.inputs[0], "Transpose");
  const Node* split = to_last == nullptr ? nullptr : g.producer(to_last->inputs[0], "Reshape");
  if (split == nullptr || g.shape(split->outputs[0]).size() != 3 ||
      to_last->attributes.ints_at("perm") != Axes{0, 2, 1} || g.shape(node.inputs[0]).back() != groups)
    return std::nullopt;
  const ValueId x = split->inputs[0];
  const Shape& shape = g.shape(x);
  if (shape.size() < 2 || shape[0] != g.shape(split->outputs[0])[0] || shape[1] % groups != 0)
    return std::nullopt;
  if (node.inputs.size() > 1 && node.inputs[1] != kNone && !g.all_equal(node.inputs[1], 1))
    return std::nullopt;
  if (node.inputs.size() > 2 && node.inputs[2] != kNone && !g.all_equal(node.inputs[2], 0))
    return std::nullopt;
  const int64_t to_first = g.only_reader(node.outputs[0]);
  if (to_first < 0 || graph.nodes[static_cast<size_t>(to_first)].op != "Transpose" ||
      graph.nodes[static_cast<size_t>(to_first)].attributes.ints_at("perm") != Axes{0, 2, 1})
    return std::nullopt;
  const int64_t joined = g.only_reader(g.output(to_first));
  if (joined < 0 || graph.nodes[static_cast<size_t>(joined)].op != "Reshape" ||
      g.shape(g.output(joined)) != shape)
    return std::nullopt;
  Norm norm;
  norm.op = "GroupNormalization";
  norm.x = x;
  norm.axes = {1};
  norm.attributes = node.attributes;
  const int64_t last = take_scale_and_bias(g, joined, shape, norm.axes, norm);
  return std::make_pair(last, std::move(norm));
}

}  // namespace

void recognise_group_norms(ir::Graph& graph, DType storage) {
  const Reader g(graph);
  std::map<size_t, Norm> found;
  for (const Node& node : graph.nodes)
    if (node.op == "GroupNormalization")
      if (auto norm = group_norm(graph, g, node))
        found.emplace(static_cast<size_t>(norm->first), norm->second);
  if (found.empty()) return;
  place(graph, storage, found);
  ops::verify(graph, "recognise_group_norms");
}

bool recognise_norms(ir::Graph& graph, DType storage) {
  const std::map<size_t, Norm> found = RowNorms(graph).find();
  if (found.empty()) return false;
  place(graph, storage, found);
  ops::verify(graph, "recognise_norms");
  return true;
}

}  // namespace halftone::pass
