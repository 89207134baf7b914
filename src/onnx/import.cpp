#include "onnx/import.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/resource_error.h"
#include "onnx/importer.h"
#include "onnx/refusal.h"
#include "onnx/spelled_activations.h"
#include "ops/effects.h"
#include "ops/verify.h"

namespace halftone::onnx {

namespace {

using ir::kNone;
using ir::ValueId;
using ir::ValueKind;

}  // namespace

Importer::Importer(ir::Graph graph, const Model& model, const ImportOptions& options,
                   const std::map<std::string, ValueId>& known)
    : model_(model), options_(options), graph_(std::move(graph)), builder_(graph_, options.storage) {
  // Its own nodes and tensors may have names of the other graph.
  for (const ValueInfo& input : model.inputs())
    if (const auto it = known.find(input.name); it != known.end()) values_.insert(*it);
}

ir::Graph Importer::append(ValueId& output) {
  if (model_.outputs().size() != 1)
    throw input_error("{}: a loss graph has one output, the loss; this one has {}", model_.path(),
                      model_.outputs().size());
  problems_ = model_.problems();
  for (const Problem& p : problems_) reported_.insert(p.node);
  for (const std::string& name : model_.sparse_initializers()) failed_.insert(name);
  for (const ValueInfo& input : model_.inputs())
    if (values_.count(input.name) == 0) bind_appended(input);
  const std::vector<bool> needed = needed_nodes();
  for (size_t i = 0; i < model_.nodes().size(); ++i)
    if (needed[i]) node(i);
  const std::string& name = model_.outputs()[0].name;
  const auto it = values_.find(name);
  if (problems_.empty() && (it == values_.end() || graph_.value(it->second).kind != ValueKind::kActivation))
    problem({}, {}, fmt::format("output '{}' does not depend on any input", name));
  if (!problems_.empty()) refuse();
  output = it->second;
  return std::move(graph_);
}

ir::Graph Importer::run() {
  if (options_.batch < 1) throw usage_error("the batch is {}, expected at least 1", options_.batch);
  problems_ = model_.problems();
  for (const Problem& p : problems_) reported_.insert(p.node);
  for (const std::string& name : model_.sparse_initializers()) failed_.insert(name);  // a problem already
  bind_inputs();
  bind_fixed();
  const std::vector<bool> needed = needed_nodes();
  for (size_t i = 0; i < model_.nodes().size(); ++i)
    if (needed[i]) node(i);
  set_outputs();
  if (!problems_.empty()) refuse();
  ops::remove_dead_nodes(graph_);  // so that each value is read by what is needed alone
  join_spelled_activations(graph_);
  ops::remove_dead_nodes(graph_);
  ops::verify(graph_, "import");
  return std::move(graph_);
}

std::vector<bool> Importer::needed_nodes() const {
  std::map<std::string, size_t> producer;
  for (size_t i = 0; i < model_.nodes().size(); ++i)
    for (const std::string& name : model_.nodes()[i].outputs) producer.emplace(name, i);
  std::vector<bool> needed(model_.nodes().size(), false);
  std::vector<std::string> open;
  for (const ValueInfo& output : model_.outputs()) open.push_back(output.name);
  while (!open.empty()) {
    const auto it = producer.find(open.back());
    open.pop_back();
    if (it == producer.end() || needed[it->second]) continue;
    needed[it->second] = true;
    const NodeInfo& n = model_.nodes()[it->second];
    open.insert(open.end(), n.inputs.begin(), n.inputs.end());
  }
  return needed;
}

ir::Attributes Importer::attributes(const Place& at) const {
  return at.given != nullptr    ? *at.given
         : at.branch == nullptr ? model_.attributes(at.index)
                                : at.branch->attributes(at.index);
}

std::shared_ptr<const Branch> Importer::graph(const Place& at, std::string_view name, int64_t round) const {
  return at.branch == nullptr ? branch_of(model_, at.index, name, round)
                              : branch_of(*at.branch, at.index, name, round);
}

bool Importer::is_passed_over(const NodeInfo& n) {
  return std::any_of(n.guards.begin(), n.guards.end(), [&](const Guard& g) {
    return is_constant(g.condition) && truth_of(g.condition) != g.then;
  });
}

void Importer::node(size_t index) {
  const NodeInfo& n = model_.nodes()[index];
  try {
    if (is_passed_over(n)) return;
  } catch (const Error& e) {
    rethrow_if_resource(e);
    return;  // a problem of the If itself
  }
  node(n, {index});
}

void Importer::node(const NodeInfo& n, const Place& at) {
  bool fine = reported_.count(n.name) == 0;
  if (fine && n.op_type != "Constant") fine = check_operator(n);
  // What the branch that is not taken would have computed does not matter.
  const bool reachable = n.choice ? failed_.count(n.inputs[0]) == 0
                                  : std::none_of(n.inputs.begin(), n.inputs.end(),
                                                 [&](const auto& name) { return failed_.count(name) != 0; });
  if (fine && reachable) {
    try {
      translate(n, at);
      return;
    } catch (const Error& e) {
      rethrow_if_resource(e);
      problem(n.name, n.op_type, e.what());
    }
  }
  if (fine && !reachable) ++unchecked_;
  for (size_t k = 0; k < n.outputs.size(); ++k)
    if (!n.outputs[k].empty() && !stand_in(n, k)) failed_.insert(n.outputs[k]);
}

bool Importer::is_in_file(const std::string& name) const {
  if (file_names_.empty()) {
    for (const NodeInfo& n : model_.nodes()) file_names_.insert(n.outputs.begin(), n.outputs.end());
    for (const TensorInfo& t : model_.tensors()) file_names_.insert(t.name);
    for (const ValueInfo& input : model_.inputs()) file_names_.insert(input.name);
    for (const FixedInput& input : model_.fixed()) file_names_.insert(input.info.name);
  }
  return file_names_.count(name) != 0;
}

bool Importer::add(const Branch& graph) {
  const size_t before = problems_.size();
  for (const auto& [name, tensor] : graph.tensors)
    constants_[name] = std::make_shared<const Tensor>(
        is_float(tensor.dtype()) ? converted(tensor, DType::kF32) : tensor.clone());
  for (size_t i = 0; i < graph.nodes.size(); ++i) node(graph.nodes[i], {i, &graph});
  return problems_.size() == before;
}

bool Importer::add(const NodeInfo& n, const ir::Attributes& given) {
  const size_t before = problems_.size();
  node(n, {0, nullptr, &given});
  return problems_.size() == before;
}

void Importer::define(const std::string& name, Tensor tensor) {
  constants_[name] = std::make_shared<const Tensor>(std::move(tensor));
}

void Importer::rename(const std::string& name, const std::string& from) {
  if (from.empty() || failed_.count(from) != 0) {
    failed_.insert(name);
  } else if (is_constant(from)) {
    constants_[name] = constant(from);
  } else {
    values_[name] = value(from);
  }
}

Shape Importer::shape_of(const std::string& name) {
  return is_constant(name) ? constant(name)->shape() : builder_.shape(value(name));
}

bool Importer::is_constant(const std::string& name) const {
  return constants_.count(name) != 0 ||
         (model_.find_tensor(name) != nullptr && roles_.find(name) == roles_.end());
}

std::shared_ptr<const Tensor> Importer::constant(const std::string& name) {
  auto& slot = constants_[name];
  if (slot == nullptr) {
    Tensor t = model_.tensor(name);
    slot = std::make_shared<const Tensor>(is_float(t.dtype()) ? converted(t, DType::kF32) : std::move(t));
  }
  return slot;
}

ValueId Importer::value(const std::string& name) {
  const auto it = values_.find(name);
  if (it != values_.end()) return it->second;
  ir::Value v;
  v.name = name;
  const auto role = roles_.find(name);
  if (role != roles_.end()) {
    v.kind = role->second == Role::kParameter ? ValueKind::kParameter : ValueKind::kState;
    const TensorInfo* info = model_.find_tensor(name);
    v.type.shape = info->shape;
    v.load = [model = model_, name] { return model.tensor(name); };
    v.type.dtype = v.kind == ValueKind::kParameter ? options_.storage : register_type(options_.storage);
  } else if (is_constant(name)) {
    v.kind = ValueKind::kConstant;
    v.data = constant(name);
    v.type.dtype = is_float(v.data->dtype()) ? options_.storage : v.data->dtype();
    v.type.shape = v.data->shape();
  } else if (structure_.is_sequence(name)) {
    throw input_error(
        "its input '{}' is a sequence of tensors, of which one has to be taken by SequenceAt or all by "
        "ConcatFromSequence",
        name);
  } else {
    throw input_error("its input '{}' is an output that Halftone does not compute", name);
  }
  return values_[name] = graph_.add_value(std::move(v));
}

void Importer::problem(std::string name, std::string op_type, std::string reason) {
  problems_.push_back({std::move(name), std::move(op_type), model_.opset(), std::move(reason)});
}

void Importer::refuse() const {
  throw Error(ErrorKind::kInput,
              refusal_text(problems_, {model_.path(), file_batch_, options_.batch, unchecked_}));
}

ir::Graph import(const Model& model, const ImportOptions& options) {
  return Importer(model, options).run();
}

ValueId append(ir::Graph& graph, const Model& loss, const std::map<std::string, ValueId>& known,
               int64_t batch, DType type) {
  ImportOptions options;
  options.storage = type;
  options.batch = batch;
  options.batch_norm = ops::BatchNormMode::kFreeze;
  ValueId output = kNone;
  try {
    graph = Importer(std::move(graph), loss, options, known).append(output);
  } catch (const Error& e) {
    throw Error(e.kind(), fmt::format("--loss-graph {}: {}", loss.path(), e.what()));
  }
  return output;
}

}  // namespace halftone::onnx
