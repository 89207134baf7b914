#include "pass/statistics.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "ops/verify.h"

namespace halftone::pass {
namespace {

using ir::kNone;
using ir::ValueId;

// Copies what `outputs` depend on. Returns the new id of each value, kNone where it was left out.
std::vector<ValueId> copy_part(const ir::Graph& whole, const std::vector<ValueId>& outputs, ir::Graph& part) {
  std::vector<bool> live(whole.values.size(), false);
  for (const ValueId id : outputs) live[static_cast<size_t>(id)] = true;
  std::vector<bool> kept(whole.nodes.size(), false);
  for (size_t i = whole.nodes.size(); i-- > 0;) {
    const ir::Node& node = whole.nodes[i];
    kept[i] = std::any_of(node.outputs.begin(), node.outputs.end(),
                          [&](ValueId id) { return id != kNone && live[static_cast<size_t>(id)]; });
    if (!kept[i]) continue;
    for (const ValueId id : node.inputs)
      if (id != kNone) live[static_cast<size_t>(id)] = true;
  }
  std::vector<ValueId> place(whole.values.size(), kNone);
  const auto copied = [&](ValueId id) {
    if (id == kNone) return kNone;
    ValueId& to = place[static_cast<size_t>(id)];
    if (to == kNone) {
      HT_ASSERT(whole.value(id).source == kNone, "what is measured must not depend on {}",
                whole.value(id).name);
      to = part.add_value(whole.value(id));
    }
    return to;
  };
  for (const ValueId id : whole.inputs)
    if (live[static_cast<size_t>(id)]) part.inputs.push_back(copied(id));
  for (size_t i = 0; i < whole.nodes.size(); ++i) {
    if (!kept[i]) continue;
    ir::Node node = whole.nodes[i];
    for (ValueId& id : node.inputs) id = copied(id);
    for (ValueId& id : node.outputs) id = copied(id);
    part.nodes.push_back(std::move(node));
  }
  for (const ValueId id : outputs) part.outputs.push_back(place[static_cast<size_t>(id)]);
  return place;
}

}  // namespace

StatisticsGraph statistics_graph(const ir::Graph& training, const std::vector<ValueId>& inputs) {
  const std::vector<int32_t> producers = training.producers();
  StatisticsGraph s;
  std::vector<ValueId> outputs;
  std::set<std::string> names;
  for (const ir::Node& update : training.nodes) {
    if (update.op != "UpdateStatistics") continue;
    const double momentum = update.attributes.float_or("momentum", 0.9);
    if (momentum == 1) continue;  // the running statistics stand still: frozen in the file
    // (pending mean, pending variance, batch mean, batch variance): the pending ones are derived from the
    // running ones.
    const auto running = [&](size_t input) -> const std::string& {
      const ValueId source = training.value(update.inputs[input]).source;
      HT_ASSERT(source != kNone, "{}", update.name);
      return training.value(source).name;
    };
    const int32_t norm = producers[static_cast<size_t>(update.inputs[2])];
    HT_ASSERT(norm >= 0 && training.nodes[static_cast<size_t>(norm)].op == "BatchNormTrain", "{}",
              update.name);
    StatisticsOfNorm n;
    n.node = training.nodes[static_cast<size_t>(norm)].name;
    n.mean = running(0);
    n.variance = running(1);
    n.batch_mean = update.inputs[2];
    n.batch_variance = update.inputs[3];
    n.epsilon = training.nodes[static_cast<size_t>(norm)].attributes.float_or("epsilon", 1e-5);
    n.momentum = momentum;
    HT_ASSERT(names.insert(n.mean).second && names.insert(n.variance).second, "{} has two batch norms",
              n.mean);
    outputs.insert(outputs.end(), {n.batch_mean, n.batch_variance});
    s.norms.push_back(std::move(n));
  }
  if (s.norms.empty()) return s;
  const std::vector<ValueId> place = copy_part(training, outputs, s.graph);
  for (const ValueId id : inputs) s.inputs.push_back(place[static_cast<size_t>(id)]);
  for (StatisticsOfNorm& n : s.norms) {
    n.batch_mean = place[static_cast<size_t>(n.batch_mean)];
    n.batch_variance = place[static_cast<size_t>(n.batch_variance)];
  }
  ops::verify(s.graph, "statistics_graph");
  return s;
}

}  // namespace halftone::pass
