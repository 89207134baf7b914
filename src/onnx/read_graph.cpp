// From a file's message to what a Model says of it: inputs, outputs, tensors, and nodes in an order of
// execution.
#include <algorithm>
#include <optional>
#include <queue>
#include <set>
#include <utility>

#include "base/error.h"
#include "onnx/domain.h"
#include "onnx/external_data.h"
#include "onnx/inline.h"
#include "onnx/model_contents.h"
#include "onnx/tensor_proto.h"

namespace halftone::onnx {
namespace {

// Some exporters (Paddle2ONNX) give all sizes that they don't know one of these names, which ONNX reads as one size.
bool is_unknown(const std::string& dim_param) {
  return dim_param == "?" || dim_param == "-1" || dim_param == "*" || dim_param == "None";
}

ValueInfo value_info(const ::onnx::ValueInfoProto& proto) {
  ValueInfo info;
  info.name = proto.name();
  info.type = "?";
  if (!proto.type().has_tensor_type()) return info;
  const auto& type = proto.type().tensor_type();
  info.type = type_name(type.elem_type());
  info.dtype = dtype_of(type.elem_type());
  info.has_shape = type.has_shape();
  for (const auto& d : type.shape().dim()) {
    Dimension dim;
    if (d.has_dim_value()) dim.value = d.dim_value();
    if (d.has_dim_param() && !is_unknown(d.dim_param())) dim.param = d.dim_param();
    // Some exporters write 0 or -1 for "unknown".
    if (dim.value <= 0) dim.value = -1;
    info.dims.push_back(std::move(dim));
  }
  return info;
}

void add_tensor(Contents& c, TensorInfo info, TensorPlace place) {
  if (!c.tensor_index.emplace(info.name, c.tensors.size()).second)
    throw input_error("'{}' is defined twice", info.name);
  c.tensors.push_back(std::move(info));
  c.places.push_back(place);
}

void add_initializers(Contents& c) {
  const auto& graph = c.proto.graph();
  for (int i = 0; i < graph.initializer_size(); ++i) {
    const ::onnx::TensorProto& t = graph.initializer(i);
    if (t.name().empty()) throw input_error("initializer {} has no name", i);
    add_tensor(c, {t.name(), type_name(t.data_type()), dtype_of(t.data_type()), checked_shape(t, c.file)},
               {i, -1, -1});
  }
}

void add_constant(Contents& c, int node, const TensorPlace::Path& within, const std::string& name) {
  TensorPlace place{-1, node, 0, within};
  const ::onnx::NodeProto& proto = graph_of(std::as_const(c.proto), place).node(node);
  for (int i = 0; i < proto.attribute_size(); ++i) {
    const ::onnx::AttributeProto& a = proto.attribute(i);
    place.attribute = i;
    if (a.name() == "value" && a.has_t()) {
      add_tensor(
          c, {name, type_name(a.t().data_type()), dtype_of(a.t().data_type()), checked_shape(a.t(), c.file)},
          place);
    } else if (a.name() == "value_float") {
      add_tensor(c, {name, "float", DType::kF32, {}}, place);
    } else if (a.name() == "value_floats") {
      add_tensor(c, {name, "float", DType::kF32, {a.floats_size()}}, place);
    } else if (a.name() == "value_int") {
      add_tensor(c, {name, "int64", DType::kI64, {}}, place);
    } else if (a.name() == "value_ints") {
      add_tensor(c, {name, "int64", DType::kI64, {a.ints_size()}}, place);
    } else {
      continue;
    }
    return;
  }
}

void add_branch_tensor(Contents& c, const InlinedTensor& tensor) {
  const TensorPlace& place = tensor.place;
  if (place.initializer < 0) return add_constant(c, place.node, place.within, tensor.name);
  const ::onnx::TensorProto& t = graph_of(std::as_const(c.proto), place).initializer(place.initializer);
  add_tensor(c, {tensor.name, type_name(t.data_type()), dtype_of(t.data_type()), checked_shape(t, c.file)},
             place);
}

// File indices in an order in which every node follows those it reads from; the file's order where that is
// one.
std::vector<int> sorted(const ::onnx::GraphProto& graph,
                        const std::map<std::string, int, std::less<>>& producer) {
  const int count = graph.node_size();
  std::vector<int> missing(static_cast<size_t>(count), 0);
  std::vector<std::vector<int>> readers(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    const auto reads = [&](const std::string& name) {
      const auto it = producer.find(name);
      if (it == producer.end() || it->second < 0) return;
      readers[static_cast<size_t>(it->second)].push_back(i);
      ++missing[static_cast<size_t>(i)];
    };
    for (const std::string& name : graph.node(i).input()) reads(name);
    for (const std::string& name : captured_names(graph.node(i))) reads(name);
  }
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  for (int i = 0; i < count; ++i)
    if (missing[static_cast<size_t>(i)] == 0) ready.push(i);
  std::vector<int> order;
  while (!ready.empty()) {
    const int node = ready.top();
    ready.pop();
    order.push_back(node);
    for (const int reader : readers[static_cast<size_t>(node)])
      if (--missing[static_cast<size_t>(reader)] == 0) ready.push(reader);
  }
  if (static_cast<int>(order.size()) != count) {
    int stuck = 0;
    while (missing[static_cast<size_t>(stuck)] == 0) ++stuck;
    throw input_error("the graph has a cycle through node '{}' ({})", graph.node(stuck).name(),
                      graph.node(stuck).op_type());
  }
  return order;
}

// Of one number, or of a shape that the file gives. More is known when the other sizes are.
std::optional<Tensor> known_value(const FixedInput& input) {
  Shape shape;
  for (const Dimension& d : input.info.dims) {
    if (d.value <= 0) return std::nullopt;
    shape.push_back(d.value);
  }
  constexpr int64_t kMostFixedElements = 64;
  if (!input.info.has_shape || !input.info.dtype || elements(shape) > kMostFixedElements) return std::nullopt;
  return elements_of(input, shape);
}

void read_graph(Contents& c) {
  const ::onnx::GraphProto& graph = c.proto.graph();
  for (const auto& opset : c.proto.opset_import())
    if (is_default_domain(opset.domain()))
      c.opset = static_cast<int>(std::clamp<int64_t>(opset.version(), -1, 1 << 30));
  add_initializers(c);
  // Data that writing the network will copy, whoever reads it: better refused now than after a training.
  for_each_external(c.proto, [&](const auto& t) { checked_shape(t, c.file); });

  // Which node produces a name; -1: an input or an initializer.
  std::map<std::string, int, std::less<>> producer;
  for (const TensorInfo& t : c.tensors) producer.emplace(t.name, -1);
  for (const auto& t : graph.sparse_initializer()) producer.emplace(t.values().name(), -1);  // see problems()
  std::set<std::string> seen;
  for (const auto& input : graph.input()) {
    if (input.name().empty() || !seen.insert(input.name()).second)
      throw input_error("the graph has an input '{}' {}", input.name(),
                        input.name().empty() ? "without a name" : "twice");
    if (!producer.emplace(input.name(), -1).second)
      continue;  // an initializer that the file lists as an input too (IR version 3)
    const auto fix = c.fixes.find(input.name());
    if (fix == c.fixes.end()) {
      c.inputs.push_back(value_info(input));
    } else {
      c.fixed.push_back({value_info(input), fix->second});
    }
  }
  for (int i = 0; i < graph.node_size(); ++i)
    for (const std::string& name : graph.node(i).output())
      if (!name.empty() && !producer.emplace(name, i).second)
        throw input_error("'{}' is defined twice", name);
  for (const auto& node : graph.node()) {
    if (node.output_size() == 0)
      throw input_error("node '{}' ({}) has no output, which no ONNX operator allows", node.name(),
                        node.op_type());
    std::vector<std::string> read = captured_names(node);
    read.insert(read.end(), node.input().begin(), node.input().end());
    for (const std::string& name : read)
      if (!name.empty() && producer.find(name) == producer.end())
        throw input_error("node '{}' ({}) reads '{}', which nothing defines", node.name(), node.op_type(),
                          name);
  }
  if (graph.output_size() == 0) throw input_error("the graph has no outputs");
  for (const auto& output : graph.output()) {
    if (producer.find(output.name()) == producer.end())
      throw input_error("nothing defines the graph's output '{}'", output.name());
    c.outputs.push_back(value_info(output));
  }

  KnownValues known(graph, c.file);
  for (const FixedInput& input : c.fixed)
    if (const std::optional<Tensor> value = known_value(input)) known.set(input.info.name, value->clone());
  Inlined inlined = inline_bodies(c.proto, sorted(graph, producer), c.opset, known);
  c.copies = std::move(inlined.copies);
  for (const InlinedTensor& tensor : inlined.tensors) add_branch_tensor(c, tensor);
  for (InlinedNode& at : inlined.nodes) {
    c.file_index.push_back(at.file);
    c.inlined.push_back(at.copy);
    NodeInfo info = node_info(proto_of(c, c.nodes.size()), at.file, at.opset);
    info.guards = std::move(at.guards);
    info.choice = at.choice;
    // A function's constants are its own; the file's may be parameters.
    if (at.copy < 0 && info.domain.empty() && info.op_type == "Constant" && info.outputs.size() == 1)
      add_constant(c, at.file, {}, info.outputs[0]);
    c.nodes.push_back(std::move(info));
  }
}

}  // namespace

NodeInfo node_info(const ::onnx::NodeProto& node, int position, int opset) {
  NodeInfo info;
  info.op_type = node.op_type();
  info.name = node.name().empty() ? fmt::format("{}#{}", node.op_type(), position) : node.name();
  info.domain = is_default_domain(node.domain()) ? "" : node.domain();
  info.opset = opset;
  info.inputs.assign(node.input().begin(), node.input().end());
  info.outputs.assign(node.output().begin(), node.output().end());
  // What its graphs read counts as read by it.
  info.declared_inputs = info.inputs.size();
  const std::vector<std::string> captured = captured_names(node);
  info.inputs.insert(info.inputs.end(), captured.begin(), captured.end());
  return info;
}

void read_graph_of(Contents& contents) {
  try {
    read_graph(contents);
  } catch (const Error& e) {
    throw Error(e.kind(), fmt::format("{}: {}", contents.file.path, e.what()));
  }
}

}  // namespace halftone::onnx
