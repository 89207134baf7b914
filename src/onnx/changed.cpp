// Model::changed: tensors of other shapes, and what the file declares of them.
#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "base/error.h"
#include "onnx/model_contents.h"

namespace halftone::onnx {
namespace {

using Proto = ::onnx::TensorProto;

// As raw bytes, whatever the form was that the elements had: it is the one that every type has.
void replace(Proto& proto, const Tensor& value) {
  HT_ASSERT(dtype_of(proto.data_type()) == value.dtype(), "{}", proto.name());
  proto.clear_dims();
  for (const int64_t d : value.shape()) proto.add_dims(d);
  proto.clear_float_data();
  proto.clear_int32_data();
  proto.clear_int64_data();
  proto.clear_double_data();
  proto.clear_external_data();
  proto.clear_data_location();
  proto.set_raw_data(value.data(), static_cast<size_t>(value.bytes()));
}

void set_size(::onnx::ValueInfoProto& info, size_t axis, int64_t size) {
  if (!info.type().tensor_type().has_shape()) return;
  auto* shape = info.mutable_type()->mutable_tensor_type()->mutable_shape();
  if (axis < static_cast<size_t>(shape->dim_size()))
    shape->mutable_dim(static_cast<int>(axis))->set_dim_value(size);
}

// The value of a Constant node under this name.
Proto* constant_of(::onnx::GraphProto& graph, const std::string& name) {
  for (::onnx::NodeProto& node : *graph.mutable_node()) {
    if (node.op_type() != "Constant" || node.output_size() != 1 || node.output(0) != name) continue;
    for (::onnx::AttributeProto& a : *node.mutable_attribute()) {
      if (a.name() == "value" && a.has_t()) return a.mutable_t();
      if (a.name() != "value_ints") continue;
      // The same as a tensor.
      Proto value;
      value.set_data_type(Proto::INT64);
      a.clear_ints();
      a.set_name("value");
      a.set_type(::onnx::AttributeProto::TENSOR);
      *a.mutable_t() = value;
      return a.mutable_t();
    }
  }
  return nullptr;
}

void add_initializer(::onnx::GraphProto& graph, const std::string& name, const Tensor& value) {
  Proto& made = *graph.add_initializer();
  made.set_name(name);
  HT_ASSERT(value.dtype() == DType::kF32, "{}", name);
  made.set_data_type(Proto::FLOAT);
  replace(made, value);
}

std::unique_ptr<::onnx::NodeProto> node_of(const Changes::Node& n, const ::onnx::NodeProto& producer) {
  auto node = std::make_unique<::onnx::NodeProto>();
  node->set_op_type(n.op_type);
  node->set_name(n.name);
  for (const std::string& input : n.inputs) node->add_input(input);
  node->add_output(n.output);
  if (n.attributes_of_producer) *node->mutable_attribute() = producer.attribute();
  for (const auto& [name, value] : n.floats) {
    ::onnx::AttributeProto& a = *node->add_attribute();
    a.set_name(name);
    a.set_type(::onnx::AttributeProto::FLOAT);
    a.set_f(value);
  }
  return node;
}

// The messages of nodes that are there stay where they are: elements in the file are known by the tensor's address.
void insert_nodes(::onnx::GraphProto& graph, const std::vector<Changes::Insertion>& insertions) {
  if (insertions.empty()) return;
  std::map<std::string, const Changes::Insertion*> by_value;
  for (const Changes::Insertion& i : insertions) by_value.emplace(i.value, &i);
  auto& nodes = *graph.mutable_node();
  std::vector<::onnx::NodeProto*> old(static_cast<size_t>(nodes.size()));
  nodes.ExtractSubrange(0, nodes.size(), old.data());
  for (::onnx::NodeProto* node : old) {
    nodes.AddAllocated(node);
    for (int k = 0; k < node->output_size(); ++k) {
      const auto it = by_value.find(node->output(k));
      if (it == by_value.end()) continue;
      node->set_output(k, it->second->before);
      for (const Changes::Node& n : it->second->nodes) nodes.AddAllocated(node_of(n, *node).release());
      by_value.erase(it);
    }
  }
  HT_ASSERT(by_value.empty(), "no node gives '{}'", by_value.begin()->first);
}

}  // namespace

std::vector<const Proto*> change(::onnx::ModelProto& proto, const Changes& changes) {
  ::onnx::GraphProto& graph = *proto.mutable_graph();
  std::vector<const Proto*> replaced;
  for (const auto& [name, value] : changes.tensors) {
    Proto* found = nullptr;
    for (Proto& t : *graph.mutable_initializer())
      if (t.name() == name) found = &t;
    if (found == nullptr) found = constant_of(graph, name);
    HT_ASSERT(found != nullptr, "there is no tensor '{}'", name);
    replace(*found, value);
    replaced.push_back(found);
    // Before IR version 4 initializers are listed among the inputs; value_info may have them too.
    for (auto* list : {graph.mutable_input(), graph.mutable_value_info()})
      for (::onnx::ValueInfoProto& info : *list)
        for (size_t axis = 0; info.name() == name && axis < value.shape().size(); ++axis)
          set_size(info, axis, value.shape()[axis]);
  }
  for (const Changes::Size& s : changes.sizes)
    for (auto* list : {graph.mutable_output(), graph.mutable_value_info()})
      for (::onnx::ValueInfoProto& info : *list)
        if (info.name() == s.value) set_size(info, s.axis, s.size);
  for (const auto& [name, value] : changes.added) add_initializer(graph, name, value);
  insert_nodes(graph, changes.insertions);
  for (const std::string& key : changes.metadata) {
    auto* entries = proto.mutable_metadata_props();
    entries->erase(
        std::remove_if(entries->begin(), entries->end(), [&](const auto& e) { return e.key() == key; }),
        entries->end());
  }
  return replaced;
}

Model Model::changed(Changes changes) const {
  auto made = copied_message(*contents_);
  const auto kept = std::make_shared<const Changes>(std::move(changes));
  for (const Proto* tensor : change(made->proto, *kept)) made->file.detached.erase(tensor);
  made->changes.push_back({{}, kept});
  made->origins = contents_->origins;
  read_graph_of(*made);
  Model model(std::move(made));
  model.bound_ = bound_;
  model.bound_fixed_ = bound_fixed_;
  if (chosen_ != nullptr) {
    std::vector<std::string> names;
    for (const ValueInfo& output : *chosen_) names.push_back(output.name);
    model = model.with_outputs(names);
  }
  return model;
}

}  // namespace halftone::onnx
