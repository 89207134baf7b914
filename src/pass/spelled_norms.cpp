#include "pass/spelled_norms.h"

#include <utility>

#include "ops/effects.h"
#include "tensor/permutation.h"

namespace halftone::pass::norms {
namespace {

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

}  // namespace

bool is_along(const Shape& shape, const Shape& x, const Axes& axes) {
  if (shape.size() > x.size()) return false;
  const size_t lead = x.size() - shape.size();
  for (size_t i = 0; i < x.size(); ++i)
    if ((i < lead ? 1 : shape[i - lead]) != (contains(axes, i) ? x[i] : 1)) return false;
  return true;
}

std::optional<double> Reader::number(ValueId id) const {
  const ir::Value& v = graph().value(id);
  if (v.kind != ir::ValueKind::kConstant || v.data == nullptr || v.data->size() != 1 ||
      !is_float(v.type.dtype))
    return std::nullopt;
  return converted(*v.data, DType::kF64).as<double>()[0];
}

bool Reader::all_equal(ValueId id, double value) const {
  const ir::Value& v = graph().value(id);
  if (v.kind != ir::ValueKind::kConstant || v.data == nullptr || !is_float(v.type.dtype)) return false;
  const Tensor wide = converted(*v.data, DType::kF64);
  const auto all = wide.as<double>();
  return std::all_of(all.begin(), all.end(), [&](double x) { return x == value; });
}

bool Reader::same(ValueId a, ValueId b, int depth) const {
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

ValueId Reader::other_operand(int64_t node, std::string_view op, ValueId with) const {
  if (node < 0) return kNone;
  const Node& n = graph().nodes[static_cast<size_t>(node)];
  if (n.op != op) return kNone;
  const ValueId other = n.inputs[0] == with ? n.inputs[1] : n.inputs[0];
  return other == with ? kNone : other;
}

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

}  // namespace halftone::pass::norms
