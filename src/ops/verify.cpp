#include "ops/verify.h"

#include <algorithm>
#include <exception>
#include <new>

#include "base/error.h"
#include "ops/effects.h"

namespace halftone::ops {
namespace {

// The node's types by its operator's rule.
void verify_types(const ir::Graph& graph, const ir::Node& node, const std::string& after_pass) {
  std::vector<Type> types;
  try {
    types = find(node.op).infer(InferContext{graph, node});
  } catch (const std::bad_alloc&) {
    throw;  // says nothing about the node
  } catch (const std::exception& e) {
    HT_ASSERT(false, "after {}: {} {} does not fit its inputs any more: {}", after_pass, node.op, node.name,
              e.what());
  }
  HT_ASSERT(node.outputs.size() <= types.size(), "after {}: {} {} has {} outputs, its operator gives {}",
            after_pass, node.op, node.name, node.outputs.size(), types.size());
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i] == kNone) continue;
    const Type& type = graph.value(node.outputs[i]).type;
    HT_ASSERT(type == types[i],
              "after {}: output {} of {} {} is recorded as {} {}, and its operator gives {} {}", after_pass,
              i, node.op, node.name, name_of(type.dtype), to_string(type.shape), name_of(types[i].dtype),
              to_string(types[i].shape));
  }
}

class EffectsVerifier {
 public:
  EffectsVerifier(const ir::Graph& graph, const std::string& after_pass)
      : graph_(graph),
        after_(after_pass),
        writer_(graph.values.size(), nullptr),
        moved_(graph.values.size(), false),
        settled_(graph.values.size(), false) {}

  void run() {
    verify_phase(ir::Phase::kCompute);
    moved_ = written();
    std::fill(writer_.begin(), writer_.end(), nullptr);
    verify_phase(ir::Phase::kUpdate);
    settled_ = written();
    for (size_t v = 0; v < graph_.values.size(); ++v)
      HT_ASSERT(graph_.values[v].lifetime != ir::Lifetime::kDerived || !moved_[v] || settled_[v],
                "after {}: micro-batches move {}, and no node of the update phase makes it equal to {} again",
                after_, graph_.values[v].name, graph_.value(graph_.values[v].source).name);
  }

 private:
  static std::string called(const ir::Node& node) { return node.op + " " + node.name; }

  void verify_phase(ir::Phase phase) {
    read_before_.assign(graph_.values.size(), nullptr);
    for (const ir::Node& node : graph_.nodes) {
      if (node.phase != phase) continue;
      verify_verdict(node);
      for (size_t i = 0; i < node.inputs.size(); ++i)
        if (node.inputs[i] != kNone && !writes(node, i)) verify_read(node, node.inputs[i], phase);
      for (const size_t i : find(node.op).effects.writes)
        if (i < node.inputs.size() && node.inputs[i] != kNone) verify_write(node, i);
    }
  }

  void verify_read(const ir::Node& node, ValueId id, ir::Phase phase) {
    const auto v = static_cast<size_t>(id);
    if (!graph_.value(id).persistent()) return;
    HT_ASSERT(graph_.value(id).lifetime != ir::Lifetime::kScratch || writer_[v] != nullptr || moved_[v],
              "after {}: {} reads {}, which lives for a step, before any node writes it", after_,
              called(node), graph_.value(id).name);
    if (writer_[v] == nullptr) {
      read_before_[v] = &node;
      return;
    }
    HT_ASSERT(phase == ir::Phase::kUpdate || read_before_[v] == nullptr,
              "after {}: {} reads {} before {} writes it, and {} behind that, so they compute with different "
              "numbers",
              after_, called(*read_before_[v]), graph_.value(id).name, called(*writer_[v]), called(node));
  }

  void verify_write(const ir::Node& node, size_t input) {
    const ValueId id = node.inputs[input];
    const ir::Value& value = graph_.value(id);
    const auto v = static_cast<size_t>(id);
    static const char* const kKinds[] = {"the result of a node, which others may read",
                                         "an input of the graph", "", "", "a constant"};
    HT_ASSERT(value.persistent(),
              "after {}: {} writes {}, which is {}: only parameters and states are changed in place", after_,
              called(node), value.name, kKinds[static_cast<size_t>(value.kind)]);
    HT_ASSERT(writer_[v] == nullptr,
              "after {}: {} and {} write {} in one phase, and nothing says which comes first", after_,
              called(*writer_[v]), called(node), value.name);
    HT_ASSERT(std::count(node.inputs.begin(), node.inputs.end(), id) == 1,
              "after {}: {} writes {}, which is another input of it too", after_, called(node), value.name);
    writer_[v] = &node;
  }

  void verify_verdict(const ir::Node& node) {
    switch (verdict_of(node)) {
      case Verdict::kIgnores:
        return;
      case Verdict::kGives:
        HT_ASSERT(giver_ == nullptr, "after {}: {} and {} both give the verdict on the step", after_,
                  called(*giver_), called(node));
        HT_ASSERT(first_heeder_ == nullptr,
                  "after {}: {} heeds the verdict on the step, which {} gives behind it", after_,
                  called(*first_heeder_), called(node));
        giver_ = &node;
        return;
      case Verdict::kHeeds:
        if (first_heeder_ == nullptr) first_heeder_ = &node;
        return;
    }
  }

  std::vector<bool> written() const {
    std::vector<bool> out(writer_.size());
    for (size_t v = 0; v < out.size(); ++v) out[v] = writer_[v] != nullptr;
    return out;
  }

  const ir::Graph& graph_;
  const std::string& after_;
  std::vector<const ir::Node*> writer_;       // of each value, in the phase that is looked at
  std::vector<const ir::Node*> read_before_;  // a node that read it before that
  std::vector<bool> moved_;                   // written when micro-batches run
  std::vector<bool> settled_;                 // written by the update
  const ir::Node* giver_ = nullptr;
  const ir::Node* first_heeder_ = nullptr;
};

}  // namespace

void verify(const ir::Graph& graph, const std::string& after_pass) {
  ir::verify(graph, after_pass);
  for (const ir::Node& node : graph.nodes) verify_types(graph, node, after_pass);
  EffectsVerifier(graph, after_pass).run();
}

}  // namespace halftone::ops
