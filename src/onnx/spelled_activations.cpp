#include "onnx/spelled_activations.h"

#include <array>
#include <cmath>
#include <optional>

#include "ir/chains.h"
#include "ir/links.h"
#include "ops/fold.h"

namespace halftone::onnx {
namespace {

using ir::kNone;
using ir::Node;
using ir::ValueId;

// c[0] + c[1] x + c[2] x^2 + c[3] x^3.
using Polynomial = std::array<double, 4>;

// Exporters write the constants in fp32, some with seven digits.
bool near(double a, double b) {
  return std::fabs(a - b) <= 2e-6 * std::fabs(b);
}
double number(const Node& n, const char* name, double otherwise) {
  return n.attributes.float_or(name, otherwise);
}
bool is_linear(const Polynomial& p) {
  return p[0] == 0 && p[2] == 0 && p[3] == 0;
}
bool same(const Polynomial& p, const Polynomial& wanted) {
  for (size_t i = 0; i < p.size(); ++i)
    if (!(wanted[i] == 0 ? p[i] == 0 : near(p[i], wanted[i]))) return false;
  return true;
}

class Joiner {
 public:
  explicit Joiner(ir::Graph& graph) : graph_(graph), links_(graph) {}

  void run() {
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const std::string& op = graph_.nodes[i].op;
      if (op == "Erf" || op == "Tanh" || op == "Sigmoid") follow_gate(i);
    }
  }

 private:
  const Node* producer(ValueId id) const { return links_.producer(id); }
  const Shape& shape(ValueId id) const { return graph_.value(id).type.shape; }

  // The number by which a Div divides.
  std::optional<double> divisor(const Node& n) const {
    if (n.op != "Div" || shape(n.inputs[0]) != shape(n.outputs[0])) return std::nullopt;
    const ir::Value& b = graph_.value(n.inputs[1]);
    return b.kind == ir::ValueKind::kConstant ? ops::scalar_of(b.data.get()) : std::nullopt;
  }

  // `id` as a polynomial in x, if it is one of at most the third degree.
  std::optional<Polynomial> polynomial(ValueId id, ValueId x, int depth = 0) const {
    if (id == x) return Polynomial{0, 1, 0, 0};
    const Node* n = producer(id);
    if (n == nullptr || depth > 8 || shape(id) != shape(x)) return std::nullopt;
    const auto of = [&](size_t i) { return polynomial(n->inputs[i], x, depth + 1); };
    if (n->op == "Scale") {
      auto p = of(0);
      if (!p) return p;
      for (double& c : *p) c *= number(*n, "alpha", 1);
      (*p)[0] += number(*n, "beta", 0);
      return p;
    }
    if (n->op == "Neg") {
      auto p = of(0);
      if (p)
        for (double& c : *p) c = -c;
      return p;
    }
    if (const std::optional<double> by = divisor(*n)) {
      auto p = of(0);
      if (p)
        for (double& c : *p) c /= *by;
      return p;
    }
    if (n->op == "Add" || n->op == "Sub") {
      auto a = of(0);
      const auto b = of(1);
      if (!a || !b) return std::nullopt;
      for (size_t i = 0; i < a->size(); ++i) (*a)[i] += n->op == "Add" ? (*b)[i] : -(*b)[i];
      return a;
    }
    if (n->op == "Mul") {
      const auto a = of(0);
      const auto b = of(1);
      return a && b ? product(*a, *b) : std::nullopt;
    }
    if (n->op == "PowScalar") {
      const auto p = of(0);
      const double exponent = number(*n, "alpha", 1);
      if (!p || (exponent != 2 && exponent != 3)) return std::nullopt;
      const auto square = product(*p, *p);
      return exponent == 2 || !square ? square : product(*square, *p);
    }
    return std::nullopt;
  }
  static std::optional<Polynomial> product(const Polynomial& a, const Polynomial& b) {
    Polynomial p{};
    for (size_t i = 0; i < a.size(); ++i)
      for (size_t j = 0; j < b.size(); ++j) {
        if (a[i] * b[j] == 0) continue;
        if (i + j >= p.size()) return std::nullopt;
        p[i + j] += a[i] * b[j];
      }
    return p;
  }

