#include "onnx/import.h"

#include <algorithm>
#include <optional>
#include <set>

#include "base/error.h"
#include "onnx/branch_contents.h"
#include "onnx/input_axes.h"
#include "onnx/input_counts.h"
#include "onnx/missing_operators.h"
#include "onnx/model_contents.h"
#include "onnx/operator_of.h"
#include "onnx/output_shape.h"
#include "onnx/refusal.h"
#include "onnx/roles.h"
#include "onnx/spelled_activations.h"
#include "onnx/structure.h"
#include "ops/effects.h"
#include "ops/run_constants.h"
#include "ops/verify.h"

namespace halftone::onnx {
namespace {

using ir::kNone;
using ir::ValueId;
using ir::ValueKind;

// Folding bounds each result; this bounds all of them, so that a small file cannot keep us busy or full.
// Shape arithmetic has tens of elements, an attention mask millions.
constexpr int64_t kMaxFolded = int64_t{1} << 26;

// No machine holds an activation of this size; beyond it sizes in bytes and loops over an axis would get out
// of hand.
constexpr int64_t kMaxElements = int64_t{1} << 36;

class Importer : private Surroundings {
 public:
  Importer(const Model& model, const ImportOptions& options)
      : model_(model),
        options_(options),
        builder_(graph_, options.storage),
        roles_(tensor_roles(model, options.choice)) {}

  // Behind another graph, whose values `known` names.
  Importer(ir::Graph graph, const Model& model, const ImportOptions& options,
           const std::map<std::string, ValueId>& known)
      : model_(model), options_(options), graph_(std::move(graph)), builder_(graph_, options.storage) {
    // Its own nodes and tensors may have names of the other graph.
    for (const ValueInfo& input : model.inputs())
      if (const auto it = known.find(input.name); it != known.end()) values_.insert(*it);
  }

