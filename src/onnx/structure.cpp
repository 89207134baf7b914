#include "onnx/structure.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "onnx/branch_contents.h"
#include "ops/fold.h"

namespace halftone::onnx {
namespace {

// Nodes of all loops together; what is exported unrolled has as many at most.
constexpr int64_t kMostUnrolled = int64_t{1} << 16;
// The opset by which the nodes that take their place are read.
constexpr int kOwnOpset = 18;

constexpr std::string_view kFixed = "and Halftone compiles networks that always run the same nodes";

int64_t place_in(int64_t position, size_t size, bool behind) {
  const auto n = static_cast<int64_t>(size);
  if (position < -n || position > n - (behind ? 0 : 1))
    throw input_error("position {} of a sequence of {} tensors", position, size);
  return position < 0 ? position + n : position;
}

}  // namespace

const std::vector<StructuralOp>& structural_ops() {
  static const std::vector<StructuralOp> list = {
      {"If", 1, 24},
      {"Loop", 1, 24},
      {"Scan", 9, 24},
      {"SequenceEmpty", 11, 24},
      {"SequenceConstruct", 11, 24},
      {"SequenceInsert", 11, 24},
      {"SequenceErase", 11, 24},
      {"SequenceAt", 11, 24},
      {"SequenceLength", 11, 24},
      {"SequenceMap", 17, 24},
      {"SplitToSequence", 11, 24},
      {"ConcatFromSequence", 11, 24},
      {"Optional", 15, 24},
      {"OptionalHasElement", 15, 24},
      {"OptionalGetElement", 15, 24},
  };
  return list;
}

const StructuralOp* find_structural(std::string_view op_type) {
  for (const StructuralOp& op : structural_ops())
    if (op.op_type == op_type) return &op;
  return nullptr;
}

bool one_truth(const Tensor& condition, std::string_view what) {
  if (condition.size() != 1 || is_float(condition.dtype()))
    throw input_error("{} must be one bool, got {} {}", what, name_of(condition.dtype()),
                      to_string(condition.shape()));
  return to_int64s(condition)[0] != 0;
}

void Structure::translate(const NodeInfo& node, const Place& at) {
  const std::string& op = node.op_type;
  if (op == "If") return choose(node, at);
  if (op == "Loop") return loop(node, at);
  if (op == "Scan") return scan(node, at);
  if (op == "SequenceMap") return map(node, at);
  if (op == "SplitToSequence") return split(node, at);
  if (op.starts_with("Optional")) return optional(node);
  sequence(node, at);
}

bool Structure::rename(const std::string& name, const std::string& from) {
  if (const auto it = sequences_.find(from); it != sequences_.end()) {
    const std::vector<std::string> elements = it->second;
    sequences_[name] = elements;
    return true;
  }
  if (const auto it = optionals_.find(from); it != optionals_.end()) {
    const std::string value = it->second;
    optionals_[name] = value;
    return true;
  }
  return false;
}

void Structure::bind(const std::string& name, const std::string& from) {
  if (!name.empty() && !rename(name, from)) importer_.rename(name, from);
}

// ---------------------------------------------------------------- names and nodes of its own
bool Structure::take(const std::string& name) {
  return !importer_.is_in_file(name) && taken_.insert(name).second;
}

std::string Structure::own(const NodeInfo& origin) {
  for (;;)
    if (std::string name = fmt::format("{}/#{}", origin.name, made_++); take(name)) return name;
}

std::string Structure::number(const NodeInfo& origin, const std::vector<int64_t>& values, bool scalar) {
  const std::string name = own(origin);
  importer_.define(name, int64_tensor(values, scalar ? Shape{} : Shape{static_cast<int64_t>(values.size())}));
  return name;
}

void Structure::emit(const NodeInfo& origin, const std::string& op, std::vector<std::string> inputs,
                     std::vector<std::string> outputs, const ir::Attributes& attributes) {
  NodeInfo node;
  node.name = origin.name;
  node.op_type = op;
  node.opset = kOwnOpset;
  node.declared_inputs = inputs.size();
  node.inputs = std::move(inputs);
  node.outputs = std::move(outputs);
  importer_.add(node, attributes);
}

// One after another along an axis: one that they have, or a new one.
void Structure::join(const NodeInfo& origin, std::vector<std::string> parts, int64_t axis, bool new_axis,
                     const std::string& to) {
  if (to.empty()) return;
  if (parts.empty())
    throw input_error("'{}' would be made of no tensors at all, so that nothing says its shape", to);
  if (new_axis)
    for (std::string& part : parts) {
      const std::string wider = own(origin);
      emit(origin, "Unsqueeze", {part, number(origin, {axis}, false)}, {wider});
      part = wider;
    }
  emit(origin, "Concat", std::move(parts), {to}, {{"axis", axis}});
}

// ---------------------------------------------------------------- what has to be known
int64_t Structure::whole(const NodeInfo& node, size_t input, const char* what) {
  const std::string& name = node.inputs[input];
  if (!importer_.is_constant(name))
    throw input_error("{} (input {}, '{}') depends on the samples or on trained tensors, {}", what, input,
                      name, kFixed);
  const std::shared_ptr<const Tensor> tensor = importer_.constant(name);
  if (tensor->size() != 1 || is_float(tensor->dtype()))
    throw input_error("{} (input {}, '{}') must be one integer, got {} {}", what, input, name,
                      name_of(tensor->dtype()), to_string(tensor->shape()));
  return to_int64s(*tensor)[0];
}

bool Structure::truth(const std::string& name, const char* what) {
  if (!importer_.is_constant(name))
    throw input_error("{} '{}' depends on the samples or on trained tensors, {}", what, name, kFixed);
  return one_truth(*importer_.constant(name), fmt::format("{} '{}'", what, name));
}

std::vector<std::string>& Structure::sequence_at(const std::string& name) {
  const auto it = sequences_.find(name);
  if (it == sequences_.end())
    throw input_error("'{}' is no sequence of tensors that is made inside the network", name);
  return it->second;
}

std::shared_ptr<const Branch> Structure::open(const NodeInfo& node, const Place& at, std::string_view name,
                                              int64_t round, size_t inputs) {
  if (!opened_.insert(fmt::format("{}/{}/{}", node.name, name, round)).second)
    throw input_error("another node with graphs of its own is called '{}' too; each needs a name of its own",
                      node.name);
  const auto graph = importer_.graph(at, name, round);
  if (graph->contents->inputs.size() != inputs)
    throw input_error("its graph '{}' has {} inputs, expected {}", name, graph->contents->inputs.size(),
                      inputs);
  const auto need = [&](const std::string& inside) {
    if (!inside.empty() && !take(inside))
      throw input_error(
          "unrolled, its graph '{}' has a tensor '{}', and so has the network outside; another name of the "
          "node makes "
          "the two different",
          name, inside);
  };
  for (const std::string& input : graph->contents->inputs) need(input);
  for (const auto& [tensor, data] : graph->tensors) need(tensor);
  for (const NodeInfo& inside : graph->nodes)
    for (const std::string& output : inside.outputs) need(output);
  unrolled_ += static_cast<int64_t>(graph->nodes.size()) + 1;
  if (unrolled_ > kMostUnrolled)
    throw input_error(
        "unrolled, the loops up to '{}' have more than {} nodes; make its trip count smaller, or export the "
        "network "
        "without it",
        node.name, kMostUnrolled);
  return graph;
}

// ---------------------------------------------------------------- If
void Structure::choose(const NodeInfo& node, const Place& at) {
  ops::check_attributes(importer_.attributes(at), {});
  if (node.declared_inputs < 1 || node.inputs[0].empty()) throw input_error("input 0 is missing");
  const bool condition = truth(node.inputs[0], "its condition");
  const auto taken = open(node, at, condition ? "then_branch" : "else_branch", -1, 0);
  if (taken->outputs.size() < node.outputs.size())
    throw input_error("it has {} outputs, the branch that it takes {}", node.outputs.size(),
                      taken->outputs.size());
  importer_.add(*taken);
  for (size_t k = 0; k < node.outputs.size(); ++k) bind(node.outputs[k], taken->outputs[k]);
}

// ---------------------------------------------------------------- Loop
void Structure::loop(const NodeInfo& node, const Place& at) {
  ops::check_attributes(importer_.attributes(at), {});
  if (node.declared_inputs < 2)
    throw input_error("it has {} inputs, expected at least 2", node.declared_inputs);
  const std::vector<std::string> initial(
      node.inputs.begin() + 2, node.inputs.begin() + static_cast<std::ptrdiff_t>(node.declared_inputs));
  const size_t carried = initial.size();
  if (node.outputs.size() < carried)
    throw input_error("it has {} outputs for {} carried values", node.outputs.size(), carried);
  const int64_t trips =
      node.inputs[0].empty() ? std::numeric_limits<int64_t>::max() : whole(node, 0, "its trip count");
  bool goes_on = node.inputs[1].empty() || truth(node.inputs[1], "its condition");
  std::vector<std::string> state = initial;
  std::vector<std::vector<std::string>> scans(node.outputs.size() - carried);
  for (int64_t i = 0; goes_on && i < trips; ++i) {
    const auto body = open(node, at, "body", i, carried + 2);
    if (body->outputs.size() < 1 + node.outputs.size())
      throw input_error("its body has {} outputs, expected {}", body->outputs.size(),
                        1 + node.outputs.size());
    importer_.define(body->contents->inputs[0], int64_tensor({i}, {}));
    Tensor going(DType::kU8, {});
    going.as<uint8_t>()[0] = 1;
    importer_.define(body->contents->inputs[1], std::move(going));
    for (size_t k = 0; k < carried; ++k) bind(body->contents->inputs[2 + k], state[k]);
    if (!importer_.add(*body)) return fail_behind(node);
    goes_on = truth(body->outputs[0], "whether it goes on,");
    for (size_t k = 0; k < carried; ++k) state[k] = body->outputs[1 + k];
    for (size_t s = 0; s < scans.size(); ++s) scans[s].push_back(body->outputs[1 + carried + s]);
  }
  for (size_t k = 0; k < carried; ++k) bind(node.outputs[k], state[k]);
  for (size_t s = 0; s < scans.size(); ++s)
    join(node, std::move(scans[s]), 0, true, node.outputs[carried + s]);
}

// One problem is enough; the next rounds have the same.
void Structure::fail_behind(const NodeInfo& node) {
  for (const std::string& name : node.outputs)
    if (!name.empty()) importer_.rename(name, "");
}

// ---------------------------------------------------------------- Scan
void Structure::scan(const NodeInfo& node, const Place& at) {
  const ir::Attributes a = importer_.attributes(at);
  ops::check_attributes(a, {"num_scan_inputs", "scan_input_axes", "scan_input_directions", "scan_output_axes",
                            "scan_output_directions"});
  const int64_t given = a.int_or("num_scan_inputs", 0);
  if (given < 1 || given > static_cast<int64_t>(node.declared_inputs))
    throw input_error("num_scan_inputs is {} of {} inputs", given, node.declared_inputs);
  const auto scanned = static_cast<size_t>(given);
  const size_t carried = node.declared_inputs - scanned;
  if (node.outputs.size() < carried)
    throw input_error("it has {} outputs for {} carried values", node.outputs.size(), carried);
  const size_t stacked = node.outputs.size() - carried;
  const auto numbers = [&](const char* name, size_t count) {
    std::vector<int64_t> list = a.ints_or(name, std::vector<int64_t>(count, 0));
    if (list.size() != count) throw input_error("{} has {} numbers, expected {}", name, list.size(), count);
    return list;
  };
  const auto directions = [&](const char* name, size_t count) {
    const std::vector<int64_t> list = numbers(name, count);
    for (const int64_t v : list)
      if (v != 0 && v != 1) throw input_error("{} has the value {}, expected 0 or 1", name, v);
    return list;
  };
  const std::vector<int64_t> backwards = directions("scan_input_directions", scanned);
  const std::vector<int64_t> out_backwards = directions("scan_output_directions", stacked);
  const std::vector<int64_t> out_axes = numbers("scan_output_axes", stacked);
  std::vector<int64_t> axes = numbers("scan_input_axes", scanned);
  int64_t rounds = -1;
  for (size_t m = 0; m < scanned; ++m) {
    const std::string& name = node.inputs[carried + m];
    const Shape shape = importer_.shape_of(name);
    axes[m] = normalize_axis(axes[m], static_cast<int64_t>(shape.size()));
    const int64_t length = shape[static_cast<size_t>(axes[m])];
    if (rounds >= 0 && length != rounds)
      throw input_error("'{}' has {} elements along axis {}, the one before it {}", name, length, axes[m],
                        rounds);
    rounds = length;
  }
  std::vector<std::string> state(node.inputs.begin(),
                                 node.inputs.begin() + static_cast<std::ptrdiff_t>(carried));
  std::vector<std::vector<std::string>> stacks(stacked);
  for (int64_t i = 0; i < rounds; ++i) {
    const auto body = open(node, at, "body", i, node.declared_inputs);
    if (body->outputs.size() < node.outputs.size())
      throw input_error("its body has {} outputs, expected {}", body->outputs.size(), node.outputs.size());
    for (size_t k = 0; k < carried; ++k) bind(body->contents->inputs[k], state[k]);
    for (size_t m = 0; m < scanned; ++m)
      emit(node, "Gather",
           {node.inputs[carried + m], number(node, {backwards[m] != 0 ? rounds - 1 - i : i}, true)},
           {body->contents->inputs[carried + m]}, {{"axis", axes[m]}});
    if (!importer_.add(*body)) return fail_behind(node);
    for (size_t k = 0; k < carried; ++k) state[k] = body->outputs[k];
    for (size_t s = 0; s < stacked; ++s) stacks[s].push_back(body->outputs[carried + s]);
  }
  for (size_t k = 0; k < carried; ++k) bind(node.outputs[k], state[k]);
  for (size_t s = 0; s < stacked; ++s) {
    if (out_backwards[s] != 0) std::reverse(stacks[s].begin(), stacks[s].end());
    join(node, std::move(stacks[s]), out_axes[s], true, node.outputs[carried + s]);
  }
}

// ---------------------------------------------------------------- SequenceMap
void Structure::map(const NodeInfo& node, const Place& at) {
  ops::check_attributes(importer_.attributes(at), {});
  if (node.declared_inputs < 1) throw input_error("input 0 is missing");
  const size_t rounds = sequence_at(node.inputs[0]).size();
  std::vector<std::vector<std::string>> results(node.outputs.size());
  for (size_t i = 0; i < rounds; ++i) {
    const auto body = open(node, at, "body", static_cast<int64_t>(i), node.declared_inputs);
    if (body->outputs.size() < node.outputs.size())
      throw input_error("its body has {} outputs, expected {}", body->outputs.size(), node.outputs.size());
    for (size_t k = 0; k < node.declared_inputs; ++k) {
      const auto elements = sequences_.find(node.inputs[k]);
      if (elements == sequences_.end()) {
        bind(body->contents->inputs[k], node.inputs[k]);  // the same tensor for each
      } else if (elements->second.size() != rounds) {
        throw input_error("input {} is a sequence of {} tensors, the first one of {}", k,
                          elements->second.size(), rounds);
      } else {
        const std::string element = elements->second[i];
        bind(body->contents->inputs[k], element);
      }
    }
    if (!importer_.add(*body)) return fail_behind(node);
    for (size_t s = 0; s < results.size(); ++s) results[s].push_back(body->outputs[s]);
  }
  for (size_t s = 0; s < results.size(); ++s)
    if (!node.outputs[s].empty()) sequences_[node.outputs[s]] = std::move(results[s]);
}

// ---------------------------------------------------------------- sequences
void Structure::sequence(const NodeInfo& node, const Place& at) {
  const std::string& op = node.op_type;
  const std::string& to = node.outputs[0];
  const auto has = [&](size_t i) { return i < node.declared_inputs && !node.inputs[i].empty(); };
  const auto need = [&](size_t i) {
    if (!has(i)) throw input_error("input {} is missing", i);
  };
  if (op == "SequenceEmpty") {
    sequences_[to] = {};
    return;
  }
  need(0);
  if (op == "SequenceConstruct") {
    for (size_t i = 0; i < node.declared_inputs; ++i) need(i);
    sequences_[to] = std::vector<std::string>(
        node.inputs.begin(), node.inputs.begin() + static_cast<std::ptrdiff_t>(node.declared_inputs));
    return;
  }
  std::vector<std::string> list = sequence_at(node.inputs[0]);
  if (op == "SequenceLength") {
    importer_.define(to, int64_tensor({static_cast<int64_t>(list.size())}, {}));
  } else if (op == "SequenceAt") {
    need(1);
    bind(to, list[static_cast<size_t>(place_in(whole(node, 1, "its position"), list.size(), false))]);
  } else if (op == "SequenceErase") {
    const int64_t position = has(1) ? whole(node, 1, "its position") : -1;
    list.erase(list.begin() + place_in(position, list.size(), false));
    sequences_[to] = std::move(list);
  } else if (op == "SequenceInsert") {
    need(1);
    const int64_t position = has(2) ? place_in(whole(node, 2, "its position"), list.size(), true)
                                    : static_cast<int64_t>(list.size());
    list.insert(list.begin() + position, node.inputs[1]);
    sequences_[to] = std::move(list);
  } else {
    HT_ASSERT(op == "ConcatFromSequence", "{}", op);
    const ir::Attributes a = importer_.attributes(at);
    ops::check_attributes(a, {"axis", "new_axis"});
    join(node, std::move(list), a.int_at("axis"), a.int_or("new_axis", 0) != 0, to);
  }
}

void Structure::split(const NodeInfo& node, const Place& at) {
  const ir::Attributes a = importer_.attributes(at);
  ops::check_attributes(a, {"axis", "keepdims"});
  if (node.declared_inputs < 1) throw input_error("input 0 is missing");
  const Shape x = importer_.shape_of(node.inputs[0]);
  const int64_t axis = normalize_axis(a.int_or("axis", 0), static_cast<int64_t>(x.size()));
  const int64_t size = x[static_cast<size_t>(axis)];
  const bool given = node.declared_inputs > 1 && !node.inputs[1].empty();
  const bool keepdims = given || a.int_or("keepdims", 1) != 0;
  std::vector<int64_t> sizes;
  std::shared_ptr<const Tensor> parts;
  if (given) {
    if (!importer_.is_constant(node.inputs[1]))
      throw input_error("its parts '{}' depend on the samples or on trained tensors, {}", node.inputs[1],
                        kFixed);
    parts = importer_.constant(node.inputs[1]);
    if (is_float(parts->dtype()) || parts->shape().size() > 1)
      throw input_error("its parts '{}' are {} {}, expected integers", node.inputs[1],
                        name_of(parts->dtype()), to_string(parts->shape()));
  }
  if (given && parts->shape().size() == 1) {
    sizes = to_int64s(*parts);
  } else {
    const int64_t each = given ? to_int64s(*parts)[0] : 1;
    if (each < 1) throw input_error("its parts are {} long", each);
    for (int64_t from = 0; from < size; from += each) sizes.push_back(std::min(each, size - from));
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < sizes.size(); ++i) names.push_back(own(node));
  if (sizes.size() == 1) {
    emit(node, "Identity", {node.inputs[0]}, names);
  } else if (!sizes.empty()) {
    emit(node, "Split", {node.inputs[0], number(node, sizes, false)}, names, {{"axis", axis}});
  }
  if (!keepdims)
    for (std::string& name : names) {
      const std::string narrow = own(node);
      emit(node, "Squeeze", {name, number(node, {axis}, false)}, {narrow});
      name = narrow;
    }
  sequences_[node.outputs[0]] = std::move(names);
}

// ---------------------------------------------------------------- optional values
void Structure::optional(const NodeInfo& node) {
  const std::string input = node.declared_inputs > 0 ? node.inputs[0] : "";
  const std::string& to = node.outputs[0];
  if (node.op_type == "Optional") {
    optionals_[to] = input;
    return;
  }
  const auto it = optionals_.find(input);
  const std::string value = it != optionals_.end() ? it->second : input;
  if (node.op_type == "OptionalHasElement") {
    Tensor has(DType::kU8, {});
    has.as<uint8_t>()[0] = value.empty() ? 0 : 1;
    importer_.define(to, std::move(has));
    return;
  }
  if (value.empty()) throw input_error("the optional value '{}' has no element", input);
  bind(to, value);
}

}  // namespace halftone::onnx
