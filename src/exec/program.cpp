#include "exec/program.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/clock.h"
#include "base/error.h"
#include "base/stop.h"
#include "kern/finite.h"
#include "ops/chunks.h"
#include "ops/effects.h"
#include "ops/verify.h"

namespace halftone::exec {

using ir::kNone;
using ir::ValueId;

Tensor& Store::get(const std::string& name, const ir::Type& type, const Keeping& keeping) {
  const auto [known, first] = keeping_.emplace(name, keeping);
  HT_ASSERT(first || known->second == keeping, "two programs keep {} in different ways", name);
  return get(name, type);
}

Tensor& Store::get(const std::string& name, const ir::Type& type) {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) return tensors_.emplace(name, Tensor(type.dtype, type.shape)).first->second;
  HT_ASSERT(it->second.dtype() == type.dtype && it->second.shape() == type.shape,
            "{} is {} {}, a program wants {} {}", name, name_of(it->second.dtype()),
            to_string(it->second.shape()), name_of(type.dtype), to_string(type.shape));
  return it->second;
}

void Store::put(const std::string& name, Tensor tensor) {
  tensors_.insert_or_assign(name, std::move(tensor));
}

Tensor* Store::find(const std::string& name) {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

const Tensor* Store::find(const std::string& name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

ir::Lifetime Store::lifetime(const std::string& name) const {
  const auto it = keeping_.find(name);
  return it == keeping_.end() ? ir::Lifetime::kCheckpointed : it->second.lifetime;
}

void Store::restore_derived() {
  for (const auto& [name, keeping] : keeping_) {
    Tensor* tensor = keeping.lifetime == ir::Lifetime::kDerived ? find(name) : nullptr;
    if (tensor == nullptr) continue;
    const Tensor* source = find(keeping.source);
    HT_ASSERT(source != nullptr && source->bytes() == tensor->bytes(), "{}", name);
    std::memcpy(tensor->data(), source->data(), static_cast<size_t>(tensor->bytes()));
  }
}

void Store::clear_scratch() {
  for (const auto& [name, keeping] : keeping_) {
    Tensor* tensor = keeping.lifetime == ir::Lifetime::kScratch ? find(name) : nullptr;
    if (tensor != nullptr) std::memset(tensor->data(), 0, static_cast<size_t>(tensor->bytes()));
  }
}

int64_t Store::bytes() const {
  int64_t sum = 0;
  for (const auto& [name, tensor] : tensors_) sum += tensor.bytes();
  return sum;
}

Program::Program(ir::Graph graph, const kern::Kernels& kernels, kern::Multiply multiply, par::Pool& pool,
                 Store& store, Arena& arena, const std::vector<ValueId>& lent)
    : graph_(std::move(graph)), kernels_(kernels), pool_(pool), arena_(arena) {
  graph_.values.shrink_to_fit();
  graph_.nodes.shrink_to_fit();
  ops::verify(graph_, "compilation");
  for (const ir::Value& value : graph_.values)
    HT_ASSERT(value.type.dtype != DType::kF64 || &kernels_ == &kern::table(kern::Isa::kReference),
              "{} is fp64, which only the reference handles", value.name);
  const auto prepare = [&](const ir::Node& node, int threads) {
    return ops::find(node.op).prepare(ops::PrepareContext{graph_, node, kernels_, multiply, threads});
  };
  for (const ir::Node& node : graph_.nodes) {
    Step step;
    step.node = &node;
    step.prepared = prepare(node, pool_.threads());
    steps_.push_back(std::move(step));
  }
  choose_shared_steps();
  std::vector<int64_t> scratch;
  for (Step& step : steps_) {
    // Products are cut into more and smaller pieces for more threads: not where one does them all.
    if (!step.shared && pool_.threads() > 1) step.prepared = prepare(*step.node, 1);
    scratch.push_back(step.prepared.scratch_bytes);
  }
  const std::vector<int64_t> begins = pair_steps();
  plan_ = pass::plan_memory(graph_, scratch, begins, lent);
  pass::check_plan(graph_, plan_, scratch, begins, lent);
  lent_.assign(graph_.values.size(), false);
  for (const ValueId id : lent) lent_[static_cast<size_t>(id)] = true;
  for (const int32_t uses : graph_.use_counts()) read_.push_back(uses > 0);

  persistent_.assign(graph_.values.size(), nullptr);
  for (size_t v = 0; v < graph_.values.size(); ++v) {
    const ir::Value& value = graph_.values[v];
    if (value.persistent()) {
      const Keeping keeping{value.lifetime, value.source == kNone ? "" : graph_.value(value.source).name};
      persistent_[v] = store.get(value.name, value.type, keeping).data();
    } else if (value.kind == ir::ValueKind::kConstant) {
      constants_.push_back(std::make_unique<Tensor>(converted(*value.data, value.type.dtype)));
      persistent_[v] = constants_.back()->data();
    }
  }
  for (Step& step : steps_) {
    step.in.resize(step.node->inputs.size());
    step.out.resize(step.node->outputs.size());
    if (!ops::find(step.node->op).effects.writes.empty())
      step.inout.resize(step.node->inputs.size(), nullptr);
  }
  arena_.reserve(plan_.arena_bytes);
}

std::vector<int64_t> Program::pair_steps() {
  // Scratch lives from one to the other, so they must be near: what lies between is at most the weights'
  // gradient, or the running statistics, of the same layer.
  constexpr int64_t kReach = 3;
  const auto count = static_cast<int64_t>(steps_.size());
  std::vector<int64_t> begins(steps_.size());
  std::vector<int64_t> maker(graph_.values.size(), -1);  // the node that makes each value
  for (int64_t j = 0; j < count; ++j) {
    begins[static_cast<size_t>(j)] = j;
    Step& step = steps_[static_cast<size_t>(j)];
    for (const ValueId id : step.node->outputs)
      if (id != kNone) maker[static_cast<size_t>(id)] = j;
    if (!step.prepared.early_stage) continue;
    const ValueId read = step.node->inputs[step.prepared.early_stage->input];
    const int64_t i = maker[static_cast<size_t>(read)];
    if (i < 0 || j - i > kReach) continue;
    Step& before = steps_[static_cast<size_t>(i)];
    bool possible = before.prepared.reports_rows && before.node->outputs[0] == read &&
                    before.next == nullptr && before.node->phase == step.node->phase;
    possible = possible && (step.shared || !before.shared);  // a step of one thread has scratch for one
    for (const ValueId id : step.node->inputs)               // everything else it reads must be there by then
      possible = possible && (id == kNone || id == read || maker[static_cast<size_t>(id)] < i);
    if (!possible) continue;
    before.next = &step;
    before.row_listener =
        std::make_unique<ops::RowListener>(*step.prepared.early_stage, graph_.value(read).type.shape.back());
    step.early_stage_done = true;
    begins[static_cast<size_t>(j)] = i;
  }
  return begins;
}

void Program::choose_shared_steps() {
  // Scalar code takes some twenty times as long.
  const double slowness = &kernels_ == &kern::table(kern::Isa::kReference) ? 20 : 1;
  for (const ir::Phase phase : {ir::Phase::kCompute, ir::Phase::kUpdate}) {
    std::vector<Step*> steps;
    std::vector<double> work;
    for (Step& step : steps_) {
      if (step.node->phase != phase || !step.prepared.run) continue;
      steps.push_back(&step);
      work.push_back(slowness * work_ns(graph_, *step.node, step.prepared.product));
    }
    const std::vector<bool> shared = shared_steps(work);
    for (size_t i = 0; i < steps.size(); ++i) steps[i]->shared = shared[i];
  }
}

bool Program::shares(ir::Phase phase) const {
  return pool_.threads() > 1 && std::any_of(steps_.begin(), steps_.end(), [phase](const Step& step) {
           return step.shared && step.node->phase == phase;
         });
}

ops::RunContext Program::context_of(const Step& step, ops::StepState& state) {
  return {.in = step.in.data(),
          .out = step.out.data(),
          .scratch = scratch_of(step),
          .pool = step.shared ? pool_ : alone_,
          .step = state,
          .inout = step.inout.data()};
}

std::vector<kern::Product> Program::products() const {
  std::vector<kern::Product> list;
  for (const Step& step : steps_)
    if (step.prepared.product) list.push_back(*step.prepared.product);
  return list;
}

int64_t Program::pairs() const {
  return std::count_if(steps_.begin(), steps_.end(), [](const Step& step) { return step.early_stage_done; });
}

int64_t Program::constant_bytes() const {
  int64_t sum = 0;
  for (const auto& constant : constants_) sum += constant->bytes();
  return sum;
}

void* Program::data(ValueId id) const {
  const pass::Place& place = plan_.places[static_cast<size_t>(id)];
  void* persistent = persistent_[static_cast<size_t>(place.root)];
  if (persistent != nullptr) return persistent;
  return place.offset < 0 ? nullptr : arena_.data() + place.offset;
}

void Program::lend(ValueId id, const void* elements) {
  HT_ASSERT(is_lent(id), "{}", graph_.value(id).name);
  void*& place = persistent_[static_cast<size_t>(id)];
  if (place == elements) return;
  place = const_cast<void*>(elements);  // nothing writes to it (check_plan)
  if (attached_ == nullptr) return;
  attached_ = nullptr;
  attach();
}

void Program::attach() {
  arena_.reserve(plan_.arena_bytes);
  if (attached_ == arena_.data() && attached_ != nullptr) return;
  attached_ = arena_.data();
  for (Step& step : steps_) {
    for (size_t i = 0; i < step.in.size(); ++i)
      step.in[i] = step.node->inputs[i] == kNone ? nullptr : data(step.node->inputs[i]);
    for (size_t i = 0; i < step.inout.size(); ++i)
      if (step.node->inputs[i] != kNone && ops::writes(*step.node, i))
        step.inout[i] = data(step.node->inputs[i]);
    for (size_t i = 0; i < step.out.size(); ++i) {
      const ValueId id = step.node->outputs[i];
      // The first output is always computed; others only when somebody reads them.
      const bool read = id != kNone && (i == 0 || read_[static_cast<size_t>(id)]);
      step.out[i] = read ? data(id) : nullptr;
    }
  }
}

std::byte* Program::scratch_of(const Step& step) const {
  return arena_.data() + plan_.scratch_offsets[static_cast<size_t>(&step - steps_.data())];
}

void Program::watch(const pass::Watch& values) {
  const std::vector<int32_t> producers = graph_.producers();
  looks_at_inputs_.clear();
  for (Step& step : steps_) step.looks.clear();
  const auto add = [&](ValueId id, bool always) {
    const int32_t at = producers[static_cast<size_t>(id)];
    (at < 0 ? looks_at_inputs_ : steps_[static_cast<size_t>(at)].looks).push_back({id, always});
  };
  for (const ValueId id : values.always) add(id, true);
  for (const ValueId id : values.sometimes) add(id, false);
}

void Program::look(const std::vector<Look>& looks, int64_t node, par::Pool& pool) {
  // As much as is worth a thread's while; a chunk stays in its cache.
  constexpr int64_t kElements = int64_t{1} << 16;
  for (const Look& at : looks) {
    const void* const x = data(at.id);
    if ((!at.always && !looks_at_all_) || x == nullptr) continue;
    const ir::Type& type = graph_.value(at.id).type;
    const ops::Chunks chunks{elements(type.shape), kElements};
    std::atomic<bool> found = false;
    pool.run(chunks.count(), [&](int64_t chunk, int) {
      const auto* first = static_cast<const std::byte*>(x) + chunks.begin(chunk) * size_bytes(type.dtype);
      if (kern::any_non_finite(type.dtype, first, chunks.length(chunk)))
        found.store(true, std::memory_order_relaxed);
    });
    if (!found.load(std::memory_order_relaxed)) continue;
    const std::string& name = graph_.value(at.id).name;
    if (node < 0) {
      noticed_.push_back({"(before the first node)", "input", name, -1, ir::ValueKind::kInput});
    } else {
      const ir::Node& made_by = graph_.nodes[static_cast<size_t>(node)];
      noticed_.push_back({made_by.name, made_by.op, name, node, ir::ValueKind::kActivation});
    }
  }
}

void Program::run(ir::Phase phase, ops::StepState& state) {
  attach();
  if (phase == ir::Phase::kCompute) {
    noticed_.clear();
    look(looks_at_inputs_, -1, alone_);
  }
  for (Step& step : steps_) {
    if (step.node->phase != phase || !step.prepared.run) continue;
    check_stop_inside();
    const double start = measure_time_ ? now_seconds() : 0;
    ops::RunContext context = context_of(step, state);
    context.early_stage_done = step.early_stage_done;
    if (step.next == nullptr) {
      step.prepared.run(context);
    } else {
      const ops::RunContext next = context_of(*step.next, state);
      step.row_listener->start(next);
      context.row_listener = step.row_listener.get();
      step.prepared.run(context);
      HT_ASSERT(step.row_listener->complete(), "{} {} did not report all that it wrote", step.node->op,
                step.node->name);
    }
    check_fault(step, state);
    if (!step.looks.empty()) look(step.looks, &step - steps_.data(), step.shared ? pool_ : alone_);
    if (measure_time_) step.seconds += now_seconds() - start;
  }
}

std::vector<std::pair<std::string, double>> Program::time_by_operator() const {
  std::map<std::string, double> sums;
  for (const Step& step : steps_) sums[step.node->op] += step.seconds;
  std::vector<std::pair<std::string, double>> out(sums.begin(), sums.end());
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  return out;
}

bool Program::all_finite(ValueId id) const {
  const ir::Type& type = graph_.value(id).type;
  return !kern::any_non_finite(type.dtype, data(id), elements(type.shape));
}

void Program::run_node(int64_t index, ops::StepState& state) {
  const Step& step = steps_[static_cast<size_t>(index)];
  HT_ASSERT(step.node->phase == ir::Phase::kCompute, "{}", step.node->name);
  if (step.prepared.run) step.prepared.run(context_of(step, state));  // a view's does nothing
  check_fault(step, state);
}

void Program::check_fault(const Step& step, ops::StepState& state) {
  if (state.fault < 0) return;
  const int64_t fault = state.fault;
  state.fault = -1;
  HT_ASSERT(step.prepared.explain, "{} {} cannot explain a fault", step.node->op, step.node->name);
  throw input_error("node {}: {}", step.node->name, step.prepared.explain(context_of(step, state), fault));
}

std::optional<NonFinite> Program::find_non_finite(ops::StepState& state) {
  attach();
  std::vector<bool> bad(graph_.values.size());
  for (size_t v = 0; v < graph_.values.size(); ++v) {
    const ir::Value& value = graph_.values[v];
    const auto id = static_cast<ValueId>(v);
    if (value.kind == ir::ValueKind::kActivation || data(id) == nullptr || all_finite(id)) continue;
    bad[v] = true;
    if (value.kind != ir::ValueKind::kConstant)
      return NonFinite{"(before the first node)", "input", value.name, -1, value.kind};
  }
  std::optional<NonFinite> found;      // although the node's inputs are finite
  std::optional<NonFinite> inherited;  // from an infinite constant
  for (size_t n = 0; n < graph_.nodes.size() && !found; ++n) {
    const ir::Node& node = graph_.nodes[n];
    if (node.phase != ir::Phase::kCompute) continue;
    run_node(static_cast<int64_t>(n), state);
    const bool from_bad = std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) {
      return id != kNone && bad[static_cast<size_t>(id)];
    });
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      const ValueId id = node.outputs[i];
      if (id == kNone || !computes(static_cast<int64_t>(n), i) || all_finite(id)) continue;
      bad[static_cast<size_t>(id)] = true;
      std::optional<NonFinite>& first = from_bad ? inherited : found;
      if (!first)
        first = NonFinite{node.name, node.op, graph_.value(id).name, static_cast<int64_t>(n),
                          graph_.value(id).kind};
    }
  }
  return found ? found : inherited;
}

}  // namespace halftone::exec
