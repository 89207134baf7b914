#include <map>

#include "base/error.h"
#include "ops/op.h"
#include "pass/plan.h"

namespace halftone::pass {
namespace {

using ir::kNone;
using ir::ValueId;

// Who wrote each byte of the arena last, as disjoint intervals.
class Ownership {
 public:
  void write(int64_t begin, int64_t end, ValueId owner) {
    if (begin == end) return;
    cut(begin);
    cut(end);
    intervals_.erase(intervals_.lower_bound(begin), intervals_.lower_bound(end));
    intervals_[begin] = {end, owner};
  }
  // The first foreign owner in [begin, end), or `owner` when all of it is its own.
  ValueId check(int64_t begin, int64_t end, ValueId owner) {
    int64_t at = begin;
    cut(begin);
    cut(end);
    for (auto it = intervals_.lower_bound(begin); it != intervals_.end() && it->first < end; ++it) {
      if (it->first != at) return kNone;
      if (it->second.owner != owner) return it->second.owner;
      at = it->second.end;
    }
    return at == end ? owner : kNone;
  }

 private:
  struct Interval {
    int64_t end;
    ValueId owner;
  };
  // Makes `at` a boundary.
  void cut(int64_t at) {
    auto it = intervals_.upper_bound(at);
    if (it == intervals_.begin()) return;
    --it;
    if (it->first < at && at < it->second.end) {
      const Interval whole = it->second;
      it->second.end = at;
      intervals_[at] = {whole.end, whole.owner};
    }
  }
  std::map<int64_t, Interval> intervals_;
};

}  // namespace

void check_plan(const ir::Graph& graph, const Plan& plan, const std::vector<int64_t>& scratch_bytes,
                const std::vector<int64_t>& scratch_first) {
  HT_ASSERT(plan.places.size() == graph.values.size() && scratch_bytes.size() == graph.nodes.size() &&
            plan.scratch_offsets.size() == graph.nodes.size() &&
            (scratch_first.empty() || scratch_first.size() == graph.nodes.size()));
  Ownership owned;
  // A view's content is its source's: what must be intact is the last real write behind it.
  std::vector<ValueId> content(graph.values.size());
  for (size_t v = 0; v < content.size(); ++v) content[v] = static_cast<ValueId>(v);
  // What a node writes in place (ops::Effects) is other content from then on; views that were made before
  // mean the old one.
  std::vector<const ir::Node*> changed_by(graph.values.size(), nullptr);  // the last, of a persistent value
  std::vector<const ir::Node*> made_after(graph.values.size(),
                                          nullptr);  // of a view: who had changed its source last by then

  // Scratch has owners as well, beyond the values.
  const auto scratch_of = [&](size_t node) { return static_cast<ValueId>(graph.values.size() + node); };
  const auto owner_name = [&](ValueId owner) -> std::string {
    if (owner == kNone) return "nobody";
    const auto index = static_cast<size_t>(owner);
    return index < graph.values.size() ? graph.value(owner).name
                                       : "the scratch of " + graph.nodes[index - graph.values.size()].name;
  };
  const auto place = [&](ValueId id) -> const Place& { return plan.places[static_cast<size_t>(id)]; };
  const auto persistent = [&](ValueId id) {
    const ir::ValueKind kind = graph.value(content[static_cast<size_t>(id)]).kind;
    return kind == ir::ValueKind::kParameter || kind == ir::ValueKind::kState ||
           kind == ir::ValueKind::kConstant;
  };
  const auto require_intact = [&](ValueId id, const std::string& reader) {
    if (id == kNone) return;
    if (const auto source = static_cast<size_t>(content[static_cast<size_t>(id)]);
        persistent(id) && static_cast<size_t>(id) != source)
      HT_ASSERT(made_after[static_cast<size_t>(id)] == changed_by[source],
                "{} reads {}, a view of {}, which {} {} has written since", reader, graph.value(id).name,
                graph.values[source].name, changed_by[source]->op, changed_by[source]->name);
    if (persistent(id) || place(id).bytes == 0) return;
    const Place& p = place(id);
    HT_ASSERT(p.offset >= 0 && p.offset % kPlaceAlignment == 0 && p.offset + p.bytes <= plan.arena_bytes,
              "value {} has no place", graph.value(id).name);
    const ValueId writer = owned.check(p.offset, p.offset + p.bytes, content[static_cast<size_t>(id)]);
    HT_ASSERT(writer == content[static_cast<size_t>(id)], "{} reads {}, whose bytes belong to {}", reader,
              graph.value(id).name, owner_name(writer));
  };
  // Takes possession of the scratch of node `of` for node `i`, which must leave what `i` reads and writes
  // alone.
  const auto take_scratch = [&](size_t of, size_t i) {
    const int64_t begin = plan.scratch_offsets[of];
    const int64_t end = begin + scratch_bytes[of];
    if (begin == end) return;
    const ir::Node& node = graph.nodes[i];
    HT_ASSERT(begin >= 0 && begin % kPlaceAlignment == 0 && end <= plan.arena_bytes,
              "the scratch of {} {} has no place", node.op, node.name);
    for (const auto* ids : {&node.inputs, &node.outputs})
      for (const ValueId id : *ids) {
        if (id == kNone || persistent(id) || place(id).bytes == 0 || place(id).offset < 0) continue;
        HT_ASSERT(end <= place(id).offset || place(id).offset + place(id).bytes <= begin,
                  "the scratch of {} {} has no room of its own", node.op, node.name);
      }
    owned.write(begin, end, scratch_of(of));
  };
  // By the node at which it is first written, when that is an earlier one.
  std::multimap<size_t, size_t> ahead;
  for (size_t i = 0; i < scratch_first.size(); ++i)
    if (scratch_first[i] != static_cast<int64_t>(i)) ahead.emplace(static_cast<size_t>(scratch_first[i]), i);

  for (size_t v = 0; v < graph.values.size(); ++v)
    if (graph.values[v].kind == ir::ValueKind::kInput && plan.places[v].offset >= 0)
      owned.write(plan.places[v].offset, plan.places[v].offset + plan.places[v].bytes,
                  static_cast<ValueId>(v));

  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const ir::Node& node = graph.nodes[i];
    const ops::OpDef& op = ops::find(node.op);
    for (const ValueId id : node.inputs) require_intact(id, node.op + " " + node.name);
    for (const size_t k : op.effects.writes) {
      if (k >= node.inputs.size() || node.inputs[k] == kNone) continue;
      const ValueId written = content[static_cast<size_t>(node.inputs[k])];
      HT_ASSERT(persistent(written), "{} {} writes {}, which lies in the arena", node.op, node.name,
                graph.value(written).name);
      for (size_t other = 0; other < node.inputs.size(); ++other)
        HT_ASSERT(other == k || node.inputs[other] == kNone ||
                      content[static_cast<size_t>(node.inputs[other])] != written,
                  "{} {} writes {} and reads {}, which is the same memory", node.op, node.name,
                  graph.value(written).name, graph.value(node.inputs[other]).name);
      changed_by[static_cast<size_t>(written)] = &node;
    }
    if (!scratch_first.empty() && scratch_first[i] != static_cast<int64_t>(i) && scratch_bytes[i] > 0) {
      const int64_t begin = plan.scratch_offsets[i];
      const ValueId writer = owned.check(begin, begin + scratch_bytes[i], scratch_of(i));
      HT_ASSERT(writer == scratch_of(i), "{} {} began in scratch whose bytes belong to {} now", node.op,
                node.name, owner_name(writer));
    }
    take_scratch(i, i);
    for (auto [it, last] = ahead.equal_range(i); it != last; ++it) {
      const int64_t begin = plan.scratch_offsets[it->second];
      const int64_t end = begin + scratch_bytes[it->second];
      HT_ASSERT(end <= plan.scratch_offsets[i] || plan.scratch_offsets[i] + scratch_bytes[i] <= begin,
                "the scratch of {} {} and of the early stage beside it overlap", node.op, node.name);
      take_scratch(it->second, i);
    }
    for (size_t k = 0; k < node.outputs.size(); ++k) {
      const ValueId out = node.outputs[k];
      if (out == kNone) continue;
      if (op.alias == ops::Alias::kView && k == 0) {
        content[static_cast<size_t>(out)] = content[static_cast<size_t>(node.inputs[0])];
        made_after[static_cast<size_t>(out)] =
            changed_by[static_cast<size_t>(content[static_cast<size_t>(out)])];
        continue;
      }
      const Place& o = place(out);
      if (o.bytes == 0) continue;
      HT_ASSERT(o.offset >= 0, "{} {} writes to a persistent value", node.op, node.name);
      for (size_t input = 0; input < node.inputs.size(); ++input) {
        const ValueId in = node.inputs[input];
        if (in == kNone || persistent(in)) continue;
        const Place& p = place(in);
        const bool apart = o.offset + o.bytes <= p.offset || p.offset + p.bytes <= o.offset;
        const bool allowed = (op.alias == ops::Alias::kMayShare && k == 0) ||
                             (op.overwrites && op.overwrites->input == input && op.overwrites->output == k);
        const bool heir = allowed && o.offset == p.offset && o.bytes == p.bytes;
        HT_ASSERT(apart || heir, "{} {} overwrites its input while it runs", node.op, node.name);
      }
      for (size_t other = 0; other < k; ++other) {
        if (node.outputs[other] == kNone) continue;
        const Place& p = place(node.outputs[other]);
        HT_ASSERT(o.offset + o.bytes <= p.offset || p.offset + p.bytes <= o.offset,
                  "two outputs of {} {} overlap", node.op, node.name);
      }
      owned.write(o.offset, o.offset + o.bytes, out);
    }
  }
  for (const ValueId id : graph.outputs) require_intact(id, "the end");
}

}  // namespace halftone::pass