  ir::Graph append(ValueId& output) {
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

  ir::Graph run() {
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

 private:
  // ---- inputs and outputs
  void bind_inputs() {
    if (model_.inputs().empty())
      throw input_error("{}: the graph has no input{}", model_.path(),
                        model_.fixed().empty() ? "" : " but those that --input gives a number");
    const ValueInfo& first = model_.inputs()[0];
    if (first.has_shape && first.dims.empty())
      throw input_error("{}: input '{}' is a scalar; its first dimension was expected to be the batch",
                        model_.path(), first.name);
    if (first.has_shape) {
      file_batch_ = first.dims[0].value;
      batch_param_ = first.dims[0].param;
    }
    for (const ValueInfo& input : model_.inputs()) {
      ir::Value value;
      value.name = input.name;
      value.kind = ValueKind::kInput;
      const DType dtype = input.dtype.value_or(DType::kF32);
      value.type.dtype = is_float(dtype) ? options_.storage : dtype;
      if (!input.dtype) {
        problem({}, {}, fmt::format("input '{}' is of type {}", input.name, input.type));
        failed_.insert(input.name);
        continue;
      }
      if (!input.has_shape) {
        problem({}, {}, fmt::format("input '{}' has no shape; export it with one", input.name));
        failed_.insert(input.name);
        continue;
      }
      bool bound = true;
      for (size_t axis = 0; axis < input.dims.size(); ++axis) {
        const int64_t d = dimension(input, axis);
        bound = bound && d > 0;
        value.type.shape.push_back(d);
      }
      if (!bound) {
        failed_.insert(input.name);
        continue;
      }
      if (!has_possible_size(input.name, value.type.shape)) continue;
      const ValueId id = graph_.add_value(std::move(value));
      graph_.inputs.push_back(id);
      values_[input.name] = id;
    }
  }

  bool has_possible_size(const std::string& input, const Shape& shape) {
    try {
      check_size(shape);
      return true;
    } catch (const Error& e) {
      problem({}, {}, fmt::format("input '{}': {}", input, e.what()));
      failed_.insert(input);
      return false;
    }
  }

  // Inputs that are one number for all samples: constants. An open axis without a name counts the samples.
  void bind_fixed() {
    for (const FixedInput& input : model_.fixed()) {
      Shape shape;
      for (const Dimension& d : input.info.dims) {
        int64_t size = !d.param.empty() && d.param == batch_param_ ? options_.batch : d.value;
        for (const ValueInfo& other : model_.inputs())
          for (const Dimension& same : other.dims)
            if (size <= 0 && !d.param.empty() && same.param == d.param) size = same.value;
        if (size <= 0 && !d.param.empty())
          throw input_error("{}: the size {} of the fixed input '{}' is open: --dim {}=SIZE gives it",
                            model_.path(), d.param, input.info.name, d.param);
        shape.push_back(size > 0 ? size : options_.batch);
      }
      check_size(shape);
      if (elements(shape) > kMaxFolded)
        throw input_error("{}: input '{}' of shape {} is too large to be a fixed number", model_.path(),
                          input.info.name, to_string(shape));
      constants_[input.info.name] = std::make_shared<const Tensor>(elements_of(input, shape));
    }
  }

  // An input that is a field of the data.
  void bind_appended(const ValueInfo& input) {
    ir::Value value;
    value.name = input.name;
    value.kind = ValueKind::kInput;
    if (!input.dtype || !input.has_shape || input.dims.empty()) {
      problem({}, {},
              fmt::format("input '{}' has {}; expected a tensor with the samples in front", input.name,
                          !input.dtype      ? "the type " + input.type
                          : input.has_shape ? "no axes"
                                            : "no shape"));
      failed_.insert(input.name);
      return;
    }
    value.type.dtype = is_float(*input.dtype) ? options_.storage : *input.dtype;
    value.type.shape.push_back(options_.batch);
    for (size_t axis = 1; axis < input.dims.size(); ++axis) {
      if (input.dims[axis].value <= 0) {
        problem({}, {},
                fmt::format("the size of axis {} of input '{}' is open: a field of that name gives it", axis,
                            input.name));
        failed_.insert(input.name);
        return;
      }
      value.type.shape.push_back(input.dims[axis].value);
    }
    if (!has_possible_size(input.name, value.type.shape)) return;
    const ValueId id = graph_.add_value(std::move(value));
    graph_.inputs.push_back(id);
    values_[input.name] = id;
  }

  // The size of an input's axis; -1, with a problem noted, when nobody says it.
  int64_t dimension(const ValueInfo& input, size_t axis) {
    const Dimension& d = input.dims[axis];
    const bool first = &input == &model_.inputs()[0];
    if (first && axis == 0) return options_.batch;
    if (d.value > 0) return d.value;
    if (!d.param.empty() && d.param == batch_param_) return options_.batch;
    problem(
        {}, {},
        fmt::format("the size of axis {} of input '{}' is open: data of that size gives it, or --dim {}=SIZE",
                    axis, input.name, axis_name(input, axis)));
    return -1;
  }

  void set_outputs() {
    for (const ValueInfo& output : model_.outputs()) {
      if (failed_.count(output.name) != 0) continue;  // a problem already, or behind one
      if (structure_.is_sequence(output.name)) {
        problem(
            {}, {},
            fmt::format("output '{}' is a sequence of tensors; make each of them, or their Concat, an output",
                        output.name));
        continue;
      }
      const auto it = values_.find(output.name);
      if (it != values_.end() && graph_.value(it->second).kind == ValueKind::kInput) {
        problem(
            {}, {},
            fmt::format("output '{}' is the input '{}' itself", output.name, graph_.value(it->second).name));
        continue;
      }
      if (it == values_.end() || graph_.value(it->second).kind != ValueKind::kActivation) {
        problem({}, {}, fmt::format("output '{}' does not depend on any input", output.name));
        continue;
      }
      const Shape& shape = graph_.value(it->second).type.shape;
      bool fits = !output.has_shape || output.dims.size() == shape.size();
      for (size_t axis = 0; fits && output.has_shape && axis < shape.size(); ++axis) {
        // Where the file fixes the batch, any dimension of that size may stand for it.
        const Dimension& d = output.dims[axis];
        const bool named = !batch_param_.empty() && d.param == batch_param_;
        const bool may_be_batch = named || (d.value > 0 && d.value == file_batch_);
        const bool as_declared = d.value > 0 ? shape[axis] == d.value : !named;
        fits = as_declared || (may_be_batch && shape[axis] == options_.batch);
      }
      // With the file's own batch it is only the declaration that is wrong, as in files that were changed
      // after they were exported.
      if (!fits && options_.batch != file_batch_) {
        problem({}, {},
                fmt::format("output '{}' comes out as {}, which is not what the file declares", output.name,
                            to_string(shape)));
        continue;
      }
      graph_.outputs.push_back(it->second);
    }
  }

  // ---- nodes
  std::vector<bool> needed_nodes() const {
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

  ir::Attributes attributes(const Place& at) const override {
    return at.given != nullptr    ? *at.given
           : at.branch == nullptr ? model_.attributes(at.index)
                                  : at.branch->attributes(at.index);
  }
  std::shared_ptr<const Branch> graph(const Place& at, std::string_view name, int64_t round) const override {
    return at.branch == nullptr ? branch_of(model_, at.index, name, round)
                                : branch_of(*at.branch, at.index, name, round);
  }

  // Whether a condition is known not to be so.
  bool is_passed_over(const NodeInfo& n) {
    return std::any_of(n.guards.begin(), n.guards.end(), [&](const Guard& g) {
      return is_constant(g.condition) && truth_of(g.condition) != g.then;
    });
  }
  bool truth_of(const std::string& condition) { return one_truth(*constant(condition), "its condition"); }

  void node(size_t index) {
    const NodeInfo& n = model_.nodes()[index];
    try {
      if (is_passed_over(n)) return;
    } catch (const Error&) {
      return;  // a problem of the If itself
    }
    node(n, {index});
  }

  void node(const NodeInfo& n, const Place& at) {
    bool fine = reported_.count(n.name) == 0;
    if (fine && n.op_type != "Constant") fine = check_operator(n);
    // What the branch that is not taken would have computed does not matter.
    const bool reachable = n.choice ? failed_.count(n.inputs[0]) == 0
                                    : std::none_of(n.inputs.begin(), n.inputs.end(), [&](const auto& name) {
                                        return failed_.count(name) != 0;
                                      });
    if (fine && reachable) {
      try {
        translate(n, at);
        return;
      } catch (const Error& e) {
        problem(n.name, n.op_type, e.what());
      }
    }
    if (fine && !reachable) ++unchecked_;
    for (size_t k = 0; k < n.outputs.size(); ++k)
      if (!n.outputs[k].empty() && !stand_in(n, k)) failed_.insert(n.outputs[k]);
  }

  // Behind a refused node others may be refused for reasons of their own, which belong into the same message.
  // Where the shape of its output is known all the same, a value takes its place; the graph is never used.
  bool stand_in(const NodeInfo& n, size_t k) {
    std::vector<std::optional<ir::Type>> inputs;
    bool live = false;  // computed from samples: constants would have to be known by their elements
    for (const std::string& name : n.inputs) {
      inputs.emplace_back();
      if (name.empty() || failed_.count(name) != 0) continue;
      try {
        inputs.back() = graph_.value(value(name)).type;
        live = live || !is_constant(name);
      } catch (const Error&) {
        continue;
      }
    }
    if (!live) return false;
    const std::optional<ir::Type> type = output_type_of(n, k, inputs, options_.storage);
    if (!type) return false;
    ir::Value v;
    v.name = n.outputs[k];
    v.kind = ValueKind::kActivation;
    v.type = *type;
    values_[n.outputs[k]] = graph_.add_value(std::move(v));
    return true;
  }

  bool check_operator(const NodeInfo& n) {
    const ops::OnnxOp* op = ops::find_onnx(operator_of(n));
    const StructuralOp* structural = structural_of(n);
    if (op == nullptr &&
        structural == nullptr) {  // of the file's own nodes, foreign domains are problems already
      problem(n.name, n.op_type, reason_of_missing(n.op_type, n.domain));
      return false;
    }
    const int since = op != nullptr ? op->since : structural->since;
    const int until = op != nullptr ? op->until : structural->until;
    if (n.opset < since || n.opset > until) {
      problem(n.name, n.op_type,
              fmt::format("Halftone knows this operator from opset {} to {}", since, until));
      return false;
    }
    // What no opset gives a meaning would be ignored.
    size_t given = structural != nullptr ? n.declared_inputs : n.inputs.size();
    if (n.choice) given = 1;  // the others are its branches' results
    while (given > 0 && n.inputs[given - 1].empty()) --given;
    if (const std::optional<size_t> most = most_inputs(operator_of(n), n.opset); most && given > *most) {
      problem(n.name, n.op_type,
              fmt::format("it has {} inputs, the operator takes at most {}", given, *most));
      return false;
    }
    return true;
  }

  // ---- what a loop or a sequence stands for
  bool is_in_file(const std::string& name) const override {
    if (file_names_.empty()) {
      for (const NodeInfo& n : model_.nodes()) file_names_.insert(n.outputs.begin(), n.outputs.end());
      for (const TensorInfo& t : model_.tensors()) file_names_.insert(t.name);
      for (const ValueInfo& input : model_.inputs()) file_names_.insert(input.name);
      for (const FixedInput& input : model_.fixed()) file_names_.insert(input.info.name);
    }
    return file_names_.count(name) != 0;
  }
  bool add(const Branch& graph) override {
    const size_t before = problems_.size();
    for (const auto& [name, tensor] : graph.tensors)
      constants_[name] = std::make_shared<const Tensor>(
          is_float(tensor.dtype()) ? converted(tensor, DType::kF32) : tensor.clone());
    for (size_t i = 0; i < graph.nodes.size(); ++i) node(graph.nodes[i], {i, &graph});
    return problems_.size() == before;
  }
  bool add(const NodeInfo& n, const ir::Attributes& given) override {
    const size_t before = problems_.size();
    node(n, {0, nullptr, &given});
    return problems_.size() == before;
  }
  void define(const std::string& name, Tensor tensor) override {
    constants_[name] = std::make_shared<const Tensor>(std::move(tensor));
  }
  void rename(const std::string& name, const std::string& from) override {
    if (from.empty() || failed_.count(from) != 0) {
      failed_.insert(name);
    } else if (is_constant(from)) {
      constants_[name] = constant(from);
    } else {
      values_[name] = value(from);
    }
  }
  Shape shape_of(const std::string& name) override {
    return is_constant(name) ? constant(name)->shape() : builder_.shape(value(name));
  }

  void translate_structure(const NodeInfo& n, const Place& at) {
    if (n.outputs.empty()) throw input_error("it has no outputs");
    const auto before = static_cast<ValueId>(graph_.values.size());
    structure_.translate(n, at);
    for (const std::string& name : n.outputs) {
      const auto it = values_.find(name);
      if (it == values_.end() || it->second < before) continue;
      ir::Value& v = graph_.value(it->second);
      if (v.kind == ValueKind::kActivation) v.name = name;
    }
  }

  // The results of the branch that the condition takes, as those of the If. Where the condition is only known
  // while it runs, both branches are computed, and one is chosen.
  void choose(const NodeInfo& n) {
    if (!is_constant(n.inputs[0])) {
      for (size_t k = 0; k < n.outputs.size(); ++k) choose_while_running(n, k);
      return;
    }
    const size_t first = truth_of(n.inputs[0]) ? 1 : 1 + n.outputs.size();
    for (size_t k = 0; k < n.outputs.size(); ++k) {
      const std::string& from = n.inputs[first + k];
      if (n.outputs[k].empty()) continue;
      if (structure_.rename(n.outputs[k], from)) continue;
      rename(n.outputs[k], from);
      const auto it = values_.find(n.outputs[k]);
      if (it != values_.end() && graph_.value(it->second).kind == ValueKind::kActivation)
        graph_.value(it->second).name = n.outputs[k];
    }
  }

  void choose_while_running(const NodeInfo& n, size_t k) {
    if (n.outputs[k].empty()) return;
    const std::string& then = n.inputs[1 + k];
    const std::string& otherwise = n.inputs[1 + n.outputs.size() + k];
    if (failed_.count(then) != 0 || failed_.count(otherwise) != 0) {
      failed_.insert(n.outputs[k]);
      return;
    }
    if (structure_.is_sequence(then) || structure_.is_sequence(otherwise))
      throw input_error(
          "its condition '{}' depends on the samples or on trained tensors, and its branches give sequences "
          "of tensors; "
          "only tensors of one shape can be chosen while the network runs",
          n.inputs[0]);
    const ValueId condition = value(n.inputs[0]);
    const ir::Type asked = builder_.type(condition);
    if (asked.dtype != DType::kU8 || elements(asked.shape) != 1)
      throw input_error("its condition must be one bool, got {} {}", name_of(asked.dtype),
                        to_string(asked.shape));
    const ValueId results[2] = {value(then), value(otherwise)};
    const ir::Type types[2] = {builder_.type(results[0]), builder_.type(results[1])};
    if (types[0] != types[1])
      throw input_error(
          "its condition '{}' depends on the samples or on trained tensors, and its branches give {} {} and "
          "{} {}: Halftone "
          "compiles networks whose shapes are always the same",
          n.inputs[0], name_of(types[0].dtype), to_string(types[0].shape), name_of(types[1].dtype),
          to_string(types[1].shape));
    builder_.set_origin(n.name);
    const ValueId chosen = builder_.add1("Where", {builder_.reshape(condition, {}), results[0], results[1]});
    values_[n.outputs[k]] = chosen;
    graph_.value(chosen).name = n.outputs[k];
  }

  void translate(const NodeInfo& n, const Place& at) {
    if (n.choice) {
      choose(n);
      return;
    }
    if (structural_of(n) != nullptr) {
      translate_structure(n, at);
      return;
    }
    if (n.op_type == "Identity" && !n.inputs.empty() && !n.outputs.empty() &&
        structure_.rename(n.outputs[0], n.inputs[0]))
      return;
    if (n.op_type == "Constant" && n.outputs.size() == 1 && model_.find_tensor(n.outputs[0]) != nullptr)
      return;  // read when somebody uses it
    const ops::OnnxOp* op = ops::find_onnx(operator_of(n));
    const size_t required = op->required_inputs == ops::OnnxOp::kEveryInput
                                ? std::max<size_t>(1, n.inputs.size())
                                : static_cast<size_t>(op->required_inputs);
    for (size_t i = 0; i < required; ++i)
      if (i >= n.inputs.size() || n.inputs[i].empty()) throw input_error("input {} is missing", i);
    if (n.outputs.empty()) throw input_error("it has no outputs");
    const ir::Attributes attributes = this->attributes(at);
    const bool foldable = (!n.inputs.empty() || n.op_type == "Constant") &&
                          std::all_of(n.inputs.begin(), n.inputs.end(),
                                      [&](const auto& name) { return name.empty() || is_constant(name); });
    if (foldable && fold(*op, n, attributes)) return;
    if (op->import == nullptr) {
      for (size_t i = 0; i < n.inputs.size(); ++i)
        if (!n.inputs[i].empty() && !is_constant(n.inputs[i]))
          throw input_error(
              "Halftone can only compute it when loading, but input {} ('{}') depends on the samples or on "
              "trained tensors; it has no gradient yet",
              i, n.inputs[i]);
      throw input_error("Halftone can only compute it when loading, but it has no inputs");
    }
    ops::ImportContext context{builder_,         n.op_type,     n.name,
                               n.opset,          attributes,    {},
                               n.outputs.size(), options_.mode, batch_norm_of(n, at)};
    for (const std::string& name : n.inputs) context.inputs.push_back(name.empty() ? kNone : value(name));
    if (n.op_type == "BatchNormalization") check_statistics(context);
    builder_.set_origin(n.name);
    const auto before = static_cast<ValueId>(graph_.values.size());
    const std::vector<ValueId> outputs = op->import(context);
    for (size_t id = static_cast<size_t>(before); id < graph_.values.size(); ++id)
      check_size(graph_.values[id].type.shape);
    for (size_t i = 0; i < n.outputs.size() && i < outputs.size(); ++i) {
      if (outputs[i] == kNone || n.outputs[i].empty()) continue;
      values_[n.outputs[i]] = outputs[i];
      ir::Value& v = graph_.value(outputs[i]);
      if (v.kind == ValueKind::kConstant) constants_[n.outputs[i]] = v.data;
      if (v.kind == ValueKind::kActivation && outputs[i] >= before) v.name = n.outputs[i];
    }
  }

  // The node's outputs as constants: by the operator's own rule, else by running it. False: it stays a node.
  bool fold(const ops::OnnxOp& op, const NodeInfo& n, const ir::Attributes& attributes) {
    std::vector<const Tensor*> inputs;
    for (const std::string& name : n.inputs) inputs.push_back(name.empty() ? nullptr : constant(name).get());
    const ops::FoldContext context{n.op_type, n.opset, attributes, std::move(inputs), n.outputs.size()};
    std::vector<std::optional<Tensor>> outputs;
    int64_t size = 0;
    if (op.fold != nullptr) {
      for (Tensor& t : op.fold(context)) outputs.emplace_back(std::move(t));
    } else if (op.import != nullptr) {
      auto results = ops::run_constants(op, context, n.name, options_.mode);
      if (!results) return false;
      outputs = std::move(*results);
    } else {
      return false;
    }
    for (const auto& t : outputs) size += t ? t->size() : 0;
    if (folded_ + size > kMaxFolded) {
      if (op.fold == nullptr) return false;
      throw input_error("the file's constant nodes have more than {} elements altogether", kMaxFolded);
    }
    folded_ += size;
    for (size_t i = 0; i < n.outputs.size() && i < outputs.size(); ++i)
      if (outputs[i]) constants_[n.outputs[i]] = std::make_shared<const Tensor>(std::move(*outputs[i]));
    return true;
  }

  static void check_size(const Shape& shape) {
    if (elements(shape) > kMaxElements)
      throw input_error("a tensor of shape {} has more elements than Halftone can train with",
                        to_string(shape));
  }

  ops::BatchNormMode batch_norm_of(const NodeInfo& n, const Place& at) const {
    const bool frozen =
        at.branch != nullptr || !n.guards.empty() || options_.frozen_norms.count(at.index) != 0;
    return frozen ? ops::BatchNormMode::kFreeze : options_.batch_norm;
  }

  // Two batch norms cannot both keep their running statistics in one tensor (with_own_statistics separates
  // them before).
  void check_statistics(const ops::ImportContext& c) {
    if (options_.mode != ops::Mode::kTrain || c.batch_norm != ops::BatchNormMode::kTrain) return;
    const bool own = c.attributes.int_or("training_mode", 0) != 0;
    const auto computed = [&](size_t i) {
      if (!c.has(i)) return false;
      const ValueKind kind = graph_.value(c.inputs[i]).kind;
      return kind == ValueKind::kActivation || (own && kind == ValueKind::kConstant);
    };
    if (computed(3) && computed(4)) return;  // no running statistics
    for (size_t i = 3; i < 5 && c.has(i); ++i) {
      const ir::Value& v = graph_.value(c.inputs[i]);
      if (v.kind != ValueKind::kState)
        throw input_error(
            "its running statistics (input {}) are not tensors of the file, but come from an input or from "
            "other "
            "nodes, so they cannot be kept up to date; try --batchnorm freeze",
            i);
      if (!statistics_.insert(c.inputs[i]).second)
        throw input_error(
            "its running statistics '{}' belong to another batch norm too; try --batchnorm freeze", v.name);
    }
  }

  // ---- values
  bool is_constant(const std::string& name) const override {
    return constants_.count(name) != 0 ||
           (model_.find_tensor(name) != nullptr && roles_.find(name) == roles_.end());
  }

  // Integers as they are, floats in fp32.
  std::shared_ptr<const Tensor> constant(const std::string& name) override {
    auto& slot = constants_[name];
    if (slot == nullptr) {
      Tensor t = model_.tensor(name);
      slot = std::make_shared<const Tensor>(is_float(t.dtype()) ? converted(t, DType::kF32) : std::move(t));
    }
    return slot;
  }

  ValueId value(const std::string& name) {
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

  // ---- problems
  void problem(std::string name, std::string op_type, std::string reason) {
    problems_.push_back({std::move(name), std::move(op_type), model_.opset(), std::move(reason)});
  }

  [[noreturn]] void refuse() const {
    throw Error(ErrorKind::kInput,
                refusal_text(problems_, {model_.path(), file_batch_, options_.batch, unchecked_}));
  }

  const Model& model_;
  const ImportOptions& options_;
  ir::Graph graph_;
  ops::Builder builder_;
  const std::map<std::string, Role> roles_;
  int64_t folded_ = 0;  // elements of all folded nodes
  std::map<std::string, ValueId> values_;
  std::map<std::string, std::shared_ptr<const Tensor>> constants_;
  std::set<std::string> failed_;    // values that a refused node would have produced
  size_t unchecked_ = 0;            // nodes behind them
  std::set<std::string> reported_;  // nodes that are problems already
  std::set<ValueId> statistics_;    // states that a batch norm updates
  std::vector<Problem> problems_;
  mutable std::set<std::string> file_names_;  // empty: nobody has asked yet
  Structure structure_{*this};
  int64_t file_batch_ = -1;
  std::string batch_param_;
};

}  // namespace

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
