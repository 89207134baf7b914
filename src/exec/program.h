// A compiled program: a flat list of steps over planned memory. Compiling checks everything, so that running
// can't fail.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "exec/arena.h"
#include "exec/work.h"
#include "kern/dispatch.h"
#include "ops/row_listener.h"
#include "pass/plan.h"
#include "pass/watch.h"

namespace halftone::exec {

// How long a tensor of the store lives (ir::Value::lifetime), and of which it is derived.
struct Keeping {
  ir::Lifetime lifetime = ir::Lifetime::kCheckpointed;
  std::string source = {};
  bool operator==(const Keeping&) const = default;
};

// Persistent tensors by name: parameters in storage precision and layout, running statistics, optimizer
// state. Shared by the programs of a session.
class Store {
 public:
  // The tensor of this name; created zeroed when it isn't there. Error (ours) when it is there with another
  // type.
  Tensor& get(const std::string& name, const ir::Type& type);
  // The same for a program, which says how it lives. Error (ours) when another has said otherwise.
  Tensor& get(const std::string& name, const ir::Type& type, const Keeping& keeping);
  void put(const std::string& name, Tensor tensor);  // makes or replaces
  Tensor* find(const std::string& name);
  const Tensor* find(const std::string& name) const;
  std::map<std::string, Tensor>& all() { return tensors_; }
  const std::map<std::string, Tensor>& all() const { return tensors_; }
  int64_t bytes() const;

  // As the programs that use it say; checkpointed as long as none has.
  ir::Lifetime lifetime(const std::string& name) const;
  // What is derived becomes equal to its source, as it is between steps: after sources were replaced, or a
  // step was given up.
  void restore_derived();
  // What a step that was given up left in its scratch becomes 0.
  void clear_scratch();

 private:
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, Keeping> keeping_;
};

struct NonFinite {
  std::string node;   // ONNX node
  std::string op;     // our operator
  std::string value;  // which of its outputs
  int64_t at = -1;    // the node's index in the graph; -1: the value is there before the first node
  ir::ValueKind kind = ir::ValueKind::kActivation;  // of the value
};

class Program {
 public:
  // The graph's parameters and states are bound to the store by name (and created in it, zeroed, when
  // missing). lent: inputs of the graph that lie in memory of whoever feeds them (lend).
  Program(ir::Graph graph, const kern::Kernels& kernels, kern::Multiply multiply, par::Pool& pool,
          Store& store, Arena& arena, const std::vector<ir::ValueId>& lent = {});

  const ir::Graph& graph() const { return graph_; }
  const pass::Plan& plan() const { return plan_; }

  // What its matrix products and convolutions compute, one entry a node.
  std::vector<kern::Product> products() const;

  // How many nodes have their early stage run hand in hand with an earlier node (ops/row_listener.h).
  int64_t pairs() const;

  // Whether any step of the phase is worth more than one thread (exec/work.h).
  bool shares(ir::Phase phase) const;
  // The pool for work of so many nanoseconds before or after a phase.
  par::Pool& pool_for(ir::Phase phase, double ns) {
    return ns >= kLeastSharedNs && shares(phase) ? pool_ : alone_;
  }

  // Activations, scratch and constants of this program.
  int64_t arena_bytes() const { return plan_.arena_bytes; }
  int64_t constant_bytes() const;

  // Reserves the arena (which may move) and points every step at its memory. Before `run` whenever another
  // program may have grown the arena.
  void attach();

  // Where a value lies; valid after attach() until the arena grows. Graph inputs are written here before
  // run(kCompute).
  void* data(ir::ValueId id) const;

  bool is_lent(ir::ValueId id) const { return lent_[static_cast<size_t>(id)]; }
  // From now on this input has these elements, 64-byte aligned, which stay there for as long as a node that
  // reads it is run, or data() of it is read.
  void lend(ir::ValueId id, const void* elements);

  // All nodes of a phase, in order. Error when a node met a number that it cannot go on with, as an index
  // outside its range: nothing after that node has run.
  void run(ir::Phase phase, ops::StepState& step);

  // From now on these values are looked at as soon as they are there (pass/watch.h); `sometimes` only in runs
  // for which look_at_all() holds.
  void watch(const pass::Watch& values);
  void look_at_all(bool all) { looks_at_all_ = all; }
  // Those of them that had an infinity or a NaN in the last run of the compute phase, in the order of
  // execution.
  const std::vector<NonFinite>& noticed() const { return noticed_; }

  // From now on every node's time is measured (two clock readings a node: well below a microsecond). A first
  // stage that runs hand in hand with an earlier node counts as that node's.
  void measure_time() { measure_time_ = true; }
  // Seconds by operator since then, the longest first.
  std::vector<std::pair<std::string, double>> time_by_operator() const;

  // Runs one node of the compute phase, without a stage of another; nodes in ascending order give what run()
  // gives. Behind it what it wrote is in its place, and what it read, unless it overwrote that.
  void run_node(int64_t index, ops::StepState& step);
  // Whether a node writes this output: others than the first only when they are read. Valid after attach().
  bool computes(int64_t index, size_t output) const {
    return steps_[static_cast<size_t>(index)].out[output] != nullptr;
  }
  // Runs the compute phase node by node and returns the first output that is not finite although all of its
  // node's float inputs are; if there is none, the first output that is not finite. Infinite constants are no
  // fault: masks have them.
  std::optional<NonFinite> find_non_finite(ops::StepState& step);
  // Whether a value's elements are all finite, where it lies now. Other types than floats are.
  bool all_finite(ir::ValueId id) const;

 private:
  struct Look {
    ir::ValueId id;
    bool always;
  };
  struct Step {
    const ir::Node* node;
    ops::Prepared prepared;
    std::vector<const void*> in;
    std::vector<void*> out;
    std::vector<void*> inout;  // RunContext::inout; empty: it writes no input
    double seconds = 0;
    Step* next = nullptr;  // whose early stage runs hand in hand with this, by `row_listener`
    std::unique_ptr<ops::RowListener> row_listener;
    bool early_stage_done = false;  // its early stage runs hand in hand with an earlier step
    bool shared = false;      // with the other threads of the pool; else the calling thread does it alone
    std::vector<Look> looks;  // at its outputs
  };
  // Finds the pairs of steps that go hand in hand; returns for each the index of the step in which it begins.
  std::vector<int64_t> pair_steps();
  void choose_shared_steps();
  ops::RunContext context_of(const Step& step, ops::StepState& state);
  std::byte* scratch_of(const Step& step) const;
  // Error when the step that just ran met a number it cannot go on with.
  void check_fault(const Step& step, ops::StepState& state);
  void look(const std::vector<Look>& looks, int64_t node, par::Pool& pool);

  ir::Graph graph_;
  const kern::Kernels& kernels_;
  par::Pool& pool_;
  par::Pool alone_{1};
  Arena& arena_;
  pass::Plan plan_;
  std::vector<Step> steps_;
  std::vector<void*> persistent_;  // for each value: its storage, or null when it lies in the arena
  std::vector<bool> lent_;         // of each value: an input whose storage is lent
  std::vector<bool> read_;         // of each value: whether anybody reads it
  std::vector<std::unique_ptr<Tensor>> constants_;
  const void* attached_ = nullptr;
  bool measure_time_ = false;
  std::vector<Look> looks_at_inputs_;
  bool looks_at_all_ = false;
  std::vector<NonFinite> noticed_;
};

}  // namespace halftone::exec
