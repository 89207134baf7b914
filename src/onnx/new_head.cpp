#include "onnx/new_head.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/resource_error.h"
#include "base/words.h"
#include "onnx/draw.h"
#include "onnx/model_contents.h"

namespace halftone::onnx {
namespace {

std::string called(const NodeInfo& node) {
  return fmt::format("{} '{}'", node.op_type, node.name);
}

bool is_one(const NodeInfo& node, std::initializer_list<std::string_view> names) {
  return node.domain.empty() && is_one_of(node.op_type, names);
}

// Each element of the output is computed from the one in the same place.
bool is_elementwise(const NodeInfo& node) {
  return is_one(
      node, {"Identity",  "Cast", "Dropout", "Softmax",  "LogSoftmax", "Sigmoid", "HardSigmoid", "Relu",
             "LeakyRelu", "Elu",  "Selu",    "Softplus", "Softsign",   "Tanh",    "Clip",        "HardSwish",
             "Gelu",      "Exp",  "Log",     "Neg",      "Abs",        "Sqrt"});
}
bool is_pool(const NodeInfo& node) {
  return is_one(node, {"GlobalAveragePool", "GlobalMaxPool", "AveragePool", "MaxPool"});
}
bool is_resize(const NodeInfo& node) {
  return is_one(node, {"Resize", "Upsample"});
}
bool is_reduction(const NodeInfo& node) {
  return is_one(node, {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceLogSumExp"});
}

class Finder {
 public:
  Finder(const Model& model, std::string output) : model_(model), output_(std::move(output)) {
    for (size_t i = 0; i < model.nodes().size(); ++i) {
      for (const std::string& name : model.nodes()[i].outputs) producer_.emplace(name, i);
      const NodeInfo& node = model.nodes()[i];
      for (size_t k = 0; k < node.inputs.size(); ++k)
        if (!node.inputs[k].empty()) readers_[node.inputs[k]].emplace_back(i, k);
    }
    const auto& graph = model.contents().proto.graph();
    for (const auto* list : {&graph.value_info(), &graph.output()})
      for (const ::onnx::ValueInfoProto& info : *list)
        if (info.type().tensor_type().has_shape()) declared_[info.name()] = &info;
    for (const auto& o : graph.output()) outputs_.insert(o.name());
  }

  LastLayer find() {
    const NodeInfo& node = layer_node();
    layer_.node = called(node);
    if (node.op_type == "Gemm") gemm(node);
    if (node.op_type == "MatMul") matmul(node);
    if (node.op_type == "Conv") conv(node);
    if (layer_.rows < 1) refuse("{} has {} rows", layer_.node, layer_.rows);
    follow();
    return std::move(layer_);
  }

 private:
  // Where the classes are in a value: an axis counted from the front, or (negative) from the back.
  struct Axis {
    int64_t axis = 0;
    std::optional<int64_t> rank;
  };

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    throw input_error("{}: output '{}' cannot get a new head: {}", model_.path(), output_,
                      fmt::format(format, std::forward<Args>(args)...));
  }

  const NodeInfo* producer(const std::string& value) const {
    const auto it = producer_.find(value);
    return it == producer_.end() ? nullptr : &model_.nodes()[it->second];
  }
  bool is_tensor(const std::string& value) const { return model_.find_tensor(value) != nullptr; }
  std::string input(const NodeInfo& node, size_t i) const {
    return i < node.inputs.size() ? node.inputs[i] : "";
  }
  ir::Attributes attributes(const NodeInfo& node) const {
    return model_.attributes(static_cast<size_t>(&node - model_.nodes().data()));
  }

  // ---- from the output back to the layer
  const NodeInfo& layer_node() const {
    std::string value = output_;
    for (;;) {
      const NodeInfo* node = producer(value);
      if (node == nullptr)
        refuse("between it and the network's input '{}' stands no Gemm, MatMul or Conv", value);
      if (!node->guards.empty() || node->choice) refuse("{} stands in a branch of an If", called(*node));
      if (is_one(*node, {"Gemm", "MatMul", "Conv"})) return *node;
      if (is_elementwise(*node) || is_pool(*node) || is_resize(*node) || is_reduction(*node) ||
          is_one(*node, {"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose"})) {
        value = node->inputs.at(0);
        continue;
      }
      if (is_one(*node, {"Add", "Sub", "Mul", "Div"}) && node->inputs.size() == 2 &&
          is_tensor(node->inputs[0]) != is_tensor(node->inputs[1])) {
        value = node->inputs[is_tensor(node->inputs[0]) ? 1 : 0];
        continue;
      }
      if (node->op_type.starts_with("QLinear") || node->op_type.starts_with("Dequantize") ||
          node->op_type.ends_with("Integer"))
        refuse("{} is quantised; expected the network as it was before quantisation", called(*node));
      refuse(
          "{} stands between it and the last layer, and only activations, pools and views are known to leave "
          "the classes as they are; --output NAME takes a tensor before it",
          called(*node));
    }
  }

  // The file's tensor that a layer reads, which nothing else may read. `flipped`: through a Transpose of two axes.
  std::string own_tensor(const NodeInfo& node, size_t i, const char* what, bool* flipped = nullptr) const {
    std::string value = node.inputs.at(i);
    for (;;) {
      const auto it = readers_.find(value);
      if (it == readers_.end() || it->second.size() != 1 || outputs_.count(value) > 0) {
        std::string others;
        for (const auto& [reader, k] : it->second)
          others += (others.empty() ? "" : ", ") + called(model_.nodes()[reader]);
        refuse("the {} of {}, '{}', is shared: {} read it", what, called(node), value,
               outputs_.count(value) > 0 ? "it is an output of the network, and " + others : others);
      }
      if (is_tensor(value)) break;
      const NodeInfo* from = producer(value);
      if (from == nullptr) refuse("the {} of {} is the network's input '{}'", what, called(node), value);
      if (from->op_type.starts_with("Dequantize"))
        refuse("the {} of {} is quantised ({}); expected the network as it was before quantisation", what,
               called(node), called(*from));
      if (flipped != nullptr && is_one(*from, {"Transpose"})) {
        const ir::Attributes a = attributes(*from);
        if (a.has("perm") && a.ints_at("perm") != std::vector<int64_t>{1, 0})
          refuse("the {} of {} goes through {}", what, called(node), called(*from));
        *flipped = !*flipped;
      } else if (!is_one(*from, {"Identity"})) {
        refuse("the {} of {} is computed by {}; expected a tensor of the file", what, called(node),
               called(*from));
      }
      value = from->inputs.at(0);
    }
    const TensorInfo& t = *model_.find_tensor(value);
    if (!t.dtype || !is_float(*t.dtype))
      refuse("the {} of {}, '{}', is of type {}; expected floats", what, called(node), value, t.type);
    check_own(value);
    return value;
  }

  // Of the graph itself, where it can be changed.
  void check_own(const std::string& name) const {
    const Contents& c = model_.contents();
    const TensorPlace& place = c.places.at(c.tensor_index.find(name)->second);
    const bool in_graph =
        std::any_of(c.proto.graph().initializer().begin(), c.proto.graph().initializer().end(),
                    [&](const auto& t) { return t.name() == name; }) ||
        place.initializer < 0;
    if (!place.within.empty() || !in_graph)
      refuse("tensor '{}' stands inside a branch or a function of the file", name);
  }

  void set_weight(const std::string& name, size_t rows_axis) {
    const Shape& shape = model_.find_tensor(name)->shape;
    layer_.weight = name;
    layer_.rows_axis = rows_axis;
    layer_.rows = shape.at(rows_axis);
    layer_.fan_in = layer_.rows == 0 ? 0 : elements(shape) / layer_.rows;
  }

  // One number a row, along one axis; false: it is a single number for all.
  bool set_bias(const std::string& name, size_t axis_from_back, const NodeInfo& node) {
    const Shape& shape = model_.find_tensor(name)->shape;
    if (elements(shape) == 1 && (layer_.rows > 1 || shape.empty())) return false;
    const auto rank = shape.size();
    if (rank <= axis_from_back || shape[rank - 1 - axis_from_back] != elements(shape) ||
        elements(shape) != layer_.rows)
      refuse("the bias '{}' of {} has shape {}; expected one number for each of its {} rows", name,
             called(node), to_string(shape), layer_.rows);
    layer_.bias = name;
    layer_.bias_axis = rank - 1 - axis_from_back;
    return true;
  }

  void gemm(const NodeInfo& node) {
    const ir::Attributes a = attributes(node);
    if (a.int_or("transA", 0) != 0) refuse("{} has transA = 1", called(node));
    for (const char* factor : {"alpha", "beta"})
      if (a.float_or(factor, 1) != 1)
        refuse("{} has {} = {}; expected 1", called(node), factor, a.float_or(factor, 1));
    bool flipped = false;
    const std::string weight = own_tensor(node, 1, "weight", &flipped);
    if (model_.find_tensor(weight)->shape.size() != 2) refuse("the weight of {} is no matrix", called(node));
    set_weight(weight, (a.int_or("transB", 0) != 0) != flipped ? 0 : 1);
    if (!input(node, 2).empty()) set_bias(own_tensor(node, 2, "bias"), 0, node);
    begin(node, {1, 2});
  }

  void matmul(const NodeInfo& node) {
    bool flipped = false;
    const std::string weight = own_tensor(node, 1, "weight", &flipped);
    if (model_.find_tensor(weight)->shape.size() != 2)
      refuse("the weight '{}' of {} has shape {}; expected a matrix", weight, called(node),
             to_string(model_.find_tensor(weight)->shape));
    set_weight(weight, flipped ? 0 : 1);
    begin(node, {-1, std::nullopt});
    bias_behind(node, 0);
  }

  void conv(const NodeInfo& node) {
    const int64_t groups = attributes(node).int_or("group", 1);
    if (groups != 1) refuse("{} has {} groups; expected 1", called(node), groups);
    const std::string weight = own_tensor(node, 1, "weight");
    const auto rank = static_cast<int64_t>(model_.find_tensor(weight)->shape.size());
    set_weight(weight, 0);
    begin(node, {1, rank});
    if (!input(node, 2).empty()) {
      set_bias(own_tensor(node, 2, "bias"), 0, node);
    } else {
      bias_behind(node, static_cast<size_t>(rank - 2));
    }
  }

  // The Add that alone reads the layer.
  void bias_behind(const NodeInfo& node, size_t axis_from_back) {
    const auto it = readers_.find(node.outputs.at(0));
    if (it == readers_.end() || it->second.size() != 1 || outputs_.count(node.outputs[0]) > 0) return;
    const auto& [reader, k] = it->second.front();
    const NodeInfo& add = model_.nodes()[reader];
    if (!is_one(add, {"Add"}) || add.inputs.size() != 2) return;
    bool constant = false;
    for (std::string name = add.inputs[1 - k];;) {
      constant = is_tensor(name);
      const NodeInfo* from = producer(name);
      if (constant || from == nullptr || !is_one(*from, {"Identity"})) break;
      name = from->inputs.at(0);
    }
    if (constant && set_bias(own_tensor(add, 1 - k, "bias"), axis_from_back, add)) bias_node_ = &add;
  }

  void begin(const NodeInfo& node, Axis axis) { reach(node.outputs.at(0), axis, node); }

  // ---- from the layer on to all that depends on its number of rows
  std::optional<int64_t> rank_of(const std::string& value) const {
    const auto it = declared_.find(value);
    if (it == declared_.end()) return std::nullopt;
    return it->second->type().tensor_type().shape().dim_size();
  }

  void reach(const std::string& value, Axis axis, const NodeInfo& by) {
    if (value.empty()) return;
    if (!axis.rank) axis.rank = rank_of(value);
    if (axis.rank && axis.axis < 0) axis.axis += *axis.rank;
    if (axis.rank && (axis.axis < 0 || axis.axis >= *axis.rank))
      refuse("'{}', which {} gives, has {} axes", value, called(by), *axis.rank);
    if (!reached_.emplace(value, axis).second) return;
    if (const auto it = declared_.find(value); it != declared_.end()) {
      const auto& dim = it->second->type().tensor_type().shape().dim(static_cast<int>(axis.axis));
      if (dim.has_dim_value() && dim.dim_value() > 0 && dim.dim_value() != layer_.rows)
        refuse("'{}', which {} gives, is declared to have {} where the {} rows of {} are expected", value,
               called(by), dim.dim_value(), layer_.rows, layer_.node);
      if (dim.has_dim_value()) layer_.sizes.push_back({value, static_cast<size_t>(axis.axis), layer_.rows});
    }
    open_.push_back(value);
  }

  void follow() {
    while (!open_.empty()) {
      const std::string value = open_.back();
      open_.pop_back();
      const Axis axis = reached_.at(value);
      const auto it = readers_.find(value);
      if (it == readers_.end()) continue;
      for (const auto& [reader, k] : it->second) pass(model_.nodes()[reader], k, axis);
    }
  }

  [[noreturn]] void unknown(const NodeInfo& node) const {
    refuse("{} reads what {} gives, and what it does with another number of rows is not known", called(node),
           layer_.node);
  }
  Axis with_rank(Axis axis, const NodeInfo& node) const {
    if (!axis.rank)
      refuse(
          "the file does not say how many axes '{}' has, which {} needs to be followed; infer its shapes "
          "(onnx.shape_inference) first",
          node.inputs.at(0), called(node));
    return axis;
  }

  void pass(const NodeInfo& node, size_t k, Axis axis) {
    if (!node.guards.empty() || node.choice || k >= node.declared_inputs) unknown(node);
    if (&node == bias_node_) return reach(node.outputs[0], axis, node);
    if (is_one(node, {"Shape", "Size"})) return;  // what is computed from it follows by itself
    if (k == 0 && (is_elementwise(node) || is_pool(node))) {
      for (const std::string& out : node.outputs) reach(out, axis, node);
      return;
    }
    if (is_one(node, {"Add", "Sub", "Mul", "Div"})) {
      const TensorInfo* other = model_.find_tensor(node.inputs.at(1 - k));
      if (other == nullptr || elements(other->shape) != 1) unknown(node);
      return reach(node.outputs[0], axis, node);
    }
    if (k == 0 && is_resize(node)) return resize(node, axis);
    if (k == 0 && is_reduction(node)) return reduce(node, axis);
    if (k == 0 && is_one(node, {"ArgMax", "ArgMin"})) return arg(node, axis);
    if (k == 0 && is_one(node, {"Flatten"})) return flatten(node, axis);
    if (k == 0 && is_one(node, {"Reshape"})) return reshape(node, axis);
    if (k == 0 && is_one(node, {"Squeeze", "Unsqueeze"})) return squeeze(node, axis);
    if (k == 0 && is_one(node, {"Transpose"})) return transpose(node, axis);
    unknown(node);
  }

  // Axes as an attribute or as a constant; none: not given.
  std::optional<std::vector<int64_t>> axes_of(const NodeInfo& node) const {
    const ir::Attributes a = attributes(node);
    if (a.has("axes")) return a.ints_at("axes");
    const std::string name = input(node, 1);
    if (name.empty()) return std::nullopt;
    if (!is_tensor(name)) unknown(node);
    return to_int64s(model_.tensor(name));
  }

  void arg(const NodeInfo& node, Axis axis) {
    const ir::Attributes a = attributes(node);
    const int64_t over = a.int_or("axis", 0);
    if (!axis.rank && (over < 0) == (axis.axis < 0) && over == axis.axis) return;
    axis = with_rank(axis, node);
    const int64_t reduced = over < 0 ? over + *axis.rank : over;
    if (reduced == axis.axis) return;  // the class's number, whatever there are
    if (a.int_or("keepdims", 1) == 0) axis = {axis.axis - (reduced < axis.axis ? 1 : 0), *axis.rank - 1};
    reach(node.outputs[0], axis, node);
  }

  void reduce(const NodeInfo& node, Axis axis) {
    auto axes = axes_of(node);
    if (!axes || axes->empty()) return;  // over all
    axis = with_rank(axis, node);
    int64_t before = 0;
    for (int64_t& x : *axes) {
      if (x < 0) x += *axis.rank;
      if (x == axis.axis) return;
      before += x < axis.axis ? 1 : 0;
    }
    if (attributes(node).int_or("keepdims", 1) == 0)
      axis = {axis.axis - before, *axis.rank - static_cast<int64_t>(axes->size())};
    reach(node.outputs[0], axis, node);
  }

  void flatten(const NodeInfo& node, Axis axis) {
    axis = with_rank(axis, node);
    const int64_t at = attributes(node).int_or("axis", 1);
    const int64_t split = at < 0 ? at + *axis.rank : at;
    // The axes beside the classes have one element, or the output's size is declared as something else.
    reach(node.outputs[0], {axis.axis < split ? 0 : 1, 2}, node);
  }

  void transpose(const NodeInfo& node, Axis axis) {
    const ir::Attributes a = attributes(node);
    if (!a.has("perm")) {
      axis = with_rank(axis, node);
      return reach(node.outputs[0], {*axis.rank - 1 - axis.axis, axis.rank}, node);
    }
    const std::vector<int64_t> perm = a.ints_at("perm");
    const auto rank = static_cast<int64_t>(perm.size());
    const int64_t from = axis.axis < 0 ? axis.axis + rank : axis.axis;
    const auto to = std::find(perm.begin(), perm.end(), from);
    if (to == perm.end()) unknown(node);
    reach(node.outputs[0], {to - perm.begin(), rank}, node);
  }

  void squeeze(const NodeInfo& node, Axis axis) {
    std::optional<std::vector<int64_t>> axes = axes_of(node);
    axis = with_rank(axis, node);
    const bool removes = node.op_type == "Squeeze";
    if (!axes) refuse("{} does not name the axes that it takes away", called(node));
    const auto count = static_cast<int64_t>(axes->size());
    const int64_t rank = *axis.rank + (removes ? 0 : count);
    std::set<int64_t> at;
    for (const int64_t x : *axes) at.insert(x < 0 ? x + rank : x);
    if (removes) {
      if (at.count(axis.axis) > 0)
        refuse("{} takes away the axis of the one row; with several there is none to take away",
               called(node));
      const auto before = std::count_if(at.begin(), at.end(), [&](int64_t x) { return x < axis.axis; });
      return reach(node.outputs[0], {axis.axis - before, *axis.rank - count}, node);
    }
    int64_t to = axis.axis;
    for (const int64_t x : at)
      if (x <= to) ++to;
    reach(node.outputs[0], {to, rank}, node);
  }

  // A list of sizes: a constant, or a Concat of constants and computed sizes.
  struct Entry {
    std::optional<int64_t> value;  // none: computed
    std::string tensor;            // the constant that has it
    size_t at = 0;                 // in it
  };
  std::vector<Entry> entries(const std::string& name, const NodeInfo& reader) const {
    std::vector<Entry> all;
    const auto add_tensor = [&](const std::string& tensor) {
      const std::vector<int64_t> values = to_int64s(model_.tensor(tensor));
      for (size_t i = 0; i < values.size(); ++i) all.push_back({values[i], tensor, i});
    };
    if (is_tensor(name)) {
      add_tensor(name);
      return all;
    }
    const NodeInfo* from = producer(name);
    if (from == nullptr || !is_one(*from, {"Concat"})) unknown(reader);
    for (const std::string& part : from->inputs) {
      const NodeInfo* of_part = producer(part);
      if (is_tensor(part)) {
        add_tensor(part);
      } else if (of_part != nullptr && is_one(*of_part, {"Unsqueeze"})) {
        all.push_back({std::nullopt, "", 0});
      } else {
        unknown(reader);
      }
    }
    return all;
  }

  void named(const Entry& entry, const NodeInfo& node) {
    const auto it = readers_.find(entry.tensor);
    if (it == readers_.end() || it->second.size() != 1)
      refuse("the shape '{}' that {} reads has the number of rows, {}, in it, and other nodes read it too",
             entry.tensor, called(node), layer_.rows);
    check_own(entry.tensor);
    layer_.named_shapes.emplace_back(entry.tensor, entry.at);
  }

  void reshape(const NodeInfo& node, Axis axis) {
    const std::vector<Entry> sizes = entries(input(node, 1), node);
    std::vector<size_t> same;
    std::optional<size_t> rest;
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (sizes[i].value == layer_.rows) same.push_back(i);
      if (sizes[i].value == -1) rest = i;
    }
    const auto rank = static_cast<int64_t>(sizes.size());
    if (same.size() > 1)
      refuse("{} reshapes to {} sizes of {}, and which of them is that of the rows is not known",
             called(node), same.size(), layer_.rows);
    if (same.size() == 1) {
      named(sizes[same[0]], node);
      return reach(node.outputs[0], {static_cast<int64_t>(same[0]), rank}, node);
    }
    const auto at = static_cast<size_t>(axis.axis);
    if (axis.axis >= 0 && at < sizes.size() && sizes[at].value == 0)
      return reach(node.outputs[0], {axis.axis, rank}, node);
    // The sizes beside the rows are 1, or the output's is declared as something else.
    if (!rest || *rest == 0) unknown(node);
    reach(node.outputs[0], {static_cast<int64_t>(*rest), rank}, node);
  }

  void resize(const NodeInfo& node, Axis axis) {
    const std::string sizes = node.op_type == "Resize" ? input(node, 3) : "";
    if (!sizes.empty()) {
      axis = with_rank(axis, node);
      if (is_tensor(sizes)) {
        const std::vector<Entry> all = entries(sizes, node);
        if (static_cast<int64_t>(all.size()) == *axis.rank) {
          const Entry& entry = all.at(static_cast<size_t>(axis.axis));
          if (entry.value != layer_.rows) unknown(node);
          named(entry, node);
        }
      }
      // Computed ones begin with those of the value itself.
    }
    reach(node.outputs[0], axis, node);
  }

  const Model& model_;
  std::string output_;
  std::map<std::string, size_t> producer_;
  std::map<std::string, std::vector<std::pair<size_t, size_t>>> readers_;
  std::map<std::string, const ::onnx::ValueInfoProto*> declared_;
  std::set<std::string> outputs_;
  const NodeInfo* bias_node_ = nullptr;
  std::map<std::string, Axis> reached_;
  std::vector<std::string> open_;
  LastLayer layer_;
};

// Rows drawn in their logical order, each with its numbers in theirs: however the file stores the weight, the layer
// begins with the same numbers.
Tensor new_rows(const Tensor& old, size_t axis, const NewHead& head, const std::string& name, double bound) {
  Shape order_shape = old.shape();
  const bool flipped = axis != 0 && old.shape().size() == 2;
  HT_ASSERT(axis == 0 || flipped || elements(old.shape()) == old.shape()[axis], "{} axis {}", name, axis);
  const Tensor fp32 = converted(old, DType::kF32);
  const int64_t rows = old.shape().at(axis);
  const int64_t in_row = rows == 0 ? 0 : elements(old.shape()) / rows;
  const Tensor before = flipped ? transposed(fp32, {1, 0}) : fp32.reshaped({rows, in_row});
  Tensor made = drawn(name, {head.rows, in_row}, bound, head.seed);
  const auto bytes = static_cast<size_t>(in_row) * sizeof(float);
  for (const auto& [from, to] : head.kept)
    std::memcpy(made.as<float>().data() + to * in_row, before.as<float>().data() + from * in_row, bytes);
  order_shape[axis] = head.rows;
  return converted(flipped ? transposed(made, {1, 0}) : made.reshaped(order_shape), old.dtype());
}

}  // namespace

LastLayer last_layer(const Model& model, const std::string& output) {
  return Finder(model, output).find();
}

std::optional<LastLayer> find_last_layer(const Model& model, const std::string& output) {
  try {
    return last_layer(model, output);
  } catch (const Error& e) {
    rethrow_if_resource(e);
    return std::nullopt;
  }
}

Model with_new_head(const Model& model, const NewHead& head) {
  const LastLayer layer = last_layer(model, head.output);
  for (const auto& [from, to] : head.kept)
    if (from < 0 || from >= layer.rows || to < 0 || to >= head.rows)
      throw input_error("{}: row {} of {} as row {} of {} is not possible", model.path(), from, layer.rows,
                        to, head.rows);
  Changes changes;
  const double bound = linear_bound(layer.fan_in);
  changes.tensors.emplace(layer.weight,
                          new_rows(model.tensor(layer.weight), layer.rows_axis, head, layer.weight, bound));
  if (!layer.bias.empty())
    changes.tensors.emplace(layer.bias,
                            new_rows(model.tensor(layer.bias), layer.bias_axis, head, layer.bias, bound));
  for (const auto& [name, at] : layer.named_shapes) {
    auto it = changes.tensors.find(name);
    if (it == changes.tensors.end()) it = changes.tensors.emplace(name, model.tensor(name)).first;
    if (it->second.dtype() == DType::kI64) {
      it->second.as<int64_t>()[at] = head.rows;
    } else {
      it->second.as<int32_t>()[at] = static_cast<int32_t>(head.rows);
    }
  }
  changes.sizes = layer.sizes;
  for (Changes::Size& s : changes.sizes) s.size = head.rows;
  changes.metadata.assign(std::begin(kClassKeys), std::end(kClassKeys));
  return model.changed(std::move(changes));
}

}  // namespace halftone::onnx
