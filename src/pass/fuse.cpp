#include "pass/fuse.h"

#include <algorithm>

#include "ir/chains.h"
#include "ops/op.h"
#include "ops/verify.h"
#include "pass/order.h"

namespace halftone::pass {
namespace {

using ir::Chain;
using ir::Node;

// What the chain's first node can do before it stores its result, if it has nothing to do there yet.
const ops::Behind* free_behind(const Chain& c) {
  const Node& first = c.node(0);
  const std::optional<ops::Behind>& behind = ops::find(first.op).behind;
  const bool is_free =
      behind && first.inputs.size() <= behind->residual && !first.attributes.has("activation");
  return is_free ? &*behind : nullptr;
}
bool has(const std::vector<std::string_view>& activations, const Node& node) {
  return std::find(activations.begin(), activations.end(), node.op) != activations.end();
}

// The chain's second node is a sum with a tensor of the same type.
bool takes_residual(const Chain& c) {
  return free_behind(c) != nullptr && c.graph().value(c.other(1)).type == c.type(0);
}
bool takes_activation(const Chain& c) {
  const ops::Behind* behind = free_behind(c);
  return behind != nullptr && has(behind->activations, c.node(1));
}
bool takes_both(const Chain& c) {
  return takes_residual(c) && has(free_behind(c)->after_residual, c.node(2));
}

void take_residual(const Chain& c) {
  const size_t residual = free_behind(c)->residual;
  c.node(0).inputs.resize(residual, ir::kNone);
  c.node(0).inputs.push_back(c.other(1));
}
void take_activation(Node& node, const Node& activation) {
  node.attributes.set("activation", activation.op);
  if (activation.op != "Clip") return;
  node.attributes.set("low", activation.attributes.float_at("alpha"));
  node.attributes.set("high", activation.attributes.float_at("beta"));
}

// The longer ones first. Every operator that declares what it can do (ops::Behind) begins such a chain.
const ir::ChainRow kRows[] = {
    {.pattern = {"", "Add", ""},
     .guard = takes_both,
     .keeps = 0,
     .replace =
         [](const Chain& c) {
           take_residual(c);
           take_activation(c.node(0), c.node(2));
         }},
    {.pattern = {"", "Add"}, .guard = takes_residual, .keeps = 0, .replace = take_residual},
    {.pattern = {"", ""},
     .guard = takes_activation,
     .keeps = 0,
     .replace = [](const Chain& c) { take_activation(c.node(0), c.node(1)); }},
};

}  // namespace

void fuse(ir::Graph& graph) {
  ir::rewrite_chains(graph, kRows);
  order_nodes(graph);  // a node may read a residual now that is made later
  ops::verify(graph, "fuse");
}

}  // namespace halftone::pass