  // From a gate upward, through all that makes of it (a gate + b) w.
  void follow_gate(size_t gate) {
    double a = 1;
    double b = 0;
    ValueId w = kNone;
    ValueId at = graph_.nodes[gate].outputs[0];
    for (;;) {
      const int64_t reader = links_.only_reader(at);
      if (reader < 0) return;
      const auto next = static_cast<size_t>(reader);
      const Node& n = graph_.nodes[next];
      if (n.op == "Scale") {
        const double alpha = number(n, "alpha", 1);
        const double beta = number(n, "beta", 0);
        if (w != kNone && beta != 0) return;
        a *= alpha;
        b = b * alpha + beta;
      } else if (const std::optional<double> by = divisor(n); by && n.inputs[0] == at) {
        a /= *by;
        b /= *by;
      } else if (n.op == "Mul" && w == kNone) {
        w = n.inputs[0] == at ? n.inputs[1] : n.inputs[0];
        if (w == at) return;  // a square
      } else {
        return;
      }
      at = n.outputs[0];
      if (w != kNone && join(gate, a, b, w, next)) return;
    }
  }

  // (a gate + b) w, computed by the node `root`, if that is an activation.
  bool join(size_t gate, double a, double b, ValueId w, size_t root) {
    const Node& g = graph_.nodes[gate];
    // x is w, or what w is a multiple of.
    for (ValueId x = w;;) {
      if (shape(x) != shape(graph_.nodes[root].outputs[0])) return false;
      const auto of_w = polynomial(w, x);
      if (!of_w || !is_linear(*of_w)) return false;
      const double scale = (*of_w)[1];
      if (const auto name = activation(g, a * scale, b * scale, x)) {
        replace(root, *name, x);
        return true;
      }
      const Node* n = producer(x);
      if (n == nullptr || (n->op != "Scale" && !divisor(*n))) return false;
      x = n->inputs[0];
    }
  }

  struct Activation {
    const char* op;
    double alpha = 0;
  };
  // x (a gate + b).
  std::optional<Activation> activation(const Node& g, double a, double b, ValueId x) const {
    if (g.op == "Sigmoid") {
      const auto p = polynomial(g.inputs[0], x);
      if (!p || !is_linear(*p) || !near(a, 1) || b != 0) return std::nullopt;
      if ((*p)[1] == 1) return Activation{"Silu"};
      return Activation{"Swish", (*p)[1]};
    }
    if (g.op == "Tanh" && near(a, 1) && b == 0) {
      const Node* inner = producer(g.inputs[0]);
      if (inner != nullptr && inner->op == "Softplus" && inner->inputs[0] == x) return Activation{"Mish"};
      return std::nullopt;
    }
    if (!near(a, 0.5) || !near(b, 0.5)) return std::nullopt;
    const auto p = polynomial(g.inputs[0], x);
    if (!p) return std::nullopt;
    if (g.op == "Erf" && same(*p, {0, std::sqrt(0.5), 0, 0})) return Activation{"Gelu"};
    const double slope = std::sqrt(2 / M_PI);
    if (g.op == "Tanh" && same(*p, {0, slope, 0, slope * 0.044715})) return Activation{"GeluTanh"};
    return std::nullopt;
  }

  void replace(size_t root, const Activation& activation, ValueId x) {
    Node& n = graph_.nodes[root];
    n.op = activation.op;
    n.inputs = {x};
    n.attributes = {};
    if (activation.alpha != 0) n.attributes.set("alpha", activation.alpha);
  }

  ir::Graph& graph_;
  const ir::Links links_;
};

// What is one chain of nodes.
const ir::ChainRow kChains[] = {
    // log(1 + exp(x))
    {.pattern = {"Exp", "Scale", "Log"},
     .guard =
         [](const ir::Chain& c) {
           return number(c.node(1), "alpha", 1) == 1 && number(c.node(1), "beta", 0) == 1;
         },
     .keeps = 2,
     .replace =
         [](const ir::Chain& c) {
           c.node(2).op = "Softplus";
           c.node(2).inputs = c.node(0).inputs;
           c.node(2).attributes = {};
         }},
};

}  // namespace

void join_spelled_activations(ir::Graph& graph) {
  ir::rewrite_chains(graph, kChains);  // first: Mish has a Softplus
  Joiner(graph).run();
}

}  // namespace halftone::onnx
