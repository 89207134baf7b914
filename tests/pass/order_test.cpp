// Nodes that have to wait do, all others keep their places.
#include "pass/order.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/op.h"
#include "ops/verify.h"

namespace halftone::pass {
namespace {

using ir::kNone;
using ir::Phase;
using ir::ValueId;
using ir::ValueKind;

struct Net {
  ir::Graph g;
  ops::Builder b{g, DType::kF32};
  ValueId value(ValueKind kind, std::string name) {
    ir::Value v;
    v.name = std::move(name);
    v.kind = kind;
    v.type = {DType::kF32, {3}};
    const ValueId id = g.add_value(std::move(v));
    if (kind == ValueKind::kInput) g.inputs.push_back(id);
    return id;
  }
  ValueId add(std::string name, Phase phase, std::string_view op, std::vector<ValueId> inputs) {
    b.set_origin(std::move(name));
    b.set_phase(phase);
    ops::Attributes attributes;
    if (op == "OptimizerStep")
      attributes = {{"kind", int64_t{0}},  {"rounding", int64_t{0}}, {"weight_decay", 0.0},
                    {"momentum", 0.0},     {"nesterov", int64_t{0}}, {"beta1", 0.0},
                    {"beta2", 0.0},        {"alpha", 0.0},           {"eps", 0.0},
                    {"stream", int64_t{0}}};
    const auto out = b.add(op, std::move(inputs), std::move(attributes));
    return out.empty() ? kNone : out[0];
  }
  std::string order() {
    order_nodes(g);
    ops::verify(g, "order_nodes");
    std::string out;
    for (const ir::Node& n : g.nodes) out += n.name + " ";
    return out;
  }
};

TEST(OrderNodes, TheVerdictComesFirstAndTheUpdateLast) {
  Net n;
  const ValueId w = n.value(ValueKind::kParameter, "w");
  const ValueId u = n.value(ValueKind::kParameter, "u");
  const ValueId x = n.value(ValueKind::kInput, "x");
  n.add("step w", Phase::kUpdate, "OptimizerStep", {w, x, kNone, kNone, kNone});
  const ValueId y = n.add("mul", Phase::kCompute, "Mul", {x, w});
  n.add("step u", Phase::kUpdate, "OptimizerStep", {u, x, kNone, kNone, kNone});
  n.add("probe", Phase::kUpdate, "Abs", {x});  // heeds nothing
  n.add("guard", Phase::kUpdate, "GradientGuard", {x});
  n.g.outputs = {n.add("add", Phase::kCompute, "Add", {y, u})};
  EXPECT_EQ(n.order(), "mul add probe guard step w step u ");
}

TEST(OrderNodes, ANodeWaitsForWhatItReads) {
  Net n;
  const ValueId x = n.value(ValueKind::kInput, "x");
  const ValueId a = n.add("a", Phase::kCompute, "Relu", {x});
  n.add("b", Phase::kCompute, "Neg", {a});
  n.add("c", Phase::kCompute, "Abs", {x});
  const ValueId d = n.add("d", Phase::kCompute, "Exp", {x});
  n.g.nodes[0].inputs[0] = d;  // as when a fused node takes a residual along
  EXPECT_EQ(n.order(), "c d a b ");
}

TEST(OrderNodes, WhoTouchesOneStateKeepsTheOrder) {
  Net n;
  const ValueId x = n.value(ValueKind::kInput, "x");
  const ValueId s = n.value(ValueKind::kState, "s");
  const ValueId late = n.value(ValueKind::kActivation, "late");
  n.add("before", Phase::kUpdate, "Mul", {s, late});
  n.add("writer", Phase::kUpdate, "GradientAccumulate", {s, x});
  n.add("behind", Phase::kUpdate, "Neg", {s});
  n.add("apart", Phase::kUpdate, "Abs", {x});
  n.add("maker", Phase::kUpdate, "Exp", {x});
  n.g.nodes.back().outputs[0] = late;
  // "before" waits for "late"; the writer must wait for "before", and "behind" for the writer.
  EXPECT_EQ(n.order(), "apart maker before writer behind ");
}

TEST(OrderNodes, RefusesACircle) {
  Net n;
  const ValueId x = n.value(ValueKind::kInput, "x");
  const ValueId a = n.add("a", Phase::kCompute, "Relu", {x});
  n.g.nodes[0].inputs[0] = n.add("b", Phase::kCompute, "Neg", {a});
  EXPECT_THROW(order_nodes(n.g), InternalError);
}

}  // namespace
}  // namespace halftone::pass
